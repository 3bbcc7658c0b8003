//! What an answer that was no acceptance says, in one sentence: who answered, with which status, the
//! start of what it said, what it wants, and which key of the configuration to look at.
//!
//! Invariant: an [`Account`] is one line, whatever the endpoint sent.

use std::fmt;

use super::reply::Answer;
use super::server_page::wrong_way;
use crate::flow::escape::printable;

/// How many characters of a body are quoted.
const QUOTED: usize = 200;
/// How many characters are shown of what the endpoint wants in `WWW-Authenticate`.
const WANTED: usize = 120;

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// What tells one cause from another: the sentence without the words of the endpoint, in which a
    /// time or the number of a request may be another each time.
    pub cause: String,
    /// The sentence.
    pub text: String,
}

impl From<String> for Account {
    fn from(text: String) -> Account {
        Account {
            cause: text.clone(),
            text,
        }
    }
}

/// The account of an answer that was no acceptance.
pub fn account(answer: &Answer) -> Account {
    let quote = quote(&answer.body);
    let sentence = |quote: Option<&str>| {
        let mut text = head(answer);
        if let Some(quote) = quote {
            text += &format!(": {quote}");
        }
        for remark in remarks(answer) {
            text += "; ";
            text += &remark;
        }
        text
    };
    let (mut cause, mut text) = (sentence(None), sentence(quote.as_deref()));
    if let Some(clocks) = clocks(answer) {
        // How far they are apart is another time each time, and so no part of the cause.
        cause += clocks.side;
        text += &format!("; {clocks}");
    }
    Account { cause, text }
}

/// The status with the start of what was said, for a sentence that has named the endpoint before.
pub fn status_and_quote(answer: &Answer) -> String {
    match quote(&answer.body) {
        Some(quote) => format!("{}: {quote}", answer.status),
        None => answer.status.to_string(),
    }
}

/// What was said and what is wanted, to go behind a sentence that has the rest.
pub fn said_and_wanted(answer: &Answer) -> String {
    let mut text = String::new();
    if let Some(quote) = quote(&answer.body) {
        text += &format!("; it said {quote}");
    }
    let clocks = clocks(answer).map(|clocks| clocks.to_string());
    for remark in wishes(answer).into_iter().chain(clocks) {
        text += "; ";
        text += &remark;
    }
    text
}

/// The start of a body in quotation marks, as one line; `None` of an empty one. White space is one
/// blank, and what is no text is percent-encoded.
pub fn quote(body: &[u8]) -> Option<String> {
    let mut text = String::new();
    for chunk in body.utf8_chunks() {
        let words = chunk.valid().chars();
        text.extend(words.map(|char| if char.is_whitespace() { ' ' } else { char }));
        for byte in chunk.invalid() {
            text += &format!("%{byte:02X}");
        }
    }
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    let line = words.join(" ");
    (!line.is_empty()).then(|| format!("\"{}\"", cut(&printable(&line), QUOTED)))
}

/// At most so many characters, with a sign that there were more.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.into(),
    }
}

/// Who answered, and with which status.
fn head(answer: &Answer) -> String {
    let who = match answer.peer.url.as_str() {
        "" => "the endpoint",
        from => from,
    };
    let mut text = match wrong_way(answer) {
        Some(way) => way.sentence(who, answer.status),
        None => format!("{who} answered {}", answer.status),
    };
    if let Some(proxy) = &answer.peer.proxy {
        text += &format!(" through the proxy {proxy}");
    }
    if answer.early {
        text += " before it had the whole file";
    }
    text
}

/// What the endpoint wants, and what is to be looked at.
fn remarks(answer: &Answer) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some(location) = answer.location.as_ref().filter(|_| is_redirect(answer)) {
        // A 303 says that the answer to what was done is elsewhere (RFC 9110, 15.4.4).
        let stored = match answer.status {
            303 => ", or 303 into send.accept if the file is stored by then",
            _ => "",
        };
        remarks.push(format!(
            "it redirects to {location}, and redirects are never followed: put the final address \
             into send.url{stored}"
        ));
    }
    remarks.extend(wishes(answer));
    let advice = advice(answer);
    if !advice.is_empty() {
        remarks.push(advice.into());
    }
    remarks
}

/// What the endpoint wants in `WWW-Authenticate`, and whether it can have it.
fn wishes(answer: &Answer) -> Vec<String> {
    let fields = answer.peer.wants.iter();
    let wanted: Vec<Challenge> = fields.flat_map(|field| challenges(field)).collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    let shown: Vec<String> = wanted.iter().map(Challenge::shown).collect();
    let shown = printable(&shown.join(" or ")).into_owned();
    let mut wishes = vec![format!("it wants {}", cut(&shown, WANTED))];
    if let Some(unknown) = unknown_scheme(&wanted) {
        wishes.push(format!("send.auth cannot answer {unknown}"));
    }
    wishes
}

/// Clocks that are this far apart are named, in seconds. AWS refuses a signature from 15 minutes on, and
/// tokens are good for a few minutes before and behind their time.
const CLOCKS_APART: i64 = 5 * 60;

/// This machine's clock is another than the endpoint's.
struct Clocks {
    side: &'static str,
    minutes: i64,
}

impl fmt::Display for Clocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Clocks { side, minutes } = self;
        write!(
            f,
            "this machine's clock is {minutes} min {side} the endpoint's: set it (NTP), for signatures and \
             tokens have a time"
        )
    }
}

/// Whether credentials may be refused because the clocks differ: signatures and many tokens have a time.
fn clocks(answer: &Answer) -> Option<Clocks> {
    let ahead = answer.peer.ahead?;
    let is_refused = matches!(answer.status, 401 | 403);
    (is_refused && ahead.abs() >= CLOCKS_APART).then(|| Clocks {
        side: if ahead > 0 { "ahead of" } else { "behind" },
        minutes: ahead.abs() / 60,
    })
}

fn is_redirect(answer: &Answer) -> bool {
    (300..=399).contains(&answer.status)
}

/// What to do about a status, where that is known.
fn advice(answer: &Answer) -> &'static str {
    match answer.status {
        401 => "check send.auth",
        403 => "check send.auth, and what these credentials may do there",
        404 if answer.peer.proxy.is_some() => "check the path of send.url, and send.proxy",
        404 => "check the path of send.url",
        405 => "check send.method and the path of send.url",
        // RFC 9110, 15.5.8: only a proxy says that.
        407 => {
            "the proxy wants credentials: write its user and password into its URL, in send.proxy \
             or the environment"
        }
        200..=299 if answer.early => "",
        200..=299 if !answer.body_matches => "that is not what send.accept_body asks for",
        200..=299 => "that is not what send.accept and send.accept_content_type ask for",
        _ => "",
    }
}

/// A way to prove who one is, as `WWW-Authenticate` offers it (RFC 9110, 11.6.1).
#[derive(Debug, PartialEq, Eq)]
struct Challenge {
    scheme: String,
    realm: Option<String>,
}

impl Challenge {
    fn shown(&self) -> String {
        match &self.realm {
            Some(realm) => format!("{} (realm {realm})", self.scheme),
            None => self.scheme.clone(),
        }
    }
}

/// The challenges of a field: schemes with their realms. Other parameters are passed over, as a
/// nonce is another one each time.
fn challenges(field: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    for part in outside_quotes(field) {
        let part = part.trim();
        let (first, rest) = part.split_once(' ').unwrap_or((part, ""));
        let mut parameter = part;
        if !first.is_empty() && !first.contains('=') && !rest.trim_start().starts_with('=') {
            found.push(Challenge {
                scheme: first.into(),
                realm: None,
            });
            parameter = rest.trim_start();
        }
        let realm = parameter
            .split_once('=')
            .filter(|(name, _)| name.trim().eq_ignore_ascii_case("realm"));
        if let (Some((_, realm)), Some(last)) = (realm, found.last_mut()) {
            last.realm = Some(realm.trim().into());
        }
    }
    found
}

/// What stands between the commas that are in no quoted string.
fn outside_quotes(field: &str) -> Vec<&str> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, char) in field.char_indices() {
        match char {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => {
                parts.push(&field[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&field[start..]);
    parts
}

/// The first scheme, where only such are wanted that need a conversation.
fn unknown_scheme(wanted: &[Challenge]) -> Option<&str> {
    let is_unknown = |challenge: &Challenge| {
        let known = ["digest", "ntlm", "negotiate"];
        known.contains(&challenge.scheme.to_ascii_lowercase().as_str())
    };
    let first = wanted.first()?;
    wanted.iter().all(is_unknown).then_some(&first.scheme)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::endpoint::reply::Peer;
    use crate::flow::escape::is_deceptive;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            peer: Box::new(Peer {
                url: "http://h:1/in".into(),
                ..Peer::default()
            }),
            body: body.into(),
            body_matches: true,
            ..Answer::default()
        }
    }

    #[test]
    fn clocks_that_differ_are_named_where_credentials_are_refused() {
        let refused = |status: u16, ahead: i64| {
            let mut answer = answer(status, "RequestTimeTooSkewed");
            answer.peer.ahead = Some(ahead);
            account(&answer)
        };
        let ahead = refused(403, 1205);
        assert!(
            ahead
                .text
                .contains("this machine's clock is 20 min ahead of the endpoint's"),
            "{ahead:?}"
        );
        assert!(
            refused(401, -900)
                .text
                .contains("15 min behind the endpoint's")
        );
        // A minute more is no other cause, to be said again.
        assert_eq!(ahead.cause, refused(403, 1300).cause);
        for (status, ahead) in [(403, 299), (403, -60), (503, 1205)] {
            assert!(!refused(status, ahead).text.contains("clock"));
        }
    }

    #[test]
    fn a_refusal_says_who_said_what_and_where_to_look() {
        let text = |answer: Answer| account(&answer).text;
        assert_eq!(
            text(answer(503, "quota of tenant 7\r\n  exceeded\n")),
            "http://h:1/in answered 503: \"quota of tenant 7 exceeded\""
        );
        let mut refused = answer(401, "");
        refused.peer.wants = vec!["Bearer realm=\"a, b\", error=\"x\"".into(), "Basic".into()];
        assert_eq!(
            text(refused),
            "http://h:1/in answered 401; it wants Bearer (realm \"a, b\") or Basic; check send.auth"
        );
        let mut proxied = answer(404, "no");
        proxied.peer.proxy = Some("p:3128".into());
        assert_eq!(
            text(proxied),
            "http://h:1/in answered 404 through the proxy p:3128: \"no\"; check the path of \
             send.url, and send.proxy"
        );
        assert!(text(answer(407, "")).contains("send.proxy"));
        assert!(text(answer(403, "")).contains("send.auth"));
        assert!(text(answer(405, "")).contains("send.method"));
        assert!(text(answer(200, "login")).contains("send.accept"));
    }

    #[test]
    fn only_a_redirect_is_called_one() {
        for (status, is_redirect) in [(302, true), (303, true), (201, false), (503, false)] {
            let mut answer = answer(status, "");
            answer.location = Some("/other".into());
            let text = account(&answer).text;
            assert_eq!(text.contains("redirects to /other"), is_redirect, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_answered_is_said() {
        for (field, unknown) in [
            ("Negotiate", Some("Negotiate")),
            ("NTLM, Negotiate", Some("NTLM")),
            (
                "Digest realm=\"x\", nonce=\"a,b\", qop=\"auth\"",
                Some("Digest"),
            ),
            ("Negotiate, Basic realm=\"x\"", None),
        ] {
            let mut answer = answer(401, "");
            answer.peer.wants = vec![field.into()];
            let text = account(&answer).text;
            let said = text.contains("send.auth cannot answer");
            assert_eq!(said, unknown.is_some(), "{text}");
            assert!(!text.contains("nonce") && text.contains(unknown.unwrap_or("Basic")));
        }
    }

    #[test]
    fn another_body_is_no_other_cause() {
        let (one, two) = (account(&answer(500, "id 1")), account(&answer(500, "id 2")));
        assert_eq!(one.cause, two.cause);
        assert_ne!(one.text, two.text);
        assert_ne!(one.cause, account(&answer(501, "id 1")).cause);
    }

    #[test]
    fn a_quote_is_one_short_line_of_plain_text() {
        assert_eq!(quote(b" \n\t"), None);
        let long = "ä".repeat(1000);
        let quoted = quote(long.as_bytes()).unwrap();
        assert_eq!(quoted.chars().count(), QUOTED + 3);
        let wild = quote(b"a\nb\x1b[2J\xff \xe2\x80\xae").unwrap();
        assert_eq!(wild, "\"a b%1B[2J%FF %E2%80%AE\"");
        assert!(!wild.chars().any(is_deceptive));
    }
}
