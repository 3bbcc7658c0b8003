//! What kind of file system something lies on. Only what is known to be local counts as local: a
//! share that is taken for a local disk has files sent before they are whole.

#[cfg(not(any(target_os = "linux", target_os = "android")))]
use std::os::fd::AsFd;

#[cfg(not(any(target_os = "linux", target_os = "android")))]
use crate::flow::file::FsKind;

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) use linux::{fs_kind, is_rclone};

/// What `fd` lies on.
#[cfg(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "openbsd",
    target_os = "dragonfly"
))]
pub(super) fn fs_kind(fd: impl AsFd) -> FsKind {
    let Ok(stat) = rustix::fs::fstatfs(fd) else {
        return FsKind::Share;
    };
    let name: Vec<u8> = stat
        .f_fstypename
        .iter()
        .map(|&byte| byte as u8)
        .take_while(|&byte| byte != 0)
        .collect();
    match name.as_slice() {
        b"apfs" | b"hfs" | b"ufs" | b"ffs" | b"zfs" | b"tmpfs" | b"hammer2" => FsKind::Local,
        b"msdos" | b"msdosfs" | b"exfat" | b"ntfs" => FsKind::LocalNoCtime,
        _ => FsKind::Share,
    }
}

#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "openbsd",
    target_os = "dragonfly"
)))]
pub(super) fn fs_kind(_: impl AsFd) -> FsKind {
    FsKind::Share
}

/// Whether `fd` lies on a mount of rclone's, as far as the system tells.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn is_rclone(_: impl AsFd) -> bool {
    false
}

/// By the number that statfs(2) gives, and by the table of mounts: 9p shows the number of the file
/// system that its server has (`v9fs_statfs` in fs/9p/vfs_super.c), so that the folder of a virtual
/// machine's host, or a drive of Windows in WSL 2, would look like a disk of this machine.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux {
    use std::os::fd::AsFd;

    use rustix::fs::{fstat, fstatfs, major};

    use super::super::mount_id;
    use crate::flow::file::FsKind;
    use crate::io::os::mounts::{Layers, Mount, Table};

    /// The file systems that are local: the number of statfs(2) (linux/magic.h, and the sources of
    /// those that are not in it), the types in the table of mounts that have it, and the kind.
    const LOCAL: [(u64, &[&str], FsKind); 16] = [
        (0xef53, &["ext2", "ext3", "ext4"], FsKind::Local),
        (0x5846_5342, &["xfs"], FsKind::Local),
        (0x9123_683e, &["btrfs"], FsKind::Local),
        (0x0102_1994, &["tmpfs", "devtmpfs", "rootfs"], FsKind::Local),
        (0x8584_58f6, &["ramfs", "rootfs"], FsKind::Local),
        (0xf2f5_2010, &["f2fs"], FsKind::Local),
        (0x2fc1_2fc1, &["zfs"], FsKind::Local),
        (0xca45_1a4e, &["bcachefs"], FsKind::Local),
        (OVERLAY, &["overlay"], FsKind::Local),
        (0x3153_464a, &["jfs"], FsKind::Local),
        (0x5265_4973, &["reiserfs"], FsKind::Local),
        (0x2405_1905, &["ubifs"], FsKind::Local),
        (0x4d44, &["vfat", "msdos"], FsKind::LocalNoCtime),
        (0x2011_bab0, &["exfat"], FsKind::LocalNoCtime),
        (0x5346_544e, &["ntfs", "ntfs3"], FsKind::LocalNoCtime),
        (0x7366_746e, &["ntfs", "ntfs3"], FsKind::LocalNoCtime),
    ];
    const OVERLAY: u64 = 0x794c_7630;
    /// FUSE_SUPER_MAGIC in fs/fuse/inode.c.
    const FUSE: u64 = 0x6573_5546;
    /// How deep the layers of overlays are followed; Linux itself has no more than two
    /// (`FILESYSTEM_MAX_STACK_DEPTH` in linux/fs.h).
    const DEPTH: u8 = 3;

    /// What statfs(2) and stat(2) show.
    #[derive(Clone, Copy, Debug)]
    struct Shown {
        magic: u64,
        /// The device is one with blocks. No file server's is: those have no device of their own, and
        /// get a number whose major part is 0.
        has_blocks: bool,
    }

    /// What `fd` lies on. Reads the table of mounts where the number alone does not tell.
    pub(in super::super) fn fs_kind(fd: impl AsFd) -> FsKind {
        let fd = fd.as_fd();
        let Ok(magic) = fstatfs(fd).map(|stat| stat.f_type as u64 & 0xffff_ffff) else {
            return FsKind::Share;
        };
        if !LOCAL.iter().any(|(number, ..)| *number == magic) {
            return FsKind::Share;
        }
        let has_blocks = fstat(fd).is_ok_and(|stat| major(stat.st_dev) != 0);
        kind_of(Shown { magic, has_blocks }, || {
            Some((Table::now()?, mount_id(fd)?))
        })
    }

    fn kind_of(shown: Shown, mounts: impl FnOnce() -> Option<(Table, u64)>) -> FsKind {
        let Some((_, types, kind)) = LOCAL.iter().find(|(magic, ..)| *magic == shown.magic) else {
            return FsKind::Share;
        };
        if shown.has_blocks && shown.magic != OVERLAY {
            return *kind;
        }
        let Some((table, id)) = mounts() else {
            return FsKind::Share;
        };
        match table.mount(id) {
            Some(mount) if types.contains(&mount.kind()) && is_local(&table, &mount, DEPTH) => {
                *kind
            }
            _ => FsKind::Share,
        }
    }

    /// Whether a mount is of a local type, and its layers, if it has some, are.
    fn is_local(table: &Table, mount: &Mount<'_>, depth: u8) -> bool {
        if mount.kind() != "overlay" {
            return LOCAL
                .iter()
                .any(|(_, types, _)| types.contains(&mount.kind()));
        }
        match table.layers(mount, |path| std::fs::canonicalize(path).ok()) {
            Layers::Known(layers) if depth > 0 => {
                layers.iter().all(|layer| is_local(table, layer, depth - 1))
            }
            Layers::Known(_) => false,
            // The layers of a container's own file system have names that only its host knows. What
            // is written goes to the upper one, which cannot be on NFS or SMB: those lack what an
            // upper layer needs (Documentation/filesystems/overlayfs.rst).
            Layers::Elsewhere => mount.is_root(),
        }
    }

    /// Whether `fd` lies on a mount of rclone's (`rclone mount`).
    pub(in super::super) fn is_rclone(fd: impl AsFd) -> bool {
        let fd = fd.as_fd();
        if !fstatfs(fd).is_ok_and(|stat| stat.f_type as u64 & 0xffff_ffff == FUSE) {
            return false;
        }
        let found = Table::now().zip(mount_id(fd));
        found.is_some_and(|(table, id)| {
            let mount = table.mount(id);
            mount.is_some_and(|mount| mount.kind() == "fuse.rclone")
        })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        /// What network file systems and those of virtual machines and containers show, each with
        /// where its number stands.
        const SHARES: [(u64, &str); 24] = [
            (0x6969, "nfs"),           // linux/magic.h
            (0x6969, "nfs4"),          // linux/magic.h
            (0xff53_4d42, "cifs"),     // linux/magic.h
            (0xfe53_4d42, "smb3"),     // linux/magic.h
            (0x517b, "smbfs"),         // linux/magic.h
            (0x0102_1997, "9p"),       // linux/magic.h; gVisor, and 9p2000.u
            (0xef53, "9p"),            // the server's: an ext4 of the host
            (0x9123_683e, "9p"),       // a btrfs of the host
            (0x5346_544e, "9p"),       // a drive of Windows in WSL 2
            (0x6573_5546, "virtiofs"), // fs/fuse/inode.c: FUSE_SUPER_MAGIC
            (0x6573_5546, "fuse.glusterfs"),
            (0x6573_5546, "fuseblk"),
            (0x00c3_6400, "ceph"),   // linux/magic.h
            (0x5346_414f, "afs"),    // linux/magic.h
            (0x7375_7245, "coda"),   // linux/magic.h
            (0x0bd0_0bd0, "lustre"), // lustre_user.h: LL_SUPER_MAGIC
            (0x786f_4256, "vboxsf"), // fs/vboxsf/super.c
            (0x7c7c_6673, "prl_fs"), // coreutils, stat.c
            (0xbacb_acbc, "vmhgfs"), // coreutils, stat.c
            (0x1983_0326, "beegfs"), // coreutils, stat.c
            (0x2003_0528, "pvfs2"),  // fs/orangefs: ORANGEFS_SUPER_MAGIC
            (0x7461_636f, "ocfs2"),  // linux/magic.h
            (0x0116_1970, "gfs2"),   // linux/magic.h
            (0x5346_4846, "drvfs"),  // WSL 1
        ];

        fn kind(magic: u64, has_blocks: bool, table: &str, id: u64) -> FsKind {
            let shown = Shown { magic, has_blocks };
            kind_of(shown, || Some((Table::of(table), id)))
        }

        #[test]
        fn no_share_is_taken_for_a_local_disk_whatever_number_it_shows() {
            for (magic, name) in SHARES {
                let table = format!("7 1 0:40 / /mnt rw - {name} source rw\n");
                assert_eq!(kind(magic, false, &table, 7), FsKind::Share, "{name}");
            }
        }

        #[test]
        fn what_is_local_is_known_by_its_device_or_by_its_type() {
            for (magic, types, wanted) in LOCAL {
                for name in types.iter().filter(|name| **name != "overlay") {
                    let table = format!("7 1 0:40 / /mnt rw - {name} source rw\n");
                    assert_eq!(kind(magic, false, &table, 7), wanted, "{name}");
                    assert_eq!(kind(magic, true, "", 7), wanted, "{name}");
                    assert_eq!(kind(magic, false, &table, 8), FsKind::Share, "{name}");
                }
            }
            let shown = Shown {
                magic: 0x0102_1994,
                has_blocks: false,
            };
            assert_eq!(kind_of(shown, || None), FsKind::Share, "no table");
        }

        #[test]
        fn an_overlay_is_as_local_as_its_layers() {
            let table = "\
1 0 8:1 / / rw - ext4 /dev/sda1 rw
2 1 0:40 / /dirpost-no-such/nfs rw - nfs4 server:/srv rw
3 1 0:41 / /mnt/a rw - overlay none rw,lowerdir=/dirpost-no-such/low,upperdir=/dirpost-no-such/up
4 1 0:42 / /mnt/b rw - overlay none rw,lowerdir=/dirpost-no-such/low:/dirpost-no-such/nfs/x,upperdir=/dirpost-no-such/up
5 1 0:43 / /dirpost-no-such/c rw - overlay none ro,lowerdir=/dirpost-no-such/nfs:/dirpost-no-such/low
6 1 0:44 / /mnt/d rw - overlay none rw,lowerdir=/dirpost-no-such/c,upperdir=/dirpost-no-such/up
7 1 0:45 / /mnt/e rw - overlay none rw,lowerdir=relative,upperdir=/dirpost-no-such/up
";
            let wanted = [
                (3, FsKind::Local),
                (4, FsKind::Share),
                (5, FsKind::Share),
                (6, FsKind::Share),
                (7, FsKind::Share),
            ];
            for (id, wanted) in wanted {
                for has_blocks in [false, true] {
                    assert_eq!(kind(OVERLAY, has_blocks, table, id), wanted, "{id}");
                }
            }
        }

        #[test]
        fn the_file_system_of_a_container_is_local_though_its_layers_are_not_seen() {
            let table = "1 0 0:60 / / rw - overlay overlay rw,lowerdir=/dirpost-no-such/l,upperdir=/dirpost-no-such/u\n";
            assert_eq!(kind(OVERLAY, false, table, 1), FsKind::Local);
        }
    }
}
