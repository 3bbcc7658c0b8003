//! What happens between any two calls of an upload, over a modelled file.
//!
//! The model has the coarsest clock that is allowed: whatever happens between two ticks has one
//! and the same ctime. Each call (open, look, read, tick) has a number, and a plan says what a
//! writer does right before which of them; all plans of a kind are gone through.

use std::fmt;
use std::io::{Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};

use super::*;
use crate::flow::file::{FsKind, Stamp};
use crate::flow::time::Wall;

const OLD: &[u8] = b"oooooooo";
const NEW: &[u8] = b"nnnnnnnn";
/// The mtime of every version, for the writers put it back.
const MTIME: Wall = Wall(1);
/// No file has this mtime but in the middle of a rewriting.
const TOUCHED: Wall = Wall(2);

/// What somebody does to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Chmod,
    /// Writes the first half of another content: the mtime moves.
    BeginRewrite,
    /// Writes the other half, and puts the mtime back.
    EndRewrite,
    /// Another file of the same size and mtime takes the name.
    Replace,
    Append,
    Remove,
}

#[derive(Clone, Debug)]
struct Inode {
    content: Vec<u8>,
    mtime: Wall,
    ctime: i64,
}

#[derive(Debug)]
struct Model {
    inodes: Vec<Inode>,
    /// Which of them has the name.
    named: Option<usize>,
    tick: i64,
    calls: usize,
    /// What is done before the call of that number.
    plan: Vec<(usize, Deed)>,
    /// Somebody changes the mode before every call from this one on.
    chmods_from: Option<usize>,
    /// Every content that the named file has ever had while its mtime was [`MTIME`].
    versions: Vec<Vec<u8>>,
    open: usize,
    /// A read through any handle but the first hangs for as long as this is set.
    hangs: bool,
}

impl Model {
    fn call(&mut self) {
        self.calls += 1;
        let now = self.calls;
        let due: Vec<Deed> = self
            .plan
            .iter()
            .filter(|(call, _)| *call == now)
            .map(|(_, deed)| *deed)
            .collect();
        for deed in due {
            self.act(deed);
        }
        if self.chmods_from.is_some_and(|from| now >= from) {
            self.tick += 1;
            self.act(Deed::Chmod);
        }
    }

    fn act(&mut self, deed: Deed) {
        let Some(named) = self.named else { return };
        let tick = self.tick;
        let inode = &mut self.inodes[named];
        inode.ctime = tick;
        let half = inode.content.len() / 2;
        match deed {
            Deed::Chmod => {}
            Deed::BeginRewrite => {
                inode.content[..half].fill(b'n');
                inode.mtime = TOUCHED;
            }
            Deed::EndRewrite => {
                inode.content[half..].fill(b'n');
                inode.mtime = MTIME;
            }
            Deed::Replace => {
                let mut other = inode.clone();
                other.content.fill(b'r');
                // A rename sets the ctime, and no two of these files are named in one tick.
                self.tick += 1;
                other.ctime = self.tick;
                self.inodes.push(other);
                self.named = Some(self.inodes.len() - 1);
            }
            Deed::Append => {
                inode.content.push(b'a');
                inode.mtime = TOUCHED;
            }
            Deed::Remove => self.named = None,
        }
        if let Some(named) = self.named
            && self.inodes[named].mtime == MTIME
        {
            let version = self.inodes[named].content.clone();
            self.versions.push(version);
        }
    }

    fn look_at(&self, inode: usize) -> Look {
        let found = &self.inodes[inode];
        Look {
            stamp: Stamp {
                size: found.content.len() as u64,
                mtime: found.mtime,
            },
            ctime: Wall(found.ctime),
            // No file has the number 0.
            ino: inode as u64 + 1,
            ..Look::default()
        }
    }
}

#[derive(Clone, Debug)]
struct Modelled(Arc<Mutex<Model>>);

#[derive(Debug)]
struct Handle {
    model: Modelled,
    inode: usize,
    at: usize,
    is_first: bool,
}

impl Modelled {
    fn new(plan: Vec<(usize, Deed)>) -> Modelled {
        let content = OLD.to_vec();
        Modelled(Arc::new(Mutex::new(Model {
            versions: vec![content.clone()],
            inodes: vec![Inode {
                content,
                mtime: MTIME,
                ctime: 1,
            }],
            named: Some(0),
            // It has settled: nothing that happens now has the ctime of what was before.
            tick: 100,
            calls: 0,
            plan,
            chmods_from: None,
            open: 0,
            hangs: false,
        })))
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self) -> MutexGuard<'_, Model> {
        let mut model = self.model();
        model.call();
        model
    }

    fn body(&self, fs: FsKind, checked: Checked) -> Result<UploadBody<Modelled>, Broken> {
        let look = Look {
            fs,
            ..self.model().look_at(0)
        };
        UploadBody::open(Source {
            place: self.clone(),
            look,
            checked,
            beyond_suspicion: false,
            patience: Duration::from_secs(60),
        })
    }
}

impl fmt::Display for Modelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("modelled")
    }
}

impl Place for Modelled {
    type File = Handle;

    fn open(&self) -> io::Result<(Handle, Look)> {
        let mut model = self.call();
        let inode = model.named.ok_or(io::ErrorKind::NotFound)?;
        let handle = Handle {
            model: self.clone(),
            inode,
            at: 0,
            is_first: model.open == 0,
        };
        model.open += 1;
        Ok((handle, model.look_at(inode)))
    }

    fn look(&self, file: &Handle, fs: FsKind) -> io::Result<Look> {
        let model = self.call();
        let inode = match fs {
            FsKind::Share => model.named.ok_or(io::ErrorKind::NotFound)?,
            FsKind::Local | FsKind::LocalNoCtime => file.inode,
        };
        Ok(model.look_at(inode))
    }

    fn next_tick(&self) {
        self.call().tick += 1;
    }
}

impl Read for Handle {
    /// Two bytes at a time, so that there is something between them.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while !self.is_first && self.model.model().hangs {
            std::thread::sleep(Duration::from_millis(1));
        }
        let model = self.model.call();
        let rest = &model.inodes[self.inode].content[self.at..];
        let amount = rest.len().min(buf.len()).min(2);
        buf[..amount].copy_from_slice(&rest[..amount]);
        drop(model);
        self.at += amount;
        Ok(amount)
    }
}

impl Seek for Handle {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        assert_eq!(to, SeekFrom::Start(0));
        self.at = 0;
        Ok(0)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.model.model().open -= 1;
    }
}

/// How the file is read.
#[derive(Clone, Copy, Debug)]
enum Manner {
    Streamed,
    /// Looked at after each piece, as a file that takes long.
    Watched,
    /// From memory.
    Held,
    /// Once for its digest, and once more to be sent.
    Twice,
}

const MANNERS: [Manner; 4] = [
    Manner::Streamed,
    Manner::Watched,
    Manner::Held,
    Manner::Twice,
];

fn read_all(body: &mut UploadBody<Modelled>, manner: Manner) -> Result<Vec<u8>, Broken> {
    let mut all = Vec::new();
    let mut buf = [0; 2];
    loop {
        // So long that a look is due, and so quick that a second reading may begin.
        if let Manner::Watched = manner
            && let Some(long_ago) = Instant::now().checked_sub(LOOK_EVERY)
        {
            body.looked = long_ago;
            body.began = Instant::now() + Duration::from_secs(3600);
        }
        match body.read(&mut buf)? {
            0 => return Ok(all),
            got => all.extend_from_slice(&buf[..got]),
        }
        // The thread of a second reading is left to itself, so that its calls have numbers.
        while body.reread.is_some() && body.source.place.model().open > 1 {
            std::thread::yield_now();
        }
    }
}

/// Sends the file, and holds what came of it to what must be true of every upload.
fn upload(modelled: &Modelled, fs: FsKind, manner: Manner) -> Result<Vec<u8>, Broken> {
    let mut body = modelled.body(fs, Checked::No)?;
    let mut promised = None;
    match manner {
        Manner::Held => promised = Some(body.read_whole()?),
        Manner::Twice => {
            read_all(&mut body, manner)?;
            promised = body.sent();
            assert!(promised.is_some());
            body.rewind()?;
        }
        Manner::Streamed | Manner::Watched => {}
    }
    let sent = read_all(&mut body, manner)?;
    let digest: [u8; 32] = Sha256::digest(&sent).into();
    assert_eq!(body.sent(), Some(digest));
    assert!(promised.is_none_or(|promised| promised == digest));
    let model = modelled.model();
    assert!(
        model.versions.contains(&sent),
        "{sent:?} was never the content of the file"
    );
    // What is filed by this look is what was sent.
    if let Some(named) = model.named
        && model.look_at(named).difference(&body.known()) == Difference::None
    {
        assert_eq!(model.inodes[named].content, sent, "filed and never sent");
    }
    Ok(sent)
}

const KINDS: [FsKind; 2] = [FsKind::Local, FsKind::Share];

/// With chmods without end a file that is read once makes 39 calls: open, four reads and a look;
/// then three times three ticks with an open each, four reads and a look.
const CALLS: usize = 45;

#[test]
fn a_chmod_at_any_moment_breaks_nothing_off() {
    for (fs, manner) in KINDS.into_iter().flat_map(|fs| MANNERS.map(|m| (fs, m))) {
        for (first, second) in (2..CALLS).flat_map(|one| (one..CALLS).map(move |two| (one, two))) {
            let modelled = Modelled::new(vec![(first, Deed::Chmod), (second, Deed::Chmod)]);
            let sent = upload(&modelled, fs, manner);
            assert_eq!(
                sent.unwrap_or_else(|err| panic!("{fs:?} {manner:?} {first} {second}: {err:?}")),
                OLD
            );
        }
    }
}

#[test]
fn chmods_without_end_break_nothing_off() {
    for (fs, manner) in KINDS.into_iter().flat_map(|fs| MANNERS.map(|m| (fs, m))) {
        for from in 2..CALLS {
            let modelled = Modelled::new(Vec::new());
            modelled.model().chmods_from = Some(from);
            let sent = upload(&modelled, fs, manner).unwrap();
            assert_eq!(sent, OLD, "{fs:?} {manner:?} {from}");
        }
    }
}

/// The invariants are those of [`upload`]; whether it is broken off is not looked at here.
#[test]
fn content_that_changes_with_size_and_mtime_put_back_never_goes_out_mixed_nor_is_filed_unsent() {
    let mut broken = 0;
    let mut whole = 0;
    for (fs, manner) in KINDS.into_iter().flat_map(|fs| MANNERS.map(|m| (fs, m))) {
        // None, one, or one before each call. After one that is seen by the last look, a
        // rewriting may have the very ctime of the look that the second reading begins with,
        // unless that is made a tick later.
        for (chmod, chmods_from) in [
            (0, None),
            (3, None),
            (6, None),
            (0, Some(2)),
            (0, Some(17)),
            (0, Some(28)),
        ] {
            for (begin, end) in (2..CALLS).flat_map(|a| (a..CALLS).map(move |b| (a, b))) {
                let modelled = Modelled::new(vec![
                    (chmod, Deed::Chmod),
                    (begin, Deed::BeginRewrite),
                    (end, Deed::EndRewrite),
                ]);
                modelled.model().chmods_from = chmods_from;
                match upload(&modelled, fs, manner) {
                    Ok(_) => whole += 1,
                    Err(Broken::Changed(_)) => broken += 1,
                    Err(other) => panic!("{other:?}"),
                }
            }
        }
    }
    println!("{broken} uploads were broken off, {whole} went out whole");
    assert!(broken > 1000 && whole > 1000);
}

#[test]
fn a_file_that_is_rewritten_in_the_middle_is_broken_off() {
    for (fs, manner) in KINDS.into_iter().flat_map(|fs| MANNERS.map(|m| (fs, m))) {
        // The first piece has been read by then, and the last has not. (Of a file that is held
        // all has been read.)
        let call = 3;
        let plan = vec![(call, Deed::BeginRewrite), (call, Deed::EndRewrite)];
        let sent = upload(&Modelled::new(plan), fs, manner);
        assert!(
            matches!(sent, Err(Broken::Changed(Some(_)))),
            "{fs:?} {manner:?}: {sent:?}"
        );
    }
}

#[test]
fn a_file_that_is_rewritten_before_or_between_two_further_readings_is_broken_off() {
    for fs in KINDS {
        for manner in [Manner::Streamed, Manner::Held] {
            // The first piece is read by the second call, and the last one of all by call 38.
            for call in 3..=38 {
                let plan = vec![(call, Deed::BeginRewrite), (call, Deed::EndRewrite)];
                let modelled = Modelled::new(plan);
                modelled.model().chmods_from = Some(3);
                let sent = upload(&modelled, fs, manner);
                assert!(
                    matches!(sent, Err(Broken::Changed(Some(_)))),
                    "{fs:?} {manner:?} {call}: {sent:?}"
                );
            }
            // All the same, what is rewritten behind the last reading has gone out as it was.
            let modelled = Modelled::new(vec![(39, Deed::BeginRewrite), (39, Deed::EndRewrite)]);
            modelled.model().chmods_from = Some(3);
            assert_eq!(upload(&modelled, fs, manner).unwrap(), OLD);
            assert_eq!(modelled.model().calls, 39);
        }
    }
}

#[test]
fn a_replaced_appended_or_removed_file_is_broken_off_also_after_a_suspicion() {
    for (fs, manner) in KINDS.into_iter().flat_map(|fs| MANNERS.map(|m| (fs, m))) {
        for deed in [Deed::Replace, Deed::Append, Deed::Remove] {
            for (call, chmods_from) in [(3, None), (3, Some(2))] {
                let modelled = Modelled::new(vec![(call, deed)]);
                modelled.model().chmods_from = chmods_from;
                let sent = upload(&modelled, fs, manner);
                let as_it_should = match deed {
                    Deed::Remove => {
                        matches!(&sent, Err(Broken::Io(err)) if is_not_found(err))
                    }
                    _ => matches!(sent, Err(Broken::Changed(Some(_)))),
                };
                assert!(as_it_should, "{fs:?} {manner:?} {deed:?}: {sent:?}");
            }
        }
    }
}

fn is_not_found(err: &io::Error) -> bool {
    err.kind() == io::ErrorKind::NotFound
}

#[test]
fn what_a_check_has_read_must_be_what_is_sent() {
    let new = Checked::Digest(Sha256::digest(NEW).into());
    for (fs, manner) in KINDS.into_iter().flat_map(|fs| MANNERS.map(|m| (fs, m))) {
        // No look shows a difference: as where a file system has no ctime.
        let modelled = Modelled::new(Vec::new());
        let mut body = modelled.body(fs, new).unwrap();
        if let Manner::Held = manner {
            body.read_whole().unwrap();
        }
        let sent = read_all(&mut body, manner);
        assert!(
            matches!(sent, Err(Broken::Changed(Some(_)))),
            "{fs:?} {manner:?}: {sent:?}"
        );
    }
}

#[test]
fn after_a_check_without_a_digest_a_suspicion_is_a_change() {
    for (fs, manner) in KINDS.into_iter().flat_map(|fs| MANNERS.map(|m| (fs, m))) {
        let modelled = Modelled::new(vec![(3, Deed::Chmod)]);
        let mut body = modelled.body(fs, Checked::Undigested).unwrap();
        if let Manner::Held = manner {
            body.read_whole().unwrap();
        }
        let sent = read_all(&mut body, manner);
        assert!(
            matches!(sent, Err(Broken::Changed(Some(_)))),
            "{fs:?} {manner:?}: {sent:?}"
        );
    }
}

#[test]
fn a_moved_ctime_is_opened_only_when_its_suspicions_are_spent_and_its_check_can_be_held_to() {
    let old = Checked::Digest(Sha256::digest(OLD).into());
    let new = Checked::Digest(Sha256::digest(NEW).into());
    for (spent, checked, deed, goes) in [
        (false, Checked::No, Deed::Chmod, false),
        (true, Checked::No, Deed::Chmod, true),
        (true, old, Deed::Chmod, true),
        (true, new, Deed::Chmod, false),
        (true, Checked::Undigested, Deed::Chmod, false),
        (true, Checked::No, Deed::Append, false),
        (true, Checked::No, Deed::Replace, false),
    ] {
        // Before the first open, and before the one that is made a tick later.
        for call in [1, 3] {
            let modelled = Modelled::new(vec![(1, Deed::Chmod), (call, deed)]);
            let source = Source {
                place: modelled.clone(),
                look: modelled.model().look_at(0),
                checked,
                beyond_suspicion: spent,
                patience: Duration::from_secs(60),
            };
            let sent =
                UploadBody::open(source).and_then(|mut body| read_all(&mut body, Manner::Streamed));
            assert_eq!(sent.is_ok(), goes, "{spent} {checked:?} {deed:?}: {sent:?}");
        }
    }
}

#[test]
fn a_second_reading_that_hangs_breaks_it_off_when_its_time_is_over() {
    let modelled = Modelled::new(vec![(3, Deed::Chmod)]);
    modelled.model().hangs = true;
    let mut body = modelled.body(FsKind::Share, Checked::No).unwrap();
    body.source.patience = Duration::from_millis(200);
    let began = Instant::now();
    let sent = read_all(&mut body, Manner::Streamed);
    assert!(matches!(sent, Err(Broken::Changed(Some(_)))), "{sent:?}");
    assert!(began.elapsed() >= Duration::from_millis(200));
    drop(body);
    // Its thread ends when the share answers again.
    modelled.model().hangs = false;
    while modelled.model().open > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn a_second_reading_in_the_middle_saves_the_one_at_the_end() {
    // Between the first and the second piece.
    let modelled = Modelled::new(vec![(3, Deed::Chmod)]);
    let mut body = modelled.body(FsKind::Local, Checked::No).unwrap();
    assert_eq!(read_all(&mut body, Manner::Watched).unwrap(), OLD);
    assert_eq!(body.rereads, 1);
    // And one that is never over in time keeps the last try for the end.
    let modelled = Modelled::new(Vec::new());
    modelled.model().chmods_from = Some(2);
    let mut body = modelled.body(FsKind::Local, Checked::No).unwrap();
    assert_eq!(read_all(&mut body, Manner::Watched).unwrap(), OLD);
    assert_eq!(body.rereads, REREADS);
}
