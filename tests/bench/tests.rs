//! The benchmark's own pieces, at sizes at which they cost nothing.
#![cfg(target_os = "linux")]
// Much of what the benchmark has is not needed here.
#![allow(dead_code, unused_imports)]

mod common;
mod parts;
mod peers;
#[path = "../util/mod.rs"]
mod util;

use std::path::PathBuf;

use common::folder::{Folder, name};
use common::options::{Options, Size};
use common::receiver::Receiver;
use common::table::put;
use parts::deliver::Sender;
use peers::{looking, sending};

fn options() -> Options {
    let words = ["--bench", "--tiny", "rescan"].map(String::from);
    let program = PathBuf::from(env!("CARGO_BIN_EXE_dirpost"));
    Options::parse(program, words.into_iter()).expect("it is understood")
}

fn folder() -> Folder {
    Folder::new(&options().place)
}

#[test]
fn the_command_line_chooses_parts_and_sizes() {
    let options = options();
    assert_eq!(options.size, Size::Tiny);
    assert!(options.wants("rescan") && !options.wants("kept"));
    let wrong = Options::parse(PathBuf::new(), ["--fast".to_string()].into_iter());
    assert!(wrong.is_err_and(|why| why.contains("--fast")));
}

#[test]
fn a_table_takes_the_place_of_the_one_before_and_of_nothing_else() {
    let page = "# By hand\n\nAbove.\n";
    let first = put(&put(page, "a", "one\n"), "b", "two\n");
    let second = put(&first, "a", "three\n");
    assert!(second.starts_with("# By hand\n\nAbove.\n"));
    assert!(second.contains("three\n") && second.contains("two\n") && !second.contains("one\n"));
    assert_eq!(put(&second, "a", "one\n"), first);
}

#[test]
fn every_peer_that_looks_sees_what_is_new_changed_and_gone() {
    for (kind, _) in looking::KINDS {
        let watched = folder();
        watched.fill_folders(2, 6, 4);
        let mut looker = looking::looker(kind, watched.path());
        looker.look();
        looker.look();
        assert_eq!(looker.look(), 0, "{kind}: nothing has happened");
        let place = watched.subfolder(1);
        std::fs::write(place.join("another.csv"), "new").unwrap();
        std::fs::remove_file(place.join(name(0))).unwrap();
        let changed = std::fs::File::options()
            .append(true)
            .open(place.join(name(1)));
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
        changed.unwrap().set_modified(later).unwrap();
        let count = looker.look();
        // notify tells of the folder as well, and of a file that is gone by another kind of event.
        assert!(count >= 2, "{kind}: {count}");
    }
}

#[test]
fn every_peer_that_sends_sends_each_file_once_and_moves_it() {
    for kind in ["floor", "ureq"] {
        let (watched, receiver) = (folder(), Receiver::start());
        watched.fill(9, 4096);
        sending::play(kind, watched.path(), &receiver.url);
        assert_eq!(receiver.count(), 9, "{kind}");
        assert_eq!(watched.left(), 0, "{kind}");
    }
}

#[test]
fn dirpost_is_measured_to_its_end_and_while_it_goes_on() {
    for sender in [Sender::Once, Sender::Run] {
        let taken = sender.send(&options(), 5);
        assert!(
            !taken.cpu.is_zero() && taken.wall >= taken.cpu / 8,
            "{taken:?}"
        );
    }
}
