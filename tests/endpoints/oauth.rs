//! OAuth2 client credentials by `value_command`: the script of the page, against a real authorization
//! server (oidc-provider of npm), and an endpoint that has each token introspected by that.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use super::page::{config_of, script_of};
use super::service::{Service, find, free_port, servers};
use crate::util::{BOUND, Daemon, Dir, Reaction, Server, skip, wait_until};

const TITLE: &str = "OAuth2, client credentials";

/// Whether the authorization server says that a token is good.
fn is_active(port: u16, header: &str) -> bool {
    let Some(token) = header.strip_prefix("Bearer ") else {
        return false;
    };
    let said = Command::new("curl")
        .args(["-sS", "--user", "plant-7:s3cret-of-the-client"])
        .args(["--data-urlencode", &format!("token={token}")])
        .arg(format!("http://127.0.0.1:{port}/token/introspection"))
        .output()
        .unwrap();
    String::from_utf8_lossy(&said.stdout).contains("\"active\":true")
}

mod slow {
    use super::*;

    #[test]
    #[ignore = "slow: it waits until tokens have expired"]
    fn a_token_that_has_expired_is_replaced_by_the_next() {
        let (place, dir, port) = (Dir::new(), Dir::new(), free_port());
        if find("curl").is_none() || find("jq").is_none() {
            return;
        }
        if !servers().join("node_modules/oidc-provider").is_dir() {
            skip("oidc-provider of npm is not installed");
            return;
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/endpoints/oidc.mjs");
        let (modules, number) = (servers().display().to_string(), port.to_string());
        let Some(_provider) = Service::start(&place, "node", &[script, &modules, &number], port)
        else {
            return;
        };
        let keys = place.write("oauth", "user = \"plant-7:s3cret-of-the-client\"\n");
        let token = script_of(TITLE)
            .replace("/etc/dirpost/oauth", keys.to_str().unwrap())
            .replace(
                "https://login.example.org/token",
                &format!("http://127.0.0.1:{port}/token"),
            );
        let command = place.write("dirpost-token", token);
        std::fs::set_permissions(&command, std::fs::Permissions::from_mode(0o755)).unwrap();

        let server = Server::start(move |head| {
            let header = head.headers.get("authorization").map_or("", String::as_str);
            Reaction::Answer(if is_active(port, header) { 200 } else { 401 })
        });
        let url = server.url();
        let names = [
            ("/srv/outbox", dir.path().to_str().unwrap()),
            ("https://api.example.org", &*url),
            ("/usr/local/bin/dirpost-token", command.to_str().unwrap()),
        ];
        let daemon = Daemon::start(&config_of(TITLE, &names));
        for number in 1..=3 {
            dir.write(format!("{number}.csv"), "x");
            wait_until("it to be filed", BOUND, || dir.done().len() == number);
            // Its token lives for four seconds.
            std::thread::sleep(std::time::Duration::from_secs(5));
        }
        let requests = server.requests();
        let statuses: Vec<_> = requests.iter().filter_map(|it| it.status).collect();
        assert_eq!(statuses, [200, 401, 200, 401, 200]);
        let mut tokens: Vec<_> = requests
            .iter()
            .map(|request| request.headers["authorization"].clone())
            .collect();
        assert_eq!(tokens[0], tokens[1]);
        tokens.dedup();
        assert_eq!(tokens.len(), 3);
        assert!(!daemon.has_logged("ERROR"), "{:?}", daemon.log());
        for secret in tokens.iter().map(String::as_str).chain(["s3cret"]) {
            assert!(!daemon.has_logged(secret.trim_start_matches("Bearer ")));
        }
    }
}
