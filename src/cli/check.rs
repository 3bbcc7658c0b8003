//! `dirpost check`: what would happen, and what is wrong, without sending a file.

use std::io;
use std::process::ExitCode;

use crate::config::{Action, Config, Format, Settle};
use crate::daemon::code;
use crate::flow::file::{FsKind, Rel};
use crate::flow::scan::filter::OWN_FOLDER;
use crate::flow::settle::settle_time;
use crate::io::dir::Dir;
use crate::io::dir::below;
use crate::io::fault::explain;
use crate::io::http::{Client, Shared};
use crate::io::share::state;

/// What was found.
#[derive(Default)]
struct Findings {
    wrong: usize,
}

impl Findings {
    fn fine(&self, text: &str) {
        println!("ok       {text}");
    }

    fn warning(&self, text: &str) {
        println!("warning  {text}");
    }

    fn wrong(&mut self, text: &str) {
        self.wrong += 1;
        println!("WRONG    {text}");
    }
}

/// Looks at everything, prints a line for each finding; the exit code says whether
/// something is wrong.
pub fn check(config: &Config) -> ExitCode {
    let mut findings = Findings::default();
    findings.fine("the configuration is valid");
    folder(config, &mut findings);
    credentials(config, &mut findings);
    endpoint(config, &mut findings);
    match findings.wrong {
        0 => ExitCode::SUCCESS,
        count => {
            println!(
                "{count} {} wrong",
                if count == 1 { "thing is" } else { "things are" }
            );
            ExitCode::from(code::FAILED)
        }
    }
}

fn folder(config: &Config, findings: &mut Findings) {
    let dir = config.watch.dir.display();
    let folder = match Dir::at(&config.watch.dir) {
        Ok(folder) => folder,
        Err(err) => {
            findings.wrong(&format!(
                "{dir}: {} (`run` waits for it, `once` leaves with 3)",
                explain(&err)
            ));
            return;
        }
    };
    let settle = settle_time(config.ready.settle, folder.kind());
    let settle = humantime::format_duration(settle);
    let kind = match folder.kind() {
        FsKind::Local | FsKind::LocalNoCtime => "on a local disk",
        FsKind::Share => "on a network or unknown file system",
    };
    match folder.names(&Rel::root()) {
        Ok(names) => findings.fine(&format!(
            "{dir} is {kind}, {} entries in it; a file is complete when it has been still for {settle}",
            names.len()
        )),
        Err(err) => findings.wrong(&format!("{dir} cannot be listed: {}", explain(&err))),
    }
    if config.watch.require_mount {
        let parent = Dir::at(&config.watch.dir.join(".."));
        if parent.is_ok_and(|parent| parent.same_fs(&folder)) {
            findings.wrong(&format!(
                "{dir} is not a mount point, and watch.require_mount is true"
            ));
        }
    }
    unsafe_share(config, folder.kind(), findings);
    writable(config, &folder, findings);
}

/// What the settle rule cannot see on a share.
fn unsafe_share(config: &Config, kind: FsKind, findings: &Findings) {
    let seen_end = matches!(
        config.check.format,
        Format::Json | Format::Xml | Format::Zip | Format::Gzip
    );
    if kind != FsKind::Share || config.ready.marker.is_some() || seen_end {
        return;
    }
    findings.warning(
        "a writer on another machine may hold a file open and show nothing of what it writes for up to a minute: \
         let writers use temporary names or a marker (ready.marker), or set check.format to one whose end can be seen \
         (json, xml, zip, gzip)",
    );
    if matches!(config.ready.settle, Settle::For(time) if time.as_secs() < 60) {
        findings
            .warning("ready.settle is below the 60 s that are the default on such a file system");
    }
}

/// Whether dirpost can make and change what it needs to.
fn writable(config: &Config, folder: &Dir, findings: &mut Findings) {
    let elsewhere = below(&config.watch.dir, &config.state.dir).is_none();
    let own_path = config.watch.dir.join(OWN_FOLDER);
    let own = folder.folder(&Rel::new(OWN_FOLDER.as_bytes()));
    // What is missing is made at the first start; whether it can be is seen by making any file.
    let tried = match &own {
        Ok(own) => try_writing(own, true),
        Err(err) if err.kind() == io::ErrorKind::NotFound => try_writing(folder, false),
        Err(err) => Err(explain(err)),
    };
    match tried {
        Ok(()) => findings.fine(match config.delivered.action {
            Action::Move => "dirpost can write to the folder; delivered files are moved",
            Action::Delete => "dirpost can write to the folder; delivered files are deleted",
            Action::Keep => "dirpost can write to the folder; delivered files stay",
        }),
        Err(why) if elsewhere && config.delivered.action == Action::Keep => findings.warning(&format!(
            "{}: {why}; taken for a read-only share: it gets no mark, and dead letters are copies",
            own_path.display()
        )),
        Err(why) => findings.wrong(&format!(
            "{}: {why} (a share that dirpost may not write to needs delivered.action = \"keep\" and a state.dir elsewhere)",
            own_path.display()
        )),
    }
    if elsewhere {
        let dir = config.state.dir.display();
        let state = Dir::at(&config.state.dir);
        match state {
            Ok(state) => match try_writing(&state, true) {
                Ok(()) => findings.fine(&format!("the state folder {dir} can be written to")),
                Err(why) => findings.wrong(&format!("the state folder {dir}: {why}")),
            },
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                findings.fine(&format!(
                    "the state folder {dir} will be made at the first start"
                ));
            }
            Err(err) => findings.wrong(&format!("the state folder {dir}: {}", explain(&err))),
        }
    }
}

fn try_writing(folder: &Dir, own: bool) -> Result<(), String> {
    if own {
        folder.is_private()?;
    }
    state::try_writing(folder).map_err(|err| explain(&err))
}

fn credentials(config: &Config, findings: &mut Findings) {
    let path = match &config.send.auth {
        None => return,
        Some(crate::config::Auth::Bearer { file }) => file,
        Some(crate::config::Auth::Basic { password_file, .. }) => password_file,
        Some(crate::config::Auth::Header { value_file, .. }) => value_file,
    };
    match std::fs::read(path) {
        Ok(bytes) if bytes.trim_ascii().is_empty() => {
            findings.wrong(&format!("send.auth: {} is empty", path.display()))
        }
        Ok(_) => findings.fine("the credentials can be read"),
        Err(err) => findings.wrong(&format!("send.auth: {}: {}", path.display(), explain(&err))),
    }
}

fn endpoint(config: &Config, findings: &mut Findings) {
    let client = Shared::new(&config.send).map(|shared| Client::new(&config.send, &shared));
    match client {
        Err(err) => findings.wrong(&err.to_string()),
        Ok(mut client) => {
            let probe = client.probe();
            if probe.fine {
                findings.fine(&probe.sentence)
            } else {
                findings.wrong(&probe.sentence)
            }
        }
    }
}
