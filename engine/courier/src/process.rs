//! The loop around the courier: eventfd, change logs, rings. The only place here that sleeps or makes system calls.
//!
//! ```text
//! wait (eventfd, next timer, at most 100 ms)
//!   → change logs: signaling's, every worker's → commands → punted datagrams → timers
//!   → courier rings, session and key rows → one wake per worker and turn
//! ```

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use engine_base::{Drop as DropReason, TimeNs};
use engine_table::{ChangeReader, Changes, IdentityRow, PuntHeader, RingConsumer, RingProducer, punt};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use zerocopy::{FromBytes, IntoBytes};

use crate::clock::Clock;
use crate::courier::{Courier, Regions, Transmit};
use crate::limits;
use crate::settings::{Settings, SettingsError, Versions};

/// A command's head and the largest message: the next power of two.
const COMMAND_BYTES: usize = 1 << 17;
/// A head and a datagram of any Ethernet.
const PUNT_BYTES: usize = 1 << 14;
const WAKE: Token = Token(0);
const SHUTDOWN: Token = Token(1);

/// What the courier process is given. Not `Debug`: it holds the private key.
pub struct CourierStart {
    pub regions: Regions,
    pub identity: IdentityRow,
    /// Written by whoever changed a row or filled a ring that the courier reads.
    pub wake: OwnedFd,
    /// Of each worker, by its number.
    pub worker_wakes: Vec<OwnedFd>,
    pub signaling_wake: Option<OwnedFd>,
    /// Readable when the courier shall end.
    pub shutdown: OwnedFd,
}

/// Why the courier cannot run: an operator's error.
#[derive(Debug)]
pub enum CourierError {
    Io(io::Error),
    Settings(SettingsError),
    /// The number of eventfds is not the number of workers.
    Wakes {
        expected: u32,
        found: usize,
    },
}

impl std::fmt::Display for CourierError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => write!(f, "courier: cannot wait for events: {error}; check the limit of open files"),
            Self::Settings(error) => write!(f, "courier: {error}"),
            Self::Wakes { expected, found } => {
                write!(
                    f,
                    "courier: {found} wake descriptors for {expected} workers; start all processes from one executable"
                )
            }
        }
    }
}

impl std::error::Error for CourierError {}

impl From<io::Error> for CourierError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Runs the courier until `shutdown` is readable. Sessions are not closed by that: their rows say what a successor finds, and a
/// node that ends for good has said leave before.
///
/// **Errors**: only before it serves, and when the kernel's event queue fails.
pub fn run(start: CourierStart) -> Result<(), CourierError> {
    let mut process = Process::new(start)?;
    while process.wait()? {
        process.turn();
    }
    Ok(())
}

/// One worker as the courier meets it.
struct Worker {
    log: ChangeReader,
    punts: RingConsumer,
    ring: RingProducer,
    wake: OwnedFd,
    /// Something was put into its ring in this turn.
    is_due: bool,
}

struct Process {
    regions: Regions,
    courier: Courier,
    log: ChangeReader,
    commands: RingConsumer,
    workers: Vec<Worker>,
    poll: Poll,
    events: Events,
    wake: OwnedFd,
    signaling_wake: Option<OwnedFd>,
    /// Kept open: it is registered with `poll`.
    _shutdown: OwnedFd,
    buffer: Vec<u8>,
}

impl Process {
    fn new(start: CourierStart) -> Result<Self, CourierError> {
        let CourierStart { regions, identity, wake, worker_wakes, signaling_wake, shutdown } = start;
        let expected = regions.engine.limits().workers;
        if worker_wakes.len() != expected as usize {
            return Err(CourierError::Wakes { expected, found: worker_wakes.len() });
        }
        let now = now();
        let settings = Settings::new(&identity, Versions::Auto, Clock::starting_at(now));
        let settings = settings.map_err(CourierError::Settings)?;
        let poll = Poll::new()?;
        for (fd, token) in [(&wake, WAKE), (&shutdown, SHUTDOWN)] {
            poll.registry().register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)?;
        }
        // Heads are taken before the full look of `Courier::new`, so that no change falls between.
        let log = regions.signaling.log().reader(regions.signaling.log().head());
        let workers = worker_wakes.into_iter().zip(0..);
        let workers = workers.map(|(wake, number)| Worker::new(&regions, number, wake)).collect();
        Ok(Self {
            courier: Courier::new(regions.clone(), settings, now),
            commands: regions.signaling.courier_ring(&regions.courier).consumer(),
            regions,
            log,
            workers,
            poll,
            events: Events::with_capacity(4),
            wake,
            signaling_wake,
            _shutdown: shutdown,
            buffer: vec![0; COMMAND_BYTES],
        })
    }

    fn turn(&mut self) {
        let now = now();
        self.take_changes(now);
        self.take_commands(now);
        self.take_punts(now);
        if self.courier.poll_timeout() <= now {
            self.courier.handle_timeout(now);
        }
        self.send();
        self.regions.courier.adopted().store(self.log.position(), Ordering::Release);
        self.wake_others();
    }

    /// Sleeps until there is something to do; `false` when the process shall end.
    fn wait(&mut self) -> Result<bool, CourierError> {
        let busy = self.log.is_behind()
            || !self.commands.is_empty()
            || self.workers.iter().any(|worker| worker.log.is_behind() || !worker.punts.is_empty());
        let until = self.courier.poll_timeout().since(now()).min(limits::SLEEP_MS_MAX * 1_000_000);
        // epoll counts whole milliseconds: round up, or the last of them would be spent spinning.
        let sleep = if busy { Duration::ZERO } else { Duration::from_millis(until.div_ceil(1_000_000)) };
        match self.poll.poll(&mut self.events, Some(sleep)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => other?,
        }
        if self.events.iter().any(|event| event.token() == WAKE) {
            // Only empties the counter; readiness says that this does not block.
            let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        }
        Ok(!self.events.iter().any(|event| event.token() == SHUTDOWN))
    }

    fn take_changes(&mut self, now: TimeNs) {
        let logs = std::iter::once((&mut self.log, None));
        let logs = logs.chain(self.workers.iter_mut().zip(0..).map(|(worker, number)| (&mut worker.log, Some(number))));
        for (log, worker) in logs {
            for _ in 0..limits::CHANGES_PER_TURN {
                match log.next_change() {
                    Changes::None => break,
                    Changes::One(change) => self.courier.handle_change(change.table, change.index, worker, now),
                    Changes::All => self.courier.adopt_all(now),
                }
            }
        }
    }

    fn take_commands(&mut self, now: TimeNs) {
        for _ in 0..limits::COMMANDS_PER_TURN {
            let Some((kind, length)) = self.commands.pop(&mut self.buffer) else { return };
            self.courier.handle_command(kind, self.buffer.get(..length).unwrap_or_default(), now);
        }
    }

    fn take_punts(&mut self, now: TimeNs) {
        for (worker, number) in self.workers.iter_mut().zip(0..) {
            for _ in 0..limits::PUNTS_PER_TURN {
                let Some((kind, length)) = worker.punts.pop(&mut self.buffer[..PUNT_BYTES]) else { break };
                let record = self.buffer.get(..length).unwrap_or_default();
                match PuntHeader::read_from_prefix(record) {
                    Ok((header, datagram)) if kind == punt::DTLS => {
                        self.courier.handle_datagram(number, &header, datagram, now);
                    }
                    _ => self.courier.count_drop(DropReason::RowBad),
                }
            }
        }
    }

    fn send(&mut self) {
        while let Some(Transmit { worker, header, datagram }) = self.courier.poll_transmit() {
            let Some(worker) = self.workers.get_mut(worker as usize) else { continue };
            // DTLS and SCTP send again what is lost here.
            if worker.ring.push(punt::DTLS, &[header.as_bytes(), &datagram]) {
                worker.is_due = true;
            } else {
                self.courier.count_drop(DropReason::WorkerRingFull);
            }
        }
    }

    fn wake_others(&mut self) {
        let wakes = self.courier.take_wakes();
        if wakes.signaling
            && let Some(signaling) = &self.signaling_wake
        {
            write_wake(signaling);
        }
        // Pairs with the worker's store of `sleeping` before its last look at the rings.
        fence(Ordering::SeqCst);
        for (worker, number) in self.workers.iter_mut().zip(0..) {
            let is_due = std::mem::take(&mut worker.is_due) || wakes.workers;
            if is_due && self.regions.engine.sleeping(number).load(Ordering::SeqCst) == 1 {
                write_wake(&worker.wake);
            }
        }
    }
}

impl Worker {
    fn new(regions: &Regions, number: u32, wake: OwnedFd) -> Self {
        let log = regions.engine.log(number);
        Self {
            log: log.reader(log.head()),
            punts: regions.engine.punt_ring(&regions.courier, number).consumer(),
            ring: regions.courier.worker_ring(&regions.engine, number).producer(),
            wake,
            is_due: false,
        }
    }
}

/// A full counter means that the other side has not read for ages; it will.
fn write_wake(fd: &OwnedFd) {
    let _ = rustix::io::write(fd, &1u64.to_ne_bytes());
}

fn now() -> TimeNs {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    TimeNs(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}
