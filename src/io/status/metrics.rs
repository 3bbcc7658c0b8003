//! The metrics, in the text format of Prometheus
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>), with names and units by its
//! conventions: base units, `_total` for counters, moments as `_timestamp_seconds`.

use std::fmt::Write as _;

use crate::flow::status::{Delays, Part, Status};
use crate::flow::time::Wall;

/// All metrics of a status.
pub fn text(status: &Status) -> String {
    let mut out = Text::default();
    of_process(status, &mut out);
    of_deliveries(status, &mut out);
    of_files(status, &mut out);
    of_endpoint(status, &mut out);
    of_scans(status, &mut out);
    out.0
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP dirpost_{name} {help}");
        let _ = writeln!(self.0, "# TYPE dirpost_{name} {kind}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
        self.head(name, kind, help);
        let _ = writeln!(self.0, "dirpost_{name} {value}");
    }

    /// A histogram of times: its classes are cumulative, and the last one, which has no bound, is the
    /// count.
    fn histogram(&mut self, name: &str, help: &str, delays: &Delays) {
        self.head(name, "histogram", help);
        for (bound, count) in delays.up_to() {
            let bound = millis(bound);
            let _ = writeln!(self.0, "dirpost_{name}_bucket{{le=\"{bound}\"}} {count}");
        }
        let (count, sum) = (delays.count(), millis(delays.sum_ms()));
        let _ = writeln!(self.0, "dirpost_{name}_bucket{{le=\"+Inf\"}} {count}");
        let _ = writeln!(self.0, "dirpost_{name}_sum {sum}");
        let _ = writeln!(self.0, "dirpost_{name}_count {count}");
    }

    fn each<V: std::fmt::Display>(
        &mut self,
        (name, kind, help): (&str, &str, &str),
        label: &str,
        values: impl IntoIterator<Item = (String, V)>,
    ) {
        self.head(name, kind, help);
        for (of, value) in values {
            let of = of.replace('\\', "\\\\").replace('"', "\\\"");
            let of = of.replace('\n', "\\n");
            let _ = writeln!(self.0, "dirpost_{name}{{{label}=\"{of}\"}} {value}");
        }
    }
}

fn seconds(wall: Wall) -> f64 {
    wall.0 as f64 / 1e9
}

/// Milliseconds in seconds.
fn millis(millis: u64) -> f64 {
    millis as f64 / 1e3
}

fn named<V>(values: impl IntoIterator<Item = (&'static str, V)>) -> Vec<(String, V)> {
    values
        .into_iter()
        .map(|(name, value)| (name.to_string(), value))
        .collect()
}

fn of_process(status: &Status, out: &mut Text) {
    let process = &status.process;
    out.each(
        ("build_info", "gauge", "The version of dirpost; always 1."),
        "version",
        [(process.version.clone(), 1)],
    );
    let (kind, help) = ("gauge", "When the process started, in seconds since 1970.");
    out.one(
        "start_timestamp_seconds",
        kind,
        help,
        seconds(process.started),
    );
    let help = "When these metrics were written, in seconds since 1970.";
    out.one(
        "written_timestamp_seconds",
        kind,
        help,
        seconds(process.written),
    );
    let help = "Whether another dirpost works on the folder while this one stands by.";
    let standby = u8::from(status.work.standby.is_some());
    out.one("standby", kind, help, standby);
}

fn of_deliveries(status: &Status, out: &mut Text) {
    let work = &status.work;
    let sum = work.delivered.since_start;
    let help = "Files that the endpoint has accepted.";
    out.one("delivered_files_total", "counter", help, sum.files);
    let help = "Bytes of the files that the endpoint has accepted.";
    out.one("delivered_bytes_total", "counter", help, sum.bytes);
    let help = "Time from the moment at which a file was ready (still for long enough, with its marker) \
                to its acceptance.";
    out.histogram("delivery_delay_seconds", help, &work.delivered.delays);
    let attempts = &work.attempts;
    out.each(
        (
            "attempts_total",
            "counter",
            "Attempts to deliver a file, by what came of them.",
        ),
        "outcome",
        named([
            ("accepted", attempts.accepted),
            ("rejected", attempts.rejected),
            ("refused", attempts.refused),
            ("later", attempts.later),
            ("unreachable", attempts.unreachable),
            ("broken_off", attempts.broken_off),
        ]),
    );
    let causes = work.dead_lettered.iter();
    out.each(
        (
            "dead_lettered_files_total",
            "counter",
            "Files that went to dead-letter, by the status of the answer, or check.",
        ),
        "cause",
        causes.map(|(cause, count)| (cause.clone(), *count)),
    );
    if let Some(last) = &work.delivered.last {
        let help = "When the endpoint last accepted a file, in seconds since 1970.";
        let at = seconds(last.at);
        out.one("last_delivered_timestamp_seconds", "gauge", help, at);
    }
}

fn of_files(status: &Status, out: &mut Text) {
    let files = &status.work.files;
    out.each(
        (
            "files",
            "gauge",
            "Files that are known, by what they wait for.",
        ),
        "state",
        named([
            ("settling", files.settling),
            ("waiting_for_writer", files.waiting_for_writer),
            ("ready", files.ready),
            ("failing", files.failing),
            ("checking", files.checking),
            ("sending", files.sending),
            ("filing", files.filing),
            ("unfiled", files.unfiled),
            ("at_rest", files.at_rest),
        ]),
    );
    // A moment, so that it is as true when it is read; there is none while nothing waits.
    if let Some(oldest) = &status.work.oldest {
        let help =
            "Since when the file has waited that waits for the longest, in seconds since 1970.";
        let since = seconds(oldest.since);
        out.one("oldest_waiting_timestamp_seconds", "gauge", help, since);
    }
}

fn of_endpoint(status: &Status, out: &mut Text) {
    let endpoint = &status.work.endpoint;
    let help = "Whether the endpoint accepts: 0 while deliveries wait for it.";
    let accepts = u8::from(endpoint.closed.is_none());
    out.one("endpoint_accepts", "gauge", help, accepts);
    if let Some(closed) = &endpoint.closed {
        let help = "Since when the endpoint has not accepted, in seconds since 1970.";
        let since = seconds(closed.since);
        out.one("endpoint_closed_timestamp_seconds", "gauge", help, since);
    }
    let help = "Whether so many files in a row were rejected that nothing more is condemned.";
    let holds = u8::from(endpoint.brake_holds || endpoint.command_brake_holds);
    out.one("brake_holds", "gauge", help, holds);
}

fn of_scans(status: &Status, out: &mut Text) {
    let scan = &status.work.scan;
    if let Some(last) = &scan.last {
        let help = "When the last complete scan was over, in seconds since 1970.";
        let ended = seconds(last.ended);
        out.one("scan_last_timestamp_seconds", "gauge", help, ended);
        let help = "How long the last complete scan took.";
        let took = millis(last.took_ms);
        out.one("scan_last_duration_seconds", "gauge", help, took);
        let help = "Folders that the last complete scan has looked at in full.";
        out.one("scan_last_folders", "gauge", help, last.folders_looked_at);
    }
    let parts = [
        ("share", Part::Share),
        ("scan", Part::Scan),
        ("journal", Part::Journal),
        ("folder", Part::Folder),
        ("file", Part::File),
        ("restless", Part::Restless),
        ("filing", Part::Filing),
        ("configuration", Part::Configuration),
    ];
    let count = |what: Part| {
        let faults = status.work.faults.iter();
        faults
            .filter(|fault| fault.what == what)
            .map(|fault| fault.count)
            .sum::<usize>()
    };
    out.each(
        (
            "faults",
            "gauge",
            "What is wrong, but for the endpoint, by its part.",
        ),
        "part",
        named(parts.map(|(name, what)| (name, count(what)))),
    );
}
