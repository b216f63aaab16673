//! What the engine knows about rates: transport-wide arrival feedback to publishers, the estimate that a subscriber reports, and
//! windowed meters. It decides nothing: bandwidth estimation, probing and the layer budget take their place beside these.
//!
//! No I/O, no clock, no allocation: every type has a fixed size and time is an argument.
#![forbid(unsafe_code)]

pub mod estimate;
pub mod meter;
pub mod twcc;

pub use estimate::ReceiverEstimate;
pub use meter::Meter;
pub use twcc::ArrivalLog;
