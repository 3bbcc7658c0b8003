//! The proof that a file system moves the times of folders, from a folder of dirpost's own on it.

use std::io;
use std::time::SystemTime;

use crate::flow::file::Rel;
use crate::flow::scan::rounds::{Proof, Rounds, shows_ctime};
use crate::io::dir::{Dir, draft_name};
use crate::io::os::clock;

/// Makes a file in `own`, the folder in the watched one that is dirpost's, and removes it again, if
/// that is on the file system of the watched folder `root` and it is still open whether the times there can be trusted. A file that
/// cannot be made, and times that are as coarse as the last change there is young, show nothing:
/// the next scan tries again, a few times.
pub(super) fn seek(own: &Dir, root: &Dir, rounds: &mut Rounds) {
    let dev = root.id().0;
    let now = clock::mono();
    if own.id().0 != dev || !rounds.wants_proof(dev, root.kind(), now) {
        return;
    }
    let (moves, has_ctime) = try_to_see(own).unwrap_or_default();
    rounds.proof(Proof {
        dev,
        fs: root.kind(),
        moves,
        has_ctime,
        at: now,
    });
}

/// Whether a new name moves the folder's ctime, and whether a file with an mtime of its own shows a
/// ctime beside it.
fn try_to_see(own: &Dir) -> io::Result<(bool, bool)> {
    let ctime = || Ok::<_, io::Error>(own.times(&Rel::root())?.map(|times| times.ctime));
    let before = ctime()?;
    let name = draft_name();
    let file = own.create_new(&name, 0o600)?;
    let after = ctime();
    // A handle that was opened for writing may set times where the folder's owner may.
    let set = file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1));
    let look = own.look(&name);
    drop(file);
    own.remove(&name)?;
    let has_ctime =
        set.is_ok() && matches!(look, Ok(Some(look)) if shows_ctime(look.ctime, look.stamp.mtime));
    Ok((before.is_some() && before != after?, has_ctime))
}
