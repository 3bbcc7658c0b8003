//! A temporary folder for the unit tests of the shell.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> TempDir {
        TempDir::within(&std::env::temp_dir())
    }

    /// On another file system than the others; `None`, and a line that says so, where there is none.
    #[cfg(unix)]
    pub fn elsewhere() -> Option<TempDir> {
        use std::os::unix::fs::MetadataExt;
        let shm = Path::new("/dev/shm");
        let device = |path: &Path| path.metadata().map(|meta| meta.dev()).ok();
        if device(shm).is_none() || device(shm) == device(&std::env::temp_dir()) {
            eprintln!("skipped: /dev/shm is no file system of its own");
            return None;
        }
        Some(TempDir::within(shm))
    }

    fn within(folder: &Path) -> TempDir {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("dirpost-unit-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary folder");
        TempDir(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
