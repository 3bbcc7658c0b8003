//! CHECK: opens a file and judges its content.

pub mod formats;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use crate::config::{Check, Format};
use crate::flow::escape::escape;
use crate::flow::messages::{Inspected, Inspection};
use crate::io::check::formats::{Finding, validate};
use crate::io::dir::name_of;
use crate::io::share::Share;
use crate::io::upload::miss;

/// What a check needs.
#[derive(Debug)]
pub struct Inspector {
    pub share: Arc<Share>,
    pub check: Check,
    /// Whether anybody wants the digest of a file that is read here anyway.
    pub digest: bool,
}

/// How much of what a command says becomes the reason.
const REASON_MAX: u64 = 2048;
/// How long a command that prints and leaves may still have its output read.
const DRAIN: Duration = Duration::from_millis(200);

impl Inspector {
    /// Does one check.
    pub fn inspect(&self, job: &Inspection) -> Inspected {
        match self.try_inspect(job) {
            Ok(inspected) => inspected,
            Err(err) => Inspected::Missing(miss(&err)),
        }
    }

    fn try_inspect(&self, job: &Inspection) -> io::Result<Inspected> {
        let root = self.share.folder();
        let (file, before) = root.open(&job.path)?;
        if job.is_changed(&before) {
            return Ok(Inspected::Changed(Some(before)));
        }
        let mut sha256 = None;
        if self.check.format != Format::Any {
            let mut reader = Hashing::new(&file, self.digest);
            let finding = match validate(self.check.format, &mut reader, job.look.stamp.size) {
                // It became shorter while it was read.
                Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(Inspected::Changed(None));
                }
                other => other?,
            };
            sha256 = reader.finish(job.look.stamp.size);
            // A finding on a file that changed meanwhile says nothing.
            let (_, now) = root.open(&job.path)?;
            if job.is_changed(&now) {
                return Ok(Inspected::Changed(Some(now)));
            }
            // What moved since may have been a byte: the finding stands, the digest does not.
            sha256 = sha256.filter(|_| now == job.look);
            let format = name(self.check.format);
            match finding {
                Finding::Good => {}
                Finding::Unfinished(why) => {
                    return Ok(Inspected::Unfinished(format!(
                        "it is not whole as {format}: {why}"
                    )));
                }
                Finding::Bad(why) => {
                    return Ok(Inspected::Bad(format!("it is not {format}: {why}")));
                }
            }
        }
        drop(file);
        match &self.check.command {
            Some(argv) => Ok(self.ask(argv, job, sha256)),
            None => Ok(Inspected::Good { sha256 }),
        }
    }

    fn ask(&self, argv: &[String], job: &Inspection, sha256: Option<[u8; 32]>) -> Inspected {
        let path = self.share.path().join(name_of(job.path.as_bytes()));
        // On one line, whatever it wrote.
        let ran = run(argv, &path, self.check.command_timeout)
            .map(|(status, said)| (status, escape(said.trim_ascii()).replace("%0A", " ")));
        match ran {
            Ok((status, _)) if status.success() => Inspected::Good { sha256 },
            Ok((status, said)) if status.code() == Some(1) => {
                Inspected::CommandRejects(if said.is_empty() {
                    "check.command rejects it and says nothing".into()
                } else {
                    said
                })
            }
            Ok((status, said)) => {
                Inspected::Undecided(format!("check.command ended with {status}: {said}"))
            }
            Err(err) if err.kind() == io::ErrorKind::TimedOut => Inspected::Undecided(format!(
                "check.command was not done within check.command_timeout ({})",
                humantime::format_duration(self.check.command_timeout)
            )),
            Err(err) => {
                Inspected::Undecided(format!("check.command `{}` cannot be run: {err}", argv[0]))
            }
        }
    }
}

fn name(format: Format) -> &'static str {
    match format {
        Format::Any => "a file",
        Format::Utf8 => "UTF-8 text",
        Format::Json => "JSON",
        Format::Jsonl => "JSON Lines",
        Format::Xml => "XML",
        Format::Csv => "CSV",
        Format::Gzip => "gzip",
        Format::Zip => "zip",
    }
}

/// Runs a command on a file; its exit status and the start of what it wrote to stderr.
fn run(argv: &[String], path: &PathBuf, timeout: Duration) -> io::Result<(ExitStatus, Vec<u8>)> {
    let mut command = Command::new(&argv[0]);
    for arg in &argv[1..] {
        if arg == "{file}" {
            command.arg(path);
        } else if arg.contains("{file}") {
            // Only a name that is text can stand within a longer argument.
            command.arg(arg.replace("{file}", &path.to_string_lossy()));
        } else {
            command.arg(arg);
        }
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn()?;
    let stderr = child.stderr.take();
    let (send, said) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        if let Some(mut stderr) = stderr {
            let _ = stderr.by_ref().take(REASON_MAX).read_to_end(&mut said);
            let _ = send.send(said);
            // The rest is read as well, so that the command does not block on it.
            let _ = io::copy(&mut stderr, &mut io::sink());
        }
    });
    let status = wait(&mut child, timeout);
    if status.is_err() {
        kill(&mut child);
    }
    // A grandchild that left the group may hold the pipe open for ever: it is not waited for.
    let said = said.recv_timeout(DRAIN).unwrap_or_default();
    drop(reader);
    Ok((status?, said))
}

/// Waits for a child up to `timeout`. std has no wait with a timeout: looked at with growing
/// pauses, at most 50 ms.
fn wait(child: &mut Child, timeout: Duration) -> io::Result<ExitStatus> {
    let started = Instant::now();
    let mut pause = Duration::from_micros(500);
    loop {
        if has_ended(child) {
            end_group(child);
        }
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if started.elapsed() >= timeout {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(pause.min(timeout.saturating_sub(started.elapsed())));
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Whether a child has ended; it stays to be reaped. Where that cannot be told without reaping
/// it (OpenBSD's rustix, Windows), what it left behind is not ended either.
#[cfg(all(unix, not(any(target_os = "openbsd", target_os = "redox"))))]
fn has_ended(child: &Child) -> bool {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    pid_of(child).is_some_and(|pid| matches!(waitid(WaitId::Pid(pid), look), Ok(Some(_))))
}

#[cfg(not(all(unix, not(any(target_os = "openbsd", target_os = "redox")))))]
fn has_ended(_: &Child) -> bool {
    false
}

#[cfg(unix)]
fn pid_of(child: &Child) -> Option<rustix::process::Pid> {
    i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw)
}

/// Ends all that is in the group of a child that is not reaped yet: until then its number, and
/// so the group's, is nobody else's. Once it is reaped and the group is empty, the number may
/// be given to another process, and the signal would go there.
fn end_group(child: &Child) {
    #[cfg(unix)]
    if let Some(group) = pid_of(child) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    #[cfg(not(unix))]
    let _ = child;
}

/// Ends a command with all it has started.
fn kill(child: &mut Child) {
    end_group(child);
    let _ = child.kill();
    let _ = child.wait();
}

/// Digests what is read, as long as it is read from its start to its end.
struct Hashing<'a> {
    file: &'a File,
    hash: Option<Sha256>,
    at: u64,
}

impl<'a> Hashing<'a> {
    fn new(file: &'a File, wanted: bool) -> Hashing<'a> {
        Hashing {
            file,
            hash: wanted.then(Sha256::new),
            at: 0,
        }
    }

    fn finish(self, size: u64) -> Option<[u8; 32]> {
        self.hash
            .filter(|_| self.at == size)
            .map(|hash| hash.finalize().into())
    }
}

impl Read for Hashing<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let got = self.file.read(buf)?;
        if let Some(hash) = &mut self.hash {
            hash.update(&buf[..got]);
        }
        self.at += got as u64;
        Ok(got)
    }
}

impl Seek for Hashing<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = self.file.seek(to)?;
        if at != self.at {
            self.hash = None;
        }
        self.at = at;
        Ok(at)
    }
}
