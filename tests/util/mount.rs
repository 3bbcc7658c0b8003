//! File systems of a test's own. Linux, as root: elsewhere the test says that it is skipped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Something mounted on a folder; unmounted at the end.
pub struct Mount(PathBuf);

impl Mount {
    /// A file system in memory with so much room ("1m").
    pub fn tmpfs(path: &Path, size: &str) -> Option<Mount> {
        Mount::or_skip(&["-t", "tmpfs", "-o", &format!("size={size}"), "none"], path)
    }

    /// An ext4 of so many bytes in the file `image`, made if it is not there.
    pub fn ext4(path: &Path, image: &Path, size: u64) -> Option<Mount> {
        let text = image.to_str().expect("a path that is text");
        if !image.exists() {
            File::create(image).and_then(|file| file.set_len(size)).expect("an image");
            if !run("mkfs.ext4", &["-q", "-F", text]) {
                eprintln!("SKIPPED: there is no mkfs.ext4 (e2fsprogs)");
                return None;
            }
        }
        Mount::or_skip(&["-o", "loop", text], path)
    }

    /// What lies at `from`, at `path` as well.
    pub fn bind(from: &Path, path: &Path) -> Option<Mount> {
        Mount::or_skip(&["--bind", from.to_str().expect("a path that is text")], path)
    }

    fn or_skip(args: &[&str], path: &Path) -> Option<Mount> {
        let text = path.to_str().expect("a path that is text");
        if run("mount", &[args, &[text]].concat()) {
            return Some(Mount(path.to_path_buf()));
        }
        eprintln!(
            "SKIPPED: mounting a file system (mount {}) needs root, and for a loop device its driver",
            args.join(" ")
        );
        None
    }

    /// Changes its options, as in "ro" or "bind,ro".
    pub fn remount(&self, options: &str) {
        let path = self.0.to_str().expect("a path that is text");
        assert!(run("mount", &["-o", &format!("remount,{options}"), path]), "remount,{options}");
    }

    /// Takes the power from the disk below it: what was not brought onto it is lost
    /// (`EXT4_IOC_SHUTDOWN` with `NOLOGFLUSH`, linux/fs/ext4/ext4.h).
    pub fn cut_power(&self) {
        const OPCODE: rustix::ioctl::Opcode = rustix::ioctl::opcode::read::<u32>(b'X', 125);
        const NO_LOG_FLUSH: u32 = 2;
        let root = File::open(&self.0).expect("the mount point");
        // SAFETY: the call reads a u32 by the pointer that it is given, as the kernel's header says.
        unsafe { rustix::ioctl::ioctl(&root, rustix::ioctl::Setter::<OPCODE, u32>::new(NO_LOG_FLUSH)) }
            .expect("ext4 can be shut down");
    }

    /// Unmounts it and waits until it is free.
    pub fn unmount(self) {
        let path = self.0.to_str().expect("a path that is text").to_string();
        super::wait_until("it to be unmounted", super::BOUND, || run("umount", &[&path]));
        std::mem::forget(self);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        run("umount", &["-l", self.0.to_str().expect("a path that is text")]);
    }
}

fn run(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).output().is_ok_and(|output| output.status.success())
}

/// Fills the file system that `path` is on, to the last byte.
pub fn fill(path: &Path) {
    use std::io::Write as _;
    let mut filler = File::options().create(true).append(true).open(path).expect("a file to fill the disk with");
    let mut size = 1 << 20;
    while size > 0 {
        if filler.write_all(&vec![0; size]).is_err() {
            size /= 2;
        }
    }
}
