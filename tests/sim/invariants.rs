//! What must hold during a run, and at its end.

use std::collections::{BTreeMap, BTreeSet};

use dirpost::config::Action;
use dirpost::flow::file::Rel;
use dirpost::flow::filing::answer::ANSWER;
use dirpost::flow::filing::names::DRAFT;
use dirpost::flow::filing::{Area, Place};

use crate::disk::MARKER;
use crate::model::Node;
use crate::plan::{BRAKE, WORKERS};
use crate::run::Run;
use crate::world::Mood;

impl Run {
    /// All is delivered or condemned but for the file that alone gets 404.
    pub fn is_over(&self) -> bool {
        self.world
            .writers
            .iter()
            .all(|writer| writer.steps.is_empty())
            && self.left_over().is_empty()
            && self.world.in_flight == 0
            && !self.world.filer.is_filing()
            && self.nothing_is_staged()
            && self.engine.in_flight() == 0
            && self.engine.past(self.world.now()).filings.is_empty()
    }

    /// The staging folder is empty, but for what nobody knows of any more: a dead letter whose last fsync
    /// had failed and that was put back and accepted then. The journal tells of its acceptance alone,
    /// and a power cut that undoes the way back brings the name in the staging folder back as well.
    fn nothing_is_staged(&self) -> bool {
        let world = &self.world;
        let lies_elsewhere = |version| {
            let areas = [Area::Watched, Area::Done, Area::DeadLetter].into_iter();
            let mut all = areas.flat_map(|area| world.model.area(area));
            all.any(|(_, node)| node.version == version)
        };
        let mut staged = world.model.area(Area::Staging);
        staged.all(|(_, Node { version, .. })| {
            world.crashes > 0
                && world.retries.versions.contains(&version)
                && world.was_accepted(version)
                && lies_elsewhere(version)
        })
    }

    /// What is not over, beside what lies in the watched folder.
    pub fn under_way(&self) -> String {
        let world = &self.world;
        let steps: usize = world.writers.iter().map(|it| it.steps.len()).sum();
        let staged: Vec<_> = world.model.area(Area::Staging).collect();
        let filings = self.engine.past(world.now()).filings;
        format!(
            "steps of writers: {steps}, in flight: {} and {}, filing: {}, in staging: {staged:?}, \
             to be filed: {filings:?}",
            world.in_flight,
            self.engine.in_flight(),
            world.filer.is_filing()
        )
    }

    /// What a writer completed and did not take back lies somewhere.
    pub fn nothing_is_nowhere(&self) {
        let world = &self.world;
        let areas = [Area::Watched, Area::Done, Area::DeadLetter, Area::Staging];
        let there: BTreeSet<u64> = areas
            .into_iter()
            .flat_map(|area| world.model.area(area))
            .map(|(_, node)| node.version)
            .chain(world.hidden.values().map(|node| node.version))
            .collect();
        for version in &world.left {
            assert!(
                there.contains(version)
                    || world.withdrawn.contains(version)
                    || world.expired.contains(version)
                    || world.action == Action::Delete && world.was_accepted(*version),
                "version {version} is nowhere"
            );
        }
    }

    /// No power cut, whenever it came, would leave a version without a name.
    ///
    /// A run has a few power cuts, and an order of fsyncs that is wrong shows only between two of them: so
    /// it is asked after each step.
    pub fn no_power_cut_would_lose_anything(&self) {
        let world = &self.world;
        if !world.can_crash || world.model.is_on_disk() {
            return;
        }
        let names = world.model.after_power_cut();
        let there: BTreeSet<u64> = names
            .values()
            .map(|ino| world.model.nodes[ino].version)
            .chain(world.hidden.values().map(|node| node.version))
            .chain(world.being_put_back())
            .collect();
        let areas = [Area::Watched, Area::Done, Area::DeadLetter, Area::Staging];
        let now = areas.into_iter().flat_map(|area| world.model.area(area));
        for (place, node) in now.filter(|(_, node)| world.left.contains(&node.version)) {
            assert!(
                there.contains(&node.version)
                    || world.withdrawn.contains(&node.version)
                    || world.expired.contains(&node.version)
                    || world.action == Action::Delete && world.was_accepted(node.version),
                "a power cut would take {place}, version {}, and nothing else is left of it",
                node.version
            );
        }
    }

    /// What lies in the watched folder and should not stay there.
    pub fn left_over(&self) -> Vec<String> {
        let world = &self.world;
        // A power cut can bring the brake back that the last acceptance has released. Then what is
        // rejected waits for another file that is accepted.
        let brake_is_back = world.crashes > 0 && self.engine.work(world.now()).endpoint.brake_holds;
        let may_stay = |name: &String, version: u64| {
            world.lonely_404.contains(name)
                || brake_is_back && world.poison.contains(name)
                || world.markerless.contains(name)
                || world.features.marker
                    && (world.unvouched.contains(&version) || self.marker_went_along(name))
                || world.keeps() && world.was_accepted(version)
        };
        let all = world.model.area(Area::Watched);
        all.map(|(place, node)| (place.path.to_string(), node.version))
            .filter(|(name, version)| !may_stay(name, *version))
            .map(|(name, version)| format!("{name} version {version}"))
            .collect()
    }

    /// Whether a crash came right behind a rename that took a newer marker of the file `name` along than the
    /// one that had been looked at: that stays beside the version before.
    fn marker_went_along(&self, name: &str) -> bool {
        let world = &self.world;
        let Some(file) = world.find(&Rel::new(name.as_bytes())) else {
            return false;
        };
        let filed = [Area::Done, Area::DeadLetter].into_iter();
        let mut markers = filed.flat_map(|area| world.model.markers(area));
        world.crashes > 0
            && !world.features.groups
            && markers.any(|(marker, node)| {
                node.changed >= file.changed
                    && world.is_marker_of(marker, &Rel::new(name.as_bytes()))
            })
    }

    /// While only filing fails, everything is sent in time.
    pub fn nothing_is_late(&self) {
        let world = &self.world;
        for (version, deadline) in &world.deadlines {
            assert!(
                world.time <= *deadline,
                "version {version} has waited for too long"
            );
        }
    }

    pub fn check(&self) {
        let world = &self.world;
        let mut times: BTreeMap<u64, usize> = BTreeMap::new();
        for (version, _) in &world.accepted {
            *times.entry(*version).or_default() += 1;
        }
        let repeats: usize = times.values().map(|count| count - 1).sum();
        assert!(
            repeats <= world.in_flight_at_crashes + world.journal.lost_lines,
            "{repeats} repeats ({:?}), with {} in flight at the crashes and {} acceptances lost from the journal",
            times
                .iter()
                .filter(|(_, count)| **count > 1)
                .collect::<Vec<_>>(),
            world.in_flight_at_crashes,
            world.journal.lost_lines
        );
        let mut excused: BTreeMap<u64, usize> = BTreeMap::new();
        for version in &world.may_repeat {
            *excused.entry(*version).or_default() += 1;
        }
        let unexcused = times.iter().map(|(version, count)| {
            let may = 1 + excused.get(version).copied().unwrap_or(0);
            count.saturating_sub(may)
        });
        assert!(
            unexcused.sum::<usize>() <= world.journal.lost_lines,
            "what was not in flight at a crash was sent again: {times:?}, in flight: {excused:?}, \
             and {} acceptances lost from the journal",
            world.journal.lost_lines
        );
        let mut keys: BTreeMap<u64, BTreeSet<&str>> = BTreeMap::new();
        for (version, key) in &world.accepted {
            keys.entry(*version).or_default().insert(key);
        }
        assert!(
            keys.iter()
                .all(|(version, keys)| keys.len() == 1 || world.retries.versions.contains(version)),
            "a version was accepted under two keys, and nobody has retried it"
        );
        self.markers_vouch_once(repeats);
        self.each_marker_lies_in_one_place();
        for (name, node) in world.model.area(Area::Done) {
            assert!(
                times.contains_key(&node.version),
                "{name} is in done and was never accepted"
            );
        }
        self.each_lies_in_one_place(&times);
        let runs = 1 + world.crashes + world.accepted.len();
        assert!(
            world.unjustly.len() <= BRAKE as usize * runs,
            "{} files were condemned unjustly",
            world.unjustly.len()
        );
        self.attempts_are_bounded();
    }

    /// A marker vouches for one version, and where markers are needed nothing goes without one.
    fn markers_vouch_once(&self, repeats: usize) {
        let world = &self.world;
        let more = world.vouched.values().map(|versions| versions.len() - 1);
        // That a marker which stays for others is used is remembered a while after it was learned.
        let may_be_forgotten = world.features.groups && world.crashes > 0;
        assert!(
            may_be_forgotten
                || more.sum::<usize>() + repeats
                    <= world.in_flight_at_crashes + world.journal.lost_lines,
            "markers that vouched for more than one version: {:?}",
            world.vouched
        );
        for (name, node) in world.model.area(Area::Watched) {
            let (name, version) = (name.path.to_string(), node.version);
            assert!(
                !world.markerless.contains(&name) || !world.was_accepted(version),
                "{name} was sent without a marker"
            );
        }
    }

    /// A marker that was used is filed with its file, and lies nowhere else.
    fn each_marker_lies_in_one_place(&self) {
        let world = &self.world;
        let mut places: BTreeMap<u64, Vec<&Place>> = BTreeMap::new();
        let areas = [Area::Watched, Area::Done, Area::DeadLetter, Area::Staging];
        for (place, node) in areas.into_iter().flat_map(|area| world.model.markers(area)) {
            places.entry(node.marker).or_default().push(place);
            let mut vouched = world.vouched.keys();
            let is_used = vouched.any(|(path, marker)| {
                *marker == node.look.stamp && world.is_marker_of(place, path)
            });
            // Or was: a listing that was under way may have shown another file of the stem that has
            // left since. It vouches for nothing that was sent.
            let is_needed = || {
                let mut files = world.model.area(Area::Watched);
                world.features.groups
                    && (files.any(|(file, _)| world.is_marker_of(place, &file.path))
                        || world.shared_markers.contains(place))
            };
            assert!(
                place.area != Area::Staging,
                "{place} was left over on its way"
            );
            assert!(
                place.area != Area::Watched || world.keeps() || !is_used || is_needed(),
                "{place} was used and lies at its place"
            );
        }
        let dead: BTreeSet<&Rel> = world
            .model
            .area(Area::DeadLetter)
            .map(|(place, _)| &place.path)
            .collect();
        // A file that somebody retries before it is filed to its end leaves the copy of its marker
        // in dead-letter, where nothing comes of it.
        let is_alone = |place: &Place| {
            let mut dead = dead.iter();
            place.area == Area::DeadLetter && !dead.any(|file| world.is_marker_of(place, file))
        };
        // Where a marker of a stem is copied, a try that fails leaves a copy, and the next one may find that
        // another file needs the marker, or has taken it.
        let copies_stay = world.features.stems && world.model.traits.targets_elsewhere;
        let is_target = |place: &Place| matches!(place.area, Area::Done | Area::DeadLetter);
        for (marker, mut places) in places {
            if places.len() > 1 {
                places.retain(|place| !is_alone(place));
            }
            if copies_stay {
                while places.len() > 1
                    && let Some(at) = places.iter().position(|place| is_target(place))
                {
                    places.remove(at);
                }
            }
            assert_eq!(places.len(), 1, "marker {marker} lies in {places:?}");
        }
    }

    /// What was accepted and not taken back lies in one place, once.
    fn each_lies_in_one_place(&self, accepted: &BTreeMap<u64, usize>) {
        let world = &self.world;
        let mut places: BTreeMap<u64, Vec<&Place>> = BTreeMap::new();
        let kept = world.model.area(Area::Watched).filter(|_| world.keeps());
        let filed = [Area::Done, Area::DeadLetter].into_iter();
        let all = filed.flat_map(|area| world.model.area(area)).chain(kept);
        // The removal of a draft may be lost with an fsync that failed, and a power cut brings it
        // back.
        let is_draft = |place: &Place| place.path.name().starts_with(DRAFT.as_bytes());
        for (place, node) in all.filter(|(place, _)| !(world.model.lost_syncs && is_draft(place))) {
            places.entry(node.version).or_default().push(place);
        }
        for (version, names) in &places {
            // What goes while it is condemned, and comes back, is a new drop.
            assert!(
                names.len() == 1 || world.keeps(),
                "version {version} lies in {names:?}"
            );
        }
        for version in accepted
            .keys()
            .filter(|version| !world.withdrawn.contains(version))
            .filter(|version| !world.expired.contains(version))
        {
            // Its acceptance is lost with the journal's end, and so is the way back of its marker.
            let waits = || {
                let mut watched = world.model.area(Area::Watched);
                world.features.marker
                    && (world.journal.lost_lines > 0 || world.retries.versions.contains(version))
                    && world.unvouched.contains(version)
                    && watched.any(|(_, node)| node.version == *version)
            };
            assert!(
                places.contains_key(version) || world.action == Action::Delete || waits(),
                "version {version} was accepted and lies nowhere"
            );
        }
        self.nothing_is_left_over();
        self.each_has_its_answer();
    }

    /// No draft, no reservation and no reason without its file.
    fn nothing_is_left_over(&self) {
        let model = &self.world.model;
        for (place, ino) in &model.names {
            let node = model.nodes[ino];
            if node.version > 0 || node.marker > 0 {
                continue;
            }
            // An empty file that reserved the name of a marker is as good as an empty marker.
            if place.path.as_bytes().ends_with(MARKER) && node.look.stamp.size == 0 {
                continue;
            }
            let name = String::from_utf8_lossy(place.path.as_bytes()).into_owned();
            if let Some(key) = self.world.answers.get(place) {
                let file = name.strip_suffix(".answer.json").unwrap_or_default();
                let file = Place::new(place.area, Rel::new(file.as_bytes()));
                self.is_answer_to(key, &file);
                continue;
            }
            let file = name
                .strip_suffix(".reason.json")
                .map(|file| Rel::new(file.as_bytes()));
            let file = file.map(|file| Place::new(place.area, file));
            assert!(
                file.is_some_and(|file| {
                    model.names.contains_key(&file)
                        || self.world.retries.lone_reasons.contains(&file)
                }),
                "{place} is left over"
            );
        }
    }

    /// The answer with this key lies beside `file`. (The next process does not know of an answer: it may
    /// be left at a name to which its file does not go any more.)
    fn is_answer_to(&self, key: &str, file: &Place) {
        let model = &self.world.model;
        // Who opens everything again while it is filed knows nothing of its answer, which stays when
        // the time of its file is over.
        let is_over = self.world.features.keep_for.is_some() && !model.names.contains_key(file);
        if self.world.crashes > 0 || is_over {
            return;
        }
        let version = model.names.get(file).map(|ino| model.nodes[ino].version);
        let mut accepted = self.world.accepted.iter();
        assert!(
            accepted.any(|(number, sent)| Some(*number) == version && sent == key),
            "the answer to {key} lies beside {file}, which is {version:?}"
        );
    }

    /// What was moved to `done` has its answer beside it, where nothing crashed.
    pub fn each_has_its_answer(&self) {
        let world = &self.world;
        if !world.features.keeps_answers || world.action != Action::Move || world.crashes > 0 {
            return;
        }
        for (place, node) in world.model.area(Area::Done) {
            if node.version > 0 {
                let answer = place.beside(ANSWER);
                // One of the two may have been removed, and the other could not be yet.
                let is_over = world.kept.iter().any(|kept| kept.place == *place);
                assert!(
                    world.model.names.contains_key(&answer) || is_over,
                    "{place} has no answer beside it"
                );
            }
        }
    }

    /// While nothing can be reached there is one attempt a step, not one a file.
    fn attempts_are_bounded(&self) {
        let mut run: Vec<i64> = Vec::new();
        for &(at, mood) in self.world.attempts.iter().chain([&(i64::MAX, Mood::Well)]) {
            if mood == Mood::Unreachable {
                run.push(at);
                continue;
            }
            if let (Some(first), Some(last)) = (run.first(), run.last()) {
                // A crash begins the backoff anew.
                let starts = 1 + self.world.crashes;
                let bound = starts * (WORKERS + 12) + (last - first) as usize / 1_000;
                assert!(
                    run.len() <= bound,
                    "{} attempts in an outage of {} ms",
                    run.len(),
                    last - first
                );
            }
            run.clear();
        }
    }
}
