//! Content types by extension: those of files that meet in drop folders.

/// `application/octet-stream` where nothing better is known.
pub(super) fn of(name: &[u8]) -> &'static str {
    const UNKNOWN: &str = "application/octet-stream";
    let Some(dot) = name.iter().rposition(|&byte| byte == b'.') else {
        return UNKNOWN;
    };
    let Ok(extension) = str::from_utf8(&name[dot + 1..]) else {
        return UNKNOWN;
    };
    match extension.to_ascii_lowercase().as_str() {
        "7z" => "application/x-7z-compressed",
        "aac" => "audio/aac",
        "avif" => "image/avif",
        "avro" => "application/vnd.apache.avro",
        "bmp" => "image/bmp",
        "bz2" => "application/x-bzip2",
        "css" => "text/css",
        "csv" => "text/csv",
        "dcm" | "dicom" => "application/dicom",
        "doc" => "application/msword",
        "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "edi" | "edifact" => "application/EDIFACT",
        "eml" => "message/rfc822",
        "epub" => "application/epub+zip",
        "flac" => "audio/flac",
        "geojson" => "application/geo+json",
        "gif" => "image/gif",
        "gpx" => "application/gpx+xml",
        "gz" | "tgz" => "application/gzip",
        "heic" => "image/heic",
        "hl7" => "x-application/hl7-v2+er7",
        "htm" | "html" => "text/html",
        "ics" => "text/calendar",
        "jpeg" | "jpg" => "image/jpeg",
        "js" | "mjs" => "text/javascript",
        "json" => "application/json",
        "jsonl" | "ndjson" => "application/x-ndjson",
        "kml" => "application/vnd.google-earth.kml+xml",
        "log" | "text" | "txt" => "text/plain",
        "m4a" => "audio/mp4",
        "md" => "text/markdown",
        "mov" => "video/quicktime",
        "mp3" => "audio/mpeg",
        "mp4" => "video/mp4",
        "mpeg" | "mpg" => "video/mpeg",
        "odp" => "application/vnd.oasis.opendocument.presentation",
        "ods" => "application/vnd.oasis.opendocument.spreadsheet",
        "odt" => "application/vnd.oasis.opendocument.text",
        "ogg" => "audio/ogg",
        "parquet" => "application/vnd.apache.parquet",
        "pcap" => "application/vnd.tcpdump.pcap",
        "pdf" => "application/pdf",
        "png" => "image/png",
        "ppt" => "application/vnd.ms-powerpoint",
        "pptx" => "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "ps" => "application/postscript",
        "rtf" => "application/rtf",
        "sql" => "application/sql",
        "svg" => "image/svg+xml",
        "tar" => "application/x-tar",
        "tif" | "tiff" => "image/tiff",
        "toml" => "application/toml",
        "tsv" => "text/tab-separated-values",
        "vcf" => "text/vcard",
        "wav" => "audio/wav",
        "webm" => "video/webm",
        "webp" => "image/webp",
        "xls" => "application/vnd.ms-excel",
        "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "xml" => "application/xml",
        "xz" => "application/x-xz",
        "yaml" | "yml" => "application/yaml",
        "zip" => "application/zip",
        "zst" => "application/zstd",
        _ => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn the_last_extension_counts_in_any_case() {
        assert_eq!(of(b"a.b.CSV"), "text/csv");
        assert_eq!(of(b"a.tar.gz"), "application/gzip");
        assert_eq!(of(b"csv"), "application/octet-stream");
        assert_eq!(of(b"a.\xff"), "application/octet-stream");
        assert_eq!(of(b""), "application/octet-stream");
    }
}
