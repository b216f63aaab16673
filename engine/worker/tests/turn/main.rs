//! Scenarios of a whole node over memory ports: real checks, real SRTP, simulated time.

mod join;
mod peer;
mod stage;
