//! JSON read strictly: in order, with its duplicates still visible, and with byte offsets.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A string, borrowed from the text where it has no escapes.
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// A value that is checked and dropped.
///
/// `serde::de::IgnoredAny` would skip it without serde_json's limits on depth and on numbers,
/// and so accept headers that the safetensors crate refuses.
pub(super) struct Skipped;

impl<'de> Deserialize<'de> for Skipped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SkipVisitor;
        impl<'de> Visitor<'de> for SkipVisitor {
            type Value = Skipped;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Skipped)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                Ok(Skipped)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
                Ok(Skipped)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(Skipped)
            }

            fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
                Ok(Skipped)
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Skipped)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<Skipped>()?.is_some() {}
                Ok(Skipped)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<Skipped, Skipped>()?.is_some() {}
                Ok(Skipped)
            }
        }
        deserializer.deserialize_any(SkipVisitor)
    }
}

/// The entries of an object in the order of the text, duplicates included.
pub(super) struct Pairs<'a, V>(pub(super) Vec<(Cow<'a, str>, V)>);

impl<V> Pairs<'_, V> {
    /// The first key that an earlier entry has too.
    pub(super) fn duplicate(&self) -> Option<&str> {
        first_duplicate(self.0.iter().map(|(key, _)| &**key))
    }
}

impl<'de: 'a, 'a, V: Deserialize<'de>> Deserialize<'de> for Pairs<'a, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for PairsVisitor<V> {
            type Value = Pairs<'de, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some((Text(key), value)) = map.next_entry()? {
                    pairs.push((key, value));
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(PairsVisitor(PhantomData))
    }
}

/// The first name that came before.
pub(super) fn first_duplicate<'a>(
    names: impl ExactSizeIterator<Item = &'a str>,
) -> Option<&'a str> {
    let mut seen = HashSet::with_capacity(names.len());
    names.into_iter().find(|name| !seen.insert(*name))
}

/// Where in `text` an error stands, in bytes from its start.
pub(super) fn offset_of(text: &[u8], error: &serde_json::Error) -> u64 {
    let skipped = error.line().saturating_sub(1);
    let line = match skipped.checked_sub(1) {
        None => 0,
        Some(nth) => text
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
            .nth(nth)
            .map_or(text.len(), |(at, _)| at + 1),
    };
    (line + error.column().saturating_sub(1)).min(text.len()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_in_a_later_line_has_its_offset_in_the_whole_text() {
        let text = b"{\n \"a\":1,\n  x}";
        let error = serde_json::from_slice::<Skipped>(text)
            .err()
            .expect("no JSON");
        assert_eq!(offset_of(text, &error), 13 - 1);
        assert_eq!(text[12], b'x');
    }

    #[test]
    fn a_skipped_value_is_still_checked_for_depth_and_numbers() {
        let deep = "[".repeat(100_000);
        assert!(serde_json::from_str::<Skipped>(&deep).is_err());
        assert!(serde_json::from_str::<Skipped>("[1e999]").is_err());
        assert!(serde_json::from_str::<Skipped>(r#"[1,-2,2.5,"a\n",{"b":[true,null]}]"#).is_ok());
    }

    #[test]
    fn pairs_keep_order_and_show_the_duplicate() {
        let pairs: Pairs<'_, u8> = serde_json::from_str(r#"{"b":1,"a":2,"\u0062":3}"#).unwrap();
        let keys: Vec<_> = pairs.0.iter().map(|(key, _)| &**key).collect();
        assert_eq!(keys, ["b", "a", "b"]);
        assert_eq!(pairs.duplicate(), Some("b"));
    }
}
