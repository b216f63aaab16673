//! The template dependency structure, which a stream attaches to its key frames: the kinds of frame that it consists of.

use super::{BitReader, DECODE_TARGETS_MAX, Head, Indications, TEMPLATES_MAX};
use crate::error::{Result, WireError};

/// Spatial ids have 2 bits in the codecs that use the descriptor.
pub const SPATIAL_LAYERS_MAX: usize = 4;
/// temporal_id has 3 bits.
const TEMPORAL_LAYERS_MAX: u8 = 8;

/// One kind of frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Template {
    pub spatial: u8,
    pub temporal: u8,
    pub indications: Indications,
    /// 4 bits per chain.
    chains: u128,
}

impl Template {
    /// Frame number distance to the previous frame of a chain; 0 for a chain that does not exist.
    pub const fn chain(&self, index: usize) -> u8 {
        if index < super::CHAINS_MAX { (self.chains >> (4 * index) & 15) as u8 } else { 0 }
    }
}

/// 2 KiB: 64 templates of 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Structure {
    templates: [Template; TEMPLATES_MAX],
    template_count: u8,
    template_id_offset: u8,
    decode_targets: u8,
    chains: u8,
    /// Which chain protects a decode target.
    protected_by: [u8; DECODE_TARGETS_MAX],
    spatial_layers: u8,
    sizes: Option<[(u16, u16); SPATIAL_LAYERS_MAX]>,
}

impl Structure {
    /// The structure that the descriptor `bytes` attaches, or `None`.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        if !Head::parse(bytes)?.has_structure {
            return Ok(None);
        }
        let (mut reader, _) = super::begin(bytes)?;
        Self::read(&mut reader).map(Some)
    }

    pub(super) fn read(reader: &mut BitReader<'_>) -> Result<Self> {
        let mut structure = Self {
            templates: [Template::default(); TEMPLATES_MAX],
            template_count: 0,
            template_id_offset: reader.take_u8(6)?,
            decode_targets: reader.take_u8(5)? + 1,
            chains: 0,
            protected_by: [0; DECODE_TARGETS_MAX],
            spatial_layers: 0,
            sizes: None,
        };
        structure.read_layers(reader)?;
        let decode_targets = structure.decode_targets;
        for template in structure.used_mut() {
            template.indications = Indications::read(reader, decode_targets)?;
        }
        for _ in 0..structure.template_count {
            while reader.flag()? {
                reader.take(4)?; // fdiff_minus_one
            }
        }
        structure.read_chains(reader)?;
        if reader.flag()? {
            structure.read_sizes(reader)?;
        }
        Ok(structure)
    }

    /// template_layers: a list of layer ids that only go up.
    fn read_layers(&mut self, reader: &mut BitReader<'_>) -> Result<()> {
        let (mut spatial, mut temporal) = (0, 0);
        loop {
            let slot = self.templates.get_mut(usize::from(self.template_count)).ok_or(WireError::Capacity)?;
            *slot = Template { spatial, temporal, ..Template::default() };
            self.template_count += 1;
            match reader.take(2)? {
                0 => {}
                1 => temporal += 1,
                2 => (spatial, temporal) = (spatial + 1, 0),
                _ => break,
            }
            if temporal >= TEMPORAL_LAYERS_MAX || usize::from(spatial) >= SPATIAL_LAYERS_MAX {
                return Err(WireError::Malformed);
            }
        }
        self.spatial_layers = spatial + 1;
        Ok(())
    }

    /// template_chains.
    fn read_chains(&mut self, reader: &mut BitReader<'_>) -> Result<()> {
        let chains = reader.non_symmetric(u32::from(self.decode_targets) + 1)?;
        self.chains = chains as u8;
        if chains == 0 {
            return Ok(());
        }
        for chain in self.protected_by.iter_mut().take(usize::from(self.decode_targets)) {
            *chain = reader.non_symmetric(chains)? as u8;
        }
        for template in self.used_mut() {
            for chain in 0..chains {
                template.chains |= u128::from(reader.take(4)?) << (4 * chain);
            }
        }
        Ok(())
    }

    /// render_resolutions.
    fn read_sizes(&mut self, reader: &mut BitReader<'_>) -> Result<()> {
        let mut sizes = [(0, 0); SPATIAL_LAYERS_MAX];
        for size in sizes.iter_mut().take(usize::from(self.spatial_layers)) {
            *size = (read_dimension(reader)?, read_dimension(reader)?);
        }
        self.sizes = Some(sizes);
        Ok(())
    }

    fn used_mut(&mut self) -> impl Iterator<Item = &mut Template> {
        self.templates.iter_mut().take(usize::from(self.template_count))
    }

    pub const fn decode_targets(&self) -> u8 {
        self.decode_targets
    }

    pub const fn chains(&self) -> u8 {
        self.chains
    }

    pub const fn spatial_layers(&self) -> u8 {
        self.spatial_layers
    }

    pub fn templates(&self) -> &[Template] {
        self.templates.get(..usize::from(self.template_count)).unwrap_or_default()
    }

    /// The template of a frame's template id, which counts from the structure's own offset.
    pub fn template(&self, template_id: u8) -> Option<&Template> {
        let index = template_id.wrapping_sub(self.template_id_offset) & 63;
        self.templates().get(usize::from(index))
    }

    /// Width and height of a spatial layer, when the structure tells.
    pub fn size(&self, spatial: u8) -> Option<(u16, u16)> {
        self.sizes.filter(|_| spatial < self.spatial_layers).and_then(|sizes| sizes.get(usize::from(spatial)).copied())
    }

    /// The chain that protects a decode target; `None` without chains.
    pub fn chain_of(&self, decode_target: usize) -> Option<u8> {
        let exists = self.chains != 0 && decode_target < usize::from(self.decode_targets);
        self.protected_by.get(decode_target).copied().filter(|_| exists)
    }

    /// The highest layers that a decode target contains, as (spatial, temporal).
    pub fn decode_target_layers(&self, decode_target: usize) -> (u8, u8) {
        let present = |template: &&Template| template.indications.get(decode_target) != super::Indication::NotPresent;
        self.templates().iter().filter(present).fold((0, 0), |(spatial, temporal), template| {
            (spatial.max(template.spatial), temporal.max(template.temporal))
        })
    }
}

/// Sizes are written minus 1; 65,536 is cut to 65,535.
fn read_dimension(reader: &mut BitReader<'_>) -> Result<u16> {
    reader.take(16).map(|value| (value as u16).saturating_add(1))
}
