//! The picture size in a sequence parameter set (H.264 §7.3.2.1.1).

use crate::bits::BitReader;
use crate::error::{Result, WireError};

/// Everything up to the cropping fields of a set without scaling lists fits into half of it.
const PREFIX_BYTES: usize = 128;
const MACROBLOCK: u32 = 16;

/// Width and height in pixels after cropping. **Input**: the unit behind its one-byte header.
///
/// **Errors**: `Truncated` also when the fields lie behind the first 128 bytes; `Malformed` for an impossible size.
pub fn size(sps: &[u8]) -> Result<(u16, u16)> {
    let mut buffer = [0; PREFIX_BYTES];
    let mut reader = BitReader::new(unescape(sps, &mut buffer));
    let profile = reader.take(8)?;
    reader.take(16)?; // constraints and level
    reader.exp_golomb()?; // seq_parameter_set_id
    let chroma = if has_chroma_format(profile) { read_chroma_format(&mut reader)? } else { Chroma { x: 2, y: 2 } };
    reader.exp_golomb()?; // log2_max_frame_num_minus4
    skip_picture_order(&mut reader)?;
    reader.exp_golomb()?; // max_num_ref_frames
    reader.flag()?; // gaps_in_frame_num_value_allowed_flag
    let width = macroblocks(&mut reader)?;
    let map_height = macroblocks(&mut reader)?;
    let fields = if reader.flag()? { 1 } else { 2 };
    if fields == 2 {
        reader.flag()?; // mb_adaptive_frame_field_flag
    }
    reader.flag()?; // direct_8x8_inference_flag
    let mut crop = [0; 4];
    if reader.flag()? {
        for side in &mut crop {
            *side = reader.exp_golomb()?.min(u32::from(u16::MAX));
        }
    }
    let [left, right, top, bottom] = crop;
    Ok((pixels(width, chroma.x * (left + right))?, pixels(map_height * fields, chroma.y * fields * (top + bottom))?))
}

fn macroblocks(reader: &mut BitReader<'_>) -> Result<u32> {
    reader.exp_golomb().map(|count| count.min(u32::from(u16::MAX)) + 1)
}

fn pixels(macroblocks: u32, cropped: u32) -> Result<u16> {
    let pixels = (macroblocks * MACROBLOCK).checked_sub(cropped).filter(|&pixels| pixels != 0);
    pixels.and_then(|pixels| u16::try_from(pixels).ok()).ok_or(WireError::Malformed)
}

/// Removes emulation prevention: `00 00 03` stands for `00 00` (H.264 §7.4.1).
fn unescape<'a>(escaped: &[u8], buffer: &'a mut [u8; PREFIX_BYTES]) -> &'a [u8] {
    let (mut len, mut zeroes) = (0, 0);
    for &byte in escaped {
        if zeroes == 2 && byte == 3 {
            zeroes = 0;
            continue;
        }
        let Some(slot) = buffer.get_mut(len) else { break };
        *slot = byte;
        len += 1;
        zeroes = if byte == 0 { (zeroes + 1).min(2) } else { 0 };
    }
    buffer.get(..len).unwrap_or_default()
}

/// Pixels per unit of cropping.
struct Chroma {
    x: u32,
    y: u32,
}

const fn has_chroma_format(profile: u32) -> bool {
    matches!(profile, 44 | 83 | 86 | 100 | 110 | 118 | 122 | 128 | 134 | 135 | 138 | 139 | 244)
}

fn read_chroma_format(reader: &mut BitReader<'_>) -> Result<Chroma> {
    let format = reader.exp_golomb()?;
    let separate_planes = format == 3 && reader.flag()?;
    reader.exp_golomb()?; // bit_depth_luma_minus8
    reader.exp_golomb()?; // bit_depth_chroma_minus8
    reader.flag()?; // qpprime_y_zero_transform_bypass_flag
    if reader.flag()? {
        for list in 0..if format == 3 { 12 } else { 8 } {
            if reader.flag()? {
                skip_scaling_list(reader, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    Ok(match format {
        1 => Chroma { x: 2, y: 2 },
        2 => Chroma { x: 2, y: 1 },
        3 if !separate_planes => Chroma { x: 1, y: 1 },
        0 | 3 => Chroma { x: 1, y: 1 },
        _ => return Err(WireError::Malformed),
    })
}

/// H.264 §7.3.2.1.1.1.
fn skip_scaling_list(reader: &mut BitReader<'_>, entries: usize) -> Result<()> {
    let (mut last, mut next) = (8i32, 8i32);
    for _ in 0..entries {
        if next != 0 {
            next = last.wrapping_add(signed_exp_golomb(reader)?) & 255;
        }
        if next != 0 {
            last = next;
        }
    }
    Ok(())
}

/// `se(v)` of H.264 §9.1.1.
fn signed_exp_golomb(reader: &mut BitReader<'_>) -> Result<i32> {
    let code = reader.exp_golomb()?;
    let magnitude = code.div_ceil(2).cast_signed();
    Ok(if code % 2 == 1 { magnitude } else { -magnitude })
}

fn skip_picture_order(reader: &mut BitReader<'_>) -> Result<()> {
    match reader.exp_golomb()? {
        0 => reader.exp_golomb().map(drop),
        1 => {
            reader.flag()?; // delta_pic_order_always_zero_flag
            reader.exp_golomb()?; // offset_for_non_ref_pic
            reader.exp_golomb()?; // offset_for_top_to_bottom_field
            let cycle = reader.exp_golomb()?;
            if cycle > 255 {
                return Err(WireError::Malformed);
            }
            (0..cycle).try_for_each(|_| reader.exp_golomb().map(drop))
        }
        2 => Ok(()),
        _ => Err(WireError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_baseline_set_gives_640_by_480() {
        // 42 e0 1f: constrained baseline 3.1.
        let sps = [0x42, 0xe0, 0x1f, 0x8c, 0x8d, 0x40, 0x50, 0x1e, 0x90, 0x0f, 0x08, 0x84, 0x6a];
        assert_eq!(size(&sps), Ok((640, 480)));
    }

    #[test]
    fn a_cropped_high_set_gives_1920_by_1080() {
        // 64 00 28: high 4.0, with 1,088 coded lines.
        let sps =
            [0x64, 0x00, 0x28, 0xac, 0xd9, 0x40, 0x78, 0x02, 0x27, 0xe5, 0xc0, 0x44, 0x00, 0x00, 0x03, 0x00, 0x04];
        assert_eq!(size(&sps), Ok((1920, 1080)));
    }

    #[test]
    fn emulation_prevention_is_removed() {
        let mut buffer = [0; PREFIX_BYTES];
        assert_eq!(unescape(&[0, 0, 3, 1, 0, 0, 0, 3], &mut buffer), [0, 0, 1, 0, 0, 0]);
    }
}
