//! Scenarios of a whole node over memory ports: real checks, real SRTP, simulated time.

mod forward;
mod hostile;
mod join;
mod moves;
mod peer;
mod repair;
mod stage;
mod trains;
