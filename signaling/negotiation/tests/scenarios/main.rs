//! Whole negotiations, with descriptions of recorded clients.

mod dual;
mod hostile;
mod scene;
mod single;
