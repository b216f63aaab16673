//! What a port over the kernel is made of, what can go wrong when it is made, and what an operator does about it.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;

use engine_base::limits::TRAIN_BYTES;

/// Receive buffers of a worker: a turn of 256 datagrams and what arrives while it is handled; 1,024 × 1,600 B = 1.6 MB.
pub const RECEIVE_BUFFERS: u16 = 1_024;
/// Sends in flight before the port submits by itself: four batches of 32 trains. Memory appears when a slot is used, and the slot
/// freed last is used first.
pub const SEND_SLOTS: u32 = 128;

/// What a port is made of.
#[derive(Debug)]
pub struct PortConfig {
    /// This worker's UDP sockets; their order is the socket index everywhere.
    pub sockets: Vec<OwnedFd>,
    /// Unbound sockets with SO_REUSEPORT for [`crate::Sender::connect`], the holder's; empty for none.
    pub pool: Vec<OwnedFd>,
    /// Of the pool, at most this many are bound to one address.
    pub pool_per_address: usize,
    /// This worker's eventfd, written by other processes while the worker sleeps.
    pub wake: Option<OwnedFd>,
    /// A power of two ≤ 32,768: most datagrams of one batch.
    pub receive_buffers: u16,
    pub send_slots: u32,
    /// Bytes of a send slot, `SEND_BYTES` to 65,507: the longest train.
    pub send_slot_bytes: usize,
}

impl PortConfig {
    pub fn new(sockets: Vec<OwnedFd>, wake: Option<OwnedFd>) -> Self {
        Self {
            sockets,
            pool: Vec::new(),
            pool_per_address: 0,
            wake,
            receive_buffers: RECEIVE_BUFFERS,
            send_slots: SEND_SLOTS,
            send_slot_bytes: TRAIN_BYTES,
        }
    }
}

/// The port could not be made. The text's last line says what to do.
#[derive(Debug)]
pub struct SetupError {
    /// What was tried.
    pub step: &'static str,
    pub source: io::Error,
}

impl SetupError {
    pub(crate) fn at(step: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self { step, source }
    }

    /// True where io_uring does not exist or nobody may use it, so that another port shall serve. A kernel whose io_uring is too
    /// old is not meant: it is older than anything this engine was tried on.
    pub fn is_forbidden(&self) -> bool {
        matches!(self.source.raw_os_error(), Some(libc::EPERM | libc::EACCES | libc::ENOSYS))
    }

    /// What an operator does about it.
    pub fn remedy(&self) -> &'static str {
        match self.source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) if !is_allowed_by_sysctl() => {
                "io_uring is switched off on this machine: run `sysctl -w kernel.io_uring_disabled=0` (and keep it in /etc/sysctl.d)"
            }
            Some(libc::EPERM | libc::EACCES) => {
                "io_uring is forbidden here, most likely by a container's seccomp profile: allow io_uring_setup, io_uring_enter and \
                 io_uring_register (docker: --security-opt seccomp=PROFILE), or run outside the container"
            }
            Some(libc::ENOSYS) => {
                "this kernel has no io_uring, or a seccomp profile hides it: use Linux 6.1 or newer with CONFIG_IO_URING, and allow \
                 io_uring_setup, io_uring_enter and io_uring_register in a container"
            }
            Some(libc::EINVAL) => "this kernel's io_uring is too old: use Linux 6.1 or newer",
            Some(libc::ENOMEM) => {
                "memory for the ring was refused: raise RLIMIT_MEMLOCK to 64 MiB (systemd: LimitMEMLOCK=64M, shell: ulimit -l 65536)"
            }
            Some(libc::EMFILE | libc::ENFILE) => {
                "too many open files: raise RLIMIT_NOFILE (systemd: LimitNOFILE=65536, shell: ulimit -n 65536)"
            }
            _ => "see the kernel's log; Linux 6.1 or newer with io_uring is needed",
        }
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}\n{}", self.step, self.source, self.remedy())
    }
}

impl std::error::Error for SetupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Since Linux 6.6; absent means allowed. 1 allows a privileged group only, 2 nobody.
fn is_allowed_by_sysctl() -> bool {
    std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").is_ok_and(|value| value.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_ends_with_its_remedy() {
        for errno in [libc::EPERM, libc::ENOSYS, libc::EINVAL, libc::ENOMEM, libc::EMFILE, libc::EIO] {
            let error = SetupError::at("set up io_uring")(io::Error::from_raw_os_error(errno));
            let text = error.to_string();
            assert!(text.starts_with("cannot set up io_uring: "), "{text}");
            assert_eq!(text.lines().last(), Some(error.remedy()));
        }
    }
}
