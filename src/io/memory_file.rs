//! What was learned, in `memory.jsonl` in the state folder, for the next process.
//!
//! Replaced as a whole, by a rename. It is not brought onto the disk: after a power cut an old
//! one, or none, is as good.

use std::io::{self, Read};

use crate::flow::memory::Memory;
use crate::io::dir::{Dir, Durability};
use crate::io::os::clock;

const NAME: &[u8] = b"memory.jsonl";

/// What an earlier process has left; nothing where it has left nothing that can be read.
pub fn read(state: &Dir) -> Memory {
    let mut bytes = Vec::new();
    match state
        .file(NAME)
        .and_then(|mut file| file.read_to_end(&mut bytes))
    {
        Ok(_) => Memory::read(&bytes, &clock::all()),
        Err(_) => Memory::default(),
    }
}

/// Replaces it, and brings it onto the disk: a power cut must not leave an empty file, with which a
/// brake would be forgotten. With nothing to remember it is removed.
///
/// # Errors
/// Those of [`Dir::replace`], or of removing it where there is nothing to be remembered.
pub fn write(state: &Dir, memory: &Memory) -> io::Result<()> {
    if memory.is_empty() {
        return match state.remove(NAME) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
    }
    state.replace(NAME, &memory.lines(&clock::all()), Durability::Durable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::memory::Endpoint;
    use crate::io::testing::TempDir;

    #[test]
    fn the_last_one_is_read_back_and_an_empty_one_leaves_no_file() {
        let dir = TempDir::new();
        let state = Dir::at(dir.path()).unwrap();
        assert!(read(&state).is_empty());
        for brake in [1, 2] {
            let memory = Memory {
                endpoint: Endpoint {
                    brake,
                    ..Endpoint::default()
                },
                ..Memory::default()
            };
            write(&state, &memory).unwrap();
            assert_eq!(read(&state).endpoint.brake, brake);
        }
        write(&state, &Memory::default()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
