//! File systems of a test's own. Linux, as root: elsewhere the test says that it is skipped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{BOUND, Dir, skip, wait_until};

/// Something mounted on a folder; unmounted at the end.
pub struct Mount(PathBuf);

impl Mount {
    /// A file system in memory with so much room ("1m").
    pub fn tmpfs(path: &Path, size: &str) -> Option<Mount> {
        Mount::or_skip(
            &["-t", "tmpfs", "-o", &format!("size={size}"), "none"],
            path,
        )
    }

    /// What lies at `from`, at `path` as well.
    pub fn bind(from: &Path, path: &Path) -> Option<Mount> {
        Mount::or_skip(
            &["--bind", from.to_str().expect("a path that is text")],
            path,
        )
    }

    /// The file system of this kind that is in an image file, on a loop device.
    pub fn image(image: &Path, kind: &str, path: &Path) -> Option<Mount> {
        let image = image.to_str().expect("a path that is text");
        Mount::or_skip(&["-t", kind, "-o", "loop", image], path)
    }

    /// A FAT file system that shows what `options` say.
    pub fn fat(images: &Dir, options: &str, path: &Path) -> Option<Mount> {
        let image = images.join("image");
        File::create(&image)
            .and_then(|image| image.set_len(40 << 20))
            .expect("an image");
        let image = image.to_str().expect("a path that is text");
        if !run("mkfs.vfat", &[image]) {
            skip("mkfs.vfat cannot be run: is dosfstools installed?");
            return None;
        }
        Mount::or_skip(
            &["-t", "vfat", "-o", &format!("loop,{options}"), image],
            path,
        )
    }

    /// What lies at `from`, with the modes and owners that `options` say (bindfs(1)). Calls that
    /// change them succeed, and what is shown stays.
    pub fn bindfs(from: &Path, path: &Path, options: &str) -> Option<Mount> {
        let [from, to] = [from, path].map(|path| path.to_str().expect("a path that is text"));
        if run("bindfs", &["-o", options, from, to]) {
            return Some(Mount(path.to_path_buf()));
        }
        eprintln!("SKIPPED: there is no bindfs (the package bindfs), or no FUSE");
        None
    }

    /// A file system of its own in an image file with so much room, which `make` (mkfs and its options)
    /// brings about. `None`, and a line that says why, where there is no such program or driver.
    pub fn made(images: &Dir, make: &[&str], kind: &str, size: u64, path: &Path) -> Option<Mount> {
        let image = images.join("image");
        File::create(&image)
            .and_then(|image| image.set_len(size))
            .expect("an image");
        let text = image.to_str().expect("a path that is text");
        if !run(make[0], &[&make[1..], &[text]].concat()) {
            skip(format!(
                "{} cannot be run: is it installed?",
                make.join(" ")
            ));
            return None;
        }
        Mount::image(&image, kind, path)
    }

    /// One file system laid over another: what lies at `lower`, and what is changed goes to `upper`.
    pub fn overlay(lower: &Path, upper: &Path, work: &Path, path: &Path) -> Option<Mount> {
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.display(),
            upper.display(),
            work.display()
        );
        Mount::or_skip(&["-t", "overlay", "-o", &options, "none"], path)
    }

    fn or_skip(args: &[&str], path: &Path) -> Option<Mount> {
        let text = path.to_str().expect("a path that is text");
        if run("mount", &[args, &[text]].concat()) {
            return Some(Mount(path.to_path_buf()));
        }
        skip(format!(
            "mounting a file system (mount {}) needs root, and for a loop device its driver",
            args.join(" ")
        ));
        None
    }

    /// Changes its options, as in "ro" or "bind,ro".
    pub fn remount(&self, options: &str) {
        let path = self.0.to_str().expect("a path that is text");
        assert!(
            run("mount", &["-o", &format!("remount,{options}"), path]),
            "remount,{options}"
        );
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        run(
            "umount",
            &["-l", self.0.to_str().expect("a path that is text")],
        );
    }
}

fn run(program: &str, args: &[&str]) -> bool {
    Command::new(program)
        .args(args)
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Fills the file system that `path` is on, to the last byte.
pub fn fill(path: &Path) {
    use std::io::Write as _;
    let mut filler = File::options()
        .create(true)
        .append(true)
        .open(path)
        .expect("a file to fill the disk with");
    let mut size = 1 << 20;
    while size > 0 {
        if filler.write_all(&vec![0; size]).is_err() {
            size /= 2;
        }
    }
}

/// An ext4 file system in an image file, on a loop device.
pub struct Disk {
    at: PathBuf,
    mounted: Option<Mount>,
    images: Dir,
}

impl Disk {
    /// Makes one, and mounts it on `at`.
    pub fn new(at: &Path) -> Option<Disk> {
        // In memory where there is some: the tests are about what was brought onto the disk, not
        // about how long that takes on a busy one.
        let memory = Path::new("/dev/shm");
        let images = if memory.is_dir() {
            Dir::within(memory)
        } else {
            Dir::new()
        };
        File::create(images.join("disk"))
            .and_then(|image| image.set_len(64 << 20))
            .expect("an image");
        let made = Command::new("mkfs.ext4")
            .args(["-q", "-F"])
            .arg(images.join("disk"))
            .output();
        if !made.is_ok_and(|output| output.status.success()) {
            skip("there is no mkfs.ext4 (e2fsprogs)");
            return None;
        }
        let mut disk = Disk {
            at: at.to_path_buf(),
            mounted: None,
            images,
        };
        disk.switch_on().then_some(disk)
    }

    /// Mounts it; after a cut that recovers the file system's own journal.
    pub fn switch_on(&mut self) -> bool {
        let image = self.images.join("disk");
        // Nothing reaches the disk by the passage of time, only by fsync.
        let args = [
            "-t",
            "ext4",
            "-o",
            "loop,commit=300",
            image.to_str().expect("a path that is text"),
        ];
        self.mounted = Mount::or_skip(&args, &self.at);
        self.mounted.is_some()
    }

    /// From now on the disk is as the last fsync left it: nothing in memory gets there any more, and
    /// every call on an open file fails.
    pub fn cut_power(&self) {
        // linux/fs.h, ext4.h: EXT4_IOC_SHUTDOWN = _IOR('X', 125, __u32), EXT4_GOING_FLAGS_NOLOGFLUSH.
        const SHUTDOWN: rustix::ioctl::Opcode = rustix::ioctl::opcode::read::<u32>(b'X', 125);
        const WITHOUT_FLUSHING: u32 = 2;
        let root = File::open(&self.at).expect("the mount point");
        // SAFETY: the kernel reads one u32 through the pointer and writes nothing; `root` is on ext4,
        // whose call this is (on anything else it fails).
        let cut = unsafe {
            rustix::ioctl::ioctl(
                &root,
                rustix::ioctl::Setter::<SHUTDOWN, u32>::new(WITHOUT_FLUSHING),
            )
        };
        cut.expect("ext4 knows the call");
    }

    /// Unmounts it. No process may have anything open there.
    pub fn switch_off(&mut self) {
        // A process that another test is starting holds this one's files for a moment.
        wait_until("the disk to be unmounted", BOUND, || {
            Command::new("umount")
                .arg(&self.at)
                .output()
                .is_ok_and(|output| output.status.success())
        });
        // There is nothing left to be unmounted.
        std::mem::forget(self.mounted.take());
    }
}
