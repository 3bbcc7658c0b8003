//! `docs/endpoints.md`: every block is valid, and those that are said to be tested are.

use std::path::Path;

use dirpost::config::parse;

const PAGE: &str = include_str!("../../docs/endpoints.md");

/// What runs each section that says "Tested": a change here is a change there.
const TESTED: [&str; 10] = [
    "nginx, WebDAV PUT",
    "Apache, WebDAV PUT",
    "S3, MinIO, Ceph, Garage",
    "Azure Blob container, SAS token",
    "WebDAV of rclone, dufs and others",
    "OAuth2, client credentials",
    "InfluxDB, line protocol",
    "Prometheus Pushgateway",
    "Orthanc, `/instances`",
    "Node-RED, http in",
];

/// The title and the text of each section.
fn sections() -> Vec<(&'static str, &'static str)> {
    PAGE.split("\n## ")
        .skip(1)
        .map(|section| section.split_once('\n').expect("a title"))
        .collect()
}

fn block(section: &str) -> &str {
    let (_, rest) = section.split_once("```toml\n").expect("a block");
    let (block, rest) = rest.split_once("```").expect("its end");
    assert!(!rest.contains("```"), "more than one block");
    block
}

/// The script of a section.
pub fn script_of(title: &str) -> &'static str {
    let (_, section) = sections()
        .into_iter()
        .find(|(name, _)| *name == title)
        .expect("its section");
    let (_, rest) = section.split_once("```sh\n").expect("a script");
    rest.split_once("```").expect("its end").0
}

/// The block of a section with a test's names in place of those on the page, and short times.
pub fn config_of(title: &str, names: &[(&str, &str)]) -> String {
    assert!(TESTED.contains(&title));
    let (_, section) = sections()
        .into_iter()
        .find(|(name, _)| *name == title)
        .expect("its section");
    let mut text = block(section).to_string();
    for (name, instead) in names {
        assert!(text.contains(name), "`{name}` is not in the block");
        text = text.replace(name, instead);
    }
    text + "watch.interval = \"100ms\"\nready.settle = \"300ms\"\nretry.first = \"100ms\"\nretry.max = \"1s\"\n\
            send.proxy = \"none\"\n"
}

#[test]
fn every_configuration_on_the_page_is_valid_and_says_whether_it_was_tried() {
    let env = |name: &str| {
        Some(match name {
            "PRESIGNED_PUT_URL" => {
                "https://s3.example.org/bucket/report.csv?X-Amz-Signature=0a%2F1".to_string()
            }
            _ => "sig=0a%2F1".to_string(),
        })
    };
    let sections = sections();
    assert!(sections.len() >= 14);
    for (title, section) in sections {
        if let Err(err) = parse(block(section), Path::new("/etc/dirpost/dirpost.toml"), &env) {
            panic!("{title}: {err}");
        }
        let tested = section.trim_start().starts_with("Tested");
        assert!(
            tested || section.trim_start().starts_with("Not tried"),
            "{title} does not say"
        );
        assert_eq!(tested, TESTED.contains(&title), "{title}");
    }
}
