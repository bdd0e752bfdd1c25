//! The index of a sharded checkpoint: which shard holds which tensor.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use super::error::{LoadError, TensorPlace};
use super::header::Header;
use super::json::{Pairs, Skipped, Text, offset_of};

/// A `model.safetensors.index.json`, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardIndex {
    name: String,
    shards: Vec<String>,
    /// Tensor -> place in `shards`.
    weight_map: BTreeMap<String, usize>,
}

/// What of the file counts; `metadata` and whatever else it has is passed over. Its `total_size`
/// is wrong in published checkpoints often enough that nobody checks it.
struct RawIndex<'a> {
    weight_map: Option<Pairs<'a, Text<'a>>>,
}

// By hand, because a derived form would take an array for the object.
impl<'de: 'a, 'a> Deserialize<'de> for RawIndex<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IndexVisitor;
        impl<'de> Visitor<'de> for IndexVisitor {
            type Value = RawIndex<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with a weight_map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut weight_map = None;
                while let Some(Text(key)) = map.next_key()? {
                    if key != "weight_map" {
                        map.next_value::<Skipped>()?;
                    } else if weight_map.replace(map.next_value()?).is_some() {
                        return Err(A::Error::duplicate_field("weight_map"));
                    }
                }
                Ok(RawIndex {
                    weight_map: weight_map.flatten(),
                })
            }
        }
        deserializer.deserialize_map(IndexVisitor)
    }
}

impl ShardIndex {
    /// Reads an index; `name` is its own path, for messages.
    ///
    /// # Errors
    /// If it is not JSON, has no tensors, names a tensor twice, or a shard by something else than
    /// a plain path below the index's folder.
    pub fn parse(name: &str, json: &[u8]) -> Result<Self, LoadError> {
        let index = || name.to_owned();
        let raw: RawIndex<'_> =
            serde_json::from_slice(json).map_err(|source| LoadError::IndexJson {
                index: index(),
                offset: offset_of(json, &source),
                source,
            })?;
        let Some(pairs) = raw.weight_map.filter(|pairs| !pairs.0.is_empty()) else {
            return Err(LoadError::IndexWithoutTensors { index: index() });
        };
        if let Some(tensor) = pairs.duplicate() {
            return Err(LoadError::IndexDuplicate {
                index: index(),
                tensor: tensor.to_owned(),
            });
        }

        let mut shards = BTreeSet::new();
        for (tensor, Text(shard)) in &pairs.0 {
            if shards.insert(&**shard) && !is_plain(shard) {
                return Err(LoadError::IndexShardName {
                    index: index(),
                    tensor: tensor.to_string(),
                    shard: shard.to_string(),
                });
            }
        }
        let place: HashMap<&str, usize> = shards.iter().copied().zip(0..).collect();
        let shards = shards.iter().map(|shard| shard.to_string()).collect();
        let weight_map = pairs
            .0
            .iter()
            .map(|(tensor, Text(shard))| (tensor.to_string(), place[&**shard]));
        Ok(Self {
            name: index(),
            weight_map: weight_map.collect(),
            shards,
        })
    }

    /// The shards it names, sorted, each once, as paths relative to the index's folder.
    pub fn shards(&self) -> &[String] {
        &self.shards
    }

    /// The tensors it names and the shard of each, sorted by tensor.
    pub fn weight_map(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.weight_map
            .iter()
            .map(|(tensor, shard)| (tensor.as_str(), self.shards[*shard].as_str()))
    }

    /// The shard that should hold a tensor.
    pub fn shard_of(&self, tensor: &str) -> Option<&str> {
        self.weight_map
            .get(tensor)
            .map(|shard| self.shards[*shard].as_str())
    }

    /// Checks that every shard is among the files that are there; `present` takes a shard's path
    /// relative to the index's folder.
    ///
    /// # Errors
    /// [`LoadError::MissingShards`] with all that are not.
    pub fn check_files(&self, present: impl Fn(&str) -> bool) -> Result<(), LoadError> {
        let shards: Vec<_> = self
            .shards
            .iter()
            .filter(|shard| !present(shard))
            .cloned()
            .collect();
        if shards.is_empty() {
            return Ok(());
        }
        Err(LoadError::MissingShards {
            index: self.name.clone(),
            shards,
        })
    }

    /// Checks the index against the headers of its shards, given with the shards' paths as in
    /// [`ShardIndex::shards`].
    ///
    /// # Errors
    /// If a shard has no header here, a tensor is in two shards, a tensor is not in the shard that
    /// the index says, or a shard holds a tensor that the index does not name. Each error names
    /// all tensors it is about.
    pub fn check<S: AsRef<str>>(&self, headers: &[(S, &Header)]) -> Result<(), LoadError> {
        let opened: HashSet<&str> = headers.iter().map(|(shard, _)| shard.as_ref()).collect();
        self.check_files(|shard| opened.contains(shard))?;

        let mut found: HashMap<&str, &str> = HashMap::with_capacity(self.weight_map.len());
        let (mut twice, mut unindexed) = (BTreeSet::new(), Vec::new());
        for (shard, header) in headers {
            let shard = shard.as_ref();
            for tensor in &header.tensors {
                if let Some(first) = found.insert(&tensor.name, shard) {
                    twice.extend([first, shard].map(|shard| place(&tensor.name, shard)));
                }
                if !self.weight_map.contains_key(&*tensor.name) {
                    unindexed.push(place(&tensor.name, shard));
                }
            }
        }
        let index = self.name.clone();
        if !twice.is_empty() {
            let tensors = twice.into_iter().collect();
            return Err(LoadError::TensorInTwoShards { index, tensors });
        }
        let missing = self
            .weight_map()
            .filter(|(tensor, shard)| found.get(tensor) != Some(shard));
        let tensors: Vec<_> = missing
            .map(|(tensor, shard)| place(tensor, shard))
            .collect();
        if !tensors.is_empty() {
            return Err(LoadError::MissingTensors { index, tensors });
        }
        if !unindexed.is_empty() {
            return Err(LoadError::UnindexedTensors {
                index,
                tensors: unindexed,
            });
        }
        Ok(())
    }
}

fn place(tensor: &str, shard: &str) -> TensorPlace {
    TensorPlace {
        tensor: tensor.to_owned(),
        shard: shard.to_owned(),
    }
}

/// Whether a path stays below its folder whatever joins and opens it.
fn is_plain(path: &str) -> bool {
    !path.contains(['\\', '\0']) && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Explain;

    const NAME: &str = "model.safetensors.index.json";

    fn header(names: &[&str]) -> Header {
        let entries: Vec<_> = (names.iter().zip(0..))
            .map(|(name, i)| {
                format!(
                    r#""{name}":{{"dtype":"U8","shape":[1],"data_offsets":[{i},{}]}}"#,
                    i + 1
                )
            })
            .collect();
        let json = format!("{{{}}}", entries.join(","));
        Header::parse("s", json.as_bytes(), 8 + (json.len() + names.len()) as u64).unwrap()
    }

    fn index(map: &str) -> Result<ShardIndex, LoadError> {
        let json = format!(r#"{{"metadata":{{"total_size":7}},"weight_map":{map}}}"#);
        ShardIndex::parse(NAME, json.as_bytes())
    }

    #[test]
    fn shards_are_sorted_and_listed_once() {
        let index = index(r#"{"b":"s2","a":"s1","c":"s2"}"#).unwrap();
        assert_eq!(index.shards(), ["s1", "s2"]);
        assert_eq!(index.shard_of("c"), Some("s2"));
        assert_eq!(index.shard_of("d"), None);
        assert_eq!(
            index.weight_map().collect::<Vec<_>>(),
            [("a", "s1"), ("b", "s2"), ("c", "s2")]
        );
    }

    #[test]
    fn what_is_no_index_says_where() {
        let error = ShardIndex::parse(NAME, b"{\"weight_map\": oops}").unwrap_err();
        assert!(
            matches!(error, LoadError::IndexJson { offset: 15, .. }),
            "{error:?}"
        );
        for json in ["{}", r#"{"weight_map":{}}"#, r#"{"weight_map":null}"#] {
            let error = ShardIndex::parse(NAME, json.as_bytes()).unwrap_err();
            assert!(
                matches!(error, LoadError::IndexWithoutTensors { .. }),
                "{json}: {error:?}"
            );
        }
        for json in [
            "",
            "[]",
            "[{\"a\":\"s\"}]",
            "{\"weight_map\":{\"a\":\"s\"},\"weight_map\":{\"b\":\"s\"}}",
            "{\"weight_map\":{\"a\":1}}",
            "{\"weight_map\":[\"a\"]}",
            "\u{feff}{}",
        ] {
            let error = ShardIndex::parse(NAME, json.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), "wrong_index", "{json}");
        }
        let deep = format!("{{\"metadata\":{}", "[".repeat(1 << 20));
        assert_eq!(
            ShardIndex::parse(NAME, deep.as_bytes()).unwrap_err().kind(),
            "wrong_index"
        );
    }

    #[test]
    fn a_tensor_that_stands_twice_in_the_index_is_an_error() {
        let error = index(r#"{"a":"s1","a":"s1"}"#).unwrap_err();
        assert!(matches!(error, LoadError::IndexDuplicate { tensor, .. } if tensor == "a"));
    }

    #[test]
    fn a_shard_name_that_leaves_its_folder_is_refused() {
        for shard in [
            "",
            ".",
            "..",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a//b",
            "./a",
            "a\\\\b",
            "a\\u0000",
            "a/",
        ] {
            let error = index(&format!(r#"{{"a":"{shard}"}}"#)).unwrap_err();
            assert_eq!(error.kind(), "unsafe_shard_name", "{shard}");
        }
        index(r#"{"a":"sub/model..safetensors"}"#).unwrap();
    }

    #[test]
    fn an_index_and_its_shards_that_agree_pass() {
        let index = index(r#"{"b":"s2","a":"s1","c":"s2"}"#).unwrap();
        index
            .check(&[("s2", &header(&["b", "c"])), ("s1", &header(&["a"]))])
            .unwrap();
    }

    #[test]
    fn a_missing_shard_is_named() {
        let index = index(r#"{"b":"s2","a":"s1","c":"s3"}"#).unwrap();
        for error in [
            index.check_files(|shard| shard == "s2").unwrap_err(),
            index.check(&[("s2", &header(&["b"]))]).unwrap_err(),
        ] {
            assert!(
                matches!(&error, LoadError::MissingShards { shards, .. } if shards == &["s1", "s3"])
            );
        }
    }

    #[test]
    fn a_tensor_that_is_not_in_its_shard_is_named() {
        let index = index(r#"{"a":"s1","b":"s2","c":"s2"}"#).unwrap();
        let error = index
            .check(&[("s1", &header(&["a", "b"])), ("s2", &header(&["x"]))])
            .unwrap_err();
        let LoadError::MissingTensors { tensors, .. } = error else {
            panic!("{error:?}")
        };
        assert_eq!(tensors, [place("b", "s2"), place("c", "s2")]);
    }

    #[test]
    fn tensors_that_the_index_does_not_name_are_named() {
        let index = index(r#"{"a":"s1"}"#).unwrap();
        let error = index
            .check(&[("s1", &header(&["x", "a", "y"]))])
            .unwrap_err();
        let LoadError::UnindexedTensors { tensors, .. } = error else {
            panic!("{error:?}")
        };
        assert_eq!(tensors, [place("x", "s1"), place("y", "s1")]);
    }

    #[test]
    fn a_tensor_in_two_shards_is_named_with_both() {
        let index = index(r#"{"a":"s1","b":"s2"}"#).unwrap();
        let error = index
            .check(&[("s1", &header(&["a"])), ("s2", &header(&["b", "a"]))])
            .unwrap_err();
        let LoadError::TensorInTwoShards { tensors, .. } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(tensors, &[place("a", "s1"), place("a", "s2")]);
    }
}
