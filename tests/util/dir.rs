//! A temporary folder, and numbers to draw from.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use dirpost::flow::rng::Rng;

/// What these files hold, as text, sorted.
pub fn as_texts(files: BTreeMap<String, Vec<u8>>) -> Vec<String> {
    let files = files.into_values();
    let mut texts: Vec<String> = files
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .collect();
    texts.sort();
    texts
}

/// Removed at the end, unless the test has failed: then its path is printed.
pub struct Dir(PathBuf);

impl Dir {
    pub fn new() -> Dir {
        Dir::within(&std::env::temp_dir())
    }

    pub fn within(parent: &Path) -> Dir {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("dirpost-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Dir(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("its folder");
        std::fs::write(&path, bytes).expect("a file written");
        path
    }

    pub fn append(&self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(self.join(name))
            .expect("a file to append to");
        file.write_all(bytes.as_ref()).expect("appended");
    }

    pub fn mkdir(&self, name: impl AsRef<Path>) -> PathBuf {
        let path = self.join(name);
        std::fs::create_dir_all(&path).expect("a folder");
        path
    }

    pub fn read(&self, name: impl AsRef<Path>) -> Vec<u8> {
        let path = self.join(name);
        std::fs::read(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
    }

    pub fn text(&self, name: impl AsRef<Path>) -> String {
        String::from_utf8_lossy(&self.read(name)).into_owned()
    }

    pub fn exists(&self, name: impl AsRef<Path>) -> bool {
        self.join(name).symlink_metadata().is_ok()
    }

    /// All files below `name`, as relative paths, sorted; nothing if it is not there.
    pub fn list(&self, name: impl AsRef<Path>) -> Vec<String> {
        fn walk(base: &Path, at: &Path, found: &mut Vec<String>) {
            let Ok(entries) = std::fs::read_dir(at) else {
                return;
            };
            for entry in entries.flatten() {
                let path = entry.path();
                if path.is_dir() {
                    walk(base, &path, found);
                } else if let Ok(rel) = path.strip_prefix(base) {
                    found.push(rel.to_string_lossy().into_owned());
                }
            }
        }
        let base = self.join(name);
        let mut found = Vec::new();
        walk(&base, &base, &mut found);
        found.sort();
        found
    }

    /// All files below `name` and what each of them holds, without those that go while they are
    /// read: a daemon may be at work on the folder.
    pub fn contents(&self, name: impl AsRef<Path>) -> BTreeMap<String, Vec<u8>> {
        let folder = self.join(name);
        let names = self.list(&folder).into_iter();
        let read = names.filter_map(|name| match std::fs::read(folder.join(&name)) {
            Ok(bytes) => Some((name, bytes)),
            Err(err) if err.kind() == ErrorKind::NotFound => None,
            Err(err) => panic!("{}: {err}", folder.join(&name).display()),
        });
        read.collect()
    }

    /// All lines of the journal of this state folder, as they stood at one moment: where the
    /// daemon replaces a file of it meanwhile, they are read again.
    pub fn journal(&self, state: impl AsRef<Path>) -> String {
        let folder = self.join(state).join("journal");
        let of_lines = |name: &String| name.ends_with(".jsonl");
        loop {
            let names = self.list(&folder);
            let mut files = self.contents(&folder);
            files.retain(|name, _| of_lines(name));
            if names.iter().filter(|name| of_lines(name)).eq(files.keys()) {
                let texts = files.into_values();
                return texts
                    .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                    .collect();
            }
        }
    }

    /// The files that dirpost has still to deliver.
    pub fn waiting(&self) -> Vec<String> {
        self.list("")
            .into_iter()
            .filter(|name| !name.starts_with(".dirpost"))
            .collect()
    }

    pub fn done(&self) -> Vec<String> {
        self.list(".dirpost/done")
    }

    /// Without the reason files, and what is just being written.
    pub fn dead(&self) -> Vec<String> {
        let other = |name: &String| name.ends_with(".reason.json") || name.contains(".draft-");
        self.list(".dirpost/dead-letter")
            .into_iter()
            .filter(|name| !other(name))
            .collect()
    }

    /// What the reason file of a dead letter says.
    pub fn reason(&self, name: &str) -> serde_json::Value {
        let text = self.read(format!(".dirpost/dead-letter/{name}.reason.json"));
        serde_json::from_slice(&text).expect("a reason file is JSON")
    }

    pub fn set_mtime(&self, name: impl AsRef<Path>, time: SystemTime) {
        let file = std::fs::File::options()
            .write(true)
            .open(self.join(name))
            .expect("a file");
        file.set_modified(time).expect("its mtime");
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the folder is left as it is: {}", self.0.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// So many bytes, drawn.
pub fn draw_bytes(rng: &mut Rng, count: usize) -> Vec<u8> {
    (0..count).map(|_| rng.draw() as u8).collect()
}
