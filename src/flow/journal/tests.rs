mod histories;

use super::rewrite::rewritten;
use super::*;
use crate::flow::file::{Rel, Stamp};
use crate::flow::filing::{Acceptance, Move, Reason};
use crate::flow::rng::Rng;
use std::collections::BTreeMap;

fn stamp(size: u64) -> Stamp {
    Stamp {
        size,
        mtime: Wall(1_700_000_000_123_456_789),
    }
}

fn journal() -> Vec<u8> {
    let at = Wall(1_700_000_001_000_000_000);
    let accepted = Acceptance {
        key: "k1".into(),
        status: 201,
    };
    let marker = Some(stamp(0));
    let reason = Reason {
        reason: "it is not JSON".into(),
        status: Some(422),
        body: b"no\xff\n".to_vec(),
        attempts: 2,
        first_seen: at,
        dead_at: at,
        key: "k2".into(),
    };
    let moving = |to: &str, from: Option<&str>| Event::Moving {
        to: to.parse().unwrap(),
        from: from.map(|from| from.parse().unwrap()),
    };
    let odd = Rel::new(b"d/odd\n\xff%.csv");
    let mut lines = Vec::new();
    let mut line = |path: &Rel, event| lines.extend(Record::line(path, stamp(5), at, event));
    line(
        &Rel::new(b"a.csv"),
        Event::accepted(&accepted, marker, false),
    );
    line(&odd, Event::accepted(&accepted, marker, true));
    line(
        &Rel::new(b"bad.json"),
        Event::condemned(&reason, Some(stamp(0))),
    );
    line(
        &Rel::new(b"bad.json"),
        moving("dead-letter/bad.json", Some("staging/d")),
    );
    line(&Rel::new(b"a.csv"), moving("done/a.csv", None));
    line(&Rel::new(b"a.csv"), Event::Filed);
    line(&odd, Event::Missing { since: 77 });
    line(&Rel::new(b"copied.json"), Event::condemned(&reason, None));
    line(&Rel::new(b"copied.json"), Event::Copied);
    line(&Rel::new(b"back"), Event::accepted(&accepted, marker, true));
    line(&Rel::new(b"back"), Event::Missing { since: 78 });
    line(&Rel::new(b"back"), Event::Back);
    line(&Rel::new(b"old"), Event::accepted(&accepted, marker, true));
    line(&Rel::new(b"old"), Event::Forgotten);
    lines
}

/// A version that is known, and how.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Known {
    path: String,
    stamp: Stamp,
    rests: bool,
    missing: Option<Wall>,
    marker: Option<Stamp>,
    moving: Option<String>,
}

/// All that a journal adds up to, sorted.
fn known(replay: &Replay) -> Vec<Known> {
    let live = replay.live.iter().map(|((path, stamp), live)| Known {
        path: path.to_string(),
        stamp: *stamp,
        rests: live.rests,
        missing: live.missing,
        marker: live.marker,
        moving: live.moving.as_ref().map(|moving| moving.to.to_string()),
    });
    let at_rest = replay.at_rest.clone().into_iter().flat_map(|folder| {
        let known = folder.files().map(|file| Known {
            path: folder.path.join(file.name).to_string(),
            stamp: file.stamp,
            rests: true,
            missing: file.missing,
            marker: file.marker,
            moving: None,
        });
        known.collect::<Vec<_>>()
    });
    let mut all: Vec<Known> = live.chain(at_rest).collect();
    all.sort();
    all
}

fn read(journal: &[u8]) -> Replay {
    let mut replay = Replay::default();
    replay.add(journal);
    replay
}

#[test]
fn a_journal_adds_up_to_what_is_still_to_be_done_or_known() {
    let replay = read(&journal());
    assert_eq!(replay.unreadable, 0);
    let known = known(&replay);
    let said: Vec<_> = known
        .iter()
        .map(|known| (known.path.as_str(), known.rests, known.missing))
        .collect();
    assert_eq!(
        said,
        [
            ("back", true, None),
            ("bad.json", false, None),
            ("copied.json", true, None),
            ("d/odd%0A%FF%25.csv", true, Some(Wall(77)))
        ]
    );
    let moving = Move {
        to: "dead-letter/bad.json".parse().unwrap(),
        copy_of: Some("staging/d".parse().unwrap()),
    };
    let bad = (Rel::new(b"bad.json"), stamp(5));
    assert_eq!(replay.live[&bad].moving, Some(moving));
}

#[test]
fn what_stays_is_known_by_folders_and_names_in_their_order_with_its_marker() {
    let acceptance = Acceptance {
        key: "k".into(),
        status: 200,
    };
    let mut lines = Vec::new();
    for (path, size) in [("b/2", 1), ("a", 1), ("b/10", 1), ("b/2", 2), ("a/x", 1)] {
        let event = Event::accepted(&acceptance, Some(stamp(0)), true);
        lines.extend(Record::line(
            &Rel::new(path.as_bytes()),
            stamp(size),
            Wall(0),
            event,
        ));
    }
    let folders: Vec<_> = read(&lines)
        .at_rest
        .into_iter()
        .map(|folder| {
            let files = folder.files().map(|file| {
                assert_eq!(file.marker, Some(stamp(0)));
                (
                    String::from_utf8(file.name.to_vec()).unwrap(),
                    file.stamp.size,
                )
            });
            (folder.path.to_string(), files.collect::<Vec<_>>())
        })
        .collect();
    let named = |name: &str, size| (name.to_string(), size);
    let wanted = [
        (String::new(), vec![named("a", 1)]),
        ("a".into(), vec![named("x", 1)]),
        ("b".into(), vec![named("10", 1), named("2", 2)]),
    ];
    assert_eq!(folders, wanted);
}

#[test]
fn a_move_that_was_written_down_without_from_is_still_read() {
    let acceptance = Acceptance {
        key: "k".into(),
        status: 200,
    };
    let accepted = Event::accepted(&acceptance, None, false);
    let mut replay = Replay::default();
    replay.add(&Record::line(
        &Rel::new(b"x"),
        Stamp {
            size: 5,
            mtime: Wall(7),
        },
        Wall(0),
        accepted,
    ));
    replay.add(
        b"{\"v\":1,\"at\":\"\",\"path\":\"x\",\"size\":5,\"mtime\":7,\"event\":\"moving\",\"to\":\"done/x\"}\n",
    );
    assert_eq!(replay.unreadable, 0);
    let x = (
        Rel::new(b"x"),
        Stamp {
            size: 5,
            mtime: Wall(7),
        },
    );
    let moving = Move {
        to: "done/x".parse().unwrap(),
        copy_of: None,
    };
    assert_eq!(replay.live[&x].moving, Some(moving));
}

#[test]
fn the_next_version_under_a_name_does_not_hide_one_that_is_still_on_its_way() {
    let acceptance = Acceptance {
        key: "k".into(),
        status: 200,
    };
    let path = Rel::new(b"x");
    let mut replay = Replay::default();
    let mut line = |size, event| replay.add(&Record::line(&path, stamp(size), Wall(0), event));
    line(1, Event::accepted(&acceptance, None, false));
    line(2, Event::accepted(&acceptance, None, false));
    line(
        2,
        Event::Moving {
            to: "staging/2".parse().unwrap(),
            from: None,
        },
    );
    line(3, Event::accepted(&acceptance, None, false));
    line(
        3,
        Event::Moving {
            to: "staging/3".parse().unwrap(),
            from: None,
        },
    );
    line(3, Event::Filed);
    let sizes: Vec<u64> = replay.live.keys().map(|(_, stamp)| stamp.size).collect();
    // Of the first nothing was on its way when the second was accepted.
    assert_eq!(sizes, [2]);
}

#[test]
fn a_journal_cut_at_any_byte_is_a_prefix_of_its_whole_lines() {
    let journal = journal();
    for cut in 0..=journal.len() {
        let mut replay = Replay::default();
        replay.add(&journal[..cut]);
        let whole = journal[..cut]
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        let mut clean = Replay::default();
        clean.add(&journal[..whole]);
        assert_eq!(replay, clean, "cut at {cut}");
        assert_eq!(replay.unreadable, 0);
    }
}

#[test]
fn a_rewritten_journal_says_the_same_and_no_line_too_many() {
    for parts in [1, 2, 7] {
        let lines = rewritten(&journal(), parts);
        assert_eq!(read(&lines), read(&journal()));
        assert_eq!(lines, rewritten(&lines, 1), "{parts} parts");
        // bad.json with its move, odd with its absence, copied.json with its copy, back.
        assert_eq!(lines.iter().filter(|&&byte| byte == b'\n').count(), 7);
    }
}

#[test]
fn the_time_of_an_acceptance_outlives_every_rewriting() {
    let accepted_at = Wall(1_700_000_001_234_000_000);
    let acceptance = Acceptance {
        key: "k".into(),
        status: 200,
    };
    let mut lines = Vec::new();
    for (path, keep) in [("kept.csv", true), ("moved.csv", false)] {
        let event = Event::accepted(&acceptance, None, keep);
        let path = Rel::new(path.as_bytes());
        lines.extend(Record::line(&path, stamp(5), accepted_at, event));
    }
    for _ in 1..4 {
        let replay = read(&lines);
        assert_eq!(replay.live.values().next().unwrap().at, Some(accepted_at));
        lines = rewritten(&lines, 3);
    }
    let text = String::from_utf8(lines).unwrap();
    let times = text.matches("\"at\":\"2023-11-14T22:13:21.234Z\"").count();
    assert_eq!(times, 2, "{text}");
}

#[test]
fn the_first_line_names_the_share_and_is_no_unreadable_one() {
    let mut file = Head::new("0a1b unmarked mount", Wall(1_700_000_000_000_000_000)).line();
    file.extend(journal());
    let mut replay = Replay::default();
    replay.add(&file);
    assert_eq!(replay.share.as_deref(), Some("0a1b unmarked mount"));
    assert_eq!((replay.unreadable, known(&replay).len()), (0, 4));
    let mut later = Replay::default();
    later.add(b"{\"v\":2,\"at\":\"\",\"event\":\"journal\",\"share\":\"x\"}\n");
    assert_eq!((later.unreadable, later.share), (1, None));
}

#[test]
fn the_bytes_of_a_journal_are_these() {
    let mut written = Head::new("0a1b2c", Wall(1_700_000_000_000_000_000)).line();
    written.extend(journal());
    let golden = include_str!("../../../tests/data/journal.jsonl");
    assert_eq!(String::from_utf8(written).unwrap(), golden);
}

#[test]
fn the_lines_of_0_1_0_are_read_as_those_of_today() {
    let old = include_bytes!("../../../tests/data/journal-0.1.jsonl");
    let new = include_bytes!("../../../tests/data/journal.jsonl");
    assert_ne!(&old[..], &new[..]);
    let old = read(old);
    assert_eq!(old.unreadable, 0);
    assert_eq!(old, read(new));
}

#[test]
fn a_kept_file_costs_its_path_and_no_more_than_140_bytes() {
    let acceptance = Acceptance {
        key: "0123456789abcdef0123456789abcdef".into(),
        status: 201,
    };
    let path = Rel::new(b"folder/file.csv");
    let event = Event::accepted(&acceptance, None, true);
    let of_100_mb = Stamp {
        size: 99_999_999,
        ..stamp(0)
    };
    let line = Record::line(&path, of_100_mb, Wall(1_700_000_001_234_000_000), event);
    assert_eq!(
        String::from_utf8(line.clone()).unwrap(),
        "{\"at\":\"2023-11-14T22:13:21.234Z\",\"path\":\"folder/file.csv\",\"size\":99999999,\
         \"mtime\":1700000000123456789,\"kept\":201,\"key\":\"0123456789abcdef0123456789abcdef\"}\n"
    );
    assert!(line.len() - path.as_bytes().len() <= 140, "{}", line.len());
}

#[test]
fn a_line_that_is_neither_of_this_version_nor_of_a_kept_file_is_not_guessed_at() {
    let fields = "\"at\":\"\",\"path\":\"x\",\"size\":1,\"mtime\":2";
    let key = "\"key\":\"k\",\"status\":200";
    for line in [
        format!("{{{fields},\"event\":\"accepted\",{key}}}"),
        format!("{{\"v\":2,{fields},\"event\":\"accepted\",{key}}}"),
        format!("{{\"v\":1,{fields},{key}}}"),
        format!("{{\"v\":1,{fields},\"kept\":200,{key}}}"),
        format!("{{{fields},\"kept\":200}}"),
        format!("{{\"v\":1,{fields},\"event\":\"moving\"}}"),
        format!("{{\"v\":1,{fields},\"event\":\"missing\"}}"),
        format!("{{\"v\":1,{fields},\"event\":\"accepted\",\"key\":\"k\"}}"),
        format!("{{\"v\":1,{fields},\"event\":\"melted\"}}"),
    ] {
        let replay = read(format!("{line}\n").as_bytes());
        assert_eq!((replay.unreadable, known(&replay).len()), (1, 0), "{line}");
    }
}

#[test]
fn notes_that_are_outdated_take_no_room_for_long() {
    let acceptance = Acceptance {
        key: "k".into(),
        status: 200,
    };
    let mut replay = Replay::default();
    for round in 0..10_000 {
        let path = Rel::new(format!("d/{}", round % 10).as_bytes());
        let event = Event::accepted(&acceptance, None, true);
        replay.add(&Record::line(&path, stamp(round), Wall(0), event));
    }
    assert_eq!(replay.at_rest.count(), 10);
    assert!(replay.lines_live() <= 64);
}

#[test]
fn a_rewritten_journal_knows_the_last_version_beside_one_before_it_that_is_on_its_way() {
    let (path, at) = (Rel::new(b"x"), Wall(1_700_000_000_000_000_000));
    let acceptance = Acceptance {
        key: "k".into(),
        status: 200,
    };
    let moving = Event::Moving {
        to: "staging/d".parse().unwrap(),
        from: None,
    };
    // Whichever of them sorts first, and whether the last one is to be moved or stays.
    for (first, last, keep) in [(1, 2, false), (2, 1, false), (1, 2, true), (2, 1, true)] {
        let mut lines = Vec::new();
        for (version, event) in [
            (first, Event::accepted(&acceptance, None, false)),
            (first, moving.clone()),
            (last, Event::accepted(&acceptance, None, keep)),
            (first, moving.clone()),
        ] {
            lines.extend(Record::line(&path, stamp(version), at, event));
        }
        let replay = read(&lines);
        assert_eq!(known(&replay).len(), 2);
        assert_eq!(read(&rewritten(&lines, 1)), replay, "{first}, then {last}");
    }
}

#[test]
fn a_line_that_is_broken_or_leads_outside_is_skipped_and_counted() {
    let mut journal = journal();
    let mut outside = Record::line(&Rel::new(b"../x"), stamp(1), Wall(0), Event::Filed);
    journal.splice(0..0, b"{\"v\":1,\"at\n\0\0\0\n".iter().copied());
    journal.append(&mut outside);
    let mut replay = Replay::default();
    replay.add(&journal);
    assert_eq!((replay.unreadable, known(&replay).len()), (3, 4));
}
