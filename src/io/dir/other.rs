//! [`Dir`] by paths, where there are no handles to open things below (Windows).
//!
//! Each part of a path is looked at before it is used: a symbolic link, a junction or any
//! other reparse point is refused. Between that look and the use a swap is possible; who can
//! make one needs the right to create links, which Windows gives to administrators only.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{Entry, GroupRights, Lost, Made, NameKind};
use crate::flow::file::{FsKind, Look, Rel, Stamp};
use crate::flow::scan::rounds::Times;
use crate::flow::time::Wall;

/// A folder, by its path.
#[derive(Clone, Debug)]
pub struct Dir {
    path: PathBuf,
    kind: FsKind,
}

/// The bytes of a name: UTF-8, or for unpaired surrogates its generalisation WTF-8.
pub fn bytes_of(name: &OsStr) -> Vec<u8> {
    name.as_encoded_bytes().to_vec()
}

/// The name of these bytes. Unpaired surrogates become U+FFFD, so that such a file is not
/// found rather than another one.
pub fn name_of(bytes: &[u8]) -> OsString {
    String::from_utf8_lossy(bytes).into_owned().into()
}

impl Dir {
    /// Takes the folder at `path`. Links in `path` itself are followed: it is the user's.
    ///
    /// # Errors
    /// Whatever the system answers; `NotADirectory` if it is there but no folder.
    pub fn at(path: &Path) -> io::Result<Dir> {
        if !std::fs::metadata(path)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Dir {
            path: path.to_path_buf(),
            kind: fs_kind(path),
        })
    }

    /// Takes the folder `path` below this one, part by part and without following links.
    ///
    /// # Errors
    /// Whatever the system answers; `NotADirectory` where a link or something else is in the way.
    pub fn folder(&self, path: &Rel) -> io::Result<Dir> {
        self.below(path, false)
    }

    /// Takes the folder `path` below this one, made where it is missing.
    ///
    /// # Errors
    /// Whatever the system answers; some of the folders may have been made.
    pub fn make(&self, path: &Rel) -> io::Result<Dir> {
        self.below(path, true)
    }

    /// Opens the folder `path` below this one, made where it is missing. Its access list is the
    /// one that its parent hands on: neither `model` nor the group is looked at.
    ///
    /// # Errors
    /// Whatever opening and making folders answers.
    pub fn make_like(&self, path: &Rel, _model: &Dir, _: GroupRights) -> io::Result<Made> {
        Ok(Made {
            folder: self.make(path)?,
            wider: Vec::new(),
        })
    }

    /// Opens the folder `name` in this one, made where it is missing, as [`Dir::make_like`] does.
    ///
    /// # Errors
    /// Those of [`Dir::make_like`].
    pub fn make_as(&self, name: &[u8], model: &Dir, group: GroupRights) -> io::Result<Made> {
        self.make_like(&Rel::new(name), model, group)
    }

    /// Opens the folder at `path`, made where it is missing, as [`Dir::make_like`] does.
    ///
    /// # Errors
    /// Those of [`Dir::make_like`].
    pub fn make_at_like(path: &Path, _model: &Dir, _: GroupRights) -> io::Result<Made> {
        std::fs::create_dir_all(path)?;
        Ok(Made {
            folder: Dir::at(path)?,
            wider: Vec::new(),
        })
    }

    /// Why this user may not move files out of it: nothing is known of that here.
    pub fn holds_fast(&self) -> Option<String> {
        None
    }

    /// Access lists are not looked at: never.
    ///
    /// # Errors
    /// None.
    pub fn is_wider_than(&self, _model: &Dir) -> io::Result<bool> {
        Ok(false)
    }

    fn below(&self, path: &Rel, make: bool) -> io::Result<Dir> {
        let mut whole = self.path.clone();
        for part in path.parts() {
            whole.push(name_of(part));
            match std::fs::symlink_metadata(&whole) {
                Ok(found) if is_reparse(&found) || !found.is_dir() => {
                    return Err(io::ErrorKind::NotADirectory.into());
                }
                Ok(_) => {}
                Err(err) if make && err.kind() == io::ErrorKind::NotFound => {
                    std::fs::create_dir(&whole)?
                }
                Err(err) => return Err(err),
            }
        }
        Ok(Dir {
            path: whole,
            kind: self.kind,
        })
    }

    fn path_of(&self, name: &[u8]) -> PathBuf {
        self.path.join(name_of(name))
    }

    /// Opens the regular file at `path` for reading, and looks at it through its handle, without
    /// following links.
    ///
    /// # Errors
    /// Whatever the system answers; `InvalidInput` if it is there but no regular file. One that
    /// another program shares with nobody is an error (ERROR_SHARING_VIOLATION).
    pub fn open(&self, path: &Rel) -> io::Result<(File, Look)> {
        let folder = self.folder(&path.parent())?;
        let file = folder.file(path.name())?;
        let look = file_look(&file, folder.kind)?;
        Ok((file, look))
    }

    /// Opens the regular file `name` for reading.
    ///
    /// # Errors
    /// Those of [`Dir::open`].
    pub fn file(&self, name: &[u8]) -> io::Result<File> {
        let path = self.path_of(name);
        if !is_plain(&std::fs::symlink_metadata(&path)?) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is not a regular file",
            ));
        }
        File::open(path)
    }

    /// Takes the folder `path` below this one for a listing. There is no ctime here, and so there
    /// are no times to go by.
    ///
    /// # Errors
    /// Those of [`Dir::folder`].
    pub fn to_list(&self, path: &Rel) -> io::Result<(Dir, Option<Times>)> {
        Ok((self.folder(path)?, None))
    }

    /// There are none: never.
    pub fn shows_times(&self, _known: Option<u64>) -> bool {
        false
    }

    /// There is no ctime here, and so there are no times to go by.
    ///
    /// # Errors
    /// Those of [`Dir::folder`].
    pub fn times(&self, path: &Rel) -> io::Result<Option<Times>> {
        self.folder(path).map(|_| None)
    }

    /// Hands each name in this folder to `each`, in no order.
    ///
    /// # Errors
    /// Whatever the system answers: what was handed out is not all then.
    pub fn each_name(&self, each: &mut dyn FnMut(&[u8], NameKind)) -> io::Result<()> {
        let walk = walkdir::WalkDir::new(&self.path)
            .min_depth(1)
            .max_depth(1)
            .follow_links(false);
        for entry in walk {
            let entry = entry?;
            let kind = match entry.file_type() {
                kind if kind.is_dir() => NameKind::Folder,
                kind if kind.is_file() => NameKind::File,
                _ => NameKind::Other,
            };
            each(&bytes_of(entry.file_name()), kind);
        }
        Ok(())
    }

    /// The names in the folder `path` below this one, in no order.
    ///
    /// # Errors
    /// Whatever the system answers: after an error none are returned, for some would look like
    /// all.
    pub fn names(&self, path: &Rel) -> io::Result<Vec<Vec<u8>>> {
        let folder = self.folder(path)?;
        std::fs::read_dir(folder.path)?
            .map(|entry| Ok(bytes_of(&entry?.file_name())))
            .collect()
    }

    /// What [`Dir::entry`] finds, with `NotFound` for [`Entry::Absent`] and `None` for
    /// [`Entry::NotAFile`].
    ///
    /// # Errors
    /// Whatever the system answers.
    pub fn look(&self, name: &[u8]) -> io::Result<Option<Look>> {
        match self.entry(name)? {
            Entry::Absent => Err(io::ErrorKind::NotFound.into()),
            entry => Ok(entry.file()),
        }
    }

    /// Looks at `name` without opening it.
    ///
    /// # Errors
    /// Whatever the system answers, but for `NotFound`, which is [`Entry::Absent`].
    pub fn entry(&self, name: &[u8]) -> io::Result<Entry> {
        match std::fs::symlink_metadata(self.path_of(name)) {
            Ok(found) if is_plain(&found) => Ok(Entry::File(look_of(&found, self.kind))),
            Ok(_) => Ok(Entry::NotAFile),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Entry::Absent),
            Err(err) => Err(err),
        }
    }

    /// Looks at `name` through a handle that is opened for this look, for the SMB client may
    /// answer a plain one from its cache. A file that may not be opened, or that another program
    /// shares with nobody, is looked at by [`Dir::entry`].
    ///
    /// # Errors
    /// Whatever the system answers, but for `NotFound`, which is [`Entry::Absent`].
    pub fn fresh_entry(&self, name: &[u8]) -> io::Result<Entry> {
        match self.entry(name)? {
            Entry::File(_) => {}
            other => return Ok(other),
        }
        match File::open(self.path_of(name)) {
            Ok(file) => Ok(Entry::File(file_look(&file, self.kind)?)),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Entry::Absent),
            Err(err) if err.kind() == io::ErrorKind::PermissionDenied || is_in_use(&err) => {
                self.entry(name)
            }
            Err(err) => Err(err),
        }
    }

    /// Looks at `name` where something may have been renamed to it: what [`Dir::fresh_entry`] finds.
    ///
    /// # Errors
    /// Those of [`Dir::fresh_entry`].
    pub fn moved_entry(&self, name: &[u8]) -> io::Result<Entry> {
        self.fresh_entry(name)
    }

    /// Opens `name` to append to it, made if it is missing.
    ///
    /// # Errors
    /// Whatever the system answers.
    pub fn append(&self, name: &[u8]) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(self.path_of(name))
    }

    /// Opens `name` to lock it and to write to it, made if it is missing. Not to append: Windows
    /// locks no file that was opened for that only, and cuts none.
    ///
    /// # Errors
    /// Whatever the system answers.
    pub fn to_lock(&self, name: &[u8]) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.path_of(name))
    }

    /// Makes the file `name`, which must not be there.
    ///
    /// # Errors
    /// Whatever the system answers; `AlreadyExists` if there is anything under that name.
    pub fn create(&self, name: &[u8]) -> io::Result<File> {
        self.create_new(name, 0o644)
    }

    /// Makes the file `name`, which must not be there, and opens it to read and write. There are
    /// no permission bits: it gets the access list that its folder hands on.
    ///
    /// # Errors
    /// Whatever the system answers; `AlreadyExists` if there is anything under that name. After
    /// any other error the file may have been made all the same.
    pub fn create_new(&self, name: &[u8], _mode: u32) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(self.path_of(name))
    }

    /// Removes the name `name`: one system call, and nothing is undone.
    ///
    /// # Errors
    /// Whatever the system answers. Over SMB the name may be gone all the same.
    pub fn remove(&self, name: &[u8]) -> io::Result<()> {
        std::fs::remove_file(self.path_of(name))
    }

    /// There is no such rename in std: always an error for which [`rename_is_unsupported`] holds.
    ///
    /// # Errors
    /// Always `Unsupported`.
    pub fn rename_no_replace(&self, _: &[u8], _: &Dir, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Gives the file `from` a second name, `to` in `target`, replacing nothing.
    ///
    /// # Errors
    /// Whatever the system answers: `AlreadyExists` if there is something at the target,
    /// `CrossesDevices` if that is on another volume, and one for which [`link_is_unsupported`]
    /// holds where there are no links. Over SMB it may have been done all the same.
    pub fn link(&self, from: &[u8], target: &Dir, to: &[u8]) -> io::Result<()> {
        std::fs::hard_link(self.path_of(from), target.path_of(to))
    }

    /// Renames `from` to `to` in `target`, replacing what is there.
    ///
    /// # Errors
    /// Whatever the system answers. Over SMB it may have been done all the same.
    pub fn rename_over(&self, from: &[u8], target: &Dir, to: &[u8]) -> io::Result<()> {
        std::fs::rename(self.path_of(from), target.path_of(to))
    }

    /// Lets two names change places, which Windows cannot do in one call.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn exchange(&self, _one: &[u8], _other: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Windows brings folders onto the disk by itself.
    ///
    /// # Errors
    /// None.
    pub fn fsync(&self) -> io::Result<()> {
        Ok(())
    }

    /// An older name of [`Dir::fsync`].
    ///
    /// # Errors
    /// None.
    pub fn sync(&self) -> io::Result<()> {
        self.fsync()
    }

    /// What kind of file system it is on.
    pub fn kind(&self) -> FsKind {
        self.kind
    }

    /// Whether `other` is the same folder, as far as its path tells.
    pub fn is(&self, other: &Dir) -> bool {
        self.path == other.path
    }

    /// A number for the folder, made of its path.
    pub fn id(&self) -> (u64, u64) {
        use std::hash::{Hash, Hasher};
        let mut hasher = std::hash::DefaultHasher::new();
        self.path.hash(&mut hasher);
        (0, hasher.finish())
    }

    /// An older name of [`Dir::id`].
    pub fn number(&self) -> (u64, u64) {
        self.id()
    }

    /// Mounts have no numbers here.
    pub fn mount_id(&self) -> Option<u64> {
        None
    }

    /// Whether it is on the same file system as `other`: by the drive or share in its path.
    pub fn same_fs(&self, other: &Dir) -> bool {
        self.path.components().next() == other.path.components().next()
    }

    /// Removes the folder `name`, which must be empty.
    ///
    /// # Errors
    /// Of removing it.
    pub fn remove_folder(&self, name: &[u8]) -> io::Result<()> {
        std::fs::remove_dir(self.path_of(name))
    }

    /// Whether `fresh` is at the same path: what lies there is not told apart.
    pub fn is_still(&self, fresh: &Dir) -> bool {
        self.is(fresh)
    }

    /// Sets the mtime of `name` to the present, so that a clean-up by age leaves it.
    ///
    /// # Errors
    /// Of opening the file for writing, or of setting its time.
    pub fn touch(&self, name: &[u8]) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(self.path_of(name))?;
        file.set_modified(SystemTime::now())
    }
}

/// Which file it is: std cannot tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId(());

impl FileId {
    /// Always `None`.
    ///
    /// # Errors
    /// Never.
    pub fn of(_: &File) -> io::Result<Option<FileId>> {
        Ok(None)
    }
}

/// Whether an open file has lost its name: std cannot tell.
pub fn is_unlinked(_: &File) -> bool {
    false
}

/// A copy has the access list that its folder hands on, and nothing is taken over from its file.
///
/// # Errors
/// None.
pub fn copy_attributes(_from: &File, _to: &File) -> io::Result<Vec<Lost>> {
    Ok(Vec::new())
}

/// A file has the access list that its folder hands on, and nothing is taken over from another.
///
/// # Errors
/// None.
pub fn copy_mode(_from: &File, _to: &File) -> io::Result<()> {
    Ok(())
}

/// Whether `err` says that there is no rename that replaces nothing.
pub fn rename_is_unsupported(err: &io::Error) -> bool {
    err.kind() == io::ErrorKind::Unsupported
}

/// Whether `err` is what a volume answers to a link that it cannot make (winerror.h).
pub fn link_is_unsupported(err: &io::Error) -> bool {
    const ERROR_INVALID_FUNCTION: i32 = 1; // FAT, exFAT
    const ERROR_NOT_SUPPORTED: i32 = 50; // SMB servers without links
    const ERROR_INVALID_PARAMETER: i32 = 87; // SMB servers that do not know the request
    const ERROR_TOO_MANY_LINKS: i32 = 1142; // 1023 names of one file on NTFS
    err.kind() == io::ErrorKind::Unsupported
        || cfg!(windows)
            && matches!(
                err.raw_os_error(),
                Some(
                    ERROR_INVALID_FUNCTION
                        | ERROR_NOT_SUPPORTED
                        | ERROR_INVALID_PARAMETER
                        | ERROR_TOO_MANY_LINKS
                )
            )
}

/// Whether another program has the file open and shares it with nobody, or has locked it
/// (winerror.h: ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION).
fn is_in_use(err: &io::Error) -> bool {
    cfg!(windows) && matches!(err.raw_os_error(), Some(32 | 33))
}

/// Looks at a file through its handle. `kind` says what it lies on: [`Dir::kind`] of its folder.
///
/// # Errors
/// Whatever the system answers.
pub fn file_look(file: &File, kind: FsKind) -> io::Result<Look> {
    Ok(look_of(&file.metadata()?, kind))
}

fn look_of(found: &Metadata, kind: FsKind) -> Look {
    let mtime = found.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let nanos = match mtime.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos),
    };
    Look {
        stamp: Stamp {
            size: found.len(),
            mtime: Wall(nanos),
        },
        fs: kind,
        ..Look::default()
    }
}

fn is_plain(found: &Metadata) -> bool {
    found.is_file() && !is_reparse(found)
}

#[cfg(windows)]
fn is_reparse(found: &Metadata) -> bool {
    const FILE_ATTRIBUTE_REPARSE_POINT: u32 = 0x400;
    std::os::windows::fs::MetadataExt::file_attributes(found) & FILE_ATTRIBUTE_REPARSE_POINT != 0
}

#[cfg(not(windows))]
fn is_reparse(found: &Metadata) -> bool {
    found.is_symlink()
}

/// A path with a drive letter may be a network drive, which std cannot tell: nothing is
/// taken for local but the system's own drive.
fn fs_kind(path: &Path) -> FsKind {
    let system = std::env::var_os("SystemDrive");
    let drive = std::path::absolute(path).ok().and_then(|path| {
        path.components()
            .next()
            .map(|part| part.as_os_str().to_os_string())
    });
    if system.is_some() && drive.is_some_and(|drive| Some(drive) == system) {
        FsKind::LocalNoCtime
    } else {
        FsKind::Share
    }
}
