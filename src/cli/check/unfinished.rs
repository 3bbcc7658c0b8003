//! Files that rsync has not finished: dirpost waits for them, and nothing else shows why.

use std::collections::VecDeque;
use std::io;

use super::Findings;
use crate::cli::output::Printed;
use crate::config::Config;
use crate::flow::file::Rel;
use crate::flow::partial::Vouching;
use crate::io::dir::Dir;
use crate::io::os::error::explain;
use crate::io::scan::{filter_of, list};

/// After how many files no further folder is looked into: they take a second on a local disk, and
/// may take minutes on a slow share.
const LOOKS: usize = 20_000;
/// How many files are named; of the others only their number is said.
const NAMED: usize = 5;

/// Says which files of the watched folder `root` carry rsync's mark with nothing that vouches for
/// them.
pub(super) fn unfinished(config: &Config, root: &Dir, findings: &mut Findings) -> Printed {
    let filter = match filter_of(config) {
        Ok(filter) => filter,
        Err(err) => return findings.wrong(&err.to_string()),
    };
    let vouching = Vouching::new(config);
    let (mut waiting, mut looks) = (Vec::new(), 0);
    let mut folders = VecDeque::from([Rel::root()]);
    while let Some(path) = folders.pop_front() {
        if looks >= LOOKS {
            findings.fine(&format!(
                "only the first {looks} files were looked at for rsync's mark of an unfinished file"
            ))?;
            break;
        }
        let content = match list(root, &config.watch.dir, &filter, &path) {
            Ok(content) => content,
            // It went since its name was read. That of the watched folder itself was told of before.
            Err(err) if path == Rel::root() || err.kind() == io::ErrorKind::NotFound => continue,
            Err(err) => {
                findings.warning(&format!(
                    "{path} cannot be listed, and what is in it is not sent: {}",
                    explain(&err)
                ))?;
                continue;
            }
        };
        looks += content.files.len();
        folders.extend(content.folders.iter().map(|name| path.join(name)));
        let files = content.files.iter();
        let partial = files.filter(|(_, look)| vouching.waits(look.stamp, content.timeless));
        waiting.extend(partial.map(|(name, _)| path.join(name)));
    }
    tell(&waiting, findings)
}

fn tell(waiting: &[Rel], findings: &mut Findings) -> Printed {
    for path in waiting.iter().take(NAMED) {
        findings.warning(&format!(
            "{path}: rsync has not finished it (its mtime is in the first second of 1970, which is \
             rsync's mark): it waits until rsync has; if it is whole, touch it"
        ))?;
    }
    match waiting.len().saturating_sub(NAMED) {
        0 => Ok(()),
        1 => findings.warning("1 more file is one that rsync has not finished"),
        more => findings.warning(&format!(
            "{more} more files are such as rsync has not finished"
        )),
    }
}
