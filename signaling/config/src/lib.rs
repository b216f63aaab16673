//! Configuration of a node: LiveKit's YAML with the same keys and meanings, and our own `millrace:` section.
//!
//! Wrong values are refused with line and remedy, all of them at once. Unknown keys, and known ones that are not served
//! yet, become [`Notice`]s. It reads files only in [`Config::load`], opens no sockets, and finds no addresses.
#![forbid(unsafe_code)]

mod config;
mod document;
mod limits;
mod load;
mod notice;
mod read;
mod reader;
mod schema;

pub use config::{
    AudioConfig, CodecSpec, Config, LimitConfig, LogLevel, LoggingConfig, MillraceConfig, NodeIp, PacketIo, PortRange,
    RoomConfig, RoomPreset, RtcConfig, VideoConfig,
};
pub use notice::{ConfigError, Notice, Problem, Severity};
