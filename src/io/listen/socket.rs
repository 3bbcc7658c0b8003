//! The sockets: TCP, and `unix:` where there is such.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use crate::config::Listen;

/// A socket that is listened at.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener),
}

impl Listener {
    /// Binds `address`. A name is looked up.
    ///
    /// # Errors
    /// Those of the system; for a `unix:` socket also where another process listens there, or where its
    /// group cannot be set.
    pub fn bind(address: &Listen) -> io::Result<Listener> {
        match address {
            Listen::Tcp { host, port } => {
                TcpListener::bind((host.as_str(), *port)).map(Listener::Tcp)
            }
            #[cfg(unix)]
            Listen::Unix(path) => unix::bind(path).map(Listener::Unix),
            #[cfg(not(unix))]
            Listen::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Where it is found: as `address` says, with the port that the system has chosen.
    pub fn shown(&self, address: &Listen) -> String {
        match self {
            Listener::Tcp(listener) => match (address, listener.local_addr()) {
                (Listen::Tcp { host, port: 0 }, Ok(bound)) => {
                    let (host, port) = (host.clone(), bound.port());
                    format!("http://{}/", Listen::Tcp { host, port })
                }
                _ => format!("http://{address}/"),
            },
            #[cfg(unix)]
            Listener::Unix(_) => address.to_string(),
        }
    }

    /// The next connection.
    ///
    /// # Errors
    /// Those of accept(2).
    pub fn accept(&self) -> io::Result<Stream> {
        Ok(match self {
            Listener::Tcp(listener) => Stream::Tcp(listener.accept()?.0),
            #[cfg(unix)]
            Listener::Unix(listener) => Stream::Unix(listener.accept()?.0),
        })
    }
}

/// A connection.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Stream {
    /// What is read or written next is given up at `until`.
    ///
    /// # Errors
    /// It is over, or the socket takes no such bound.
    pub fn wait_until(&self, until: Instant) -> io::Result<()> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.wait_no_longer_than(left)
    }

    /// What is read or written next is given up after so long.
    ///
    /// # Errors
    /// The socket takes no such bound.
    pub fn wait_no_longer_than(&self, bound: Duration) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream
                .set_read_timeout(Some(bound))
                .and_then(|()| stream.set_write_timeout(Some(bound))),
            #[cfg(unix)]
            Stream::Unix(stream) => stream
                .set_read_timeout(Some(bound))
                .and_then(|()| stream.set_write_timeout(Some(bound))),
        }
    }

    /// Nothing more is written.
    ///
    /// # Errors
    /// The client is gone.
    pub fn end(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buf),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(buf),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Looks whether a socket could be made at `path`.
///
/// # Errors
/// Its folder is not there, something else is at its place, or (`AddrInUse`) somebody listens there.
pub(super) fn look_at(path: &std::path::Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        std::fs::read_dir(path.parent().unwrap_or(path))?;
        match unix::find(path)? {
            unix::Found::Live => Err(io::ErrorKind::AddrInUse.into()),
            unix::Found::Nothing | unix::Found::Stale => Ok(()),
        }
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(unix)]
mod unix {
    use std::fs;
    use std::io;
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::Path;

    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind as bind_to, listen, socket};

    /// How many connections may wait to be accepted.
    const BACKLOG: i32 = 128;
    /// For the owner, and for the group of the folder: that of a web server or a collector.
    const MODE: u32 = 0o660;

    /// Binds `path`. Nobody can connect before listen(2), which comes after mode and group are set: so it
    /// is at no moment open to more users, whatever the umask is.
    pub(super) fn bind(path: &Path) -> io::Result<UnixListener> {
        match find(path)? {
            Found::Nothing => {}
            Found::Stale => fs::remove_file(path)?,
            Found::Live => return Err(io::ErrorKind::AddrInUse.into()),
        }
        let address = SocketAddrUnix::new(path)?;
        let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
        // No flag for it on macOS.
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
        bind_to(&socket, &address)?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
        let group = fs::metadata(folder)?.gid();
        if fs::symlink_metadata(path)?.gid() != group {
            chown(path, None, Some(group)).map_err(|err| {
                // Nobody listens there yet; the next try begins from the start.
                let _ = fs::remove_file(path);
                io::Error::new(
                    err.kind(),
                    format!(
                        "the socket cannot be given the group of its folder ({group}): {err}; add \
                         dirpost's user to that group, or give the folder one of its own"
                    ),
                )
            })?;
        }
        listen(&socket, BACKLOG)?;
        Ok(UnixListener::from(socket))
    }

    /// What is found at the place of a socket.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) enum Found {
        Nothing,
        /// The socket of a process that has ended.
        Stale,
        /// Somebody listens there.
        Live,
    }

    /// Looks what is at `path`.
    ///
    /// # Errors
    /// Something else than a socket, or it cannot be looked at.
    pub(super) fn find(path: &Path) -> io::Result<Found> {
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "there is something else than a socket; move it away",
                ));
            }
            Ok(_) => {}
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(err) => return Err(err),
        }
        match UnixStream::connect(path) {
            Ok(_) => Ok(Found::Live),
            Err(err) if err.kind() == io::ErrorKind::ConnectionRefused => Ok(Found::Stale),
            Err(err) => Err(err),
        }
    }
}
