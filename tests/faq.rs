//! docs/faq.md: every block is valid, and every block and line is run.

use std::path::Path;
use std::process::Command;

use crate::util::{BOUND, Daemon, Dir, Reaction, Server, dirpost, skip, wait_until};

const PAGE: &str = include_str!("../docs/faq.md");

/// The text between two titles.
fn section(title: &str) -> &'static str {
    let (_, rest) = PAGE
        .split_once(&format!("\n## {title}\n"))
        .unwrap_or_else(|| panic!("no section {title}"));
    rest.split("\n## ").next().unwrap_or(rest)
}

fn blocks(text: &str) -> Vec<&str> {
    text.split("```toml\n")
        .skip(1)
        .map(|rest| rest.split_once("```").expect("its end").0)
        .collect()
}

/// The only line of a section that is a command.
fn line(title: &str) -> &'static str {
    let lines: Vec<&str> = section(title)
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .collect();
    assert_eq!(lines.len(), 1, "{title}");
    lines[0]
}

/// A block for this folder and this endpoint, with short times.
fn config(block: &str, dir: &Dir, server: &Server) -> String {
    block
        .replace("/srv/outbox", dir.path().to_str().unwrap())
        .replace("https://example.org", &server.url())
        + "send.proxy = \"none\"\nready.settle = \"300ms\"\nwatch.interval = \"100ms\"\n"
}

/// Runs the command of a line of a crontab.
fn run(title: &str, text: &str) -> Option<i32> {
    let (_, command) = line(title).split_once("dirpost ").expect("dirpost");
    let place = Dir::new();
    let file = place.write("dirpost.toml", text);
    let command = command.replace("/etc/dirpost/dirpost.toml", file.to_str().unwrap());
    let args: Vec<&str> = command.split_whitespace().collect();
    dirpost(&args).status.code()
}

#[test]
fn every_configuration_on_the_page_is_valid() {
    let all = blocks(PAGE);
    assert_eq!(all.len(), 4);
    for block in all {
        let path = Path::new("/etc/dirpost/dirpost.toml");
        dirpost::config::parse(block, path, &|_| None).unwrap_or_else(|err| panic!("{err}"));
    }
}

#[test]
fn a_run_at_night_sends_what_the_day_has_left() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let text = config(
        "watch.dir = '/srv/outbox'\nsend.url = 'https://example.org/{path}'\n",
        &dir,
        &server,
    );
    for name in ["a.csv", "b.csv"] {
        dir.write(name, "x");
    }
    assert_eq!(run("Only every night", &text), Some(0));
    assert_eq!(dir.done(), ["a.csv", "b.csv"]);
}

#[test]
fn runs_every_few_minutes_send_what_an_earlier_one_has_seen() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let block = "watch.dir = '/srv/outbox'\nsend.url = 'https://example.org/{path}'\n";
    let text = config(block, &dir, &server).replace("300ms", "1s");
    dir.write("a.csv", "a");
    let title = "Quiet hours";
    assert_eq!(run(title, &text), Some(0));
    wait_until("a later run to send it", BOUND, || {
        run(title, &text) == Some(0) && dir.done() == ["a.csv"]
    });
    // The hours of the timer are those of the crontab.
    let hours = "OnCalendar=*-*-* 0..6,20..23:00/5:00";
    assert!(section(title).contains(hours));
    let calendar = hours.trim_start_matches("OnCalendar=");
    match Command::new("systemd-analyze")
        .args(["calendar", calendar])
        .output()
    {
        Ok(said) => assert!(said.status.success(), "{said:?}"),
        Err(_) => skip("systemd-analyze is not installed"),
    }
}

#[test]
fn a_pdf_waits_for_its_xml_or_goes_with_it_as_one_archive() {
    let title = "A PDF and its XML belong together";
    let found = blocks(section(title));
    let [marker, archive] = found[..] else {
        panic!("two blocks")
    };
    let (dir, server) = (Dir::new(), Server::accepting());
    dir.write("a.pdf", "%PDF");
    {
        let daemon = Daemon::start(&config(marker, &dir, &server));
        daemon.wait_log("1 file waiting for a marker");
        assert_eq!(server.requests().len(), 0);
        dir.write("a.pdf.xml", "<a/>");
        wait_until("both to be filed", BOUND, || {
            dir.done() == ["a.pdf", "a.pdf.xml"]
        });
        assert_eq!(server.requests().len(), 1);
    }
    // Each file has a name of its own: a daemon that is killed may have to file its last one still.
    for (ending, file, beside) in [
        ("{stem}.xml", "b.pdf", "b.xml"),
        ("{stem}.done", "c.pdf", "c.done"),
    ] {
        assert!(section(title).contains(&format!("\"{ending}\"")));
        let text = config(&marker.replace(".xml", ending), &dir, &server);
        let sent = server.requests().len();
        dir.write(file, "%PDF");
        let daemon = Daemon::start(&text);
        daemon.wait_log("1 file waiting for a marker");
        dir.write(beside, "");
        wait_until("it to be sent", BOUND, || {
            server.requests().len() == sent + 1
        });
        wait_until("both to be filed", BOUND, || dir.waiting().is_empty());
    }
    dir.write("a.pdf", "%PDF");
    dir.write("a.xml", "<a/>");
    let _daemon = Daemon::start(&config(archive, &dir, &server));
    let made = Command::new("sh")
        .args(["-c", line(title)])
        .current_dir(dir.path())
        .status();
    if !made.unwrap().success() {
        skip("zip is not installed");
        return;
    }
    wait_until("the archive", BOUND, || {
        dir.done().contains(&"a.zip".to_string())
    });
    assert_eq!(dir.waiting(), [""; 0]);
    let sent = server.requests().pop().unwrap();
    let has = |text: &[u8]| sent.body.windows(text.len()).any(|part| part == text);
    assert!(sent.body.starts_with(b"PK") && has(b"a.pdf") && has(b"a.xml"));
}

#[test]
fn the_same_content_under_another_name_is_stored_once() {
    let title = "What was sent under another name is not to be stored twice";
    let found = blocks(section(title));
    let [by_url, by_field] = found[..] else {
        panic!("two blocks")
    };
    let (dir, place) = (Dir::new(), Dir::new());
    // As a store that honours If-None-Match does it.
    let stored = place.path().to_path_buf();
    let server = Server::start(move |head| {
        assert_eq!(head.headers["if-none-match"], "*");
        let object = stored.join(head.target.rsplit('/').next().unwrap());
        let is_new = std::fs::File::create_new(object).is_ok();
        Reaction::Answer(if is_new { 201 } else { 412 })
    });
    {
        let _daemon = Daemon::start(&config(by_url, &dir, &server));
        for (name, content) in [("a.csv", "same"), ("b.csv", "same"), ("c.csv", "other")] {
            dir.write(name, content);
        }
        wait_until("all filed", BOUND, || dir.done().len() == 3);
    }
    assert_eq!(place.list("").len(), 2);

    let (dir, server) = (Dir::new(), Server::accepting());
    let _daemon = Daemon::start(&config(by_field, &dir, &server));
    dir.write("a.csv", "same");
    dir.write("b.csv", "same");
    wait_until("both filed", BOUND, || dir.done().len() == 2);
    let requests = server.requests();
    let key = |at: usize| &requests[at].headers["x-idempotency-key"];
    assert_eq!((key(0), key(0).len()), (key(1), 64));
    assert!(!requests[0].headers.contains_key("idempotency-key"));
}
