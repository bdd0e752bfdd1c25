//! Sizes, times and untrusted names as text for people.

use ipfs_accelerate::{ByteSize, Cid, canonical, utc_text};

/// `1.2 MiB`
pub(crate) fn size(bytes: u64) -> String {
    ByteSize::new(bytes).to_string()
}

/// Why dead bytes keep their space.
pub(crate) const KEEPS_SPACE: &str =
    "share pages or packs with what is live and keep their space (`gc --dry-run` says why)";

/// `would free 3.0 MiB; 1.0 MiB are in use`: what there is nothing of is left out.
pub(crate) fn outlook(says: &str, freeable_bytes: u64, rest: &[(u64, &str)]) -> String {
    let mut text = format!("{says} {}", size(freeable_bytes));
    for (bytes, what) in rest.iter().filter(|(bytes, _)| *bytes > 0) {
        text.push_str(&format!("; {} {what}", size(*bytes)));
    }
    text
}

/// `2026-11-22 21:57`
pub(crate) fn minute(unix_ms: u64) -> String {
    let whole = utc_text(unix_ms);
    whole.get(..16).unwrap_or(&whole).replace('T', " ")
}

/// `3.4 ms`, `1.25 s`, `2 min 5 s`
pub(crate) fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 0.000_01 => format!("{:.1} µs", s * 1e6),
        s if s < 0.001 => format!("{:.0} µs", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s if s < 100.0 => format!("{s:.2} s"),
        s => format!("{} min {} s", s as u64 / 60, s as u64 % 60),
    }
}

/// `450 MiB/s`; nothing where the time is too short to say.
pub(crate) fn rate(bytes: u64, seconds: f64) -> Option<String> {
    (bytes > 0 && seconds > 0.0).then(|| format!("{}/s", size((bytes as f64 / seconds) as u64)))
}

/// `1 file`, `2 files`
pub(crate) fn count(number: u64, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {one}s"),
    }
}

/// The names of pins, but for the one that is the object's CID itself.
pub(crate) fn names_beside<'n>(cid: &Cid, pins: impl IntoIterator<Item = &'n str>) -> Vec<&'n str> {
    let own = canonical(cid).to_string();
    pins.into_iter().filter(|name| *name != own).collect()
}

/// Names come from other people's folders: what would steer a terminal is shown, not done.
pub(crate) fn harmless(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    let shown = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(shown).collect()
}

/// The most characters of an error, a hint or a note; JSON has them whole.
const MESSAGE_CHARS: usize = 2_000;

/// A message in one line: what would steer a terminal is shown, and of a very long one its two ends are.
pub(crate) fn message(text: &str) -> String {
    let text = harmless(text);
    let chars = text.chars().count();
    if chars <= MESSAGE_CHARS {
        return text;
    }
    let start = text.chars().take(MESSAGE_CHARS / 2);
    let end = text.chars().skip(chars - MESSAGE_CHARS / 2);
    start.chain(" … ".chars()).chain(end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_unit_that_reads_best() {
        let shown = [0.000_05, 0.0123, 1.5, 125.9].map(seconds);
        assert_eq!(shown, ["50 µs", "12.3 ms", "1.50 s", "2 min 5 s"]);
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        assert_eq!(harmless("a\u{1b}[31mb\n"), "a\\u{1b}[31mb\\n");
        assert_eq!(harmless("größe"), "größe");
    }

    #[test]
    fn of_a_message_with_a_very_long_name_both_ends_are_shown() {
        let name = "\u{1b}".repeat(4_096);
        let shown = message(&format!("cannot open {name}: no such file"));
        assert_eq!(shown.chars().count(), MESSAGE_CHARS + 3);
        assert!(shown.starts_with("cannot open \\u{1b}"), "{shown}");
        assert!(shown.ends_with("\\u{1b}: no such file"), "{shown}");
        let whole = "größe".repeat(400);
        assert_eq!(message(&whole), whole);
    }
}
