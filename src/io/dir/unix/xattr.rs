//! Extended attributes of open files and folders (xattr(7)). Of Linux alone: macOS has others,
//! and a call for access lists that is none of these; the BSDs have other calls.

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) use self::linux::{copy_user_attributes, get, remove, set};
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) use self::none::{copy_user_attributes, get, remove, set};

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux {
    use std::ffi::{CStr, CString};
    use std::os::fd::AsFd;

    use rustix::fs::XattrFlags;
    use rustix::io::Errno;
    use rustix::path::Arg;

    /// The prefix of those that any program may set. Of the others none is ever copied: what is
    /// in them (`security.capability`, labels) the system believes.
    const USER: &[u8] = b"user.";
    /// How often what grows between the question for its size and the answer is asked for.
    const TRIES: usize = 10;

    /// The value of an attribute; `None` where there is none, or where there are none at all.
    pub fn get(fd: impl AsFd, name: impl Arg + Copy) -> Result<Option<Vec<u8>>, Errno> {
        let value = read(
            || rustix::fs::fgetxattr_query(&fd, name),
            |buffer| rustix::fs::fgetxattr(&fd, name, buffer),
        );
        match value {
            Ok(value) => Ok(Some(value)),
            Err(err) if err == Errno::NODATA || is_without(err) => Ok(None),
            Err(err) => Err(err),
        }
    }

    pub fn set(fd: impl AsFd, name: impl Arg, value: &[u8]) -> Result<(), Errno> {
        rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty())
    }

    pub fn remove(fd: impl AsFd, name: impl Arg) -> Result<(), Errno> {
        rustix::fs::fremovexattr(fd, name)
    }

    /// Copies what programs have noted down on a file. Says whether all of it could be; what
    /// could not be read, found no room or is not known to the other file system is left out.
    pub fn copy_user_attributes(from: impl AsFd, to: impl AsFd) -> bool {
        let names = match user_attributes(&from) {
            Ok(names) => names,
            Err(err) => return is_without(err),
        };
        let mut complete = true;
        for name in names {
            let copied = get(&from, name.as_c_str()).and_then(|value| match value {
                Some(value) => set(&to, name.as_c_str(), &value),
                // Removed meanwhile.
                None => Ok(()),
            });
            complete &= copied.is_ok();
        }
        complete
    }

    fn user_attributes(fd: impl AsFd) -> Result<Vec<CString>, Errno> {
        let list = read(
            || rustix::fs::flistxattr_query(&fd),
            |buffer| rustix::fs::flistxattr(&fd, buffer),
        )?;
        let names = list.split_inclusive(|byte| *byte == 0);
        Ok(names
            .filter(|name| name.starts_with(USER))
            .filter_map(|name| CStr::from_bytes_with_nul(name).ok())
            .map(CStr::to_owned)
            .collect())
    }

    fn read(
        size: impl Fn() -> Result<usize, Errno>,
        read: impl Fn(&mut [u8]) -> Result<usize, Errno>,
    ) -> Result<Vec<u8>, Errno> {
        for _ in 0..TRIES {
            let mut buffer = vec![0; size()?];
            match read(&mut buffer) {
                Ok(count) => {
                    buffer.truncate(count);
                    return Ok(buffer);
                }
                Err(Errno::RANGE) => {}
                Err(err) => return Err(err),
            }
        }
        Err(Errno::RANGE)
    }

    /// Whether the file system has no such attributes.
    fn is_without(err: Errno) -> bool {
        err == Errno::OPNOTSUPP || err == Errno::NOSYS
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod none {
    use std::os::fd::AsFd;

    use rustix::io::Errno;

    pub fn get(_: impl AsFd, _: &str) -> Result<Option<Vec<u8>>, Errno> {
        Ok(None)
    }

    pub fn set(_: impl AsFd, _: &str, _: &[u8]) -> Result<(), Errno> {
        Err(Errno::NOTSUP)
    }

    pub fn remove(_: impl AsFd, _: &str) -> Result<(), Errno> {
        Ok(())
    }

    pub fn copy_user_attributes(_: impl AsFd, _: impl AsFd) -> bool {
        true
    }
}
