//! The end that the holder asks for, and the one that a panic makes.

use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, poll};

/// Blocks until the eventfd is readable.
pub fn wait(shutdown: &OwnedFd) {
    loop {
        let mut fds = [PollFd::new(shutdown, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(count) if count > 0 => return,
            Err(rustix::io::Errno::INTR) | Ok(_) => {}
            // Without the descriptor nobody can ask; a signal still ends the process.
            Err(_) => std::thread::park(),
        }
    }
}

/// Every panic, on whatever thread, ends the process: the holder starts a successor, which goes on from shared memory.
pub fn abort_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        print(info);
        std::process::abort();
    }));
}
