//! What an object store (S3, MinIO, Ceph, Garage) says in its answer to a request that was signed.
//!
//! S3 answers 400 also where nothing is wrong with the file: the session has expired, the region is
//! another one, the connection was slow. By default 400 means a bad file, and such an answer would
//! condemn one. So where requests are signed the code in the answer decides before the status. The codes
//! are those of "Error responses" in the API reference of S3, which other stores use as well.

use super::reply::Answer;
use super::verdict::Verdict;

/// The credentials, the region, the bucket or what the configuration asks for: it is so for every
/// file.
const OF_CONFIGURATION: [&str; 24] = [
    "AccessControlListNotSupported",
    "AuthorizationHeaderMalformed",
    "AuthorizationQueryParametersError",
    "BucketNotFound",
    "CredentialsNotSupported",
    "ExpiredToken",
    "IllegalLocationConstraintException",
    "InvalidAccessKeyId",
    "InvalidBucketName",
    "InvalidEncryptionAlgorithmError",
    "InvalidLocationConstraint",
    "InvalidRegion",
    "InvalidRequest",
    "InvalidStorageClass",
    "InvalidToken",
    "KMS.DisabledException",
    "KMS.InvalidKeyUsageException",
    "KMS.KMSInvalidStateException",
    "KMS.NotFoundException",
    "MalformedSecurityHeader",
    "MissingAuthenticationToken",
    "MissingSecurityHeader",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
];

/// Something on the way was too slow, or has changed the bytes.
const OF_THE_WAY: [&str; 5] = [
    "BadDigest",
    "IncompleteBody",
    "RequestTimeout",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
];

/// What the code says, where it says something else than the status does.
pub fn verdict(answer: &Answer) -> Option<Verdict> {
    let code = code(&answer.body)?;
    if OF_CONFIGURATION.contains(&code) {
        Some(Verdict::Refused)
    } else if OF_THE_WAY.contains(&code) {
        Some(Verdict::Later)
    } else {
        None
    }
}

/// The code in an answer: `<Error><Code>NoSuchKey</Code>…`, behind a declaration of XML.
pub fn code(body: &[u8]) -> Option<&str> {
    let text = body.utf8_chunks().next()?.valid().trim_start();
    let text = match text.strip_prefix("<?xml") {
        Some(rest) => rest.split_once("?>")?.1.trim_start(),
        None => text,
    };
    let (name, rest) = text.strip_prefix('<')?.split_once('>')?;
    if name.split_ascii_whitespace().next() != Some("Error") {
        return None;
    }
    let (_, rest) = rest.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    let is_code = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.';
    (!code.is_empty() && code.bytes().all(is_code)).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: &str) -> Option<Verdict> {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>m</Message></Error>"
        );
        verdict(&Answer {
            status: 400,
            body: body.into_bytes(),
            ..Answer::default()
        })
    }

    #[test]
    fn a_code_of_the_configuration_or_of_the_way_is_none_of_the_file() {
        assert_eq!(said("ExpiredToken"), Some(Verdict::Refused));
        assert_eq!(said("AuthorizationHeaderMalformed"), Some(Verdict::Refused));
        assert_eq!(said("RequestTimeout"), Some(Verdict::Later));
        for of_file in ["EntityTooLarge", "KeyTooLongError", "NoSuchBucket", ""] {
            assert_eq!(said(of_file), None, "{of_file}");
        }
    }

    #[test]
    fn the_code_is_read_of_an_error_of_s3_alone() {
        for (body, found) in [
            ("<Error><Code>NoSuchKey</Code></Error>", Some("NoSuchKey")),
            (
                " <?xml version='1.0'?> <Error xmlns=\"x\"><Resource>/a</Resource><Code>A.b</Code>",
                Some("A.b"),
            ),
            ("<Errors><Code>NoSuchKey</Code></Errors>", None),
            ("<html><Error><Code>NoSuchKey</Code></Error>", None),
            ("<Error><Code>No Such</Code></Error>", None),
            ("<Error><Code>", None),
            ("NoSuchKey", None),
            ("", None),
        ] {
            assert_eq!(code(body.as_bytes()), found, "{body}");
        }
    }
}
