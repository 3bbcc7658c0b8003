use super::*;
use crate::io::testing::TempDir;

fn config(dir: &Path) -> Config {
    crate::config::from_dir_and_url(dir, "http://127.0.0.1:9/").expect("a valid config")
}

fn away(share: &Share) -> String {
    match share.reopen() {
        Err(Unusable::Away(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_folder_without_its_mark_is_not_the_share_and_one_that_is_back_is_opened_anew() {
    let dir = TempDir::new();
    let (share, state) = Share::open(&config(dir.path()), false).unwrap();
    assert_eq!(state.id.len(), 32);
    share.reopen().unwrap();
    let mark = dir.path().join(".dirpost/id");
    std::fs::rename(&mark, dir.path().join("elsewhere")).unwrap();
    assert!(away(&share).contains("lost its mark"));
    std::fs::write(&mark, "0123").unwrap();
    assert!(away(&share).contains("another share"));
    std::fs::rename(dir.path().join("elsewhere"), &mark).unwrap();
    assert_eq!(
        share.reopen().unwrap_err(),
        Unusable::Anew(Closing::ShareBack)
    );
}

#[test]
fn a_lock_that_another_has_taken_meanwhile_is_noticed_through_a_fresh_open() {
    let dir = TempDir::new();
    let (share, _state) = Share::open(&config(dir.path()), false).unwrap();
    share.reopen().unwrap();
    // As an NFS server lets another client do that has forgotten this one's lock.
    std::fs::write(dir.path().join(".dirpost/holder"), "0123 other 7\n").unwrap();
    let Err(Unusable::Anew(Closing::LockLost(why))) = share.reopen() else {
        panic!("not noticed")
    };
    assert!(why.contains("other 7"), "{why}");
    std::fs::remove_file(dir.path().join(".dirpost/holder")).unwrap();
    assert!(matches!(
        share.reopen(),
        Err(Unusable::Anew(Closing::LockLost(_)))
    ));
}

#[test]
fn before_anything_is_sent_after_a_hang_the_lock_is_looked_at() {
    let dir = TempDir::new();
    let (share, _state) = Share::open(&config(dir.path()), false).unwrap();
    std::fs::write(dir.path().join(".dirpost/holder"), "0123 other 7\n").unwrap();
    share.confirm_after(Instant::now()).unwrap();
    let Some(long_ago) = Instant::now().checked_sub(LOCK_RECHECK_AFTER) else {
        return;
    };
    share.confirm_after(long_ago).unwrap_err();
    // What is known once is known to all.
    share.confirm_after(Instant::now()).unwrap_err();
}

#[test]
fn one_works_and_the_other_hears_who_it_is() {
    let dir = TempDir::new();
    let first = Share::open(&config(dir.path()), false).unwrap();
    let OpenError::Locked(holder) = Share::open(&config(dir.path()), false).unwrap_err() else {
        panic!("not locked")
    };
    assert!(
        holder.ends_with(&std::process::id().to_string()),
        "{holder}"
    );
    drop(first);
    Share::open(&config(dir.path()), false).unwrap();
}

#[test]
fn a_state_elsewhere_makes_no_mark_on_a_folder_that_has_none_until_it_is_adopted() {
    let (dir, state) = (TempDir::new(), TempDir::new());
    let mut config = config(dir.path());
    config.state.dir = state.path().join("s");
    let (_, first) = Share::open(&config, false).unwrap();
    let id = first.id.clone();
    drop(first);
    // As where the share is not mounted.
    std::fs::remove_dir_all(dir.path().join(".dirpost")).unwrap();
    let OpenError::Away(why) = Share::open(&config, false).unwrap_err() else {
        panic!("it was taken")
    };
    assert!(why.contains("--adopt") && why.contains("no mark"), "{why}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let (_, adopted) = Share::open(&config, true).unwrap();
    assert_eq!(adopted.id, id, "its keys would change");
    drop(adopted);
    Share::open(&config, false).unwrap();
    // Another share.
    std::fs::write(dir.path().join(".dirpost/id"), "0123\n").unwrap();
    assert!(matches!(
        Share::open(&config, false).unwrap_err(),
        OpenError::Away(_)
    ));
    let (_, other) = Share::open(&config, true).unwrap();
    assert_eq!(other.id, "0123");
}

#[cfg(unix)]
#[test]
fn a_state_folder_that_others_may_write_to_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new();
    std::fs::create_dir(dir.path().join(".dirpost")).unwrap();
    std::fs::set_permissions(
        dir.path().join(".dirpost"),
        std::fs::Permissions::from_mode(0o777),
    )
    .unwrap();
    let OpenError::Fault(why) = Share::open(&config(dir.path()), false).unwrap_err() else {
        panic!("it was taken")
    };
    assert!(why.contains("0777") && why.contains(".dirpost"), "{why}");
}

#[cfg(unix)]
#[test]
fn a_state_folder_that_is_a_link_is_refused() {
    let dir = TempDir::new();
    let other = TempDir::new();
    std::os::unix::fs::symlink(other.path(), dir.path().join(".dirpost")).unwrap();
    assert!(matches!(
        Share::open(&config(dir.path()), false),
        Err(OpenError::Fault(_))
    ));
    assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 0);
}
