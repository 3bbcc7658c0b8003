//! Operations of the real disk that are refused or come upon something else, one moment at a time.

use super::disks::scripted;
use super::*;
use crate::flow::filing::disk::Operation;

/// Where `done` lies on another file system.
#[cfg(unix)]
const ACROSS: Case = Case {
    crosses: true,
    ..MOVED
};

/// Files one file away.
fn file(
    process: &mut Process,
    job: Filing,
    before: impl FnMut(&Operation) -> Result<(), Fault>,
) -> Filed {
    let (filed, _) = process.filer.file_by(vec![job], |batch, disk| {
        let mut scripted = scripted(disk, before);
        while batch.step(&mut scripted) {}
    });
    filed.into_iter().next().unwrap().1
}

/// What the next try begins with.
fn again(job: &Filing, filed: Filed) -> Filing {
    let Filed::Failed { progress, .. } = filed else {
        panic!("it was to fail: {filed:?}");
    };
    Filing {
        progress,
        ..job.clone()
    }
}

fn eio() -> Fault {
    Fault::new(FaultKind::Unclear, "EIO")
}

fn is_sync_of_done(operation: &Operation) -> bool {
    matches!(operation, Operation::SyncFolder(_, folder) if folder.area == Area::Done)
}

/// Nothing can be looked at, from the moment at which the name of the copy was to be brought onto
/// the disk.
fn fails_to_sync(world: &World, process: &mut Process) -> Filing {
    let mut is_down = false;
    let filed = file(process, world.jobs[0].clone(), |operation| {
        is_down |= is_sync_of_done(operation);
        if is_down { Err(eio()) } else { Ok(()) }
    });
    assert!(is_down);
    again(&world.jobs[0], filed)
}

#[cfg(unix)]
#[test]
fn a_copy_whose_fsync_failed_is_made_again_before_what_it_was_made_of_goes() {
    for restarts in [false, true] {
        let Some(world) = World::new(ACROSS) else {
            return;
        };
        let mut process = world.begin();
        let mut job = fails_to_sync(&world, &mut process);
        if restarts {
            drop(process);
            process = world.begin();
            let live = std::mem::take(&mut process.replay.live);
            job = resumed(&world.jobs[0], live.into_values().next().unwrap());
        }
        let mut order = Vec::new();
        let filed = file(&mut process, job, |operation| {
            match operation {
                Operation::Copy(..) => order.push("copied"),
                Operation::RenameOver(_, to) if to.area == Area::Done => order.push("named"),
                Operation::Remove(at)
                    if at.area == Area::Done && !at.to_string().contains(".draft") =>
                {
                    order.push("removed there");
                }
                Operation::Remove(at) if at.area == Area::Staging => order.push("removed here"),
                sync if is_sync_of_done(sync) => order.push("on the disk"),
                _ => {}
            }
            Ok(())
        });
        assert!(matches!(filed, Filed::Away { .. }), "{filed:?}");
        let order = &order[..4];
        assert_eq!(order, ["copied", "named", "on the disk", "removed here"]);
        assert_eq!(world.copies(FILES[0]), 1);
    }
}

#[cfg(unix)]
#[test]
fn what_comes_back_beside_a_copy_whose_fsync_had_failed_is_copied_again_before_it_goes() {
    let Some(world) = World::new(ACROSS) else {
        return;
    };
    let mut process = world.begin();
    let job = fails_to_sync(&world, &mut process);
    let staging = world.watched.path().join(".dirpost/staging");
    let staged = std::fs::read_dir(&staging).unwrap().next().unwrap();
    let (original, hidden) = (staged.unwrap().path(), staging.join("hidden"));
    std::fs::rename(&original, &hidden).unwrap();
    let filed = file(&mut process, job.clone(), |operation| {
        if is_sync_of_done(operation) && hidden.exists() {
            std::fs::rename(&hidden, &original).unwrap();
        }
        Ok(())
    });
    assert!(
        original.exists(),
        "nobody knows of another copy on the disk"
    );
    let mut copies = 0;
    let filed = file(&mut process, again(&job, filed), |operation| {
        copies += u32::from(matches!(operation, Operation::Copy(..)));
        Ok(())
    });
    assert!(matches!(filed, Filed::Away { .. }), "{filed:?}");
    assert_eq!((copies, original.exists()), (1, false));
    assert_eq!(world.copies(FILES[0]), 1);
}

#[cfg(unix)]
#[test]
fn a_copy_that_is_known_to_be_on_the_disk_is_made_once_however_often_its_original_cannot_go() {
    let Some(world) = World::new(ACROSS) else {
        return;
    };
    let mut process = world.begin();
    let mut job = world.jobs[0].clone();
    let mut copies = 0;
    for _ in 0..3 {
        let filed = file(&mut process, job, |operation| {
            copies += u32::from(matches!(operation, Operation::Copy(..)));
            match operation {
                Operation::Remove(at) if at.area == Area::Staging => Err(eio()),
                _ => Ok(()),
            }
        });
        job = again(&world.jobs[0], filed);
    }
    assert_eq!(copies, 1);
    let filed = file(&mut process, job, |_| Ok(()));
    assert!(matches!(filed, Filed::Away { .. }), "{filed:?}");
    assert_eq!(world.copies(FILES[0]), 1);
}

#[test]
fn a_name_that_was_reserved_for_nothing_is_off_the_disk_before_the_journal_says_filed() {
    let world = World::new(Case {
        action: Action::Delete,
        ..MOVED
    })
    .unwrap();
    let path = world.watched.path().join(FILES[0]);
    let mut process = world.begin();
    let mut order = Vec::new();
    let filed = file(&mut process, world.jobs[0].clone(), |operation| {
        match operation {
            Operation::Rename(..) => {
                return Err(no_such_rename());
            }
            Operation::Reserve(at) if at.area == Area::Staging => {
                // Its writer takes it away.
                std::fs::remove_file(&path).unwrap();
                order.push("reserved");
            }
            Operation::Remove(at) if at.area == Area::Staging => order.push("removed"),
            Operation::SyncFolder(_, folder) if folder.area == Area::Staging => {
                order.push("on the disk");
            }
            _ => {}
        }
        Ok(())
    });
    assert_eq!(filed, Filed::Gone);
    order.dedup();
    assert_eq!(order, ["reserved", "removed", "on the disk"]);
}

/// The first file is done, and what was put in the place of its marker, at `path`, is still there.
fn the_file_alone_is_away(world: &World, filed: &Filed, path: &std::path::Path) {
    assert!(matches!(filed, Filed::Away { .. }), "{filed:?}");
    assert_eq!(std::fs::read_to_string(path).unwrap(), "another");
    let (done, _) = world.area(&world.config.delivered.dir);
    assert_eq!(done.into_keys().collect::<Vec<_>>(), [FILES[0]]);
}

/// A writer puts another marker there after the one before was looked at, and before `moment`.
fn marks_again_before(crosses: bool, moment: fn(&Operation) -> bool) {
    let case = Case {
        crosses,
        marker: true,
        ..MOVED
    };
    let Some(world) = World::new(case) else {
        return;
    };
    let marker = format!("{}{MARKER}", FILES[0]);
    let path = world.watched.path().join(&marker);
    let mut process = world.begin();
    let mut is_marked = false;
    let filed = file(&mut process, world.jobs[0].clone(), |operation| {
        let is_of_marker = match operation {
            Operation::Rename(from, _) | Operation::Copy(from, _) => {
                *from == Place::new(Area::Watched, Rel::new(marker.as_bytes()))
            }
            _ => false,
        };
        if is_of_marker && moment(operation) {
            is_marked = true;
            std::fs::write(&path, "another").unwrap();
        }
        Ok(())
    });
    assert!(is_marked);
    the_file_alone_is_away(&world, &filed, &path);
}

#[test]
fn a_marker_that_was_written_again_right_before_its_rename_is_put_back() {
    marks_again_before(false, |operation| {
        matches!(operation, Operation::Rename(..))
    });
}

#[cfg(unix)]
#[test]
fn a_marker_that_was_written_again_right_before_it_was_copied_stays_at_its_place_alone() {
    marks_again_before(true, |operation| matches!(operation, Operation::Copy(..)));
}

#[cfg(unix)]
#[test]
fn what_was_changed_behind_its_copy_with_its_mtime_put_back_is_not_removed() {
    let Some(world) = World::new(ACROSS) else {
        return;
    };
    let path = world.watched.path().join(FILES[0]);
    let mut process = world.begin();
    // As where a folder of the share is a mount point of its own: it stays at its place until it is
    // copied.
    let in_place = |operation: &Operation| match operation {
        Operation::Rename(_, to) if to.area == Area::Staging => {
            Err(Fault::new(FaultKind::CrossesDevices, "EXDEV"))
        }
        Operation::Remove(at) if at.area == Area::Watched => {
            Err(Fault::new(FaultKind::Refused, "EACCES"))
        }
        _ => Ok(()),
    };
    let filed = file(&mut process, world.jobs[0].clone(), in_place);
    let job = again(&world.jobs[0], filed);
    let before = std::fs::metadata(&path).unwrap().modified().unwrap();
    let other = content(FILES[0]).replace("this", "that");
    std::fs::write(&path, &other).unwrap();
    let file_there = std::fs::File::options().write(true).open(&path).unwrap();
    file_there.set_modified(before).unwrap();
    let filed = file(&mut process, job, |_| Ok(()));
    assert!(matches!(filed, Filed::NewVersion(_)), "{filed:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), other);
    assert_eq!(world.copies(FILES[0]), 1);
}

#[test]
fn a_marker_that_was_put_back_by_a_second_name_loses_the_first_at_the_next_try() {
    let world = World::new(Case {
        marker: true,
        ..MOVED
    })
    .unwrap();
    let marker = format!("{}{MARKER}", FILES[0]);
    let at = |area| Place::new(area, Rel::new(marker.as_bytes()));
    let path = world.watched.path().join(&marker);
    let mut process = world.begin();
    let mut is_down = false;
    let filed = file(
        &mut process,
        world.jobs[0].clone(),
        |operation| match operation {
            _ if is_down => Err(eio()),
            Operation::Rename(from, _) if *from == at(Area::Watched) => {
                std::fs::write(&path, "another").unwrap();
                Ok(())
            }
            // Back by a link, and then nothing more.
            Operation::Rename(from, _) if *from == at(Area::Done) => Err(no_such_rename()),
            Operation::Link(..) => Ok(()),
            Operation::Remove(at) if at.area == Area::Done => {
                is_down = true;
                Err(eio())
            }
            _ => Ok(()),
        },
    );
    assert!(is_down);
    let filed = file(&mut process, again(&world.jobs[0], filed), |_| Ok(()));
    the_file_alone_is_away(&world, &filed, &path);
}

#[test]
fn a_new_version_that_has_two_names_on_its_way_back_loses_the_first_and_never_that_at_its_place() {
    let world = World::new(MOVED).unwrap();
    let path = world.watched.path().join(FILES[0]);
    let mut process = world.begin();
    let mut is_down = false;
    let filed = file(
        &mut process,
        world.jobs[0].clone(),
        |operation| match operation {
            _ if is_down => Err(eio()),
            Operation::Rename(from, _) if from.area == Area::Watched => {
                let next = world.watched.path().join(".next");
                std::fs::write(&next, "the next").unwrap();
                std::fs::rename(&next, &path).unwrap();
                Ok(())
            }
            Operation::Rename(from, _) if from.area == Area::Done => Err(no_such_rename()),
            // Back by a link, and then nothing more.
            Operation::Link(..) => {
                is_down = true;
                Ok(())
            }
            _ => Ok(()),
        },
    );
    assert!(is_down);
    let filed = file(&mut process, again(&world.jobs[0], filed), |operation| {
        let is_removal = matches!(operation, Operation::Remove(at) if at.area == Area::Watched);
        assert!(!is_removal, "it may have been sent from there meanwhile");
        Ok(())
    });
    assert!(matches!(filed, Filed::NewVersion(Some(_))), "{filed:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "the next");
    let (done, _) = world.area(&world.config.delivered.dir);
    assert!(done.is_empty(), "{done:?}");
}

#[test]
fn no_name_goes_from_the_disk_before_the_new_ones_of_an_earlier_process_are_there() {
    let world = World::new(MOVED).unwrap();
    let mut process = world.begin();
    // One is renamed into its folder below done, and then nothing more.
    let mut is_down = false;
    file(
        &mut process,
        world.jobs[1].clone(),
        |operation| match operation {
            _ if is_down => Err(eio()),
            Operation::Rename(..) => {
                is_down = true;
                Ok(())
            }
            _ => Ok(()),
        },
    );
    drop(process);
    let mut process = world.begin();
    let mut jobs = process.still_to_file(&world);
    jobs.sort_by_key(|job| job.progress == Progress::Unwritten);
    assert_eq!(jobs.len(), 2);
    let mut order = Vec::new();
    let (filed, _) = process.filer.file_by(jobs, |batch, disk| {
        let mut scripted = scripted(disk, |operation| match operation {
            // It cannot be looked at where it went.
            Operation::Look(at) if at.path == world.jobs[1].path => Err(eio()),
            Operation::SyncFolder(_, folder) => {
                order.push(folder.to_string());
                Ok(())
            }
            _ => Ok(()),
        });
        while batch.step(&mut scripted) {}
    });
    assert!(
        filed
            .iter()
            .any(|(_, filed)| matches!(filed, Filed::Failed { .. }))
    );
    let at = |name: &str| order.iter().position(|folder| folder == name);
    let (there, here) = (at("done/sub"), at("watched/"));
    assert!(there.is_some() && there < here, "{order:?}");
}

/// As a power cut leaves it that has taken half of a rename.
#[cfg(unix)]
#[test]
fn a_version_that_comes_when_the_second_name_of_the_one_before_is_to_be_removed_stays() {
    let world = World::new(MOVED).unwrap();
    let path = world.watched.path().join(FILES[0]);
    let mut process = world.begin();
    let filed = file(
        &mut process,
        world.jobs[0].clone(),
        |operation| match operation {
            Operation::Rename(from, _) if from.area == Area::Watched => {
                let done = &world.config.delivered.dir;
                std::fs::hard_link(&path, done.join(FILES[0])).unwrap();
                Err(Fault::new(FaultKind::Refused, "EACCES"))
            }
            _ => Ok(()),
        },
    );
    let mut looks = 0;
    let filed = file(&mut process, again(&world.jobs[0], filed), |operation| {
        if matches!(operation, Operation::Look(at) if at.area == Area::Watched) {
            looks += 1;
            // One finds two names of one file, one is made before the removal, and one for it.
            if looks == 3 {
                std::fs::write(world.watched.path().join(".next"), "the next").unwrap();
                std::fs::rename(world.watched.path().join(".next"), &path).unwrap();
            }
        }
        Ok(())
    });
    assert!(matches!(filed, Filed::Away { .. }), "{filed:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "the next");
}

#[cfg(unix)]
#[test]
fn a_version_that_takes_the_place_while_a_put_back_is_undone_stays() {
    let world = World::new(MOVED).unwrap();
    let path = world.watched.path().join(FILES[0]);
    let replace = |text: &str| {
        let draft = world.watched.path().join(".next");
        std::fs::write(&draft, text).unwrap();
        std::fs::rename(&draft, &path).unwrap();
    };
    let mut process = world.begin();
    // How often its place was looked at since the first name could not be removed.
    let (mut looks, mut is_replaced) = (None, false);
    let filed = file(&mut process, world.jobs[0].clone(), |operation| {
        if let (Some(looks), Operation::Look(at)) = (&mut looks, operation) {
            *looks += u32::from(at.area == Area::Watched);
        }
        match operation {
            Operation::Rename(from, _) if from.area == Area::Watched => replace("the next"),
            // Back by a link, and the first name cannot go.
            Operation::Rename(from, _) if from.area == Area::Done => return Err(no_such_rename()),
            Operation::Remove(at) if at.area == Area::Done => {
                looks = Some(0);
                return Err(Fault::new(FaultKind::Refused, "EACCES"));
            }
            // The first look finds two names of one file.
            Operation::Look(at) | Operation::Remove(at)
                if at.area == Area::Watched && !is_replaced =>
            {
                let is_removal = matches!(operation, Operation::Remove(_));
                if is_removal || looks > Some(1) {
                    is_replaced = true;
                    replace("the one after");
                }
            }
            _ => {}
        }
        Ok(())
    });
    assert!(is_replaced);
    assert!(matches!(filed, Filed::Failed { .. }), "{filed:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "the one after");
    let (done, _) = world.area(&world.config.delivered.dir);
    let next = done.get(FILES[0]).map(String::as_str);
    assert_eq!(next, Some("the next"), "{done:?}");
}

#[cfg(unix)]
#[test]
fn a_version_that_was_put_back_by_a_link_and_replaced_before_its_other_name_was_removed_is_not_forgotten()
 {
    let delete = Case {
        action: Action::Delete,
        ..MOVED
    };
    let world = World::new(delete).unwrap();
    let path = world.watched.path().join(FILES[0]);
    let mut process = world.begin();
    let replace = |text: &str| {
        let draft = world.watched.path().join(".next");
        std::fs::write(&draft, text).unwrap();
        std::fs::rename(&draft, &path).unwrap();
    };
    let job = world.jobs[0].clone();
    let (filed, synced) = process.filer.file_by(vec![job], |batch, disk| {
        let (mut renames, mut is_linked) = (0, false);
        let mut links = scripted(disk, |operation| {
            if std::mem::take(&mut is_linked) {
                replace("the third version");
            }
            match operation {
                Operation::Rename(..) => {
                    return Err(no_such_rename());
                }
                Operation::RenameOver(..) if renames == 0 => {
                    replace("a second version");
                    renames += 1;
                }
                Operation::Link(..) => is_linked = true,
                _ => {}
            }
            Ok(())
        });
        while batch.step(&mut links) {}
    });
    drop(process);
    assert!(
        matches!(filed[..], [(_, Filed::Displaced { .. })]),
        "{filed:?}"
    );
    assert_eq!(synced, Ok(()));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "the third version");
    let (dead, reasons) = world.area(&world.config.dead_letter.dir);
    let name = FILES[0].to_string();
    assert_eq!(
        dead,
        BTreeMap::from([(name.clone(), "a second version".to_string())])
    );
    assert!(reasons[&name].reason.contains("never sent"));
    let staging = world.area(&world.watched.path().join(".dirpost/staging"));
    assert!(staging.0.is_empty(), "{:?}", staging.0);
}

/// What a file system says that cannot rename without replacing.
fn no_such_rename() -> Fault {
    Fault::new(FaultKind::Unsupported, "there is no such rename")
}
