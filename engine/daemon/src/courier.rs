//! `millrace courier`: maps the regions and lets engine-courier run.

use anyhow::{Context, Result, ensure};
use engine_courier::courier::Regions;
use engine_table::{CourierRegion, EngineRegion, IdentityRow, KeyRegion, SignalingRegion};
use zerocopy::{FromZeros, IntoBytes};

use crate::start::CourierStart;

/// Runs the courier until `shutdown` is readable.
///
/// **Errors**: an operator's; each ends with what to do. A panic over one client's bytes ends that client's session only.
pub fn run(start: CourierStart) -> Result<()> {
    let limits = &start.limits;
    let regions = Regions {
        signaling: SignalingRegion::map(&start.signaling, limits, false).context("region signaling")?,
        courier: CourierRegion::map(&start.courier, limits, true).context("region courier")?,
        keys: KeyRegion::map(&start.keys, limits, true).context("region keys")?,
        engine: EngineRegion::map(&start.engine, limits, false).context("region engine")?,
    };
    let identity = read_identity(&start)?;
    engine_courier::run(engine_courier::CourierStart {
        regions,
        identity,
        wake: start.courier_wake,
        worker_wakes: start.worker_wakes,
        signaling_wake: Some(start.signaling_wake),
        shutdown: start.shutdown,
    })?;
    Ok(())
}

/// The memfd holds the row and nothing else.
fn read_identity(start: &CourierStart) -> Result<IdentityRow> {
    let mut identity = IdentityRow::new_zeroed();
    let mut read = 0;
    while read < size_of::<IdentityRow>() {
        let rest = &mut identity.as_mut_bytes()[read..];
        let count = rustix::io::pread(&start.identity, rest, read as u64).context("cannot read the node's identity")?;
        ensure!(count > 0, "the node's identity is cut short; start all processes from one executable");
        read += count;
    }
    Ok(identity)
}
