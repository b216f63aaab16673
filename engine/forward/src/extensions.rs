//! The header extensions of an egress: written once into a template per plan, element by element only for packets with a
//! dependency descriptor.

use engine_base::Kind;
use engine_wire::error::WireError;
use engine_wire::extension::{BLOCK_HEADER_BYTES, ExtensionWriter};
use engine_wire::rtp::{FIXED_HEADER_BYTES, RtpHeader};

use crate::plan::EgressPlan;

/// Room for a template: 12 of the header, 4 of the block's, at most 2 × 5 of the elements', 3 + 2 + 1 + 16 of their values and 4
/// reserved, in whole words.
const TEMPLATE_BYTES: usize = 64;

/// Where values that are set later stand in the packet; 0 is nowhere, since no packet begins with one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Places {
    list: [u16; 3],
}

impl Places {
    pub(crate) fn abs_send_time(self) -> Option<usize> {
        self.get(ABS_SEND_TIME)
    }

    pub(crate) fn transport_sequence(self) -> Option<usize> {
        self.get(TRANSPORT_SEQUENCE)
    }

    fn get(self, element: usize) -> Option<usize> {
        Some(usize::from(self.list[element])).filter(|&place| place != 0)
    }
}

/// RTP header and extension block of an egress with blank values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    bytes: [u8; TEMPLATE_BYTES],
    len: u8,
    /// Bytes from the audio level's element header to its value: 1, or 2 in the two-byte form.
    level_header: u8,
    places: Places,
}

impl Template {
    pub(crate) fn new(plan: &EgressPlan, with_mid: bool) -> Option<Self> {
        let mut bytes = [0; TEMPLATE_BYTES];
        let (len, places) = write_block(&mut bytes, plan, with_mid, Some(&0), &[]).ok()?;
        let two_byte = len > FIXED_HEADER_BYTES && bytes[FIXED_HEADER_BYTES] == 0x10;
        Some(Self { bytes, len: len as u8, level_header: if two_byte { 2 } else { 1 }, places })
    }

    /// `None` when `out` is too short. Without a level its element becomes padding (RFC 8285 §4.1.1).
    pub(crate) fn write(&self, out: &mut [u8], level: Option<u8>) -> Option<(usize, Places)> {
        let len = usize::from(self.len);
        out.get_mut(..len)?.copy_from_slice(&self.bytes[..len]);
        if let Some(place) = self.places.get(AUDIO_LEVEL) {
            match level {
                Some(level) => *out.get_mut(place)? = level,
                None => out.get_mut(place - usize::from(self.level_header)..=place)?.fill(0),
            }
        }
        Some((len, self.places))
    }
}

/// Writes an RTP header of zeroes and the extension block, and returns their length.
///
/// **Errors**: `Capacity` when `out` is too short.
pub(crate) fn write_block(
    out: &mut [u8],
    plan: &EgressPlan,
    with_mid: bool,
    level: Option<&u8>,
    descriptor: &[u8],
) -> Result<(usize, Places), WireError> {
    let elements = Elements::collect(plan, with_mid, level, descriptor);
    let mut places = Places::default();
    let block = Some(elements.block_bytes(plan.extension_block_bytes(with_mid))).filter(|&bytes| bytes != 0);
    let len = RtpHeader::default().write_with(out, block, |writer| elements.put(writer, &mut places))?;
    Ok((len, places))
}

const ABS_SEND_TIME: usize = 0;
const TRANSPORT_SEQUENCE: usize = 1;
const AUDIO_LEVEL: usize = 2;
const ELEMENTS: usize = 5;

/// The extension elements of one packet. The order is that of the list, but elements that need the two-byte form come first, so that
/// nothing moves after it was put.
struct Elements<'a> {
    list: [(u8, &'a [u8]); ELEMENTS],
    two_byte: bool,
}

impl<'a> Elements<'a> {
    fn collect(plan: &'a EgressPlan, with_mid: bool, level: Option<&'a u8>, descriptor: &'a [u8]) -> Self {
        let ids = &plan.extensions;
        let level = level.filter(|_| plan.kind == Kind::Audio);
        let mid = plan.mid.as_bytes();
        let when = |present: bool, id: u8| if present { id } else { 0 };
        let list = [
            (ids.abs_send_time, &[0; 3][..]),
            (ids.transport_cc, &[0; 2][..]),
            (when(level.is_some(), ids.audio_level), level.map_or(&[][..], std::slice::from_ref)),
            (when(!descriptor.is_empty(), ids.dependency_descriptor), descriptor),
            (when(with_mid && !mid.is_empty(), ids.mid), mid),
        ];
        Self { list, two_byte: list.iter().any(needs_two_byte) }
    }

    /// Bytes of the block: `fixed`, or more when the elements do not fit.
    fn block_bytes(&self, fixed: usize) -> usize {
        let element = if self.two_byte { 2 } else { 1 };
        let data: usize = self.list.iter().filter(|(id, _)| *id != 0).map(|(_, data)| element + data.len()).sum();
        let needed = if data == 0 { 0 } else { BLOCK_HEADER_BYTES + data.next_multiple_of(4) };
        needed.max(fixed)
    }

    fn put(&self, writer: &mut ExtensionWriter<'_>, places: &mut Places) -> Result<(), WireError> {
        for two_byte in [true, false] {
            for (position, element) in self.list.iter().enumerate().filter(|(_, e)| needs_two_byte(e) == two_byte) {
                let &(id, data) = element;
                if id == 0 {
                    continue;
                }
                writer.put(id, data)?;
                if let Some(place) = places.list.get_mut(position) {
                    let at = FIXED_HEADER_BYTES + writer.len() - data.len();
                    *place = u16::try_from(at).map_err(|_| WireError::Capacity)?;
                }
            }
        }
        Ok(())
    }
}

fn needs_two_byte(&(id, data): &(u8, &[u8])) -> bool {
    id > 14 || id != 0 && (data.is_empty() || data.len() > 16)
}
