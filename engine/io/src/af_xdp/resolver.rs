//! The thread that asks the kernel where frames go, so that no worker does. It answers questions, takes back answers that have become
//! wrong, and lets every answer be asked for again after a while.
//!
//! An answer has two lives, numbered by two epochs. The *hard* one ends with a change of routes, links, addresses or of a neighbour
//! that was given out: frames stop at once. The *soft* one ends after [`REFRESH`]: the worker asks again and sends one train by its
//! socket, which keeps the kernel's own neighbour entry in use, so that the kernel probes it; meanwhile frames go on.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use netlink_packet_route::RouteNetlinkMessage as Message;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::frame::Hop;
use super::netlink::{CHANGES, Link, Neighbour, Netlink, Route};

/// Questions that wait, of all workers, and answers, of each. What does not fit is asked again with the next packet.
const QUEUE: usize = 1_024;
/// Soft life of an answer: below the kernel's own minute until it forgets a neighbour (`gc_stale_time`).
const REFRESH: Duration = Duration::from_secs(10);
/// Hard epochs begin at most this often, so that a routing daemon at work does not stop frames for good.
const CHANGE_PAUSE: Duration = Duration::from_millis(50);
/// Questions that wait for a neighbour; more are answered "by socket" until they are refreshed.
const WAITING_MAX: usize = 4_096;

/// A destination as one local socket reaches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub socket: u32,
    pub ip: IpAddr,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    pub key: Key,
    /// Of the socket.
    pub source: IpAddr,
    /// Hard epoch in which it was asked.
    pub epoch: u32,
    worker: usize,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub key: Key,
    /// Of the question.
    pub epoch: u32,
    /// `None`: by socket.
    pub hop: Option<Hop>,
}

/// Both epochs at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Epochs {
    pub hard: u32,
    pub soft: u32,
}

#[derive(Debug)]
struct Shared {
    /// Hard epoch << 32 | soft epoch.
    epochs: AtomicU64,
    /// Written with each question, so that the thread looks; closed ends of the channel need it too.
    bell: OwnedFd,
}

/// A worker's end. The thread ends with the last one.
#[derive(Debug)]
pub(crate) struct Client {
    worker: usize,
    shared: Arc<Shared>,
    /// Dropped before the bell is rung.
    questions: Option<SyncSender<Question>>,
    answers: Receiver<Answer>,
}

impl Client {
    #[inline]
    pub(super) fn epochs(&self) -> Epochs {
        let word = self.shared.epochs.load(Ordering::Acquire);
        Epochs { hard: (word >> 32) as u32, soft: word as u32 }
    }

    /// False when too many questions wait. **Cost**: one syscall; never sleeps, allocates nothing.
    #[cold]
    pub(super) fn ask(&self, key: Key, source: IpAddr, epoch: u32) -> bool {
        let question = Question { key, source, epoch, worker: self.worker };
        let asked = self.questions.as_ref().is_some_and(|questions| questions.try_send(question).is_ok());
        let _ = rustix::io::write(&self.shared.bell, &1u64.to_ne_bytes());
        asked
    }

    pub(super) fn poll_answer(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.questions = None;
        let _ = rustix::io::write(&self.shared.bell, &1u64.to_ne_bytes());
    }
}

struct Resolver {
    link: Link,
    questions: Receiver<Question>,
    answers: Vec<SyncSender<Answer>>,
    shared: Arc<Shared>,
    kernel: Netlink,
    notices: Netlink,
    /// Addresses that frames carry now.
    given: HashMap<IpAddr, [u8; 6]>,
    /// By the neighbour that they wait for.
    waiting: HashMap<IpAddr, Vec<Question>>,
    waiting_count: usize,
    changed: bool,
    last_change: Instant,
    refresh_at: Instant,
}

/// Starts the thread for one interface. **Output**: an end for each of `workers`.
pub(super) fn start(link: Link, kernel: Netlink, workers: usize) -> io::Result<Vec<Client>> {
    let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let shared = Arc::new(Shared { epochs: AtomicU64::new(1 << 32 | 1), bell });
    let (asked, questions) = sync_channel(QUEUE);
    let (answers, ends): (Vec<_>, Vec<_>) = (0..workers).map(|_| sync_channel(QUEUE)).unzip();
    let now = Instant::now();
    let resolver = Resolver {
        link,
        questions,
        answers,
        shared: shared.clone(),
        kernel,
        notices: Netlink::open(CHANGES)?,
        given: HashMap::new(),
        waiting: HashMap::new(),
        waiting_count: 0,
        changed: false,
        last_change: now,
        refresh_at: now + REFRESH,
    };
    std::thread::Builder::new().name("routes".to_owned()).spawn(move || resolver.run())?;
    let client = |(worker, answers)| Client { worker, shared: shared.clone(), questions: Some(asked.clone()), answers };
    Ok(ends.into_iter().enumerate().map(client).collect())
}

impl Resolver {
    fn run(mut self) {
        loop {
            self.sleep();
            self.take_notices();
            let now = Instant::now();
            if self.changed && now.duration_since(self.last_change) >= CHANGE_PAUSE {
                (self.changed, self.last_change) = (false, now);
                self.forget();
                self.shared.epochs.fetch_add(1 << 32, Ordering::AcqRel);
            }
            if now >= self.refresh_at {
                self.refresh_at = now + REFRESH;
                self.forget();
                // The soft epoch is the lower half; its wrap must not carry.
                let _ = self.shared.epochs.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                    Some(word >> 32 << 32 | u64::from((word as u32).wrapping_add(1)))
                });
            }
            loop {
                match self.questions.try_recv() {
                    Ok(question) => self.resolve(question),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
        }
    }

    /// Until a question, a notice, or something is due.
    fn sleep(&mut self) {
        let due = if self.changed { self.last_change + CHANGE_PAUSE } else { self.refresh_at };
        let wait = due.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: i64::from(wait.subsec_nanos()) };
        let notices = self.notices.as_fd();
        let mut fds = [PollFd::new(&self.shared.bell, PollFlags::IN), PollFd::new(&notices, PollFlags::IN)];
        let _ = poll(&mut fds, Some(&timeout));
        let _ = rustix::io::read(&self.shared.bell, &mut [0u8; 8]);
    }

    fn forget(&mut self) {
        self.waiting.clear();
        self.waiting_count = 0;
    }

    fn take_notices(&mut self) {
        let mut neighbours = Vec::new();
        let Self { notices, link, changed, .. } = self;
        let taken = notices.take_notices(|notice| match notice {
            Some(Message::NewNeighbour(message)) if message.header.ifindex == link.index => {
                neighbours.extend(Neighbour::read(&message));
            }
            Some(Message::DelNeighbour(message)) if message.header.ifindex == link.index => {
                neighbours.extend(Neighbour::read(&message).map(|neighbour| Neighbour { mac: None, ..neighbour }));
            }
            Some(Message::NewNeighbour(_) | Message::DelNeighbour(_)) => {}
            Some(Message::NewLink(message)) if message.header.index == link.index => {
                let now = Link::read(&message);
                *changed |= now != *link;
                *link = now;
            }
            Some(Message::DelLink(message)) if message.header.index == link.index => {
                (link.is_up, *changed) = (false, true);
            }
            Some(Message::NewLink(_) | Message::DelLink(_)) => {}
            _ => *changed = true,
        });
        // Some were lost.
        self.changed |= taken.is_err();
        neighbours.into_iter().for_each(|neighbour| self.note(neighbour));
    }

    fn note(&mut self, neighbour: Neighbour) {
        if self.given.get(&neighbour.ip).is_some_and(|mac| Some(*mac) != neighbour.mac) {
            self.given.remove(&neighbour.ip);
            self.changed = true;
        }
        if neighbour.mac.is_some() {
            let waiting = self.waiting.remove(&neighbour.ip).unwrap_or_default();
            self.waiting_count -= waiting.len();
            waiting.into_iter().for_each(|question| self.resolve(question));
        }
    }

    fn resolve(&mut self, question: Question) {
        let hop = self.find_hop(&question);
        let answer = Answer { key: question.key, epoch: question.epoch, hop };
        // A full queue: the worker asks again with its next epoch.
        let _ = self.answers[question.worker].try_send(answer);
    }

    fn find_hop(&mut self, question: &Question) -> Option<Hop> {
        if !self.link.is_up {
            return None;
        }
        let route = Route::find(&mut self.kernel, question.source, question.key.ip).ok().flatten()?;
        if route.interface != self.link.index {
            return None;
        }
        let destination = match self.link.no_arp {
            true => self.link.mac,
            false => self.find_neighbour(question, route.next_hop)?,
        };
        let mtu = route.mtu.unwrap_or(self.link.mtu).min(self.link.mtu);
        Some(Hop { source: self.link.mac, destination, mtu })
    }

    /// An unknown neighbour is waited for: the packets that go by socket meanwhile make the kernel ask for it.
    fn find_neighbour(&mut self, question: &Question, ip: IpAddr) -> Option<[u8; 6]> {
        let found = Neighbour::find(&mut self.kernel, self.link.index, ip).ok().flatten();
        match found.and_then(|neighbour| neighbour.mac) {
            Some(mac) => {
                self.given.insert(ip, mac);
                Some(mac)
            }
            None => {
                if self.waiting_count < WAITING_MAX {
                    self.waiting.entry(ip).or_default().push(*question);
                    self.waiting_count += 1;
                }
                None
            }
        }
    }
}
