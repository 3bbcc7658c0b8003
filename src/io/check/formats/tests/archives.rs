//! gzip and zip.

use std::io::Write;

use flate2::write::{DeflateEncoder, GzEncoder};
use flate2::{Compression, Crc, GzBuilder};

use super::{Endless, Rng, bad, dribbled, good, look, prefixes, unfinished};
use crate::config::Format::{Gzip, Zip};
use crate::io::check::formats::Finding;

fn noise(len: usize) -> Vec<u8> {
    let mut rng = Rng::new(0x6e6f_6973);
    (0..len)
        .map(|_| b"etaoin shrdlu\n"[rng.below(14)])
        .collect()
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// With every optional field of the header.
fn full_gzip(data: &[u8]) -> Vec<u8> {
    let builder = GzBuilder::new()
        .extra(*b"ex\x02\0tra")
        .filename("name")
        .comment("a comment");
    let mut encoder = builder.write(Vec::new(), Compression::fast());
    encoder.write_all(data).unwrap();
    let plain = encoder.finish().unwrap();
    // flate2 writes no header CRC: put one in.
    let header = 10 + 2 + 7 + 5 + 10;
    let mut bytes = plain[..header].to_vec();
    bytes[3] |= 2;
    let mut crc = Crc::new();
    crc.update(&bytes);
    bytes.extend_from_slice(&(crc.sum() as u16).to_le_bytes());
    bytes.extend_from_slice(&plain[header..]);
    bytes
}

#[test]
fn gzip_is_good_whole_and_unfinished_cut() {
    prefixes(Gzip, &gzip(&noise(3_000)), true);
    prefixes(Gzip, &full_gzip(&noise(300)), true);
    dribbled(Gzip, &gzip(&noise(3_000)));
    good(Gzip, gzip(b""));
    good(Gzip, gzip(&noise(300_000)));
    unfinished(
        Gzip,
        &gzip(b"abc")[..12],
        "byte 12 inside the compressed data (no gzip trailer)",
    );
    unfinished(Gzip, &gzip(b"abc")[..20], "inside the gzip trailer");
    unfinished(Gzip, b"\x1F\x8B\x08", "byte 3 inside a gzip header");
}

#[test]
fn gzip_members_may_follow_one_another() {
    let (one, two) = (gzip(&noise(100)), full_gzip(&noise(200)));
    let both = [one.clone(), two].concat();
    good(Gzip, &both);
    for cut in one.len() + 1..both.len() {
        assert!(
            matches!(look(Gzip, &both[..cut]), Finding::Unfinished(_)),
            "cut at {cut}"
        );
    }
    good(Gzip, [&both[..], &[0; 70_000]].concat());
    bad(Gzip, [&one[..], b"x"].concat(), "data after the end");
    bad(
        Gzip,
        [&one[..], b"\0\0x"].concat(),
        &format!("byte {}: data after", one.len() + 2),
    );
}

#[test]
fn gzip_of_which_any_byte_is_wrong_is_not_good() {
    let whole = gzip(&noise(2_000));
    // The time, the extra flags and the operating system are covered by nothing.
    for at in (0..4).chain(10..whole.len()) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0xFF;
        assert_ne!(look(Gzip, &damaged), Finding::Good, "byte {at}");
    }
    let mut damaged = full_gzip(b"data");
    damaged[5] ^= 1;
    bad(Gzip, &damaged, "the CRC of the header");
    bad(Gzip, b"PK\x03\x04", "byte 0: not gzip");
}

#[test]
fn a_bomb_costs_no_memory() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..500 {
        encoder.write_all(&[b'x'; 40_000]).unwrap();
    }
    good(Gzip, encoder.finish().unwrap());
    let name = Endless {
        head: b"\x1F\x8B\x08\x08\0\0\0\0\0\0",
        body: b"n",
        repeats: 1_000_000,
        tail: b"",
        at: 0,
    };
    assert!(matches!(name.check(Gzip), Finding::Unfinished(_)));
}

#[test]
fn a_hole_in_an_archive_is_unfinished() {
    for (format, whole) in [(Gzip, gzip(&noise(20_000))), (Zip, archive().build())] {
        for hole in [whole.len() / 2..whole.len(), 600..1_200, 0..whole.len()] {
            let mut bytes = whole.clone();
            bytes[hole.clone()].fill(0);
            let finding = look(format, &bytes);
            assert!(
                matches!(finding, Finding::Unfinished(_)),
                "{format:?} {hole:?}: {finding:?}"
            );
        }
    }
}

/// Writes zip files, also strange ones.
#[derive(Clone, Default)]
struct Builder {
    before: Vec<u8>,
    entries: Vec<(String, u16, u16, Vec<u8>)>,
    zip64: bool,
    comment: Vec<u8>,
    /// Added to what the end record says.
    more_entries: i64,
    more_len: i64,
}

fn archive() -> Builder {
    let entries = vec![
        ("stored.txt".to_owned(), 0, 0, noise(1_500)),
        ("deflated.txt".to_owned(), 0, 8, noise(3_000)),
        ("folder/".to_owned(), 0, 0, Vec::new()),
        ("streamed".to_owned(), 8, 8, noise(400)),
        ("secret".to_owned(), 1, 0, b"not looked at".to_vec()),
        ("other method".to_owned(), 0, 93, b"not looked at".to_vec()),
    ];
    Builder {
        entries,
        ..Builder::default()
    }
}

impl Builder {
    fn build(&self) -> Vec<u8> {
        self.build_with_directory().0
    }

    /// Also says where the directory begins.
    fn build_with_directory(&self) -> (Vec<u8>, usize) {
        let mut out = self.before.clone();
        let mut directory = Vec::new();
        for (name, flags, method, content) in &self.entries {
            let offset = (out.len() - self.before.len()) as u32;
            let data = match method {
                8 => {
                    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
                    encoder.write_all(content).unwrap();
                    encoder.finish().unwrap()
                }
                _ => content.clone(),
            };
            let mut crc = Crc::new();
            crc.update(content);
            let streamed = flags & 8 != 0;
            let sizes = [crc.sum(), data.len() as u32, content.len() as u32];
            let mut local = if streamed { [0; 3] } else { sizes };
            let mut central = sizes;
            let mut central_offset = offset;
            let mut extra = Vec::new();
            if self.zip64 {
                (local, central) = (
                    [local[0], u32::MAX, u32::MAX],
                    [sizes[0], u32::MAX, u32::MAX],
                );
                central_offset = u32::MAX;
                extra.extend([0x55, 0x54, 1, 0, 7]);
                extra.extend([1, 0, 24, 0]);
                for value in [sizes[2], sizes[1], offset] {
                    extra.extend(u64::from(value).to_le_bytes());
                }
            }
            let middle = |sizes: [u32; 3]| {
                let mut bytes = [20, *flags, *method, 0, 0].map(u16::to_le_bytes).concat();
                bytes.extend(sizes.map(u32::to_le_bytes).concat());
                bytes.extend((name.len() as u16).to_le_bytes());
                bytes
            };
            out.extend(b"PK\x03\x04");
            out.extend(middle(local));
            out.extend(2u16.to_le_bytes());
            out.extend(name.as_bytes());
            out.extend(b"xx");
            out.extend(&data);
            if streamed {
                out.extend(b"PK\x07\x08");
                out.extend(sizes.map(u32::to_le_bytes).concat());
            }
            directory.extend(b"PK\x01\x02\x14\0");
            directory.extend(middle(central));
            directory.extend((extra.len() as u16).to_le_bytes());
            directory.extend([0; 10]);
            directory.extend(central_offset.to_le_bytes());
            directory.extend(name.as_bytes());
            directory.extend(extra);
        }
        let start = out.len();
        out.extend(&directory);
        self.end(&mut out, start, directory.len());
        (out, start)
    }

    fn end(&self, out: &mut Vec<u8>, start: usize, len: usize) {
        let entries = (self.entries.len() as i64 + self.more_entries) as u64;
        let len = (len as i64 + self.more_len) as u64;
        let offset = (start - self.before.len()) as u64;
        let (mut small_entries, mut small) = (entries as u16, [len as u32, offset as u32]);
        if self.zip64 {
            let at = (out.len() - self.before.len()) as u64;
            out.extend(b"PK\x06\x06");
            out.extend(44u64.to_le_bytes());
            out.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            out.extend(
                [entries, entries, len, offset]
                    .map(u64::to_le_bytes)
                    .concat(),
            );
            out.extend(b"PK\x06\x07\0\0\0\0");
            out.extend(at.to_le_bytes());
            out.extend(1u32.to_le_bytes());
            (small_entries, small) = (u16::MAX, [u32::MAX; 2]);
        }
        out.extend(b"PK\x05\x06\0\0\0\0");
        out.extend([small_entries; 2].map(u16::to_le_bytes).concat());
        out.extend(small.map(u32::to_le_bytes).concat());
        out.extend((self.comment.len() as u16).to_le_bytes());
        out.extend(&self.comment);
    }
}

#[test]
fn zip_is_good_whole_and_unfinished_cut() {
    prefixes(Zip, &archive().build(), true);
    prefixes(
        Zip,
        &Builder {
            comment: noise(70),
            zip64: true,
            ..archive()
        }
        .build(),
        true,
    );
    prefixes(Zip, &Builder::default().build(), true);
    dribbled(Zip, &archive().build());
    good(
        Zip,
        Builder {
            comment: noise(65_535),
            ..archive()
        }
        .build(),
    );
    good(
        Zip,
        Builder {
            zip64: true,
            ..Builder::default()
        }
        .build(),
    );
}

#[test]
fn zip_may_follow_a_program() {
    for zip64 in [false, true] {
        good(
            Zip,
            Builder {
                before: b"MZ a program".to_vec(),
                zip64,
                ..archive()
            }
            .build(),
        );
    }
}

#[test]
fn zip_cut_after_an_archive_inside_it_is_unfinished() {
    let inner = archive().build();
    let cut = 30 + 5 + 2 + inner.len();
    let entries = vec![("inner".to_owned(), 0, 0, inner)];
    let outer = Builder {
        entries,
        ..Builder::default()
    }
    .build();
    good(Zip, &outer);
    unfinished(Zip, &outer[..cut], "the directory of another archive");
}

#[test]
fn zip_of_which_any_byte_of_the_data_is_wrong_is_not_good() {
    let entries = archive().entries[..2].to_vec();
    let (whole, directory) = Builder {
        entries,
        ..Builder::default()
    }
    .build_with_directory();
    let stored = 30 + 10 + 2;
    let deflated = stored + 1_500 + 30 + 12 + 2;
    for at in (stored..stored + 1_500).chain(deflated..directory) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0xFF;
        assert_ne!(look(Zip, &damaged), Finding::Good, "byte {at}");
    }
}

#[test]
fn zip_must_agree_with_itself() {
    bad(Zip, b"not a zip at all", "not a zip");
    bad(
        Zip,
        Builder {
            more_entries: 1,
            ..archive()
        }
        .build(),
        "ends after 6 of its 7 entries",
    );
    bad(
        Zip,
        Builder {
            more_entries: -1,
            ..archive()
        }
        .build(),
        "has another length",
    );
    bad(
        Zip,
        Builder {
            more_len: 9_999_999,
            ..archive()
        }
        .build(),
        "larger than the file",
    );
    let (whole, directory) = archive().build_with_directory();
    let damage = |at: usize, bytes: &[u8]| {
        let mut damaged = whole.clone();
        damaged[at..at + bytes.len()].copy_from_slice(bytes);
        damaged
    };
    bad(Zip, damage(0, b"X"), "byte 0: no local header");
    bad(Zip, damage(directory + 42, &[5]), "byte 5: no local header");
    bad(
        Zip,
        damage(directory + 45, &[5]),
        "does not lie before the directory",
    );
    bad(
        Zip,
        damage(directory + 23, &[5]),
        "does not lie before the directory",
    );
    bad(
        Zip,
        damage(directory + 24, &[1]),
        "another length than the directory says",
    );
    bad(
        Zip,
        damage(directory + 16, b"crc!"),
        "the CRC-32 is not that of the data",
    );
    bad(Zip, damage(whole.len() - 18, &[1]), "split");
}

#[test]
fn zip_with_entries_that_share_data_is_refused() {
    let (whole, directory) = archive().build_with_directory();
    let central = 46 + "stored.txt".len();
    let mut builder = archive();
    builder.entries.clear();
    let mut shared = whole[..directory].to_vec();
    for _ in 0..5 {
        shared.extend_from_slice(&whole[directory..directory + central]);
    }
    builder.more_entries = 5;
    builder.end(&mut shared, directory, central * 5);
    bad(Zip, shared, "entries that overlap");
}

#[test]
fn a_zip_of_many_entries_is_walked() {
    let entries = (0..20_000)
        .map(|i| (format!("{i}"), 0, 0, vec![b'x'; 3]))
        .collect();
    good(
        Zip,
        Builder {
            entries,
            zip64: true,
            ..Builder::default()
        }
        .build(),
    );
}

#[test]
fn no_damage_makes_them_panic() {
    let mut rng = Rng::new(0x7a6970);
    let zips = [
        archive().build(),
        Builder {
            zip64: true,
            ..archive()
        }
        .build(),
    ];
    let gzips = [gzip(&noise(500)), full_gzip(&noise(50))];
    for turn in 0..3_000 {
        let mut zip = zips[turn % 2].clone();
        // The directory and its end are the more interesting part.
        let tail = zip.len() - 300 + rng.below(300);
        zip[tail] = [0, 1, 0x7F, 0xFF, rng.next() as u8][rng.below(5)];
        rng.mutate(&mut zip, b"PK\x01\x02\x05\x06\x07\0\xFF");
        look(Zip, &zip);
        let mut gzip = gzips[turn % 2].clone();
        rng.mutate(&mut gzip, b"\x1F\x8B\0\xFF\x08");
        look(Gzip, &gzip);
    }
}
