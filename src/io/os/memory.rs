//! Memory that the allocator holds and the program does not need.
//!
//! The allocators of musl, macOS, the BSDs and Windows give it back by themselves, more or less. glibc's
//! does so only at the end of its heap, and has calls for the rest, which no crate wraps.

/// The size from which on a block is a mapping of its own, which goes back as it is freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const OWN_MAPPING: std::ffi::c_int = 128 * 1024;

/// To be called when the process begins, before it has threads.
pub fn begin() {
    // That size is glibc's default; but as long as nobody sets it, it grows with each such block that is
    // freed, up to 32 MiB, and these come from the heap from then on (mallopt(3), M_MMAP_THRESHOLD).
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::set_mmap_threshold(OWN_MAPPING);
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

    /// Of glibc's `malloc.h`.
    const M_MMAP_THRESHOLD: c_int = -3;

    unsafe extern "C" {
        /// Gives back what is free, but for so many bytes at the end of the heap. 1 if anything was. It may be
        /// called at any time and from any thread, with any value (malloc_trim(3): MT-Safe).
        pub safe fn malloc_trim(keep: usize) -> c_int;
        fn mallopt(parameter: c_int, value: c_int) -> c_int;
    }

    /// Blocks of so many bytes, and larger ones, are mappings of their own.
    pub fn set_mmap_threshold(bytes: c_int) {
        // SAFETY: any value may be given; what it does not take it answers with a 0, and nothing has changed.
        // It writes a number that other threads read without a lock (mallopt(3): MT-Unsafe): it is called as
        // the first thing in `main`.
        unsafe {
            mallopt(M_MMAP_THRESHOLD, bytes);
        }
    }
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    #[test]
    fn what_was_freed_between_what_stays_goes_back() {
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
