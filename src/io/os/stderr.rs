//! What stderr is connected to.

/// Whether stderr goes to journald: the variable `JOURNAL_STREAM` names its device and inode
/// (systemd.exec(5)). The variable alone says nothing: what a service starts inherits it, also with
/// a stderr of its own.
#[cfg(unix)]
pub fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    // The types differ from platform to platform.
    #[allow(clippy::unnecessary_cast)]
    rustix::fs::fstat(std::io::stderr())
        .is_ok_and(|stat| is_stream(&stream, stat.st_dev as u64, stat.st_ino as u64))
}

/// journald is Linux's.
#[cfg(not(unix))]
pub fn is_journal() -> bool {
    false
}

/// Whether `stream`, as `8:1234`, is this device and inode, in decimal numbers.
#[cfg(unix)]
fn is_stream(stream: &str, device: u64, inode: u64) -> bool {
    stream
        .split_once(':')
        .is_some_and(|(dev, ino)| dev.parse() == Ok(device) && ino.parse() == Ok(inode))
}

#[cfg(all(test, unix))]
mod tests {
    use super::is_stream;

    #[test]
    fn the_stream_is_told_by_device_and_inode() {
        assert!(is_stream("8:1234", 8, 1234));
        for other in [
            "8:1235", "9:1234", "8:", ":1234", "8", "", "8:1234:1", "a:b",
        ] {
            assert!(!is_stream(other, 8, 1234), "{other}");
        }
    }
}
