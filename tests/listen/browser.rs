//! The page in a real browser: headless Chromium (Debian: chromium), spoken to over its debugging pipe
//! (`--remote-debugging-pipe`: JSON, each message with a NUL behind it).

use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use base64::Engine as _;
use serde_json::{Value, json};

use crate::util::{BOUND, Dir, skip};

struct Browser {
    child: Child,
    input: ChildStdin,
    output: Receiver<Value>,
    /// The page, as its messages name it.
    session: Option<String>,
    last: u64,
    /// What it has told of itself.
    events: Vec<Value>,
    _profile: Dir,
}

impl Browser {
    /// `None`, and a line that says why, where there is none.
    fn start() -> Option<Browser> {
        let profile = Dir::new();
        // A shell puts the pipes where the browser looks for them. It is run by root here, and what it
        // shows is ours: no sandbox. The shared memory of a container is small.
        let script = "command -v chromium >/dev/null || exit 9; exec chromium --headless --no-sandbox \
                      --disable-gpu --disable-dev-shm-usage --hide-scrollbars --no-first-run \
                      --remote-debugging-pipe --user-data-dir=\"$0\" about:blank 3<&0 4>&1 </dev/null >&2";
        let mut child = Command::new("sh")
            .args(["-c", script])
            .arg(profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let (send, output) = channel();
        let mut pipe = BufReader::new(child.stdout.take().expect("a pipe"));
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while pipe
                .read_until(0, &mut message)
                .is_ok_and(|count| count > 0)
            {
                message.pop();
                let said = serde_json::from_slice(&message).expect("JSON");
                if send.send(said).is_err() {
                    return;
                }
                message.clear();
            }
        });
        let mut browser = Browser {
            input: child.stdin.take().expect("a pipe"),
            child,
            output,
            session: None,
            last: 0,
            events: Vec::new(),
            _profile: profile,
        };
        if browser.ask("Browser.getVersion", json!({})).is_none() {
            skip("there is no chromium (Debian: chromium) that starts here");
            return None;
        }
        let page = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": page["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Log", "Network", "Runtime", "Accessibility"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Has something done, and gives what came of it; `None` where the browser has ended.
    fn ask(&mut self, method: &str, params: Value) -> Option<Value> {
        self.last += 1;
        let mut order = json!({ "id": self.last, "method": method, "params": params });
        if let Some(session) = &self.session {
            order["sessionId"] = session.as_str().into();
        }
        let mut bytes = order.to_string().into_bytes();
        bytes.push(0);
        self.input.write_all(&bytes).ok()?;
        loop {
            let said = self.output.recv_timeout(BOUND).ok()?;
            if said["id"] == self.last {
                assert!(said["error"].is_null(), "{method}: {said}");
                return Some(said["result"].clone());
            }
            self.events.push(said);
        }
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.ask(method, params).expect("the browser answers")
    }

    /// Shows `url`, `width` pixels wide, in the light or the dark.
    fn open(&mut self, url: &str, width: u32, scheme: &str) {
        let size = json!({ "width": width, "height": 640, "deviceScaleFactor": 1, "mobile": true });
        self.call("Emulation.setDeviceMetricsOverride", size);
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", media);
        self.events.clear();
        self.call("Page.navigate", json!({ "url": url }));
        let is_loaded = |said: &Value| said["method"] == "Page.loadEventFired";
        while !self.events.iter().any(is_loaded) {
            let said = self.output.recv_timeout(BOUND).expect("the page is there");
            self.events.push(said);
        }
    }

    /// The value of an expression in the page.
    fn value(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true });
        let said = self.call("Runtime.evaluate", params);
        assert!(said["exceptionDetails"].is_null(), "{said}");
        said["result"]["value"].clone()
    }

    /// What it has told with this method, in its own words.
    fn told(&self, method: &str) -> Vec<&Value> {
        let told = self.events.iter().filter(|said| said["method"] == method);
        told.map(|said| &said["params"]).collect()
    }

    /// A picture of the first so many pixels of the page.
    fn picture(&mut self, width: u32, height: u32) -> Vec<u8> {
        let clip = json!({ "x": 0, "y": 0, "width": width, "height": height, "scale": 1 });
        let params = json!({ "format": "png", "clip": clip, "captureBeyondViewport": true });
        let shot = self.call("Page.captureScreenshot", params);
        let data = shot["data"].as_str().expect("a picture");
        base64::prelude::BASE64_STANDARD
            .decode(data)
            .expect("base64")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The least contrast of any text with what is behind it (WCAG 2.2, 1.4.3 asks for 4.5).
const CONTRAST: &str = r"
(() => {
  const rgb = text => text.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(it => it / 255)
    .map(it => it <= 0.04045 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4)
    .reduce((sum, it, at) => sum + it * [0.2126, 0.7152, 0.0722][at], 0);
  const back = light(rgb(getComputedStyle(document.body).backgroundColor));
  const all = [...document.querySelectorAll('h1, h2, p, dt, dd, time, a, li, span')];
  return Math.min(...all.map(it => {
    const front = light(rgb(getComputedStyle(it).color));
    return (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
  }));
})()";

/// What cannot be done in seconds, or not everywhere: see README.md.
mod slow {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::super::{LISTEN, page_says};
    use super::*;
    use crate::util::{Daemon, Reaction, Server, config, listens_at, once, wait_until};

    /// A day like any other, as `status.json` keeps it: deliveries by day, an outage at noon.
    fn a_day() -> Vec<(i64, u64, u64, u64)> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let last = i64::try_from(now.as_secs()).unwrap() / 300;
        let part = |ago: i64| {
            let hour = (287 - ago) / 12;
            let (files, waiting) = match hour {
                0..=6 => (u64::from(ago % 7 == 0), u64::from(ago % 5 == 0)),
                13 => (0, 10 * u64::try_from(132 - ago).unwrap()),
                14 => (
                    10 + 5 * u64::try_from(ago - 107).unwrap(),
                    10 * u64::try_from(ago - 107).unwrap(),
                ),
                _ => (12 + u64::try_from(ago * ago % 17).unwrap(), 4),
            };
            ((last - ago) * 300, files, files * 40_000, waiting)
        };
        (1..288).rev().map(part).collect()
    }

    /// With `DIRPOST_PICTURES=docs` in the environment the pictures in docs are made again:
    /// `DIRPOST_PICTURES=docs cargo test slow::the_page -- --ignored`.
    #[test]
    #[ignore = "slow: it starts a browser"]
    fn the_page_fits_a_small_phone_in_the_light_and_in_the_dark_and_loads_nothing() {
        let Some(mut browser) = Browser::start() else {
            return;
        };
        let dir = Dir::new();
        let is_down = Arc::new(AtomicBool::new(false));
        let server = {
            let is_down = Arc::clone(&is_down);
            Server::start(move |request| {
                Reaction::Answer(match request.path.as_str() {
                    _ if is_down.load(Ordering::SeqCst) => 503,
                    path if path.contains("scan") => 422,
                    _ => 201,
                })
            })
        };
        let more = format!("{LISTEN}ready.settle = \"0s\"\nready.marker = \".done\"");
        let text = config(dir.path(), &server.url(), &more);
        let drop = |path: &str| {
            dir.write(path, path.repeat(900));
            dir.write(format!("{path}.done"), "");
        };
        drop("in/scan-0041.pdf");
        once(&text, &[]);
        let state = dir.path().join(".dirpost/status.json");
        let mut status: Value = serde_json::from_slice(&std::fs::read(&state).unwrap()).unwrap();
        status["delivered"]["history"] = json!(a_day());
        std::fs::write(&state, status.to_string()).unwrap();
        let daemon = Daemon::start(&text);
        let at = listens_at(&daemon);
        drop("in/orders-2026-11-27.csv");
        drop("in/scan-0042.pdf");
        dir.write("in/invoices.csv", "its marker is not there yet");
        wait_until("all to be well", BOUND, || {
            page_says(at, "<h1>all is well: ") && page_says(at, "1 file by status 422")
        });
        look(&mut browser, &format!("http://{at}/"), "well");
        is_down.store(true, Ordering::SeqCst);
        drop("in/orders-2026-11-28.csv");
        // A name that has no place to break at.
        drop(&format!("in/{}.csv", "x".repeat(200)));
        wait_until("trouble", BOUND, || page_says(at, "<h1>in trouble: "));
        look(
            &mut browser,
            &format!("http://{at}/?refresh=off"),
            "trouble",
        );
    }

    /// Looks at the page as it is on a small phone.
    fn look(browser: &mut Browser, url: &str, name: &str) {
        for scheme in ["light", "dark"] {
            browser.open(url, 320, scheme);
            let width = browser.value("document.documentElement.scrollWidth");
            assert!(width.as_u64().unwrap() <= 320, "{name}, {scheme}: {width}");
            let back = browser.value("getComputedStyle(document.body).backgroundColor");
            let wanted = match scheme {
                "light" => "rgb(255, 255, 255)",
                _ => "rgb(22, 22, 22)",
            };
            assert_eq!(back, wanted, "{name}");
            let contrast = browser.value(CONTRAST).as_f64().unwrap();
            assert!(contrast >= 4.5, "{name}, {scheme}: {contrast}");
            let refresh = browser.value("!!document.querySelector('meta[http-equiv=refresh]')");
            assert_eq!(refresh, !url.contains("refresh=off"));
            // Nothing was refused by its policy, and nothing asked for but the page.
            assert!(
                browser.told("Log.entryAdded").is_empty(),
                "{:?}",
                browser.events
            );
            let asked = browser.told("Network.requestWillBeSent");
            let asked = asked
                .iter()
                .map(|it| it["request"]["url"].as_str().unwrap());
            let asked: Vec<&str> = asked.filter(|it| !it.starts_with("data:")).collect();
            assert_eq!(asked, [url]);
            is_heard(browser, name);
            let is_shown = [("well", "light"), ("trouble", "dark")].contains(&(name, scheme));
            if is_shown && let Some(folder) = std::env::var_os("DIRPOST_PICTURES") {
                let file = std::path::Path::new(&folder).join(format!("page-{name}-{scheme}.png"));
                std::fs::write(file, browser.picture(320, 900)).unwrap();
            }
        }
    }

    /// What a screen reader reads first, and of the picture.
    fn is_heard(browser: &mut Browser, name: &str) {
        let tree = browser.call("Accessibility.getFullAXTree", json!({}));
        let nodes = tree["nodes"].as_array().unwrap();
        let of = |role: &str| {
            let nodes = nodes.iter().filter(|node| node["role"]["value"] == role);
            let names = nodes.filter_map(|node| node["name"]["value"].as_str());
            names.map(str::to_owned).collect::<Vec<_>>()
        };
        let headings = of("heading");
        assert!(
            headings.iter().any(|it| it == "The last failures"),
            "{headings:?}"
        );
        // The one of the first level is the sentence.
        let is_first = |node: &&Value| {
            let properties = node["properties"].as_array();
            let mut properties = properties.into_iter().flatten();
            properties.any(|it| it["name"] == "level" && it["value"]["value"] == 1)
        };
        let first = nodes.iter().find(is_first).expect("a heading");
        let first = first["name"]["value"].as_str().unwrap();
        let wanted = match name {
            "well" => "all is well: ",
            _ => "in trouble: ",
        };
        assert!(first.starts_with(wanted), "{first}");
        let images = [of("image"), of("img")].concat();
        assert!(
            images[0].starts_with("The last 24 hours in parts"),
            "{images:?}"
        );
    }
}
