//! `send.auth`: in which way requests prove who sends them.

use std::time::Duration;

use super::read::{Item, Section, Source};
use super::{Auth, Aws, BodyKind, Compress, Method, Send, values};

/// The keys of one way, and what is made of them when all that it needs are set.
struct Way<'a> {
    /// The keys that it needs.
    needs: &'a [&'a str],
    /// The keys that it takes besides.
    takes: &'a [&'a str],
    made: Option<Auth>,
}

/// The fields that a signature sets.
pub const SIGNATURE_FIELDS: [&str; 4] = [
    "Authorization",
    "X-Amz-Date",
    "X-Amz-Content-Sha256",
    "X-Amz-Security-Token",
];

const KEYS: [&str; 10] = [
    "bearer_file",
    "user",
    "password_file",
    "header",
    "value_file",
    "value_command",
    "aws_region",
    "aws_service",
    "aws_credentials_file",
    "aws_profile",
];

/// Reads `[send.auth]`.
pub fn auth(table: &Section<'_>, source: &Source<'_>) -> Option<Auth> {
    let ways = ways(table);
    let set = |name: &str| source.is_set(&format!("send.auth.{name}"));
    if set("refresh") && !set("value_command") {
        source.problem(
            "send.auth.refresh",
            "is only for value_command; a file is read again when it changes",
        );
    }
    if !source.is_set("send.auth") {
        return None;
    }
    let is_meant = |way: &Way<'_>| {
        way.needs.iter().all(|key| set(key))
            && KEYS
                .iter()
                .all(|key| !set(key) || way.needs.contains(key) || way.takes.contains(key))
    };
    if let Some(way) = ways.into_iter().find(is_meant) {
        return way.made;
    }
    if KEYS.iter().any(|key| key.starts_with("aws_") && set(key)) {
        source.problem(
            "send.auth",
            "for a signature write { aws_region = \"…\", aws_credentials_file = \"…\" }, with aws_profile \
             and aws_service if they are not \"default\" and \"s3\", and no other key of send.auth",
        );
        return None;
    }
    source.problem(
        "send.auth",
        "write exactly one of { bearer_file = \"…\" }, { user = \"…\", password_file = \"…\" }, { header \
         = \"…\", value_file = \"…\" }, { header = \"…\", value_command = [\"…\"] } or { aws_region = \
         \"…\", aws_credentials_file = \"…\" }; secrets are in files of their own",
    );
    None
}

fn ways(table: &Section<'_>) -> [Way<'static>; 5] {
    let bearer = table.get("bearer_file", Item::path);
    let user = table.get("user", |item| {
        let user = item.word("the name of the user")?;
        if user.contains(':') || user.contains(char::is_control) {
            return Err(item.wrong("must not have `:` or a control character in it"));
        }
        Ok(user)
    });
    let password_file = table.get("password_file", Item::path);
    let header = table.get("header", |item| {
        let name = item.word("the name of the header, such as \"X-Api-Key\"")?;
        item.checked(name, values::header_name)
    });
    let value_file = table.get("value_file", Item::path);
    let command = table.get("value_command", |item| {
        item.argv("a program and its arguments, such as [\"/usr/local/bin/token\", \"plant-7\"]")
    });
    let refresh = table.duration("refresh", Duration::from_secs(50 * 60));
    let basic = user.zip(password_file);
    let by_file = header.clone().zip(value_file);
    [
        Way {
            needs: &["bearer_file"],
            takes: &[],
            made: bearer.map(|file| Auth::Bearer { file }),
        },
        Way {
            needs: &["user", "password_file"],
            takes: &[],
            made: basic.map(|(user, password_file)| Auth::Basic {
                user,
                password_file,
            }),
        },
        Way {
            needs: &["header", "value_file"],
            takes: &[],
            made: by_file.map(|(name, value_file)| Auth::Header { name, value_file }),
        },
        Way {
            needs: &["header", "value_command"],
            takes: &["refresh"],
            made: header.zip(command).map(|(name, argv)| Auth::Command {
                name,
                argv,
                refresh,
            }),
        },
        signature(table),
    ]
}

fn signature(table: &Section<'_>) -> Way<'static> {
    let name = |item: &Item<'_>, want: &str| {
        let text = item.word(want)?;
        item.checked(text, values::plain)
    };
    // They stand between slashes in what is signed.
    let part = |item: &Item<'_>, want: &str| {
        let text = item.word(want)?;
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !text.bytes().all(is_part) {
            return Err(item.wrong(format!("is no such name; write {want}")));
        }
        Ok(text)
    };
    let region = table.get("aws_region", |item| {
        part(
            item,
            "the region, such as \"eu-central-1\" (MinIO: \"us-east-1\")",
        )
    });
    let service = table.or("aws_service", Aws::S3.to_owned(), |item| {
        part(item, "the service, such as \"s3\"")
    });
    let credentials_file = table.get("aws_credentials_file", Item::path);
    let profile = table.or("aws_profile", "default".to_owned(), |item| {
        name(item, "the name of a profile in aws_credentials_file")
    });
    let made = region
        .zip(credentials_file)
        .map(|(region, credentials_file)| {
            Auth::Aws(Aws {
                region,
                service,
                credentials_file,
                profile,
            })
        });
    Way {
        needs: &["aws_region", "aws_credentials_file"],
        takes: &["aws_service", "aws_profile"],
        made,
    }
}

/// What goes with a signature.
pub fn check_signed(send: &Send, source: &Source<'_>) {
    let Some(Auth::Aws(aws)) = &send.auth else {
        return;
    };
    if send.compress == Compress::Gzip {
        source.problem(
            "send.compress",
            "\"gzip\" and send.auth.aws_region do not go together: the length and the digest of what is \
             sent would not be known when it is signed; leave it out",
        );
    }
    if matches!(send.body, BodyKind::Multipart(_)) {
        source.problem(
            "send.body",
            "\"multipart\" and send.auth.aws_region do not go together: what is signed is the file and not \
             a form; leave it out",
        );
    }
    if aws.is_s3() && send.method != Method::Put {
        source.problem(
            "send.method",
            "must be \"PUT\" with aws_service = \"s3\": a POST there is something else",
        );
    }
}
