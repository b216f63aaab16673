//! One io_uring: requests in, completions out, and what a completion means.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use io_uring::{EnterFlags, IoUring, squeue, types};

/// Requests submitted at once at most. 128 × 64 B = 8 KiB.
pub(crate) const SUBMISSIONS: u32 = 128;

/// Kinds of requests, in the upper half of `user_data`; the lower half is an index.
const RECEIVE: u64 = 1 << 32;
const SEND: u64 = 2 << 32;
const EVENT: u64 = 3 << 32;
const WAKE_SENT: u64 = 4 << 32;
const WAKE_RECEIVED: u64 = 5 << 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// A multishot receive on a socket.
    Receive(u32),
    /// A send slot.
    Send(u32),
    /// The eventfd became readable.
    Event,
    /// Waking a worker failed.
    WakeSent(u32),
    /// Another worker woke this one.
    WakeReceived,
}

impl Token {
    pub(crate) const fn user_data(self) -> u64 {
        match self {
            Self::Receive(socket) => RECEIVE | socket as u64,
            Self::Send(slot) => SEND | slot as u64,
            Self::Event => EVENT,
            Self::WakeSent(worker) => WAKE_SENT | worker as u64,
            Self::WakeReceived => WAKE_RECEIVED,
        }
    }

    const fn from_user_data(user_data: u64) -> Option<Self> {
        let index = user_data as u32;
        match user_data >> 32 << 32 {
            RECEIVE => Some(Self::Receive(index)),
            SEND => Some(Self::Send(index)),
            EVENT => Some(Self::Event),
            WAKE_SENT => Some(Self::WakeSent(index)),
            WAKE_RECEIVED => Some(Self::WakeReceived),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Completion {
    pub token: Token,
    /// Bytes, or a negative errno.
    pub result: i32,
    pub flags: u32,
}

pub(crate) struct Queue {
    ring: IoUring,
    /// Waiting does not count as I/O wait of the machine, where the kernel can say so (6.14).
    wait_flags: EnterFlags,
    /// Bit per worker whose wake-up is queued and not submitted yet. A later one is needed after a submission, because the
    /// worker may have slept again.
    pub(crate) wakes_queued: u64,
}

impl Queue {
    /// A ring that does nothing before [`Queue::enable`].
    ///
    /// `completions`: enough for everything in flight, so that the kernel never keeps an overflow list.
    pub(crate) fn new(completions: u32) -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_r_disabled()
            .setup_cqsize(completions.next_power_of_two())
            .dontfork()
            .build(SUBMISSIONS)?;
        let wait_flags = if ring.params().is_feature_no_iowait() { EnterFlags::NO_IOWAIT } else { EnterFlags::empty() };
        Ok(Self { ring, wait_flags, wakes_queued: 0 })
    }

    /// Binds the ring to the calling thread.
    pub(crate) fn enable(&self) -> io::Result<()> {
        self.ring.submitter().register_enable_rings()
    }

    pub(crate) fn submitter(&self) -> io_uring::Submitter<'_> {
        self.ring.submitter()
    }

    pub(crate) fn try_clone_fd(&self) -> io::Result<OwnedFd> {
        // SAFETY: the ring is open as long as `self` lives.
        unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }.try_clone_to_owned()
    }

    /// Queues a request; a full queue is submitted first. False when the kernel had no memory to take any: the request is
    /// not queued.
    ///
    /// # Safety
    /// What the request points to stays valid until its completion (invariant 4).
    #[inline]
    #[must_use]
    pub(crate) unsafe fn push(&mut self, entry: squeue::Entry) -> bool {
        if self.ring.submission().is_full() {
            self.enter(0, false, None);
        }
        // SAFETY: as promised by the caller.
        unsafe { self.ring.submission().push(&entry) }.is_ok()
    }

    /// Submits what is queued.
    #[inline]
    pub(crate) fn submit(&mut self) {
        if !self.ring.submission().is_empty() {
            self.enter(0, false, None);
        }
    }

    /// Submits what is queued and lets the kernel finish what has happened meanwhile; sleeps until `completions` are there,
    /// for at most `timeout_ns`.
    #[inline]
    pub(crate) fn run(&mut self, completions: u32, timeout_ns: Option<u64>) {
        self.enter(completions, true, timeout_ns);
    }

    fn enter(&mut self, completions: u32, get_events: bool, timeout_ns: Option<u64>) {
        let timeout = timeout_ns
            .map(|ns| types::Timespec::new().sec(ns / 1_000_000_000).nsec((ns % 1_000_000_000) as u32))
            .unwrap_or_default();
        let mut arguments = types::SubmitArgs::new();
        if timeout_ns.is_some() {
            arguments = arguments.timespec(&timeout);
        }
        let mut flags = EnterFlags::EXT_ARG;
        if get_events {
            flags |= EnterFlags::GETEVENTS;
        }
        if completions > 0 {
            flags |= self.wait_flags;
        }
        self.wakes_queued = 0;
        let queued = self.ring.submission().len() as u32;
        // SAFETY: the arguments are those that EXT_ARG announces and outlive the call.
        let entered = unsafe { self.ring.submitter().enter(queued, completions, flags.bits(), Some(&arguments)) };
        if let Err(error) = entered {
            let errno = error.raw_os_error().unwrap_or(0);
            // Transient: a signal, the timeout, no memory, or completions to be taken first. Others are bugs.
            assert!(
                matches!(errno, libc::EINTR | libc::ETIME | libc::EAGAIN | libc::ENOMEM | libc::EBUSY),
                "io_uring_enter: {error}"
            );
        }
    }

    /// True when an enter would finish something without sleeping.
    #[inline]
    pub(crate) fn has_events(&mut self) -> bool {
        let submission = self.ring.submission();
        submission.taskrun() || submission.cq_overflow()
    }

    /// Takes every completion that is there.
    #[inline]
    pub(crate) fn drain(&mut self, mut each: impl FnMut(Completion)) {
        for entry in self.ring.completion() {
            let token = Token::from_user_data(entry.user_data()).expect("a completion of a request of this port");
            each(Completion { token, result: entry.result(), flags: entry.flags() });
        }
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("fd", &self.ring.as_raw_fd()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back() {
        for token in [Token::Receive(7), Token::Send(u32::MAX), Token::Event, Token::WakeSent(3), Token::WakeReceived] {
            assert_eq!(Token::from_user_data(token.user_data()), Some(token));
        }
        assert_eq!(Token::from_user_data(9), None);
    }
}
