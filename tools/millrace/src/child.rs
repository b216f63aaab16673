//! The subcommands `engine`, `courier` and `signaling`: take what was inherited and run.

use anyhow::{Context, Result, bail};
use engine_table::Role;
use rustix::process::Signal;

use crate::handoff::Handoff;

/// Runs a child process until it shall end.
pub fn run(role: Role) -> Result<()> {
    let mut handoff = Handoff::receive()?;
    prepare(role, &handoff)?;
    match role {
        Role::Engine => engine(&mut handoff),
        Role::Courier => courier(&mut handoff),
        Role::Signaling => signaling(&mut handoff),
    }
}

/// Kernel's name of a process, at most 15 bytes.
const fn process_name(role: Role) -> &'static std::ffi::CStr {
    match role {
        Role::Engine => c"millrace-engine",
        Role::Courier => c"millrace-cour",
        Role::Signaling => c"millrace-sig",
    }
}

fn prepare(role: Role, handoff: &Handoff) -> Result<()> {
    rustix::thread::set_name(process_name(role)).context("cannot set the process name")?;
    if handoff.end_with_holder {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .context("cannot follow the holder's end")?;
        let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
        if parent != i32::try_from(handoff.holder).ok() {
            bail!("the holder ended while this process started");
        }
    }
    Ok(())
}

fn engine(handoff: &mut Handoff) -> Result<()> {
    let limits = handoff.limits();
    let sockets = handoff.take_all("sockets")?;
    let per_worker = sockets.len() / limits.workers as usize;
    let mut sockets = sockets.into_iter();
    let pool = handoff.take_all("pool")?;
    let pool_per_worker = pool.len() / limits.workers as usize;
    let mut pool = pool.into_iter();
    engine_daemon::engine::run(engine_daemon::EngineStart {
        limits,
        holder: handoff.take("holder")?,
        signaling: handoff.take("signaling")?,
        courier: handoff.take("courier")?,
        keys: handoff.take("keys")?,
        engine: handoff.take("engine")?,
        media: handoff.take("media")?,
        worker_wakes: handoff.take_all("worker_wakes")?,
        courier_wake: handoff.take("courier_wake")?,
        signaling_wake: handoff.take("signaling_wake")?,
        sockets: (0..limits.workers).map(|_| sockets.by_ref().take(per_worker).collect()).collect(),
        pool: (0..limits.workers).map(|_| pool.by_ref().take(pool_per_worker).collect()).collect(),
        shutdown: handoff.take("shutdown")?,
        pin_cores: handoff.pin_cores,
        packet_io: handoff
            .packet_io
            .parse()
            .context("the handoff is unreadable: start all processes from one executable")?,
        xdp_interface: handoff.xdp_interface.take(),
    })
}

fn courier(handoff: &mut Handoff) -> Result<()> {
    engine_daemon::courier::run(engine_daemon::CourierStart {
        limits: handoff.limits(),
        holder: handoff.take("holder")?,
        signaling: handoff.take("signaling")?,
        engine: handoff.take("engine")?,
        courier: handoff.take("courier")?,
        keys: handoff.take("keys")?,
        identity: handoff.take("identity")?,
        worker_wakes: handoff.take_all("worker_wakes")?,
        courier_wake: handoff.take("courier_wake")?,
        signaling_wake: handoff.take("signaling_wake")?,
        shutdown: handoff.take("shutdown")?,
    })
}

fn signaling(handoff: &mut Handoff) -> Result<()> {
    signaling_daemon::run(signaling_daemon::SignalingStart {
        limits: handoff.limits(),
        config: handoff.take("config")?,
        holder: handoff.take("holder")?,
        signaling: handoff.take("signaling")?,
        journal: handoff.take("journal")?,
        courier: handoff.take("courier")?,
        engine: handoff.take("engine")?,
        worker_wakes: handoff.take_all("worker_wakes")?,
        courier_wake: handoff.take("courier_wake")?,
        signaling_wake: handoff.take("signaling_wake")?,
        listeners: handoff.take_all("listeners")?,
        ready: handoff.take("ready")?,
        shutdown: handoff.take("shutdown")?,
        dev: handoff.dev,
    })
}
