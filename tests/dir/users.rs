//! Calls made as another user.

use rustix::fs::{Gid, Uid};
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
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
            set_thread_groups(&[]).expect("no groups");
            set_thread_res_gid(gid, gid, gid).expect("its group");
            set_thread_res_uid(uid, uid, uid).expect("its user");
            act()
        });
        thread.join().expect("the thread of another user")
    })
}
