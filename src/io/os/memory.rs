//! Memory that the allocator holds and the program does not need.
//!
//! The allocators of musl, macOS, the BSDs and Windows give it back by themselves, more or less. glibc's
//! does so only at the end of its heap, and has calls for the rest, which no crate wraps.

/// The size from which on a block is a mapping of its own, which goes back as it is freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const OWN_MAPPING: std::ffi::c_int = 128 * 1024;

/// To be called when the process begins.
pub fn begin() {
    // That size is glibc's default; but as long as nobody sets it, it grows with each such block that is
    // freed, up to 32 MiB, and these come from the heap from then on (mallopt(3), M_MMAP_THRESHOLD).
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::mallopt(glibc::M_MMAP_THRESHOLD, OWN_MAPPING);
}

/// Gives back what nothing lies in. It takes milliseconds where there is much.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::malloc_trim(0);
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(
    unsafe_code,
    reason = "calls of the C library that have no safe wrapper"
)]
mod glibc {
    use std::ffi::c_int;

    /// `malloc.h` of glibc.
    pub const M_MMAP_THRESHOLD: c_int = -3;

    // Both may be called at any time, from any thread and with any value (malloc_trim(3), mallopt(3):
    // MT-Safe; mallopt refuses what it does not know, with a 0). Neither touches memory that is in use.
    unsafe extern "C" {
        /// Gives back what is free, but for so many bytes at the end of the heap. 1 if anything was.
        pub safe fn malloc_trim(keep: usize) -> c_int;
        /// Sets one of the allocator's parameters.
        pub safe fn mallopt(parameter: c_int, value: c_int) -> c_int;
    }
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    #[test]
    fn what_was_freed_between_what_stays_goes_back() {
        super::begin();
        // In KiB (proc_pid_status(5)).
        let resident = || -> u64 {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find(|line| line.starts_with("VmRSS:"));
            let mut words = line.expect("Linux says it").split_whitespace();
            words.nth(1).unwrap().parse().unwrap()
        };
        let mut all: Vec<Option<Vec<u8>>> = (0..500_000).map(|_| Some(vec![1; 200])).collect();
        for (number, block) in all.iter_mut().enumerate() {
            if number % 1_000 > 0 {
                *block = None;
            }
        }
        let before = resident();
        super::give_back();
        let after = resident();
        // 500 pages stay, of 100 MB. Other tests may be at work.
        assert!(after + 30_000 < before, "{before} {after}");
    }
}
