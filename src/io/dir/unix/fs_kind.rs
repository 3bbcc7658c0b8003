//! What kind of file system something lies on.

use std::os::fd::AsFd;

use crate::flow::file::FsKind;

/// What `fd` lies on. Only what is known to be local counts as local.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn fs_kind(fd: impl AsFd) -> FsKind {
    let Ok(stat) = rustix::fs::fstatfs(fd) else {
        return FsKind::Share;
    };
    // statfs(2), linux/magic.h
    match stat.f_type as u64 & 0xffff_ffff {
        0xef53          // ext2, ext3, ext4
        | 0x5846_5342   // xfs
        | 0x9123_683e   // btrfs
        | 0x0102_1994   // tmpfs
        | 0x8584_58f6   // ramfs
        | 0xf2f5_2010   // f2fs
        | 0x2fc1_2fc1   // zfs
        | 0xca45_1a4e   // bcachefs
        | 0x794c_7630   // overlayfs
        | 0x3153_464a   // jfs
        | 0x5265_4973   // reiserfs
        | 0x2405_1905   // ubifs
        => FsKind::Local,
        0x4d44          // vfat
        | 0x2011_bab0   // exfat
        | 0x5346_544e   // ntfs
        | 0x7366_746e   // ntfs3
        => FsKind::LocalNoCtime,
        _ => FsKind::Share,
    }
}

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
