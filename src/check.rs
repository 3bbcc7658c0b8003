//! `dirpost check`: what would happen, and what is wrong, without sending a file.

use std::process::ExitCode;

use crate::config::{Action, Config, Format, Settle};
use crate::flow::file::{FsKind, Rel};
use crate::flow::filter::OWN_FOLDER;
use crate::flow::still::settle_time;
use crate::run::code;
use crate::shell::deliver::{Client, Shared};
use crate::shell::folder::{Folder, draft_name};
use crate::shell::share::explain;

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
            println!("{count} {} wrong", if count == 1 { "thing is" } else { "things are" });
            ExitCode::from(code::FAILED)
        }
    }
}

fn folder(config: &Config, findings: &mut Findings) {
    let dir = config.watch.dir.display();
    let folder = match Folder::at(&config.watch.dir) {
        Ok(folder) => folder,
        Err(err) => {
            findings.wrong(&format!("{dir}: {} (`run` waits for it, `once` leaves with 3)", explain(&err)));
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
            "{dir} is {kind}, {} entries; a file is complete when it has been still for {settle}",
            names.len()
        )),
        Err(err) => findings.wrong(&format!("{dir} cannot be listed: {}", explain(&err))),
    }
    if config.watch.require_mount {
        let parent = Folder::at(&config.watch.dir.join(".."));
        if parent.is_ok_and(|parent| parent.same_fs(&folder)) {
            findings.wrong(&format!("{dir} is not a mount point, and watch.require_mount is true"));
        }
    }
    unsafe_share(config, folder.kind(), findings);
    writable(config, &folder, findings);
}

/// What the settle rule cannot see on a share.
fn unsafe_share(config: &Config, kind: FsKind, findings: &Findings) {
    let seen_end = matches!(config.check.format, Format::Json | Format::Xml | Format::Zip | Format::Gzip);
    if kind != FsKind::Share || config.ready.marker.is_some() || seen_end {
        return;
    }
    findings.warning(
        "a writer on another machine may hold a file open and show nothing of what it writes for up to a minute: \
         let writers use temporary names or a marker (ready.marker), or set check.format to one whose end can be seen \
         (json, xml, zip, gzip)",
    );
    if matches!(config.ready.settle, Settle::For(time) if time.as_secs() < 60) {
        findings.warning("ready.settle is below the 60 s that are the default on such a file system");
    }
}

fn writable(config: &Config, folder: &Folder, findings: &mut Findings) {
    let own = match folder.folder(&Rel::new(OWN_FOLDER.as_bytes())) {
        Ok(own) => own,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => {
            // It is made at the first start; whether it can be is seen by making any file.
            let name = draft_name();
            match folder.create(&name).and_then(|_| folder.remove(&name)) {
                Ok(()) => findings.fine("the state folder will be made at the first start"),
                Err(err) => findings.wrong(&format!(
                    "the state folder {} cannot be made: {}",
                    config.state.dir.display(),
                    explain(&err)
                )),
            }
            return;
        }
        Err(err) => {
            findings.wrong(&format!("{}/{OWN_FOLDER}: {}", config.watch.dir.display(), explain(&err)));
            return;
        }
    };
    if let Err(why) = own.is_private() {
        findings.wrong(&format!("{}/{OWN_FOLDER}: {why}", config.watch.dir.display()));
        return;
    }
    let name = draft_name();
    match own.create(&name).and_then(|_| own.remove(&name)) {
        Ok(()) => findings.fine(match config.delivered.action {
            Action::Move => "the state folder can be written to; delivered files are moved",
            Action::Delete => "the state folder can be written to; delivered files are deleted",
            Action::Keep => "the state folder can be written to; delivered files stay",
        }),
        Err(err) => findings.wrong(&format!("the state folder cannot be written to: {}", explain(&err))),
    }
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
    let client = Shared::new(&config.send).and_then(|shared| Client::new(&config.send, &shared));
    match client {
        Err(err) => findings.wrong(&err.to_string()),
        Ok(mut client) => {
            let probe = client.probe();
            if probe.fine { findings.fine(&probe.sentence) } else { findings.wrong(&probe.sentence) }
        }
    }
}
