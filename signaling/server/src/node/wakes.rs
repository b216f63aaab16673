//! Eventfds between the processes. A lost wake is harmless: everybody looks at levels.

use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

/// Inherited eventfds.
#[derive(Debug)]
pub struct Wakes {
    /// One per worker.
    pub workers: Vec<OwnedFd>,
    pub courier: OwnedFd,
    /// Written by workers and courier after they announced changes.
    pub own: OwnedFd,
}

impl Wakes {
    /// Rows have changed.
    pub(crate) fn rows_changed(&self) {
        self.workers.iter().for_each(wake);
        wake(&self.courier);
    }

    pub(crate) fn courier_has_work(&self) {
        wake(&self.courier);
    }
}

/// Fails only when the counter is full, and then the reader is awake anyway.
pub fn wake(eventfd: &OwnedFd) {
    let _ = rustix::io::write(eventfd, &1u64.to_ne_bytes());
}

/// Within a tokio runtime.
#[expect(
    deprecated,
    reason = "an OwnedFd stays open and the same, which is what the unsafe successor asks of its caller"
)]
pub fn watch(eventfd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(eventfd)
}

/// Returns when `eventfd` was written since the last return.
pub async fn woken(eventfd: &AsyncFd<OwnedFd>) {
    let mut counter = [0; 8];
    if let Ok(mut ready) = eventfd.readable().await {
        let _ = rustix::io::read(eventfd.get_ref(), &mut counter);
        ready.clear_ready();
    }
}
