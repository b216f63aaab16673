//! The shared ABI: every byte that two processes of a node share, who writes it and how it is read while it changes.
//!
//! A node has seven regions (sealed memfds), each with exactly one writing process: [`HolderRegion`], [`SignalingRegion`]
//! (desired rows), [`CourierRegion`], [`KeyRegion`], [`EngineRegion`] (observed rows), [`MediaRegion`] (packets and rewriting
//! state) and the [`Journal`]. Rows are published in two copies ([`Table`]), changes are announced in a [`ChangeLog`], bytes go
//! through a [`ByteRing`]. docs/TABLES.md draws it.
//!
//! Unsafe island. Invariants, referred to by number in SAFETY comments:
//! 1. A `Mapping` stays mapped as long as any `Region` clone lives (`Arc`), and its length never changes (sealed memfd).
//! 2. Offsets come from `Layout`, which aligns every section to 64 bytes and checks that it ends inside the mapping.
//! 3. Shared words are only touched as `AtomicU64`; no `&T` or `&mut T` to other shared bytes exists, except packet slots.
//! 4. Ring bytes are written only between the consumer's cursor and the producer's, and read only between the two.
//! 5. A slot is written only by the worker that owns its ingress, while its tag is 0 and after every worker's turn that could
//!    have seen another tag has ended; it is read only inside a turn and only while its tag is the expected one.
#![allow(unsafe_code)] // an island: see the invariants above
#![deny(unsafe_op_in_unsafe_fn)]
#![cfg_attr(feature = "loom", allow(dead_code, reason = "loom does not model the callers of some constructors"))]

pub mod change_log;
pub mod counters;
#[cfg(not(feature = "loom"))]
pub mod journal;
#[cfg(not(feature = "loom"))]
pub mod layout;
#[cfg(all(test, feature = "loom"))]
mod loom_tests;
#[cfg_attr(feature = "loom", path = "map_loom.rs")]
pub mod map;
pub mod prefetch;
#[cfg(not(feature = "loom"))]
pub mod regions;
pub mod ring;
pub mod rows;
pub mod slots;
mod sync;
pub mod table;

pub use change_log::{Change, ChangeLog, ChangeReader, Changes, TableId};
pub use counters::{CourierCounter, EgressCounter, IngressCounter, SignalingFigure, TransportCounter, WorkerCounter};
#[cfg(not(feature = "loom"))]
pub use journal::Journal;
#[cfg(not(feature = "loom"))]
pub use map::{MapError, Region};
pub use prefetch::{prefetch, prefetch_value};
#[cfg(not(feature = "loom"))]
pub use regions::{CourierRegion, EngineRegion, HolderRegion, KeyRegion, MediaRegion, SignalingRegion};
pub use ring::{ByteRing, RingConsumer, RingProducer};
pub use rows::*;
pub use slots::{PacketHeader, PictureNumbers, SlotRef, SlotStream, Slots, SlotsBusy, Turn};
pub use table::{Row, Table};
