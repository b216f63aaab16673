//! A client process that speaks JSON lines: requests with answers, and events that are kept in order.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::PATIENCE;
use crate::process::{MARK, kill_now, marked_processes};

/// One line that a driver sent by itself: `event`, `at` (wall milliseconds), `page`, and what the event says.
pub type Event = Value;

/// A place in a driver's list of events; waiting looks only at what came after it.
#[derive(Clone, Copy, Debug)]
pub struct Mark(usize);

#[derive(Default)]
struct Inbox {
    events: Vec<Event>,
    answers: HashMap<u64, Value>,
    ended: bool,
}

type Shared = Arc<(Mutex<Inbox>, Condvar)>;

/// A running driver. Dropping it ends the process and everything that it started.
pub struct Driver {
    name: &'static str,
    mark: String,
    child: Child,
    input: Mutex<Option<ChildStdin>>,
    inbox: Shared,
    next: Mutex<u64>,
}

impl Driver {
    /// Starts `command` and waits for its `hello`.
    ///
    /// # Panics
    /// When it does not start; the reason is what it wrote to standard error.
    pub fn start(name: &'static str, command: &mut Command) -> Driver {
        let mark = format!("{name}-{}-{:?}", std::process::id(), Instant::now()).replace(' ', "");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).env(MARK, &mark);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
        let input = child.stdin.take();
        let output = child.stdout.take().expect("piped");
        let inbox = Shared::default();
        let shared = Arc::clone(&inbox);
        std::thread::spawn(move || read_lines(BufReader::new(output), &shared));
        let driver = Driver { name, mark, child, input: Mutex::new(input), inbox, next: Mutex::new(1) };
        driver.wait(Mark(0), "hello", Duration::from_secs(30), |event| is(event, "hello"));
        driver
    }

    /// Sends `command` and waits for its answer; `Err` is the driver's own error text.
    pub fn call(&self, command: &str, arguments: Value) -> Result<Value, String> {
        self.call_within(command, arguments, Duration::from_secs(40))
    }

    pub fn call_within(&self, command: &str, arguments: Value, patience: Duration) -> Result<Value, String> {
        let id = self.send(command, arguments);
        let answer = self.wait_inbox(patience, |inbox| inbox.answers.remove(&id));
        let mut answer = answer.unwrap_or_else(|| panic!("{}: no answer to {command} within {patience:?}", self.name));
        match answer.get("error") {
            Some(error) => Err(error.as_str().map_or_else(|| error.to_string(), str::to_owned)),
            None => Ok(answer["result"].take()),
        }
    }

    /// Sends `command` without waiting; its answer is dropped.
    pub fn send(&self, command: &str, arguments: Value) -> u64 {
        let mut next = self.next.lock().expect("no panic while counting");
        let id = *next;
        *next += 1;
        let line = json!({ "id": id, "command": command, "arguments": arguments });
        let mut input = self.input.lock().expect("no panic while writing");
        let input = input.as_mut().expect("open until drop");
        writeln!(input, "{line}").unwrap_or_else(|error| panic!("{}: the driver is gone: {error}", self.name));
        id
    }

    /// The present end of the event list.
    pub fn mark(&self) -> Mark {
        Mark(self.lock().events.len())
    }

    /// The first event after `mark` that `wanted` accepts, as soon as it is there.
    ///
    /// # Panics
    /// When `patience` has passed, with the events that came instead.
    pub fn wait(&self, mark: Mark, what: &str, patience: Duration, wanted: impl Fn(&Event) -> bool) -> Event {
        self.try_wait(mark, what, patience, wanted).unwrap_or_else(|missed| panic!("{missed}"))
    }

    /// As `wait`; the events that came instead are the error.
    pub fn try_wait(
        &self,
        mark: Mark,
        what: &str,
        patience: Duration,
        wanted: impl Fn(&Event) -> bool,
    ) -> Result<Event, String> {
        let mut seen = mark.0;
        let found = self.wait_inbox(patience, |inbox| {
            let fresh = &inbox.events[seen..];
            seen = inbox.events.len();
            fresh.iter().find(|event| wanted(event)).cloned()
        });
        found.ok_or_else(|| {
            let since = self.since(mark);
            let tail: Vec<String> = since.iter().rev().take(25).rev().map(Value::to_string).collect();
            format!("{}: no `{what}` within {patience:?}; events since:\n  {}", self.name, tail.join("\n  "))
        })
    }

    /// Every event after `mark`, so far.
    pub fn since(&self, mark: Mark) -> Vec<Event> {
        self.lock().events[mark.0..].to_vec()
    }

    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.0.lock().expect("no panic while the inbox is held")
    }

    fn wait_inbox<T>(&self, patience: Duration, mut take: impl FnMut(&mut Inbox) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + patience;
        let mut inbox = self.lock();
        loop {
            if let Some(value) = take(&mut inbox) {
                return Some(value);
            }
            assert!(!inbox.ended, "{}: the driver process ended", self.name);
            let left = deadline.checked_duration_since(Instant::now())?;
            inbox = self.inbox.1.wait_timeout(inbox, left).expect("no panic while the inbox is held").0;
        }
    }
}

impl Drop for Driver {
    /// Ends the process by closing its input, and insists after [`PATIENCE`].
    fn drop(&mut self) {
        self.input.lock().expect("no panic while writing").take();
        let deadline = Instant::now() + PATIENCE;
        while !matches!(self.child.try_wait(), Ok(Some(_))) {
            if Instant::now() > deadline {
                eprintln!("{}: did not end when its input did; killed", self.name);
                let _ = self.child.kill();
                let _ = self.child.wait();
                break;
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        for (pid, command) in marked_processes(&self.mark) {
            eprintln!("{}: killed what it left: {pid} {command}", self.name);
            kill_now(pid);
        }
    }
}

/// Whether `event` is of that name.
pub(crate) fn is(event: &Event, name: &str) -> bool {
    event["event"] == name
}

fn read_lines(output: impl BufRead, shared: &Shared) {
    for line in output.lines() {
        let Ok(line) = line else { break };
        let Ok(message) = serde_json::from_str::<Value>(&line) else {
            eprintln!("not a JSON line from a driver: {line}");
            continue;
        };
        let mut inbox = shared.0.lock().expect("no panic while the inbox is held");
        match message.get("id").and_then(Value::as_u64) {
            Some(id) => {
                inbox.answers.insert(id, message);
            }
            None => inbox.events.push(message),
        }
        shared.1.notify_all();
    }
    shared.0.lock().expect("no panic while the inbox is held").ended = true;
    shared.1.notify_all();
}
