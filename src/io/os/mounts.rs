//! What the system says of its mounts: only Linux says it, in /proc/self/mountinfo, without asking a
//! file server.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The table of mounts that this process sees, as proc_pid_mountinfo(5) has it.
#[derive(Clone, Debug)]
pub struct Table(Vec<u8>);

/// One line of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount<'a> {
    /// Its number: no other mount's for as long as something on it is held open.
    id: u64,
    /// Where it is mounted.
    point: PathBuf,
    /// The type of its file system, with a subtype behind a dot: `ext4`, `fuse.sshfs`.
    kind: &'a str,
    /// The options of its file system, as they are escaped in the table.
    options: &'a [u8],
}

/// What the layers of an overlay file system lie on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layers<'a> {
    /// On these mounts.
    Known(Vec<Mount<'a>>),
    /// This process sees no mount that at least one of them lies on: it is named by a relative path,
    /// or by the path that it has in another mount namespace.
    Elsewhere,
}

impl Table {
    /// The table as it is now; `None` where the system has none.
    pub fn now() -> Option<Table> {
        std::fs::read("/proc/self/mountinfo").ok().map(Table)
    }

    /// A table with these lines.
    #[cfg(test)]
    pub fn of(text: &str) -> Table {
        Table(text.into())
    }

    /// The mount with this id.
    pub fn mount(&self, id: u64) -> Option<Mount<'_>> {
        self.mounts().find(|mount| mount.id == id)
    }

    fn mounts(&self) -> impl Iterator<Item = Mount<'_>> {
        let lines = self.0.split(|byte| *byte == b'\n');
        lines.filter_map(Mount::of_line)
    }

    /// The mount on which `path` lies, if nothing on the way there is a link.
    fn mount_of(&self, path: &Path) -> Option<Mount<'_>> {
        // Of several at one place the last one covers the others.
        let within = self.mounts().filter(|mount| path.starts_with(&mount.point));
        within.max_by_key(|mount| mount.point.components().count())
    }

    /// What the layers of `overlay` lie on. `resolve` follows the links in a path, as far as it leads
    /// anywhere.
    pub fn layers(
        &self,
        overlay: &Mount<'_>,
        resolve: impl Fn(&Path) -> Option<PathBuf>,
    ) -> Layers<'_> {
        let mut known = Vec::new();
        for layer in overlay.layers() {
            // Who may not go there has no better path than the one in the table.
            let path = resolve(&layer).unwrap_or(layer);
            match self.mount_of(&path) {
                Some(mount) if path.is_absolute() && mount.id != overlay.id => known.push(mount),
                _ => return Layers::Elsewhere,
            }
        }
        if known.is_empty() {
            Layers::Elsewhere
        } else {
            Layers::Known(known)
        }
    }
}

impl<'a> Mount<'a> {
    /// Reads a line: the id first, the mount point as the fifth field, and behind " - " the type, the
    /// source and the options of the file system.
    fn of_line(line: &'a [u8]) -> Option<Mount<'a>> {
        let mut fields = line.split(|byte| *byte == b' ');
        let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        let point = path_of(unescaped(fields.nth(3)?));
        let mut of_file_system = fields.skip_while(|field| *field != b"-").skip(1);
        Some(Mount {
            id,
            point,
            kind: std::str::from_utf8(of_file_system.next()?).ok()?,
            options: of_file_system.nth(1)?,
        })
    }

    /// The type of its file system.
    pub fn kind(&self) -> &'a str {
        self.kind
    }

    /// Whether all that this process sees lies on it or on what is mounted in it: in a container, the
    /// container's own file system.
    pub fn is_root(&self) -> bool {
        self.point == Path::new("/")
    }

    /// Name and value of each option.
    fn options(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.options.split(|byte| *byte == b',').map(|option| {
            let end = option.iter().position(|byte| *byte == b'=');
            end.map_or((option, &b""[..]), |end| {
                (&option[..end], &option[end + 1..])
            })
        })
    }

    /// The folders that an overlay file system is made of (Documentation/filesystems/overlayfs.rst):
    /// `lowerdir` has several, with colons between them; since Linux 6.8 each may have an option
    /// `lowerdir+` or `datadir+` of its own.
    fn layers(&self) -> Vec<PathBuf> {
        let mut layers = Vec::new();
        for (name, value) in self.options() {
            let value = unescaped(value);
            match name {
                b"lowerdir" => layers.extend(split_at_colons(&value).into_iter().map(path_of)),
                b"upperdir" | b"lowerdir+" | b"datadir+" => layers.push(path_of(value)),
                _ => {}
            }
        }
        layers
    }
}

/// The option of the mount with this id because of which a lock in it is known to this machine
/// alone, so that it keeps no dirpost on another one out. `None` where the file server is asked,
/// where there is no server, and where that cannot be told.
pub fn local_locks(mount: u64) -> Option<&'static str> {
    option_of_local_locks(&Table::now()?, mount)
}

fn option_of_local_locks(table: &Table, mount: u64) -> Option<&'static str> {
    let mount = table.mount(mount)?;
    // dirpost locks by flock(2): nfs(5) and mount.cifs(8) say which options keep that local.
    let telling: &[&str] = match mount.kind {
        "nfs" | "nfs4" => &["nolock", "local_lock=all", "local_lock=flock"],
        "cifs" | "smb3" => &["nobrl"],
        _ => &[],
    };
    let has = |option: &&&str| {
        let mut words = mount.options.split(|byte| *byte == b',');
        words.any(|word| word == option.as_bytes())
    };
    telling.iter().find(has).copied()
}

/// Blanks, tabs, line feeds and backslashes stand as a backslash and three octal digits, in options
/// commas as well (seq_escape in fs/seq_file.c).
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, after @ ..] = rest {
        match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] => {
                plain.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = &rest[4..];
            }
            _ => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    plain
}

/// The parts of an option `lowerdir`. A colon that belongs to a path has a backslash before it; two
/// colons stand before a layer that holds nothing but data.
fn split_at_colons(value: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = vec![Vec::new()];
    let mut bytes = value.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b':' => parts.push(Vec::new()),
            byte => {
                let plain = if *byte == b'\\' { bytes.next() } else { None };
                let last = parts.last_mut().expect("there is one");
                last.push(*plain.unwrap_or(byte));
            }
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(unix)]
fn path_of(bytes: Vec<u8>) -> PathBuf {
    <OsString as std::os::unix::ffi::OsStringExt>::from_vec(bytes).into()
}

#[cfg(not(unix))]
fn path_of(bytes: Vec<u8>) -> PathBuf {
    OsString::from(String::from_utf8_lossy(&bytes).into_owned()).into()
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
40 22 0:50 / /mnt/over rw - overlay none rw,lowerdir=/mnt/b/low,upperdir=/srv/up,workdir=/srv/work
41 22 0:51 / /mnt/many rw - overlay none rw,lowerdir=/srv/a\\134:b::/mnt/nolock\\040-/x,upperdir=/srv/c\\054d
42 22 0:52 / /mnt/short rw - overlay none rw,lowerdir=l/ONE:l/TWO,upperdir=ONE/diff,workdir=ONE/work
43 22 0:53 / /mnt/each rw - overlay none ro,lowerdir+=/srv/one,datadir+=/mnt/d/data
";

    fn table() -> Table {
        // A name that is not UTF-8 hides no other mount.
        let mut text = b"21 22 0:39 / /mnt/\xe4 rw - tmpfs none rw\n".to_vec();
        text.extend(MOUNTS.as_bytes());
        Table(text)
    }

    #[test]
    fn a_mount_whose_locks_no_server_hears_of_is_told_by_its_options() {
        let found = |mount| option_of_local_locks(&table(), mount);
        assert_eq!(found(22), None);
        assert_eq!(found(31), Some("nolock"));
        assert_eq!(found(32), None);
        assert_eq!(found(33), Some("nobrl"));
        assert_eq!(found(34), None);
        assert_eq!(found(35), Some("local_lock=flock"));
        assert_eq!(found(3), None, "an id is compared whole");
    }

    /// The types that the layers of this mount lie on.
    fn layers(id: u64, links: &[(&str, &str)]) -> Option<Vec<String>> {
        let table = table();
        let resolve = |path: &Path| {
            let found = links.iter().find(|(from, _)| path == Path::new(from));
            found.map(|(_, to)| PathBuf::from(to))
        };
        match table.layers(&table.mount(id).unwrap(), resolve) {
            Layers::Known(mounts) => Some(mounts.iter().map(|mount| mount.kind.into()).collect()),
            Layers::Elsewhere => None,
        }
    }

    #[test]
    #[cfg(unix)]
    fn each_layer_of_an_overlay_is_looked_up_among_the_mounts() {
        assert_eq!(layers(40, &[]).unwrap(), ["nfs4", "ext4"]);
        assert_eq!(layers(41, &[]).unwrap(), ["ext4", "nfs4", "ext4"]);
        assert_eq!(layers(43, &[]).unwrap(), ["ext4", "cifs"]);
        let link = [("/srv/one", "/mnt/b/one")];
        assert_eq!(layers(43, &link).unwrap(), ["nfs4", "cifs"]);
        let table = table();
        let paths = table.mount(41).unwrap().layers();
        let wanted = ["/srv/a:b", "/mnt/nolock -/x", "/srv/c,d"].map(PathBuf::from);
        assert_eq!(paths, wanted);
    }

    #[test]
    fn layers_with_the_paths_of_another_namespace_are_not_looked_up_in_this_one() {
        assert_eq!(layers(42, &[]), None, "relative paths");
        let container = Table(
            b"1 0 0:60 / / rw - overlay overlay rw,lowerdir=/var/lib/l/A,upperdir=/var/lib/u\n\
              2 1 0:61 / /proc rw - proc proc rw\n"
                .to_vec(),
        );
        let root = container.mount(1).unwrap();
        assert!(root.is_root());
        assert_eq!(container.layers(&root, |_| None), Layers::Elsewhere);
        assert_eq!(table().mount(22).unwrap().layers(), [] as [PathBuf; 0]);
    }

    #[test]
    fn of_mounts_at_one_place_the_last_one_counts() {
        let table = Table(
            b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n\
              2 1 8:2 / /mnt rw - xfs /dev/sda2 rw\n\
              3 2 0:9 / /mnt rw - nfs4 server:/srv rw\n"
                .to_vec(),
        );
        let kind = |path| table.mount_of(Path::new(path)).unwrap().kind;
        assert_eq!(kind("/mnt/a"), "nfs4");
        assert_eq!(kind("/mntx"), "ext4");
    }
}
