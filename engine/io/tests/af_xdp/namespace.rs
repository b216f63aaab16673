//! Network namespaces as threads: what a namespace's thread opens and starts belongs to it, and the namespace with its devices ends
//! with the thread and the sockets.

use std::process::Command;
use std::sync::mpsc::{Sender, channel};

use rustix::thread::UnshareFlags;

type Job = Box<dyn FnOnce() + Send>;

pub struct Namespace {
    jobs: Sender<Job>,
    thread_id: i32,
}

impl Namespace {
    /// # Panics
    /// Without privilege; the text says what to do.
    pub fn new() -> Self {
        let (jobs, waiting) = channel::<Job>();
        let (tell, told) = channel();
        std::thread::spawn(move || {
            // SAFETY: only the network namespace is left, which no memory or descriptor of other threads depends on.
            #[allow(unsafe_code)]
            let unshared = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) };
            tell.send(unshared.map(|()| rustix::thread::gettid().as_raw_nonzero().get())).unwrap();
            waiting.into_iter().for_each(|job| job());
        });
        let thread_id = told.recv().unwrap().unwrap_or_else(|errno| {
            panic!("cannot make a network namespace: {errno}\nrun the tests as root, or with CAP_SYS_ADMIN and CAP_NET_ADMIN")
        });
        Self { jobs, thread_id }
    }

    /// `/proc/ID/ns/net` is this namespace.
    pub fn thread_id(&self) -> i32 {
        self.thread_id
    }

    /// Does it in the namespace, and panics as it does.
    pub fn run<T: Send + 'static>(&self, act: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = channel();
        let job = move || {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
            let _ = done.send(outcome);
        };
        self.jobs.send(Box::new(job)).unwrap();
        result.recv().unwrap().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    pub fn ip(&self, arguments: &str) {
        let arguments = arguments.to_owned();
        self.run(move || ip(&arguments));
    }
}

/// `ip ARGUMENTS` in the calling thread's namespace.
pub fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split_whitespace()).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run ip: {error}\ninstall it: apt-get install iproute2"));
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}
