//! xml.

use super::{Endless, Rng, across_buffers, bad, dribbled, good, look, prefixes, unfinished};
use crate::config::Format::Xml;
use crate::io::check::formats::Finding;

const DOCUMENT: &str = r#"<?xml version="1.0" encoding='UTF-8' standalone="yes" ?>
<!-- before - it --><?target some ?data??>
<!DOCTYPE r PUBLIC "-//x//]>" 'y' [
  <!ELEMENT r (#PCDATA | b)*> <!ENTITY e "<b a='&#38;'>]]>"> <!-- ' " ]> -->
  %pe; <!ATTLIST r a CDATA "x>y"> <?pi "?>
] >
<r a="1" b='"&lt;&e;' xmlns:ž="u">text &amp; &#228; &#x1F980; ] ]] > <ž:b.-1 />
<![CDATA[<not & markup> ]] ]]]]><c></c
><!-- <c> --><?p?>ž🦀</r>"#;

#[test]
fn a_document_is_good_and_every_beginning_of_it_unfinished() {
    prefixes(Xml, DOCUMENT.as_bytes(), true);
    dribbled(Xml, DOCUMENT.as_bytes());
    good(Xml, format!("\u{FEFF}{DOCUMENT}\n<!-- after --> <?p i?>\n"));
    let (start, end) = DOCUMENT.split_once("<!DOCTYPE").unwrap();
    across_buffers(
        Xml,
        &start.replace("-->", ""),
        '.',
        format!("--><!DOCTYPE{end}").as_bytes(),
    );
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    bad(
        Xml,
        "<a>\n<b></a>",
        "line 2, column 7: expected the end tag `</b>`",
    );
    bad(
        Xml,
        "<a></a><b/>",
        "line 1, column 9: a second root element",
    );
    bad(
        Xml,
        "<a/>x",
        "line 1, column 5: text outside the root element",
    );
    bad(Xml, "x", "text outside the root element");
    bad(Xml, "</a>", "nothing open");
    bad(Xml, "<a x=1/>", "expected a value in quotes");
    bad(Xml, "<a x/>", "expected `=`");
    bad(Xml, "<a x='1'y='2'/>", "expected `>`, `/>` or a blank");
    bad(Xml, "<a x='1' x='2'/>", "has already");
    bad(Xml, "<a x='<'/>", "`<` inside the value");
    bad(Xml, "<1/>", "a name with characters");
    bad(Xml, "<a×/>", "a name with characters");
    bad(Xml, "< a/>", "expected a name");
    bad(Xml, "<a>]]></a>", "`]]>` outside");
    bad(Xml, "<a><!-- -- --></a>", "`--` inside a comment");
    bad(
        Xml,
        "<a>\u{1}</a>",
        "line 1, column 4: a character that XML does not allow",
    );
    bad(Xml, "<a>\u{FFFF}</a>", "does not allow");
    bad(Xml, "<a>&nbsp;</a>", "an entity that is not declared");
    bad(Xml, "<a>&;</a>", "expected a name");
    bad(Xml, "<a>&amp </a>", "expected `;`");
    bad(Xml, "<a>&#0;</a>", "a reference to no character");
    bad(Xml, "<a>&#xD800;</a>", "a reference to no character");
    bad(
        Xml,
        "<a>&#99999999999999999999;</a>",
        "a reference to no character",
    );
}

#[test]
fn what_stands_before_and_after_the_root_is_looked_at() {
    bad(
        Xml,
        "<a><?xml version='1.0'?></a>",
        "must stand at the very start",
    );
    bad(
        Xml,
        " <?xml version='1.0'?><a/>",
        "must stand at the very start",
    );
    bad(
        Xml,
        "<?xml encoding='UTF-8'?><a/>",
        "not a part of an XML declaration",
    );
    bad(
        Xml,
        "<?xml version='1.0' standalone='maybe'?><a/>",
        "not a value",
    );
    bad(Xml, "<?xml?><a/>", "without a version");
    bad(Xml, "<![CDATA[x]]><a/>", "outside the root element");
    bad(Xml, "<a/><!DOCTYPE a>", "only once");
    bad(Xml, "<!DOCTYPE a [ x ]><a/>", "expected a declaration");
    good(
        Xml,
        "<?xml-stylesheet href='x'?><!DOCTYPE html><html>&nbsp;</html>",
    );
    good(Xml, "<a>\u{FFFD}\u{7F}\u{E000}</a>");
}

#[test]
fn what_is_cut_says_in_what() {
    unfinished(Xml, "\n", "before the root element");
    unfinished(Xml, "<?xml version", "inside the XML declaration");
    unfinished(Xml, "<!DOCTYPE a [", "inside the document type declaration");
    unfinished(Xml, "<a>\nb", "line 2, column 2 inside the root element");
    unfinished(Xml, "<a b='c", "inside the value of an attribute");
    unfinished(Xml, "<a><!-- ", "inside a comment");
    unfinished(Xml, "<a><![CDATA[", "inside a CDATA section");
    unfinished(Xml, "<a>&am", "inside a reference");
}

#[test]
fn other_encodings() {
    good(
        Xml,
        b"<?xml version='1.0' encoding='Shift_JIS'?><a b='\x83\x5D'>\x83\x5C</a>",
    );
    good(
        Xml,
        b"<?xml version='1.0' encoding='ISO-8859-1'?><a b='\xE9'>\xFF\xEF\xBF\xBF</a>",
    );
    good(
        Xml,
        b"<?xml version='1.0' encoding = \"windows-1252\" ?><\xE9t\xE9>\x80</\xE9t\xE9>",
    );
    bad(
        Xml,
        b"<?xml version='1.0'?><a>\xE9</a>",
        "line 1, column 25: not UTF-8",
    );
    bad(
        Xml,
        "<?xml version='1.0' encoding='ISO-2022-JP'?><a/>",
        "\"iso-2022-jp\"",
    );
    bad(
        Xml,
        "<?xml version='1.0' encoding='UTF-16'?><a/>",
        "\"utf-16\"",
    );
}

#[test]
fn utf16_is_decoded() {
    let document = "<?xml version='1.0' encoding='UTF-16'?><r>ž🦀</r>";
    let little = |text: &str| {
        text.encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<_>>()
    };
    let big = |text: &str| {
        text.encode_utf16()
            .flat_map(u16::to_be_bytes)
            .collect::<Vec<_>>()
    };
    for marked in ["\u{FEFF}", ""].map(|mark| format!("{mark}{document}")) {
        good(Xml, big(&marked));
        good(Xml, little(&marked));
    }
    let whole = little(&format!("\u{FEFF}{document}"));
    for cut in 4..whole.len() {
        let finding = look(Xml, &whole[..cut]);
        assert!(
            matches!(finding, Finding::Unfinished(_)),
            "cut at {cut}: {finding:?}"
        );
    }
    let long = format!("\u{FEFF}<r>{}</q>", "a🦀".repeat(50_000));
    bad(
        Xml,
        little(&long),
        "line 1, column 100007: expected the end tag `</r>`",
    );
    let mut half = little("\u{FEFF}<r>");
    half.extend([0x3D, 0xD8, 0x41, 0x00]);
    bad(Xml, half, "half of a surrogate pair");
}

#[test]
fn names_and_nesting_are_bounded() {
    let name = "n".repeat(1024);
    good(Xml, format!("<{name}/>"));
    bad(Xml, format!("<{name}n/>"), "a name of more than 1024 bytes");
    good(Xml, "<a>".repeat(1024) + &"</a>".repeat(1024));
    bad(Xml, "<a>".repeat(1_000_000), "nested more than 1024 deep");
    let attributes: String = (0..2_000).map(|i| format!(" a{i}=''")).collect();
    good(Xml, format!("<a{attributes}/>"));
    bad(Xml, format!("<a{attributes} a0=''/>"), "has already");
}

#[test]
fn memory_does_not_grow_with_a_text_a_value_or_a_comment() {
    let body = &[b'x'; 5_000];
    let cases: [(&'static [u8], &'static [u8]); 6] = [
        (b"<a>", b"</a>"),
        (b"<a b='", b"'/>"),
        (b"<a><!--", b"--></a>"),
        (b"<a><![CDATA[", b"]]></a>"),
        (b"<?p ", b"?><a/>"),
        (b"<!DOCTYPE a [<!ENTITY e '", b"'>]><a/>"),
    ];
    for (head, tail) in cases {
        let finding = Endless {
            head,
            body,
            repeats: 400,
            tail,
            at: 0,
        }
        .check(Xml);
        assert_eq!(
            finding,
            Finding::Good,
            "{:?}",
            String::from_utf8_lossy(head)
        );
    }
}

#[test]
fn no_damage_makes_it_panic() {
    let mut rng = Rng::new(0x786d6c);
    for _ in 0..4_000 {
        let mut document = DOCUMENT.as_bytes().to_vec();
        rng.mutate(&mut document, b"<>/!?&;#x[]-'\"= Dab\0\xFF\xEF\xBF");
        look(Xml, &document);
        let at = rng.below(document.len());
        look(Xml, &document[at..]);
    }
}
