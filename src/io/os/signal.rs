//! Signals become inputs: SIGTERM and SIGINT stop, SIGUSR1 looks at once, SIGHUP reads the configuration
//! again.
//! A second stop leaves at once.

use crate::flow::messages::Command;
#[cfg(unix)]
use crate::io::os::service;

/// How the process ends at the second stop: 128 + SIGINT, as shells count.
const KILLED: i32 = 130;

/// Starts the thread that waits for signals. It sleeps until one comes. `reload` has to come back at once.
///
/// # Errors
/// If a handler cannot be installed.
#[cfg(unix)]
pub fn listen(
    send: impl Fn(Command) + Send + 'static,
    reload: impl Fn() + Send + 'static,
) -> std::io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGUSR1, SIGHUP])?;
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            let mut stopping = false;
            for signal in signals.forever() {
                match signal {
                    SIGUSR1 => send(Command::Scan),
                    SIGHUP => reload(),
                    _ if stopping => leave(),
                    _ => {
                        stopping = true;
                        service::stopping();
                        send(Command::Stop);
                    }
                }
            }
        })?;
    Ok(())
}

/// Starts the thread that waits for Ctrl-C. There is nothing to sleep on here: it looks
/// five times a second.
///
/// # Errors
/// If a handler cannot be installed.
#[cfg(not(unix))]
pub fn listen(
    send: impl Fn(Command) + Send + 'static,
    _reload: impl Fn() + Send + 'static,
) -> std::io::Result<()> {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    let count = Arc::new(AtomicUsize::new(0));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let count = Arc::clone(&count);
        signal_hook::flag::register_usize(signal, Arc::clone(&count), 1)?;
    }
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            let mut stopping = false;
            loop {
                std::thread::sleep(std::time::Duration::from_millis(200));
                if count.swap(0, Ordering::Relaxed) > 0 {
                    if stopping {
                        leave();
                    }
                    stopping = true;
                    send(Command::Stop);
                }
            }
        })?;
    Ok(())
}

fn leave() {
    log::warn!(
        target: "dirpost",
        "second signal: leaving at once; what was in flight is sent again, under the same key"
    );
    log::logger().flush();
    std::process::exit(KILLED);
}
