//! Folders that are made like others: in `done` and `dead-letter` the path of a file is kept, and
//! no folder there lets anybody do more than the one that it stands for.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Access as Permission, AtFlags, Mode};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::access::Access;
use super::acl;
use super::attributes::{chmod, give_rights, hand_over};
use super::names::fsync;
use super::{Dir, FOLDER};
use crate::flow::file::Rel;
use crate::io::dir::kept::{GroupRights, Made, Why, Wider};

/// Everything but write: what everybody may be given of a folder in a state folder.
const READ_AND_SEARCH: u8 = 5;
/// The owner's own rights, whatever the umask.
const OWN: u32 = 0o700;
/// In a folder with this bit nobody removes the files of others (inode(7), S_ISVTX).
const STICKY: u32 = 0o1000;

impl Dir {
    /// Opens the folder `path` below this one, made where it is missing: each part like the same
    /// part below `model`. Where that is gone, or cannot be looked at, it is for dirpost's own user
    /// alone.
    ///
    /// What is made has the owner and the group of its model where they can be kept, gives others
    /// no more than the model does, never write, and no more than the umask allows, and the group
    /// what `group_rights` says. An inherited access list (a default one of the parent) is
    /// removed. What is there already is left as it is.
    ///
    /// # Errors
    /// Whatever opening and making folders answers. Some of the folders may have been made, and
    /// be narrower than their models.
    pub fn make_like(
        &self,
        path: &Rel,
        model: &Dir,
        group_rights: GroupRights,
    ) -> io::Result<Made> {
        let mut made = Made {
            folder: self.folder(&Rel::root())?,
            wider: Vec::new(),
        };
        let mut model = Some(model.folder(&Rel::root())?);
        let mut at = Rel::root();
        for part in path.parts() {
            at = at.join(part);
            model = match &model {
                Some(model) => below(model, part)?,
                None => None,
            };
            let limit = model.as_ref().map(Limit::of).transpose()?;
            let (folder, why) = made
                .folder
                .make_within(part, limit.as_ref(), group_rights)?;
            made.folder = folder;
            made.wider.extend(why.map(|why| Wider {
                path: at.clone(),
                why,
            }));
        }
        Ok(made)
    }

    /// Opens the folder `name` in this one, made where it is missing, as [`Dir::make_like`] makes
    /// it: like `model` itself.
    ///
    /// # Errors
    /// Those of [`Dir::make_like`].
    pub fn make_as(&self, name: &[u8], model: &Dir, group_rights: GroupRights) -> io::Result<Made> {
        let (folder, why) = self.make_within(name, Some(&Limit::of(model)?), group_rights)?;
        let path = Rel::new(name);
        Ok(Made {
            folder,
            wider: why.map(|why| Wider { path, why }).into_iter().collect(),
        })
    }

    /// Opens the folder at `path`, made where it is missing, as [`Dir::make_like`] makes it: like
    /// `model` itself. Folders that are missing on the way are made for everybody to read (less
    /// the umask). Links in `path` are followed: it is the user's.
    ///
    /// # Errors
    /// Those of [`Dir::make_like`].
    pub fn make_at_like(path: &Path, model: &Dir, group_rights: GroupRights) -> io::Result<Made> {
        match Dir::at(path) {
            Ok(folder) => {
                let why = folder.is_wider_than(model)?.then_some(Why::WasThere);
                let path = Rel::root();
                Ok(Made {
                    folder,
                    wider: why.map(|why| Wider { path, why }).into_iter().collect(),
                })
            }
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
                    return Err(err);
                };
                // The parent of a bare name is the present folder.
                let parent = if parent == Path::new("") {
                    Path::new(".")
                } else {
                    parent
                };
                Dir::make_at(parent)?.make_as(name.as_bytes(), model, group_rights)
            }
            Err(err) => Err(err),
        }
    }

    /// Whether this folder gives somebody more rights than `model` does: by mode, owner, group and
    /// access list. Who owns it is not looked at where that is dirpost's own user, or where
    /// dirpost runs as root.
    ///
    /// # Errors
    /// Whatever `fstat` answers.
    pub fn is_wider_than(&self, model: &Dir) -> io::Result<bool> {
        Limit::of(model)?.is_exceeded_by(&self.fd)
    }

    fn make_within(
        &self,
        name: &[u8],
        limit: Option<&Limit>,
        group_rights: GroupRights,
    ) -> io::Result<(Dir, Option<Why>)> {
        let name = OsStr::from_bytes(name);
        let open = || rustix::fs::openat(&self.fd, name, FOLDER, Mode::empty());
        let (fd, is_new) = match open() {
            Err(Errno::NOENT) => {
                let everybody = limit.map_or(0, Limit::everybody);
                let mode = Mode::from_raw_mode((OWN | u32::from(everybody)) as _);
                let is_new = match rustix::fs::mkdirat(&self.fd, name, mode) {
                    Ok(()) => true,
                    Err(Errno::EXIST) => false,
                    Err(err) => return Err(err.into()),
                };
                (open()?, is_new)
            }
            other => (other?, false),
        };
        // Whose it is tells whether somebody has put another folder in its place meanwhile.
        let is_own = rustix::fs::fstat(&fd)?.st_uid == geteuid().as_raw();
        if is_new && is_own {
            let limit = limit.filter(|_| group_rights == GroupRights::Kept);
            open_up(&fd, limit)?;
            fsync(&fd)?;
        }
        if is_new {
            fsync(&self.fd)?;
        }
        let why = match limit {
            Some(limit) if limit.is_exceeded_by(&fd)? => Some(match is_new {
                true => Why::CannotBeKept,
                false => Why::WasThere,
            }),
            _ => None,
        };
        Ok((Dir::new(fd)?, why))
    }
}

/// Gives a folder that was made a moment ago, and that gives rights to nobody but its owner and to
/// everybody, its final ones: those of `limit`; without one, the group is treated as everybody.
fn open_up(fd: &OwnedFd, limit: Option<&Limit>) -> io::Result<()> {
    // The umask has had its say in what everybody has.
    let made = acl::by_mode(fd)?;
    let own = Access {
        group_bits: made.other_bits,
        ..made.clone()
    };
    let Some(limit) = limit else {
        give_rights(fd, &own);
        return Ok(());
    };
    let now = hand_over(fd, &limit.access)?;
    let mut wanted = limit.access.owned_by(now.st_uid, now.st_gid);
    wanted.other_bits &= made.other_bits;
    if wanted.group != limit.access.group {
        wanted.group_bits &= wanted.other_bits;
    }
    if now.st_uid == made.owner {
        wanted.owner_bits = made.owner_bits;
    }
    give_rights(fd, &wanted);
    if limit.is_sticky {
        chmod(fd, acl::by_mode(fd)?.mode() | STICKY);
    }
    // Without the capability to write to the folders of others, it has to stay dirpost's own.
    let may_use = Permission::WRITE_OK | Permission::EXEC_OK;
    if rustix::fs::accessat(fd, ".", may_use, AtFlags::empty()).is_err() {
        hand_over(fd, &made)?;
        give_rights(fd, &own);
    }
    Ok(())
}

/// What a folder may give at most.
struct Limit {
    access: Access,
    /// Who may write to it may remove no files of others.
    is_sticky: bool,
}

impl Limit {
    fn of(model: &Dir) -> io::Result<Limit> {
        let access = match acl::access_of(&model.fd) {
            Ok(access) => access,
            Err(_) => acl::without_known_list(&model.fd)?,
        };
        Ok(Limit {
            access,
            is_sticky: is_sticky(&model.fd)?,
        })
    }

    /// What everybody may be given at most: whoever has less by name or by group is one of them in
    /// a folder that names nobody and belongs to another group.
    fn everybody(&self) -> u8 {
        let plain = self.access.without_list();
        plain.group_bits & plain.other_bits & READ_AND_SEARCH
    }

    fn is_exceeded_by(&self, fd: &OwnedFd) -> io::Result<bool> {
        const WRITE: u8 = 2;
        let access = match acl::access_of(fd) {
            Ok(access) => access,
            Err(_) => acl::by_mode(fd)?,
        };
        let user = geteuid();
        // Root may be looking at the folder of the user that dirpost otherwise runs as.
        let owner = if user.is_root() { access.owner } else { 0 };
        let trusted = [0, user.as_raw(), owner];
        let is_shared = (access.mode() >> 3 | access.mode()) & u32::from(WRITE) != 0;
        Ok(access.is_wider_than(&self.access, &trusted)
            || self.is_sticky && is_shared && !is_sticky(fd)?)
    }
}

fn is_sticky(fd: &OwnedFd) -> io::Result<bool> {
    #[allow(clippy::unnecessary_cast)] // differs from platform to platform
    let mode = rustix::fs::fstat(fd)?.st_mode as u32;
    Ok(mode & STICKY != 0)
}

/// The folder `name` in `model`; nothing where there is none any more, or where it cannot be
/// looked at any more.
fn below(model: &Dir, name: &[u8]) -> io::Result<Option<Dir>> {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    match model.folder(&Rel::new(name)) {
        Ok(folder) => Ok(Some(folder)),
        Err(err)
            if matches!(err.kind(), NotFound | NotADirectory | PermissionDenied)
                || Errno::from_io_error(&err) == Some(Errno::LOOP) =>
        {
            Ok(None)
        }
        Err(err) => Err(err),
    }
}
