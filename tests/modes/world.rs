//! Files with owners, modes, ACLs and attributes, and who can read them.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::fs::XattrFlags;

use crate::util::mount::Mount;
use crate::util::{Dir, Reaction, Server, config, skip};

/// Who owns the files, and a group that others are in.
pub(super) const OWNER: u32 = 1234;
pub(super) const GROUP: u32 = 2345;
/// Somebody else.
pub(super) const STRANGER: u32 = 1111;

// The tags of the entries of an ACL, as in linux/posix_acl.h.
pub(super) const USER_OBJ: u16 = 0x01;
pub(super) const USER: u16 = 0x02;
pub(super) const GROUP_OBJ: u16 = 0x04;
pub(super) const MASK: u16 = 0x10;
pub(super) const OTHER: u16 = 0x20;
/// The id of an entry that has none.
pub(super) const NO_ID: u32 = u32::MAX;

pub(super) const ACCESS: &str = "system.posix_acl_access";
pub(super) const DEFAULT: &str = "system.posix_acl_default";
pub(super) const CAPABILITY: &str = "security.capability";
pub(super) const USERS_OWN: &str = "user.origin";

/// An ACL as the kernel takes it (linux/posix_acl_xattr.h): version 2, then tag, rights and id of
/// each entry, sorted by tag.
pub(super) fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(rights.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

/// `cap_net_raw+ep` (linux/capability.h, VFS_CAP_REVISION_2).
pub(super) fn capability() -> Vec<u8> {
    let words = [0x0200_0001u32, 1 << 13, 0, 0, 0];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

pub(super) fn set(path: &Path, name: &str, value: &[u8]) -> bool {
    rustix::fs::setxattr(path, name, value, XattrFlags::empty()).is_ok()
}

pub(super) fn get(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 4096];
    let length = rustix::fs::getxattr(path, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

/// Owner, group and mode, of twelve bits.
pub(super) fn owner_and_mode(path: &Path) -> (u32, u32, u32) {
    let meta = path
        .symlink_metadata()
        .unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    (meta.uid(), meta.gid(), meta.mode() & 0o7777)
}

pub(super) fn set_owner_and_mode(path: &Path, uid: u32, gid: u32, mode: u32) {
    chown(path, Some(uid), Some(gid)).unwrap();
    // A change of the owner takes setuid and setgid away.
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// Whether this user can do this with the path.
pub(super) fn can(program: &str, path: &Path, (uid, gid): (u32, u32)) -> bool {
    let run = Command::new(program)
        .arg(path)
        .uid(uid)
        .gid(gid)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    run.expect("cat and ls are everywhere").success()
}

/// Those who cannot read a file now must not be able to later. (dirpost's own user may.)
pub(super) const READERS: [(u32, u32); 4] = [
    (OWNER, OWNER),
    (STRANGER, STRANGER),
    (STRANGER, GROUP),
    (STRANGER, 100),
];

pub(super) fn readers(path: &Path) -> [bool; READERS.len()] {
    READERS.map(|reader| can("cat", path, reader))
}

/// A file as its writer left it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) name: &'static str,
    pub(super) mode: u32,
    /// What the ACL adds: this right for the stranger.
    pub(super) stranger: Option<u16>,
    pub(super) has_capability: bool,
}

pub(super) const fn sample(name: &'static str, mode: u32) -> Sample {
    Sample {
        name,
        mode,
        stranger: None,
        has_capability: false,
    }
}

pub(super) const SAMPLES: [Sample; 9] = [
    sample("private.csv", 0o600),
    sample("group.csv", 0o640),
    sample("open.csv", 0o644),
    sample("read-only.csv", 0o444),
    sample("others-only.csv", 0o604),
    sample("suid.bin", 0o4755),
    sample("sgid-sticky.bin", 0o3755),
    Sample {
        stranger: Some(4),
        ..sample("acl.csv", 0o640)
    },
    Sample {
        has_capability: true,
        ..sample("capability.bin", 0o755)
    },
];

/// What a file looks like before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) owner_and_mode: (u32, u32, u32),
    pub(super) acl: Option<Vec<u8>>,
    pub(super) users_own: Option<Vec<u8>>,
    pub(super) capability: Option<Vec<u8>>,
}

pub(super) fn shown(path: &Path) -> Shown {
    Shown {
        owner_and_mode: owner_and_mode(path),
        acl: get(path, ACCESS),
        users_own: get(path, USERS_OWN),
        capability: get(path, CAPABILITY),
    }
}

/// Makes it; `false`, and a line that says so, where a file system has no ACL or no attributes.
pub(super) fn make(path: &Path, sample: Sample) -> bool {
    std::fs::write(path, sample.name).unwrap();
    set_owner_and_mode(path, OWNER, GROUP, sample.mode);
    let mut is_made = set(path, USERS_OWN, b"scanner 7");
    if let Some(rights) = sample.stranger {
        let rights_of = |shift: u32| (sample.mode >> shift & 7) as u16;
        let entries = [
            (USER_OBJ, rights_of(6), NO_ID),
            (USER, rights, STRANGER),
            (GROUP_OBJ, rights_of(3), NO_ID),
            (MASK, rights_of(3) | rights, NO_ID),
            (OTHER, rights_of(0), NO_ID),
        ];
        is_made &= set(path, ACCESS, &acl(&entries));
    }
    if sample.has_capability {
        is_made &= set(path, CAPABILITY, &capability());
    }
    if !is_made {
        skip(format!(
            "{} has no ACL, user attributes or capabilities",
            path.display()
        ));
    }
    is_made
}

/// A watched folder, a place on the same file system, and another file system.
pub(super) struct World {
    pub(super) dir: Dir,
    _mount: Mount,
    pub(super) server: Server,
}

/// Where `done` and `dead-letter` are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// On the file system of the folder.
    Same,
    /// On another one.
    Other,
}

pub(super) const BOTH: [Target; 2] = [Target::Same, Target::Other];

impl World {
    /// `None`, and a line that says so, where it cannot be made.
    pub(super) fn new(status: u16) -> Option<World> {
        let dir = Dir::new();
        let mount = Mount::tmpfs(&dir.mkdir("other"), "8m")?;
        dir.mkdir("same");
        dir.mkdir("in");
        let server =
            Server::start(move |_| Reaction::AnswerWith(status, Vec::new(), "said".into()));
        Some(World {
            dir,
            _mount: mount,
            server,
        })
    }

    pub(super) fn area(&self, target: Target, status: u16) -> PathBuf {
        let place = if target == Target::Same {
            "same"
        } else {
            "other"
        };
        let area = if status == 422 { "dead" } else { "done" };
        self.dir.join(place).join(area)
    }

    pub(super) fn text(&self, target: Target, extra: &str) -> String {
        let (done, dead) = (self.area(target, 200), self.area(target, 422));
        let extra = format!(
            "delivered.dir = '{}'\ndead_letter.dir = '{}'\nsend.brake = 0\n{extra}",
            done.display(),
            dead.display()
        );
        config(&self.dir.join("in"), &self.server.url(), &extra)
    }
}

pub(super) fn is_over(run: &Output) {
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(
        matches!(run.status.code(), Some(0 | 4)),
        "{:?}: {said}",
        run.status
    );
}

/// Like [`once`], by a process whose umask takes nothing away.
pub(super) fn once_without_umask(text: &str) -> Output {
    let dir = Dir::new();
    let file = dir.write("dirpost.toml", text);
    let run = Command::new("sh")
        .args(["-c", "umask 000; exec \"$0\" once --config \"$1\""])
        .arg(env!("CARGO_BIN_EXE_dirpost"))
        .arg(file)
        .env_remove("RUST_LOG")
        .output();
    run.expect("sh is everywhere")
}

/// Whether a line says that this folder is wide open.
pub(super) fn tells_of(said: &str, folder: &Path) -> bool {
    let folder = folder.to_str().unwrap();
    let mut lines = said.lines().filter(|line| line.contains(folder));
    lines.any(|line| line.contains("mode") || line.contains("others"))
}
