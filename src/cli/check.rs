//! `dirpost check`: what would happen, and what is wrong, without sending a file.

mod census;

use std::io;
use std::path::Path;

use super::exit::Exit;
use super::output::{Output, PrintError, Printed};
use crate::config::{Action, Config, Settle};
use crate::flow::file::{FsKind, Rel};
use crate::flow::scan::filter::OWN_FOLDER;
use crate::flow::settle::settle_time;
use crate::io::dir::Dir;
use crate::io::dir::below;
use crate::io::http::{Client, Shared};
use crate::io::journal;
use crate::io::listen;
use crate::io::os::error::explain;
use crate::io::os::files::read_regular;
use crate::io::os::{mounts, users};
use crate::io::share::access::{self, Guard};
use crate::io::share::state;

/// What was found, said line by line.
struct Findings<'a, 'out> {
    out: &'a mut Output<'out>,
    wrong: usize,
    /// Each file is listed.
    lists: bool,
    /// What is in order is not said.
    quiet: bool,
}

impl Findings<'_, '_> {
    fn fine(&mut self, text: &str) -> Printed {
        if self.quiet {
            return Ok(());
        }
        self.out.line(&format!("ok       {text}"))
    }

    fn warning(&mut self, text: &str) -> Printed {
        self.out.line(&format!("warning  {text}"))
    }

    fn wrong(&mut self, text: &str) -> Printed {
        self.wrong += 1;
        self.out.line(&format!("WRONG    {text}"))
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What is looked at.
    pub config: &'a Config,
    /// The endpoint is asked as well.
    pub asks_endpoint: bool,
    /// Each file is listed, with what would become of it.
    pub lists: bool,
    /// Only what is wrong, and what is warned of, is said.
    pub quiet: bool,
}

/// Looks at everything, prints a line for each finding; the exit code says whether
/// something is wrong.
pub fn check(request: &Request<'_>, out: &mut Output<'_>) -> Exit {
    let mut findings = Findings {
        out,
        wrong: 0,
        lists: request.lists,
        quiet: request.quiet,
    };
    match look_at_all(request.config, request.asks_endpoint, &mut findings) {
        Ok(()) if findings.wrong == 0 => Exit::Success,
        Ok(()) => Exit::Failed,
        // Nobody has read the verdict, and it was not reached.
        Err(err) => err.exit(Exit::Failed),
    }
}

fn look_at_all(config: &Config, asks_endpoint: bool, findings: &mut Findings) -> Printed {
    findings.fine("the configuration is valid")?;
    folder(config, findings)?;
    let wrong = findings.wrong;
    credentials(config, findings)?;
    let has_credentials = findings.wrong == wrong;
    listening(config, findings)?;
    if !has_credentials {
        findings.warning("the endpoint is not asked without credentials")?;
    } else if asks_endpoint {
        endpoint(config, findings)?;
    } else {
        findings
            .fine("no endpoint was named, and none was asked: dirpost check DIR URL asks it")?;
    }
    match findings.wrong {
        0 => Ok(()),
        1 => findings.out.line("1 thing is wrong"),
        count => findings.out.line(&format!("{count} things are wrong")),
    }
}

fn folder(config: &Config, findings: &mut Findings) -> Printed {
    let dir = config.watch.dir.display();
    let folder = match Dir::at(&config.watch.dir) {
        Ok(folder) => folder,
        Err(_) if config.watch.dir.is_file() => {
            return findings.wrong(&format!(
                "watch.dir: {dir} is a file: name the folder whose files are to be sent"
            ));
        }
        Err(err) => {
            return findings.wrong(&format!(
                "{dir}: {} (`run` waits for it, `once` leaves with 3)",
                explain(&err)
            ));
        }
    };
    let settle = settle_time(config.ready.settle, folder.kind());
    let settle = humantime::format_duration(settle);
    let kind = match folder.kind() {
        FsKind::Local | FsKind::LocalNoCtime => "on a local disk",
        FsKind::Share => "on a network or unknown file system",
    };
    match folder.names(&Rel::root()) {
        Ok(_) => findings.fine(&format!(
            "{dir} is {kind}; a file is complete when it has been still for {settle}"
        ))?,
        Err(err) => findings.wrong(&format!("{dir} cannot be listed: {}", explain(&err)))?,
    }
    if config.watch.require_mount {
        let parent = Dir::at(&config.watch.dir.join(".."));
        if parent.is_ok_and(|parent| parent.same_fs(&folder)) {
            findings.wrong(&format!(
                "{dir} is not a mount point, and watch.require_mount is true"
            ))?;
        }
    }
    census::census(config, &folder, findings.lists, findings)?;
    unsafe_share(config, folder.kind(), findings)?;
    unguarded(config, &folder, findings)?;
    writable(config, &folder, findings)
}

/// What the settle rule cannot see on a share.
fn unsafe_share(config: &Config, kind: FsKind, findings: &mut Findings) -> Printed {
    if kind != FsKind::Share || config.ready.marker.is_some() || config.check.sees_end() {
        return Ok(());
    }
    findings.warning(
        "a writer on another machine may hold a file open and show nothing of what it writes for \
         up to a minute: let writers use temporary names or a marker (ready.marker), or set \
         check.format to one whose end can be seen (json, xml, zip, gzip, pdf) or check.ends_with",
    )?;
    if matches!(config.ready.settle, Settle::For(time) if time.as_secs() < 60) {
        findings
            .warning("ready.settle is below the 60 s that are the default on such a file system")?;
    }
    Ok(())
}

/// Whether a lock on the share keeps a dirpost on another machine out.
fn unguarded(config: &Config, folder: &Dir, findings: &mut Findings) -> Printed {
    match folder.mount_id().and_then(mounts::local_locks) {
        Some(option) => findings.warning(&format!(
            "{} is mounted with {option}: a lock in it is known to this machine alone, and a dirpost on \
             another one would send every file as well. Run only one, or mount it without {option}",
            config.watch.dir.display()
        )),
        None => Ok(()),
    }
}

/// Whether dirpost can make and change what it needs to.
fn writable(config: &Config, folder: &Dir, findings: &mut Findings) -> Printed {
    let elsewhere = below(&config.watch.dir, &config.state.dir).is_none();
    let may_be_read_only = elsewhere && config.delivered.action == Action::Keep;
    // On a disk that is full an empty file can still be made, and no state can be kept.
    let try_writing = if elsewhere {
        state::try_writing
    } else {
        journal::try_room
    };
    let own_path = config.watch.dir.join(OWN_FOLDER);
    let own = folder.folder(&Rel::new(OWN_FOLDER.as_bytes()));
    // What is missing is made at the first start; whether it can be is seen by making any file.
    let tried = match &own {
        Ok(own) => {
            let tried = try_writing(own);
            match tried {
                Err(err) if may_be_read_only && state::is_read_only(&err) => Err(explain(&err)),
                _ if !guarded(own, &own_path, (config, findings))? => return Ok(()),
                tried => tried.map_err(|err| explain(&err)),
            }
        }
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            try_writing(folder).map_err(|err| explain(&err))
        }
        Err(err) => Err(explain(err)),
    };
    match tried {
        Ok(()) => findings.fine(match config.delivered.action {
            Action::Move => "dirpost can write to the folder; delivered files are moved",
            Action::Delete => "dirpost can write to the folder; delivered files are deleted",
            Action::Keep => "dirpost can write to the folder; delivered files stay",
        }),
        Err(why) if may_be_read_only => findings.warning(&format!(
            "{}: {why}; taken for a read-only folder: it gets no mark, and dead letters are copies",
            own_path.display()
        )),
        Err(why) => findings.wrong(&format!(
            "{}: {why} (a folder that dirpost may not write to needs delivered.action = \"keep\" \
             and a state.dir elsewhere)",
            own_path.display()
        )),
    }?;
    wider_targets(config, folder, findings)?;
    if elsewhere {
        state_elsewhere(config, findings)?;
    }
    Ok(())
}

/// Which folders that files go to are there already, and open to more users than the watched one.
fn wider_targets(config: &Config, folder: &Dir, findings: &mut Findings) -> Printed {
    for target in [&config.delivered.dir, &config.dead_letter.dir] {
        // One that is missing is made no wider; one that cannot be opened is told of when a file
        // goes there.
        let Ok(dir) = Dir::at(target) else { continue };
        if dir.is_wider_than(folder).unwrap_or(false) {
            findings.warning(&format!(
                "{}: it is open to more users than {}: what is filed there can be read by others",
                target.display(),
                config.watch.dir.display()
            ))?;
        }
    }
    Ok(())
}

fn state_elsewhere(config: &Config, findings: &mut Findings) -> Printed {
    let dir = config.state.dir.display();
    match Dir::at(&config.state.dir) {
        Ok(state) if !guarded(&state, &config.state.dir, (config, findings))? => Ok(()),
        Ok(state) => match journal::try_room(&state).map_err(|err| explain(&err)) {
            Ok(()) => findings.fine(&format!("the state folder {dir} can be written to")),
            Err(why) => findings.wrong(&format!("the state folder {dir}: {why}")),
        },
        Err(err) if err.kind() == io::ErrorKind::NotFound => findings.fine(&format!(
            "the state folder {dir} will be made at the first start"
        )),
        Err(err) => findings.wrong(&format!("the state folder {dir}: {}", explain(&err))),
    }
}

/// Who else may write to a folder of dirpost's own. False if it is another user's: then nothing
/// more is to be tried there.
fn guarded(
    folder: &Dir,
    path: &Path,
    (config, findings): (&Config, &mut Findings),
) -> Result<bool, PrintError> {
    let state = &config.state.dir;
    match access::look_at(folder, path) {
        Ok(Guard::Private) => {}
        Ok(Guard::Wide { mode }) => findings.warning(&format!(
            "{}: others may write to it (mode {mode:04o}): dirpost takes that from them at its \
             next start",
            path.display()
        ))?,
        Ok(Guard::Unknown(shown)) => {
            let holds_state = path.starts_with(state) || state.starts_with(path);
            findings.warning(&access::meaning(path, &shown, holds_state))?;
        }
        // A look at a service by its administrator.
        Ok(Guard::Foreign(why)) if users::is_root() => {
            findings.warning(&why)?;
            return Ok(false);
        }
        Ok(Guard::Foreign(why)) => {
            findings.wrong(&why)?;
            return Ok(false);
        }
        Err(err) => {
            findings.wrong(&err.to_string())?;
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether `report.listen` can be listened at, and who else reads there.
fn listening(config: &Config, findings: &mut Findings) -> Printed {
    let Some(address) = &config.report.listen else {
        return Ok(());
    };
    match listen::try_binding(address) {
        Ok(()) => findings.fine(&format!("report.listen: {address} can be listened at")),
        // Its socket is not tried: that of a dirpost that works would be in the way.
        Err(err) if err.kind() == io::ErrorKind::AddrInUse => findings.fine(&format!(
            "report.listen: something listens at {address}: the dirpost of this configuration, if it runs"
        )),
        Err(err) => findings.wrong(&format!("report.listen: {address}: {}", explain(&err))),
    }?;
    if listen::is_reached_from_elsewhere(address) {
        findings.warning(&format!(
            "report.listen: {address} may be reached from other machines, and whoever reaches it reads names \
             of files, what the endpoint says and how much goes there; 127.0.0.1, or a unix: socket behind a \
             web server that asks who it is, keep that here"
        ))?;
    }
    Ok(())
}

/// Upper bound on a file of credentials, in bytes, as for delivery.
const CREDENTIALS_MAX: u64 = 64 * 1024;

fn credentials(config: &Config, findings: &mut Findings) -> Printed {
    let path = match &config.send.auth {
        None => return Ok(()),
        Some(crate::config::Auth::Bearer { file }) => file,
        Some(crate::config::Auth::Basic { password_file, .. }) => password_file,
        Some(crate::config::Auth::Header { value_file, .. }) => value_file,
        // Its profiles are read when the endpoint is asked.
        Some(crate::config::Auth::Aws(aws)) => &aws.credentials_file,
        // It is run when the endpoint is asked.
        Some(crate::config::Auth::Command { .. }) => return Ok(()),
    };
    match read_regular(path, CREDENTIALS_MAX) {
        Ok(bytes) if bytes.trim_ascii().is_empty() => {
            findings.wrong(&format!("send.auth: {} is empty", path.display()))
        }
        Ok(_) => findings.fine("the credentials can be read"),
        Err(err) => findings.wrong(&format!("send.auth: {}: {}", path.display(), explain(&err))),
    }
}

/// Files of one name in different folders that have one address.
fn one_address(config: &Config, findings: &mut Findings) -> Printed {
    let send = &config.send;
    let is_in = |text: &str, words: &[&str]| words.iter().any(|word| text.contains(word));
    let unique = ["{path}", "{key}", "{sha256}"];
    let named = ["{name}", "{stem}"]
        .into_iter()
        .find(|word| send.url.contains(word));
    let told =
        is_in(&send.url, &unique) || send.headers.iter().any(|(_, value)| is_in(value, &unique));
    match named {
        Some(word) if !told && config.watch.max_depth != Some(1) => findings.warning(&format!(
            "send.url has {word} in it and not {{path}}: files of one name in different folders have \
             one address there, and the later may replace the earlier; write {{path}}, or \
             watch.max_depth = 1"
        )),
        _ => Ok(()),
    }
}

fn endpoint(config: &Config, findings: &mut Findings) -> Printed {
    one_address(config, findings)?;
    let client = Shared::new(&config.send).map(|shared| Client::new(&config.send, &shared));
    match client {
        Err(err) => findings.wrong(&err.to_string()),
        Ok(mut client) => {
            let probe = client.probe();
            if let Some(certificate) = &probe.certificate {
                findings.fine(&format!("the endpoint presents a {certificate}"))?;
            }
            if probe.fine {
                findings.fine(&probe.sentence)
            } else {
                findings.wrong(&probe.sentence)
            }
        }
    }
}
