use super::*;

fn content(size: u64, ctime: i64, marker: Option<i64>) -> ListedFolder {
    let look = |size, mtime, ctime| Look {
        stamp: Stamp {
            size,
            mtime: Wall(mtime),
        },
        ctime: Wall(ctime),
        fs: FsKind::Share,
        ..Look::default()
    };
    let mut content = Content::default();
    content.files.push(b"a", look(size, 7, ctime));
    if let Some(mtime) = marker {
        content.markers.push(b"a", look(0, mtime, mtime));
    }
    ListedFolder {
        path: Rel::root(),
        content: Ok(content),
    }
}

fn scan(engine: &mut Engine, now: i64, folder: ListedFolder) -> Vec<Effect> {
    let mut all = turn(engine, now, Input::Command(Command::Scan));
    all.extend(turn(engine, now, Input::Confirmed));
    all.extend(turn(engine, now, Input::Listed(folder)));
    all.extend(turn(engine, now, Input::Scanned(Ok(()))));
    all
}

/// An engine that has just handed out `a`, with the marker 11.
fn sending() -> (Engine, Delivery) {
    let mut engine = engine(|config| config.ready.marker = Some(MarkerRule::of_name(".done")));
    let mut sent = deliveries(scan(&mut engine, 0, content(1, 7, Some(11))));
    let job = sent.pop().expect("it is sent");
    assert_eq!(job.marker.map(|marker| marker.mtime), Some(Wall(11)));
    (engine, job)
}

fn replied(job: &Delivery, verdict: Verdict, status: u16) -> Delivered {
    let answer = crate::flow::endpoint::reply::Answer {
        status,
        body_matches: true,
        ..Default::default()
    };
    Delivered::Replied {
        verdict,
        reply: Reply::Answer(answer),
        took: Duration::ZERO,
        journaled: Ok(()),
        sha256: None,
        look: job.look,
    }
}

#[test]
fn a_file_whose_marker_went_while_it_was_sent_is_not_sent_again_without_one() {
    let (mut engine, job) = sending();
    scan(&mut engine, 10, content(1, 7, None));
    let failed = replied(&job, Verdict::Busy, 503);
    turn(&mut engine, 20, Input::Delivered(job.file, failed));
    let later = idle(&mut engine, 20, 400_000);
    assert_eq!(deliveries(later).len(), 0);
    let again = scan(&mut engine, 400_010, content(1, 7, Some(12)));
    assert_eq!(deliveries(again).len(), 1, "another marker lets it go");
}

#[test]
fn that_the_marker_went_is_noticed_though_the_ctime_moved_as_well() {
    let mut engine = engine(|config| config.ready.marker = Some(MarkerRule::of_name(".done")));
    // It is ready, and waits for the journal.
    turn(&mut engine, 0, Input::Room(Err("full".into())));
    scan(&mut engine, 10, content(1, 7, Some(11)));
    scan(&mut engine, 20, content(1, 8, None));
    let sent = turn(&mut engine, 30, Input::Room(Ok(())));
    assert_eq!(deliveries(sent).len(), 0);
}

#[test]
fn what_is_filed_takes_the_marker_that_vouched_for_it_and_not_that_of_the_version_after_it() {
    let (mut engine, job) = sending();
    // The next version and its marker come before the answer.
    scan(&mut engine, 10, content(2, 8, Some(12)));
    let accepted = replied(&job, Verdict::Accepted, 200);
    let effects = turn(&mut engine, 20, Input::Delivered(job.file, accepted));
    let filing = effects.into_iter().find_map(|effect| match effect {
        Effect::File(filing) => Some(filing),
        _ => None,
    });
    let filing = filing.expect("it is filed");
    assert_eq!(
        filing.marker_stamp().map(|marker| marker.mtime),
        Some(Wall(11))
    );
    let look = match content(2, 8, None).content {
        Ok(content) => *content.files.value(0),
        Err(why) => panic!("{why}"),
    };
    let superseded = Input::Filed(filing.file, Filed::NewVersion(Some(look)));
    let mut sent = deliveries(turn(&mut engine, 30, superseded));
    sent.extend(deliveries(idle(&mut engine, 30, 5_000)));
    let marker = sent.first().and_then(|job| job.marker);
    assert_eq!(marker.map(|marker| marker.mtime), Some(Wall(12)));
}

/// A folder with these files, all of them beside the marker of their stem.
fn group(names: &[&str], marker: i64) -> ListedFolder {
    let mut content = Content::default();
    let (Some(look), Some(mark)) = (one(content_of(7)), one(content_of(marker))) else {
        panic!("a look");
    };
    for name in names {
        content.files.push(name.as_bytes(), look);
        content.markers.push(name.as_bytes(), mark);
    }
    ListedFolder {
        path: Rel::root(),
        content: Ok(content),
    }
}

/// As `folder`, with another version of its first file.
fn with_next_first(mut folder: ListedFolder) -> ListedFolder {
    if let Ok(content) = &mut folder.content {
        content.files.value_mut(0).stamp.mtime = Wall(8);
    }
    folder
}

fn content_of(mtime: i64) -> ListedFolder {
    let mut folder = content(1, mtime, None);
    if let Ok(content) = &mut folder.content {
        content.files.value_mut(0).stamp.mtime = Wall(mtime);
    }
    folder
}

fn one(folder: ListedFolder) -> Option<Look> {
    folder.content.ok().map(|content| *content.files.value(0))
}

fn filing_of(effects: Vec<Effect>) -> crate::flow::filing::Filing {
    let filing = effects.into_iter().find_map(|effect| match effect {
        Effect::File(filing) => Some(filing),
        _ => None,
    });
    *filing.expect("it is filed")
}

#[test]
fn a_marker_of_a_stem_goes_with_the_last_of_its_files_and_vouches_no_more_for_those_before() {
    let mut engine = engine(|config| config.ready.marker = Some(MarkerRule::of_stem(".done")));
    let mut sent = deliveries(scan(
        &mut engine,
        0,
        group(&["a.csv", "a.xml", "ab.csv"], 11),
    ));
    sent.sort_by_key(|job| job.path.clone());
    let [csv, xml, _] = &sent[..] else {
        panic!("{sent:?}");
    };
    let accepted =
        |job: &Delivery| Input::Delivered(job.file, replied(job, Verdict::Accepted, 200));
    let filing = filing_of(turn(&mut engine, 20, accepted(csv)));
    assert_eq!(filing.marker, None, "a.xml is still there");
    let away = |file| Input::Filed(file, Filed::Away { to: None });
    turn(&mut engine, 30, away(filing.file));
    // The next a.csv comes before its marker.
    let next = with_next_first(group(&["a.csv", "a.xml", "ab.csv"], 11));
    let next = scan(&mut engine, 5_000, next);
    let again = deliveries(next).len() + deliveries(idle(&mut engine, 5_000, 60_000)).len();
    assert_eq!(again, 0, "that marker has vouched for the one before");
    scan(&mut engine, 60_001, group(&["a.xml", "ab.csv"], 11));
    let filing = filing_of(turn(&mut engine, 60_010, accepted(xml)));
    assert_eq!(
        filing.marker.map(|marker| marker.stamp.mtime),
        Some(Wall(11))
    );
}

#[test]
fn a_marker_of_a_stem_that_stays_for_others_is_known_as_used_after_a_restart() {
    let stems = |config: &mut Config| config.ready.marker = Some(MarkerRule::of_stem(".done"));
    let mut before = engine(stems);
    let mut sent = deliveries(scan(&mut before, 0, group(&["a.csv", "a.xml"], 11)));
    sent.sort_by_key(|job| job.path.clone());
    let answer = replied(&sent[0], Verdict::Accepted, 200);
    let filing = filing_of(turn(
        &mut before,
        20,
        Input::Delivered(sent[0].file, answer),
    ));
    turn(
        &mut before,
        30,
        Input::Filed(filing.file, Filed::Away { to: None }),
    );

    let mut after = engine(stems);
    let past = Handover {
        memory: before.past(at(40)).memory,
        ..Handover::default()
    };
    after.resume(past, at(50));
    let next = with_next_first(group(&["a.csv", "a.xml"], 11));
    let mut sent = deliveries(scan(&mut after, 60, next));
    sent.extend(deliveries(idle(&mut after, 100, 60_000)));
    let sent: Vec<String> = sent.iter().map(|job| job.path.to_string()).collect();
    assert_eq!(
        sent,
        ["a.xml"],
        "a.csv is another one, and waits for its marker"
    );
}

#[test]
fn a_file_of_a_stem_that_is_put_back_with_its_marker_is_vouched_for_by_it_again() {
    let mut engine = engine(|config| config.ready.marker = Some(MarkerRule::of_stem(".done")));
    let names = ["a.csv", "a.xml"];
    let mut sent = deliveries(scan(&mut engine, 0, group(&names, 11)));
    sent.sort_by_key(|job| job.path.clone());
    let answer = replied(&sent[0], Verdict::Rejected, 422);
    let input = Input::Delivered(sent[0].file, answer);
    let filing = filing_of(turn(&mut engine, 20, input));
    assert_eq!(filing.marker, None, "a.xml is still there");
    let away = Input::Filed(filing.file, Filed::Away { to: None });
    turn(&mut engine, 30, away);
    scan(&mut engine, 2_000, group(&["a.xml"], 11));
    let retries = vec![(Rel::new(b"a.csv"), sent[0].look.stamp, 1)];
    turn(&mut engine, 3_000, Input::Retries(retries));
    let mut again = deliveries(scan(&mut engine, 5_000, group(&names, 11)));
    again.extend(deliveries(idle(&mut engine, 5_000, 60_000)));
    let again: Vec<String> = again.iter().map(|job| job.path.to_string()).collect();
    assert_eq!(again, ["a.csv"]);
}

fn stems(config: &mut Config) {
    config.ready.marker = Some(MarkerRule::of_stem(".done"));
}

/// `a.csv` and `a.xml`, as they are sent.
fn both_sent(engine: &mut Engine) -> (Delivery, Delivery) {
    let mut sent = deliveries(scan(engine, 0, group(&["a.csv", "a.xml"], 11)));
    sent.sort_by_key(|job| job.path.clone());
    let [csv, xml] = <[Delivery; 2]>::try_from(sent).expect("both are sent");
    (csv, xml)
}

fn accept(engine: &mut Engine, now: i64, job: &Delivery) -> crate::flow::filing::Filing {
    let answer = replied(job, Verdict::Accepted, 200);
    filing_of(turn(engine, now, Input::Delivered(job.file, answer)))
}

#[test]
fn a_marker_of_a_stem_stays_for_a_file_that_came_while_one_of_its_name_was_filed() {
    let mut engine = engine(stems);
    let (csv, xml) = both_sent(&mut engine);
    turn(&mut engine, 10, Input::Command(Command::Scan));
    turn(&mut engine, 10, Input::Confirmed);
    let filing = accept(&mut engine, 20, &xml);
    turn(
        &mut engine,
        30,
        Input::Filed(filing.file, Filed::Away { to: None }),
    );
    // The scan that was under way may show what was there before, or the next a.xml: nobody knows.
    let shown = group(&["a.csv", "a.xml"], 12);
    turn(&mut engine, 40, Input::Listed(shown));
    let filing = accept(&mut engine, 50, &csv);
    assert_eq!(filing.marker, None, "a.xml may need it");
}

#[test]
fn a_marker_of_a_stem_that_a_once_has_used_stays_for_a_file_that_is_left_to_the_next_run() {
    let policy = Policy {
        marker: Some(MarkerRule::of_stem(".done")),
        ending: Ending::Once {
            deadline: Mono(100_000),
            no_wait: false,
        },
        ..policy()
    };
    let mut engine = Engine::new(policy, 1, at(0));
    let sent = deliveries(scan(&mut engine, 0, group(&["a.csv"], 11)));
    scan(&mut engine, 10, group(&["a.csv", "a.xml"], 11));
    let filing = accept(&mut engine, 50, &sent[0]);
    assert_eq!(filing.marker, None, "a.xml needs it");
}

#[test]
fn a_marker_of_a_stem_stays_for_a_file_that_cannot_be_looked_at() {
    let mut engine = engine(stems);
    let mut folder = group(&["a.csv"], 11);
    if let Ok(content) = &mut folder.content {
        content.unseen = vec![b"a.done".to_vec(), b"a.xml".to_vec(), b"b".to_vec()];
    }
    let sent = deliveries(scan(&mut engine, 0, folder.clone()));
    let filing = accept(&mut engine, 50, &sent[0]);
    assert_eq!(filing.marker, None, "a.xml may need it");

    // Those that cannot be looked at are the marker itself and a file that has another one.
    let mut engine = self::engine(stems);
    if let Ok(content) = &mut folder.content {
        content.unseen.remove(1);
    }
    let sent = deliveries(scan(&mut engine, 0, folder));
    let filing = accept(&mut engine, 50, &sent[0]);
    assert!(filing.marker.is_some());
}

#[test]
fn a_marker_of_a_stem_that_lies_there_alone_vouches_for_no_next_version_of_what_it_has_vouched_for()
{
    let mut engine = engine(stems);
    let (csv, xml) = both_sent(&mut engine);
    let filing = accept(&mut engine, 20, &xml);
    assert_eq!(filing.marker, None, "a.csv needs it");
    let away = Input::Filed(filing.file, Filed::Away { to: None });
    turn(&mut engine, 30, away);
    // Somebody takes a.csv away, and the marker stays.
    turn(
        &mut engine,
        40,
        Input::Delivered(csv.file, Delivered::Missing(Miss::Gone)),
    );
    let mut alone = group(&[], 11);
    if let (Ok(content), Some(mark)) = (&mut alone.content, one(content_of(11))) {
        content.markers_alone.push(b"a", mark);
    }
    scan(&mut engine, 2_000, alone);
    let next = with_next_first(group(&["a.xml"], 11));
    let mut sent = deliveries(scan(&mut engine, 5_000, next.clone()));
    sent.extend(deliveries(idle(&mut engine, 5_000, 60_000)));
    assert!(sent.is_empty(), "{sent:?}");
    // It is not remembered for longer than the marker lies there.
    scan(&mut engine, 65_000, group(&[], 11));
    let sent = deliveries(scan(&mut engine, 70_000, next));
    assert_eq!(sent.len(), 1);
}

#[test]
fn one_of_two_files_takes_their_marker_along_and_no_other_one_until_it_is_filed() {
    let mut engine = engine(stems);
    let (csv, xml) = both_sent(&mut engine);
    // The filing thread is at work for both.
    turn(&mut engine, 10, Input::Room(Err("full".into())));
    for (now, job) in [(20, &csv), (21, &xml)] {
        let answer = replied(job, Verdict::Accepted, 200);
        let effects = turn(&mut engine, now, Input::Delivered(job.file, answer));
        assert!(!files(&effects));
    }
    let mut handed_out = turn(&mut engine, 30, Input::Room(Ok(())));
    handed_out.extend(idle(&mut engine, 30, 60_000));
    let markers = |effects: Vec<Effect>| {
        let filings = effects.into_iter().filter_map(|effect| match effect {
            Effect::File(filing) => Some((filing.file, filing.marker.is_some())),
            _ => None,
        });
        filings.collect::<Vec<_>>()
    };
    let filings = markers(handed_out);
    let [(first, true), (other, false)] = filings[..] else {
        panic!("one of them takes it: {filings:?}");
    };
    // A try that has copied it, and not more.
    let failed = |progress| Filed::Failed {
        why: "EIO".into(),
        journal: false,
        progress,
        left: true,
    };
    turn(
        &mut engine,
        60_001,
        Input::Filed(first, failed(Progress::Written)),
    );
    turn(
        &mut engine,
        60_002,
        Input::Filed(other, failed(Progress::Written)),
    );
    let mut again = markers(idle(&mut engine, 60_002, 200_000));
    again.sort_unstable();
    let mut expected = vec![(first, true), (other, false)];
    expected.sort_unstable();
    assert_eq!(again, expected);
}

#[test]
fn a_marker_of_a_stem_stays_for_a_version_that_came_while_the_one_before_could_not_be_filed() {
    let mut engine = engine(stems);
    let (csv, xml) = both_sent(&mut engine);
    let filing = accept(&mut engine, 20, &csv);
    let failed = Filed::Failed {
        why: "EIO".into(),
        journal: false,
        progress: Progress::Written,
        left: false,
    };
    turn(&mut engine, 30, Input::Filed(filing.file, failed));
    // It is seen twice.
    for now in [40, 60] {
        let next = with_next_first(group(&["a.csv", "a.xml"], 12));
        scan(&mut engine, now, next);
    }
    let filing = accept(&mut engine, 80, &xml);
    assert_eq!(filing.marker, None, "the next a.csv needs it");
}

#[test]
fn a_marker_of_any_version_that_is_on_its_way_vouches_for_no_later_one() {
    let with = |mtime, marker| {
        let mut folder = content_of(mtime);
        let look = one(content_of(marker));
        if let (Ok(content), Some(look)) = (&mut folder.content, look) {
            content.markers.push(b"a", look);
        }
        folder
    };
    let mut engine = engine(|config| config.ready.marker = Some(MarkerRule::of_name(".done")));
    let mut now = 0;
    let mut last = FileNo::default();
    for (mtime, marker) in [(7, 11), (8, 12)] {
        let sent = deliveries(scan(&mut engine, now, with(mtime, marker)));
        let [job] = &sent[..] else {
            panic!("version {mtime} is sent: {sent:?}");
        };
        let filing = accept(&mut engine, now + 10, job);
        let failed = Filed::Failed {
            why: "EIO".into(),
            journal: false,
            progress: Progress::Written,
            left: true,
        };
        turn(&mut engine, now + 20, Input::Filed(filing.file, failed));
        last = filing.file;
        now += 30;
    }
    for marker in [11, 12] {
        let sent = deliveries(scan(&mut engine, now, with(9, marker)));
        assert_eq!(sent.len(), 0, "marker {marker} has vouched for another one");
        now += 30;
    }
    // Marker 12 has gone with its file, and no listing has shown that yet.
    let filed = turn(
        &mut engine,
        now,
        Input::Filed(last, Filed::Away { to: None }),
    );
    assert_eq!(deliveries(filed).len(), 0);
    now += 30;
    let sent = deliveries(scan(&mut engine, now, with(9, 13)));
    assert_eq!(sent.len(), 1);
}
