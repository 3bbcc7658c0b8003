//! The statuses that are answered with (RFC 9110, section 15).

/// The status of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Fine,
    BadRequest,
    NotFound,
    NotAllowed,
    Late,
    Misdirected,
    TooLarge,
    Busy,
    /// The loop stands still.
    Unwell,
}

impl Status {
    /// What stands in the first line of the answer.
    pub fn line(self) -> &'static str {
        match self {
            Status::Fine => "200 OK",
            Status::BadRequest => "400 Bad Request",
            Status::NotFound => "404 Not Found",
            Status::NotAllowed => "405 Method Not Allowed",
            Status::Late => "408 Request Timeout",
            Status::Misdirected => "421 Misdirected Request",
            Status::TooLarge => "431 Request Header Fields Too Large",
            Status::Busy | Status::Unwell => "503 Service Unavailable",
        }
    }

    /// Fields that this status alone has, each with its line end.
    pub fn fields(self) -> &'static str {
        match self {
            // RFC 9110, 15.5.6.
            Status::NotAllowed => "Allow: GET, HEAD\r\n",
            Status::Busy => "Retry-After: 1\r\n",
            _ => "",
        }
    }
}
