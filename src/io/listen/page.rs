//! The page for people: is all well, else what is wrong, since when and what to do; then the rest.
//!
//! It has no script and nothing from elsewhere, so that a browser can be told to run and to load nothing
//! ([`policy`]): not even a name that were not escaped could do harm.

use std::fmt::Write as _;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};

use super::picture;
use crate::flow::escape::printable;
use crate::flow::status::{Failure, Status, Sum, Then};
use crate::flow::time::Wall;
use crate::io::logging::units::{bytes, files, span};
use crate::io::status::{Life, words};

/// How often the page comes again, in seconds. The status is written every 20 s at rest.
const REFRESH_S: u32 = 30;
/// The style sheet, which stands in the page.
const STYLE: &str = include_str!("page.css");

/// What is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown<'a> {
    pub status: &'a Status,
    pub life: Life,
    pub now: Wall,
    /// The page comes again by itself. Who reads it with a screen reader can stop that, for it begins
    /// from the top each time (WCAG 2.2, 2.2.2).
    pub refreshes: bool,
}

/// What a browser may load and run for this page: its own style sheet, by its digest, and nothing else. The
/// icon is an empty one in the page itself, so that none is asked for.
pub(super) fn policy() -> &'static str {
    static POLICY: OnceLock<String> = OnceLock::new();
    POLICY.get_or_init(|| {
        let digest = BASE64_STANDARD.encode(Sha256::digest(STYLE));
        format!(
            "default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'"
        )
    })
}

/// The page.
pub(super) fn html(shown: &Shown<'_>) -> String {
    let mut out = Html(String::with_capacity(16 * 1024));
    head(shown, &mut out);
    out.raw("<body>\n<main>\n");
    sentence(shown, &mut out);
    let lines = words::lines(shown.status, shown.life, shown.now);
    let of = |headings: &[&str]| {
        let lines = lines.iter();
        let lines = lines.filter(|(heading, _)| headings.contains(heading));
        lines.cloned().collect::<Vec<_>>()
    };
    out.raw("<h2>What waits</h2>\n");
    let waits = ["waiting", "writers", "sending", "failing", "filing", "kept"];
    out.pairs(&of(&waits));
    last_day(shown, &mut out);
    failures(shown, &mut out);
    dead_letters(shown.status, &mut out);
    out.raw("<h2>The share and the endpoint</h2>\n");
    out.pairs(&of(&["folder", "endpoint", "fault"]));
    out.raw("</main>\n");
    foot(shown, &of(&["process"]), &mut out);
    out.raw("</body>\n</html>\n");
    out.0
}

/// A page in the making.
struct Html(String);

impl Html {
    fn raw(&mut self, html: &str) {
        self.0 += html;
    }

    /// Text that may hold anything: shown as it is, and no markup.
    fn text(&mut self, text: &str) {
        for char in printable(text).chars() {
            match char {
                '&' => self.0 += "&amp;",
                '<' => self.0 += "&lt;",
                '>' => self.0 += "&gt;",
                '"' => self.0 += "&quot;",
                '\'' => self.0 += "&#39;",
                other => self.0.push(other),
            }
        }
    }

    /// A text in an element of its own.
    fn element(&mut self, name: &str, text: &str) {
        let _ = write!(self.0, "<{name}>");
        self.text(text);
        let _ = writeln!(self.0, "</{name}>");
    }

    fn pairs(&mut self, lines: &[(&'static str, String)]) {
        self.raw("<dl class=\"pairs\">\n");
        for (heading, text) in lines {
            self.element("dt", heading);
            self.element("dd", text);
        }
        self.raw("</dl>\n");
    }

    /// How long ago something was, with the moment itself for programs.
    fn ago(&mut self, at: Wall, now: Wall) {
        let moment = at.rfc3339_millis();
        let _ = write!(self.0, "<time datetime=\"{moment}\" title=\"{moment}\">");
        self.text(&span(now.since(at)));
        self.raw(" ago</time>");
    }
}

fn head(shown: &Shown<'_>, out: &mut Html) {
    let process = &shown.status.process;
    let headline = words::headline(shown.status, shown.life, shown.now);
    let title = format!(
        "{}: {} on {} (dirpost)",
        verdict(&headline),
        process.dir,
        process.host
    );
    out.raw(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
    );
    if shown.refreshes {
        let _ = writeln!(
            out.0,
            "<meta http-equiv=\"refresh\" content=\"{REFRESH_S}\">"
        );
    }
    out.raw("<link rel=\"icon\" href=\"data:,\">\n");
    out.element("title", &title);
    let _ = writeln!(out.0, "<style>{STYLE}</style>\n</head>");
}

/// What the sentence says in a word or two: what stands before its first colon.
fn verdict(headline: &str) -> &str {
    headline.split(':').next().unwrap_or_default()
}

fn sentence(shown: &Shown<'_>, out: &mut Html) {
    let headline = words::headline(shown.status, shown.life, shown.now);
    // A colour for those who see it; the words say it to everybody.
    let class = match verdict(&headline) {
        "all is well" => "well",
        "nearly well" => "part",
        "in trouble" | "standing still" => "trouble",
        _ => "other",
    };
    let _ = writeln!(out.0, "<header class=\"{class}\">");
    out.element("h1", &headline);
    if let Some(advice) = words::advice(&shown.status.work) {
        out.raw("<p><strong>What to do:</strong> ");
        out.text(advice);
        out.raw("</p>\n");
    }
    let process = &shown.status.process;
    out.raw("<p class=\"soft\"><bdi>");
    out.text(&process.dir);
    out.raw("</bdi> on ");
    out.text(&process.host);
    out.raw(", as of ");
    out.ago(process.written, shown.now);
    out.raw("</p>\n</header>\n");
}

fn last_day(shown: &Shown<'_>, out: &mut Html) {
    let delivered = &shown.status.work.delivered;
    let points = delivered.history.points(shown.now);
    let of = |value: fn(&crate::flow::status::Point) -> u64| {
        picture::most(&points.iter().map(value).collect::<Vec<_>>())
    };
    let (most, waiting) = (of(|it| it.delivered.files), of(|it| it.waiting));
    out.raw("<h2>The last day</h2>\n<figure>\n");
    out.raw(&picture::svg(&points));
    out.raw(
        "\n<p class=\"axis soft\" aria-hidden=\"true\"><span>24 h ago</span><span>12 h ago</span>\
         <span>now</span></p>\n<figcaption>\n",
    );
    let _ = writeln!(
        out.0,
        "<p class=\"key delivered\">delivered, at most {} in five minutes</p>\n\
         <p class=\"key waiting\">waiting, at most {}</p>",
        files(most),
        files(waiting)
    );
    out.raw("</figcaption>\n</figure>\n");
    let sum = |sum: Sum| format!("{} ({})", files(sum.files), bytes(sum.bytes));
    let mut lines = vec![
        ("last hour", sum(delivered.history.last_hour(shown.now))),
        ("today (UTC)", sum(delivered.history.today(shown.now))),
        ("since start", sum(delivered.since_start)),
    ];
    if let Some(last) = &delivered.last {
        let ago = span(shown.now.since(last.at));
        let text = format!("{}, {ago} ago, with status {}", last.path, last.status);
        lines.push(("last file", text));
    }
    out.pairs(&lines);
}

fn failures(shown: &Shown<'_>, out: &mut Html) {
    let failures = &shown.status.work.failures;
    out.raw("<h2>The last failures</h2>\n");
    if failures.iter().next().is_none() {
        out.element("p", "None is known.");
        return;
    }
    out.raw("<ol>\n");
    for failure in failures.iter() {
        failure_item(failure, shown.now, out);
    }
    out.raw("</ol>\n");
}

fn failure_item(failure: &Failure, now: Wall, out: &mut Html) {
    out.raw("<li><p><bdi>");
    out.text(&failure.path.to_string());
    out.raw("</bdi> ");
    out.ago(failure.at, now);
    if failure.count > 1 {
        let _ = write!(out.0, ", the last of {} with this reason", failure.count);
    }
    out.raw(match failure.then {
        Then::Again => "; tried again",
        Then::DeadLetter => "; went to dead-letter",
    });
    out.raw("</p>\n");
    out.element("p", &failure.why);
    out.raw("</li>\n");
}

fn dead_letters(status: &Status, out: &mut Html) {
    let causes = &status.work.dead_lettered;
    out.raw("<h2>Dead letters since the start</h2>\n");
    if causes.is_empty() {
        let none = "None. What went there before the start is listed by: dirpost dead-letter list";
        return out.element("p", none);
    }
    let lines = causes.iter().map(|(cause, count)| {
        let by = match cause.as_str() {
            "check" => "a check".into(),
            status => format!("status {status}"),
        };
        format!("{} by {by}", files(*count))
    });
    let lines: Vec<String> = lines.collect();
    let text = format!("{}. See: dirpost dead-letter list", lines.join(", "));
    out.element("p", &text);
}

fn foot(shown: &Shown<'_>, process: &[(&'static str, String)], out: &mut Html) {
    out.raw("<footer>\n<h2>dirpost</h2>\n");
    for (_, text) in process {
        out.element("p", text);
    }
    if shown.refreshes {
        let _ = writeln!(
            out.0,
            "<p>This page comes again every {REFRESH_S} s. <a href=\"/?refresh=off\">Stop that</a></p>"
        );
    } else {
        out.raw("<p>This page stays as it is. <a href=\"/\">Let it come again by itself</a></p>\n");
    }
    out.raw(
        "<p>For programs: <a href=\"/status.json\">status.json</a>, <a href=\"/metrics\">metrics</a>, \
         <a href=\"/healthz\">healthz</a></p>\n</footer>\n",
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::file::Rel;
    use crate::flow::status::{Process, VERSION, Work};

    const NOW: Wall = Wall(1_700_000_100_000_000_000);

    fn status(work: Work) -> Status {
        let before = Wall(NOW.0 - 5_000_000_000);
        Status {
            v: VERSION,
            process: Process {
                version: "1".into(),
                pid: 7,
                host: "h<ost".into(),
                once: false,
                started: before,
                written: before,
                config: None,
                config_read: before,
                dir: "drop & co".into(),
                url: "http://x/?\"".into(),
            },
            work,
        }
    }

    fn page(work: Work) -> String {
        html(&Shown {
            status: &status(work),
            life: Life::Working,
            now: NOW,
            refreshes: true,
        })
    }

    #[test]
    fn whatever_a_name_or_an_endpoint_holds_it_is_text() {
        const EVIL: &str = "</p><script>alert('1')</script>\"&\u{202e}\n";
        let mut work = Work::default();
        let path = Rel::new(EVIL.as_bytes());
        work.failures.add(Wall(0), &path, Then::Again, EVIL);
        work.standby = Some(EVIL.into());
        work.dead_lettered.insert(EVIL.into(), 1);
        work.delivered.last = Some(crate::flow::status::LastDelivered {
            path,
            at: Wall(0),
            status: 200,
        });
        let page = page(work);
        assert!(!page.contains("<script"), "{page}");
        assert!(!page.contains("alert('1')"), "{page}");
        assert!(!page.contains('\u{202e}'), "{page}");
        assert!(page.contains("&lt;script&gt;alert(&#39;1&#39;)"), "{page}");
        assert!(page.contains("drop &amp; co"), "{page}");
        assert!(page.contains("h&lt;ost"), "{page}");
    }

    #[test]
    fn the_page_loads_and_runs_nothing() {
        let page = page(Work::default());
        // The endpoint is named, and no link.
        let text = page.replace("http://x/", "");
        for bad in ["<script", "http://", "https://", "url(", "@import"] {
            assert!(!text.contains(bad), "{bad}: {page}");
        }
        for tag in text.split('<').filter_map(|it| it.split('>').next()) {
            let mut words = tag.split_whitespace();
            let runs = |word: &str| word.starts_with("on") && word.contains('=');
            assert!(!words.any(runs) && !tag.contains(" style="), "{tag}");
        }
        let digest = BASE64_STANDARD.encode(Sha256::digest(STYLE));
        assert!(policy().contains(&digest));
        assert!(page.contains(&format!("<style>{STYLE}</style>")));
    }

    #[test]
    fn the_colour_goes_with_the_words() {
        let mut work = Work::default();
        work.scan.completed = 1;
        assert!(page(work.clone()).contains("<header class=\"well\">\n<h1>all is well: "));
        work.endpoint.closed = Some(crate::flow::status::Closed {
            since: Wall(NOW.0 - 60_000_000_000),
            why: "503".into(),
            next_try: None,
        });
        let page = page(work);
        assert!(page.contains("<header class=\"trouble\">\n<h1>in trouble: "));
        assert!(page.contains("<title>in trouble: "));
        assert!(page.contains("<strong>What to do:</strong> look at the endpoint"));
    }
}
