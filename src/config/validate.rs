//! What a URL, a header and a template may be.

use super::suggest;

/// What stands in braces in `send.url`.
pub const IN_URL: [&str; 2] = ["path", "name"];
/// What stands in braces in the values of `send.headers`.
pub const IN_HEADERS: [&str; 6] = ["path", "name", "size", "mtime", "key", "sha256"];

/// Fields that dirpost sets itself, or that belong to the connection.
const OWN: [&str; 9] = [
    "content-length",
    "transfer-encoding",
    "connection",
    "host",
    "expect",
    "idempotency-key",
    "content-digest",
    "x-file-path",
    "x-file-mtime",
];

/// Sees that every brace belongs to one of `known`.
pub fn template(text: &str, known: &[&str]) -> Result<(), String> {
    let list = || known.iter().map(|name| format!("{{{name}}}")).collect::<Vec<_>>().join(" ");
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let after = &rest[at + 1..];
        if rest.as_bytes()[at] == b'}' {
            return Err(format!("a `}}` without `{{`; there are {}", list()));
        }
        let Some(end) = after.find('}') else {
            return Err(format!("a `{{` without `}}`; there are {}", list()));
        };
        let name = &after[..end];
        if !known.contains(&name) {
            let near = suggest::nearest(name, known.iter().copied())
                .map_or(String::new(), |near| format!(" (did you mean {{{near}}}?)"));
            return Err(format!("`{{{name}}}` is not filled in{near}; there are {}", list()));
        }
        rest = &after[end + 1..];
    }
    Ok(())
}

/// Sees that this is a whole URL that can be posted to.
pub fn url(url: &str) -> Result<(), String> {
    let rest = ["http://", "https://"].iter().find_map(|scheme| strip_prefix_ignoring_case(url, scheme));
    let Some(rest) = rest else {
        return Err(format!("`{url}` is no URL: it must begin with http:// or https://"));
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    if authority.contains('@') {
        return Err("it holds a user or a password: write them as send.auth = { user = …, password_file = … }".into());
    }
    if authority.contains(['{', '}']) {
        return Err("only the path and the query can be filled in, not the host".into());
    }
    template(rest, &IN_URL)?;
    if rest.contains('#') {
        return Err("a fragment (`#…`) is never sent: leave it out".into());
    }
    let plain = url.replace(['{', '}'], "");
    let parsed: Result<ureq::http::Uri, _> = plain.parse();
    match parsed {
        Ok(parsed) if parsed.host().is_some_and(|host| !host.is_empty()) => Ok(()),
        Ok(_) => Err("it names no host".into()),
        Err(err) => Err(format!("`{url}` is no URL: {err}")),
    }
}

fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    text.get(..prefix.len()).filter(|start| start.eq_ignore_ascii_case(prefix)).map(|_| &text[prefix.len()..])
}

/// Sees that this field may be added to a request (RFC 9110, 5.1 and 5.5).
pub fn header(name: &str, value: &str) -> Result<(), String> {
    if ureq::http::HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Err(format!("`{name}` is no name of a header field"));
    }
    let lower = name.to_ascii_lowercase();
    if lower == "content-type" {
        return Err("write it as send.content_type".into());
    }
    if OWN.contains(&lower.as_str()) {
        return Err("dirpost sets this header field itself".into());
    }
    if value.chars().any(char::is_control) {
        return Err("its value holds a control character".into());
    }
    template(value, &IN_HEADERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_whole_and_filled_in_behind_the_host_only() {
        for good in ["http://host/", "https://host:8443/a/{path}?n={name}", "http://[::1]:80/x", "HTTP://host"] {
            assert_eq!(url(good), Ok(()), "{good}");
        }
        for bad in [
            "host/path",
            "ftp://host/",
            "http:///x",
            "http://u:p@host/",
            "http://{name}/",
            "http://h/{nmae}",
            "http://h/#x",
            "http://h/{path",
        ] {
            assert!(url(bad).is_err(), "{bad}");
        }
        assert!(url("http://h/{nmae}").unwrap_err().contains("did you mean {name}"));
    }

    #[test]
    fn headers_that_would_break_the_request_are_refused() {
        assert_eq!(header("X-Batch", "{name} {size}"), Ok(()));
        assert_eq!(header("Authorization", "Token abc"), Ok(()));
        for (name, value) in [
            ("X Y", "a"),
            ("Host", "a"),
            ("content-length", "1"),
            ("X-A", "a\r\nB: c"),
            ("X-A", "{foo}"),
            ("Content-Type", "a"),
        ] {
            assert!(header(name, value).is_err(), "{name}: {value}");
        }
    }
}
