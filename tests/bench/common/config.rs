//! dirpost with a configuration of a measurement's own.

use std::path::Path;
use std::process::{Command, Stdio};

use super::folder::Folder;
use super::options::Options;
use super::process::Running;

/// What one process of dirpost is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The lines of the configuration file.
    lines: Vec<(String, String)>,
    /// Whether its log is not wanted, because it says what the measurement is about.
    quiet: bool,
}

impl Config {
    /// Watches `dir` for an endpoint at `url`: interval 1 s, settle 1 s, 4 workers.
    pub fn new(dir: &Path, url: &str) -> Config {
        let config = Config {
            lines: Vec::new(),
            quiet: false,
        };
        config
            .text("watch.dir", &dir.display().to_string())
            .text("send.url", url)
            .text("send.proxy", "none")
            .text("watch.interval", "1s")
            .text("ready.settle", "1s")
            .text("log.level", "warn")
    }

    /// With a string for this key.
    pub fn text(self, key: &str, value: &str) -> Config {
        self.value(key, &format!("'{value}'"))
    }

    /// With a value for this key, as TOML has it, in the place of the one that is there.
    pub fn value(mut self, key: &str, value: &str) -> Config {
        self.lines.retain(|(there, _)| there != key);
        self.lines.push((key.into(), value.into()));
        self
    }

    /// Without its log.
    pub fn quiet(mut self) -> Config {
        self.quiet = true;
        self
    }

    /// Starts `dirpost SUBCOMMAND` with it. The file lies in `beside`.
    pub fn start(&self, options: &Options, subcommand: &str, beside: &Folder) -> Running {
        Running::start(&mut self.command(options, subcommand, beside))
    }

    fn command(&self, options: &Options, subcommand: &str, beside: &Folder) -> Command {
        let path = beside.path().join("dirpost.toml");
        let lines: String = self
            .lines
            .iter()
            .map(|(key, value)| format!("{key} = {value}\n"))
            .collect();
        std::fs::write(&path, lines).expect("a configuration");
        let mut command = Command::new(&options.program);
        command
            .arg(subcommand)
            .arg("--config")
            .arg(path)
            .env_remove("RUST_LOG");
        if self.quiet {
            command.stderr(Stdio::null());
        }
        command
    }

    /// Whether the program understands it; tried on the folder that it watches.
    pub fn is_accepted(&self, options: &Options, beside: &Folder) -> bool {
        const WRONG_CONFIGURATION: i32 = 2;
        let mut command = self.command(options, "once", beside);
        let status = command
            .arg("--no-wait")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status.expect("dirpost").code() != Some(WRONG_CONFIGURATION)
    }
}
