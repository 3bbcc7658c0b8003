//! Random histories, against a model that knows no economy.

use super::*;

/// What a journal adds up to, told without any economy: one entry a version.
#[derive(Default)]
struct Model(BTreeMap<(Rel, Stamp), Known>);

impl Model {
    fn add(&mut self, path: &Rel, stamp: Stamp, event: &Event) {
        let version = (path.clone(), stamp);
        let begin = |marker: &Option<(u64, i64)>, rests| Known {
            path: path.to_string(),
            stamp,
            rests,
            missing: None,
            marker: marker.map(|(size, mtime)| Stamp {
                size,
                mtime: Wall(mtime),
            }),
            moving: None,
        };
        match event {
            Event::Accepted { marker, keep, .. } => self.begin(version, begin(marker, *keep)),
            Event::Condemned { marker, .. } => self.begin(version, begin(marker, false)),
            Event::Filed | Event::Forgotten => drop(self.0.remove(&version)),
            later => {
                let Some(known) = self.0.get_mut(&version) else {
                    return;
                };
                match later {
                    Event::Moving { to, .. } => known.moving = Some(to.to_string()),
                    Event::Copied => known.rests = true,
                    Event::Missing { since } => known.missing = Some(Wall(*since)),
                    _ => known.missing = None,
                }
            }
        }
    }

    fn begin(&mut self, version: (Rel, Stamp), known: Known) {
        self.0.retain(|(path, _), known| {
            *path != version.0 || known.moving.is_some() && !known.rests
        });
        self.0.insert(version, known);
    }
}

/// Any history of a few versions of a few files, also one that no process writes.
fn history(rng: &mut Rng) -> Vec<Entry> {
    let acceptance = Acceptance {
        key: "k".into(),
        status: 200,
    };
    let reason = Reason::any();
    let paths = [&b"a"[..], b"d/a", b"d/b", b"d/e/a"];
    // What stays is never said to be moving: then `filed` follows, and nothing stays.
    let mut kept: BTreeMap<(Rel, Stamp), bool> = BTreeMap::new();
    let count = 1 + rng.below(300);
    (0..count)
        .map(|number| {
            let path = Rel::new(paths[rng.below(paths.len() as u64) as usize]);
            let stamp = stamp(rng.below(3));
            let marker = (rng.below(4) == 0).then_some(stamp);
            let keeps = kept.entry((path.clone(), stamp)).or_default();
            let event = match rng.below(if *keeps { 7 } else { 9 }) {
                0 | 1 => {
                    *keeps = true;
                    Event::accepted(&acceptance, marker, true)
                }
                2 => {
                    *keeps = false;
                    Event::accepted(&acceptance, marker, false)
                }
                3 => Event::Missing {
                    since: number as i64,
                },
                4 => Event::Back,
                5 if *keeps => Event::Forgotten,
                5 => Event::Filed,
                6 => {
                    *keeps = false;
                    Event::condemned(&reason, marker)
                }
                7 => Event::Moving {
                    to: format!("done/{number}").parse().unwrap(),
                    from: None,
                },
                _ => Event::Copied,
            };
            (path, stamp, event).into()
        })
        .collect()
}

#[test]
fn any_history_adds_up_to_what_it_would_without_economy_also_rewritten_and_read_twice() {
    let mut rewritten_lines = 0;
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let history = history(&mut rng);
        let (mut model, mut lines) = (Model::default(), Vec::new());
        for entry in history {
            model.add(&entry.path, entry.stamp, &entry.event);
            lines.push(entry.line(Wall(0)));
        }
        let wanted: Vec<Known> = model.0.into_values().collect();
        let journal = lines.concat();
        let replay = read(&journal);
        assert_eq!(known(&replay), wanted, "seed {seed}");
        let has = |known: &Known| {
            let path = crate::flow::escape::unescape(&known.path);
            replay.at_rest.has(&Rel::new(&path), known.stamp)
        };
        let at_rest = wanted.iter().filter(|known| has(known)).count();
        assert_eq!(at_rest, replay.at_rest.count(), "seed {seed}");

        // Rewritten, with lines that come later behind it.
        let at = rng.below(lines.len() as u64 + 1) as usize;
        let first = rewritten(&lines[..at].concat(), 1 + rng.below(4));
        rewritten_lines += first.iter().filter(|&&byte| byte == b'\n').count();
        let both = [first, lines[at..].concat()].concat();
        assert_eq!(read(&both), replay, "seed {seed}, rewritten at {at}");
        assert_eq!(read(&rewritten(&both, 2)), replay, "seed {seed}, twice");

        // The last lines stand in two files, because an fsync failed. A version that stays, was on
        // its way there, and is no longer at its place is then known or not: nothing depends on it.
        let twice = [journal, lines[at..].concat()].concat();
        let lasting = |all: Vec<Known>| -> Vec<Known> {
            let is_odd = |known: &Known| known.rests && known.moving.is_some();
            all.into_iter().filter(|known| !is_odd(known)).collect()
        };
        assert_eq!(
            lasting(known(&read(&twice))),
            lasting(wanted),
            "seed {seed}, read twice from {at}"
        );
    }
    assert!(rewritten_lines > 0);
}
