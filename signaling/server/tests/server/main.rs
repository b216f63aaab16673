//! The server over regions in memory: real sockets, a fake engine, no other process.

mod hostile;
mod node;
mod patience;
mod restart;
mod signal;
mod twirp;
mod validate;
