//! One thread with many participants: one epoll, one timer, no locks on the packet path.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use engine_base::{TimeNs, WallOffset};
use hdrhistogram::Histogram;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::account::Account;
use crate::clock;
use crate::connection::Identity;
use crate::participant::{Participant, Plan, Scope, TOKENS};
use crate::socket::Buffers;
use crate::tally::{Tally, histogram};

const WAKE: Token = Token(0);
const TIMER: Token = Token(1);
const FIRST_TOKEN: usize = 2;
const EVENTS: usize = 1_024;
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// Failures kept with their text.
const FAILURES_MAX: usize = 16;

pub enum Command {
    Join(Box<Plan>),
    /// Publishers send, or stop sending.
    Send(bool),
    /// A measurement begins.
    Begin,
    /// The measurement ends.
    Take(Sender<Box<Tally>>),
    /// What everyone sent and received so far.
    Account(Sender<Vec<Account>>),
    /// Where the server takes media of the first participant that has joined.
    MediaAddress(Sender<Option<SocketAddr>>),
    /// Everyone leaves; the thread ends.
    End,
}

/// What other threads see of all crews of a load.
pub struct Shared {
    pub joined: AtomicU32,
    /// Receivers with media on every stream.
    pub with_media: AtomicU32,
    pub failed: AtomicU32,
    pub failures: Mutex<Vec<String>>,
    pub times: Mutex<JoinTimes>,
}

/// Distributions over participants, ns.
#[derive(Clone)]
pub struct JoinTimes {
    /// From the first connect to all connections up and all streams announced.
    pub joined: Histogram<u64>,
    /// From the first connect to media on every stream.
    pub first_media: Histogram<u64>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            joined: AtomicU32::new(0),
            with_media: AtomicU32::new(0),
            failed: AtomicU32::new(0),
            failures: Mutex::default(),
            times: Mutex::new(JoinTimes { joined: histogram(), first_media: histogram() }),
        }
    }
}

/// A running crew.
pub struct CrewHandle {
    commands: Sender<Command>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl CrewHandle {
    pub fn start(name: String, identity: &Arc<Identity>, wall: WallOffset, shared: &Arc<Shared>) -> Result<Self> {
        let poll = Poll::new().context("cannot make an epoll")?;
        let waker = Waker::new(poll.registry(), WAKE).context("cannot make a waker")?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        let (commands, receiver) = channel();
        let crew = Crew {
            poll,
            timer,
            armed: TimeNs::MAX,
            commands: receiver,
            identity: identity.clone(),
            wall,
            shared: shared.clone(),
            members: Vec::new(),
            gone: Vec::new(),
            due: BTreeSet::new(),
            tally: Tally::default(),
            sending: false,
        };
        let thread =
            std::thread::Builder::new().name(name).spawn(move || crew.work()).context("cannot start a thread")?;
        Ok(Self { commands, waker, thread: Some(thread) })
    }

    /// A crew that has ended ignores it.
    pub fn tell(&self, command: Command) {
        let _ = self.commands.send(command);
        let _ = self.waker.wake();
    }
}

impl Drop for CrewHandle {
    fn drop(&mut self) {
        self.tell(Command::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Member {
    participant: Participant,
    due: TimeNs,
    joined: bool,
    has_media: bool,
}

struct Crew {
    poll: Poll,
    timer: OwnedFd,
    armed: TimeNs,
    commands: Receiver<Command>,
    identity: Arc<Identity>,
    wall: WallOffset,
    shared: Arc<Shared>,
    /// `None` where one has failed.
    members: Vec<Option<Member>>,
    /// Those, with what they had done.
    gone: Vec<Account>,
    due: BTreeSet<(TimeNs, usize)>,
    tally: Tally,
    sending: bool,
}

impl Crew {
    fn work(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        let mut buffers = Buffers::default();
        loop {
            match self.poll.poll(&mut events, Some(SLEEP_MAX)) {
                Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                    return self.note_failure(&format!("a load thread cannot wait: {error}"));
                }
                _ => {}
            }
            for event in &events {
                if let Some(number) = event.token().0.checked_sub(FIRST_TOKEN) {
                    self.handle_ready(number / TOKENS, number % TOKENS, &mut buffers);
                }
            }
            self.handle_due();
            if self.take_commands() {
                break;
            }
            self.arm();
        }
        self.members.iter_mut().flatten().for_each(|member| member.participant.leave());
    }

    /// `true` at the end.
    fn take_commands(&mut self) -> bool {
        while let Ok(command) = self.commands.try_recv() {
            let now = clock::now();
            match command {
                Command::Join(plan) => self.join(*plan, now),
                Command::Send(sending) => {
                    self.sending = sending;
                    for index in 0..self.members.len() {
                        if let Some(Some(member)) = self.members.get_mut(index) {
                            member.participant.set_sending(sending, now);
                        }
                        self.schedule(index);
                    }
                }
                Command::Begin => {
                    self.tally = Tally::default();
                    self.members.iter_mut().flatten().for_each(|member| member.participant.begin_measurement());
                }
                Command::Take(reply) => {
                    let mut tally = self.tally.clone();
                    self.members.iter().flatten().for_each(|member| member.participant.add_to(&mut tally));
                    let _ = reply.send(Box::new(tally));
                }
                Command::Account(reply) => {
                    let there = self.members.iter().flatten().map(|member| member.participant.account());
                    let _ = reply.send(self.gone.iter().cloned().chain(there).collect());
                }
                Command::MediaAddress(reply) => {
                    let mut all = self.members.iter().flatten();
                    let _ = reply.send(all.find_map(|member| member.participant.media_address()));
                }
                Command::End => return true,
            }
        }
        false
    }

    fn join(&mut self, plan: Plan, now: TimeNs) {
        let index = self.members.len();
        let identity = plan.identity.clone();
        let mut scope = scope(&self.poll, &self.identity, self.wall, &mut self.tally, now);
        match Participant::begin(plan, FIRST_TOKEN + index * TOKENS, &mut scope) {
            Ok(mut participant) => {
                participant.set_sending(self.sending, now);
                self.members.push(Some(Member { participant, due: TimeNs::MAX, joined: false, has_media: false }));
                self.schedule(index);
            }
            Err(error) => {
                self.members.push(None);
                self.note_failure(&format!("{identity}: {error:#}"));
                self.gone.push(Account { identity, failure: Some(format!("{error:#}")), ..Account::default() });
            }
        }
    }

    fn handle_ready(&mut self, index: usize, source: usize, buffers: &mut Buffers) {
        let Some(Some(member)) = self.members.get_mut(index) else { return };
        let mut scope = scope(&self.poll, &self.identity, self.wall, &mut self.tally, clock::now());
        let result = match source {
            0 => member.participant.handle_signal(&mut scope).map(|()| true),
            source => member.participant.handle_media(source == 2, buffers, &mut scope),
        };
        match result {
            Ok(true) => self.schedule(index),
            Ok(false) => self.note_progress(index),
            Err(error) => self.fail(index, &error),
        }
    }

    fn handle_due(&mut self) {
        loop {
            let now = clock::now();
            let Some(&(at, index)) = self.due.first() else { return };
            if at > now {
                return;
            }
            let Some(Some(member)) = self.members.get_mut(index) else {
                self.due.pop_first();
                continue;
            };
            let mut scope = scope(&self.poll, &self.identity, self.wall, &mut self.tally, now);
            match member.participant.handle_timeout(&mut scope) {
                Ok(()) => self.schedule(index),
                Err(error) => self.fail(index, &error),
            }
        }
    }

    fn schedule(&mut self, index: usize) {
        let Some(Some(member)) = self.members.get_mut(index) else { return };
        let due = member.participant.poll_timeout();
        if due != member.due {
            self.due.remove(&(member.due, index));
            self.due.insert((due, index));
            member.due = due;
        }
        self.note_progress(index);
    }

    fn note_progress(&mut self, index: usize) {
        let Some(Some(member)) = self.members.get_mut(index) else { return };
        if !member.joined && member.participant.has_joined() {
            member.joined = true;
            let took = clock::now().since(member.participant.began);
            if !member.participant.is_bystander() {
                self.shared.times.lock().unwrap_or_else(PoisonError::into_inner).joined.saturating_record(took);
            }
            self.shared.joined.fetch_add(1, Ordering::Relaxed);
        }
        if !member.has_media && member.participant.has_media() {
            member.has_media = true;
            let took = clock::now().since(member.participant.began);
            self.shared.times.lock().unwrap_or_else(PoisonError::into_inner).first_media.saturating_record(took);
            self.shared.with_media.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn fail(&mut self, index: usize, error: &anyhow::Error) {
        if let Some(member) = self.members.get_mut(index).and_then(Option::take) {
            self.due.remove(&(member.due, index));
            self.note_failure(&format!("{}: {error:#}", member.participant.identity()));
            self.gone.push(Account { failure: Some(format!("{error:#}")), ..member.participant.account() });
        }
    }

    fn note_failure(&self, text: &str) {
        let mut failures = self.shared.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() < FAILURES_MAX {
            failures.push(text.to_owned());
        }
        self.shared.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets the timer to the first due time. It is absolute, so a late call only makes it fire at once.
    fn arm(&mut self) {
        let due = self.due.first().map_or(TimeNs::MAX, |(at, _)| *at);
        if due == self.armed && due > clock::now() {
            return;
        }
        self.armed = due;
        let ns = if due == TimeNs::MAX { 0 } else { due.0.max(1) };
        let value =
            Timespec { tv_sec: (ns / 1_000_000_000).cast_signed(), tv_nsec: (ns % 1_000_000_000).cast_signed() };
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        let _ = timerfd_settime(
            &self.timer,
            TimerfdTimerFlags::ABSTIME,
            &Itimerspec { it_interval: none, it_value: value },
        );
    }
}

fn scope<'a>(
    poll: &'a Poll,
    identity: &'a Arc<Identity>,
    wall: WallOffset,
    tally: &'a mut Tally,
    now: TimeNs,
) -> Scope<'a> {
    Scope { registry: poll.registry(), identity, wall, now, tally }
}
