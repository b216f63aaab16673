//! `millrace ctl`: reads the shared memory of a running node. It interrupts nobody: it maps what the holder shows, read-only,
//! and never sees keys.

mod status;
mod text;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use engine_base::Limits;
use engine_table::{CourierRegion, EngineRegion, HolderRegion, SignalingRegion};

use crate::runtime;

pub use status::Status;

/// What to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum View {
    /// Everything.
    Status,
    Transports,
    Ingresses,
    Egresses,
    /// Dropped packets by reason, with what to do about them.
    Drops,
    Counters,
}

/// The regions of a running node, read-only.
pub struct Shown {
    pub holder: HolderRegion,
    pub signaling: SignalingRegion,
    pub courier: CourierRegion,
    pub engine: EngineRegion,
}

impl Shown {
    pub fn open(runtime: &Path) -> Result<Self> {
        let (message, descriptors) = runtime::connect(runtime)?;
        let limits: [u32; 5] =
            serde_json::from_slice(&message).context("the holder's answer is unreadable: use its own executable")?;
        let [workers, transports, ingresses, egresses, datas] = limits;
        let limits = Limits { workers, transports, ingresses, egresses, datas };
        ensure!(
            descriptors.len() == runtime::SHOWN_REGIONS,
            "the holder showed {} regions: use its own executable",
            descriptors.len()
        );
        Ok(Self {
            holder: HolderRegion::map(&descriptors[0], &limits, false)?,
            signaling: SignalingRegion::map(&descriptors[1], &limits, false)?,
            courier: CourierRegion::map(&descriptors[2], &limits, false)?,
            engine: EngineRegion::map(&descriptors[3], &limits, false)?,
        })
    }
}

pub fn run(runtime: &Path, view: View, json: bool) -> Result<()> {
    let status = Status::read(&Shown::open(runtime)?);
    if json {
        let value = serde_json::to_value(&status)?;
        let part = match view {
            View::Status => value,
            View::Transports => value["transports"].clone(),
            View::Ingresses => value["ingresses"].clone(),
            View::Egresses => value["egresses"].clone(),
            View::Drops => value["drops"].clone(),
            View::Counters => value["counters"].clone(),
        };
        println!("{part}");
    } else {
        print!("{}", text::write(&status, view));
    }
    Ok(())
}
