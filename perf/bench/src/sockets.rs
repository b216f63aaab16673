//! Datagrams that the kernel dropped because a UDP socket's receive buffer was full.

use std::collections::HashSet;
use std::fs;

use anyhow::{Context, Result};

/// Drops of all UDP sockets of these processes, since each socket was made.
pub fn dropped(pids: impl IntoIterator<Item = u32>) -> Result<u64> {
    let mut inodes = HashSet::new();
    let mut tables = None;
    for pid in pids {
        tables.get_or_insert(pid);
        inodes.extend(socket_inodes(pid)?);
    }
    let Some(pid) = tables else { return Ok(0) };
    // Of the process, so that another network namespace is no obstacle.
    ["udp", "udp6"].iter().try_fold(0, |sum, name| {
        let path = format!("/proc/{pid}/net/{name}");
        let table = match fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(sum),
            table => table.with_context(|| format!("cannot read {path}"))?,
        };
        Ok(sum + drops_in(&table, &inodes))
    })
}

fn socket_inodes(pid: u32) -> Result<HashSet<u64>> {
    let path = format!("/proc/{pid}/fd");
    let entries = fs::read_dir(&path).with_context(|| format!("cannot list {path}: run as the user of the server"))?;
    // A descriptor may be closed while it is looked at.
    let links = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    Ok(links.filter_map(|link| socket_inode(link.to_str()?)).collect())
}

fn socket_inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Of a table as in /proc/net/udp: the tenth column is the inode, the last the drops.
fn drops_in(table: &str, inodes: &HashSet<u64>) -> u64 {
    let lines = table.lines().skip(1).filter_map(|line| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let inode: u64 = columns.get(9)?.parse().ok()?;
        let drops: u64 = columns.last()?.parse().ok()?;
        inodes.contains(&inode).then_some(drops)
    });
    lines.sum()
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    const TABLE: &str = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  363: 0100007F:1ECA 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 90210 2 0000000000000000 17
  364: 0100007F:1ECB 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 90211 2 0000000000000000 5
";

    #[test]
    fn drops_of_our_inodes_only_are_added() {
        assert_eq!(drops_in(TABLE, &HashSet::from([90_210])), 17);
        assert_eq!(drops_in(TABLE, &HashSet::from([90_210, 90_211, 1])), 22);
        assert_eq!(drops_in("", &HashSet::from([1])), 0);
        assert_eq!(socket_inode("socket:[90210]"), Some(90_210));
        assert_eq!(socket_inode("pipe:[1]"), None);
    }

    #[test]
    fn an_overflow_of_a_real_socket_is_seen() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let before = dropped([std::process::id()]).unwrap();
        for _ in 0..20_000 {
            sender.send_to(&[0; 1_000], receiver.local_addr().unwrap()).unwrap();
        }
        assert!(dropped([std::process::id()]).unwrap() > before);
    }
}
