//! The only writer of desired rows. Rooms say what each row shall be ([`RowChange`]); the program publishes what differs and
//! announces it. It also hands out indices.
//!
//! A program adopts the region that its predecessor left: generations go on, and after the journal was replayed the rows of
//! sessions that no longer exist are freed ([`Program::finish_adoption`]).
#![forbid(unsafe_code)]

mod allocator;
mod program;

pub use allocator::RowAllocator;
pub use program::{Program, RowChange};
