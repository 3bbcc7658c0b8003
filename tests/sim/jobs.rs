//! The jobs that the engine hands out: scans, checks, uploads and filing. Each step of each is an
//! event of its own, so that a crash can come between any two.

use std::collections::BTreeSet;
use std::sync::Arc;

use dirpost::config::Action;
use dirpost::flow::endpoint::idempotency_key::key;
use dirpost::flow::endpoint::reply::{Answer, Failure, FailureKind, KeptAnswer, Reply};
use dirpost::flow::endpoint::verdict::Verdict;
use dirpost::flow::file::{Difference, FileNo, Look, Rel};
use dirpost::flow::filing::disk::Line;
use dirpost::flow::filing::keeping::Expired as Outcome;
use dirpost::flow::filing::{Acceptance, Area, Place};
use dirpost::flow::journal::Event as JournalEvent;
use dirpost::flow::marker::MarkerRule;
use dirpost::flow::messages::{
    Closing, Content, Delivered, Delivery, Expired, Input, Inspected, Inspection, Miss,
};

use crate::dead_letters::Retries;
use crate::disk::{MARKER, WorldDisk, digest_of};
use crate::model::Node;
use crate::plan::KEY_SCOPE;
use crate::power::JournalFault;
use crate::world::{Event, Finding, Mood, Version, World};

/// Whether a worker breaks the upload off.
fn is_changed(now: &Look, sent: &Look) -> bool {
    match now.difference(sent) {
        Difference::None | Difference::Suspicion => false,
        Difference::Replaced | Difference::Version => true,
    }
}

impl World {
    // ---- scan -----------------------------------------------------------------------

    /// What a listing of the watched folder shows.
    pub fn content(&self, excluded: &BTreeSet<String>) -> Content {
        let is_wanted = |name: &[u8]| !excluded.contains(&*String::from_utf8_lossy(name));
        let mut content = Content::default();
        for (place, node) in self.model.area(Area::Watched) {
            if !is_wanted(place.path.as_bytes()) {
                continue;
            }
            content.files.push(place.path.as_bytes(), node.look);
        }
        let mut markers: Vec<(Vec<u8>, Look)> = self
            .model
            .markers(Area::Watched)
            .filter_map(|(place, node)| {
                let name = place.path.as_bytes().strip_suffix(MARKER)?;
                (is_wanted(name) && !self.features.groups).then(|| (name.to_vec(), node.look))
            })
            .collect();
        if self.features.groups {
            // A scan names each file that is there, with the marker of its stem.
            let files = content.files.iter().map(|(name, _)| Rel::new(name));
            let places = files.map(|path| Place::new(Area::Watched, path));
            let beside = places.filter_map(|place| {
                let marker = self.model.get(&self.marker_of(&place))?;
                Some((place.path.name().to_vec(), marker.look))
            });
            markers.extend(beside);
            for (place, node) in self.model.markers(Area::Watched) {
                let mut files = content.files.iter();
                let subject = place.path.as_bytes().strip_suffix(MARKER);
                if let Some(subject) = subject
                    && !files.any(|(name, _)| self.is_marker_of(place, &Rel::new(name)))
                {
                    content.markers_alone.push(subject, node.look);
                }
            }
        }
        markers.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        for (file, look) in markers {
            content.markers.push(&file, look);
        }
        content
    }

    /// A look at the lock alone.
    pub fn confirm(&mut self) -> Vec<Input> {
        match self.reopen() {
            Some(answer) => vec![answer],
            None => vec![Input::Confirmed, Input::Scanned(Ok(()))],
        }
    }

    /// The share is opened again, as each scan does first. A share that was away has everything
    /// opened again when it is back.
    pub fn reopen(&mut self) -> Option<Input> {
        if self.faulty && self.rng.below(20) == 0 {
            self.away = true;
            self.meet("share that is away");
            return Some(Input::Scanned(Err("the share is away".into())));
        }
        std::mem::take(&mut self.away).then_some(Input::Closing(Closing::ShareBack))
    }

    // ---- check ----------------------------------------------------------------------

    /// The file is opened to be checked.
    pub fn inspect_start(&mut self, job: Inspection) -> Option<Input> {
        match self.find(&job.path) {
            None => Some(Input::Inspected(job.file, Inspected::Missing(Miss::Gone))),
            Some(node) if job.is_changed(&node.look) => {
                self.meet("file changed before its check");
                Some(Input::Inspected(
                    job.file,
                    Inspected::Changed(Some(node.look)),
                ))
            }
            Some(node) => {
                let delay = 1 + self.rng.below(400);
                self.at(delay, Event::InspectEnd(job, node.version));
                None
            }
        }
    }

    /// All of it was read. What was found in it says something only of what has not changed.
    pub fn inspect_end(&mut self, job: &Inspection, version: Version) -> Input {
        let now = self.find(&job.path);
        let inspected = match now {
            Some(node) if !job.is_changed(&node.look) => {
                let is_unmoved = node.look == job.look;
                self.find_fault(job, node, version)
                    .unwrap_or_else(|| self.pass(version, is_unmoved))
            }
            other => {
                self.meet("file changed while it was checked");
                Inspected::Changed(other.map(|node| node.look))
            }
        };
        self.say(|| format!("check of {} version {version}: {inspected:?}", job.path));
        Input::Inspected(job.file, inspected)
    }

    fn find_fault(&mut self, job: &Inspection, node: Node, version: Version) -> Option<Inspected> {
        if self.features.sees_end && !node.complete {
            self.meet("check: unfinished");
            return Some(Inspected::Unfinished("it has no end".into()));
        }
        let name = job.path.to_string();
        match self.findings.get(&version).copied()? {
            Finding::Bad => {
                self.meet("check: bad");
                Some(Inspected::Bad(format!("{name} is no such thing")))
            }
            Finding::Rejected => {
                self.meet("check: rejected by the command");
                Some(Inspected::CommandRejects(format!("{name} is not wanted")))
            }
            Finding::Undecided(0) => None,
            Finding::Undecided(times) => {
                self.meet("check: undecided");
                let left = Finding::Undecided(times - 1);
                self.findings.insert(version, left);
                Some(Inspected::Undecided("the command was killed".into()))
            }
        }
    }

    fn pass(&mut self, version: Version, is_unmoved: bool) -> Inspected {
        self.meet("check: good");
        self.passed.insert(version);
        let sha256 = (self.features.digests && is_unmoved).then(|| digest_of(version));
        Inspected::Good { sha256 }
    }

    // ---- deliver --------------------------------------------------------------------

    pub fn find(&self, path: &Rel) -> Option<Node> {
        self.model.get(&Place::new(Area::Watched, path.clone()))
    }

    pub fn send_start(&mut self, job: Delivery, settle: i64) -> Option<Input> {
        self.in_flight += 1;
        match self.find(&job.path) {
            None => Some(self.back(job.file, Delivered::Missing(Miss::Gone))),
            Some(node)
                if is_changed(&node.look, &job.look) || self.is_not_as_checked(&job, node) =>
            {
                Some(self.back(job.file, Delivered::Changed(Some(node.look))))
            }
            Some(node) => {
                // A process that comes after one that saw the machine suspended knows nothing of it.
                let slept_unseen =
                    self.suspended_at >= node.changed && self.crashed_at >= self.suspended_at;
                assert!(
                    self.time - node.changed >= settle || slept_unseen,
                    "{} is sent {} ms after its last change",
                    job.path,
                    self.time - node.changed
                );
                assert!(
                    node.complete || slept_unseen,
                    "{} is sent before its writer is done",
                    job.path
                );
                self.attempts.push((self.time, self.mood));
                if self.mood == Mood::Unreachable {
                    let failure = Failure {
                        kind: FailureKind::Connect,
                        detail: "refused".into(),
                    };
                    let failed = (
                        Verdict::Down { reached: false },
                        Reply::Failed(failure),
                        Ok(()),
                    );
                    return Some(self.replied(&job, None, failed));
                }
                let delay = 1 + self.rng.below(300);
                self.at(delay, Event::SendEnd(job, node.version));
                None
            }
        }
    }

    /// To be called when it is handed out: by then the engine has been told, or is being told, of retries.
    pub fn see_that_it_has_its_key(&self, job: &Delivery) {
        let version = (job.path.clone(), job.look.stamp);
        let Retries {
            told, told_before, ..
        } = &self.retries;
        let numbers = [told, told_before].map(|told| told.get(&version).copied().unwrap_or(0));
        let mut keys = numbers
            .iter()
            .map(|&number| key(KEY_SCOPE, &job.path, job.look.stamp, number));
        assert!(
            keys.any(|key| key == job.key),
            "{} is sent under the key of its round: {numbers:?}",
            job.path
        );
    }

    /// Where a check has read it and left no digest, whatever moves makes it another file.
    fn is_not_as_checked(&self, job: &Delivery, node: Node) -> bool {
        self.features.inspects
            && job.sha256.is_none()
            && node.look.difference(&job.look) != Difference::None
    }

    pub fn send_end(&mut self, mut job: Delivery, version: Version) -> Option<Input> {
        match self.find(&job.path) {
            // After a suspicion the bytes are read again before the last of them goes out; and they
            // are those that a check has found.
            Some(node)
                if !is_changed(&node.look, &job.look)
                    && node.version == version
                    && job.sha256.is_none_or(|sha256| sha256 == digest_of(version)) =>
            {
                job.look = node.look;
            }
            other => {
                self.meet("file changed while it was sent");
                return Some(self.back(job.file, Delivered::Changed(other.map(|node| node.look))));
            }
        }
        let name = job.path.to_string();
        let keeps = self.features.keeps_answers;
        let answer = |status| {
            Reply::Answer(Answer {
                status,
                body_matches: true,
                kept: keeps.then(|| {
                    Arc::new(KeptAnswer {
                        body: b"stored".into(),
                        ..KeptAnswer::default()
                    })
                }),
                ..Answer::default()
            })
        };
        let (verdict, reply) = match self.mood {
            Mood::Unreachable | Mood::Resets => {
                let failure = Failure {
                    kind: FailureKind::Broken,
                    detail: "reset".into(),
                };
                (Verdict::Down { reached: true }, Reply::Failed(failure))
            }
            Mood::Busy => (Verdict::Busy, answer(503)),
            Mood::Unauthorized => (Verdict::Refused, answer(401)),
            Mood::RejectsAll => (Verdict::Rejected, answer(400)),
            Mood::Well if self.poison.contains(&name) => (Verdict::Rejected, answer(422)),
            Mood::Well if self.lonely_404.contains(&name) => (Verdict::Refused, answer(404)),
            Mood::Well => (Verdict::Accepted, answer(200)),
        };
        if verdict == Verdict::Accepted {
            self.say(|| format!("accepted {name} version {version}"));
            self.accepted.push((version, job.key.clone()));
            self.accepted_versions.insert(version);
            self.unrecorded
                .insert((job.path.clone(), job.look.stamp), version);
            self.deadlines.remove(&version);
            assert!(
                !self.features.inspects || self.passed.contains(&version),
                "{name} version {version} is accepted and has not passed its check"
            );
            if let Some(marker) = job.marker {
                let vouched = self.vouched.entry((job.path.clone(), marker)).or_default();
                vouched.insert(version);
            }
        }
        let delay = 1 + self.rng.below(400);
        self.at(delay, Event::Answered(job, version, verdict, reply));
        None
    }

    pub fn answered(
        &mut self,
        job: &Delivery,
        version: Version,
        (verdict, reply): (Verdict, Reply),
    ) -> Input {
        let mut journaled = Ok(());
        if verdict == Verdict::Accepted {
            let acceptance = Acceptance {
                key: job.key.clone(),
                status: 200,
            };
            let line = Line {
                path: job.path.clone(),
                stamp: job.look.stamp,
                event: JournalEvent::accepted(&acceptance, job.marker, self.keeps()),
            };
            let version = (job.path.clone(), job.look.stamp);
            if let Err(why) = self.append(&[line]) {
                assert_eq!(
                    self.journal.fault,
                    JournalFault::Broken,
                    "on a full disk there is room for what is in flight"
                );
                self.meet("acceptance that cannot be written down");
                self.journal.unwritten.insert(version);
                journaled = Err(why);
            }
        }
        self.replied(job, Some(version), (verdict, reply, journaled))
    }

    fn replied(
        &mut self,
        job: &Delivery,
        version: Option<Version>,
        (verdict, reply, journaled): (Verdict, Reply, Result<(), String>),
    ) -> Input {
        // Now and then the endpoint is slow.
        let took = if self.time % 64 == 0 { 1_000 } else { 1 };
        let took = std::time::Duration::from_millis(took);
        self.back(
            job.file,
            Delivered::Replied {
                verdict,
                reply,
                took,
                journaled,
                sha256: version.map(digest_of),
                look: job.look,
            },
        )
    }

    fn back(&mut self, file: FileNo, delivered: Delivered) -> Input {
        self.in_flight -= 1;
        self.came_free(&delivered);
        Input::Delivered(file, delivered)
    }

    // ---- file away ------------------------------------------------------------------

    /// Whether the endpoint has this version.
    pub fn was_accepted(&self, version: Version) -> bool {
        self.accepted_versions.contains(&version)
    }

    pub fn keeps(&self) -> bool {
        self.action == Action::Keep
    }

    /// Where the marker of the file at `place` lies.
    pub fn marker_of(&self, place: &Place) -> Place {
        match self.marker() {
            Some(rule) => place.marker(&rule),
            None => place.beside(MARKER),
        }
    }

    /// Whether this marker is that of the file `path`.
    pub fn is_marker_of(&self, marker: &Place, path: &Rel) -> bool {
        let place = Place::new(marker.area, path.clone());
        self.marker_of(&place) == *marker
    }

    /// How its marker is called, if a file needs one.
    pub fn marker(&self) -> Option<MarkerRule> {
        let rule = if self.features.stems {
            MarkerRule::of_stem
        } else {
            MarkerRule::of_name
        };
        let ending = std::str::from_utf8(MARKER).expect("text");
        self.features.marker.then(|| rule(ending))
    }

    /// The filing thread removes what has been in `done` for long enough: between two batches.
    pub fn expire(&mut self) -> Option<Input> {
        let keep_for = self.features.keep_for?;
        if self.filer.batch.is_some() {
            self.at(30, Event::Expire);
            return None;
        }
        let horizon = self.wall() - keep_for;
        let mut expired = Expired::default();
        for kept in std::mem::take(&mut self.kept) {
            let carried = std::mem::take(&mut self.filer.carried);
            let is_promised = |place: &Place| carried.is_promised(place);
            let before = self.model.get(&kept.place);
            let outcome = kept.expire(&mut WorldDisk { world: self }, horizon, is_promised);
            self.filer.carried = carried;
            if let Some(node) = before
                && self.model.get(&kept.place).is_none()
            {
                assert!(kept.at <= horizon, "{} is removed early", kept.place);
                if node.version > 0 {
                    assert!(self.was_accepted(node.version), "{} was filed", kept.place);
                    self.expired.insert(node.version);
                    self.given_up(node.version);
                }
                self.meet("time in done that is over");
            }
            match outcome {
                Ok(Outcome::Removed) => expired.removed += 1,
                Ok(Outcome::Over) => {}
                Ok(Outcome::NotYet) => self.kept.push(kept),
                Err(fault) => {
                    expired.failed = Some(fault.why);
                    self.kept.push(kept);
                }
            }
        }
        Some(Input::Expired(expired))
    }

    fn given_up(&mut self, version: Version) {
        self.model.given_up.insert(version);
    }
}
