//! `engine_base::Limits` as a list of numbers: how the holder hands the configuration to signaling. Not the form of the file.

use engine_base::Limits;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) fn serialize<S: Serializer>(limits: &Limits, serializer: S) -> Result<S::Ok, S::Error> {
    [limits.workers, limits.transports, limits.ingresses, limits.egresses, limits.datas].serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Limits, D::Error> {
    let [workers, transports, ingresses, egresses, datas] = <[u32; 5]>::deserialize(deserializer)?;
    Ok(Limits { workers, transports, ingresses, egresses, datas })
}
