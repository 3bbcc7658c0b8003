//! The example that comes with dirpost, config/dirpost.toml, and the mistakes in tests/data.

use super::*;

/// Every `# key = value` line without its `#`.
fn uncommented(text: &str) -> String {
    let plain = |line: &str| -> Option<String> {
        let line = line.strip_prefix("# ")?;
        let (key, _) = line.split_once(" = ")?;
        let is_key = key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        // The example of headers, next to the default.
        (is_key && key != "headers" && key != "fields").then(|| line.to_owned())
    };
    let lines: Vec<String> = text
        .lines()
        .map(|line| plain(line).unwrap_or_else(|| line.to_owned()))
        .collect();
    lines.join("\n")
}

fn keys_of(prefix: &str, table: &toml::de::DeTable<'_>, keys: &mut Vec<String>) {
    for (name, value) in table {
        let key = format!("{prefix}{}", name.get_ref());
        match value.get_ref() {
            toml::de::DeValue::Table(inner) if key != "send.headers" && key != "send.fields" => {
                keys_of(&format!("{key}."), inner, keys);
            }
            _ => keys.push(key),
        }
    }
}

#[test]
fn the_example_shows_every_key_with_its_default() {
    let path = at("config/dirpost.toml");
    let mut shipped = load(&path, &env).unwrap();
    let default = with("").unwrap();
    assert_eq!(shipped.file.as_ref(), Some(&path));
    shipped.file.clone_from(&default.file);
    assert_eq!(format!("{shipped:?}"), format!("{default:?}"));

    let text = std::fs::read_to_string(&path).unwrap();
    let full = uncommented(&text);
    let (config, mut problems, known) = resolved(&full);
    // All at once cannot be set: each shard has a state folder of its own.
    problems.retain(|problem| !problem.text.starts_with("cannot be set with watch.shard"));
    assert_eq!(problems, []);
    let config = config.unwrap();
    // These depend on watch.dir, so they are no comments by chance.
    assert_eq!(config.state.dir, default.state.dir);
    assert_eq!(config.delivered.dir, default.delivered.dir);
    assert_eq!(config.dead_letter.dir, default.dead_letter.dir);

    let mut shown = Vec::new();
    keys_of("", read::tree(&full, &path).unwrap().get_ref(), &mut shown);
    for key in &known {
        let last = key.rsplit('.').next().unwrap();
        // Only one kind of credentials can be set; the others are in the comment.
        let in_comment = key.starts_with("send.auth.") && text.contains(&format!("{last} = "));
        assert!(
            shown.contains(key) || in_comment,
            "{key} is not in the example"
        );
    }
    for key in &shown {
        assert!(known.contains(key), "{key}");
    }

    // What is commented out has no default, or one that follows from another key.
    let mut set = Vec::new();
    keys_of("", read::tree(&text, &path).unwrap().get_ref(), &mut set);
    let unset: Vec<&String> = shown.iter().filter(|key| !set.contains(key)).collect();
    assert_eq!(unset.len() + set.len(), shown.len());

    let refused = parse(&full, &path, &env).unwrap_err().to_string();
    for line in refused.lines() {
        assert!(line.contains("cannot be set with watch.shard"), "{line}");
    }
}

/// A file that is cut off anywhere, or has other line ends, is judged without a panic.
#[test]
fn any_part_of_the_example_is_judged() {
    let path = at("config/dirpost.toml");
    let full = uncommented(&std::fs::read_to_string(&path).unwrap());
    for end in (0..full.len())
        .step_by(11)
        .filter(|&end| full.is_char_boundary(end))
    {
        if let Err(error) = parse(&full[..end], &path, &env) {
            assert!(error.to_string().contains("dirpost.toml"));
        }
    }
    let text = format!("\u{feff}{}send.wokers = 1\r\n", BOTH.replace('\n', "\r\n"));
    let error = parse(&text, &path, &env).unwrap_err().to_string();
    assert!(
        error.contains("dirpost.toml:3: send.wokers: unknown key"),
        "{error}"
    );
}

#[test]
fn the_headers_of_the_example_are_fine() {
    let text = std::fs::read_to_string(at("config/dirpost.toml")).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("# headers = "))
        .unwrap();
    assert_eq!(
        with(&format!("send.headers = {line}"))
            .unwrap()
            .send
            .headers
            .len(),
        2
    );
}

/// Each file has lines `# expect: PART OF THE MESSAGE`.
#[test]
fn every_mistake_is_named() {
    let mut files: Vec<PathBuf> = std::fs::read_dir(at("tests/data/config-bad"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    files.sort();
    assert!(files.len() > 25, "only {} files", files.len());
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let expected: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# expect: "))
            .collect();
        assert!(!expected.is_empty(), "{name} expects nothing");
        let message = match load(&path, &env) {
            Ok(_) => panic!("{name} is accepted"),
            Err(error) => error.to_string(),
        };
        for part in &expected {
            assert!(message.contains(part), "{name}: no {part:?} in\n{message}");
        }
        assert!(
            !message.contains("s3cret"),
            "{name}: a secret in\n{message}"
        );
        // To read them all: cargo test every_mistake -- --nocapture
        println!(
            "{}",
            message.replace(&*path.with_file_name("").to_string_lossy(), "")
        );
        for line in message.lines() {
            assert!(line.contains(&name), "{name}: no file in {line:?}");
            let is_expected = expected.iter().any(|part| line.contains(part));
            assert!(is_expected, "{name}: not expected: {line}");
        }
    }
}
