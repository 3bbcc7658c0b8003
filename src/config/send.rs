//! `[send]` and the tables in it.

use super::error::Problem;
use super::read::{Item, Section, Source};
use super::{
    Auth, BodyKind, Compress, Digest, Expect, Hidden, Method, Proxy, Roots, Send, SendOrder,
    Statuses, Tls, Watch,
};
use super::{auth, units, values};
use std::time::Duration;

/// Reads `[send]`; `given` is the URL if it comes from elsewhere, and valid.
pub fn send(table: &Section<'_>, source: &Source<'_>, given: Option<String>) -> Option<Send> {
    let url = address(table, source, given);
    let seconds = Duration::from_secs;
    let body = body(table, source);
    let (accept, reject) = verdicts(table, source);
    let auth = auth::auth(&table.table("auth"), source);
    let (order, in_order) = order(table, source);
    let send = Send {
        url: String::new().into(),
        method: table.or("method", Method::Post, |item| {
            item.choice(&[("POST", Method::Post), ("PUT", Method::Put)])
        }),
        body,
        content_type: table.or("content_type", None, content_type),
        headers: table.or("headers", Vec::new(), headers),
        fields: table.or("fields", Vec::new(), fields),
        expect: table.or("expect", Expect::Auto, |item| {
            item.choice(&[("auto", Expect::Auto), ("never", Expect::Never)])
        }),
        workers: table.or("workers", 4, |item| item.integer(1, 64)),
        connect_timeout: table.duration("connect_timeout", seconds(10)),
        stall_timeout: table.duration("stall_timeout", seconds(30)),
        response_timeout: table.duration("response_timeout", seconds(120)),
        digest: table.or("digest", Digest::Auto, |item| {
            item.choice(&[
                ("auto", Digest::Auto),
                ("always", Digest::Always),
                ("never", Digest::Never),
            ])
        }),
        compress: table.or("compress", Compress::None, |item| {
            item.choice(&[("none", Compress::None), ("gzip", Compress::Gzip)])
        }),
        accept,
        reject,
        brake: table.or("brake", 10, |item| item.integer(0, i64::from(u32::MAX))),
        key_scope: table.get("key_scope", |item| {
            let scope = item.word("a name for this sender, such as \"plant-7\"")?;
            item.checked(scope, values::plain)
        }),
        accept_content_type: table.get("accept_content_type", |item| {
            let kind = item.word("a media type, such as \"application/json\"")?;
            item.checked(kind, values::media_type)
        }),
        accept_body: table.get("accept_body", |item| {
            item.word("a part of the answer's body")
        }),
        order,
        in_order,
        max_rate: table.get("max_rate", |item| item.size(1)),
        auth,
        tls: tls(&table.table("tls"), source),
        proxy: table.or("proxy", Proxy::Environment, proxy),
    };
    check_headers(&send, source);
    check_form(&send, source);
    auth::check_signed(&send, source);
    url.map(|url| Send {
        url: url.into(),
        ..send
    })
}

/// `send.accept` and `send.reject`.
fn verdicts(table: &Section<'_>, source: &Source<'_>) -> (Statuses, Statuses) {
    let accept = table.or("accept", Statuses(vec![(200, 299)]), |item| {
        statuses(item, Of::Acceptance)
    });
    let reject = [400, 413, 414, 415, 422]
        .map(|status| (status, status))
        .to_vec();
    let reject = table.or("reject", Statuses(reject), |item| {
        statuses(item, Of::Rejection)
    });
    check_overlap(&accept, &reject, source);
    (accept, reject)
}

/// `send.order` and `send.in_order`. What has arrived first nobody knows after a restart.
fn order(table: &Section<'_>, source: &Source<'_>) -> (SendOrder, bool) {
    let in_order = table.flag("in_order", false);
    let order = table.get("order", |item| {
        item.choice(&[
            ("arrival", SendOrder::Arrival),
            ("mtime", SendOrder::Mtime),
            ("name", SendOrder::Name),
        ])
    });
    if in_order && order == Some(SendOrder::Arrival) {
        source.problem(
            "send.order",
            "\"arrival\" is no order that outlives a restart, as send.in_order needs one; write \
             \"mtime\" or \"name\"",
        );
    }
    let unset = if in_order {
        SendOrder::Mtime
    } else {
        SendOrder::Arrival
    };
    (order.unwrap_or(unset), in_order)
}

/// `send.url`, unless it is given.
fn address(table: &Section<'_>, source: &Source<'_>, given: Option<String>) -> Option<String> {
    let url = table.get("url", |item| {
        let url = item.word("a URL in quotes, such as \"https://example.org/in/{path}\"")?;
        item.checked(url, values::url)
    });
    if url.is_none() && given.is_none() && !source.is_set("send.url") {
        source.problem(
            "send.url",
            "is missing; add under [send]: url = \"https://example.org/in/{path}\"",
        );
    }
    given.or(url)
}

/// Refuses PUT to one address for all files, unless the globs leave one file alone. (A header may say
/// where a file is to go.)
pub fn check_put(send: &Send, watch: &Watch, source: &Source<'_>) {
    let differs = values::differs_by_file(&send.url)
        || send
            .headers
            .iter()
            .any(|(_, value)| values::differs_by_file(value));
    let is_one_file = match &watch.include[..] {
        [only] => {
            !only.contains(['*', '?', '[', '{', '\\'])
                && (only.contains('/') || watch.max_depth == Some(1))
        }
        _ => false,
    };
    if send.method == Method::Put && !differs && !is_one_file {
        source.problem(
            "send.url",
            "is the same for all files, and with send.method = \"PUT\" each one would replace the one \
             before; put {path} or {name} into it, or write send.method = \"POST\"",
        );
    }
}

fn body(table: &Section<'_>, source: &Source<'_>) -> BodyKind {
    let multipart = table.or("body", false, |item| {
        item.choice(&[("raw", false), ("multipart", true)])
    });
    let field = table.or("field", "file".to_owned(), |item| {
        let field = item.word("the name of the form field, such as \"file\"")?;
        if field.contains(char::is_control) || field.contains('"') {
            return Err(item.wrong("must not have `\"` or a control character in it"));
        }
        Ok(field)
    });
    if multipart {
        return BodyKind::Multipart(field);
    }
    // The default may be spelled out; anything else would have no effect.
    if field != "file" {
        source.problem(
            "send.field",
            "is only for send.body = \"multipart\"; leave it out, or write that too",
        );
    }
    BodyKind::Raw
}

fn content_type(item: &Item<'_>) -> Result<Option<String>, Problem> {
    let text = item.word("\"auto\" or a media type, such as \"text/csv\"")?;
    if text == "auto" {
        return Ok(None);
    }
    item.checked(text, values::media_type).map(Some)
}

fn headers(item: &Item<'_>) -> Result<Vec<(String, Hidden)>, Problem> {
    let mut headers: Vec<(String, Hidden)> = Vec::new();
    for (name, value) in item.entries("a table, such as { X-Source = \"plant-7\" }")? {
        let text = value.text("a string")?;
        if !(text.is_empty() && values::may_be_left_out(&name)) {
            values::header_name(&name).map_err(|text| value.wrong(text))?;
        }
        if headers
            .iter()
            .any(|(other, _)| other.eq_ignore_ascii_case(&name))
        {
            return Err(value.wrong("is there twice (case does not matter); leave one out"));
        }
        let text = value.checked(text, values::header_value)?;
        headers.push((name, text.into()));
    }
    Ok(headers)
}

fn fields(item: &Item<'_>) -> Result<Vec<(String, Hidden)>, Problem> {
    let mut fields = Vec::new();
    for (name, value) in item.entries("a table, such as { deviceId = \"plant-7\" }")? {
        values::field_name(&name).map_err(|text| value.wrong(text))?;
        let text = value.checked(value.text("a string")?, values::field_value)?;
        fields.push((name, text.into()));
    }
    Ok(fields)
}

/// Fields without a form, and a form that does not say that it is one.
fn check_form(send: &Send, source: &Source<'_>) {
    let is_form = matches!(send.body, BodyKind::Multipart(_));
    if !is_form && !send.fields.is_empty() {
        source.problem(
            "send.fields",
            "is only for send.body = \"multipart\"; leave it out, or write that too",
        );
    }
    let lacks_type = |(name, value): &(String, Hidden)| {
        name.eq_ignore_ascii_case("content-type") && value.is_empty()
    };
    if is_form && send.headers.iter().any(lacks_type) {
        source.problem(
            "send.headers",
            "Content-Type says where the parts of a form begin, so with send.body = \"multipart\" it \
             cannot be left out",
        );
    }
}

/// Headers that another key sets, too.
fn check_headers(send: &Send, source: &Source<'_>) {
    let by_auth: &[&str] = match &send.auth {
        Some(Auth::Header { name, .. } | Auth::Command { name, .. }) => &[name.as_str()],
        Some(Auth::Aws(_)) => &auth::SIGNATURE_FIELDS,
        Some(_) => &["Authorization"],
        None => &[],
    };
    for (name, _) in &send.headers {
        if by_auth.iter().any(|set| name.eq_ignore_ascii_case(set)) {
            source.problem(
                "send.headers",
                format!("{name} is set by send.auth; leave one out"),
            );
        }
        if send.compress == Compress::Gzip && name.eq_ignore_ascii_case("content-encoding") {
            source.problem(
                "send.headers",
                format!("{name} is set by send.compress = \"gzip\"; leave one out"),
            );
        }
    }
}

/// What statuses mean.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    /// Some status must. A redirect may, where it is named singly: 303 can say that the file is
    /// stored, and the answer is elsewhere (RFC 9110, 15.4.4).
    Acceptance,
    /// None need. A redirect never says that a file is bad.
    Rejection,
}

fn statuses(item: &Item<'_>, of: Of) -> Result<Statuses, Problem> {
    let redirects = match of {
        Of::Acceptance => units::Redirects::Singly,
        Of::Rejection => units::Redirects::Never,
    };
    let mut ranges = Vec::new();
    for member in item.members("an array, such as [200, \"202-204\"]")? {
        let range = match member.maybe_text()? {
            Some(text) => units::status_range(&text, redirects),
            None => {
                let status = member.integer(0, i64::from(u16::MAX))?;
                units::status_bounds(status, status, redirects)
            }
        };
        ranges.push(range.map_err(|text| member.wrong(text))?);
    }
    if ranges.is_empty() && of == Of::Acceptance {
        return Err(item.wrong("is empty, so nothing would ever be accepted; write [\"200-299\"]"));
    }
    Ok(Statuses(ranges))
}

fn check_overlap(accept: &Statuses, reject: &Statuses, source: &Source<'_>) {
    let Some(status) = units::overlap(&accept.0, &reject.0) else {
        return;
    };
    // Points at the one that is in the file; the other one may be the default.
    let key = if source.is_set("send.reject") {
        "send.reject"
    } else {
        "send.accept"
    };
    let default = if source.is_set("send.accept") && source.is_set("send.reject") {
        ""
    } else {
        " (one of them is the default)"
    };
    source.problem(
        key,
        format!(
            "{status} is in send.accept and in send.reject{default}; write both so that it is \
             in one only"
        ),
    );
}

/// One fingerprint or a list of them.
fn fingerprints(item: &Item<'_>) -> Result<Vec<[u8; 32]>, Problem> {
    let want = "\"SHA256:\" and 32 bytes in hex, as `dirpost check` shows it";
    let texts = match item.maybe_text()? {
        Some(text) => vec![text],
        None => {
            let members = item.members(want)?;
            let texts = members.iter().map(|member| member.text(want));
            texts.collect::<Result<_, _>>()?
        }
    };
    if texts.is_empty() {
        return Err(item.wrong(format!("is empty; write {want}, or leave the key out")));
    }
    let read = |text: &String| {
        values::fingerprint(text)
            .ok_or_else(|| item.wrong(format!("is no fingerprint; write {want}")))
    };
    texts.iter().map(read).collect()
}

fn tls(table: &Section<'_>, source: &Source<'_>) -> Tls {
    let tls = Tls {
        ca: table.get("ca", Item::path),
        fingerprint: table.or("fingerprint", Vec::new(), fingerprints),
        client_cert: table.get("client_cert", Item::path),
        client_key: table.get("client_key", Item::path),
        roots: table.or("roots", Roots::System, |item| {
            item.choice(&[("system", Roots::System), ("bundled", Roots::Bundled)])
        }),
    };
    for (one, other) in [("client_cert", "client_key"), ("client_key", "client_cert")] {
        let (one, other) = (format!("send.tls.{one}"), format!("send.tls.{other}"));
        if source.is_set(&one) && !source.is_set(&other) {
            source.problem(&one, format!("needs {other} as well; write both or none"));
        }
    }
    tls
}

fn proxy(item: &Item<'_>) -> Result<Proxy, Problem> {
    let text = item.word("\"none\", \"environment\" or the proxy's URL in quotes")?;
    match text.as_str() {
        "none" => Ok(Proxy::None),
        "environment" => Ok(Proxy::Environment),
        _ => item.checked(text, values::proxy).map(Proxy::Url),
    }
}
