//! New files in dirpost's areas: copies of files of another file system, reasons and answers. They are no
//! wider open than what they are a copy of, or about.

use std::fs::File;
use std::io::{self, Read, Write};

use sha2::{Digest as _, Sha256};

use crate::flow::file::{FsKind, Look};
use crate::flow::filing::disk::Copied;
use crate::flow::filing::names::draft_of_reason;
use crate::io::dir::{Dir, copy_attributes, copy_mode, file_look};

/// Bytes that are read and written at a time.
const CHUNK: usize = 256 * 1024;

/// A file in an open folder.
pub(super) struct At<'a> {
    pub dir: &'a Dir,
    pub name: &'a [u8],
}

/// Copies `from` to the draft `to`, and brings its content onto the disk.
///
/// # Errors
/// Whatever reading, writing and fsync answer; then a part of the copy may lie at `to`.
/// `InvalidData` where the copy did not get as many bytes as were read.
pub(super) fn copy(from: &At, to: &At) -> io::Result<Copied> {
    match to.dir.remove(to.name) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
        _ => {}
    }
    let mut source = from.dir.file(from.name)?;
    // Only for dirpost until it has its own mode: its folder may be open to others.
    let mut target = to.dir.create_new(to.name, 0o600)?;
    let (sha256, size) = transfer(&mut source, &mut target)?;
    // Before it may belong to another user, to whose files no time can be given.
    target.set_modified(source.metadata()?.modified()?)?;
    // What cannot be kept leaves the copy narrower than its file, never wider.
    drop(copy_attributes(&source, &target)?);
    target.sync_all()?;
    let arrived = file_look(&target, FsKind::Share)?.stamp.size;
    if arrived != size {
        let why = format!("{size} bytes were copied, and {arrived} arrived");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(Copied {
        sha256,
        of: fresh_look(from, &source)?,
    })
}

/// Writes the file `at` (a reason, an answer), as a whole and onto the disk, in the mode of the file `like`.
///
/// # Errors
/// Whatever creating, writing, fsync or the rename answers; then a draft may be left, which the
/// next try removes, for it is called after its file.
pub(super) fn write_beside(at: &At, text: &[u8], like: &At) -> io::Result<()> {
    let draft = draft_of_reason(at.name);
    match at.dir.remove(&draft) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
        _ => {}
    }
    let mut file = at.dir.create_new(&draft, 0o600)?;
    // A file that nobody may read can be condemned all the same: its reason is for dirpost alone.
    if let Ok(like) = like.dir.file(like.name) {
        copy_mode(&like, &file)?;
    }
    file.write_all(text)?;
    file.sync_all()?;
    at.dir.rename_over(&draft, at.dir, at.name)
}

/// Reads a file whole.
///
/// # Errors
/// It cannot be opened or read.
pub(super) fn digest(at: &At) -> io::Result<[u8; 32]> {
    transfer(&mut at.dir.file(at.name)?, &mut io::sink()).map(|(sha256, _)| sha256)
}

/// Gives the digest and the number of the bytes.
fn transfer(source: &mut File, target: &mut impl Write) -> io::Result<([u8; 32], u64)> {
    let (mut hash, mut size) = (Sha256::new(), 0);
    let mut chunk = vec![0; CHUNK];
    loop {
        match source.read(&mut chunk)? {
            0 => return Ok((hash.finalize().into(), size)),
            got => {
                hash.update(&chunk[..got]);
                target.write_all(&chunk[..got])?;
                size += got as u64;
            }
        }
    }
}

/// How the source is now that it has been read. On a share a handle may see nothing of what
/// another client does; only a fresh open does.
fn fresh_look(from: &At, source: &File) -> io::Result<Look> {
    if from.dir.kind() != FsKind::Share {
        return file_look(source, from.dir.kind());
    }
    from.dir
        .fresh_entry(from.name)?
        .file()
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}
