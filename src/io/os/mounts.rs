//! What the system says of its mounts.

/// The option of the mount with this id because of which a lock in it is known to this machine
/// alone, so that it keeps no dirpost on another one out. `None` where the file server is asked,
/// where there is no server, and where that cannot be told (only Linux says it).
pub fn local_locks(mount: u64) -> Option<&'static str> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    option_of_local_locks(&text, mount)
}

/// See [`local_locks`]; `text` is laid out as proc_pid_mountinfo(5) has it: the id first, and behind
/// " - " the type, the source and the options of the file system.
fn option_of_local_locks(text: &str, mount: u64) -> Option<&'static str> {
    let line = text.lines().find(|line| {
        let id = line.split(' ').next().unwrap_or_default();
        id.parse() == Ok(mount)
    })?;
    let (_, of_file_system) = line.split_once(" - ")?;
    let mut fields = of_file_system.split(' ');
    let (kind, options) = (fields.next()?, fields.nth(1)?);
    // dirpost locks by flock(2): nfs(5) and mount.cifs(8) say which options keep that local.
    let telling: &[&str] = match kind {
        "nfs" | "nfs4" => &["nolock", "local_lock=all", "local_lock=flock"],
        "cifs" | "smb3" => &["nobrl"],
        _ => &[],
    };
    let has = |option: &&&str| options.split(',').any(|word| word == **option);
    telling.iter().find(has).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 254:0 / / rw,noatime - ext4 /dev/vda rw
31 22 0:40 / /mnt/a rw,relatime shared:1 - nfs 10.77.1.1:/srv rw,vers=3,hard,nolock,local_lock=all
32 22 0:41 / /mnt/b rw,relatime - nfs4 10.77.1.1:/srv rw,vers=4.2,hard,local_lock=none
33 22 0:42 / /mnt/c rw,relatime - cifs //10.77.1.1/srv rw,vers=3.1.1,nobrl,actimeo=1
34 22 0:43 / /mnt/d rw,relatime - cifs //10.77.1.1/srv rw,vers=3.1.1,mapposix
35 22 0:44 / /mnt/nolock\\040- rw - nfs4 10.77.1.1:/nolock rw,local_lock=flock
";

    #[test]
    fn a_mount_whose_locks_no_server_hears_of_is_told_by_its_options() {
        let found = |mount| option_of_local_locks(MOUNTS, mount);
        assert_eq!(found(22), None);
        assert_eq!(found(31), Some("nolock"));
        assert_eq!(found(32), None);
        assert_eq!(found(33), Some("nobrl"));
        assert_eq!(found(34), None);
        assert_eq!(found(35), Some("local_lock=flock"));
        assert_eq!(found(3), None, "an id is compared whole");
    }
}
