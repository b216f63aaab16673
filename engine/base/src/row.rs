//! References to rows of the shared tables: an index and the generation of its present use.
//!
//! An index is reused; a generation is not, so a reference to a freed row can be told from one to its successor.
//! Generation 0 means "no row".

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

macro_rules! row_ref {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
        pub struct $name {
            pub index: u32,
            pub generation: u32,
        }

        impl $name {
            pub const NONE: Self = Self { index: 0, generation: 0 };

            pub const fn new(index: u32, generation: u32) -> Self {
                Self { index, generation }
            }

            pub const fn is_none(self) -> bool {
                self.generation == 0
            }
        }
    };
}

row_ref! {
    /// One client peer connection: a 5-tuple with its keys.
    TransportRef
}
row_ref! {
    /// One published track in one codec: up to three simulcast layers.
    IngressRef
}
row_ref! {
    /// One track forwarded to one subscriber.
    EgressRef
}
row_ref! {
    /// One participant's part in data packets.
    DataRef
}
