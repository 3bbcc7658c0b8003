//! Into Azurite, rclone, InfluxDB, Prometheus Pushgateway and Node-RED. Those of npm take seconds to
//! start, and are in the slow tests.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::page::config_of;
use super::servers::drop_files;
use super::service::{Service, free_port};
use crate::util::{BOUND, Daemon, Dir, check, wait_until};

/// What a server on this machine answers to a request without a body.
fn ask(port: u16, method: &str, target: &str, fields: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 0\r\n{fields}\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn rclone_takes_files_by_webdav_and_refuses_a_wrong_password() {
    let (place, dir, port) = (Dir::new(), Dir::new(), free_port());
    place.mkdir("www");
    let www = place.join("www").display().to_string();
    let address = format!("127.0.0.1:{port}");
    let args = [
        "serve", "webdav", &www, "--addr", &address, "--user", "plant", "--pass", "s3cret",
    ];
    let Some(_rclone) = Service::start(&place, "rclone", &args, port) else {
        return;
    };
    let sources = drop_files(&dir, 21);
    let password = place.write("password", "wrong");
    let names = [
        ("/srv/outbox", dir.path().to_str().unwrap()),
        ("files.example.org:8080", &*address),
        ("/etc/dirpost/password", password.to_str().unwrap()),
    ];
    let config = config_of("WebDAV of rclone, dufs and others", &names);
    {
        let daemon = Daemon::start(&config);
        daemon.wait_log("answered 401");
        assert_eq!((dir.done().len(), dir.dead().len()), (0, 0));
        std::fs::write(&password, "s3cret\n").unwrap();
        wait_until("all filed", BOUND, || dir.done().len() == sources.len());
    }
    for (name, bytes) in &sources {
        assert!(place.read(format!("www/{name}")) == *bytes, "{name}");
    }
    assert_eq!(check(&config, &[]), [""; 0]);
}

#[test]
fn influxdb_takes_lines_and_refuses_what_is_none() {
    let (place, dir) = (Dir::new(), Dir::new());
    let (port, other) = (free_port(), free_port());
    let root = place.path().display();
    let text = format!(
        "reporting-disabled = true\nbind-address = \"127.0.0.1:{other}\"\n[meta]\ndir = \"{root}/meta\"\n\
         [data]\ndir = \"{root}/data\"\nwal-dir = \"{root}/wal\"\n[http]\nbind-address = \
         \"127.0.0.1:{port}\"\n[monitor]\nstore-enabled = false\n"
    );
    let conf = place.write("influxdb.conf", text);
    let args = ["-config", conf.to_str().unwrap()];
    let Some(_influx) = Service::start(&place, "influxd", &args, port) else {
        return;
    };
    let made = ask(port, "POST", "/query?q=CREATE%20DATABASE%20plant", "");
    assert!(made.starts_with("HTTP/1.1 200"), "{made}");
    dir.write(
        "good.lp",
        "press,line=7 bar=3.5 1700000000\npress,line=8 bar=4 1700000000\n",
    );
    dir.write("bad.lp", "this is no line\n");
    let password = place.write("password", "unused");
    let address = format!("127.0.0.1:{port}");
    let names = [
        ("/srv/outbox", dir.path().to_str().unwrap()),
        ("influxdb.example.org:8086", &*address),
        ("/etc/dirpost/password", password.to_str().unwrap()),
    ];
    let config = config_of("InfluxDB, line protocol", &names);
    assert_eq!(check(&config, &[]), [""; 0]);
    let _daemon = Daemon::start(&config);
    wait_until("both filed", BOUND, || dir.waiting().is_empty());
    assert_eq!(
        (dir.done(), dir.dead()),
        (vec!["good.lp".into()], vec!["bad.lp".into()])
    );
    assert!(dir.reason("bad.lp").to_string().contains("this is no line"));
    let said = ask(
        port,
        "GET",
        "/query?db=plant&q=SELECT%20*%20FROM%20press",
        "",
    );
    assert!(said.contains("3.5") && said.contains("\"8\""), "{said}");
}

#[test]
fn pushgateway_takes_metrics_and_refuses_what_is_none() {
    let (place, dir, port) = (Dir::new(), Dir::new(), free_port());
    let address = format!("127.0.0.1:{port}");
    let args = [&*format!("--web.listen-address={address}")];
    let Some(_gateway) = Service::start(&place, "prometheus-pushgateway", &args, port) else {
        return;
    };
    dir.write(
        "night shift.prom",
        "# TYPE parts counter\nparts{line=\"7\"} 12\n",
    );
    dir.write("bad.prom", "parts{ twelve\n");
    let names = [
        ("/srv/outbox", dir.path().to_str().unwrap()),
        ("pushgateway.example.org:9091", &*address),
    ];
    let config = config_of("Prometheus Pushgateway", &names);
    assert_eq!(check(&config, &[]), [""; 0]);
    let _daemon = Daemon::start(&config);
    wait_until("both filed", BOUND, || dir.waiting().is_empty());
    assert_eq!(dir.done(), ["night shift.prom"]);
    assert_eq!(dir.dead(), ["bad.prom"]);
    let metrics = ask(port, "GET", "/metrics", "");
    assert!(metrics.contains("job=\"night shift\""), "{metrics}");
}

mod slow {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

    use super::*;

    /// The account that Azurite has, and its key, which are known to everybody.
    const ACCOUNT: &str = "devstoreaccount1";
    const KEY: &str =
        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

    /// A shared access signature of the account that lets its holder do all with blobs, by
    /// "Create an account SAS" of Azure Storage's REST API.
    fn shared_access() -> String {
        let (rights, until, version) = ("rwdlac", "2099-01-01T00:00:00Z", "2020-08-04");
        let text = format!("{ACCOUNT}\n{rights}\nb\nsco\n\n{until}\n\nhttps,http\n{version}\n");
        let key = BASE64_STANDARD.decode(KEY).unwrap();
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key);
        let signature = BASE64_STANDARD.encode(ring::hmac::sign(&key, text.as_bytes()));
        let signature = utf8_percent_encode(&signature, NON_ALPHANUMERIC);
        format!("sv={version}&ss=b&srt=sco&sp={rights}&se={until}&spr=https,http&sig={signature}")
    }

    #[test]
    #[ignore = "slow: Azurite takes seconds to start"]
    fn azurite_takes_blobs_by_a_shared_access_signature() {
        let (place, dir, port) = (Dir::new(), Dir::new(), free_port());
        let (data, number) = (place.mkdir("data"), port.to_string());
        let args = [
            "--blobHost",
            "127.0.0.1",
            "--blobPort",
            &number,
            "--location",
            data.to_str().unwrap(),
            "--disableTelemetry",
        ];
        let Some(_azurite) = Service::start(&place, "azurite-blob", &args, port) else {
            return;
        };
        let sas = shared_access();
        let made = ask(
            port,
            "PUT",
            &format!("/{ACCOUNT}/container?restype=container&{sas}"),
            "x-ms-version: 2021-08-06\r\n",
        );
        assert!(made.starts_with("HTTP/1.1 201"), "{made}");
        let sources = drop_files(&dir, 22);
        let here = format!("http://127.0.0.1:{port}/{ACCOUNT}");
        let names = [
            ("/srv/outbox", dir.path().to_str().unwrap()),
            ("https://account.blob.core.windows.net", &*here),
            ("${SAS_TOKEN}", &sas),
        ];
        let config = config_of("Azure Blob container, SAS token", &names);
        let daemon = Daemon::start(&config);
        wait_until("all filed", BOUND, || dir.done().len() == sources.len());
        assert!(!daemon.has_logged("sig=") && !daemon.has_logged("rwdlac"));
        for (name, bytes) in &sources {
            let name = utf8_percent_encode(name, NON_ALPHANUMERIC);
            let blob = format!("/{ACCOUNT}/container/{name}?{sas}");
            let said = ask(port, "HEAD", &blob, "x-ms-version: 2021-08-06\r\n").to_lowercase();
            let length = format!("content-length: {}\r\n", bytes.len());
            assert!(said.contains(&length), "{name}: {said}");
        }
    }

    #[test]
    #[ignore = "slow: Node-RED takes seconds to start"]
    fn node_red_takes_files_by_a_flow_that_answers() {
        let (place, dir, port) = (Dir::new(), Dir::new(), free_port());
        let flows = serde_json::json!([
            { "id": "t", "type": "tab", "label": "t" },
            { "id": "a", "type": "http in", "z": "t", "url": "/incoming", "method": "post",
              "upload": false, "wires": [["b", "c"]] },
            { "id": "b", "type": "http response", "z": "t", "statusCode": "200", "wires": [] },
            { "id": "c", "type": "file", "z": "t", "filename": place.join("got"), "filenameType": "str",
              "appendNewline": false, "overwriteFile": "false", "wires": [[]] },
        ]);
        let flows = place.write("flows.json", flows.to_string());
        let user = place.mkdir("user");
        let number = port.to_string();
        let args = [
            "--userDir",
            user.to_str().unwrap(),
            "--port",
            &number,
            flows.to_str().unwrap(),
        ];
        let Some(node) = Service::start(&place, "node-red", &args, port) else {
            return;
        };
        wait_until("the flow", BOUND, || node.said().contains("Started flows"));
        for number in 0..5 {
            dir.write(format!("{number}.csv"), format!("{number};"));
        }
        let address = format!("127.0.0.1:{port}");
        let names = [
            ("/srv/outbox", dir.path().to_str().unwrap()),
            ("node-red.example.org:1880", &*address),
        ];
        let config = config_of("Node-RED, http in", &names);
        let _daemon = Daemon::start(&config);
        wait_until("all filed", BOUND, || dir.done().len() == 5);
        wait_until("the flow to write", BOUND, || {
            place.exists("got") && place.read("got").len() == 10
        });
    }
}
