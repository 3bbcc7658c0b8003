//! Who else may write to dirpost's own folders.
//!
//! Whoever may write there can make dirpost skip, repeat or delete files, or stop: so its folders
//! belong to its own user, and it takes the right to write from everybody else. Where a mount
//! shows modes or owners that no call can change (CIFS with `dir_mode`, Azure Files, FAT, a NAS with
//! access lists), nothing can be taken and nothing is known: then that is said, and dirpost
//! works.

use std::path::Path;

use crate::io::dir::Dir;
#[cfg(unix)]
use crate::io::os::users::User;

use super::OpenError;

/// What one of dirpost's own folders shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// It is this user's, and nobody else may write to it; as far as the platform tells.
    Private,
    /// It is this user's, and others may write to it.
    Wide {
        /// Its permission bits.
        mode: u32,
    },
    /// It shows a mode or an owner that no call can change: nothing is known. What it shows.
    Unknown(String),
    /// It is another user's. Why it is not used, and what to do.
    Foreign(String),
}

/// What the folder, which lies at `path`, shows; nothing is changed. A folder is made in it and
/// removed again where that is needed to tell.
///
/// # Errors
/// [`OpenError`] if it cannot be looked at.
#[cfg(unix)]
pub fn look_at(folder: &Dir, path: &Path) -> Result<Guard, OpenError> {
    let access = folder
        .ownership()
        .map_err(|err| OpenError::of(path, &err))?;
    let me = rustix::process::geteuid().as_raw();
    if access.owner == me && !access.is_wide() {
        return Ok(Guard::Private);
    }
    if shows_what_nobody_set(folder, me) {
        return Ok(Guard::Unknown(if access.owner == me {
            format!("mode {:04o}", access.mode)
        } else {
            let owner = User::of(access.owner).called();
            format!("{owner} as its owner and mode {:04o}", access.mode)
        }));
    }
    if access.owner == me {
        Ok(Guard::Wide { mode: access.mode })
    } else {
        Ok(Guard::Foreign(foreign(path, access.owner, me)))
    }
}

/// Always private: access lists are not looked at.
///
/// # Errors
/// Never.
#[cfg(not(unix))]
pub fn look_at(_: &Dir, _: &Path) -> Result<Guard, OpenError> {
    Ok(Guard::Private)
}

/// What it means that nobody can tell who may write to the folder at `path`, which shows `shown`.
/// `holds_state`: journal and memory lie in it or below, and not on a local disk already.
pub fn meaning(path: &Path, shown: &str, holds_state: bool) -> String {
    let path = path.display();
    let means = if holds_state {
        "Whoever may write to it can make dirpost skip, repeat or delete files, or stop; nothing outside of it \
         can be reached that way. Against that: state.dir on a local disk"
    } else {
        "Whoever may write to it can make dirpost stop, or get at a file that is on its way through it; what \
         was delivered is known from state.dir, which lies elsewhere"
    };
    format!(
        "{path} shows {shown}, whatever is set: its mount does not tell who may write there. {means}"
    )
}

/// Takes the right to write to the folder, which lies at `path`, from everybody else, and warns
/// if others had it. Gives what it shows where that cannot be known.
///
/// # Errors
/// [`OpenError::Fault`] if it is another user's, or the right cannot be taken though the mount
/// knows modes.
pub(super) fn guard(folder: &Dir, path: &Path) -> Result<Option<String>, OpenError> {
    match look_at(folder, path)? {
        Guard::Private => Ok(None),
        Guard::Unknown(shown) => Ok(Some(shown)),
        Guard::Foreign(why) => Err(OpenError::Fault(why)),
        Guard::Wide { mode } => narrow(folder, path, mode).map(|()| None),
    }
}

#[cfg(unix)]
fn narrow(folder: &Dir, path: &Path, mode: u32) -> Result<(), OpenError> {
    let access = folder
        .ownership()
        .map_err(|err| OpenError::of(path, &err))?;
    let wanted = mode & !0o022;
    let refused = |why: &str| {
        OpenError::Fault(format!(
            "{}: others may write to it (mode {mode:04o}), and that cannot be changed ({why}): \
             chmod go-w it, or put state.dir elsewhere",
            path.display()
        ))
    };
    folder
        .set_mode(wanted)
        .map_err(|err| refused(&err.to_string()))?;
    let now = folder
        .ownership()
        .map_err(|err| OpenError::of(path, &err))?;
    if now.is_wide() {
        return Err(refused("the call changes nothing"));
    }
    log::warn!(
        target: "dirpost",
        "folder: others could write to {} (mode {mode:04o}, at the latest since {}): its mode is {:04o} now. Who wrote \
         there could make dirpost skip, repeat or delete files: see what lies in it if others were not meant to",
        path.display(),
        access.changed.rfc3339_millis(),
        now.mode
    );
    Ok(())
}

#[cfg(not(unix))]
fn narrow(_: &Dir, _: &Path, _: u32) -> Result<(), OpenError> {
    Ok(())
}

/// Whether the mount shows modes or owners that no call can change: a folder that is made for this
/// user alone shows another owner, or another mode whatever is set. A folder in which none can be
/// made shows its own.
#[cfg(unix)]
fn shows_what_nobody_set(folder: &Dir, me: u32) -> bool {
    const PRIVATE: u32 = 0o700;
    let name = crate::io::dir::draft_name();
    let Ok(probe) = folder.make_private(&name) else {
        return false;
    };
    let is_set = |probe: &Dir| {
        let access = probe.ownership();
        access.map(|access| {
            // A folder may inherit its setgid bit.
            access.owner == me && access.mode & 0o777 == PRIVATE
        })
    };
    let shown = is_set(&probe).and_then(|as_made| {
        if as_made {
            return Ok(false);
        }
        // Taken and without effect, or refused: it shows what it likes.
        let _ = probe.set_mode(PRIVATE);
        is_set(&probe).map(|as_set| !as_set)
    });
    drop(probe);
    let _ = folder.remove_folder(&name);
    shown.unwrap_or(false)
}

#[cfg(unix)]
fn foreign(path: &Path, owner: u32, me: u32) -> String {
    let (owner, me) = (User::of(owner), User::of(me));
    format!(
        "{path}: it belongs to {}, and dirpost runs as {}: run it as {} (sudo -u {} …), or give it to {} \
         (chown -R {} {path})",
        owner.called(),
        me.called(),
        owner.called(),
        owner.for_sudo(),
        me.called(),
        me.for_chown(),
        path = path.display(),
    )
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::io::testing::TempDir;

    #[test]
    fn a_folder_is_private_or_wide_by_its_mode_and_nothing_is_left_of_the_look() {
        let dir = TempDir::new();
        let folder = Dir::at(dir.path()).unwrap();
        for (mode, wanted) in [
            (0o700, Guard::Private),
            (0o755, Guard::Private),
            (0o775, Guard::Wide { mode: 0o775 }),
            (0o702, Guard::Wide { mode: 0o702 }),
            (0o2777, Guard::Wide { mode: 0o2777 }),
        ] {
            folder.set_mode(mode).unwrap();
            assert_eq!(look_at(&folder, dir.path()).unwrap(), wanted, "{mode:04o}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(guard(&folder, dir.path()).unwrap(), None);
        assert_eq!(folder.ownership().unwrap().mode, 0o2755);
    }

    #[test]
    fn the_owner_and_the_remedy_are_named() {
        let said = foreign(Path::new("/srv/in/.dirpost"), 0, 0x7ee7_ee7e);
        assert_eq!(
            said,
            "/srv/in/.dirpost: it belongs to root, and dirpost runs as user 2129129086: run it as root (sudo -u \
             root …), or give it to user 2129129086 (chown -R 2129129086 /srv/in/.dirpost)"
        );
    }
}
