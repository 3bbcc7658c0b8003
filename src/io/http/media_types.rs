//! Content types by extension: those of files that meet in drop folders.

/// Extensions in lower case, sorted, and what they mean.
const TYPES: [(&str, &str); 76] = [
    ("7z", "application/x-7z-compressed"),
    ("aac", "audio/aac"),
    ("avif", "image/avif"),
    ("avro", "application/vnd.apache.avro"),
    ("bmp", "image/bmp"),
    ("bz2", "application/x-bzip2"),
    ("css", "text/css"),
    ("csv", "text/csv"),
    ("dcm", "application/dicom"),
    ("dicom", "application/dicom"),
    ("doc", "application/msword"),
    (
        "docx",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ),
    ("edi", "application/EDIFACT"),
    ("edifact", "application/EDIFACT"),
    ("eml", "message/rfc822"),
    ("epub", "application/epub+zip"),
    ("flac", "audio/flac"),
    ("geojson", "application/geo+json"),
    ("gif", "image/gif"),
    ("gpx", "application/gpx+xml"),
    ("gz", "application/gzip"),
    ("heic", "image/heic"),
    ("hl7", "x-application/hl7-v2+er7"),
    ("htm", "text/html"),
    ("html", "text/html"),
    ("ics", "text/calendar"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript"),
    ("json", "application/json"),
    ("jsonl", "application/x-ndjson"),
    ("kml", "application/vnd.google-earth.kml+xml"),
    ("log", "text/plain"),
    ("m4a", "audio/mp4"),
    ("md", "text/markdown"),
    ("mjs", "text/javascript"),
    ("mov", "video/quicktime"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("mpeg", "video/mpeg"),
    ("mpg", "video/mpeg"),
    ("ndjson", "application/x-ndjson"),
    ("odp", "application/vnd.oasis.opendocument.presentation"),
    ("ods", "application/vnd.oasis.opendocument.spreadsheet"),
    ("odt", "application/vnd.oasis.opendocument.text"),
    ("ogg", "audio/ogg"),
    ("parquet", "application/vnd.apache.parquet"),
    ("pcap", "application/vnd.tcpdump.pcap"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("ppt", "application/vnd.ms-powerpoint"),
    (
        "pptx",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ),
    ("ps", "application/postscript"),
    ("rtf", "application/rtf"),
    ("sql", "application/sql"),
    ("svg", "image/svg+xml"),
    ("tar", "application/x-tar"),
    ("text", "text/plain"),
    ("tgz", "application/gzip"),
    ("tif", "image/tiff"),
    ("tiff", "image/tiff"),
    ("toml", "application/toml"),
    ("tsv", "text/tab-separated-values"),
    ("txt", "text/plain"),
    ("vcf", "text/vcard"),
    ("wav", "audio/wav"),
    ("webm", "video/webm"),
    ("webp", "image/webp"),
    ("xls", "application/vnd.ms-excel"),
    (
        "xlsx",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ),
    ("xml", "application/xml"),
    ("xz", "application/x-xz"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("zip", "application/zip"),
    ("zst", "application/zstd"),
];

/// What files of no known extension are.
const UNKNOWN: &str = "application/octet-stream";

/// The content type of a file of this name.
pub(super) fn of(name: &[u8]) -> &'static str {
    let extension = name
        .iter()
        .rposition(|&byte| byte == b'.')
        .and_then(|dot| str::from_utf8(&name[dot + 1..]).ok())
        .map(str::to_ascii_lowercase);
    extension
        .and_then(|extension| TYPES.binary_search_by_key(&&*extension, |row| row.0).ok())
        .map_or(UNKNOWN, |at| TYPES[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_in_lower_case() {
        assert!(TYPES.is_sorted_by(|one, next| one.0 < next.0));
        assert!(TYPES.iter().all(|row| row.0 == row.0.to_ascii_lowercase()));
        for (extension, media_type) in TYPES {
            assert_eq!(of(format!("x.{extension}").as_bytes()), media_type);
        }
    }

    #[test]
    fn the_last_extension_counts_in_any_case() {
        assert_eq!(of(b"a.b.CSV"), "text/csv");
        assert_eq!(of(b"a.tar.gz"), "application/gzip");
        assert_eq!(of(b"csv"), "application/octet-stream");
        assert_eq!(of(b"a.\xff"), "application/octet-stream");
        assert_eq!(of(b""), "application/octet-stream");
    }
}
