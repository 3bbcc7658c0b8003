//! Against what AWS has published: its test suite for Signature Version 4, and the examples in the API
//! reference of S3.

use super::*;

/// 2015-08-30T12:36:00Z, the moment of the test suite.
const SUITE: Wall = Wall(1_440_938_160_000_000_000);
/// 2013-05-24T00:00:00Z, the moment of the examples of S3.
const EXAMPLES: Wall = Wall(1_369_353_600_000_000_000);

fn suite_keys() -> Keys {
    Keys {
        id: "AKIDEXAMPLE".into(),
        secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
        token: None,
    }
}

fn example_keys() -> Keys {
    Keys {
        id: "AKIAIOSFODNN7EXAMPLE".into(),
        secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
        token: None,
    }
}

fn scope(service: &str) -> Scope {
    Scope {
        region: "us-east-1".into(),
        service: service.into(),
    }
}

struct Case<'a> {
    method: Method,
    url: &'a str,
    headers: HeaderMap,
    payload: Payload,
    keys: Keys,
    service: &'a str,
    now: Wall,
}

impl Case<'_> {
    fn suite(method: Method, path: &str) -> Case<'static> {
        let url = format!("https://example.amazonaws.com{path}");
        Case {
            method,
            url: url.leak(),
            headers: HeaderMap::new(),
            // No body.
            payload: Payload::Digest(Sha256::digest(b"").into()),
            keys: suite_keys(),
            service: "service",
            now: SUITE,
        }
    }

    fn s3(method: Method, path: &str) -> Case<'static> {
        let url = format!("https://examplebucket.s3.amazonaws.com{path}");
        Case {
            url: url.leak(),
            keys: example_keys(),
            service: "s3",
            now: EXAMPLES,
            ..Case::suite(method, "/")
        }
    }

    /// The URL as it is sent, the fields, and the signature.
    fn signed(self) -> (Uri, HeaderMap, String) {
        let mut uri: Uri = self.url.parse().unwrap();
        let mut headers = self.headers;
        let request = Unsigned {
            method: &self.method,
            uri: &mut uri,
            headers: &mut headers,
        };
        let scope = scope(self.service);
        let signature = sign(request, self.payload, (&self.keys, &scope), self.now).unwrap();
        (uri, headers, signature)
    }

    fn signature(self) -> String {
        self.signed().2
    }
}

#[test]
fn the_test_suite_of_aws_is_signed_as_published() {
    let cases = [
        // get-vanilla, get-relative, get-slash
        (
            "/",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        (
            "/example/..",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        (
            "//",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        // get-slash-pointless-dot
        (
            "/./example",
            "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5",
        ),
        // get-vanilla-query-order-key-case, get-vanilla-query-order-value
        (
            "/?Param2=value2&Param1=value1",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "/?Param1=value2&Param1=Value1",
            "eedbc4e291e521cf13422ffca22be7d2eb8146eecf653089df300a15b2382bd1",
        ),
        // get-unreserved
        (
            "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
            "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
        ),
        // get-vanilla-utf8-query
        (
            "/?%E1%88%B4=bar",
            "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
        ),
    ];
    assert_signed(&cases);
}

#[test]
fn a_session_token_is_signed_as_published() {
    // post-vanilla
    assert_eq!(
        Case::suite(Method::POST, "/").signature(),
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
    );
    // post-sts-header-before
    let mut with_token = Case::suite(Method::POST, "/");
    with_token.keys.token = Some(
        "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIY\
         RqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDv\
         p75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOL\
         n9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
            .into(),
    );
    let (_, headers, signature) = with_token.signed();
    assert_eq!(
        signature,
        "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"
    );
    assert_eq!(
        headers[AUTHORIZATION],
        format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date;x-amz-security-token, Signature={signature}"
        )
    );
    assert!(headers[AUTHORIZATION].is_sensitive() && headers[TOKEN].is_sensitive());
}

/// Each of these paths, asked for by GET, has this signature.
fn assert_signed(cases: &[(&str, &str)]) {
    for (path, signature) in cases {
        assert_eq!(
            Case::suite(Method::GET, path).signature(),
            *signature,
            "{path}"
        );
    }
}

/// As botocore 1.43 signs it: the path that is sent is encoded once more.
#[test]
fn services_other_than_s3_sign_the_path_encoded_twice() {
    let cases = [
        (
            "/%E1%88%B4",
            "697b34846207a3f72246f99d74ae1ee4fe54f44bb06730c58a0d339eb079596d",
        ),
        (
            "/a%20b/c",
            "38716947ba65b7b62d1fac41d2244cf69dad6f76e6fa83456331ce9315514e6f",
        ),
    ];
    assert_signed(&cases);
}

#[test]
fn the_examples_of_s3_are_signed_as_published() {
    // GET Bucket lifecycle, and GET Bucket (list objects).
    for (path, signature) in [
        (
            "/?lifecycle",
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            "/?max-keys=2&prefix=J",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ] {
        assert_eq!(Case::s3(Method::GET, path).signature(), signature, "{path}");
    }
    // PUT Object; `$` is sent as it is signed.
    let mut put = Case::s3(Method::PUT, "/test$file.text");
    put.payload = Payload::Digest(Sha256::digest(b"Welcome to Amazon S3.").into());
    for (name, value) in [
        ("date", "Fri, 24 May 2013 00:00:00 GMT"),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
    ] {
        put.headers
            .insert(name, HeaderValue::from_str(value).unwrap());
    }
    let (uri, _, signature) = put.signed();
    assert_eq!(uri.path(), "/test%24file.text");
    assert_eq!(
        signature,
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
    );
}

/// As botocore 1.43 signs them; S3 does not resolve dots, for they are in the names of objects.
#[test]
fn s3_signs_odd_names_as_they_are_sent() {
    for (path, sent, signature) in [
        (
            "/a%20b/%2B%3D%25~%C3%BC%20%27%28%29%2A%21.txt",
            "/a%20b/%2B%3D%25~%C3%BC%20%27%28%29%2A%21.txt",
            "572619caedf0a73974789c5dce79ed67fff753d48ee79c5a1cd79990572be9f5",
        ),
        (
            "/a%20b/+=%25~%c3%bc%20'()*!.txt",
            "/a%20b/%2B%3D%25~%C3%BC%20%27%28%29%2A%21.txt",
            "572619caedf0a73974789c5dce79ed67fff753d48ee79c5a1cd79990572be9f5",
        ),
        (
            "/a//b/../c",
            "/a//b/../c",
            "bd9f43a4a12feeb9dd8450699d40308d64b9c7ae42577985896f99f3c15b16d0",
        ),
    ] {
        let (uri, _, signed) = Case::s3(Method::GET, path).signed();
        assert_eq!((uri.path(), &*signed), (sent, signature), "{path}");
    }
}

#[test]
fn a_canonical_url_stays_as_it_is() {
    for (url, canonical_form) in [
        ("http://h", "http://h/"),
        (
            "http://h:9000/b/x?b=2&a=1&a",
            "http://h:9000/b/x?a=&a=1&b=2",
        ),
        ("http://h/?x=a+b%2bc", "http://h/?x=a%2Bb%2Bc"),
    ] {
        let once = canonical(&url.parse().unwrap()).unwrap();
        assert_eq!(once.to_string(), canonical_form);
        assert_eq!(canonical(&once).unwrap(), once);
    }
}

#[test]
fn the_host_is_signed_with_its_port_unless_that_is_the_usual_one() {
    for (url, named) in [
        ("http://h/", "h"),
        ("http://h:80/", "h"),
        ("https://h:443/", "h"),
        ("https://h:80/", "h:80"),
        ("http://[::1]:9000/", "[::1]:9000"),
    ] {
        assert_eq!(host(&url.parse().unwrap()).unwrap(), named);
    }
}

#[test]
fn a_request_that_is_signed_again_is_signed_as_before() {
    let mut first = Case::s3(Method::PUT, "/a?b=c");
    first.keys.token = Some("t".into());
    let (uri, headers, signature) = first.signed();
    let mut second = Case::s3(Method::PUT, "/");
    second.keys.token = Some("t".into());
    second.headers = headers;
    second.url = uri.to_string().leak();
    assert_eq!(second.signature(), signature);
}
