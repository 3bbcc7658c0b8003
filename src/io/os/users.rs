//! Users by their names. Only for messages: everything else goes by the number.

/// A user as messages and commands call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    uid: u32,
    name: Option<String>,
}

impl User {
    /// Looks the name of the user with this id up.
    ///
    /// The look-up (getpwuid_r(3)) may ask a directory service and wait for it: not for a thread that
    /// others wait for.
    pub fn of(uid: u32) -> User {
        User {
            uid,
            name: name_of(uid),
        }
    }

    /// For a sentence: its name, or "user 1234".
    pub fn called(&self) -> String {
        self.name
            .clone()
            .unwrap_or_else(|| format!("user {}", self.uid))
    }

    /// For `chown`.
    pub fn for_chown(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.uid.to_string())
    }

    /// For `sudo -u` (sudo(8): a number needs a `#`).
    pub fn for_sudo(&self) -> String {
        self.name
            .clone()
            .unwrap_or_else(|| format!("'#{}'", self.uid))
    }
}

/// Whether this process may do anything to any user's files.
pub fn is_root() -> bool {
    #[cfg(unix)]
    return rustix::process::geteuid().is_root();
    #[cfg(not(unix))]
    false
}

#[cfg(unix)]
fn name_of(uid: u32) -> Option<String> {
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid));
    // It ends up in a line of the log.
    let name = user.ok().flatten()?.name;
    Some(crate::flow::escape::escape(name.as_bytes()).into_owned())
}

#[cfg(not(unix))]
fn name_of(_: u32) -> Option<String> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_called_by_its_name_and_one_that_nobody_knows_by_its_number() {
        let root = User::of(0);
        let said = [root.called(), root.for_chown(), root.for_sudo()];
        assert_eq!(said, ["root", "root", "root"]);
        let unknown = User::of(2_129_129_086);
        let said = [unknown.called(), unknown.for_chown(), unknown.for_sudo()];
        assert_eq!(said, ["user 2129129086", "2129129086", "'#2129129086'"]);
    }
}
