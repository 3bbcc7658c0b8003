//! What goes into a request: the URL, header fields, the proxy's URL.
//!
//! No message quotes a URL or a value: both may hold a secret.

use crate::flow::marker::MarkerRule;
use std::net::Ipv6Addr;
use ureq::http::Uri;
use ureq::http::uri::Authority;

/// What dirpost sets itself, and what to do instead.
const OWN: [(&str, &str); 10] = [
    ("content-length", "it is the size of the file"),
    (
        "transfer-encoding",
        "files are sent with their Content-Length",
    ),
    ("connection", "connections are managed by dirpost"),
    ("host", "it comes from send.url"),
    ("expect", "see send.expect"),
    (
        "idempotency-key",
        "it is made of the file and send.key_scope",
    ),
    ("content-digest", "see send.digest"),
    ("x-file-path", "it is the path of the file"),
    ("x-file-mtime", "it is the time of the file"),
    ("content-type", "write send.content_type instead"),
];

/// What dirpost adds of its own and an empty value leaves out.
const OPTIONAL: [&str; 6] = [
    "content-type",
    "idempotency-key",
    "content-digest",
    "x-file-path",
    "x-file-mtime",
    "user-agent",
];

/// What is filled in for each file, in `send.url`, `send.headers` and `send.fields`.
const OF_FILE: [&str; 7] = ["path", "name", "stem", "size", "mtime", "key", "sha256"];

/// Checks `send.url`.
pub fn url(text: &str) -> Result<(), String> {
    const EXAMPLE: &str = "\"https://example.org/in/{path}\"";
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(format!(
            "is not an absolute URL; write one such as {EXAMPLE}"
        ));
    };
    if !["http", "https"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known))
    {
        return Err(format!(
            "must begin with http:// or https://; write one such as {EXAMPLE}"
        ));
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    if authority.contains('@') {
        return Err(
            "must not have a user or a password in it; write them into send.auth: \
             auth = { user = \"…\", password_file = \"…\" }"
                .to_owned(),
        );
    }
    if authority.contains(['{', '}']) {
        return Err(
            "placeholders can only be in the path and the query; write the scheme, the \
             host and the port as they are"
                .to_owned(),
        );
    }
    host(authority)?;
    if tail.contains('#') {
        return Err(
            "has a `#` in it, and what is behind one is never sent; leave it out, \
             or write %23"
                .to_owned(),
        );
    }
    placeholders(tail, &OF_FILE)?;
    let filled = OF_FILE.iter().fold(text.to_owned(), |url, p| {
        url.replace(&format!("{{{p}}}"), "x")
    });
    let legal = |b: u8| b.is_ascii_graphic() && !br#"{}"<>\^`|"#.contains(&b);
    if !filled.bytes().all(legal) || !escapes_are_whole(&filled) {
        return Err(
            "has characters in it that a URL cannot have; percent-encode them \
             (a space is %20, `%` is %25, `{` is %7B)"
                .to_owned(),
        );
    }
    filled
        .parse::<Uri>()
        .map(|_| ())
        .map_err(|error| format!("is not a URL ({error}); write one such as {EXAMPLE}"))
}

/// The host and the port of a URL, without a user.
fn host(authority: &str) -> Result<(), String> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    if host.is_empty() {
        return Err("has no host; write one such as \"https://example.org/in/{path}\"".to_owned());
    }
    if port.is_some_and(|port| !port.parse::<u16>().is_ok_and(|port| port > 0)) {
        return Err("has no usable port; write a number from 1 to 65535 behind the `:`".to_owned());
    }
    let address = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let fine = match address {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)),
    };
    if !fine || authority.parse::<Authority>().is_err() {
        return Err(
            "has no usable host; write a name (international ones in their xn-- form), \
             an IPv4 address or an IPv6 address in brackets"
                .to_owned(),
        );
    }
    Ok(())
}

/// Splits `host:port` of `report.listen`; an IPv6 address comes without its brackets.
pub fn address(text: &str) -> Result<(String, u16), String> {
    const WRITE: &str = "write an address and a port such as \"127.0.0.1:9470\", or a socket such as \
                         \"unix:/run/dirpost/http\"";
    let Some((name, port)) = text.rsplit_once(':') else {
        return Err(format!("has no port; {WRITE}"));
    };
    let Ok(port) = port.parse::<u16>() else {
        return Err(format!("has no usable port; {WRITE}"));
    };
    if name.is_empty() {
        return Err(format!(
            "has no address; {WRITE}, or \"0.0.0.0:{port}\" to be reached from other machines"
        ));
    }
    // What is right in a URL is right here, and an IPv6 address needs its brackets here as well.
    host(name).map_err(|_| format!("has no usable address; {WRITE} (IPv6: \"[::1]:9470\")"))?;
    let bare = name.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    Ok((bare.unwrap_or(name).to_owned(), port))
}

/// Checks the path of a `unix:` socket.
pub fn socket(path: &str) -> Result<(), String> {
    /// What all systems can have there (sun_path of unix(4) on macOS and the BSDs, with its end).
    const MAX: usize = 103;
    if cfg!(not(unix)) {
        return Err(
            "is a socket, which this system does not have; write an address such as \
                    \"127.0.0.1:9470\""
                .to_owned(),
        );
    }
    if path.is_empty() {
        return Err("has no path; write one such as \"unix:/run/dirpost/http\"".to_owned());
    }
    if path.len() > MAX {
        return Err(format!(
            "has a path of {} bytes, and a socket can have {MAX}; write a shorter one",
            path.len()
        ));
    }
    Ok(())
}

fn escapes_are_whole(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

/// What stands between braces and looks like a placeholder.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let inner = text
        .split('{')
        .skip(1)
        .filter_map(|rest| rest.split_once('}'));
    inner
        .map(|(word, _)| word)
        .filter(|word| word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
}

/// Whether something of the file is filled in.
pub fn differs_by_file(text: &str) -> bool {
    words(text).any(|word| OF_FILE.contains(&word))
}

/// Checks the name of a folder: nothing is filled in there.
pub fn folder(text: &str) -> Result<(), String> {
    match words(text).next() {
        Some(word) => Err(format!(
            "`{{{word}}}` is not filled in in the name of a folder; leave it out"
        )),
        None => Ok(()),
    }
}

/// `ready.marker`.
pub fn marker(text: &str) -> Result<MarkerRule, String> {
    let (ending, rule): (_, fn(&str) -> MarkerRule) = match text.strip_prefix("{stem}") {
        Some(ending) => (ending, MarkerRule::of_stem),
        None => (
            text.strip_prefix("{name}").unwrap_or(text),
            MarkerRule::of_name,
        ),
    };
    if ending.is_empty() || ending.contains(['/', '\\']) || ending.contains(char::is_control) {
        return Err(
            "is added to a file's name, so it can have no `/`, `\\` or control character in it; \
             write an ending such as \".done\""
                .to_owned(),
        );
    }
    match words(ending).next() {
        Some(word) => Err(format!(
            "`{{{word}}}` is not filled in here; write an ending such as \".done\", which is the \
             same as \"{{name}}.done\", or \"{{stem}}.done\", for markers that are called after a \
             file's name without its last ending"
        )),
        None => Ok(rule(ending)),
    }
}

/// Refuses every `{word}` that is not known. Other braces are left alone.
fn placeholders(text: &str, known: &[&str]) -> Result<(), String> {
    for word in words(text) {
        if !known.contains(&word) {
            let all: Vec<String> = known.iter().map(|word| format!("{{{word}}}")).collect();
            let all = super::suggest::either(&all);
            return Err(format!("`{{{word}}}` is not filled in here; write {all}"));
        }
    }
    Ok(())
}

/// Whether a header of this name is one of dirpost's own that a request can do without.
pub fn may_be_left_out(name: &str) -> bool {
    OPTIONAL.iter().any(|own| name.eq_ignore_ascii_case(own))
}

/// Checks the name of a form field.
pub fn field_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.contains(char::is_control) || name.contains('"') {
        return Err(
            "must be a name without `\"` or a control character in it, such as \"deviceId\""
                .to_owned(),
        );
    }
    Ok(())
}

/// Checks the value of a form field.
pub fn field_value(value: &str) -> Result<(), String> {
    if value.contains(char::is_control) {
        return Err("has a control character (a line break, say) in it; write one line".to_owned());
    }
    placeholders(value, &OF_FILE)
}

/// Checks the name of a header field.
pub fn header_name(name: &str) -> Result<(), String> {
    if !is_token(name) {
        return Err("is not the name of a header; write letters, digits and `-`".to_owned());
    }
    match OWN.iter().find(|(own, _)| name.eq_ignore_ascii_case(own)) {
        Some((_, why)) if may_be_left_out(name) => Err(format!(
            "is set by dirpost and cannot be set here: {why} (\"\" leaves it out)"
        )),
        Some((_, why)) => Err(format!("is set by dirpost and cannot be set here: {why}")),
        None => Ok(()),
    }
}

fn is_token(text: &str) -> bool {
    let in_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(in_token)
}

/// Checks the value of a header field.
pub fn header_value(value: &str) -> Result<(), String> {
    plain(value)?;
    placeholders(value, &OF_FILE)
}

/// Only what a header field can carry.
pub fn plain(value: &str) -> Result<(), String> {
    if value.contains(char::is_control) {
        return Err("has a control character (a line break, say) in it; write one line".to_owned());
    }
    if !value.is_ascii() {
        return Err(
            "has characters in it that are not ASCII; a header cannot carry them".to_owned(),
        );
    }
    Ok(())
}

/// Checks a media type: `text/csv; charset=utf-8`.
pub fn media_type(value: &str) -> Result<(), String> {
    plain(value)?;
    let essence = value.split(';').next().unwrap_or_default().trim();
    let fine = essence
        .split_once('/')
        .is_some_and(|(t, sub)| is_token(t) && is_token(sub));
    fine.then_some(())
        .ok_or_else(|| "is not a media type; write one such as \"text/csv\"".to_owned())
}

/// `SHA256:AB:CD…` as openssl writes it, with or without its colons.
pub fn fingerprint(text: &str) -> Option<[u8; 32]> {
    let prefix = text.get(..7)?;
    let digits: Vec<u8> = text
        .get(7..)?
        .bytes()
        .filter(|&byte| byte != b':')
        .collect();
    if !prefix.eq_ignore_ascii_case("SHA256:") || digits.len() != 64 {
        return None;
    }
    let mut print = [0; 32];
    for (byte, pair) in print.iter_mut().zip(digits.chunks(2)) {
        let nibble = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(nibble(pair[0])? * 16 + nibble(pair[1])?).ok()?;
    }
    Some(print)
}

/// Checks `send.proxy`.
pub fn proxy(text: &str) -> Result<(), String> {
    const WRITE: &str = "write one such as \"http://proxy.example.org:3128\", or \"none\"";
    const SCHEMES: [&str; 5] = ["http", "https", "socks4", "socks4a", "socks5"];
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(format!("is not a proxy's URL; {WRITE}"));
    };
    if !SCHEMES.contains(&scheme) {
        return Err(format!(
            "must begin with {}; {WRITE}",
            super::suggest::either(&SCHEMES.map(|scheme| format!("{scheme}://")),)
        ));
    }
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#']) {
        return Err(format!("has more in it than a host and a port; {WRITE}"));
    }
    host(
        authority
            .rsplit_once('@')
            .map_or(authority, |(_, host)| host),
    )
    .map_err(|_| format!("has no usable host or port; {WRITE}"))?;
    // The client's own opinion counts as well; its words could quote the password.
    ureq::Proxy::new(text)
        .map(|_| ())
        .map_err(|_| format!("is not a proxy's URL; {WRITE}"))
}
