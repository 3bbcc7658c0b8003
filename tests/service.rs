//! What systemd is told, over a socket as it gives one to its services.
#![cfg(target_os = "linux")]

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::util::fuse::{Faults, Hang, Share};
use crate::util::{BOUND, Daemon, Dir, Server, config, skip, wait_until};

/// The end that systemd has.
struct Manager {
    socket: UnixDatagram,
    place: Dir,
}

impl Manager {
    fn new() -> Manager {
        let place = Dir::new();
        let socket = UnixDatagram::bind(place.join("notify")).unwrap();
        socket.set_read_timeout(Some(BOUND)).unwrap();
        Manager { socket, place }
    }

    /// A daemon whose watchdog wants to hear of it every 600 ms.
    fn start(&self, config: &str) -> Daemon {
        let socket = self.place.join("notify");
        let env = [
            ("NOTIFY_SOCKET", socket.to_str().unwrap()),
            ("WATCHDOG_USEC", "600000"),
        ];
        Daemon::start_with(&env, config)
    }

    fn next(&self) -> String {
        let mut bytes = [0; 4096];
        let size = self.socket.recv(&mut bytes).expect("it is told something");
        String::from_utf8(bytes[..size].to_vec()).unwrap()
    }

    /// Waits until it is told something with this text.
    fn wait(&self, text: &str) -> String {
        let started = Instant::now();
        loop {
            let told = self.next();
            if told.contains(text) {
                return told;
            }
            assert!(started.elapsed() < BOUND, "it is not told {text}");
        }
    }

    /// Sees that the watchdog is fed for so long, and no less often than it wants.
    fn see_fed(&self, time: Duration) {
        let (started, mut last) = (Instant::now(), Instant::now());
        while started.elapsed() < time {
            if self.next().contains("WATCHDOG=1") {
                last = Instant::now();
            }
            // Ten times what it wants, for a machine that is busy with other tests.
            assert!(
                last.elapsed() < Duration::from_secs(6),
                "it would be killed"
            );
        }
    }
}

#[test]
fn systemd_is_told_that_it_is_ready_lives_how_it_stands_and_that_it_stops() {
    let (manager, dir, server) = (Manager::new(), Dir::new(), Server::accepting());
    let mut daemon = manager.start(&config(dir.path(), &server.url(), ""));
    assert_eq!(manager.next().trim(), "READY=1");
    manager.wait("STATUS=all is well");
    dir.write("a.csv", "a");
    manager.wait("1 file delivered since the start");
    manager.see_fed(Duration::from_secs(1));
    daemon.signal(Signal::HUP);
    let told = manager.wait("RELOADING=1");
    assert!(told.contains("MONOTONIC_USEC="), "{told}");
    manager.wait("READY=1");
    daemon.signal(Signal::TERM);
    manager.wait("STOPPING=1");
    assert_eq!(daemon.wait_exit(BOUND), 0);
}

#[test]
fn an_endpoint_that_is_down_and_a_folder_that_is_missing_are_in_the_status_and_no_reason_to_be_killed()
 {
    let (manager, dir, server) = (Manager::new(), Dir::new(), Server::accepting());
    let missing = dir.join("in");
    let _daemon = manager.start(&config(&missing, "http://127.0.0.1:1/", ""));
    assert_eq!(manager.next().trim(), "READY=1");
    manager.wait("STATUS=waiting for the folder: ");
    manager.see_fed(Duration::from_secs(1));
    dir.mkdir("in");
    dir.write("in/a.csv", "a");
    manager.wait("127.0.0.1:1 refuses connections");
    drop(server);
}

#[test]
fn a_share_that_hangs_does_not_let_systemd_kill_it() {
    let Some(share) = Share::mount() else {
        return;
    };
    let (manager, elsewhere, server) = (Manager::new(), Dir::new(), Server::accepting());
    let extra = format!("state.dir = '{}'", elsewhere.path().display());
    let _daemon = manager.start(&config(&share.path(), &server.url(), &extra));
    manager.wait("STATUS=all is well");
    share.set(Faults {
        hang: Some(Hang::Everything),
        ..Faults::default()
    });
    wait_until("the look to hang", BOUND, || share.waiting() > 0);
    manager.see_fed(Duration::from_secs(3));
    share.heal();
}

#[test]
fn the_unit_leaves_little_exposed() {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/config/dirpost@.service");
    let analysis = Command::new("systemd-analyze")
        .args([
            "security",
            "--offline=true",
            "--threshold=15",
            "--no-pager",
            unit,
        ])
        .output();
    let Ok(analysis) = analysis else {
        return skip("systemd-analyze is not installed");
    };
    let said = String::from_utf8_lossy(&analysis.stdout);
    assert!(analysis.status.success(), "more than 1.5: {said}");
}
