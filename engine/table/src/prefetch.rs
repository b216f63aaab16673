//! Asks the processor for cache lines that are needed soon. A worker walks over thousands of subscribers and finds nearly everything
//! of each in L3 or memory: asked for some subscribers ahead, the lines arrive while others are served.

/// Bytes of a line.
const LINE: usize = 64;

/// Every line of `bytes` bytes from `at`. Nothing is read: any address may be given. Does nothing on processors but x86-64.
///
/// **Cost**: one instruction a line.
#[inline]
pub fn prefetch(at: *const u8, bytes: usize) {
    let first = at as usize % LINE;
    for offset in (0..first + bytes).step_by(LINE) {
        line(at.wrapping_sub(first).wrapping_add(offset));
    }
}

/// Every line of a value.
#[inline]
pub fn prefetch_value<T>(value: &T) {
    prefetch((&raw const *value).cast(), size_of::<T>());
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
fn line(at: *const u8) {
    use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a hint, which faults for no address and changes nothing that a program can see.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
#[inline]
fn line(_: *const u8) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_address_may_be_given() {
        prefetch(core::ptr::null(), 4096);
        prefetch(usize::MAX as *const u8, 1);
        prefetch_value(&[0u8; 1000]);
    }
}
