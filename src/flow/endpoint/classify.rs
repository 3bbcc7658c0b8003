//! What an answer means: the one place that decides it.
//!
//! Statuses are those of RFC 9110 (15), 6585 (429) and 8470 (425). Which statuses
//! accept and which reject is the user's; the rest of the table is fixed:
//!
//! | answer | verdict |
//! |---|---|
//! | in `send.accept`, and its further conditions hold | [`Accepted`](Verdict::Accepted) |
//! | a server's own page that says that the request came the wrong way ([`server_page`]) | [`Refused`](Verdict::Refused) |
//! | a code of an object store, where requests are signed ([`object_store`]) | what the code says |
//! | in `send.reject` | [`Rejected`](Verdict::Rejected) |
//! | 401 403 404 405 407, any 3xx, a 2xx that is not wanted | [`Refused`](Verdict::Refused): the endpoint or the config is wrong |
//! | 429, 503 | [`Busy`](Verdict::Busy) |
//! | any other | [`Later`](Verdict::Later) |
//! | none | [`Down`](Verdict::Down) |
//!
//! An answer that came before the last byte of the request was out can only refuse:
//! an early acceptance is [`Later`](Verdict::Later).
//!
//! [`server_page`]: crate::flow::endpoint::server_page
//! [`object_store`]: crate::flow::endpoint::object_store

use std::time::Duration;
use std::time::SystemTime;

use crate::config::{Auth, Send, Statuses};
use crate::flow::endpoint::object_store;
use crate::flow::endpoint::reply::{Answer, Reply};
use crate::flow::endpoint::server_page::wrong_way;
use crate::flow::endpoint::verdict::Verdict;
use crate::flow::time::Wall;

/// Says what a reply means, by the user's part of the table.
#[derive(Clone, Debug)]
pub struct Classifier {
    /// `send.accept`: the statuses that mean that the file was delivered.
    pub accept: Statuses,
    /// `send.reject`: the statuses that mean that the file is bad.
    pub reject: Statuses,
    /// `send.accept_content_type`: the media type an acceptance must have.
    pub accept_content_type: Option<String>,
    /// Requests are signed with Signature Version 4.
    pub signed: bool,
}

impl Classifier {
    /// As it is configured.
    pub fn new(send: &Send) -> Classifier {
        Classifier {
            accept: send.accept.clone(),
            reject: send.reject.clone(),
            accept_content_type: send.accept_content_type.clone(),
            signed: matches!(send.auth, Some(Auth::Aws(_))),
        }
    }

    /// Decides.
    pub fn classify(&self, reply: &Reply) -> Verdict {
        let answer = match reply {
            Reply::Answer(answer) => answer,
            Reply::Failed(failure) => {
                return Verdict::Down {
                    reached: !failure.kind.unreachable(),
                };
            }
        };
        if self.accept.contains(answer.status) {
            return match () {
                () if answer.early => Verdict::Later,
                () if !answer.body_matches || !self.type_fits(answer) => Verdict::Refused,
                () => Verdict::Accepted,
            };
        }
        if wrong_way(answer).is_some() {
            return Verdict::Refused;
        }
        if self.signed
            && let Some(verdict) = object_store::verdict(answer)
        {
            return verdict;
        }
        if self.reject.contains(answer.status) {
            return Verdict::Rejected;
        }
        match answer.status {
            200..=299 if answer.early => Verdict::Later,
            401 | 403 | 404 | 405 | 407 | 200..=399 => Verdict::Refused,
            429 | 503 => Verdict::Busy,
            _ => Verdict::Later,
        }
    }

    /// Compares the media types without their parameters and without regard to case
    /// (RFC 9110, 8.3.1).
    fn type_fits(&self, answer: &Answer) -> bool {
        let essence = |text: &str| {
            text.split(';')
                .next()
                .unwrap_or("")
                .trim()
                .to_ascii_lowercase()
        };
        self.accept_content_type.as_deref().is_none_or(|wanted| {
            answer
                .content_type
                .as_deref()
                .is_some_and(|got| essence(got) == essence(wanted))
        })
    }
}

/// The longest `Retry-After` that is obeyed.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Reads a `Retry-After` field: seconds or an HTTP date (RFC 9110, 10.2.3), capped at
/// one hour. A date that is past, and what is neither, is no wait.
pub fn retry_after(field: &str, now: Wall) -> Option<Duration> {
    let field = field.trim();
    let wait = if !field.is_empty() && field.bytes().all(|byte| byte.is_ascii_digit()) {
        // Too many digits for a number is a very long wait, too.
        Duration::from_secs(field.parse().unwrap_or(u64::MAX))
    } else {
        let date = httpdate::parse_http_date(field)
            .ok()?
            .duration_since(SystemTime::UNIX_EPOCH)
            .ok()?;
        date.saturating_sub(Duration::from_nanos(u64::try_from(now.0).unwrap_or(0)))
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::endpoint::reply::{Failure, FailureKind};

    fn classifier() -> Classifier {
        Classifier {
            accept: Statuses(vec![(200, 299)]),
            reject: Statuses(vec![(400, 400), (413, 415), (422, 422)]),
            accept_content_type: None,
            signed: false,
        }
    }

    fn answer(status: u16) -> Answer {
        Answer {
            status,
            body_matches: true,
            ..Answer::default()
        }
    }

    fn verdict(status: u16) -> Verdict {
        classifier().classify(&Reply::Answer(answer(status)))
    }

    fn failed(kind: FailureKind) -> Verdict {
        classifier().classify(&Reply::Failed(Failure {
            kind,
            detail: String::new(),
        }))
    }

    #[test]
    fn row_1_a_status_in_accept_is_an_acceptance() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(verdict(status), Verdict::Accepted, "{status}");
        }
    }

    #[test]
    fn row_2_a_status_in_reject_condemns_the_file() {
        for status in [400, 413, 414, 415, 422] {
            assert_eq!(verdict(status), Verdict::Rejected, "{status}");
        }
    }

    #[test]
    fn an_object_store_that_blames_the_credentials_condemns_no_signed_file() {
        let body = "<Error><Code>ExpiredToken</Code></Error>";
        let expired = Reply::Answer(Answer {
            body: body.into(),
            ..answer(400)
        });
        let signed = Classifier {
            signed: true,
            ..classifier()
        };
        assert_eq!(signed.classify(&expired), Verdict::Refused);
        // Others may quote the file that they refuse.
        assert_eq!(classifier().classify(&expired), Verdict::Rejected);
        assert_eq!(
            signed.classify(&Reply::Answer(answer(400))),
            Verdict::Rejected
        );
    }

    #[test]
    fn a_page_that_blames_the_configuration_condemns_no_file() {
        let blames = Answer {
            body: b"Client sent an HTTP request to an HTTPS server.\n".to_vec(),
            ..answer(400)
        };
        let of = |classifier: Classifier| classifier.classify(&Reply::Answer(blames.clone()));
        assert_eq!(of(classifier()), Verdict::Refused);
        // What the user has named as an acceptance is one.
        let accepts = Classifier {
            accept: Statuses(vec![(400, 400)]),
            ..classifier()
        };
        assert_eq!(of(accepts), Verdict::Accepted);
    }

    #[test]
    fn row_3_refusals_of_everything_are_the_endpoints_fault() {
        for status in [401, 403, 404, 405, 407, 300, 301, 302, 304, 307, 308, 399] {
            assert_eq!(verdict(status), Verdict::Refused, "{status}");
        }
    }

    #[test]
    fn row_4_the_rest_is_tried_again_and_429_and_503_close_the_gate() {
        for status in [
            408, 409, 425, 500, 502, 504, 402, 406, 410, 418, 501, 505, 599,
        ] {
            assert_eq!(verdict(status), Verdict::Later, "{status}");
        }
        for status in [429, 503] {
            assert_eq!(verdict(status), Verdict::Busy, "{status}");
        }
    }

    #[test]
    fn row_5_no_answer_means_the_endpoint_is_down() {
        for kind in [FailureKind::Resolve, FailureKind::Connect, FailureKind::Tls] {
            assert_eq!(failed(kind), Verdict::Down { reached: false }, "{kind:?}");
        }
        for kind in [FailureKind::Timeout, FailureKind::Broken] {
            assert_eq!(failed(kind), Verdict::Down { reached: true }, "{kind:?}");
        }
    }

    #[test]
    fn an_early_answer_can_refuse_but_not_accept() {
        let early = |status| {
            classifier().classify(&Reply::Answer(Answer {
                early: true,
                ..answer(status)
            }))
        };
        assert_eq!(early(200), Verdict::Later);
        assert_eq!(early(413), Verdict::Rejected);
        assert_eq!(early(401), Verdict::Refused);
        let narrow = Classifier {
            accept: Statuses(vec![(201, 201)]),
            ..classifier()
        };
        assert_eq!(
            narrow.classify(&Reply::Answer(Answer {
                early: true,
                ..answer(200)
            })),
            Verdict::Later
        );
    }

    #[test]
    fn an_unwanted_success_is_the_endpoints_fault() {
        let narrow = Classifier {
            accept: Statuses(vec![(201, 201)]),
            ..classifier()
        };
        assert_eq!(
            narrow.classify(&Reply::Answer(answer(200))),
            Verdict::Refused
        );
        let login = Answer {
            body_matches: false,
            ..answer(200)
        };
        assert_eq!(
            classifier().classify(&Reply::Answer(login)),
            Verdict::Refused
        );
        let typed = Classifier {
            accept_content_type: Some("application/json".into()),
            ..classifier()
        };
        let with = |kind: &str| {
            typed.classify(&Reply::Answer(Answer {
                content_type: Some(kind.into()),
                ..answer(200)
            }))
        };
        assert_eq!(with("Application/JSON; charset=utf-8"), Verdict::Accepted);
        assert_eq!(with("text/html"), Verdict::Refused);
        assert_eq!(
            typed.classify(&Reply::Answer(answer(200))),
            Verdict::Refused
        );
    }

    #[test]
    fn the_users_statuses_go_before_the_table() {
        let own = Classifier {
            accept: Statuses(vec![(409, 409)]),
            reject: Statuses(vec![(500, 500), (404, 404)]),
            ..classifier()
        };
        let of = |status| own.classify(&Reply::Answer(answer(status)));
        assert_eq!(of(409), Verdict::Accepted);
        assert_eq!(of(500), Verdict::Rejected);
        assert_eq!(of(404), Verdict::Rejected);
    }

    #[test]
    fn retry_after_is_read_in_both_forms_and_capped() {
        let now = Wall(784_111_777 * 1_000_000_000); // Sun, 06 Nov 1994 08:49:37 GMT
        let secs = Duration::from_secs;
        assert_eq!(retry_after("120", now), Some(secs(120)));
        assert_eq!(retry_after(" 0 ", now), Some(secs(0)));
        assert_eq!(
            retry_after("99999999999999999999999", now),
            Some(RETRY_AFTER_MAX)
        );
        assert_eq!(
            retry_after("Sun, 06 Nov 1994 08:50:37 GMT", now),
            Some(secs(60))
        );
        assert_eq!(
            retry_after("Sunday, 06-Nov-94 08:49:47 GMT", now),
            Some(secs(10))
        );
        assert_eq!(
            retry_after("Sun, 06 Nov 1994 08:49:00 GMT", now),
            Some(secs(0))
        );
        assert_eq!(
            retry_after("Sun, 06 Nov 2044 08:49:00 GMT", now),
            Some(RETRY_AFTER_MAX)
        );
        for bad in ["", "soon", "-1", "1.5"] {
            assert_eq!(retry_after(bad, now), None, "{bad:?}");
        }
    }
}
