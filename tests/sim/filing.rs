//! The filing thread, and those that help it: each operation is an event of its own, so that a crash
//! can come between any two. Where several threads file, those that are under way at a time are done in
//! any order.

use dirpost::flow::filing::disk::Operation;
use dirpost::flow::filing::{
    Area, Batch, Carried, Fate, Filed, Filing, Order, Outcome, Place, Progress, Rules,
};
use dirpost::flow::messages::Input;
use dirpost::flow::rng::Rng;

use crate::disk::WorldDisk;
use crate::world::{Event, World};

/// What the filing thread, and those that help it, are at.
pub struct Filer {
    /// What it has been asked for.
    orders: Vec<Filing>,
    pub batch: Option<Batch>,
    /// How many threads file.
    threads: usize,
    /// Draws which of them is the next to be done with what it is at.
    next: Rng,
    /// What they are at.
    under_way: Vec<Order>,
    pub carried: Carried,
}

impl Filer {
    /// Its number of threads and their turns are drawn apart, so that all else is as it was.
    pub fn new(seed: u64) -> Filer {
        Filer {
            orders: Vec::new(),
            batch: None,
            threads: [1, 1, 3, 8][(seed / 3 % 4) as usize],
            next: Rng::new(seed.rotate_left(32)),
            under_way: Vec::new(),
            carried: Carried::default(),
        }
    }

    pub fn is_filing(&self) -> bool {
        self.batch.is_some() || !self.orders.is_empty()
    }

    /// A crash ends all that is under way.
    pub fn kill(&mut self) {
        self.orders.clear();
        self.batch = None;
        self.under_way.clear();
    }

    /// How long the first file waits for others at most (ms): where several threads file, so long that
    /// they often have something to do.
    fn gathers(&self) -> u64 {
        if self.threads > 1 { 2_000 } else { 30 }
    }
}

impl World {
    /// The filing thread is asked for this.
    pub fn file_start(&mut self, job: Filing) {
        if let Fate::Condemned(reason) = &job.fate
            && reason.status == Some(400)
            && job.progress == Progress::Unwritten
        {
            self.unjustly.insert((job.path.to_string(), job.look.stamp));
        }
        if self.features.groups && job.progress != Progress::Unwritten {
            self.meet(match job.marker {
                Some(_) => "marker filed with the last of its files",
                None => "marker that stays for another file",
            });
            if job.marker.is_none() {
                let place = Place::new(Area::Watched, job.path.clone());
                self.shared_markers.insert(self.marker_of(&place));
            }
        }
        if !self.filer.is_filing() {
            self.soon(self.filer.gathers(), Event::File);
        }
        self.filer.orders.push(job);
    }

    /// One operation of the filing thread. Gives what came of a batch when it is through.
    pub fn file_step(&mut self) -> Vec<Input> {
        let mut batch = match self.filer.batch.take() {
            Some(batch) => batch,
            None if self.filer.orders.is_empty() => return Vec::new(),
            None => {
                let rules = Rules {
                    action: self.action,
                    marker: self.marker(),
                    read_only: false,
                    notes_kept: self.features.keep_for.is_some(),
                };
                let now = self.wall();
                let orders = std::mem::take(&mut self.filer.orders);
                let carried = std::mem::take(&mut self.filer.carried);
                match self.filer.threads {
                    1 => Batch::new(orders, &rules, carried, now),
                    _ => Batch::side_by_side(orders, &rules, carried, now),
                }
            }
        };
        if self.turn(&mut batch) {
            self.filer.batch = Some(batch);
            self.come_between();
            // A large file takes its time now and then.
            let most = if self.rng.below(20) == 0 { 2_000 } else { 20 };
            self.soon(most, Event::File);
            return Vec::new();
        }
        if !self.filer.orders.is_empty() {
            self.soon(self.filer.gathers(), Event::File);
        }
        let Outcome { filed, carried, .. } = batch.outcome();
        self.filer.carried = carried;
        for (file, filed) in &filed {
            self.say(|| format!("filed {file:?}: {filed:?}"));
            match filed {
                Filed::NewVersion(_) => self.meet("new version at the place of what is filed"),
                Filed::Displaced { .. } => self.meet("new version whose place was taken"),
                Filed::Gone => self.meet("file taken away before it was filed"),
                Filed::Failed { .. } => self.meet("filing that failed"),
                Filed::Away { .. } | Filed::Copied { .. } => {}
            }
        }
        let mut inputs: Vec<Input> = self.tell_owed().into_iter().collect();
        let filed = filed.into_iter();
        inputs.extend(filed.map(|(file, filed)| Input::Filed(file, filed)));
        inputs
    }

    /// Has the next operation of a batch carried out, or, where several threads file, any of those that
    /// are under way. False when all is done.
    fn turn(&mut self, batch: &mut Batch) -> bool {
        if self.filer.threads > 1 {
            while self.filer.under_way.len() < self.filer.threads
                && let Some(order) = batch.hand_out()
            {
                let interferes = |other: &Order| other.operation.interferes(&order.operation);
                assert!(
                    !self.filer.under_way.iter().any(interferes),
                    "{:?} is begun while an operation on one of its names is under way",
                    order.operation
                );
                self.filer.under_way.push(order);
            }
        }
        if self.filer.under_way.is_empty() {
            return batch.step(&mut WorldDisk { world: self });
        }
        if self.filer.under_way.len() > 1 {
            self.meet("operations of several files at a time");
        }
        let at = self.filer.next.below(self.filer.under_way.len() as u64) as usize;
        if at > 0 {
            self.meet("operation that is done before one that began earlier");
        }
        let Order { number, operation } = self.filer.under_way.remove(at);
        if matches!(operation, Operation::SyncFolder(..)) && !self.filer.under_way.is_empty() {
            self.meet("folders brought onto the disk at a time");
        }
        let answer = operation.carry_out(&mut WorldDisk { world: self });
        batch.hand_back(number, answer);
        true
    }

    /// Now and then a crash, or the next step of a writer, comes right behind an operation of
    /// filing: between the look at a file and the rename, or between what is written down and what
    /// is on the disk.
    fn come_between(&mut self) {
        if self.ambushes > 0 && self.rng.below(30) == 0 {
            self.ambushes -= 1;
            self.at(0, Event::Crash);
        }
        // The last writer is that of the good file at the end, which is to come when the faults are
        // over.
        let others = &self.writers[..self.writers.len() - 1];
        let looked_at = &self.model.looked_at;
        let hurried = others.iter().position(|writer| writer.name == *looked_at);
        if let Some(hurried) = hurried
            && self.model.last_was_look
            && self.faulty
            && self.rng.below(8) == 0
        {
            self.meet("writer between a look and what follows it");
            self.at(0, Event::Write(hurried));
        }
    }
}
