//! Local addresses: where sockets are bound and what candidates say.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses of interfaces that are up, IPv4 first, in the kernel's order and each once. Link-local ones are left out: a client
/// cannot use them without knowing the interface. Loopback ones only with `with_loopback`.
///
/// **Errors**: the kernel's. **Source**: getifaddrs(3).
pub fn local_addresses(with_loopback: bool) -> io::Result<Vec<IpAddr>> {
    let mut addresses = Vec::new();
    for (_, address) in interface_addresses()? {
        if is_usable(address, with_loopback) && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses.sort_by_key(IpAddr::is_ipv6);
    Ok(addresses)
}

/// Name of the interface that has the address, if any has.
///
/// **Errors**: the kernel's.
pub fn interface_of(address: IpAddr) -> io::Result<Option<String>> {
    let mut found = interface_addresses()?.into_iter().filter(|(_, other)| *other == address);
    Ok(found.next().map(|(name, _)| name))
}

fn is_usable(address: IpAddr, with_loopback: bool) -> bool {
    if address.is_loopback() {
        return with_loopback;
    }
    match address {
        IpAddr::V4(ip) => !ip.is_link_local() && !ip.is_unspecified() && !ip.is_broadcast(),
        IpAddr::V6(ip) => !ip.is_unicast_link_local() && !ip.is_unspecified() && !ip.is_multicast(),
    }
}

/// Every address of every interface that is up, with the interface's name.
fn interface_addresses() -> io::Result<Vec<(String, IpAddr)>> {
    let mut first: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: `first` is a place for the list's head.
    if unsafe { libc::getifaddrs(&raw mut first) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut found = Vec::new();
    let mut next = first;
    // SAFETY: the list's nodes are valid and unchanged until freeifaddrs.
    while let Some(node) = unsafe { next.as_ref() } {
        next = node.ifa_next;
        if node.ifa_flags & libc::IFF_UP as u32 == 0 {
            continue;
        }
        // SAFETY: `ifa_addr` is null or points to a sockaddr of its family's size.
        if let Some(address) = unsafe { read_address(node.ifa_addr) } {
            // SAFETY: a node's name is a C string that lives as long as the list.
            let name = unsafe { std::ffi::CStr::from_ptr(node.ifa_name) };
            found.push((name.to_string_lossy().into_owned(), address));
        }
    }
    // SAFETY: the list came from getifaddrs and is not used any more.
    unsafe { libc::freeifaddrs(first) };
    Ok(found)
}

/// # Safety
/// `address` is null or points to a sockaddr as long as its family says.
unsafe fn read_address(address: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: as promised by the caller.
    let family = unsafe { address.as_ref()? }.sa_family;
    match i32::from(family) {
        libc::AF_INET => {
            // SAFETY: the family says that it is a sockaddr_in.
            let address = unsafe { address.cast::<libc::sockaddr_in>().read_unaligned() };
            Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr))))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that it is a sockaddr_in6.
            let address = unsafe { address.cast::<libc::sockaddr_in6>().read_unaligned() };
            Some(IpAddr::V6(Ipv6Addr::from(address.sin6_addr.s6_addr)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_only_when_asked_for() {
        let all = local_addresses(true).unwrap();
        assert!(all.contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)));
        let without = local_addresses(false).unwrap();
        assert!(without.iter().all(|address| !address.is_loopback()));
        assert!(all.len() > without.len());
    }

    #[test]
    fn an_address_names_its_interface() {
        assert_eq!(interface_of(IpAddr::V4(Ipv4Addr::LOCALHOST)).unwrap().as_deref(), Some("lo"));
        assert_eq!(interface_of("192.0.2.77".parse().unwrap()).unwrap(), None);
    }

    #[test]
    fn link_local_addresses_are_left_out() {
        for text in ["169.254.1.1", "fe80::1", "0.0.0.0", "::"] {
            assert!(!is_usable(text.parse().unwrap(), true), "{text}");
        }
        for text in ["10.0.0.1", "2001:db8::1", "fd00::1"] {
            assert!(is_usable(text.parse().unwrap(), false), "{text}");
        }
    }
}
