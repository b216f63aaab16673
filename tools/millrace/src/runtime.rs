//! The runtime directory: a lock, and the socket on which `millrace ctl` gets read-only descriptors.

use std::fs::{self, File};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};

const LOCK: &str = "lock";
const SOCKET: &str = "holder.sock";
/// Descriptors for ctl: holder, signaling, courier, engine.
pub const SHOWN_REGIONS: usize = 4;

/// Owned by the running holder; removed when it ends.
#[derive(Debug)]
pub struct RuntimeDirectory {
    path: PathBuf,
    pub listener: UnixListener,
    created: bool,
    /// Held for the lock.
    _lock: File,
}

/// Where a node keeps its lock and socket unless told: one per signaling port.
pub fn default_path(port: u16) -> PathBuf {
    let base = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    base.join(format!("millrace-{port}"))
}

impl RuntimeDirectory {
    /// Takes the directory. **Errors**: another node has it.
    pub fn take(path: &Path) -> Result<Self> {
        let created = !path.exists();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(|| {
            format!("cannot make the runtime directory {}: name another with --runtime-dir", path.display())
        })?;
        let lock = File::create(path.join(LOCK))
            .with_context(|| format!("cannot write in {}: name another with --runtime-dir", path.display()))?;
        if rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
            bail!(
                "a node runs with the runtime directory {}: stop it, or name another with --runtime-dir",
                path.display()
            );
        }
        let socket = path.join(SOCKET);
        let _ = fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket)
            .with_context(|| format!("cannot make {}: name a shorter path with --runtime-dir", socket.display()))?;
        listener.set_nonblocking(true)?;
        Ok(Self { path: path.to_owned(), listener, created, _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for RuntimeDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.path.join(SOCKET));
        let _ = fs::remove_file(self.path.join(LOCK));
        if self.created {
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// Holder: answers everyone who waits on the socket.
pub fn serve(listener: &UnixListener, message: &[u8], descriptors: &[BorrowedFd<'_>]) {
    while let Ok((stream, _)) = listener.accept() {
        let _ = stream.set_write_timeout(Some(Duration::from_millis(100)));
        let _ = send(&stream, message, descriptors);
    }
}

fn send(stream: &UnixStream, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> rustix::io::Result<usize> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SHOWN_REGIONS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(descriptors));
    rustix::net::sendmsg(stream.as_fd(), &[IoSlice::new(message)], &mut control, SendFlags::NOSIGNAL)
}

/// ctl: the holder's message and descriptors.
pub fn connect(path: &Path) -> Result<(Vec<u8>, Vec<OwnedFd>)> {
    let socket = path.join(SOCKET);
    let stream = UnixStream::connect(&socket).with_context(|| {
        format!("no node runs with the runtime directory {}: name its directory with --runtime-dir", path.display())
    })?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut message = vec![0; 4096];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SHOWN_REGIONS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(
        stream.as_fd(),
        &mut [IoSliceMut::new(&mut message)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )
    .context("the holder does not answer: see whether the node is stopped or hangs")?;
    message.truncate(received.bytes);
    let mut descriptors = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = part {
            descriptors.extend(rights);
        }
    }
    Ok((message, descriptors))
}
