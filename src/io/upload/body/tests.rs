//! An upload's body over real files.

use sha2::{Digest as _, Sha256};

use super::*;
use crate::flow::file::{FsKind, Rel};
#[cfg(unix)]
use crate::flow::messages::{Delivered, Miss};
use crate::io::dir::Dir;
use crate::io::testing::TempDir;
#[cfg(unix)]
use crate::io::upload::broken_off;

fn watched(dir: &TempDir, content: &[u8]) -> (UploadBody, std::path::PathBuf) {
    let path = dir.path().join("f");
    std::fs::write(&path, content).unwrap();
    let root = Arc::new(Dir::at(dir.path()).unwrap());
    let look = root.look(b"f").unwrap().unwrap();
    (UploadBody::open(source(root, look)).unwrap(), path)
}

fn source(root: Arc<Dir>, look: Look) -> Source {
    Source {
        place: InFolder {
            root,
            path: Rel::new(b"f"),
        },
        look,
        checked: Checked::No,
        beyond_suspicion: false,
        patience: Duration::from_secs(10),
    }
}

fn drain(body: &mut UploadBody, step: usize) -> (Vec<u8>, Result<(), Broken>) {
    let mut all = Vec::new();
    let mut buf = vec![0; step];
    loop {
        match body.read(&mut buf) {
            Ok(0) => return (all, Ok(())),
            Ok(got) => all.extend_from_slice(&buf[..got]),
            Err(err) => return (all, Err(err)),
        }
    }
}

#[test]
fn a_file_that_stays_is_given_out_whole_again_and_again() {
    let dir = TempDir::new();
    let (mut body, _) = watched(&dir, &[7; 1000]);
    for step in [1, 64, 1000, 5000] {
        let (all, end) = drain(&mut body, step);
        end.unwrap();
        assert_eq!(all, [7; 1000]);
        body.rewind().unwrap();
    }
    body.read_whole().unwrap();
    assert_eq!(drain(&mut body, 64).0, [7; 1000]);
}

#[test]
fn nothing_of_the_files_before_is_given_out_with_one_that_is_read_into_their_memory() {
    let mut memory = Vec::new();
    for content in [&[1; 900][..], &[2; 3], &[3; 5000], &[4; 1]] {
        let dir = TempDir::new();
        let (body, _) = watched(&dir, content);
        let mut body = body.read_into(memory);
        let digest = body.read_whole().unwrap();
        assert_eq!(digest, <[u8; 32]>::from(Sha256::digest(content)));
        let (all, end) = drain(&mut body, 64);
        end.unwrap();
        assert_eq!(all, content);
        memory = body.into_memory();
    }
    assert!(memory.capacity() >= 5000, "it is kept");
}

#[test]
fn the_last_byte_of_a_file_that_changed_is_never_given_out() {
    type Change = fn(&std::path::Path);
    let changes: [(&str, Change); 4] = [
        ("appended", |path| {
            use std::io::Write;
            std::fs::OpenOptions::new()
                .append(true)
                .open(path)
                .unwrap()
                .write_all(b"x")
                .unwrap();
        }),
        ("rewritten", |path| std::fs::write(path, [8; 1000]).unwrap()),
        ("truncated", |path| std::fs::write(path, [7; 400]).unwrap()),
        ("touched", |path| {
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH)
                .unwrap();
        }),
    ];
    for (what, change) in changes {
        let dir = TempDir::new();
        let (mut body, path) = watched(&dir, &[7; 1000]);
        let mut buf = [0; 500];
        assert_eq!(body.read(&mut buf).unwrap(), 500);
        change(&path);
        let (rest, end) = drain(&mut body, 500);
        assert!(end.is_err() && rest.len() < 500, "{what}");
    }
}

/// The look of a share makes each look a fresh open, whatever the folder is on.
#[cfg(unix)]
#[test]
fn a_file_that_a_link_or_a_fifo_has_replaced_is_gone_and_not_changed() {
    type Replace = fn(&std::path::Path);
    let replacements: [(&str, Replace); 3] = [
        ("nothing", |path| std::fs::remove_file(path).unwrap()),
        ("a link", |path| {
            std::fs::rename(path, path.with_extension("moved")).unwrap();
            std::os::unix::fs::symlink(path.with_extension("moved"), path).unwrap();
        }),
        ("a FIFO", |path| {
            std::fs::remove_file(path).unwrap();
            let made = std::process::Command::new("mkfifo").arg(path).status();
            assert!(made.unwrap().success());
        }),
    ];
    for (what, replace) in replacements {
        let dir = TempDir::new();
        let (mut body, path) = watched(&dir, &[7; 1000]);
        body.known.fs = FsKind::Share;
        assert_eq!(body.read(&mut [0; 500]).unwrap(), 500);
        replace(&path);
        let (rest, end) = drain(&mut body, 500);
        let missing = broken_off(end.unwrap_err());
        assert!(rest.len() < 500, "{what}");
        assert!(
            matches!(missing, Delivered::Missing(Miss::Gone)),
            "{what}: {missing:?}"
        );
    }
}

#[test]
fn a_file_that_was_replaced_is_not_opened() {
    let dir = TempDir::new();
    let (body, path) = watched(&dir, b"one");
    let mtime = std::fs::metadata(&path).unwrap().modified().unwrap();
    std::fs::write(dir.path().join("g"), b"two").unwrap();
    std::fs::File::options()
        .write(true)
        .open(dir.path().join("g"))
        .unwrap()
        .set_modified(mtime)
        .unwrap();
    std::fs::rename(dir.path().join("g"), &path).unwrap();
    let root = Arc::clone(&body.source.place.root);
    let reopened = UploadBody::open(source(root, body.known));
    #[cfg(unix)]
    assert!(matches!(reopened, Err(Broken::Changed(_))));
    #[cfg(not(unix))]
    drop(reopened);
}

/// What a person or a program does to a file that is being sent.
#[cfg(unix)]
type Deed = (&'static str, fn(&std::path::Path));

/// Sends a real file that is being read when `deed` is done; looks are those of `fs`.
#[cfg(unix)]
fn sent_during(deed: fn(&std::path::Path), fs: FsKind) -> Result<(Vec<u8>, UploadBody), Broken> {
    let dir = TempDir::new();
    let (mut body, path) = watched(&dir, &[7; 1000]);
    body.known.fs = fs;
    let mut buf = [0; 300];
    let got = body.read(&mut buf)?;
    let mut all = buf[..got].to_vec();
    deed(&path);
    let (rest, end) = drain(&mut body, 300);
    all.extend(rest);
    end.map(|()| (all, body))
}

#[cfg(unix)]
#[test]
fn what_moves_the_ctime_alone_breaks_nothing_off() {
    use std::os::unix::fs::PermissionsExt;
    let deeds: [Deed; 4] = [
        ("chmod", |path| {
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o640)).unwrap();
        }),
        ("chown", |path| {
            let user = std::os::unix::fs::MetadataExt::uid(&path.metadata().unwrap());
            std::os::unix::fs::chown(path, Some(user), None).unwrap();
        }),
        ("link", |path| {
            std::fs::hard_link(path, path.with_extension("link")).unwrap();
        }),
        ("link and unlink", |path| {
            let link = path.with_extension("link");
            std::fs::hard_link(path, &link).unwrap();
            std::fs::remove_file(link).unwrap();
        }),
    ];
    for fs in [FsKind::Local, FsKind::Share] {
        for (what, deed) in deeds {
            let (all, body) = sent_during(deed, fs).unwrap_or_else(|err| panic!("{what}: {err:?}"));
            assert_eq!(all, [7; 1000], "{what}");
            assert_eq!(body.rereads, 1, "{what} moves the ctime");
            assert_ne!(body.known.ctime, body.source.look.ctime, "{what}");
            assert_eq!(body.known.fs, fs);
        }
    }
}

#[cfg(any(target_os = "linux", target_vendor = "apple"))]
#[test]
fn an_extended_attribute_breaks_nothing_off() {
    let deed = |path: &std::path::Path| {
        let set = rustix::fs::setxattr(path, "user.scanned", b"1", rustix::fs::XattrFlags::empty());
        if let Err(err) = set {
            // tmpfs has user attributes since Linux 6.6.
            assert_eq!(err, rustix::io::Errno::NOTSUP);
        }
    };
    for fs in [FsKind::Local, FsKind::Share] {
        assert_eq!(sent_during(deed, fs).unwrap().0, [7; 1000]);
    }
}

#[cfg(unix)]
#[test]
fn content_that_changes_while_size_and_mtime_stand_still_is_never_given_out_to_its_end() {
    let deed = |path: &std::path::Path| {
        let mtime = path.metadata().unwrap().modified().unwrap();
        std::fs::write(path, [8; 1000]).unwrap();
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(mtime).unwrap();
    };
    for fs in [FsKind::Local, FsKind::Share] {
        let sent = sent_during(deed, fs);
        assert!(matches!(sent, Err(Broken::Changed(Some(_)))), "{sent:?}");
    }
}
