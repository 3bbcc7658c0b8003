//! Names that no user has given: what programs call files that are not finished, and the recycle
//! bins, snapshots and system folders of file servers and systems (`watch.ignore_temporary`).
//!
//! All hidden names (`.*`) are among them, so those that begin with a dot have no line of their own:
//! rsync, lftp, ProFTPD's HiddenStores, Pure-FTPd, Syncthing, Nextcloud, Unison, GIO and LibreOffice
//! write under such names; `.nfs*`, `.smbdelete*`, `.fuse_hidden*` are files that were deleted while
//! open; `.snapshot`, `.zfs`, `.recycle`, `.Trash-1000`, `.DS_Store`, `.TemporaryItems` and
//! `.@__thumb` are the systems' own. Names are compared without regard to the case of ASCII letters,
//! for the programs' makers and the file servers do not agree on it.

use self::Shape::{Ending, Name, Start};

/// What a name is compared with.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// The whole name.
    Name(&'static str),
    /// How it begins; something must follow.
    Start(&'static str),
    /// How it ends; something must stand before it.
    Ending(&'static str),
}

/// What the names are of, and who says so.
struct Row {
    shapes: &'static [Shape],
    #[cfg_attr(not(test), expect(dead_code, reason = "for who reads the table"))]
    source: &'static str,
}

/// Files, and folders that programs fill under a name of their own (Safari's `.download`).
const UNFINISHED: [Row; 13] = [
    Row {
        shapes: &[Ending(".tmp"), Ending(".temp")],
        source: "the usual ending of all systems; Windows' GetTempFileName, rclone, Office",
    },
    Row {
        shapes: &[Ending(".part"), Ending(".partial")],
        source: "Firefox, KDE, yt-dlp, Nextcloud's server; Internet Explorer, rclone (--partial-suffix)",
    },
    Row {
        shapes: &[
            Ending(".crdownload"),
            Ending(".download"),
            Ending(".opdownload"),
        ],
        source: "Chrome, Edge; Safari (a folder); Opera",
    },
    Row {
        shapes: &[
            Ending(".!ut"),
            Ending(".!qB"),
            Ending(".bc!"),
            Ending(".!sync"),
        ],
        source: "uTorrent, qBittorrent, BitComet: \"append to incomplete files\"; Resilio Sync",
    },
    Row {
        shapes: &[
            Ending(".aria2"),
            Ending(".fdmdownload"),
            Ending(".xltd"),
            Ending(".lftp-pget-status"),
        ],
        source: "aria2(1) CONTROL FILE; Free Download Manager; Xunlei; lftp(1) pget",
    },
    Row {
        shapes: &[Ending(".filepart"), Ending(".writing")],
        source: "WinSCP, \"transfer to temporary filename\"; Spring Integration, temporary-file-suffix",
    },
    Row {
        shapes: &[
            Ending(".incomplete"),
            Ending(".inprogress"),
            Ending(".in-progress"),
            Ending(".uploading"),
        ],
        source: "what administrators and programs (Apache Flink's and Hive's writers) have agreed on",
    },
    Row {
        shapes: &[Ending("._COPYING_")],
        source: "Hadoop, hdfs dfs -put (CommandWithDestination)",
    },
    Row {
        shapes: &[Ending(".camelLock")],
        source: "Apache Camel, file component, readLock=markerFile: of the file beside it",
    },
    Row {
        shapes: &[Ending(".swp"), Ending("~")],
        source: "vim(1) swap-file; backups of emacs, gedit, nano and vim",
    },
    Row {
        shapes: &[Start("~$")],
        source: "Microsoft Office: who has the document open",
    },
    Row {
        shapes: &[Start("~syncthing~")],
        source: "Syncthing on Windows, before it added .tmp",
    },
    Row {
        shapes: &[
            Name("Thumbs.db"),
            Name("ehthumbs.db"),
            Name("ehthumbs_vista.db"),
            Name("desktop.ini"),
            Name("Icon\r"),
        ],
        source: "Windows' thumbnails and folder settings; macOS' icon of a folder",
    },
];

/// Folders alone: a file may well be called so.
const SYSTEM_FOLDERS: [Row; 11] = [
    Row {
        shapes: &[
            Name("#recycle"),
            Name("#snapshot"),
            Name("@eaDir"),
            Name("@tmp"),
            Name("@sharesnap"),
            Name("@SynoResource"),
        ],
        source: "Synology DSM: recycle bin, \"make snapshots visible\", indexing service; also TerraMaster",
    },
    Row {
        shapes: &[
            Name("@Recycle"),
            Name("@Recently-Snapshot"),
            Name("@Transcode"),
        ],
        source: "QNAP QTS: network recycle bin, snapshot directory, transcoding",
    },
    Row {
        shapes: &[Name("~snapshot")],
        source: "NetApp ONTAP, snapshot directory of SMB shares (over NFS .snapshot)",
    },
    Row {
        shapes: &[Start("Recycle Bin - Volume_"), Name("Recycle Bin")],
        source: "Western Digital My Cloud, D-Link; Netgear ReadyNAS",
    },
    Row {
        shapes: &[Name("trashbox")],
        source: "Buffalo LinkStation and TeraStation, recycle bin of a share",
    },
    Row {
        shapes: &[Name("$RECYCLE.BIN"), Name("RECYCLER"), Name("RECYCLED")],
        source: "Windows since Vista; NT to XP on NTFS; on FAT",
    },
    Row {
        shapes: &[Name("System Volume Information"), Name("DfsrPrivate")],
        source: "Windows: restore points and indexes; DFS Replication's staging",
    },
    Row {
        shapes: &[Start("FOUND.0")],
        source: "Windows' chkdsk: what it has recovered (FOUND.000)",
    },
    Row {
        shapes: &[Name("lost+found")],
        source: "fsck(8) of ext2 to ext4 and others; mklost+found(8)",
    },
    Row {
        shapes: &[Name("Network Trash Folder"), Name("Temporary Items")],
        source: "macOS on AFP shares, Netatalk",
    },
    Row {
        shapes: &[Name("__MACOSX")],
        source: "macOS' archives unpacked elsewhere: resource forks",
    },
];

/// Whether the name is one that programs give to files which are not finished, or not for others.
pub(super) fn is_temporary(name: &[u8]) -> bool {
    name.starts_with(b".") || is_in(&UNFINISHED, name)
}

/// Whether a folder of that name is left alone with all that is in it.
pub(super) fn is_system_folder(name: &[u8]) -> bool {
    is_temporary(name) || is_in(&SYSTEM_FOLDERS, name)
}

fn is_in(rows: &[Row], name: &[u8]) -> bool {
    rows.iter()
        .flat_map(|row| row.shapes)
        .any(|shape| shape.fits(name))
}

impl Shape {
    fn fits(self, name: &[u8]) -> bool {
        match self {
            Name(whole) => name.eq_ignore_ascii_case(whole.as_bytes()),
            Start(text) => {
                let part = name.get(..text.len());
                name.len() > text.len()
                    && part.is_some_and(|part| part.eq_ignore_ascii_case(text.as_bytes()))
            }
            Ending(text) => {
                let Some(at) = name.len().checked_sub(text.len()) else {
                    return false;
                };
                at > 0 && name[at..].eq_ignore_ascii_case(text.as_bytes())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names that a shape fits, and near misses.
    fn samples(shape: Shape) -> (Vec<String>, Vec<String>) {
        match shape {
            Name(whole) => (
                vec![whole.into(), whole.to_ascii_uppercase()],
                vec![
                    format!("{whole}x"),
                    format!("x{whole}"),
                    format!("x {whole}.csv"),
                ],
            ),
            Start(text) => (
                vec![
                    format!("{text}1"),
                    format!("{}000", text.to_ascii_lowercase()),
                ],
                vec![format!("x{text}1"), text[..text.len() - 1].into()],
            ),
            Ending(text) => (
                vec![
                    format!("a.csv{text}"),
                    format!("A{}", text.to_ascii_uppercase()),
                ],
                vec![
                    format!("a{text}.csv"),
                    format!("a{text}x"),
                    text[1..].into(),
                ],
            ),
        }
    }

    #[test]
    fn every_line_of_the_table_fits_its_names_and_no_near_miss() {
        for (rows, fits) in [
            (&UNFINISHED[..], is_temporary as fn(&[u8]) -> bool),
            (&SYSTEM_FOLDERS[..], is_system_folder),
        ] {
            for row in rows {
                assert!(row.source.len() > 10);
                for &shape in row.shapes {
                    let (named, near) = samples(shape);
                    for name in named {
                        assert!(fits(name.as_bytes()), "{name:?}");
                    }
                    for name in near.iter().filter(|name| !name.is_empty()) {
                        assert!(!fits(name.as_bytes()), "{name:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_programs_are_known_to_write_is_not_sent() {
        for name in [
            ".hidden",
            ".x.csv.Ab12",
            "a.tmp",
            "A.TMP",
            "a.temp",
            "a.part",
            "a.partial",
            "a.1f2e.partial",
            "a.filepart",
            "a.crdownload",
            "a.download",
            "a.opdownload",
            "a.!qB",
            "a.!ut",
            "a.aria2",
            "a.incomplete",
            "a.inprogress",
            ".a.swp",
            "a.swp",
            "a.csv~",
            "~$book.xlsx",
            ".nfs0001",
            ".smbdeleteAA",
            ".fuse_hidden01",
            "Thumbs.db",
            "desktop.ini",
            "part-0._COPYING_",
            "~syncthing~a.csv.tmp",
            ".~lock.a.odt#",
            ".in.a.csv.",
            ".pureftpd-upload.1",
            "._a.csv",
        ] {
            assert!(is_temporary(name.as_bytes()), "{name}");
        }
        for name in [
            "#recycle",
            "#snapshot",
            "@eaDir",
            "@Recycle",
            "@Recently-Snapshot",
            "~snapshot",
            "$RECYCLE.BIN",
            "RECYCLER",
            "lost+found",
            "System Volume Information",
            "__MACOSX",
            "Recycle Bin - Volume_1",
            "trashbox",
            "Network Trash Folder",
            ".snapshot",
            ".zfs",
            ".Trash-1000",
            "Safari.download",
            "FOUND.000",
        ] {
            assert!(is_system_folder(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn what_people_call_their_files_and_folders_is_sent() {
        for name in [
            "a.csv",
            "tmp",
            "part",
            "a.tmp.csv",
            "a~b",
            "thumbs.db.csv",
            "report.parts",
            "~a",
            "$a",
            "template",
            "download",
            "partial.csv",
            "lost+found",
            "trashbox",
            "Recycle Bin",
            "recycled",
        ] {
            assert!(!is_temporary(name.as_bytes()), "{name}");
        }
        for name in [
            "recycle",
            "snapshot",
            "snapshots",
            "recycling",
            "#1",
            "@home",
            "lost and found",
            "Trash",
            "FOUND",
            "macosx",
            "Recycle Bin - Volume",
            "tmp",
            "temp",
        ] {
            assert!(!is_system_folder(name.as_bytes()), "{name}");
        }
    }
}
