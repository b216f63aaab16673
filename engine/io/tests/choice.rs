//! Where io_uring is forbidden, the port without it serves: shown with seccomp filters as containers have them.
#![forbid(unsafe_code)]

use engine_io::{Backend, Choice, Chosen, KernelPort, MmsgPort, PortConfig, SetupError, choose};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

/// Runs `act` on a thread for which `io_uring_setup` fails with `errno`.
fn without_io_uring<T: Send + 'static>(errno: i32, act: impl FnOnce() -> T + Send + 'static) -> T {
    let refused = [(libc::SYS_io_uring_setup, Vec::new())].into_iter().collect();
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(refused, SeccompAction::Allow, SeccompAction::Errno(errno as u32), arch).unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    let thread = std::thread::spawn(move || {
        apply_filter(&program).unwrap();
        act()
    });
    thread.join().unwrap()
}

#[test]
fn io_uring_serves_where_it_may() {
    let chosen = choose(Choice::Auto).unwrap();
    assert!(chosen.backend == Backend::IoUring && chosen.forbidden.is_none());
}

#[test]
fn what_forbids_io_uring_selects_the_other_port() {
    for errno in [libc::EPERM, libc::EACCES, libc::ENOSYS] {
        let (chosen, port) = without_io_uring(errno, || {
            (choose(Choice::Auto), MmsgPort::make(PortConfig::new(Vec::new(), None)).map(drop))
        });
        let Chosen { backend, forbidden } = chosen.unwrap();
        assert_eq!(backend, Backend::Mmsg);
        assert_eq!(forbidden.and_then(|error| error.source.raw_os_error()), Some(errno));
        port.unwrap();
    }
}

#[test]
fn what_an_operator_can_mend_is_refused() {
    let error: SetupError = without_io_uring(libc::ENOMEM, || choose(Choice::Auto)).unwrap_err();
    assert!(error.to_string().contains("RLIMIT_MEMLOCK"), "{error}");
}

#[test]
fn io_uring_by_name_is_refused_where_it_is_forbidden() {
    let error = without_io_uring(libc::EPERM, || choose(Choice::Only(Backend::IoUring))).unwrap_err();
    assert!(error.to_string().contains("seccomp"), "{error}");
    let chosen = choose(Choice::Only(Backend::Mmsg)).unwrap();
    assert!(chosen.backend == Backend::Mmsg && chosen.forbidden.is_none());
}
