//! Junk: datagrams at a rate to the server's media address, from sources that it has never heard of. What they look like is what a port
//! on the internet gets: checks for nobody's session, handshakes, media under no keys, noise.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::scenario::JunkPlan;

/// Datagrams leave in bursts of this time's worth.
const TICK: Duration = Duration::from_millis(1);
/// What was missed by more than this is not caught up.
const LATE_MAX: Duration = Duration::from_millis(50);
const BYTES: usize = 200;

/// Junk on its way; dropping it ends it.
pub struct Junk {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Junk {
    /// **Errors**: another machine, which gets no junk from here; no descriptors.
    pub fn start(plan: JunkPlan, to: SocketAddr, allow_remote: bool) -> Result<Self> {
        ensure!(allow_remote || to.ip().is_loopback(), "junk is for this machine only, and {to} is not");
        let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0u16; 8].into() };
        let open = |_| -> Result<UdpSocket> {
            let socket = UdpSocket::bind((any, 0)).context("cannot open a socket for junk")?;
            socket.set_nonblocking(true)?;
            socket.connect(to).with_context(|| format!("cannot reach {to}"))?;
            Ok(socket)
        };
        let sockets: Vec<UdpSocket> = (0..plan.sources).map(open).collect::<Result<_>>()?;
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let thread = {
            let (stop, sent) = (stop.clone(), sent.clone());
            std::thread::Builder::new()
                .name("load-junk".to_owned())
                .spawn(move || flood(&sockets, plan.per_second, &stop, &sent))
                .context("cannot start a thread")?
        };
        Ok(Self { stop, sent, thread: Some(thread) })
    }

    /// Datagrams that the kernel took so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Junk {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn flood(sockets: &[UdpSocket], per_second: u32, stop: &AtomicBool, sent: &AtomicU64) {
    let interval = Duration::from_secs(1) / per_second;
    let (mut due, mut number) = (Instant::now(), 0u64);
    let mut bytes = [0; BYTES];
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        due = due.max(now.checked_sub(LATE_MAX).unwrap_or(now));
        while due <= now {
            due += interval;
            let Some(socket) = sockets.get(number as usize % sockets.len()) else { return };
            let length = write(&mut bytes, number);
            // Refusals of earlier datagrams come back here too.
            if socket.send(&bytes[..length]).is_ok() {
                sent.fetch_add(1, Ordering::Relaxed);
            }
            number += 1;
        }
        std::thread::sleep(TICK);
    }
}

/// **Output**: its length.
fn write(bytes: &mut [u8; BYTES], number: u64) -> usize {
    // Weyl's sequence, mixed: cheap, and never the same twice.
    let mut word = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for chunk in bytes.chunks_mut(8) {
        word = (word ^ word >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        chunk.copy_from_slice(&word.to_be_bytes()[..chunk.len()]);
    }
    match number / 4 % 4 {
        // A binding request with a user name, whose length and name are right in form.
        0 => {
            bytes[..8].copy_from_slice(&[0, 1, 0, 24, 0x21, 0x12, 0xa4, 0x42]);
            bytes[20..24].copy_from_slice(&[0, 6, 0, 17]);
            bytes[24..41].iter_mut().for_each(|letter| *letter = b'a' + *letter % 26);
            bytes[32] = b':';
            44
        }
        // A DTLS handshake record.
        1 => {
            bytes[..13].copy_from_slice(&[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 100]);
            113
        }
        // RTP.
        2 => {
            bytes[..2].copy_from_slice(&[0x80, 111]);
            160
        }
        _ => BYTES - word as usize % (BYTES - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn junk_comes_at_its_rate_from_many_sources() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let plan = JunkPlan { per_second: 1_000, sources: 8 };
        let junk = Junk::start(plan, server.local_addr().unwrap(), false).unwrap();
        let (mut sources, mut firsts) = (std::collections::HashSet::new(), std::collections::HashSet::new());
        let began = Instant::now();
        for _ in 0..200 {
            let mut bytes = [0; 2 * BYTES];
            let (_, source) = server.recv_from(&mut bytes).unwrap();
            sources.insert(source);
            firsts.insert(bytes[0]);
        }
        // 200 of 1,000 a second; a machine under load may be later.
        assert!(began.elapsed() > Duration::from_millis(100), "{:?}", began.elapsed());
        assert_eq!(sources.len(), 8);
        assert!([0, 22, 0x80].iter().all(|first| firsts.contains(first)));
        // The last one that came may not be counted yet.
        assert!(junk.sent() + 1 >= 200);
    }

    #[test]
    fn another_machine_gets_no_junk() {
        let plan = JunkPlan { per_second: 1, sources: 1 };
        assert!(Junk::start(plan, "192.0.2.1:9".parse().unwrap(), false).is_err());
    }
}
