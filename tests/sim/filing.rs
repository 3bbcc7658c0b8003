//! FILE AWAY, as `shell::place` does it: one event for each step.

use std::collections::BTreeMap;

use dirpost::flow::file::Look;
use dirpost::flow::journal::Moving;
use dirpost::flow::journal::{Event as JournalEvent, Record};
use dirpost::flow::messages::{Destination, Filed, Filing, Input};

use crate::world::{Event, Move, Moved, Node, Target, World};

impl World {
    pub fn file_start(&mut self, job: Filing) {
        if let Destination::DeadLetter(reason) = &job.to {
            if reason.status == Some(400) && job.resumed.is_none() {
                self.unjustly.insert((job.path.to_string(), job.look.stamp));
            }
            if job.resumed.is_none() {
                self.write_down(&job.path, job.look.stamp, Record::condemned(reason, None));
            }
        }
        match job.resumed.clone() {
            Some(moving) if moving.from.is_some() => self.resume_copy(job, moving),
            Some(moving) if self.area(&moving.to).contains_key(&moving.to) => {
                self.soon(50, Event::FileLook(job, moving.to));
            }
            _ => self.plan(job),
        }
    }

    fn plan(&mut self, job: Filing) {
        let to = match self.target {
            Target::Same => self.free(&job),
            Target::Other => format!("staging/{}", self.rng.draw()),
            Target::OtherFromPlace => {
                return self.plan_copy(job.clone(), format!("watched/{}", job.path));
            }
        };
        self.write_moving(
            &job,
            &Moving {
                to: to.clone(),
                from: None,
            },
        );
        self.soon(50, Event::FileRename(job, to));
    }

    /// After a crash: how far the copy had come.
    fn resume_copy(&mut self, job: Filing, moving: Moving) {
        let from = moving.from.clone().expect("a copy is made of something");
        self.drafts.remove(&from);
        let there = self.area(&moving.to).get(&moving.to).copied();
        let left = self.area(&from).get(place(&from)).copied();
        match (there, left) {
            (None, None) => self.plan(job),
            (None, Some(_)) => self.soon(50, Event::FileCopy(job, moving)),
            (Some(there), Some(_)) if there.look.stamp != job.look.stamp => {
                self.plan_copy(job, from)
            }
            (Some(_), _) => self.soon(50, Event::FileRemove(job, moving)),
        }
    }

    fn plan_copy(&mut self, job: Filing, from: String) {
        let moving = Moving {
            to: self.free(&job),
            from: Some(from),
        };
        self.write_moving(&job, &moving);
        self.soon(50, Event::FileCopy(job, moving));
    }

    fn free(&mut self, job: &Filing) -> String {
        let dead = matches!(job.to, Destination::DeadLetter(_));
        let mut to = format!("{}/{}", if dead { "dead" } else { "done" }, job.path);
        while self.area(&to).contains_key(&to) {
            to.push('+');
        }
        to
    }

    /// It is on the disk before anything is moved.
    fn write_moving(&mut self, job: &Filing, moving: &Moving) {
        self.write_down(&job.path, job.look.stamp, Record::moving(moving));
        self.sync_journal();
    }

    /// The folder that `entry` of the journal is in.
    pub fn area(&mut self, entry: &str) -> &mut BTreeMap<String, Node> {
        match entry.split('/').next() {
            Some("dead") => &mut self.dead,
            Some("staging") => &mut self.staging,
            Some("watched") => &mut self.watched,
            _ => &mut self.done,
        }
    }

    pub fn file_rename(&mut self, job: Filing, to: String) {
        if self.faulty && self.rng.below(15) == 0 {
            return self.file_failed(job, "the disk is full", None);
        }
        match self.watched.remove(&job.path.to_string()) {
            None => self.soon(20, Event::FileDone(job, Filed::Gone)),
            Some(mut node) => {
                node.look.ctime = self.wall();
                let old = self.area(&to).insert(to.clone(), node);
                assert!(old.is_none(), "{to} was replaced");
                self.moves.push(Move {
                    from: format!("watched/{}", job.path),
                    to: Moved::To(to.clone()),
                });
                self.soon(50, Event::FileLook(job, to));
            }
        }
    }

    fn file_failed(&mut self, job: Filing, why: &str, moved: Option<Moving>) {
        let filed = Filed::Failed {
            why: why.into(),
            moved,
        };
        self.soon(20, Event::FileDone(job, filed));
    }

    pub fn file_look(&mut self, job: Filing, to: String) {
        if self.faulty && self.rng.below(15) == 0 {
            return self.file_failed(job, "EIO", Some(Moving { to, from: None }));
        }
        let node = self.area(&to)[&to];
        if !is_what_was_sent(&node, &job.look) {
            let filed = self.put_back(&job, &to);
            self.soon(20, Event::FileDone(job, filed));
        } else if to.starts_with("staging/") {
            self.moves.clear();
            self.plan_copy(job, to);
        } else {
            self.soon(20, Event::FileDone(job, Filed::Away { to: Some(to) }));
        }
    }

    /// What lies at `entry` is a new version.
    fn put_back(&mut self, job: &Filing, entry: &str) -> Filed {
        if let Some(in_place) = entry.strip_prefix("watched/") {
            return Filed::PutBack(self.watched[in_place].look);
        }
        let mut node = self.area(entry).remove(entry).unwrap();
        if self.watched.contains_key(&job.path.to_string()) {
            let place = format!("dead/{}~{}", job.path, node.version);
            self.dead.insert(place.clone(), node);
            return Filed::Displaced { to: place };
        }
        node.look.ctime = self.wall();
        self.watched.insert(job.path.to_string(), node);
        self.moves.clear();
        Filed::PutBack(node.look)
    }

    // ---- across file systems --------------------------------------------------------

    pub fn file_copy(&mut self, job: Filing, moving: Moving) {
        if self.faulty && self.rng.below(15) == 0 {
            return self.file_failed(job, "the disk is full", Some(moving));
        }
        let from = moving.from.clone().expect("a copy is made of something");
        let Some(node) = self.area(&from).get(place(&from)).copied() else {
            return self.file_failed(job, "it is not there", Some(moving));
        };
        if !is_what_was_sent(&node, &job.look) {
            let filed = self.put_back(&job, &from);
            return self.soon(20, Event::FileDone(job, filed));
        }
        self.copies += 1;
        let look = Look {
            ctime: self.wall(),
            ino: 9_000_000 + self.copies,
            dev: 2,
            ..node.look
        };
        self.drafts.insert(from, Node { look, ..node });
        // A large file takes its time.
        self.soon(2_000, Event::FileName(job, moving));
    }

    pub fn file_name(&mut self, job: Filing, moving: Moving) {
        let from = moving.from.as_ref().expect("a copy is made of something");
        let draft = self.drafts.remove(from).expect("it was just made");
        if self.faulty && self.rng.below(15) == 0 {
            return self.file_failed(job, "EIO", Some(moving));
        }
        let old = self.area(&moving.to).insert(moving.to.clone(), draft);
        assert!(old.is_none(), "{} was replaced", moving.to);
        self.soon(500, Event::FileRemove(job, moving));
    }

    pub fn file_remove(&mut self, job: Filing, moving: Moving) {
        if self.faulty && self.rng.below(15) == 0 {
            return self.file_failed(job, "EIO", Some(moving));
        }
        let from = moving.from.as_ref().expect("a copy is made of something");
        let filed = match self.area(from).get(place(from)).copied() {
            Some(node) if !is_what_was_sent(&node, &job.look) => self.put_back(&job, from),
            _ => {
                if let Some(node) = self.area(from).remove(place(from)) {
                    self.moves.push(Move {
                        from: from.clone(),
                        to: Moved::Gone(node),
                    });
                }
                Filed::Away {
                    to: Some(moving.to),
                }
            }
        };
        self.soon(20, Event::FileDone(job, filed));
    }

    pub fn file_done(&mut self, job: &Filing, filed: Filed) -> Input {
        if !matches!(filed, Filed::Failed { .. }) {
            self.moves.clear();
            self.write_down(&job.path, job.look.stamp, JournalEvent::Filed);
        }
        self.say(|| format!("filed {}: {filed:?}", job.path));
        Input::Filed(job.file, filed)
    }
}

/// The name in its area.
pub fn place(entry: &str) -> &str {
    entry.strip_prefix("watched/").unwrap_or(entry)
}

/// After a restart the inode is not known.
fn is_what_was_sent(node: &Node, sent: &Look) -> bool {
    if sent.ino == 0 {
        node.look.stamp == sent.stamp
    } else {
        node.look.same_but_moved(sent)
    }
}
