//! `delivered.keep_answer`: what the endpoint answered lies beside the file.

use crate::util::{BOUND, Daemon, Dir, Reaction, Server, config, wait_until};

fn answered(status: u16, fields: &[(&str, &str)], body: String) -> Server {
    let fields: Vec<(String, String)> = fields
        .iter()
        .map(|(name, value)| ((*name).to_string(), (*value).to_string()))
        .collect();
    Server::start(move |_| Reaction::AnswerWith(status, fields.clone(), body.clone()))
}

#[test]
fn what_the_endpoint_answered_lies_beside_the_file_without_the_secrets_of_the_configuration() {
    let dir = Dir::new();
    let fields = [
        ("Location", "/tasks/7?token=s3cret"),
        ("X-Echo", "k3y-of-ours"),
    ];
    let server = answered(
        201,
        &fields,
        "{\"task\": 7, \"sent\": \"k3y-of-ours\"}".into(),
    );
    dir.write("sub/a.csv", "a");
    let extra = "delivered.keep_answer = true\nsend.headers.X-Api-Key = \"k3y-of-ours\"";
    let url = format!("{}?token=s3cret", server.url());
    let _daemon = Daemon::start(&config(dir.path(), &url, extra));
    wait_until("it to be filed", BOUND, || {
        dir.done() == ["sub/a.csv", "sub/a.csv.answer.json"]
    });
    let text = dir.text(".dirpost/done/sub/a.csv.answer.json");
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["path"], "sub/a.csv");
    assert_eq!(answer["status"], 201);
    assert_eq!(answer["body"], "{\"task\": 7, \"sent\": \"***\"}");
    assert_eq!(answer["body_is_cut"], false);
    let location = answer["headers"]["location"].as_str().unwrap();
    assert!(location.starts_with("/tasks/7?"), "{location}");
    let request = &server.requests()[0];
    assert_eq!(answer["key"], request.key.trim_matches('"'));
    assert!(!text.contains("s3cret") && !text.contains("k3y"), "{text}");
}

#[test]
fn an_answer_gets_a_free_name_and_is_cut_at_64_kib() {
    let dir = Dir::new();
    let server = answered(200, &[], "x".repeat(64 * 1024 + 1));
    dir.write(".dirpost/done/a.csv.answer.json", "another's");
    dir.write("a.csv", "a");
    let _daemon = Daemon::start(&config(
        dir.path(),
        &server.url(),
        "delivered.keep_answer = true",
    ));
    let all = ["a.1.csv", "a.1.csv.answer.json", "a.csv.answer.json"];
    wait_until("it to be filed", BOUND, || dir.done() == all);
    assert_eq!(dir.text(".dirpost/done/a.csv.answer.json"), "another's");
    let text = dir.text(".dirpost/done/a.1.csv.answer.json");
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["body"].as_str().unwrap().len(), 64 * 1024);
    assert_eq!(answer["body_is_cut"], true);
}
