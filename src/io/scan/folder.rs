//! One folder: whether it is passed over, its names, and a look at each of its files.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use super::names::{Name, Names};
use super::pool::{CHUNK, Pool};
use super::pulse::Pulse;
use crate::flow::file::{Rel, Stamp};
use crate::flow::marker::MarkerRule;
use crate::flow::messages::Content;
use crate::flow::partial;
use crate::flow::scan::filter::Filter;
use crate::flow::scan::rounds::{Plan, Seen, Visit, shows_ctime};
use crate::flow::time::Wall;
use crate::io::dir::{Dir, Entry, name_of};
use crate::io::os::clock;
use crate::io::os::error::explain;

/// What all visits of a scan share.
pub(super) struct Visitor<'a> {
    /// The watched folder, opened for this scan.
    pub(super) root: &'a Dir,
    /// Its path.
    pub(super) path: &'a Path,
    pub(super) filter: &'a Filter,
    /// The threads that help with a large folder.
    pub(super) pool: Option<&'a Pool>,
}

/// What came of a visit.
#[derive(Debug)]
pub(super) enum Visited {
    /// It was passed over.
    Over,
    /// Its names were read, and are what they were.
    Same(Seen),
    /// All of it was looked at.
    Looked {
        seen: Seen,
        content: Box<Content>,
        /// A file in it shows a ctime that is not its mtime.
        has_ctime: bool,
        /// The CPU time that it took.
        cost: Duration,
    },
    /// It is not there.
    Gone,
    /// It could not be listed, or not to its end.
    Failed(io::Error),
}

impl Visitor<'_> {
    /// Does with the folder at `path` what `plan` says.
    pub(super) fn visit(
        &self,
        path: &Rel,
        plan: &Plan,
        names: &mut Names,
        pulse: &mut Pulse<'_>,
    ) -> Visited {
        match self.try_to_visit(path, plan, names, pulse) {
            Ok(visited) => visited,
            Err(err) if err.kind() == io::ErrorKind::NotFound => Visited::Gone,
            Err(err) => Visited::Failed(err),
        }
    }

    fn try_to_visit(
        &self,
        path: &Rel,
        plan: &Plan,
        names: &mut Names,
        pulse: &mut Pulse<'_>,
    ) -> io::Result<Visited> {
        pulse.beat();
        let root = self.root;
        if plan.asks_for_times()
            && root.shows_times(plan.device())
            && plan.visit(root.times(path)?) == Visit::Over
        {
            return Ok(Visited::Over);
        }
        let began = clock::mono();
        let cpu = clock::cpu_of_thread();
        let (folder, times) = root.to_list(path)?;
        let read = clock::mono();
        let visit = plan.visit(times);
        if visit == Visit::Over {
            return Ok(Visited::Over);
        }
        names.read(&folder, self.filter, path, pulse)?;
        let again = if plan.is_suspect(times, names.hash()) {
            root.to_list(path)?.1
        } else {
            None
        };
        let seen = Seen {
            times,
            began,
            read,
            names: names.hash(),
            fs: folder.kind(),
            again,
        };
        if visit == Visit::Names && plan.has_names(seen.names) {
            return Ok(Visited::Same(seen));
        }
        let (content, helped) = self.look_at_all(folder, path, names, pulse)?;
        let has_ctime = content
            .files
            .iter()
            .any(|(_, look)| shows_ctime(look.ctime, look.stamp.mtime));
        names.shrink();
        Ok(Visited::Looked {
            seen,
            content: Box::new(content),
            has_ctime,
            cost: clock::cpu_of_thread().saturating_sub(cpu) + helped,
        })
    }

    /// Everything that is wanted in `folder`, which lies at `path`, and whose `names` were just read.
    /// Gives the CPU time, too, that other threads have taken for it.
    pub(super) fn look_at_all(
        &self,
        folder: Dir,
        path: &Rel,
        names: &mut Names,
        pulse: &mut Pulse<'_>,
    ) -> io::Result<(Content, Duration)> {
        names.sort();
        let (mut content, helped) = self.look_at(folder, names, pulse)?;
        let stamps = content.files.iter().map(|(_, look)| look.stamp);
        content.timeless = is_timeless(stamps, &self.path.join(name_of(path.as_bytes())));
        Ok((content, helped))
    }

    /// Looks at each of the files and markers. What is gone by now, or no regular file any more, is
    /// left out; what cannot be looked at is noted, for a fault of one file is none of the others.
    /// Gives the CPU time, too, that other threads have taken for it.
    fn look_at(
        &self,
        folder: Dir,
        names: &mut Names,
        pulse: &mut Pulse<'_>,
    ) -> io::Result<(Content, Duration)> {
        let Some(pool) = self.pool.filter(|_| names.count() > CHUNK) else {
            let content = self.content(names, |name| {
                pulse.beat();
                folder.entry(name)
            })?;
            return Ok((content, Duration::ZERO));
        };
        let (looked, entries, cost) = pool.look_at(folder, std::mem::take(names), pulse);
        *names = looked;
        let mut entries = entries.into_iter();
        let content = self.content(names, |_| {
            let missing = || Err(io::Error::other("nobody looked at it"));
            entries.next().unwrap_or_else(missing)
        })?;
        Ok((content, cost))
    }

    /// What `look` shows of each name, in their order.
    fn content(
        &self,
        names: &Names,
        mut look: impl FnMut(&[u8]) -> io::Result<Entry>,
    ) -> io::Result<Content> {
        let owned = |name: &Name| names.bytes(*name).to_vec();
        let mut content = Content {
            folders: names.folders.iter().map(owned).collect(),
            ignored: names.ignored,
            ..Content::default()
        };
        for &name in &names.files {
            let name = names.bytes(name);
            match look(name) {
                Ok(Entry::File(look)) => {
                    content.files.push(name, look);
                }
                Ok(Entry::Absent | Entry::NotAFile) => {}
                Err(err) => note_unseen(&mut content, name, name, err)?,
            }
        }
        if let Some(rule) = self.filter.marker() {
            look_at_markers(&mut content, names, rule, look)?;
        }
        content.unseen.sort_unstable();
        Ok(content)
    }
}

/// Adds the markers to `content`, each under the names of the files that it vouches for.
fn look_at_markers(
    content: &mut Content,
    names: &Names,
    rule: &MarkerRule,
    mut look: impl FnMut(&[u8]) -> io::Result<Entry>,
) -> io::Result<()> {
    let mut markers = BTreeMap::new();
    for &name in &names.markers {
        let name = names.bytes(name);
        let Some(subject) = rule.marked(name) else {
            continue;
        };
        match look(name) {
            Ok(Entry::File(look)) => drop(markers.insert(subject, (look, false))),
            Ok(Entry::Absent | Entry::NotAFile) => {}
            Err(err) => {
                for file in names.files.iter().map(|&file| names.bytes(file)) {
                    if rule.subject(file) == subject {
                        note_unseen(
                            content,
                            file,
                            name,
                            io::Error::new(err.kind(), err.to_string()),
                        )?;
                    }
                }
            }
        }
    }
    if markers.is_empty() {
        return Ok(());
    }
    for &file in &names.files {
        let file = names.bytes(file);
        if let Some((look, has_file)) = markers.get_mut(rule.subject(file)) {
            content.markers.push(file, *look);
            *has_file = true;
        }
    }
    for (subject, (look, has_file)) in markers {
        if !has_file {
            content.markers_alone.push(subject, look);
        }
    }
    Ok(())
}

/// Whether the folder at `place`, whose files have these `stamps`, lies on a file system that keeps no
/// times: see [`partial::is_timeless`]. Not if the folder cannot be looked at.
fn is_timeless(stamps: impl Iterator<Item = Stamp>, place: &Path) -> bool {
    let mut stamps = stamps.peekable();
    // One that has times shows it with its first file, nearly always: then no more is asked.
    if !stamps
        .peek()
        .is_some_and(|stamp| partial::is_marked(stamp.mtime))
    {
        return false;
    }
    let folder = std::fs::metadata(place).and_then(|folder| folder.modified());
    let since = folder.map(|mtime| mtime.duration_since(UNIX_EPOCH));
    match since {
        Ok(Ok(since)) => {
            let nanos = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
            partial::is_timeless(Wall(nanos), stamps)
        }
        // It cannot be looked at, or has an mtime before 1970.
        Ok(Err(_)) | Err(_) => false,
    }
}

/// Notes that nothing is known of `file`, because its entry `name` cannot be looked at.
///
/// # Errors
/// `err` itself, if it says that the folder is not what the server has by that name any more.
fn note_unseen(content: &mut Content, file: &[u8], name: &[u8], err: io::Error) -> io::Result<()> {
    if err.kind() == io::ErrorKind::StaleNetworkFileHandle {
        return Err(err);
    }
    content
        .unseen_why
        .get_or_insert_with(|| (name.to_vec(), explain(&err)));
    content.unseen.push(file.to_vec());
    Ok(())
}
