//! When a file is taken for complete: suspicions, other files in its place, unfinished ones.

use super::*;

/// A scan every second, and a settle time of five.
fn five() -> Policy {
    Policy {
        interval: Duration::from_secs(1),
        max_share: 1.0,
        settle: Settle::For(Duration::from_secs(5)),
        key_scope: String::new(),
        ..policy()
    }
}

/// Scans every second from `from` on, with what `at_second` shows of the file; what the engine hands
/// out, with the second. Ends with the first of them, or after 100 seconds.
fn scan_until_handed_out(
    engine: &mut Engine,
    from: i64,
    mut at_second: impl FnMut(i64) -> Look,
) -> Option<(i64, Effect)> {
    for second in from..from + 100 {
        let now = second * 1_000;
        let mut effects = pass(engine, now, now);
        effects.extend(turn(engine, now, Input::Confirmed));
        effects.extend(turn(engine, now, listed(&[("a", at_second(second))])));
        effects.extend(turn(engine, now, Input::Scanned(Ok(()))));
        effects.extend(pass(engine, now, now + 999));
        let job = effects
            .into_iter()
            .find(|effect| matches!(effect, Effect::Deliver(_) | Effect::Inspect(_)));
        if let Some(job) = job {
            return Some((second, job));
        }
    }
    None
}

#[test]
fn a_chmod_every_second_delays_a_file_by_five_settle_times_and_no_more() {
    for (fs, most) in [(FsKind::Share, 30), (FsKind::Local, 30)] {
        let mut engine = Engine::new(five(), 1, at(0));
        let sent = scan_until_handed_out(&mut engine, 0, |second| Look {
            fs,
            ..look(second * 1_000)
        });
        let (second, _) = sent.expect("it is delivered");
        assert!(
            (most - 2..=most).contains(&second),
            "after {second} s on {fs:?}"
        );
    }
}

fn inspected(effects: &[Effect]) -> Vec<crate::flow::messages::Inspection> {
    let inspections = effects.iter().filter_map(|effect| match effect {
        Effect::Inspect(job) => Some(job.clone()),
        _ => None,
    });
    inspections.collect()
}

const GOOD: crate::flow::messages::Inspected = crate::flow::messages::Inspected::Good {
    sha256: Some([7; 32]),
};

#[test]
fn a_suspicion_takes_back_what_a_check_has_found_and_the_digest() {
    let checks = Policy {
        inspects: true,
        workers: 1,
        settle: Settle::For(Duration::ZERO),
        ..policy()
    };
    let mut engine = Engine::new(checks, 1, at(0));
    turn(&mut engine, 0, Input::Tick);
    let both = |ctime| listed(&[("a", look(ctime)), ("b", look(ctime))]);
    let jobs = inspected(&turn(&mut engine, 1, both(1)));
    turn(&mut engine, 2, Input::Inspected(jobs[0].file, GOOD));
    turn(&mut engine, 3, Input::Inspected(jobs[1].file, GOOD));
    // One is on its way; the other was checked, and waits for the worker. Its ctime moves.
    let again = inspected(&turn(&mut engine, 4, both(4)));
    assert_eq!(again.len(), 1, "{again:?}");
    assert_eq!(again[0].file, jobs[1].file);
    assert_eq!(again[0].look, look(4));
    let sent = deliveries(turn(
        &mut engine,
        5,
        Input::Delivered(jobs[0].file, accepted()),
    ));
    assert!(sent.is_empty(), "it is being checked again");
    let digest = crate::flow::messages::Inspected::Good { sha256: None };
    let sent = deliveries(turn(&mut engine, 6, Input::Inspected(jobs[1].file, digest)));
    assert_eq!(sent[0].sha256, None, "the old digest is gone");
}

#[test]
fn a_suspicion_is_no_new_version_what_was_learned_of_it_stays() {
    let (mut engine, sent) = started(policy(), &["a"]);
    // Its own fault: it waits by its own clock.
    engine
        .files
        .get_mut(sent[0].file)
        .unwrap()
        .learned
        .own_fault = true;
    let refused = Delivered::Replied {
        verdict: Verdict::Refused,
        reply: Reply::Answer(crate::flow::endpoint::reply::Answer {
            status: 404,
            ..Default::default()
        }),
        took: Duration::ZERO,
        journaled: Ok(()),
        sha256: None,
        look: look_of_sent(),
    };
    turn(&mut engine, 1, Input::Delivered(sent[0].file, refused));
    let pause = engine.files.get(sent[0].file).unwrap().learned.not_before;
    let moved = Look {
        ctime: at(5).wall,
        ..sent[0].look
    };
    let now = next_scan(&mut engine, 2);
    turn(&mut engine, now, listed(&[("a", moved)]));
    let active = engine.files.get(sent[0].file).unwrap();
    assert_eq!(active.learned.attempts, 1);
    assert!(active.learned.own_fault && active.learned.not_before == pause);
}

#[test]
fn a_file_whose_ctime_moves_keeps_its_turn_once_that_has_put_it_off_for_long_enough() {
    let one = Policy {
        workers: 1,
        ..five()
    };
    let mut engine = Engine::new(one, 1, at(0));
    let mut order = Vec::new();
    for second in 0..200 {
        let now = second * 1_000;
        let all = ["a", "b", "c"].map(|name| (name, look(now)));
        let mut effects = pass(&mut engine, now, now);
        effects.extend(turn(&mut engine, now, Input::Confirmed));
        effects.extend(turn(&mut engine, now, listed(&all)));
        effects.extend(turn(&mut engine, now, Input::Scanned(Ok(()))));
        // The endpoint takes three seconds for each: the others wait, and their ctimes move on.
        for job in deliveries(effects) {
            order.push(job.path.to_string());
            let done = pass(&mut engine, now, now + 500);
            assert!(deliveries(done).is_empty());
        }
        if second % 3 == 0 {
            let out = engine
                .files
                .iter()
                .find(|(_, active)| active.at() == At::Sending);
            if let Some(file) = out.map(|(file, _)| file) {
                let effects = turn(&mut engine, now + 900, Input::Delivered(file, accepted()));
                order.extend(deliveries(effects).iter().map(|job| job.path.to_string()));
            }
        }
    }
    assert_eq!(order, ["a", "b", "c"]);
}

#[test]
fn an_upload_that_is_broken_off_by_suspicions_again_and_again_waits_longer_and_longer_and_says_why()
{
    let (mut engine, sent) = started(policy(), &["a"]);
    let (mut now, mut tries, mut said) = (0, 1, 0);
    let mut effects = Vec::new();
    for second in 0..600 {
        now = second * 1_000;
        if engine.files.get(sent[0].file).unwrap().at() == At::Sending {
            let moved = Look {
                ctime: at(now).wall,
                ..sent[0].look
            };
            let changed = Delivered::Changed(Some(moved));
            effects.extend(turn(
                &mut engine,
                now,
                Input::Delivered(sent[0].file, changed),
            ));
        }
        effects.extend(pass(&mut engine, now, now + 999));
        tries += deliveries(
            std::mem::take(&mut effects)
                .into_iter()
                .inspect(|effect| {
                    said += usize::from(matches!(effect, Effect::Note(Note::FileTrouble { .. })));
                })
                .collect(),
        )
        .len();
    }
    assert!((10..60).contains(&tries), "{tries} tries until {now}");
    assert!((2..5).contains(&said), "{said}");
}

#[test]
fn a_check_of_a_file_whose_ctime_moves_all_the_time_counts_in_the_end() {
    let checks = Policy {
        inspects: true,
        ..five()
    };
    let mut engine = Engine::new(checks, 1, at(0));
    let mut from = 0;
    let inspection = loop {
        let job = scan_until_handed_out(&mut engine, from, |second| look(second * 1_000));
        let Some((second, Effect::Inspect(job))) = job else {
            panic!("it is checked");
        };
        if job.beyond_suspicion {
            break job;
        }
        // The ctime moved while it was read.
        from = second + 1;
        let moved = look(second * 1_000 + 500);
        let changed = crate::flow::messages::Inspected::Changed(Some(moved));
        turn(
            &mut engine,
            second * 1_000 + 999,
            Input::Inspected(job.file, changed),
        );
    };
    assert!(from <= 31, "{from}");
    assert!(!inspection.is_changed(&Look {
        ctime: Wall(9),
        ..inspection.look
    }));
    assert!(inspection.is_changed(&Look {
        stamp: Stamp {
            size: 2,
            ..inspection.look.stamp
        },
        ..inspection.look
    }));
}

#[test]
fn another_file_with_the_same_stamp_is_another_version_and_a_share_whose_inodes_do_not_last_goes_on()
 {
    let mut engine = Engine::new(five(), 1, at(0));
    let sent = scan_until_handed_out(&mut engine, 0, |second| Look {
        ino: if second < 3 { 1 } else { 2 },
        ..look(i64::from(second >= 3))
    });
    assert_eq!(sent.expect("it is delivered").0, 8);
    // Each look shows another number; the ctime says nothing, or moves as well.
    for ctime in [0, 1] {
        let mut engine = Engine::new(five(), 1, at(0));
        let sent = scan_until_handed_out(&mut engine, 0, |second| Look {
            ino: 1 + second as u64,
            ctime: Wall(ctime * second),
            ..look(0)
        });
        assert!(sent.expect("it is delivered").0 <= 60);
    }
}

/// Unfinished by rsync's mark.
fn partial(size: u64) -> Look {
    Look {
        stamp: Stamp {
            size,
            mtime: Wall(0),
        },
        ..look(1)
    }
}

#[test]
fn a_file_with_an_mtime_of_0_waits_until_rsync_has_finished_it() {
    let mut engine = Engine::new(five(), 1, at(0));
    let sent = scan_until_handed_out(&mut engine, 0, |second| {
        if second < 40 { partial(1) } else { look(1) }
    });
    assert_eq!(sent.expect("it is finished").0, 45);
}

#[test]
fn why_it_waits_is_said_once() {
    let (mut engine, mut said) = (Engine::new(five(), 1, at(0)), 0);
    for second in 0..100 {
        let now = second * 1_000;
        let mut effects = pass(&mut engine, now, now);
        effects.extend(turn(&mut engine, now, listed(&[("a", partial(1))])));
        effects.extend(turn(&mut engine, now, Input::Scanned(Ok(()))));
        let is_partial = |effect: &&Effect| matches!(effect, Effect::Note(Note::Partial { .. }));
        said += effects.iter().filter(is_partial).count();
    }
    assert_eq!(said, 1);
}

#[test]
fn its_marker_or_a_check_of_its_end_vouches_for_a_file_with_an_mtime_of_0() {
    let marker = Policy {
        marker: Some(MarkerRule::of_name(".done")),
        ..five()
    };
    let mut engine = Engine::new(marker, 1, at(0));
    let mut content = Content::default();
    content.files.push(b"a", partial(1));
    content.markers.push(b"a", look(1));
    let folder = ListedFolder {
        path: Rel::root(),
        content: Ok(content),
    };
    turn(&mut engine, 0, Input::Tick);
    turn(&mut engine, 0, Input::Listed(folder));
    turn(&mut engine, 0, Input::Scanned(Ok(())));
    let due = |effects: Vec<Effect>| deliveries(effects).len();
    assert_eq!(due(pass(&mut engine, 0, 5_000)), 1);

    let checks = Policy {
        interval: Duration::from_secs(1_000),
        inspects: true,
        sees_end: true,
        ..five()
    };
    let mut engine = Engine::new(checks, 1, at(0));
    let job = scan_until_handed_out(&mut engine, 0, |_| partial(1));
    let Some((5, Effect::Inspect(job))) = job else {
        panic!("{job:?}");
    };
    // The check finds no end: it waits for rsync, and is not condemned when the grace is over.
    let why = crate::flow::messages::Inspected::Unfinished("no end".into());
    turn(&mut engine, 5_500, Input::Inspected(job.file, why));
    let effects = pass(&mut engine, 5_500, 60_000);
    assert!(!files(&effects));
    // It grows, and has its end now.
    turn(&mut engine, 60_000, listed(&[("a", partial(2))]));
    turn(&mut engine, 60_000, Input::Scanned(Ok(())));
    let again = inspected(&pass(&mut engine, 60_001, 66_000));
    assert_eq!(again.len(), 1);
    let effects = turn(&mut engine, 66_001, Input::Inspected(again[0].file, GOOD));
    assert_eq!(due(effects), 1);
}

#[test]
fn where_everything_shows_an_mtime_of_0_it_means_nothing_and_that_is_said_once() {
    let mut engine = Engine::new(five(), 1, at(0));
    let (mut sent, mut said) = (0, 0);
    for second in 0..20 {
        let now = second * 1_000;
        let mut effects = pass(&mut engine, now, now);
        for folder in ["", "d"] {
            let mut content = Content::default();
            content.files.push(b"a", partial(1));
            // Not known to be such a folder before its second listing.
            content.timeless = second > 5;
            if folder.is_empty() {
                content.folders.push(b"d".to_vec());
            }
            let path = Rel::new(folder.as_bytes());
            let content = Ok(content);
            effects.extend(turn(
                &mut engine,
                now,
                Input::Listed(ListedFolder { path, content }),
            ));
        }
        effects.extend(turn(&mut engine, now, Input::Scanned(Ok(()))));
        let is_said = |effect: &&Effect| matches!(effect, Effect::Note(Note::Timeless { .. }));
        said += effects.iter().filter(is_said).count();
        sent += deliveries(effects).len();
    }
    assert_eq!((sent, said), (2, 1));
}

#[test]
fn what_a_worker_has_seen_of_a_file_goes_with_its_next_attempt() {
    let one = Policy {
        workers: 1,
        ..policy()
    };
    let (mut engine, sent) = started(one, &["a"]);
    // The ctime moved while it was sent.
    let seen = Look {
        ctime: Wall(7),
        ..sent[0].look
    };
    let mut replied = unreachable();
    if let Delivered::Replied { look, .. } = &mut replied {
        *look = seen;
    }
    turn(&mut engine, 2, Input::Delivered(sent[0].file, replied));
    let again = deliveries(pass(&mut engine, 2, 60_000));
    assert_eq!(again[0].look, seen);
}

/// What is said in an hour of a file that grows every two seconds; `settle` in seconds.
fn said_of_a_log_file(settle: u64) -> (Vec<(i64, Note)>, usize) {
    let policy = Policy {
        settle: Settle::For(Duration::from_secs(settle)),
        ..five()
    };
    let mut engine = Engine::new(policy, 1, at(0));
    let (mut said, mut tries) = (Vec::new(), 0);
    for second in 0..3_600 {
        let now = second * 1_000;
        let mut growing = look(now / 2_000 * 2_000);
        growing.stamp.size = 100 + second as u64 / 2;
        let mut effects = pass(&mut engine, now, now);
        effects.extend(turn(&mut engine, now, Input::Confirmed));
        effects.extend(turn(&mut engine, now, listed(&[("app.log", growing)])));
        effects.extend(turn(&mut engine, now, Input::Scanned(Ok(()))));
        effects.extend(pass(&mut engine, now, now + 999));
        let jobs = deliveries(effects.clone());
        tries += jobs.len();
        for job in jobs {
            growing.stamp.size += 1;
            let grown = Delivered::Unsettled(Some(growing));
            effects.extend(turn(
                &mut engine,
                now + 999,
                Input::Delivered(job.file, grown),
            ));
        }
        said.extend(effects.into_iter().filter_map(|effect| match effect {
            Effect::Note(note @ (Note::Changed { .. } | Note::Restless { .. })) => {
                Some((second / 60, note))
            }
            _ => None,
        }));
        engine.check();
    }
    (said, tries)
}

#[test]
fn a_file_that_never_comes_to_rest_is_said_by_name_at_growing_intervals_and_not_to_have_settled() {
    for settle in [5, 1] {
        let (said, tries) = said_of_a_log_file(settle);
        assert_eq!(tries > 0, settle == 1, "{tries}");
        let minutes: Vec<i64> = said.iter().map(|(minute, _)| *minute).collect();
        assert_eq!(minutes, [10, 11, 15, 25], "{said:?}");
        let (path, files) = (Rel::new(b"app.log"), 1);
        for (minute, note) in said {
            let Note::Restless { since, .. } = note else {
                panic!("it had not settled");
            };
            assert!(since.as_secs() / 60 >= minute as u64 - 1);
            let path = path.clone();
            assert_eq!(note, Note::Restless { path, since, files });
        }
    }
}

#[test]
fn a_file_that_comes_to_rest_between_its_changes_is_not_called_restless() {
    let mut engine = Engine::new(five(), 1, at(0));
    let mut said = 0;
    for second in 0..3_600 {
        let now = second * 1_000;
        let mut rewritten = look(now / 90_000 * 90_000);
        rewritten.stamp.size = 100 + second as u64 / 90;
        let mut effects = pass(&mut engine, now, now);
        effects.extend(turn(&mut engine, now, Input::Confirmed));
        effects.extend(turn(&mut engine, now, listed(&[("a", rewritten)])));
        effects.extend(turn(&mut engine, now, Input::Scanned(Ok(()))));
        effects.extend(pass(&mut engine, now, now + 999));
        for effect in effects {
            match effect {
                Effect::Deliver(job) => {
                    turn(
                        &mut engine,
                        now + 999,
                        Input::Delivered(job.file, unreachable()),
                    );
                }
                Effect::Note(Note::Restless { .. }) => said += 1,
                _ => {}
            }
        }
    }
    assert_eq!(said, 0, "the endpoint was down, the file was still");
}

#[test]
fn a_file_that_no_request_can_carry_is_neither_sent_nor_condemned_and_holds_up_no_other() {
    let limit = 5 << 30;
    let mut engine = Engine::new(
        Policy {
            request_limit: Some(limit),
            ..policy()
        },
        1,
        at(0),
    );
    let of_size = |size| {
        let mut look = look(0);
        look.stamp.size = size;
        look
    };
    turn(&mut engine, 0, Input::Tick);
    turn(&mut engine, 0, Input::Confirmed);
    let files = [
        ("larger", of_size(limit + 1)),
        ("largest", of_size(limit)),
        ("small", of_size(1)),
    ];
    let mut effects = turn(&mut engine, 0, listed(&files));
    effects.extend(turn(&mut engine, 0, Input::Scanned(Ok(()))));
    effects.extend(pass(&mut engine, 1, 500_000));
    let is_said = |effect: &Effect| matches!(effect, Effect::Note(Note::FileTrouble { why, .. }) if why.contains("5 GiB"));
    assert!(effects.iter().any(is_said), "{effects:?}");
    assert!(
        !effects
            .iter()
            .any(|effect| matches!(effect, Effect::File(_)))
    );
    let mut sent: Vec<String> = deliveries(effects)
        .iter()
        .map(|job| job.path.to_string())
        .collect();
    sent.sort();
    assert_eq!(sent, ["largest", "small"]);
}
