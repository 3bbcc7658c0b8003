//! The metrics, the alerts and the dashboard.

use super::*;

#[test]
fn the_metrics_are_written_with_names_and_types_and_are_replaced_as_a_whole() {
    let dir = Dir::new();
    let server = Server::accepting();
    let place = Dir::new();
    let file = place.path().join("dirpost.prom");
    let more = format!(
        "ready.settle = \"0s\"\nreport.metrics_file = {:?}",
        file.display().to_string()
    );
    let text = config(dir.path(), &server.url(), &more);
    dir.write("a.csv", "abc");
    assert_eq!(once(&text, &[]).status.code(), Some(0));
    let metrics = std::fs::read_to_string(&file).unwrap();
    assert!(
        metrics.contains("\ndirpost_delivered_files_total 1\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("\ndirpost_delivered_bytes_total 3\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("\ndirpost_attempts_total{outcome=\"accepted\"} 1\n"),
        "{metrics}"
    );
    let named = |line: &str| line.split([' ', '{']).next().unwrap().to_string();
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let name = named(line);
        let of_histogram = ["_bucket", "_sum", "_count"];
        let of_histogram = of_histogram.iter().filter_map(|end| name.strip_suffix(end));
        let mut heads = vec![format!("# TYPE {name} ")];
        heads.extend(of_histogram.map(|name| format!("# TYPE {name} histogram")));
        assert!(
            heads.iter().any(|head| metrics.contains(head)),
            "{line} has no type"
        );
    }
    // The file was ready at once, and went at once.
    for line in [
        "dirpost_delivery_delay_seconds_bucket{le=\"60\"} 1",
        "dirpost_delivery_delay_seconds_bucket{le=\"+Inf\"} 1",
        "dirpost_delivery_delay_seconds_count 1",
    ] {
        assert!(metrics.lines().any(|it| it == line), "{line}: {metrics}");
    }
    assert_eq!(
        std::fs::read_dir(place.path()).unwrap().count(),
        1,
        "no draft stays"
    );
}

/// Runs promtool, from Debian's prometheus; `None`, and a line that says why, where it is not there.
#[cfg(target_os = "linux")]
fn promtool(args: &[&str], stdin: &[u8]) -> Option<String> {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    let started = Command::new("promtool")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(err) => {
            crate::util::skip(format!(
                "promtool (Debian: prometheus) cannot be started: {err}"
            ));
            return None;
        }
    };
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(stdin).unwrap();
    drop(pipe);
    let out = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    assert!(out.status.success(), "{said}");
    Some(said)
}

/// The metrics of a run in which one file was rejected and another one failed.
#[cfg(target_os = "linux")]
fn metrics_of_a_bad_run() -> String {
    let dir = Dir::new();
    let server = Server::start(|request| {
        Reaction::Answer(if request.path.contains("bad") {
            422
        } else {
            500
        })
    });
    let place = Dir::new();
    let file = place.join("dirpost.prom");
    let more = format!("report.metrics_file = {:?}", file.display().to_string());
    dir.write("a.csv", "a");
    dir.write("bad.csv", "b");
    once(
        &config(dir.path(), &server.url(), &more),
        &["--deadline", "2s"],
    );
    std::fs::read_to_string(&file).unwrap()
}

/// Sees that each name of a metric in `text` is one that dirpost has; gives how many there are.
#[cfg(target_os = "linux")]
fn known_names(text: &str, metrics: &str) -> usize {
    let names = text.split(|char: char| !(char.is_ascii_alphanumeric() || char == '_'));
    let names = names.filter(|name| name.starts_with("dirpost_"));
    let is_known = |name: &str| {
        let is_family = metrics.contains(&format!("# TYPE {name} "));
        let mut of_histogram = ["_bucket", "_sum", "_count"]
            .iter()
            .filter_map(|end| name.strip_suffix(end));
        is_family
            || of_histogram.any(|name| metrics.contains(&format!("# TYPE {name} histogram\n")))
    };
    names
        .inspect(|name| assert!(is_known(name), "{name}: {metrics}"))
        .count()
}

#[test]
#[cfg(target_os = "linux")]
fn promtool_finds_nothing_to_say_of_the_metrics_and_the_alerts_hold_what_their_tests_say() {
    let metrics = metrics_of_a_bad_run();
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/config/dirpost.rules.yml");
    let text = std::fs::read_to_string(rules).unwrap();
    assert!(known_names(&text, &metrics) >= 6, "{text}");
    let Some(said) = promtool(&["check", "metrics"], metrics.as_bytes()) else {
        return;
    };
    assert_eq!(said, "");
    let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/alerts.yml");
    promtool(&["test", "rules", tests], b"");
}

/// All texts of the dashboard that Prometheus is asked with.
#[cfg(target_os = "linux")]
fn queries(dashboard: &Value) -> Vec<String> {
    match dashboard {
        Value::Object(fields) => {
            let own = ["expr", "definition"];
            let own = own.iter().filter_map(|name| fields.get(*name)?.as_str());
            own.map(str::to_owned)
                .chain(fields.values().flat_map(queries))
                .collect()
        }
        Value::Array(members) => members.iter().flat_map(queries).collect(),
        _ => Vec::new(),
    }
}

#[test]
#[cfg(target_os = "linux")]
fn the_dashboard_asks_for_metrics_and_labels_that_dirpost_has() {
    let metrics = metrics_of_a_bad_run();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/grafana.json");
    let text = std::fs::read_to_string(path).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let queries = queries(&dashboard);
    assert!(queries.len() > 12, "{queries:?}");
    for query in &queries {
        assert!(known_names(query, &metrics) > 0, "{query}");
        // What a label is compared with is a value that it has, but for the dashboard's own variable.
        let compared = query.split(['{', ',', '}']).filter_map(|part| {
            let (label, values) = part.split_once('=')?;
            Some((label.trim_end_matches('!'), values.trim_matches(['~', '"'])))
        });
        for (label, values) in compared.filter(|(label, _)| *label != "instance") {
            for value in values.split('|') {
                let shown = format!("{label}=\"{value}\"");
                assert!(metrics.contains(&shown), "{query}: {shown}: {metrics}");
            }
        }
    }
    // That they are right as PromQL, promtool says of rules that are made of them.
    let mut rules = String::from("groups:\n- name: dashboard\n  rules:\n");
    let asked = queries.iter().filter(|it| !it.starts_with("label_values("));
    for (number, query) in asked.enumerate() {
        let query = query
            .replace("$__rate_interval", "5m")
            .replace("$instance", ".*");
        rules += &format!("  - record: dashboard:query:{number}\n    expr: {query:?}\n");
    }
    let place = Dir::new();
    let file = place.write("rules.yml", rules);
    promtool(&["check", "rules", file.to_str().unwrap()], b"");
}
