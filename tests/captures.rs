//! What docs/oncall.md shows of commands is what they print, up to times, numbers of processes and
//! ports: the commands in it are run, on a folder of which something is wrong. To have them written into it again:
//!
//! ```text
//! DIRPOST_CAPTURES=write cargo test --test tests captures
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::util::{BOUND, Daemon, Dir, Reaction, Server, config, dirpost, wait_until};

const PAGE: &str = "docs/oncall.md";
/// How a command begins in it.
const COMMAND: &str = "    $ dirpost ";

/// Where the captures are taken.
struct Scene {
    dir: Dir,
    server: Server,
    daemon: Daemon,
}

impl Scene {
    /// One file is delivered, one rejected, and then the endpoint has no time: one file waits for it, one for
    /// its marker, and one is not whole.
    fn new() -> Scene {
        let dir = Dir::new();
        let busy = Arc::new(AtomicBool::new(false));
        let is_busy = Arc::clone(&busy);
        let server = Server::start(move |head| {
            if is_busy.load(Ordering::SeqCst) {
                let pause = ("Retry-After".to_string(), "300".to_string());
                return Reaction::AnswerWith(503, vec![pause], "back at six".into());
            }
            match head.path.as_str() {
                "bad.json" => Reaction::AnswerWith(422, Vec::new(), "no such customer".into()),
                _ => Reaction::Answer(201),
            }
        });
        let extra = "ready.marker = '.done'\ncheck.format = 'json'\ncheck.grace = '1h'";
        dir.mkdir("drop");
        let daemon = Daemon::start(&config(&dir.join("drop"), &server.url(), extra));
        let put = |name: &str, text: &str| {
            dir.write(Path::new("drop").join(name), text);
            dir.write(format!("drop/{name}.done"), "");
        };
        put("good.json", "{}");
        put("bad.json", "[7]");
        let own = dir.join("drop/.dirpost");
        wait_until("both are over", BOUND, || {
            own.join("done/good.json.done").exists()
                && own.join("dead-letter/bad.json.done").exists()
        });
        busy.store(true, Ordering::SeqCst);
        put("sub/d.json", "{\"a\":\n");
        dir.write("drop/b.json", "{}");
        dir.write("drop/notes.tmp", "");
        daemon.wait_log("perhaps unfinished: sub/d.json");
        put("a.json", "{}");
        daemon.wait_log("next try in");
        wait_until("all of that in the status", BOUND, || {
            let text = std::fs::read_to_string(own.join("status.json")).unwrap_or_default();
            text.contains("\"ready\":1") && text.contains("\"failing\":1") && text.contains("503")
        });
        Scene {
            dir,
            server,
            daemon,
        }
    }

    /// What a command of the page prints here, as if it were a place of the page.
    fn capture(&self, command: &str) -> String {
        let file = self.daemon.config_file();
        let args = command.split(' ').map(|arg| match arg {
            "dirpost.toml" => file.to_str().expect("text"),
            arg => arg,
        });
        let output = dirpost(&args.collect::<Vec<_>>());
        let mut said = String::from_utf8(output.stdout).expect("text");
        let places: [(PathBuf, &str); 3] = [
            (file.clone(), "/srv/dirpost.toml"),
            (self.dir.join("drop"), "/srv/drop"),
            (self.server.address().to_string().into(), "127.0.0.1:18777"),
        ];
        for (here, there) in places {
            said = said.replace(here.to_str().expect("text"), there);
        }
        said
    }
}

/// Without what is another each time.
fn blank(text: &str) -> String {
    let is_number = |word: &str| word.parse::<f64>().is_ok();
    let mut out: Vec<String> = Vec::new();
    for line in text.lines() {
        // A scan may be under way just then.
        let line = line.split("; one under way").next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut blanked: Vec<String> = Vec::new();
        for (at, word) in words.iter().enumerate() {
            let bare = |at: usize| {
                let word = words.get(at).copied().unwrap_or_default();
                word.trim_end_matches([',', ';', ':', ')'])
            };
            let is_unit =
                |at| ["ms", "s", "min", "h", "d", "folder", "folders"].contains(&bare(at));
            let is_of_process = at > 0 && words[at - 1] == "pid";
            let is_host = at > 2 && words[at - 1] == "on" && words[at - 3] == "pid";
            let is_moment = bare(at).len() > 18 && bare(at).ends_with('Z');
            let is_time = is_number(word) && is_unit(at + 1);
            let text = if is_of_process || is_host || is_moment || is_time {
                "#"
            } else if at > 0 && is_number(words[at - 1]) && is_unit(at) {
                // "59 min 3 s" and "1 h" are alike.
                word.trim_start_matches(|char: char| char.is_alphabetic())
            } else {
                word
            };
            if text.is_empty() || text == "#" && blanked.last().is_some_and(|last| last == "#") {
                continue;
            }
            blanked.push(text.into());
        }
        out.push(blanked.join(" "));
    }
    out.join("\n")
}

#[test]
fn what_the_manual_shows_is_what_commands_print() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let shown = std::fs::read_to_string(&page).expect("the page");
    let scene = Scene::new();
    let (mut made, mut captures) = (String::new(), 0);
    let mut lines = shown.lines().peekable();
    while let Some(line) = lines.next() {
        made += &format!("{line}\n");
        let Some(command) = line.strip_prefix(COMMAND) else {
            continue;
        };
        captures += 1;
        while lines.next_if(|line| line.starts_with("    ")).is_some() {}
        for line in scene.capture(command).lines() {
            made += &format!("    {line}\n");
        }
    }
    assert!(captures >= 4, "there are some");
    if std::env::var("DIRPOST_CAPTURES").is_ok_and(|wish| wish == "write") {
        std::fs::write(&page, &made).expect("the page is written");
        return;
    }
    for (shown, made) in blank(&shown).lines().zip(blank(&made).lines()) {
        assert_eq!(
            shown, made,
            "{PAGE} shows another output: DIRPOST_CAPTURES=write cargo test --test tests captures"
        );
    }
    assert_eq!(blank(&shown).lines().count(), blank(&made).lines().count());
}
