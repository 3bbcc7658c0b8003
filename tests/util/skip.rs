//! How a test says that it does nothing on this machine.

use std::io::Write as _;

/// Says which test is skipped, and why.
///
/// The line goes to stderr itself: what `eprintln!` prints is swallowed by the test harness when the
/// test passes, and a skipped test passes. The harness names a test's thread after the test; with
/// `--test-threads=1` it has no thread of its own, and the harness has printed its name just before.
pub fn skip(why: impl std::fmt::Display) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("a thread without a name");
    let _ = writeln!(std::io::stderr(), "SKIPPED {name}: {why}");
}
