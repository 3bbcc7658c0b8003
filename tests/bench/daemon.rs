//! The real binary, measured beside the limits of the system and beside what others use:
//!
//!     cargo bench --bench daemon -- --peer PROGRAM --write
//!
//! prints one table for each part and writes it to docs/performance.md, with how it was measured. `PROGRAM` is the plain
//! Go daemon (or anything with its flags `-dir -done -dead -url -workers -settle`); without it its rows are left out, as
//! those of curl and rclone where they are not installed. All that a table compares was measured in one run, in turn:
//! machines are noisy, ratios less so.
//!
//! `-- --quick` takes a minute or two; `-- rescan waiting` measures these parts alone.
//!
//! Linux only: it reads `/proc`.

#[cfg(target_os = "linux")]
mod common;
#[cfg(target_os = "linux")]
mod parts;
#[cfg(target_os = "linux")]
mod peers;
#[cfg(target_os = "linux")]
#[path = "../util/mod.rs"]
#[allow(unused_imports)]
mod util;

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("this benchmark reads Linux' /proc");
}

#[cfg(target_os = "linux")]
fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if peers::play(&words) {
        return;
    }
    let built = env!("CARGO_BIN_EXE_dirpost").into();
    let options = common::options::Options::parse(built, words.into_iter());
    let parts: Vec<&str> = parts::PARTS.iter().map(|part| part.name).collect();
    let unknown = |options: &common::options::Options| {
        options
            .parts
            .iter()
            .find(|part| !parts.contains(&part.as_str()))
            .map(|part| format!("there is no part {part}"))
    };
    let options = options.and_then(|options| unknown(&options).map_or(Ok(options), Err));
    match options {
        Ok(options) => measure(&options),
        Err(why) => {
            eprintln!(
                "{why}\n\n{}\n\nparts: {}",
                common::options::USAGE,
                parts.join(" ")
            );
            std::process::exit(2);
        }
    }
}

#[cfg(target_os = "linux")]
fn measure(options: &common::options::Options) {
    use common::options::Size;

    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/performance.md");
    for part in parts::PARTS.iter().filter(|part| options.wants(part.name)) {
        let mut table = (part.measure)(options);
        let note = match options.size {
            Size::Full => "",
            Size::Quick | Size::Tiny => {
                ". With --quick: smaller and shorter than the targets ask for"
            }
        };
        table.method = format!("{} {}{note}.", table.method, machine());
        println!("{table}");
        if options.write {
            let text = std::fs::read_to_string(page).expect("docs/performance.md");
            let text = common::table::put(&text, part.name, &table.to_string());
            std::fs::write(page, text).expect("docs/performance.md");
        }
    }
}

/// Where it was measured.
#[cfg(target_os = "linux")]
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("a processor without a name", |(_, model)| model);
    let system = rustix::system::uname();
    let release = system.release().to_string_lossy();
    let release = release.split('-').next().unwrap_or_default();
    format!("Measured on {cores} cores of {model}, Linux {release}")
}
