//! What ports over the kernel's sockets have in common, and which of them a machine allows.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::str::FromStr;

use crate::port::Port;
use crate::setup::{PortConfig, SetupError};
use crate::uring;

/// A port over the kernel's sockets: made on any thread, started and used on the worker's.
pub trait KernelPort: Port + Send + Sized + 'static {
    /// **Errors**: see [`SetupError::remedy`]. **Cost**: all memory that the port will ever use.
    fn make(config: PortConfig) -> Result<Self, SetupError>;

    /// What other workers of this process wake this one by.
    fn waker(&self) -> io::Result<OwnedFd>;

    /// Binds the port to the calling thread and begins to receive. Once.
    ///
    /// **Input**: the wakers of all workers of this process, by worker; empty when there are no others.
    fn start(&mut self, wakers: Vec<OwnedFd>) -> Result<(), SetupError>;
}

impl KernelPort for uring::UringPort {
    fn make(config: PortConfig) -> Result<Self, SetupError> {
        Self::new(config)
    }

    fn waker(&self) -> io::Result<OwnedFd> {
        self.waker()
    }

    fn start(&mut self, wakers: Vec<OwnedFd>) -> Result<(), SetupError> {
        self.start(wakers)
    }
}

/// The system calls that packets take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// [`crate::UringPort`].
    IoUring,
    /// [`crate::MmsgPort`].
    Mmsg,
}

impl Backend {
    pub const fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Mmsg => "mmsg",
        }
    }
}

/// What an operator asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// io_uring; where it is forbidden, recvmmsg and sendmmsg.
    #[default]
    Auto,
    Only(Backend),
}

impl FromStr for Choice {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, UnknownChoice> {
        match text {
            "auto" => Ok(Self::Auto),
            "io_uring" => Ok(Self::Only(Backend::IoUring)),
            "mmsg" => Ok(Self::Only(Backend::Mmsg)),
            _ => Err(UnknownChoice),
        }
    }
}

/// Not `auto`, `io_uring` or `mmsg`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownChoice;

impl fmt::Display for UnknownChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("packets go by auto, io_uring or mmsg")
    }
}

impl std::error::Error for UnknownChoice {}

/// What [`choose`] found.
#[derive(Debug)]
pub struct Chosen {
    pub backend: Backend,
    /// Why it is not io_uring, when nobody asked for another.
    pub forbidden: Option<SetupError>,
}

/// The backend that serves: a small ring is made and dropped to learn whether io_uring may be used.
///
/// **Errors**: io_uring was asked for and is forbidden, or it fails for a reason that the operator can mend.
pub fn choose(choice: Choice) -> Result<Chosen, SetupError> {
    match choice {
        Choice::Only(Backend::Mmsg) => Ok(Chosen { backend: Backend::Mmsg, forbidden: None }),
        Choice::Only(Backend::IoUring) => {
            uring::probe().map(|()| Chosen { backend: Backend::IoUring, forbidden: None })
        }
        Choice::Auto => match uring::probe() {
            Ok(()) => Ok(Chosen { backend: Backend::IoUring, forbidden: None }),
            Err(error) if error.is_forbidden() => Ok(Chosen { backend: Backend::Mmsg, forbidden: Some(error) }),
            Err(error) => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_chosen_by_its_own_name() {
        for backend in [Backend::IoUring, Backend::Mmsg] {
            assert_eq!(backend.name().parse(), Ok(Choice::Only(backend)));
        }
        assert_eq!("auto".parse(), Ok(Choice::default()));
        assert_eq!("epoll".parse::<Choice>(), Err(UnknownChoice));
    }
}
