//! What the configuration says of the endpoint, as one short value: what was learned of an endpoint is
//! believed only for as long as it stays the same.
//!
//! Invariant: no secret goes into it, not even as a hash. Left out are the query and the user of the
//! URL, the values of headers, the user and password of a proxy, and what the files of credentials
//! hold; of these files the size, the time and the inode count.

use std::fmt::{Debug, Write as _};
use std::fs::Metadata;
use std::io::ErrorKind;
use std::path::Path;
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use crate::config::{Auth, Proxy, Send, Tls};
use crate::flow::endpoint::idempotency_key::hex;

/// The value for `send`, and for the files of credentials as they are now.
pub fn of(send: &Send) -> String {
    let mut lines = Lines::default();
    // Each key is named, so that a new one is not forgotten here.
    let Send {
        url,
        method,
        body,
        content_type,
        headers,
        fields,
        expect,
        workers,
        connect_timeout,
        stall_timeout,
        response_timeout,
        digest,
        compress,
        accept,
        reject,
        brake,
        key_scope,
        accept_content_type,
        accept_body,
        order,
        in_order,
        max_rate,
        auth,
        tls,
        proxy,
    } = send;
    lines.add("url", &without_secrets(url));
    lines.add("request", &(method, body, content_type, compress, digest));
    let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    lines.add("headers", &names);
    let left_out = headers.iter().filter(|(_, value)| value.is_empty());
    lines.add(
        "left out",
        &left_out.map(|(name, _)| name).collect::<Vec<_>>(),
    );
    let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
    lines.add("form", &(names, expect));
    lines.add(
        "timeouts",
        &(connect_timeout, stall_timeout, response_timeout),
    );
    lines.add("pace", &(workers, order, in_order, max_rate));
    lines.add(
        "answers",
        &(accept, reject, accept_content_type, accept_body),
    );
    lines.add("rules", &(brake, key_scope));
    lines.add_auth(auth.as_ref());
    lines.add_tls(tls);
    lines.add_proxy(proxy);
    hex(&Sha256::digest(lines.0.as_bytes())[..16])
}

/// What shows that a file of credentials is another one than before.
pub type Stamp = Result<(u64, Option<SystemTime>, u64), ErrorKind>;

/// What the files of credentials look like now. Nothing else that [`of`] goes by can change while a
/// process runs by one configuration, and this costs only the looks: none where there are no such
/// files.
pub fn stamps(send: &Send) -> Vec<Stamp> {
    let of_auth = send.auth.as_ref().and_then(|auth| match auth {
        Auth::Bearer { file } => Some(file),
        Auth::Basic { password_file, .. } => Some(password_file),
        Auth::Header { value_file, .. } => Some(value_file),
        Auth::Command { .. } => None,
        Auth::Aws(aws) => Some(&aws.credentials_file),
    });
    let of_tls = [&send.tls.ca, &send.tls.client_cert, &send.tls.client_key];
    let files = of_tls.into_iter().flatten().chain(of_auth);
    files.map(|file| stamp(file)).collect()
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, key: &str, value: &dyn Debug) {
        let _ = writeln!(self.0, "{key} = {value:?}");
    }

    fn add_file(&mut self, key: &str, file: &Path) {
        self.add(key, &(file, stamp(file)));
    }

    fn add_auth(&mut self, auth: Option<&Auth>) {
        match auth {
            None => {}
            Some(Auth::Bearer { file }) => self.add_file("bearer", file),
            Some(Auth::Basic {
                user,
                password_file,
            }) => {
                self.add("user", user);
                self.add_file("password", password_file);
            }
            Some(Auth::Header { name, value_file }) => {
                self.add("header", name);
                self.add_file("value", value_file);
            }
            // Its arguments may hold a secret, which `Debug` leaves out.
            Some(Auth::Command {
                name,
                argv,
                refresh,
            }) => self.add("command", &(name, argv, refresh)),
            Some(Auth::Aws(aws)) => {
                self.add("aws", aws);
                self.add_file("aws keys", &aws.credentials_file);
            }
        }
    }

    fn add_tls(&mut self, tls: &Tls) {
        let Tls {
            ca,
            client_cert,
            client_key,
            fingerprint,
            roots,
        } = tls;
        self.add("fingerprint", fingerprint);
        self.add("roots", roots);
        for file in [ca, client_cert, client_key].into_iter().flatten() {
            self.add_file("tls", file);
        }
    }

    fn add_proxy(&mut self, proxy: &Proxy) {
        match proxy {
            Proxy::None => self.add("proxy", &"none"),
            Proxy::Url(url) => self.add("proxy", &without_secrets(url)),
            Proxy::Environment => {
                for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
                    for name in [name.to_owned(), name.to_ascii_uppercase()] {
                        let value = std::env::var(&name).unwrap_or_default();
                        self.add(&name, &without_secrets(&value));
                    }
                }
            }
        }
    }
}

/// A URL without its query and without user and password.
fn without_secrets(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

fn stamp(file: &Path) -> Stamp {
    let meta = std::fs::metadata(file).map_err(|err| err.kind())?;
    Ok((meta.len(), meta.modified().ok(), inode(&meta)))
}

#[cfg(unix)]
fn inode(meta: &Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;
    meta.ino()
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Roots;
    use crate::io::testing::TempDir;
    use std::path::PathBuf;
    use std::time::Duration;

    fn send(url: &str) -> Send {
        let dir = Path::new("/in");
        let config = crate::config::from_dir_and_url(dir, url).expect("a configuration");
        config.send
    }

    #[test]
    fn what_is_no_secret_changes_it() {
        type Change = fn(&mut Send);
        let changes: [Change; 9] = [
            |send| send.url = "http://h:2/a".into(),
            |send| send.url = "http://h/b".into(),
            |send| send.headers.push(("X-Tenant".into(), "7".into())),
            |send| send.response_timeout = Duration::from_secs(7),
            |send| send.brake = 3,
            |send| send.proxy = Proxy::Url("http://p:3128".into()),
            |send| send.tls.roots = Roots::Bundled,
            |send| send.accept_body = Some("ok".into()),
            |send| {
                let file = PathBuf::from("/run/token");
                send.auth = Some(Auth::Bearer { file });
            },
        ];
        let before = of(&send("http://h/a"));
        assert_eq!(of(&send("http://h/a")), before);
        for (at, change) in changes.into_iter().enumerate() {
            let mut changed = send("http://h/a");
            change(&mut changed);
            assert_ne!(of(&changed), before, "change {at}");
        }
    }

    #[test]
    fn a_secret_is_not_in_it() {
        let with = |url: &str, header: &str, proxy: &str| {
            let mut send = send("http://h/a");
            send.url = url.into();
            send.headers.push(("X-Api-Key".into(), header.into()));
            send.proxy = Proxy::Url(proxy.into());
            of(&send)
        };
        assert_eq!(
            with("http://h/a?sig=1", "one", "http://u:1@p:3128"),
            with("http://u:p@h/a?sig=2", "two", "http://u:2@p:3128")
        );
    }

    #[test]
    fn a_file_of_credentials_that_is_replaced_changes_it_and_the_stamps() {
        let dir = TempDir::new();
        let file = dir.path().join("token");
        let with = |auth: Option<Auth>, tls: Tls| Send {
            auth,
            tls,
            ..send("http://h/a")
        };
        let auths = |file: PathBuf| {
            [
                Auth::Bearer { file: file.clone() },
                Auth::Basic {
                    user: "u".into(),
                    password_file: file.clone(),
                },
                Auth::Header {
                    name: "x".into(),
                    value_file: file,
                },
            ]
        };
        let mut sends: Vec<Send> = auths(file.clone())
            .map(|auth| with(Some(auth), Tls::default()))
            .into();
        for change in [
            |tls: &mut Tls, file| tls.ca = Some(file),
            |tls: &mut Tls, file| tls.client_cert = Some(file),
            |tls: &mut Tls, file| tls.client_key = Some(file),
        ] {
            let mut tls = Tls::default();
            change(&mut tls, file.clone());
            sends.push(with(None, tls));
        }
        let all = |sends: &[Send]| -> Vec<(String, Vec<Stamp>)> {
            let both = |send: &Send| (of(send), stamps(send));
            sends.iter().map(both).collect()
        };
        let missing = all(&sends);
        std::fs::write(&file, "one").unwrap();
        let first = all(&sends);
        assert_eq!(all(&sends), first);
        std::fs::write(dir.path().join("new"), "two").unwrap();
        std::fs::rename(dir.path().join("new"), &file).unwrap();
        let second = all(&sends);
        for at in 0..sends.len() {
            for (before, after) in [(&missing, &first), (&first, &second)] {
                assert_ne!(before[at].0, after[at].0, "{at}");
                assert_ne!(before[at].1, after[at].1, "{at}");
            }
        }
    }

    #[test]
    fn a_credential_that_is_replaced_changes_it() {
        let dir = TempDir::new();
        let file = dir.path().join("token");
        let auth = Some(Auth::Bearer { file: file.clone() });
        let now = || {
            of(&Send {
                auth: auth.clone(),
                ..send("http://h/a")
            })
        };
        let missing = now();
        std::fs::write(&file, "one").unwrap();
        let first = now();
        assert_eq!(now(), first);
        // Of the same length: the time and the inode tell.
        std::fs::write(dir.path().join("new"), "two").unwrap();
        std::fs::rename(dir.path().join("new"), &file).unwrap();
        let second = now();
        assert!(missing != first && first != second);
    }
}
