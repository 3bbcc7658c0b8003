//! What a server's own page of an error says of the configuration.
//!
//! Some servers answer a request that came the wrong way (plain HTTP on a TLS port, no client
//! certificate) with a status that by default means a bad file. They answer everybody so, hence no
//! file is condemned for it. `check` and the delivery recognise these pages by this code.
//!
//! A text in a page proves little: an endpoint may quote the file that it refuses. So the page must
//! begin as the server writes it, be the whole body, and be short. Servers that close the
//! connection instead (HAProxy, Envoy, lighttpd, Node.js, gunicorn) need no entry: without an answer
//! the endpoint is down.

use crate::flow::endpoint::reply::Answer;

/// A body of so many bytes or more is no such page. nginx's is the longest, with its comments that
/// pad it for old browsers.
const PAGE_BELOW: usize = 2048;

/// What is wrong with the way in which a request came, by the word of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrongWay {
    /// The port speaks TLS, and the request was plain HTTP.
    PlainHttp,
    /// There is no client certificate.
    NoCertificate,
    /// The client certificate is refused.
    BadCertificate,
    /// The certificate is asked for in the middle of a TLS 1.3 connection, which neither dirpost nor
    /// most other clients can answer (RFC 8446, 4.6.2).
    LateCertificate,
}

/// How pages begin behind a document type, which differs between the versions of a server, with each
/// run of white space as one space. `###` stands for a status: nginx
/// writes 400 into the page, and a proxy that was configured otherwise may not.
const BEGINNINGS: [(WrongWay, &str); 5] = [
    // nginx, src/http/ngx_http_special_response.c (494 to 497); OpenResty, Tengine, Angie,
    // Cloudflare and the load balancers of AWS and Azure have it from there.
    (
        WrongWay::PlainHttp,
        "<html> <head><title>### The plain HTTP request was sent to HTTPS port</title></head>",
    ),
    (
        WrongWay::NoCertificate,
        "<html> <head><title>### No required SSL certificate was sent</title></head>",
    ),
    (
        WrongWay::BadCertificate,
        "<html> <head><title>### The SSL certificate error</title></head>",
    ),
    // Apache, modules/ssl/ssl_engine_kernel.c, within the page of modules/http/http_protocol.c.
    (
        WrongWay::PlainHttp,
        "<html><head> <title>### Bad \
         Request</title> </head><body> <h1>Bad Request</h1> <p>Your browser sent a request that \
         this server could not understand.<br /> Reason: You're speaking plain HTTP to an \
         SSL-enabled server port.<br />",
    ),
    (
        WrongWay::LateCertificate,
        "<html><head> <title>### \
         Forbidden</title> </head><body> <h1>Forbidden</h1> <p>You don't have permission to access \
         this resource.Reason: Cannot perform Post-Handshake Authentication.<br />",
    ),
];

/// Pages without any markup: all of the body, but for white space around it.
const WHOLE: [(WrongWay, &str); 2] = [
    // Go, src/net/http/server.go: Caddy, Traefik, MinIO, etcd, Prometheus and all others in Go.
    (
        WrongWay::PlainHttp,
        "Client sent an HTTP request to an HTTPS server.",
    ),
    // Tomcat, java/org/apache/tomcat/util/net (TLSClientHelloExtractor): also Spring Boot.
    (
        WrongWay::PlainHttp,
        "Bad Request This combination of host and port requires TLS.",
    ),
];

/// What the answer says of the way in which the request came, if it is such a page.
pub fn wrong_way(answer: &Answer) -> Option<WrongWay> {
    if !matches!(answer.status, 400 | 403 | 495..=497) || answer.body.len() >= PAGE_BELOW {
        return None;
    }
    let text = str::from_utf8(&answer.body).ok()?;
    let page = text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    let whole = WHOLE.iter().find(|(_, whole)| page == *whole);
    let begun = || {
        // Nothing of a file that is quoted can stand behind the end of the page.
        let ended = page.ends_with("</html>") || page.ends_with("-->");
        BEGINNINGS
            .iter()
            .find(|(_, beginning)| ended && begins_with(without_doctype(&page), beginning))
    };
    whole.or_else(begun).map(|(way, _)| *way)
}

fn without_doctype(page: &str) -> &str {
    match page
        .strip_prefix("<!DOCTYPE HTML")
        .and_then(|rest| rest.split_once('>'))
    {
        Some((_, rest)) => rest.trim_start(),
        None => page,
    }
}

fn begins_with(page: &str, beginning: &str) -> bool {
    let Some((before, after)) = beginning.split_once("###") else {
        return false;
    };
    let status = page.strip_prefix(before).and_then(|rest| rest.get(..3));
    let rest = page.get(before.len() + 3..);
    status.is_some_and(|status| status.bytes().all(|byte| byte.is_ascii_digit()))
        && rest.is_some_and(|rest| rest.starts_with(after))
}

impl WrongWay {
    /// One sentence for a person, about `endpoint`, which answered with `status`.
    pub fn sentence(self, endpoint: &str, status: u16) -> String {
        let (what, remedy) = match self {
            WrongWay::PlainHttp => (
                "speaks TLS on this port",
                "send.url must begin with https://",
            ),
            WrongWay::NoCertificate => (
                "wants a client certificate",
                "set send.tls.client_cert and send.tls.client_key",
            ),
            WrongWay::BadCertificate => (
                "refuses the client certificate",
                "it may have expired, or be from an authority that the server does not trust",
            ),
            WrongWay::LateCertificate => (
                "wants a client certificate for this path alone, which TLS 1.3 has no way for here",
                "let the server ask for it on the whole host (Apache: SSLVerifyClient outside of \
                 <Location> and <Directory>), or offer TLS 1.2 alone",
            ),
        };
        format!("{endpoint} {what} (status {status}): {remedy}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, body: &str) -> Option<WrongWay> {
        wrong_way(&Answer {
            status,
            body: body.into(),
            ..Answer::default()
        })
    }

    fn nginx(title: &str) -> String {
        format!(
            "<html>\r\n<head><title>400 {title}</title></head>\r\n<body>\r\n<center><h1>400 Bad \
             Request</h1></center>\r\n<center>{title}</center>\r\n<hr><center>nginx/1.22.1</center>\
             \r\n</body>\r\n</html>\r\n"
        )
    }

    fn apache(status: &str, text: &str) -> String {
        format!(
            "<!DOCTYPE HTML PUBLIC \"-//IETF//DTD HTML 2.0//EN\">\n<html><head>\n<title>{status}\
             </title>\n</head><body>\n<h1>{}</h1>\n<p>{text}</p>\n<hr>\n<address>Apache/2.4.62 \
             (Debian) Server at h Port 443</address>\n</body></html>\n",
            &status[4..]
        )
    }

    const PLAIN: &str = "The plain HTTP request was sent to HTTPS port";

    #[test]
    fn the_pages_of_well_known_servers_say_what_is_wrong_with_the_way() {
        use WrongWay::*;
        let apache_plain = apache(
            "400 Bad Request",
            "Your browser sent a request that this server could not understand.<br />\nReason: \
             You're speaking plain HTTP to an SSL-enabled server port.<br />\n Instead use the \
             HTTPS scheme to access this URL, please.<br />\n",
        );
        let apache_late = apache(
            "403 Forbidden",
            "You don't have permission to access this resource.Reason: Cannot perform \
             Post-Handshake Authentication.<br />\n",
        );
        let padding = "<!-- a padding to disable MSIE and Chrome friendly error page -->\r\n";
        for (status, body, way) in [
            (400, nginx(PLAIN), PlainHttp),
            (497, nginx(PLAIN).replace("400", "497"), PlainHttp),
            (400, nginx(PLAIN) + &padding.repeat(6), PlainHttp),
            (
                400,
                nginx("No required SSL certificate was sent"),
                NoCertificate,
            ),
            (
                496,
                nginx("No required SSL certificate was sent"),
                NoCertificate,
            ),
            (400, nginx("The SSL certificate error"), BadCertificate),
            (
                400,
                apache_plain.replace(
                    "-//IETF//DTD HTML 2.0//EN\"",
                    "-//W3C//DTD HTML 4.01//EN\" \"http://www.w3.org/TR/html4/strict.dtd\"",
                ),
                PlainHttp,
            ),
            (400, apache_plain, PlainHttp),
            (403, apache_late, LateCertificate),
            (
                400,
                "Client sent an HTTP request to an HTTPS server.\n".into(),
                PlainHttp,
            ),
            (
                400,
                "Bad Request\r\nThis combination of host and port requires TLS.\r\n".into(),
                PlainHttp,
            ),
        ] {
            assert_eq!(told(status, &body), Some(way), "{body}");
        }
    }

    #[test]
    fn an_answer_about_a_file_is_none_of_these_pages() {
        let page = nginx(PLAIN);
        let json = serde_json::json!({ "error": "cannot be read", "file": &page }).to_string();
        for (status, body) in [
            // Other statuses are judged by themselves.
            (200, page.clone()),
            (422, page.clone()),
            (500, page.clone()),
            // An endpoint that quotes the file it refuses.
            (400, format!("not valid: {page}")),
            (400, json),
            (400, format!("{page} in line 7")),
            (
                400,
                "line 3: Client sent an HTTP request to an HTTPS server.".into(),
            ),
            (
                400,
                "<html><body>The plain HTTP request was sent to HTTPS port</body></html>".into(),
            ),
            // Longer than any server's own page.
            (400, page.replace("<hr>", &"<p>x</p>".repeat(2048 / 8))),
            (400, nginx("Bad Request")),
            (403, apache("403 Forbidden", "Not for you.")),
            (400, String::new()),
        ] {
            assert_eq!(told(status, &body), None, "{status} {body}");
        }
        let mut bytes = page.into_bytes();
        bytes.insert(0, 0xff);
        let answer = Answer {
            status: 400,
            body: bytes,
            ..Answer::default()
        };
        assert_eq!(wrong_way(&answer), None);
    }
}
