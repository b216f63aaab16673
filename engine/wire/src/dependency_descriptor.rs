//! Dependency descriptor header extension (RTP Payload Format For AV1, appendix A): which layers and decode targets a
//! frame belongs to, for any codec. Written descriptors are copies of read ones; only the frame number can be changed.
//!
//! ```text
//! |S|E| template |      frame number (16)      |  then, when longer than 3 bytes, bit fields:
//! flags for structure, active decode targets, custom dtis, custom fdiffs, custom chains; and what they announce
//! ```

pub mod structure;

use crate::bits::BitReader;
use crate::cursor::Reader;
use crate::error::{Result, WireError};

pub use structure::{Structure, Template};

/// Template ids have 6 bits.
pub const TEMPLATES_MAX: usize = 64;
/// dt_cnt_minus_one has 5 bits.
pub const DECODE_TARGETS_MAX: usize = 32;
/// There is at most one chain per decode target.
pub const CHAINS_MAX: usize = 32;
const MANDATORY_BYTES: usize = 3;

/// Decode target indication: what a frame is to a decode target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Indication {
    #[default]
    NotPresent,
    /// Nothing in the decode target depends on the frame.
    Discardable,
    /// A receiver may switch up to the decode target here.
    Switch,
    Required,
}

/// One indication of two bits per decode target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Indications(u64);

impl Indications {
    /// `NotPresent` for a decode target that does not exist.
    pub const fn get(self, decode_target: usize) -> Indication {
        if decode_target >= DECODE_TARGETS_MAX {
            return Indication::NotPresent;
        }
        match self.0 >> (2 * decode_target) & 3 {
            0 => Indication::NotPresent,
            1 => Indication::Discardable,
            2 => Indication::Switch,
            _ => Indication::Required,
        }
    }

    fn read(reader: &mut BitReader<'_>, decode_targets: u8) -> Result<Self> {
        (0..u32::from(decode_targets))
            .try_fold(0, |bits, target| Ok(bits | u64::from(reader.take(2)?) << (2 * target)))
            .map(Self)
    }

    const fn any(self, decode_targets: u8, wanted: Indication) -> bool {
        let mut target = 0;
        while target < decode_targets as usize {
            if self.get(target) as u8 == wanted as u8 {
                return true;
            }
            target += 1;
        }
        false
    }
}

/// The three mandatory bytes and the flag for an attached structure: all that can be read without the stream's structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The packet is the first of its frame.
    pub start_of_frame: bool,
    /// The packet is the last of its frame.
    pub end_of_frame: bool,
    pub template_id: u8,
    pub frame_number: u16,
    /// A structure is attached, which happens on key frames.
    pub has_structure: bool,
}

impl Head {
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let first = reader.u8()?;
        let frame_number = reader.u16()?;
        Ok(Self {
            start_of_frame: first & 0x80 != 0,
            end_of_frame: first & 0x40 != 0,
            template_id: first & 0x3f,
            frame_number,
            has_structure: reader.u8().is_ok_and(|flags| flags & 0x80 != 0),
        })
    }
}

/// A whole descriptor, read with the structure that it refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    pub head: Head,
    pub spatial: u8,
    pub temporal: u8,
    pub indications: Indications,
    /// One bit per decode target, when the descriptor tells them.
    pub active_decode_targets: Option<u32>,
    /// Width and height of the frame's spatial layer, when the structure tells them.
    pub size: Option<(u16, u16)>,
    /// Width and height of the highest spatial layer, when the structure tells them.
    pub size_max: Option<(u16, u16)>,
    /// Up to which earlier frame each chain is intact: a distance in frame numbers, 0 when the chain begins here.
    pub chains: [u8; CHAINS_MAX],
    decode_targets: u8,
}

/// The flags behind the mandatory bytes.
#[derive(Clone, Copy, Default)]
struct Flags {
    structure: bool,
    active_decode_targets: bool,
    custom_indications: bool,
    custom_differences: bool,
    custom_chains: bool,
}

impl Flags {
    fn read(reader: &mut BitReader<'_>) -> Result<Self> {
        Ok(Self {
            structure: reader.flag()?,
            active_decode_targets: reader.flag()?,
            custom_indications: reader.flag()?,
            custom_differences: reader.flag()?,
            custom_chains: reader.flag()?,
        })
    }
}

impl Descriptor {
    /// **Input**: the extension's value, and the structure that the stream attached last (unused when this one attaches
    /// its own). **Errors**: `Unsupported` without a structure, `Malformed` for a template that it does not have.
    pub fn parse(bytes: &[u8], structure: Option<&Structure>) -> Result<Self> {
        let head = Head::parse(bytes)?;
        let (mut reader, flags) = begin(bytes)?;
        if flags.structure {
            let attached = Structure::read(&mut reader)?;
            Self::read(head, flags, &mut reader, &attached)
        } else {
            Self::read(head, flags, &mut reader, structure.ok_or(WireError::Unsupported)?)
        }
    }

    fn read(head: Head, flags: Flags, reader: &mut BitReader<'_>, structure: &Structure) -> Result<Self> {
        let decode_targets = structure.decode_targets();
        let active_decode_targets = if flags.active_decode_targets {
            Some(reader.take(u32::from(decode_targets))?)
        } else {
            flags.structure.then(|| u32::MAX >> (DECODE_TARGETS_MAX as u32 - u32::from(decode_targets)))
        };
        let template = structure.template(head.template_id).ok_or(WireError::Malformed)?;
        let mut indications = template.indications;
        if flags.custom_indications {
            indications = Indications::read(reader, decode_targets)?;
        }
        if flags.custom_differences {
            skip_differences(reader)?;
        }
        let mut chains = [0; CHAINS_MAX];
        for (index, chain) in chains.iter_mut().enumerate().take(usize::from(structure.chains())) {
            *chain = if flags.custom_chains { reader.take_u8(8)? } else { template.chain(index) };
        }
        Ok(Self {
            head,
            spatial: template.spatial,
            temporal: template.temporal,
            indications,
            active_decode_targets,
            size: structure.size(template.spatial),
            size_max: structure.size(structure.spatial_layers().saturating_sub(1)),
            chains,
            decode_targets,
        })
    }

    /// Nothing that any receiver decodes depends on the frame.
    pub const fn is_discardable(&self) -> bool {
        self.indications.any(self.decode_targets, Indication::Discardable)
            && !self.indications.any(self.decode_targets, Indication::Switch)
            && !self.indications.any(self.decode_targets, Indication::Required)
    }

    /// A receiver may switch up to some decode target here.
    pub const fn is_switching_up(&self) -> bool {
        self.indications.any(self.decode_targets, Indication::Switch)
    }
}

/// Overwrites the frame number of a descriptor in place.
///
/// **Errors**: `Capacity` when `bytes` is no descriptor.
pub fn set_frame_number(bytes: &mut [u8], frame_number: u16) -> Result<()> {
    let number = bytes.get_mut(1..MANDATORY_BYTES).ok_or(WireError::Capacity)?;
    number.copy_from_slice(&frame_number.to_be_bytes());
    Ok(())
}

fn begin(bytes: &[u8]) -> Result<(BitReader<'_>, Flags)> {
    let mut reader = BitReader::new(bytes);
    reader.take(8 * MANDATORY_BYTES as u32)?;
    let flags = if bytes.len() > MANDATORY_BYTES { Flags::read(&mut reader)? } else { Flags::default() };
    Ok((reader, flags))
}

/// frame_fdiffs: sizes of 4, 8 or 12 bits until a size of 0.
fn skip_differences(reader: &mut BitReader<'_>) -> Result<()> {
    loop {
        match reader.take(2)? {
            0 => return Ok(()),
            nibbles => reader.take(4 * nibbles)?,
        };
    }
}

#[cfg(test)]
mod tests;
