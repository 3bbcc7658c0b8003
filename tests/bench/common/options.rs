//! What the command line asks for.

use std::path::PathBuf;

/// What is measured, and on what.
#[derive(Clone, Debug)]
pub struct Options {
    /// The binary that is measured.
    pub program: PathBuf,
    /// Another dirpost, such as the one before a change, that is to be measured in turn with it.
    pub before: Option<PathBuf>,
    /// How many rounds, if not as many as the size has.
    pub rounds: Option<usize>,
    /// The plain Go daemon, or anything with its flags.
    pub peer: Option<PathBuf>,
    pub size: Size,
    /// Whether the tables go into docs/performance.md.
    pub write: bool,
    /// The parts that are wanted; all if empty.
    pub parts: Vec<String>,
    /// The folder in which files are made.
    pub place: PathBuf,
}

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// What the targets speak of.
    Full,
    /// A tenth or less, in a minute or two.
    Quick,
    /// Enough to see that it works.
    Tiny,
}

impl Size {
    /// One of three figures.
    pub fn pick<T>(self, full: T, quick: T, tiny: T) -> T {
        match self {
            Size::Full => full,
            Size::Quick => quick,
            Size::Tiny => tiny,
        }
    }
}

pub const USAGE: &str = "\
cargo bench --bench daemon -- [PART ...] [--quick | --tiny] [--peer PROGRAM] [--program PROGRAM]
    [--before PROGRAM] [--rounds N] [--in FOLDER] [--write]

  PART       what is measured; all if none is named
  --quick    smaller sizes and fewer rounds: for a first impression, not for a comparison
  --tiny     a handful of files: only to see that it works
  --peer     the plain Go daemon (flags: -dir -done -dead -url -workers -settle)
  --program  another dirpost than the one that was just built
  --before   another dirpost that `deliver` measures in turn with it
  --rounds   how many rounds each comparison has
  --in       where the files are made; the folder for temporary files otherwise
  --write    put the tables into docs/performance.md as well";

impl Options {
    /// From the words after the program's name; `program` is the binary that was just built.
    ///
    /// # Errors
    /// A sentence, if something is not understood.
    pub fn parse(program: PathBuf, words: impl Iterator<Item = String>) -> Result<Options, String> {
        let mut options = Options {
            program,
            before: None,
            rounds: None,
            peer: None,
            size: Size::Full,
            write: false,
            parts: Vec::new(),
            place: std::env::temp_dir(),
        };
        let mut words = words;
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            let mut path = || {
                let path = value()?;
                std::path::absolute(&path).map_err(|err| format!("{path}: {err}"))
            };
            match &*word {
                // What cargo itself says to every benchmark.
                "--bench" => {}
                "--quick" => options.size = Size::Quick,
                "--tiny" => options.size = Size::Tiny,
                "--write" => options.write = true,
                "--peer" => options.peer = Some(path()?),
                "--program" => options.program = path()?,
                "--before" => options.before = Some(path()?),
                "--rounds" => {
                    let rounds = value()?.parse::<usize>().ok().filter(|&rounds| rounds > 0);
                    options.rounds = Some(rounds.ok_or("--rounds needs a number")?);
                }
                "--in" => options.place = path()?,
                option if option.starts_with('-') => return Err(format!("{option} is no option")),
                part => options.parts.push(part.into()),
            }
        }
        Ok(options)
    }

    /// How many rounds a comparison has.
    pub fn rounds(&self, full: usize, quick: usize) -> usize {
        self.rounds.unwrap_or(self.size.pick(full, quick, 1))
    }

    /// Whether this part is wanted.
    pub fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|wanted| wanted == part)
    }
}
