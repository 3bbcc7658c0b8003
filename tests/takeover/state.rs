//! Copies of state folders, as they were when they were made.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::util::{Dir, skip};

/// Where they are.
pub(super) fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/state-0.1")
}

/// Copies a folder with all that is in it. What is there already stays.
pub(super) fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, to) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        if from.is_dir() {
            copy_all(&from, &to);
        } else {
            std::fs::copy(from, to).unwrap();
        }
    }
}

/// The mtime of each version that the journal or the memory knows, by its size.
pub(super) fn mtimes(state: &Path) -> BTreeMap<u64, SystemTime> {
    let mut texts = vec![std::fs::read_to_string(state.join("memory.jsonl")).unwrap_or_default()];
    for entry in std::fs::read_dir(state.join("journal")).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "jsonl")
        {
            texts.push(std::fs::read_to_string(path).unwrap());
        }
    }
    let time = |nanos: u64| SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos);
    let mut times = BTreeMap::new();
    // A line that was torn is none.
    let lines = texts.iter().flat_map(|text| text.lines());
    for line in lines.filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()) {
        for (size, mtime) in [
            (&line["size"], &line["mtime"]),
            (&line["marker"][0], &line["marker"][1]),
        ] {
            if let (Some(size), Some(mtime)) = (size.as_u64(), mtime.as_u64()) {
                times.insert(size, time(mtime));
            }
        }
    }
    times
}

/// Gives the files below `folder` the mtimes that they had.
pub(super) fn set_mtimes(folder: &Path, times: &BTreeMap<u64, SystemTime>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let meta = path.metadata().unwrap();
        if meta.is_dir() {
            set_mtimes(&path, times);
        } else if let Some(time) = times.get(&meta.len()) {
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(*time).unwrap();
        }
    }
}

/// A folder on another file system than `path`; `None`, and a line that says so, if there is none.
pub(super) fn another_disk(path: &Path) -> Option<Dir> {
    let shm = Path::new("/dev/shm");
    let device = |path: &Path| path.metadata().map(|meta| meta.dev()).ok();
    if device(shm).is_none() || device(shm) == device(path) {
        skip("/dev/shm is no file system of its own");
        return None;
    }
    Some(Dir::within(shm))
}
