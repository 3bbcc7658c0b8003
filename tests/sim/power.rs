//! The journal, the disk that it lies on, and the power switch.

use std::collections::BTreeSet;

use dirpost::flow::file::{Rel, Stamp};
use dirpost::flow::filing::Area;
use dirpost::flow::filing::disk::Line;
use dirpost::flow::journal::rewrite::rewritten;
use dirpost::flow::journal::{Event as JournalEvent, Replay};
use dirpost::flow::messages::Input;
use dirpost::flow::rng::Rng;

use crate::model::Model;
use crate::world::{Event, World};

/// What stands in the way of the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JournalFault {
    #[default]
    None,
    /// Its disk is full: what is set aside can still be written.
    Full,
    /// Nothing can be written, and nothing is brought onto the disk.
    Broken,
}

/// The journal, and what was to be written to it.
#[derive(Default)]
pub struct Journal {
    pub bytes: Vec<u8>,
    /// So many of them are on the disk.
    synced: usize,
    /// Lines that could not be written yet.
    owed: Vec<Line>,
    pub fault: JournalFault,
    /// What is left of the room that was set aside, once it had to be given up.
    reserve_left: Option<usize>,
    /// The engine knows that.
    told_low: bool,
    /// How often something was written.
    pub appends: u64,
    /// Accepted, and not in the journal: it could not be written.
    pub unwritten: BTreeSet<(Rel, Stamp)>,
    /// Accepted, and lost by a power cut.
    pub lost_lines: usize,
    /// At the first crash it is cut after so many bytes of what is not on the disk.
    pub cut: Option<usize>,
    /// So many bytes were not on the disk at the first crash.
    pub tail: Option<usize>,
}

/// Bytes that are set aside for a full disk: the lines of all that may be in flight.
const RESERVE: usize = 16 * 1024;

impl World {
    /// What stands in the way of the journal from now on.
    pub fn set_journal_fault(&mut self, fault: JournalFault) {
        self.say(|| format!("journal: {fault:?}"));
        self.journal.fault = fault;
    }

    /// Writes these lines, and before them what is owed: all or none.
    pub fn append(&mut self, lines: &[Line]) -> Result<(), String> {
        self.write_in_order(lines, true)
    }

    /// Writes lines that must not be dropped. They do not go into what is set aside.
    pub fn append_or_owe(&mut self, lines: &[Line]) -> Result<(), String> {
        self.write_in_order(lines, false).inspect_err(|_| {
            self.journal.owed.extend_from_slice(lines);
            self.meet("line that is owed");
        })
    }

    fn write_in_order(&mut self, lines: &[Line], may_use_reserve: bool) -> Result<(), String> {
        let wall = self.wall();
        let all = self.journal.owed.iter().chain(lines);
        let bytes: Vec<u8> = all.flat_map(|line| line.line(wall)).collect();
        self.take_room(bytes.len(), may_use_reserve)?;
        self.journal.owed.clear();
        self.journal.bytes.extend(bytes);
        self.journal.appends += 1;
        for line in lines {
            if matches!(line.event, JournalEvent::Accepted { .. }) {
                let version = (line.path.clone(), line.stamp);
                self.journal.unwritten.remove(&version);
                self.unrecorded.remove(&version);
            }
        }
        if !self
            .events
            .values()
            .any(|event| matches!(event, Event::Sync))
        {
            self.at(500, Event::Sync);
        }
        Ok(())
    }

    fn take_room(&mut self, bytes: usize, may_use_reserve: bool) -> Result<(), String> {
        match self.journal.fault {
            JournalFault::None => return Ok(()),
            JournalFault::Broken => {
                self.meet("journal that cannot be written");
                return Err("EIO".into());
            }
            JournalFault::Full => {}
        }
        if self.journal.reserve_left.is_none() && may_use_reserve {
            self.meet("journal's reserve used");
            self.journal.reserve_left = Some(RESERVE);
            self.soon(600, Event::Room);
        }
        match &mut self.journal.reserve_left {
            Some(left) if *left >= bytes => *left -= bytes,
            _ => return Err("the disk is full".into()),
        }
        Ok(())
    }

    /// While lines are owed no others can be written, and the engine knows that before it hears
    /// what the batch has come to.
    pub fn tell_owed(&mut self) -> Option<Input> {
        if self.journal.owed.is_empty() || std::mem::replace(&mut self.journal.told_low, true) {
            return None;
        }
        self.at(500, Event::Room);
        Some(Input::Room(Err("lines are owed".into())))
    }

    /// Tries to set the room aside again; gives what the engine is told of it.
    pub fn restore_reserve(&mut self) -> Option<Input> {
        if self.journal.reserve_left.is_none() && !self.journal.told_low {
            return None;
        }
        let is_there = self.journal.fault == JournalFault::None;
        if !is_there || self.write_in_order(&[], false).is_err() {
            self.at(500, Event::Room);
            let is_news = !std::mem::replace(&mut self.journal.told_low, true);
            return is_news.then(|| Input::Room(Err("the disk is full".into())));
        }
        self.journal.reserve_left = None;
        self.journal.told_low = false;
        Some(Input::Room(Ok(())))
    }

    /// Lines of the engine about versions that the journal knows: what cannot be written of them
    /// the next process finds out by itself.
    pub fn write_lines(&mut self, lines: Vec<Line>) {
        let _ = self.append(&lines);
    }

    /// The journal is brought onto the disk, and then what is owed is written.
    pub fn sync_journal(&mut self) -> Result<(), String> {
        if self.journal.fault == JournalFault::Broken {
            self.meet("fsync of the journal that fails");
            return Err("EIO".into());
        }
        // Of its own, so that what else happens in a seed does not depend on it.
        let mut rng = Rng::new(self.journal.bytes.len() as u64);
        if rng.below(4) == 0 {
            self.meet("journal rewritten");
            self.rewrite_journal(&mut rng);
        }
        self.journal.synced = self.journal.bytes.len();
        if !self.journal.owed.is_empty() {
            self.write_in_order(&[], false)?;
        }
        Ok(())
    }

    /// As it is rewritten in the background: the lines up to some moment to what is still of interest
    /// by then, in some readings, and those that came since as they are. All of it is on the disk
    /// before the old files are removed, which no power cut brings back to life.
    fn rewrite_journal(&mut self, rng: &mut Rng) {
        let ends = self.journal.bytes.iter().enumerate();
        let ends = ends
            .filter(|(_, byte)| **byte == b'\n')
            .map(|(at, _)| at + 1);
        let ends: Vec<usize> = ends.collect();
        let Some(last) = ends.len().checked_sub(1) else {
            return;
        };
        let end = ends[rng.below(last as u64 + 1) as usize];
        let since = self.journal.bytes.split_off(end);
        self.journal.bytes = rewritten(&self.journal.bytes, 1 + rng.below(3));
        self.journal.bytes.extend(since);
    }

    // ---- the power switch -----------------------------------------------------------

    /// All that was under way is gone; the journal may have lost its torn end. A power cut takes
    /// what was not on the disk, too.
    pub fn crash(&mut self) -> Replay {
        self.crashes += 1;
        self.crashed_at = self.time;
        // What was accepted and could not be written down is in flight until it is.
        self.in_flight_at_crashes += self.in_flight + self.journal.unwritten.len();
        self.journal.unwritten.clear();
        let unrecorded = std::mem::take(&mut self.unrecorded);
        self.may_repeat.extend(unrecorded.into_values());
        self.in_flight = 0;
        self.workers.kill();
        self.filer.kill();
        self.away = false;
        self.events.retain(|_, event| {
            matches!(
                event,
                Event::Write(_)
                    | Event::Chmod(..)
                    | Event::Mood(_)
                    | Event::Unstuck
                    | Event::Suspend
                    | Event::Reload(_)
                    | Event::Journal(_)
                    | Event::Retry
                    | Event::PutBack(..)
                    | Event::SyncPutBack(..)
                    | Event::Crash
            )
        });
        let is_first = self.journal.tail.is_none();
        self.journal
            .tail
            .get_or_insert(self.journal.bytes.len() - self.journal.synced);
        let cut = self.journal.cut.filter(|_| is_first);
        if self.rng.below(2) == 0 || cut.is_some() {
            self.meet("power cut");
            self.say(|| "power cut".into());
            self.kill_retries();
            self.cut_power(cut);
        } else {
            self.meet("kill");
            self.say(|| "crash".into());
        }
        let torn = self.rng.below(30) as usize;
        self.journal.bytes.extend_from_slice(
            &b"{\"v\":1,\"at\":\"2026-01-01T00:00:00Z\",\"path\":\"x"[..torn.min(40)],
        );
        self.reread_journal()
    }

    /// As everything is opened again, so is what files away.
    pub fn renew_filer(&mut self) {
        assert!(!self.filer.is_filing());
        // A share that is mounted again may give all its files other numbers.
        if self.rng.below(2) == 0 {
            self.meet("inodes with other numbers");
            self.model.renumber(1_000_000);
        }
    }

    /// As whoever opens the journal does: a new file with what is live, all of it on the disk. As
    /// long as there is no room for that, nothing begins.
    pub fn reread_journal(&mut self) -> Replay {
        self.journal.fault = JournalFault::None;
        (self.journal.reserve_left, self.journal.told_low) = (None, false);
        self.journal.owed.clear();
        self.retries.are_told = false;
        let mut replay = Replay::default();
        replay.add(&self.journal.bytes);
        // What follows the last whole line of a file is never read: from now on lines are written to
        // a file of its own.
        let last = self.journal.bytes.iter().rposition(|&byte| byte == b'\n');
        self.journal.bytes.truncate(last.map_or(0, |last| last + 1));
        self.journal.synced = self.journal.bytes.len();
        replay
    }

    /// Any part of what was not synced may be there all the same, but in order.
    fn cut_power(&mut self, cut: Option<usize>) {
        let drawn = self
            .rng
            .below((self.journal.bytes.len() - self.journal.synced) as u64 + 1)
            as usize;
        let kept = self.journal.synced + cut.unwrap_or(drawn);
        let lost = String::from_utf8(self.journal.bytes.split_off(kept)).expect("text");
        let whole = self
            .journal
            .bytes
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        let half = String::from_utf8(self.journal.bytes[whole..].to_vec()).expect("text");
        self.journal.lost_lines += format!("{half}{lost}")
            .lines()
            .filter(|line| line.contains("\"event\":\"accepted\"") || line.contains("\"kept\":"))
            .count();
        if !self.kept.is_empty() {
            // What was written down of `done` is not brought onto the disk.
            let left = self.rng.below(self.kept.len() as u64 + 1);
            self.kept.truncate(left as usize);
        }
        let dead = |model: &Model| {
            let files = model.area(Area::DeadLetter);
            files
                .map(|(place, _)| place.clone())
                .collect::<BTreeSet<_>>()
        };
        let before = dead(&self.model);
        let World { model, rng, .. } = self;
        Model::cut_power(model, rng);
        if self.retries.in_doubt {
            let lost = &before - &dead(&self.model);
            self.retries.lone_reasons.extend(lost);
        }
    }
}
