//! Folders of files to be looked at and sent.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Removed at its end.
pub struct Folder(PathBuf);

impl Folder {
    /// An empty one in `place`.
    pub fn new(place: &Path) -> Folder {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = place.join(format!("dirpost-bench-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A folder in it.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(&path).expect("a folder");
        path
    }

    /// Makes files right in it, with names of 15 bytes.
    pub fn fill(&self, files: usize, size: usize) {
        fill(&self.0, files, size);
        self.settle();
    }

    /// Makes `folders` folders with names of 15 bytes, and `files` files in all of them together.
    pub fn fill_folders(&self, folders: usize, files: usize, size: usize) {
        for number in 0..folders {
            fill(&self.subfolder(number), files / folders, size);
        }
        self.settle();
    }

    /// The path of one of the folders of [`Folder::fill_folders`].
    pub fn subfolder(&self, number: usize) -> PathBuf {
        self.folder(&format!("folder{number:09}"))
    }

    /// Changes the listing of each folder and puts it back, so that its times move.
    pub fn touch_folders(&self, folders: usize) {
        for number in 0..folders {
            let path = self.subfolder(number).join("passing.tmp");
            std::fs::write(&path, "").expect("a file");
            std::fs::remove_file(&path).expect("removed");
        }
    }

    /// Nothing is left to be written, so that no fsync waits for it, and all is older than a settle time of 1 s.
    fn settle(&self) {
        let folder = File::open(&self.0).expect("the folder");
        rustix::fs::syncfs(&folder).expect("written");
        std::thread::sleep(Duration::from_millis(1_100));
    }

    /// How many of the files that were made lie right in it.
    pub fn left(&self) -> usize {
        std::fs::read_dir(&self.0)
            .expect("the folder")
            .flatten()
            .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"file"))
            .count()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The name of a file: 15 bytes.
pub fn name(number: usize) -> String {
    format!("file{number:07}.csv")
}

fn fill(folder: &Path, files: usize, size: usize) {
    let content = vec![b'x'; size];
    for number in 0..files {
        std::fs::write(folder.join(name(number)), &content).expect("a file");
    }
}
