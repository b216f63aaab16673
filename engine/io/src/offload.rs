//! UDP segmentation offload, for the log: whether sockets take a train in one send, and whether the device cuts it.

use std::ffi::CStr;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use socket2::{Domain, Socket, Type};

use crate::socket::interface_of;

/// From linux/udp.h; Linux 4.18.
const UDP_SEGMENT: i32 = 103;
/// From linux/sockios.h and linux/ethtool.h.
const SIOCETHTOOL: u64 = 0x8946;
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_GFEATURES: u32 = 0x3a;
const ETH_SS_FEATURES: u32 = 4;
const STRING_BYTES: usize = 32;
/// Features that are read: Linux 6.18 has 64.
const FEATURES_MAX: usize = 256;
const FEATURE: &[u8] = b"tx-udp-segmentation";

/// What was found at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offload {
    /// The sockets accept UDP_SEGMENT.
    pub sockets: bool,
    /// Per interface with a local address: its name, and whether it cuts trains by itself; `None` when it does not tell.
    pub devices: Vec<(String, Option<bool>)>,
}

impl Offload {
    /// **Input**: local addresses and a UDP socket. **Cost**: a few system calls per address, for the start only.
    pub fn detect(socket: impl AsFd, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let mut devices: Vec<(String, Option<bool>)> = Vec::new();
        for name in addresses.into_iter().filter_map(|address| interface_of(address).ok().flatten()) {
            if devices.iter().all(|(known, _)| *known != name) {
                let cuts = device_segments(&name).ok();
                devices.push((name, cuts));
            }
        }
        Self { sockets: socket_segments(socket), devices }
    }

    /// Every device is known to cut trains by itself.
    pub fn devices_segment(&self) -> bool {
        self.sockets && !self.devices.is_empty() && self.devices.iter().all(|(_, cuts)| *cuts == Some(true))
    }
}

impl fmt::Display for Offload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.sockets {
            return f.write_str(
                "UDP segmentation: none, this kernel has no UDP_SEGMENT; every datagram is a send of its own",
            );
        }
        f.write_str("UDP segmentation: trains in one send")?;
        for (name, cuts) in &self.devices {
            let how = match cuts {
                Some(true) => "cut by the device",
                Some(false) => "cut by the kernel (tx-udp-segmentation is off)",
                None => "unknown",
            };
            write!(f, ", {name}: {how}")?;
        }
        Ok(())
    }
}

/// True when trains can be sent on the socket.
pub fn socket_segments(socket: impl AsFd) -> bool {
    let (mut value, mut bytes): (libc::c_int, libc::socklen_t) = (0, size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: the kernel writes at most `bytes` bytes to a local that outlives the call.
    let result = unsafe {
        let fd = socket.as_fd().as_raw_fd();
        libc::getsockopt(fd, libc::SOL_UDP, UDP_SEGMENT, (&raw mut value).cast(), &raw mut bytes)
    };
    result == 0
}

/// True when the interface has `tx-udp-segmentation` switched on.
///
/// **Errors**: no such interface, or one without ethtool. **Source**: linux/ethtool.h.
pub fn device_segments(name: &str) -> io::Result<bool> {
    let socket: OwnedFd = Socket::new(Domain::IPV4, Type::DGRAM, None)?.into();
    let index = feature_names(&socket, name)?
        .chunks(STRING_BYTES)
        .position(|text| CStr::from_bytes_until_nul(text).is_ok_and(|text| text.to_bytes() == FEATURE));
    let Some(index) = index else { return Ok(false) };
    // cmd, size in blocks of 32 features, then per block: available, requested, active, never changed.
    let mut words = [0_u32; 2 + FEATURES_MAX / 32 * 4];
    (words[0], words[1]) = (ETHTOOL_GFEATURES, (FEATURES_MAX / 32) as u32);
    // SAFETY: the kernel fills as many blocks as the second word says.
    unsafe { ask(&socket, name, &mut words)? };
    let active = words.get(2 + index / 32 * 4 + 2).copied().unwrap_or(0);
    Ok(active & 1 << (index % 32) != 0)
}

/// Names of the features in the order of their bits, 32 B each.
fn feature_names(socket: &OwnedFd, name: &str) -> io::Result<Vec<u8>> {
    // cmd, reserved, mask of string sets (64 bit), one count.
    let mask = (1_u64 << ETH_SS_FEATURES).to_ne_bytes();
    let half = |at: usize| u32::from_ne_bytes([mask[at], mask[at + 1], mask[at + 2], mask[at + 3]]);
    let mut info = [ETHTOOL_GSSET_INFO, 0, half(0), half(4), 0];
    // SAFETY: one set is asked for, so one count is written.
    unsafe { ask(socket, name, &mut info)? };
    let count = info[4] as usize;
    if count > FEATURES_MAX {
        return Err(io::ErrorKind::Unsupported.into());
    }
    // cmd, string set, count, then the strings.
    let mut words = vec![0_u32; 3 + count * STRING_BYTES / 4];
    (words[0], words[1], words[2]) = (ETHTOOL_GSTRINGS, ETH_SS_FEATURES, count as u32);
    // SAFETY: the kernel writes as many strings as it has just told; the number of features is fixed when it is built.
    unsafe { ask(socket, name, &mut words)? };
    Ok(words[3..].iter().flat_map(|word| word.to_ne_bytes()).collect())
}

/// # Safety
/// `words` is an ethtool structure with room for the answer.
unsafe fn ask(socket: &OwnedFd, name: &str, words: &mut [u32]) -> io::Result<()> {
    // SAFETY: zero is a value of every field.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
    // SAFETY: the request and the words outlive the call, and the answer fits as the caller promises.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};

    use super::*;

    #[test]
    fn loopback_cuts_trains_by_itself() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let offload = Offload::detect(&socket, [IpAddr::V4(Ipv4Addr::LOCALHOST)]);
        assert_eq!(offload, Offload { sockets: true, devices: vec![("lo".to_owned(), Some(true))] });
        assert!(offload.devices_segment() && offload.to_string().ends_with("lo: cut by the device"), "{offload}");
    }

    #[test]
    fn what_is_not_there_is_said() {
        assert!(device_segments("none0").is_err() && device_segments("a name that is too long").is_err());
        let stream = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let offload = Offload::detect(&stream, []);
        assert!(!offload.sockets && !offload.devices_segment());
        assert!(offload.to_string().contains("no UDP_SEGMENT"));
    }
}
