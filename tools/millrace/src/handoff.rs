//! Descriptors that a child inherits: by number, named in one environment variable. Everything else is close-on-exec.
//!
//! Unsafe island of one block. Invariant: the numbers in [`VARIABLE`] were put there by the holder that executed this process,
//! and are taken once, before anything else opens descriptors.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use anyhow::{Context, Result, bail};
use engine_base::Limits;
use rustix::io::FdFlags;
use serde::{Deserialize, Serialize};

/// Environment variable with the JSON of [`Handoff`].
pub const VARIABLE: &str = "MILLRACE_HANDOFF";

/// What a child is told at its start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Handoff {
    /// Process id of the holder.
    pub holder: u32,
    /// End when the holder ends (`dev`).
    pub end_with_holder: bool,
    pub dev: bool,
    pub pin_cores: bool,
    /// `auto`, `io_uring` or `mmsg`.
    pub packet_io: String,
    pub xdp_interface: Option<String>,
    /// workers, transports, ingresses, egresses, datas.
    pub limits: [u32; 5],
    descriptors: BTreeMap<String, Vec<RawFd>>,
}

impl Handoff {
    pub fn new(limits: &Limits, end_with_holder: bool, dev: bool, pin_cores: bool) -> Self {
        let limits = [limits.workers, limits.transports, limits.ingresses, limits.egresses, limits.datas];
        let (holder, packet_io, xdp_interface) = (std::process::id(), String::new(), None);
        let descriptors = BTreeMap::new();
        Self { holder, end_with_holder, dev, pin_cores, packet_io, xdp_interface, limits, descriptors }
    }

    pub fn limits(&self) -> Limits {
        let [workers, transports, ingresses, egresses, datas] = self.limits;
        Limits { workers, transports, ingresses, egresses, datas }
    }

    /// Names descriptors that the child shall have.
    pub fn pass<'a>(&mut self, name: &str, descriptors: impl IntoIterator<Item = &'a OwnedFd>) {
        let numbers = descriptors.into_iter().map(AsRawFd::as_raw_fd).collect();
        self.descriptors.insert(name.to_owned(), numbers);
    }

    /// Runs `spawn` while the named descriptors survive exec. The holder has one thread, so no other child can get them.
    pub fn with_inheritance<T>(&self, spawn: impl FnOnce() -> std::io::Result<T>) -> std::io::Result<T> {
        self.set_flags(FdFlags::empty())?;
        let result = spawn();
        self.set_flags(FdFlags::CLOEXEC)?;
        result
    }

    fn set_flags(&self, flags: FdFlags) -> std::io::Result<()> {
        for number in self.descriptors.values().flatten() {
            rustix::io::fcntl_setfd(borrow(*number), flags)?;
        }
        Ok(())
    }

    /// In the child: what the holder said.
    pub fn receive() -> Result<Self> {
        let text =
            std::env::var(VARIABLE).context("this subcommand is started by `millrace dev` or `millrace run` only")?;
        serde_json::from_str(&text).context("the handoff is unreadable: start all processes from one executable")
    }

    /// Takes the descriptors of a name. Once.
    pub fn take_all(&mut self, name: &str) -> Result<Vec<OwnedFd>> {
        let Some(numbers) = self.descriptors.remove(name) else {
            bail!("the holder passed no descriptor named {name}")
        };
        numbers.into_iter().map(take).collect()
    }

    pub fn take(&mut self, name: &str) -> Result<OwnedFd> {
        let mut all = self.take_all(name)?;
        all.pop().with_context(|| format!("the holder passed no descriptor named {name}"))
    }
}

#[allow(unsafe_code)]
fn borrow<'a>(number: RawFd) -> BorrowedFd<'a> {
    // SAFETY: `pass` took the number of an OwnedFd that the holder keeps for the node's life.
    unsafe { BorrowedFd::borrow_raw(number) }
}

#[allow(unsafe_code)]
fn take(number: RawFd) -> Result<OwnedFd> {
    // SAFETY: the module's invariant: an open descriptor that nothing else in this process owns.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&descriptor, FdFlags::CLOEXEC).context("an inherited descriptor is not open")?;
    Ok(descriptor)
}
