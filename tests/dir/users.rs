//! Calls made as another user.

use rustix::fs::{Gid, Uid};
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use rustix::process::geteuid;
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// Who makes a call: a user, its group, and no other group.
#[derive(Clone, Copy, Debug)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
}

/// A user that owns files in the tests.
pub const OWNER: User = User {
    uid: 1234,
    gid: 1234,
};
/// A user that dirpost may run as.
pub const NOBODY: User = User {
    uid: 65534,
    gid: 65534,
};

/// Whether the tests run as root; a line that says what is skipped, if not.
pub fn is_root(test: &str) -> bool {
    let is_root = geteuid().is_root();
    if !is_root {
        eprintln!("SKIPPED: {test} needs root");
    }
    is_root
}

/// Runs `act` as `user`, without any capability: in a thread of its own, for to Linux a user is
/// an attribute of a thread (credentials(7)).
pub fn run_as<T: Send>(user: User, act: impl FnOnce() -> T + Send) -> T {
    run_as_member(user, &[], act)
}

/// Does what [`run_as`] does, as a member of further groups.
pub fn run_as_member<T: Send>(user: User, of: &[u32], act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
            let groups: Vec<Gid> = of.iter().map(|gid| Gid::from_raw(*gid)).collect();
            set_thread_groups(&groups).expect("its groups");
            set_thread_res_gid(gid, gid, gid).expect("its group");
            set_thread_res_uid(uid, uid, uid).expect("its user");
            act()
        });
        thread.join().expect("the thread of another user")
    })
}

/// Files and folders of a test that other users reach: everybody may go through its folder.
pub fn open_to_all(path: &Path) {
    std::fs::set_permissions(path, Permissions::from_mode(0o755)).expect("its mode");
}

/// Gives a file or a folder an owner and a mode, and an access list (setfacl) if there is one.
/// `false`, and a line that says so, where there is no setfacl or no access list.
pub fn give(path: &Path, owner: User, mode: u32, list: &str) -> bool {
    chown(path, Some(owner.uid), Some(owner.gid)).expect("its owner");
    std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("its mode");
    list.is_empty() || setfacl(&["-m", list], path)
}

/// Runs setfacl (package acl).
pub fn setfacl(args: &[&str], path: &Path) -> bool {
    let run = Command::new("setfacl").args(args).arg(path).output();
    match run {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            eprintln!("SKIPPED: {}", String::from_utf8_lossy(&output.stderr));
            false
        }
        Err(_) => {
            eprintln!("SKIPPED: there is no setfacl (package acl)");
            false
        }
    }
}

/// The access list as getfacl prints it, in one line.
pub fn getfacl(path: &Path) -> String {
    let output = Command::new("getfacl")
        .args(["--omit-header", "--numeric", "--absolute-names"])
        .arg(path)
        .output()
        .expect("getfacl (package acl)");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// People of all kinds: the owner, members of the groups in the tests, who is named in the access
/// lists, and strangers.
pub fn people() -> Vec<User> {
    let uids = [1234, 2000, 3000, 65534];
    let gids = [0, 1234, 4000, 5000, 65534];
    uids.into_iter()
        .flat_map(|uid| gids.map(|gid| User { uid, gid }))
        .collect()
}
