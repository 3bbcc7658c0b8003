//! CHECK: opens a file and judges its content.

pub(crate) mod command;
pub mod formats;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::config::{Check, Format};
use crate::flow::escape::escape;
use crate::flow::messages::{Inspected, Inspection};
use crate::io::check::formats::edges::edges;
use crate::io::check::formats::{Finding, validate};
use crate::io::dir::name_of;
use crate::io::share::Share;
use crate::io::upload::miss;

/// What a check needs.
#[derive(Debug)]
pub struct Inspector {
    /// Where the files are.
    pub share: Arc<Share>,
    /// What they must be.
    pub check: Check,
}

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
        if self.check.format != Format::Any || self.check.has_edges() {
            let mut reader = Hashing::new(&file);
            let finding = match look_within(&self.check, &mut reader, job.look.stamp.size) {
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
            match finding {
                Finding::Good => {}
                Finding::Unfinished(why) => return Ok(Inspected::Unfinished(why)),
                Finding::Bad(why) => return Ok(Inspected::Bad(why)),
            }
        }
        drop(file);
        if let Some(argv) = &self.check.command
            && let Some(wrong) = self.ask(argv, job)
        {
            return Ok(wrong);
        }
        if sha256.is_none() {
            sha256 = self.digest(job)?;
        }
        Ok(Inspected::Good { sha256 })
    }

    /// What a format that is not read from its start to its end (zip), or a command, has passed is
    /// read once more for its digest: without one a mere chmod during the upload would break it
    /// off, for nobody could tell whether what goes out is what was checked. `None` where anything
    /// has moved since the check began, or the file became shorter.
    fn digest(&self, job: &Inspection) -> io::Result<Option<[u8; 32]>> {
        let root = self.share.folder();
        let (file, before) = root.open(&job.path)?;
        if before != job.look {
            return Ok(None);
        }
        let mut reader = Hashing::new(&file);
        io::copy(
            &mut reader.by_ref().take(job.look.stamp.size),
            &mut io::sink(),
        )?;
        let sha256 = reader.finish(job.look.stamp.size);
        let (_, now) = root.open(&job.path)?;
        Ok(sha256.filter(|_| now == job.look))
    }

    /// Asks the command; gives what it has against the file, or against being asked.
    fn ask(&self, argv: &[String], job: &Inspection) -> Option<Inspected> {
        let path = self.share.path().join(name_of(job.path.as_bytes()));
        // On one line, whatever it wrote.
        let ran = command::run(argv, &path, self.check.command_timeout)
            .map(|(status, said)| (status, escape(said.trim_ascii()).replace("%0A", " ")));
        let wrong = match ran {
            Ok((status, _)) if status.success() => return None,
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
        };
        Some(wrong)
    }
}

/// Judges the first `size` bytes of `file` by its format and by what it begins and ends with, as
/// [`Inspector::inspect`] does; `check.command` is not asked.
///
/// # Errors
/// Those of reading; `UnexpectedEof` where the file is shorter by now.
pub fn judge(check: &Check, file: &File, size: u64) -> io::Result<Finding> {
    let mut reader = Hashing {
        file,
        hash: None,
        at: 0,
    };
    look_within(check, &mut reader, size)
}

/// The format, and then what it begins and ends with, which moves nothing that `reader` knows of.
fn look_within(check: &Check, reader: &mut Hashing, size: u64) -> io::Result<Finding> {
    let format = name(check.format);
    match validate(check.format, reader, size)? {
        Finding::Good => {}
        Finding::Unfinished(why) => {
            let why = format!("it is not whole as {format}: {why}");
            return Ok(Finding::Unfinished(why));
        }
        Finding::Bad(why) => return Ok(Finding::Bad(format!("it is not {format}: {why}"))),
    }
    let Check {
        starts_with,
        ends_with,
        ..
    } = check;
    let mut file = reader.file;
    edges(starts_with, ends_with, &mut file, size)
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
        Format::Pdf => "PDF",
    }
}

/// Digests what is read, as long as it is read from its start to its end.
struct Hashing<'a> {
    file: &'a File,
    hash: Option<Sha256>,
    at: u64,
}

impl<'a> Hashing<'a> {
    fn new(file: &'a File) -> Hashing<'a> {
        Hashing {
            file,
            hash: Some(Sha256::new()),
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
