//! The bytes of the media port: views that cannot panic after one check, and writers into `&mut [u8]`. It holds no state,
//! allocates nothing and does no cryptography.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod bits;
mod cursor;

pub mod av1;
pub mod classify;
pub mod dependency_descriptor;
pub mod error;
pub mod extension;
pub mod frame;
pub mod h264;
pub mod h265;
pub mod opus;
pub mod red;
pub mod rtcp;
pub mod rtp;
pub mod stun;
pub mod vp8;
pub mod vp9;

pub use classify::{Class, classify};
pub use error::WireError;
pub use extension::{ExtensionBlock, ExtensionWriter};
pub use frame::FrameInfo;
pub use rtcp::{Compound, Rtcp};
pub use rtp::{RtpHeader, RtpPacket};
pub use stun::StunMessage;
