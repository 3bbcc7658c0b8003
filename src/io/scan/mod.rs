//! SCAN: lists the watched folder, one folder at a time.
//!
//! Which folders are listed, and which passed over, the rounds say ([`crate::flow::scan::rounds`]).
//! A folder is listed, and its files are looked at, through one handle that was opened for that
//! without following links. Only one scan is ever under way: the thread that does it may hang in a
//! call as long as a share hangs.

mod folder;
mod names;
mod pool;
mod proof;
mod pulse;
mod side_by_side;

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use self::folder::{Visited, Visitor};
use self::names::Names;
use self::pulse::Pulse;
use crate::config::Config;
use crate::flow::file::Rel;
use crate::flow::messages::{Content, Input, ListedFolder, ScanOrder};
use crate::flow::scan::filter::Filter;
use crate::flow::scan::glob::GlobError;
use crate::flow::scan::rounds::{Looked, Rounds};
use crate::io::Gone;
use crate::io::dir::{Dir, below};
use crate::io::os::clock;
use crate::io::os::error::explain;
use crate::io::share::{Share, Unusable};

/// Looks only whether the lock is still this process's: answers as [`Scanner::scan`] does, but for the listings.
///
/// # Errors
/// What `send` gives: nobody listens any more.
pub fn confirm(share: &Share, send: &dyn Fn(Input) -> Result<(), Gone>) -> Result<(), Gone> {
    match share.reopen() {
        Ok(_) => send(Input::Confirmed).and_then(|()| send(Input::Scanned(Ok(())))),
        Err(Unusable::Away(why)) => send(Input::Scanned(Err(why))),
        Err(Unusable::Anew(why)) => send(Input::Closing(why)),
    }
}

/// The names that are looked at, by the configuration: never those of dirpost's own folders.
///
/// # Errors
/// A glob of `watch.include` or `watch.exclude` that does not compile.
pub fn filter_of(config: &Config) -> Result<Filter, GlobError> {
    let own = [
        &config.state.dir,
        &config.delivered.dir,
        &config.dead_letter.dir,
    ];
    let own = own.into_iter();
    let own = own.filter_map(|path| below(&config.watch.dir, path));
    Filter::new(&config.watch, config.ready.marker.as_ref(), own.collect())
}

/// Looks at one folder, at `path` in the watched folder `root` whose own path is `watched`, without
/// anything that goes on from one scan to the next.
///
/// # Errors
/// It could not be listed, or not to its end.
pub fn list(root: &Dir, watched: &Path, filter: &Filter, path: &Rel) -> io::Result<Content> {
    let visitor = Visitor {
        root,
        path: watched,
        filter,
        pool: None,
    };
    let (mut names, mut pulse) = (Names::default(), Pulse::new(&|| {}));
    let (folder, _) = root.to_list(path)?;
    names.read(&folder, filter, path, &mut pulse)?;
    let (content, _) = visitor.look_at_all(folder, path, &mut names, &mut pulse)?;
    Ok(content)
}

/// After a look at the lock that took so long the engine may doubt the lock, and wait for its answer.
const SLOW: Duration = Duration::from_secs(1);

/// What scans work with.
#[derive(Debug)]
pub struct Scanner<'a> {
    /// The watched folder.
    pub share: &'a Share,
    /// Which names are looked at.
    pub filter: &'a Filter,
    /// `watch.threads`: how many looks are made side by side.
    pub threads: usize,
}

/// Where a scan reports.
#[derive(Clone, Copy)]
pub struct Report<'a> {
    /// Is called before a listing is used: what has to be known by then is sent by it.
    pub before_use: &'a dyn Fn() -> Result<(), Gone>,
    /// Takes what was found.
    pub send: &'a dyn Fn(Input) -> Result<(), Gone>,
}

impl std::fmt::Debug for Report<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Report").finish_non_exhaustive()
    }
}

/// How many folders a scan has visited, by what was done with them.
#[derive(Debug, Default)]
struct Count {
    over: usize,
    same: usize,
    looked: usize,
    failed: usize,
}

impl Count {
    fn add(&mut self, visited: &Visited) {
        match visited {
            Visited::Over => self.over += 1,
            Visited::Same(_) => self.same += 1,
            Visited::Looked { .. } => self.looked += 1,
            Visited::Gone | Visited::Failed(_) => self.failed += 1,
        }
    }

    fn say(&self) {
        log::debug!(
            target: "dirpost",
            "scan: {} folders passed over, {} read and as they were, {} looked at, {} failed",
            self.over,
            self.same,
            self.looked,
            self.failed
        );
    }
}

/// How a scan ended that nobody is there to hear of, or whose share is away.
enum End {
    Gone,
    Away(String),
}

impl From<Gone> for End {
    fn from(_: Gone) -> End {
        End::Gone
    }
}

impl Scanner<'_> {
    /// Looks at the folders once: sends [`Input::Confirmed`] where somebody waits for it (else it would
    /// wake the loop for nothing) or it was long in coming, an [`Input::Listed`] for each folder of which all was looked at, [`Input::Rounds`], then [`Input::Scanned`]; and
    /// [`Input::Looking`] while that takes long. Or [`Input::Closing`] where all is to be opened again.
    ///
    /// # Errors
    /// What `send` gives: nobody listens any more.
    pub fn scan(&self, order: ScanOrder, report: Report<'_>) -> Result<(), Gone> {
        let (mut order, began) = (order, Instant::now());
        let result = match self.share.reopen() {
            Ok(root) => {
                if order.is_lock_awaited || began.elapsed() >= SLOW {
                    (report.send)(Input::Confirmed)?;
                }
                if let Some(own) = self.share.own() {
                    proof::seek(own, &root, &mut order.rounds);
                }
                let visitor = Visitor {
                    root: &root,
                    path: self.share.path(),
                    filter: self.filter,
                    pool: None,
                };
                // What is read even if no folder is listed.
                (report.before_use)()?;
                let walked = if self.threads > 1 {
                    self.walk_side_by_side(visitor, &mut order, report, self.threads)
                } else {
                    self.walk(&visitor, &mut order, report)
                };
                match walked {
                    Ok(()) => Ok(()),
                    Err(End::Gone) => return Err(Gone),
                    Err(End::Away(why)) => Err(why),
                }
            }
            Err(Unusable::Away(why)) => Err(why),
            Err(Unusable::Anew(why)) => return (report.send)(Input::Closing(why)),
        };
        (report.send)(Input::Rounds(order.rounds))?;
        (report.send)(Input::Scanned(result))
    }

    /// Visits all folders, each after the one that it is in.
    fn walk(
        &self,
        visitor: &Visitor<'_>,
        order: &mut ScanOrder,
        report: Report<'_>,
    ) -> Result<(), End> {
        // Whether anybody listens is seen when a folder is listed.
        let say = || {
            let _ = (report.send)(Input::Looking);
        };
        let mut pulse = Pulse::new(&say);
        let mut names = Names::default();
        let ScanOrder { rounds, wanted, .. } = order;
        let mut last: Option<Rel> = None;
        // Folders that could not be listed: what is below them is left to the next scan.
        let mut failed: Vec<Rel> = Vec::new();
        let mut count = Count::default();
        loop {
            let next = rounds.after(last.as_ref()).find_map(|(path, folder)| {
                if failed.iter().any(|above| path.is_below(above)) {
                    return None;
                }
                let plan = rounds.plan(path, folder, wanted, clock::mono());
                let visited = visitor.visit(path, &plan, &mut names, &mut pulse);
                count.add(&visited);
                let is_news = !matches!(visited, Visited::Over);
                is_news.then(|| (path.clone(), visited))
            });
            let Some((path, visited)) = next else {
                count.say();
                return Ok(());
            };
            if matches!(visited, Visited::Failed(_)) {
                failed.push(path.clone());
            }
            self.take(rounds, &path, visited, report)?;
            last = Some(path);
        }
    }

    /// Takes over what came of a visit, and reports it.
    fn take(
        &self,
        rounds: &mut Rounds,
        path: &Rel,
        visited: Visited,
        report: Report<'_>,
    ) -> Result<(), End> {
        let content = match visited {
            Visited::Over => return Ok(()),
            Visited::Same(seen) => {
                rounds.listed(path, &seen, None);
                return Ok(());
            }
            // It went since its own folder was listed: the next scan sees that as well.
            Visited::Gone if *path != Rel::root() => {
                rounds.gone(path);
                return Ok(());
            }
            Visited::Gone => return Err(self.lost(&io::ErrorKind::NotFound.into())),
            Visited::Failed(err) if *path == Rel::root() => return Err(self.lost(&err)),
            Visited::Failed(err) => {
                rounds.failed(path);
                Err(explain(&err))
            }
            Visited::Looked {
                seen,
                content,
                has_ctime,
                cost,
            } => {
                let looked = Looked {
                    folders: &content.folders,
                    whole: content.unseen.is_empty(),
                    has_ctime,
                    cost,
                };
                rounds.listed(path, &seen, Some(&looked));
                (report.before_use)()?;
                Ok(*content)
            }
        };
        let path = path.clone();
        Ok((report.send)(Input::Listed(ListedFolder {
            path,
            content,
        }))?)
    }

    /// The watched folder itself cannot be listed.
    fn lost(&self, err: &io::Error) -> End {
        let why = format!("{}: {}", self.share.path().display(), explain(err));
        self.share.lost(why.clone());
        End::Away(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::scan::rounds::Wanted;
    use crate::io::share::OpenError;
    use crate::io::testing::TempDir;
    use std::cell::RefCell;

    fn listed(dir: &Path, tune: impl Fn(&mut crate::config::Config)) -> Vec<String> {
        let mut config = crate::config::from_dir_and_url(dir, "http://127.0.0.1:9/").unwrap();
        tune(&mut config);
        // A process that another test is about to start may hold the lock of the last call.
        let (share, _held) = loop {
            match Share::open(&config, false) {
                Err(OpenError::Locked(_)) => std::thread::yield_now(),
                other => break other.expect("it opens"),
            }
        };
        let filter = Filter::new(&config.watch, config.ready.marker.as_ref(), Vec::new()).unwrap();
        let found = RefCell::new(Vec::new());
        let scanner = Scanner {
            share: &share,
            filter: &filter,
            threads: config.watch.threads,
        };
        let order = ScanOrder {
            rounds: Box::new(Rounds::new(config.watch.rewrites)),
            wanted: Wanted::default(),
            is_lock_awaited: false,
        };
        let send = |input| {
            if let Input::Listed(ListedFolder {
                path,
                content: Ok(content),
            }) = input
            {
                found.borrow_mut().extend(
                    content
                        .files
                        .iter()
                        .map(|(name, _)| path.join(name).to_string()),
                );
            }
            Ok(())
        };
        let report = Report {
            before_use: &|| Ok(()),
            send: &send,
        };
        scanner.scan(order, report).unwrap();
        let mut found = found.into_inner();
        found.sort();
        found
    }

    /// The folders that a scan reports, in their order, each with how many files.
    fn reported(scanner: &Scanner<'_>, order: ScanOrder) -> (Vec<(Rel, usize)>, Box<Rounds>) {
        let (found, rounds) = (RefCell::new(Vec::new()), RefCell::new(None));
        let send = |input| {
            match input {
                Input::Listed(folder) => {
                    let content = folder.content.expect("it can be listed");
                    found.borrow_mut().push((folder.path, content.files.len()));
                }
                Input::Rounds(back) => *rounds.borrow_mut() = Some(back),
                _ => {}
            }
            Ok(())
        };
        let report = Report {
            before_use: &|| Ok(()),
            send: &send,
        };
        scanner.scan(order, report).unwrap();
        let rounds = rounds.into_inner().expect("the rounds come back");
        rounds.check();
        (found.into_inner(), rounds)
    }

    #[test]
    fn threads_side_by_side_find_what_one_finds_each_folder_after_the_one_that_it_is_in() {
        let dir = TempDir::new();
        let mut rng = crate::flow::rng::Rng::new(1);
        for folder in [
            "", "a", "a-b", "a/b", "a/b/c", "a/b/c/d", "b/x/y/z", "large",
        ] {
            let files = if folder == "large" {
                500
            } else {
                rng.below(60)
            };
            let folder = dir.path().join(folder);
            std::fs::create_dir_all(&folder).unwrap();
            for file in 0..files {
                let size = rng.below(9) as usize;
                std::fs::write(folder.join(format!("{file}.csv")), vec![b'x'; size]).unwrap();
            }
        }
        let config = crate::config::from_dir_and_url(dir.path(), "http://127.0.0.1:9/").unwrap();
        let (share, _held) = Share::open(&config, false).expect("it opens");
        let filter = Filter::new(&config.watch, None, Vec::new()).unwrap();
        let scanner = |threads| Scanner {
            share: &share,
            filter: &filter,
            threads,
        };
        let order = |rounds, everything| ScanOrder {
            rounds,
            wanted: Wanted {
                everything,
                ..Wanted::default()
            },
            is_lock_awaited: false,
        };
        let fresh = || Box::new(Rounds::new(config.watch.rewrites));
        let (mut alone, _) = reported(&scanner(1), order(fresh(), false));
        alone.sort();
        for threads in [2, 5, 16] {
            let (first, rounds) = reported(&scanner(threads), order(fresh(), false));
            let (again, _) = reported(&scanner(threads), order(rounds, true));
            for mut found in [first, again] {
                for (at, (path, _)) in found.iter().enumerate() {
                    let above = path.parent();
                    let is_before = found[..at].iter().any(|(other, _)| *other == above);
                    assert!(is_before || *path == Rel::root(), "{path} comes too early");
                }
                found.sort();
                assert_eq!(found, alone, "{threads} threads");
            }
        }
    }

    #[test]
    fn only_regular_files_that_are_wanted_are_listed() {
        let dir = TempDir::new();
        for name in [
            "a.csv",
            "b.tmp",
            "sub/c.csv",
            "sub/deep/d.csv",
            ".hidden/e.csv",
        ] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink("/etc", dir.path().join("link")).unwrap();
        assert_eq!(
            listed(dir.path(), |_| {}),
            ["a.csv", "sub/c.csv", "sub/deep/d.csv"]
        );
        assert_eq!(
            listed(dir.path(), |config| config.watch.max_depth = Some(2)),
            ["a.csv", "sub/c.csv"]
        );
    }

    #[cfg(unix)]
    #[test]
    fn any_name_is_listed() {
        use std::os::unix::ffi::OsStrExt;
        let dir = TempDir::new();
        let odd: [&[u8]; 4] = [b"new\nline", b"\xff\xfe", b"100%", &[b'n'; 255]];
        for name in odd {
            std::fs::write(dir.path().join(std::ffi::OsStr::from_bytes(name)), "x").unwrap();
        }
        assert_eq!(listed(dir.path(), |_| {}).len(), odd.len());
    }
}
