//! What writers do to their files and markers.

use dirpost::flow::file::{Look, Rel, Stamp};
use dirpost::flow::filing::{Area, Place};
use dirpost::flow::time::Wall;

use crate::disk::watched;
use crate::model::Node;
use crate::plan::LIVELY;
use crate::world::{Event, Step, Version, World};

impl World {
    /// The writer does its next step.
    pub fn write(&mut self, writer: usize) {
        if self.writers[writer].steps.is_empty() {
            return;
        }
        let (_, step) = self.writers[writer].steps.remove(0);
        // Nobody can see what comes between the last look and the rename: see the contract.
        if self.filer.batch.is_some() && step == Step::Sneak {
            self.writers[writer].steps.insert(0, (50, step));
            self.at(50, Event::Write(writer));
            return;
        }
        let name = self.writers[writer].name.clone();
        let next = self.next_version + 1;
        self.say(|| format!("writer: {name} {step:?} (version {next})"));
        match step {
            Step::Delete => {
                if let Some(old) = self.model.take(&watched(&name)) {
                    self.withdrawn.insert(old.version);
                }
            }
            Step::Hide => {
                if let Some(node) = self.model.take(&watched(&name)) {
                    self.hidden.insert(name, node);
                }
            }
            Step::Return => {
                if let Some(node) = self.hidden.remove(&name) {
                    if let Some(old) = self.model.get(&watched(&name)) {
                        self.withdrawn.insert(old.version);
                    }
                    self.model.write(&watched(&name), node);
                }
            }
            Step::Mark => self.mark(&name),
            Step::Unmark => {
                if self.model.take(&self.marker_of(&watched(&name))).is_some() {
                    self.meet("marker taken away");
                }
            }
            Step::Finish if !self.features.sees_end => self.finish(writer),
            Step::Sneak => self.sneak(&name),
            Step::Append | Step::Finish | Step::Rewrite | Step::Replace => {
                self.put_content(writer, step);
            }
        }
        if let Some(&(pause, _)) = self.writers[writer].steps.first() {
            self.at(pause as u64, Event::Write(writer));
        }
    }

    fn mark(&mut self, name: &str) {
        self.last_marker += 1;
        let (ino, wall) = (self.model.inode(), self.wall());
        let look = Look {
            stamp: Stamp {
                size: 0,
                mtime: wall,
            },
            ctime: wall,
            dev: 1,
            ino,
            blocks: 0,
            fs: self.fs,
            faded: None,
        };
        let node = Node {
            version: 0,
            marker: self.last_marker,
            look,
            changed: self.time,
            complete: true,
        };
        let at = self.marker_of(&watched(name));
        if self.model.get(&at).is_some() {
            self.meet("marker written again");
        }
        self.model.write(&at, node);
    }

    /// The last bytes were those that it has written already.
    fn finish(&mut self, writer: usize) {
        let (version, name) = (self.writers[writer].version, &self.writers[writer].name);
        // A file that was moved while it was being written is written on through the handle
        // that its writer holds.
        let place = self
            .moved_from_under(writer, Step::Finish)
            .unwrap_or_else(|| watched(name));
        if self.model.get(&place).is_none() && self.model.given_up.contains(&version) {
            // Its writer went on through a handle that it held beyond the filing.
            self.withdrawn.insert(version);
            return;
        }
        let Some(node) = self.model.get_mut(&place) else {
            // It was taken away while it was being written: only a writer that paused for longer
            // than the settle time allows that.
            panic!("{place} vanished while it was being written");
        };
        node.complete = true;
        let version = node.version;
        self.left.insert(version);
    }

    /// Other content, with size and mtime put back.
    fn sneak(&mut self, name: &str) {
        let old = self.model.get(&watched(name));
        let Some(old) = old.filter(|old| old.complete) else {
            return;
        };
        self.meet("content changed with size and mtime put back");
        let version = self.new_version(name);
        self.withdrawn.insert(old.version);
        self.left.insert(version);
        let look = Look {
            ctime: self.wall(),
            ..old.look
        };
        // Size and mtime have stood still for as long as before.
        let node = Node {
            version,
            look,
            ..old
        };
        self.model.write(&watched(name), node);
    }

    fn new_version(&mut self, name: &str) -> Version {
        self.next_version += 1;
        let version = self.next_version;
        self.origins.insert(version, name.into());
        if let Some(finding) = self.wrong.get(name) {
            self.findings.insert(version, *finding);
        }
        version
    }

    fn put_content(&mut self, writer: usize, step: Step) {
        let name = self.writers[writer].name.clone();
        let place = self
            .moved_from_under(writer, step)
            .unwrap_or_else(|| watched(&name));
        let (old, wall) = (self.model.get(&place), self.wall());
        let version = self.new_version(&name);
        if let Some(old) = old {
            self.withdrawn.insert(old.version);
            self.deadlines.remove(&old.version);
        }
        let size = match step {
            Step::Append | Step::Finish => {
                old.map_or(0, |node| node.look.stamp.size) + 1 + self.rng.below(9)
            }
            // Sometimes the very same size.
            _ => old.map_or(5, |node| node.look.stamp.size) + self.rng.below(2),
        };
        let keeps_inode = old.filter(|_| step != Step::Replace);
        let ino = keeps_inode.map_or_else(|| self.model.inode(), |node| node.look.ino);
        // Some tools give a file the mtime it had elsewhere: old, or in the future.
        let mtime = match self.rng.below(6) {
            0 if step == Step::Replace => Wall(1_000_000_000 * (1 + version as i64)),
            1 if step == Step::Replace => Wall(wall.0 + 86_400_000_000_000),
            _ => wall,
        };
        let look = Look {
            stamp: Stamp { size, mtime },
            ctime: wall,
            dev: 1,
            ino,
            blocks: size / 4,
            fs: self.fs,
            faded: None,
        };
        let complete = matches!(step, Step::Replace | Step::Finish);
        if complete {
            self.left.insert(version);
        }
        if self.features.lively && !self.lonely_404.contains(&name) {
            self.deadlines.insert(version, self.time + LIVELY);
        }
        self.writers[writer].version = version;
        let node = Node {
            version,
            marker: 0,
            look,
            changed: self.time,
            complete,
        };
        self.model.write(&place, node);
    }

    /// The ctime of the file moves, and nothing else.
    pub fn chmod(&mut self, writer: usize, times: u32) {
        let wall = self.wall();
        let place = watched(&self.writers[writer].name);
        if let Some(node) = self.model.get_mut(&place) {
            node.look.ctime = wall;
            self.meet("ctime that moves alone");
        }
        if times > 1 {
            let pause = 1 + self.rng.below(1_500);
            self.at(pause, Event::Chmod(writer, times - 1));
        }
    }

    /// Where the file is that this writer has open, if not at its place.
    fn moved_from_under(&self, writer: usize, step: Step) -> Option<Place> {
        if !matches!(step, Step::Append | Step::Finish) {
            return None;
        }
        let version = self.writers[writer].version;
        let is_it = |node: &Node| node.version == version && !node.complete;
        // What lies elsewhere as well is a copy.
        if self
            .find(&Rel::new(self.writers[writer].name.as_bytes()))
            .as_ref()
            .is_some_and(is_it)
        {
            return None;
        }
        [Area::Done, Area::DeadLetter, Area::Staging]
            .into_iter()
            .flat_map(|area| self.model.area(area))
            .find(|(_, node)| is_it(node))
            .map(|(place, _)| place.clone())
    }
}
