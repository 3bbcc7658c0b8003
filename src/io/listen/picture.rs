//! The last day as a small picture: what was delivered, and what waited, in parts of five minutes.

use std::fmt::Write as _;

use crate::flow::status::{PARTS, Point};

/// The height of each of the two bands, and of the space between them. A part is one unit wide.
const BAND: u64 = 44;
const GAP: u64 = 8;

/// An SVG that stands in the page, without a text of its own but for those who do not see it: at 320 px
/// letters in it would be too small. Its colours are the page's.
pub(super) fn svg(points: &[Point]) -> String {
    let delivered: Vec<u64> = points.iter().map(|point| point.delivered.files).collect();
    let waiting: Vec<u64> = points.iter().map(|point| point.waiting).collect();
    let height = 2 * BAND + GAP;
    let sum: u64 = delivered.iter().sum();
    let (most, most_waiting) = (most(&delivered), most(&waiting));
    let now = waiting.last().copied().unwrap_or(0);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {PARTS} {height}\" role=\"img\" aria-label=\"The last 24 hours in parts of five \
         minutes. Delivered: {sum} in all, at most {most} in one part. Waiting: at most {most_waiting}, in \
         the last part {now}.\">"
    );
    // Every six hours.
    for x in (0..=PARTS).step_by(PARTS / 4) {
        let _ = write!(svg, "<path class=\"grid\" d=\"M{x} 0v{height}\"/>");
    }
    for (class, values, base) in [
        ("delivered", &delivered, BAND),
        ("waiting", &waiting, height),
    ] {
        let _ = write!(svg, "<path class=\"grid\" d=\"M0 {base}h{PARTS}\"/>");
        let _ = write!(
            svg,
            "<path class=\"{class}\" d=\"{}\"/>",
            bars(values, base)
        );
    }
    svg + "</svg>"
}

/// The largest of them.
pub(super) fn most(values: &[u64]) -> u64 {
    values.iter().copied().max().unwrap_or(0)
}

/// A bar for each value, from `base` up. One that is not 0 is to be seen.
fn bars(values: &[u64], base: u64) -> String {
    let most = most(values).max(1);
    let mut path = String::new();
    for (x, value) in values.iter().enumerate().filter(|(_, value)| **value > 0) {
        let high = (value.saturating_mul(BAND) / most).max(1);
        let _ = write!(path, "M{x} {base}v-{high}h1v{high}z");
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::status::Sum;

    #[test]
    fn a_bar_is_as_high_as_its_part_of_the_most_and_never_invisible() {
        assert_eq!(bars(&[0, 1_000, 1, 0], 44), "M1 44v-44h1v44zM2 44v-1h1v1z");
        assert_eq!(bars(&[0; 4], 44), "");
        assert_eq!(bars(&[u64::MAX], 96), "M0 96v-1h1v1z", "nothing overflows");
    }

    #[test]
    fn who_does_not_see_the_picture_is_told_what_it_shows() {
        let mut points = vec![Point::default(); PARTS];
        points[3].delivered = Sum { files: 5, bytes: 1 };
        points[9].waiting = 7;
        points[PARTS - 1].waiting = 2;
        let svg = svg(&points);
        assert!(
            svg.contains(
                "Delivered: 5 in all, at most 5 in one part. Waiting: at most 7, in the last \
                 part 2."
            ),
            "{svg}"
        );
    }
}
