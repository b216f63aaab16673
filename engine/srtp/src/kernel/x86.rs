//! The instructions of x86-64 behind the kernels. All that is unsafe in this crate stands in this folder.
//!
//! Invariants:
//! 1. A token ([`ShaNi`], [`Vaes256`], …) exists only if its `detect` found every instruction set that its functions enable.
//!    Only a token's methods call these functions.
//! 2. Vector types are made and used only in generic code that such a function calls, all of it inlined into it; so whoever
//!    runs a vector's method runs on a processor that has the instruction.
//! 3. Loads and stores take slices, whose length is checked first.

mod avx512;
mod expand;
mod sha_ni;
mod vaes256;
mod vaes512;
mod xmm;

pub(crate) use avx512::Avx512;
pub(crate) use sha_ni::ShaNi;
pub(crate) use vaes256::Vaes256;
pub(crate) use vaes512::Vaes512;

/// An instruction, by invariant 2.
macro_rules! instruction {
    ($call:expr) => {{
        // SAFETY: invariant 2 of `x86`.
        #[allow(unused_unsafe, reason = "some intrinsics are safe to call where their features are enabled")]
        unsafe {
            $call
        }
    }};
}
use instruction;
