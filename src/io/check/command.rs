//! Runs `check.command` on a file, with a timeout, and leaves nothing running behind.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// What stands for the file's path in an argument.
const PLACEHOLDER: &str = "{file}";
/// Upper bound on what of a command's words becomes the reason, in bytes.
const REASON_MAX: u64 = 2048;
/// How long the output of a command that has ended is still read.
const DRAIN: Duration = Duration::from_millis(200);
/// The same for what it was run for.
const DRAIN_OUTPUT: Duration = Duration::from_secs(5);
/// Upper bound on the pause between two looks whether a command has ended.
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// Runs a command on the file at `path`; its exit status and the start of what it wrote to stderr.
///
/// # Errors
/// `TimedOut` if it was not done within `timeout`; else those of starting it and of waiting. It has
/// ended then, with all that it has started.
pub(super) fn run(
    argv: &[String],
    path: &Path,
    timeout: Duration,
) -> io::Result<(ExitStatus, Vec<u8>)> {
    let mut command = Command::new(&argv[0]);
    command
        .args(argv[1..].iter().map(|arg| argument(arg, path.as_os_str())))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn()?;
    let stderr = child.stderr.take();
    let ended = stderr
        .map(|pipe| read_start(pipe, REASON_MAX))
        .transpose()
        .and_then(|said| Ok((wait(&mut child, timeout)?, said)));
    let (status, said) = ended.inspect_err(|_| kill(&mut child))?;
    // A grandchild that left the group may hold the pipe open for ever: it is not waited for.
    let said = said.and_then(|said| said.recv_timeout(DRAIN).ok());
    Ok((status, said.unwrap_or_default()))
}

/// What a command that was asked for a value has said.
pub(crate) struct Said {
    pub status: ExitStatus,
    /// The start of its standard output, so many bytes as were asked for at most.
    pub output: Vec<u8>,
    /// The start of what it wrote to stderr.
    pub complaint: Vec<u8>,
}

/// Runs a command for what it prints.
///
/// # Errors
/// `TimedOut` if it was not done within `timeout`; else those of starting it and of waiting. It has
/// ended then, with all that it has started.
pub(crate) fn ask(argv: &[String], most: u64, timeout: Duration) -> io::Result<Said> {
    let mut command = Command::new(&argv[0]);
    command
        .args(&argv[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let read = || {
        let output = stdout.map(|pipe| read_start(pipe, most)).transpose()?;
        let complaint = stderr
            .map(|pipe| read_start(pipe, REASON_MAX))
            .transpose()?;
        Ok((wait(&mut child, timeout)?, output, complaint))
    };
    let (status, output, complaint) = read().inspect_err(|_: &io::Error| kill(&mut child))?;
    let said = |from: Option<Receiver<Vec<u8>>>, within| {
        from.and_then(|from| from.recv_timeout(within).ok())
            .unwrap_or_default()
    };
    Ok(Said {
        status,
        output: said(output, DRAIN_OUTPUT),
        complaint: said(complaint, DRAIN),
    })
}

/// One argument, with the path in the place of `{file}`: byte by byte as it is on the disk, also
/// within a longer argument, for a name need not be text.
fn argument(arg: &str, path: &OsStr) -> OsString {
    let mut pieces = arg.split(PLACEHOLDER);
    let mut whole = OsString::from(pieces.next().unwrap_or_default());
    for piece in pieces {
        whole.push(path);
        whole.push(piece);
    }
    whole
}

/// Reads what a command says in a thread of its own, all of it, so that the command does not block;
/// gives where the start of it will come.
///
/// # Errors
/// The system's, if it gives the process no more threads.
fn read_start(
    mut pipe: impl io::Read + Send + 'static,
    most: u64,
) -> io::Result<Receiver<Vec<u8>>> {
    let (send, said) = channel();
    thread::Builder::new()
        .name("command-read".into())
        .stack_size(128 * 1024)
        .spawn(move || {
            let mut start = Vec::new();
            let _ = pipe.by_ref().take(most).read_to_end(&mut start);
            let _ = send.send(start);
            let _ = io::copy(&mut pipe, &mut io::sink());
        })?;
    Ok(said)
}

/// Waits for a child up to `timeout`. std has no wait with a timeout: it is looked at with growing
/// pauses.
///
/// # Errors
/// `TimedOut`, and those of waiting.
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
        thread::sleep(pause.min(timeout.saturating_sub(started.elapsed())));
        pause = (pause * 2).min(PAUSE_MAX);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_takes_the_place_of_every_placeholder() {
        let path = OsStr::new("/in/a b");
        for (arg, whole) in [
            ("{file}", "/in/a b"),
            ("--in={file}", "--in=/in/a b"),
            ("{file}:{file}", "/in/a b:/in/a b"),
            ("-v", "-v"),
            ("", ""),
            ("{files}", "{files}"),
        ] {
            assert_eq!(argument(arg, path), whole, "{arg}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_name_that_is_no_text_is_handed_over_as_it_is() {
        use std::os::unix::ffi::OsStrExt as _;
        let path = OsStr::from_bytes(b"/in/\xe4\xff{file}.csv");
        let whole = argument("--in={file},", path);
        assert_eq!(whole.as_bytes(), b"--in=/in/\xe4\xff{file}.csv,");
    }

    #[cfg(unix)]
    #[test]
    fn a_command_that_is_not_done_in_time_is_ended() {
        let argv = ["sleep", "600"].map(String::from);
        let started = Instant::now();
        let err = run(&argv, Path::new("x"), Duration::from_millis(50)).unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() < Duration::from_secs(60));
    }
}
