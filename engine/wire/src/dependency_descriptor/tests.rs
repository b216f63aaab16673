use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

/// Writes bit fields as the specification lists them.
#[derive(Default)]
struct Bits(Vec<bool>);

impl Bits {
    fn put(mut self, width: u32, value: u32) -> Self {
        self.0.extend((0..width).rev().map(|bit| value >> bit & 1 != 0));
        self
    }

    fn all(self, width: u32, values: &[u32]) -> Self {
        values.iter().fold(self, |bits, &value| bits.put(width, value))
    }

    fn bytes(self) -> Vec<u8> {
        self.0
            .chunks(8)
            .map(|byte| byte.iter().enumerate().fold(0, |sum, (i, &bit)| sum | u8::from(bit) << (7 - i)))
            .collect()
    }
}

/// L2T2 with offset 60, two decode targets, one chain and sizes; attached to a frame of `template`.
fn key_frame(template: u32) -> Vec<u8> {
    structure(mandatory(template).all(1, &[1, 0, 0, 0, 0])).bytes()
}

fn mandatory(template: u32) -> Bits {
    // Start of frame, not its end.
    Bits::default().put(2, 0b10).put(6, template).put(16, 0x0102)
}

fn structure(bits: Bits) -> Bits {
    let layers = bits.put(6, 60).put(5, 1).all(2, &[1, 2, 1, 3]);
    // Per template: what it is to the decode targets 0 and 1.
    let indications = layers.all(2, &[2, 3]).all(2, &[0, 1]).all(2, &[0, 2]).all(2, &[0, 1]);
    // The second template has one frame difference, the others none.
    let differences = indications.put(1, 0).put(6, 0b10_0000).put(1, 0).put(1, 0);
    // ns(3): 0 is "0", 1 is "10"; ns(1) has no bits.
    let chains = differences.put(2, 0b10).all(4, &[0, 4, 3, 2]);
    chains.put(1, 1).all(16, &[319, 179, 639, 359])
}

#[test]
fn an_attached_structure_tells_layers_and_sizes() {
    let bytes = key_frame(62);
    let structure = Structure::parse(&bytes).unwrap().unwrap();
    let layers: Vec<_> = structure.templates().iter().map(|t| (t.spatial, t.temporal)).collect();
    assert_eq!(layers, [(0, 0), (0, 1), (1, 0), (1, 1)]);
    assert_eq!((structure.decode_targets(), structure.chains(), structure.spatial_layers()), (2, 1, 2));
    assert_eq!((structure.size(0), structure.size(1), structure.size(2)), (Some((320, 180)), Some((640, 360)), None));
    assert_eq!((structure.chain_of(1), structure.chain_of(2)), (Some(0), None));
    assert_eq!((structure.decode_target_layers(0), structure.decode_target_layers(1)), ((0, 0), (1, 1)));

    let descriptor = Descriptor::parse(&bytes, None).unwrap();
    assert!(descriptor.head.start_of_frame && !descriptor.head.end_of_frame && descriptor.head.has_structure);
    assert_eq!((descriptor.head.template_id, descriptor.head.frame_number), (62, 0x0102));
    assert_eq!((descriptor.spatial, descriptor.temporal, descriptor.size), (1, 0, Some((640, 360))));
    assert_eq!(descriptor.size_max, Some((640, 360)));
    assert_eq!((descriptor.active_decode_targets, descriptor.chains[0]), (Some(0b11), 3));
    assert!(descriptor.is_switching_up() && !descriptor.is_discardable());
}

#[test]
fn a_short_descriptor_needs_the_structure_of_its_stream() {
    let structure = Structure::parse(&key_frame(60)).unwrap().unwrap();
    let bytes = mandatory(63).bytes();
    assert_eq!(Structure::parse(&bytes), Ok(None));
    assert_eq!(Descriptor::parse(&bytes, None), Err(WireError::Unsupported));
    let descriptor = Descriptor::parse(&bytes, Some(&structure)).unwrap();
    assert_eq!((descriptor.spatial, descriptor.temporal, descriptor.active_decode_targets), (1, 1, None));
    assert!(descriptor.is_discardable());
}

#[test]
fn template_ids_wrap_and_unknown_ones_are_refused() {
    let structure = Structure::parse(&key_frame(60)).unwrap().unwrap();
    let template = |id| structure.template(id).map(|template| (template.spatial, template.temporal));
    assert_eq!((template(60), template(63), template(0), template(59)), (Some((0, 0)), Some((1, 1)), None, None));
    assert_eq!(Descriptor::parse(&mandatory(0).bytes(), Some(&structure)), Err(WireError::Malformed));
}

#[test]
fn custom_fields_replace_those_of_the_template() {
    let structure = Structure::parse(&key_frame(60)).unwrap().unwrap();
    let custom = mandatory(60)
        .all(1, &[0, 1, 1, 1, 1])
        .put(2, 0b01) // active decode targets
        .all(2, &[1, 1]) // indications
        .put(2, 1)
        .put(4, 7)
        .put(2, 3)
        .put(12, 99)
        .put(2, 0) // frame differences
        .put(8, 200); // chain
    let descriptor = Descriptor::parse(&custom.bytes(), Some(&structure)).unwrap();
    assert_eq!((descriptor.active_decode_targets, descriptor.chains[0]), (Some(1), 200));
    assert_eq!(descriptor.indications.get(0), Indication::Discardable);
    assert!(descriptor.is_discardable());
}

#[test]
fn the_frame_number_changes_in_place() {
    let mut bytes = key_frame(60);
    set_frame_number(&mut bytes, 0xfffe).unwrap();
    assert_eq!(Head::parse(&bytes).unwrap().frame_number, 0xfffe);
    assert_eq!(set_frame_number(&mut bytes[..2], 1), Err(WireError::Capacity));
}

#[test]
fn more_than_64_templates_are_refused() {
    let endless = mandatory(0).all(1, &[1, 0, 0, 0, 0]).put(6, 0).put(5, 0).all(2, &vec![0; 100]);
    assert_eq!(Structure::parse(&endless.bytes()), Err(WireError::Capacity));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), attach in any::<bool>()) {
        let mut bytes = bytes;
        if attach && let Some(flags) = bytes.get_mut(3) {
            *flags |= 0x80;
        }
        let stored = Structure::parse(&key_frame(60)).unwrap().unwrap();
        if let Ok(descriptor) = Descriptor::parse(&bytes, Some(&stored)) {
            descriptor.is_discardable();
            descriptor.is_switching_up();
        }
        if let Ok(Some(structure)) = Structure::parse(&bytes) {
            for target in 0..40 {
                structure.decode_target_layers(target);
                structure.chain_of(target);
            }
            (0..=255).for_each(|id| { structure.template(id); });
        }
    }

    #[test]
    fn mutated_structures_never_panic(at in 0usize..30, value in any::<u8>(), len in 0usize..40) {
        let mut bytes = key_frame(60);
        if let Some(byte) = bytes.get_mut(at) {
            *byte = value;
        }
        Descriptor::parse(&bytes, None).ok();
        Descriptor::parse(bytes.get(..len).unwrap_or_default(), None).ok();
    }
}
