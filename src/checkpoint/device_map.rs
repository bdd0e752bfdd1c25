//! What the caller says about devices: the map, the limits, and the names in both.

use std::collections::{BTreeMap, HashMap};

use std::path::Path;
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::error::LoadError;
use super::json::{Pairs, offset_of};
use crate::error::FileError;

/// How tensors are assigned to devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum DeviceMap {
    /// Balanced over the main devices, the rest to the CPU and the disk.
    #[default]
    Auto,
    /// Each device is filled before the next one is begun.
    Sequential,
    /// Module or tensor -> device. The longest prefix that ends with a component decides: `a.b`
    /// matches `a.b` and `a.b.c` but not `a.bc`, and the empty one matches every tensor.
    Map(BTreeMap<String, String>),
}

/// What a device is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// Where the model runs: a GPU or another device of the caller's.
    Main,
    /// The host's memory.
    Cpu,
    /// Left in the store and read when it is used.
    Disk,
}

/// A device and how much may be placed there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceLimit {
    /// Its name in device maps: `cuda:0`, `cpu`, `disk`.
    pub name: String,
    /// Bytes that may be placed there, none for any number. With 0 it is not used.
    pub limit: Option<u64>,
    /// What it is for.
    pub kind: DeviceKind,
}

/// The name of a device in JSON: a string, or the number of a CUDA device.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "the name of a device, or the number of a CUDA device"
)]
enum DeviceName {
    Name(String),
    Number(u32),
}

impl DeviceMap {
    /// Reads an explicit map from a file of JSON; see [`DeviceMap::from_json`].
    ///
    /// # Errors
    /// If the file is no regular file, is larger than 64 MiB, cannot be read, or is not such a map.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        const LIMIT: u64 = 64 << 20;
        let path = path.as_ref();
        let failed =
            |source: io::Error| LoadError::from_source(FileError::new("read", path, source));
        let refused = |why: &str| failed(io::Error::new(io::ErrorKind::InvalidData, why));
        let found = fs::metadata(path).map_err(failed)?;
        if !found.is_file() {
            return Err(refused(
                "a device map is a file, \"auto\" or \"sequential\"",
            ));
        }
        if found.len() > LIMIT {
            return Err(refused("it is larger than any device map"));
        }
        Self::from_json(&fs::read_to_string(path).map_err(failed)?)
    }

    /// Reads an explicit map from JSON: one object of `"prefix": "device"`. A number N stands for
    /// `cuda:N`, as in accelerate's device maps.
    ///
    /// # Errors
    /// If it is not such an object, or a prefix stands twice.
    ///
    /// ```
    /// # use ipfs_accelerate::checkpoint::DeviceMap;
    /// let map = DeviceMap::from_json(r#"{"": "cpu", "model.layers": 0}"#).unwrap();
    /// let DeviceMap::Map(map) = map else { unreachable!() };
    /// assert_eq!(map["model.layers"], "cuda:0");
    /// ```
    pub fn from_json(text: &str) -> Result<Self, LoadError> {
        let pairs: Pairs<'_, DeviceName> =
            serde_json::from_str(text).map_err(|source| LoadError::DeviceMapJson {
                offset: offset_of(text.as_bytes(), &source),
                source,
            })?;
        if let Some(prefix) = pairs.duplicate() {
            return Err(LoadError::DuplicatePrefix {
                prefix: prefix.to_owned(),
            });
        }
        let entries = pairs.0.into_iter().map(|(prefix, device)| {
            let device = match device {
                DeviceName::Name(name) => name,
                DeviceName::Number(number) => format!("cuda:{number}"),
            };
            (prefix.into_owned(), device)
        });
        Ok(Self::Map(entries.collect()))
    }
}

/// The place of each device by its name.
///
/// # Errors
/// If two devices have the same name.
pub(super) fn by_name(devices: &[DeviceLimit]) -> Result<HashMap<&str, usize>, LoadError> {
    let mut places = HashMap::with_capacity(devices.len());
    for (place, device) in devices.iter().enumerate() {
        if places.insert(device.name.as_str(), place).is_some() {
            return Err(LoadError::DuplicateDevice {
                device: device.name.clone(),
            });
        }
    }
    Ok(places)
}

pub(super) fn unknown(device: &str, devices: &[DeviceLimit]) -> LoadError {
    LoadError::UnknownDevice {
        device: device.to_owned(),
        known: devices.iter().map(|device| device.name.clone()).collect(),
    }
}

/// Sets the limits that the caller gave, in bytes. They replace what the devices said about
/// themselves; devices that `max_memory` does not name keep that.
///
/// # Errors
/// If it names a device that is not there, or two devices have the same name; no limit is changed
/// then.
pub fn apply_max_memory(
    devices: &mut [DeviceLimit],
    max_memory: &BTreeMap<String, u64>,
) -> Result<(), LoadError> {
    let places = by_name(devices)?;
    let found = max_memory
        .iter()
        .map(|(name, limit)| match places.get(name.as_str()) {
            Some(place) => Ok((*place, *limit)),
            None => Err(unknown(name, devices)),
        });
    let found: Vec<_> = found.collect::<Result<_, _>>()?;
    for (place, limit) in found {
        devices[place].limit = Some(limit);
    }
    Ok(())
}

/// The entry of a map with the longest prefix of `name` that ends with a component.
pub(super) fn longest_prefix<'m>(map: &'m BTreeMap<String, String>, name: &str) -> Option<&'m str> {
    let mut prefix = name;
    loop {
        if let Some(device) = map.get(prefix) {
            return Some(device);
        }
        prefix = match prefix.rfind('.') {
            Some(dot) => &prefix[..dot],
            None if prefix.is_empty() => return None,
            None => "",
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Explain;
    use proptest::prelude::*;

    fn devices() -> Vec<DeviceLimit> {
        [
            ("cuda:0", DeviceKind::Main),
            ("cpu", DeviceKind::Cpu),
            ("disk", DeviceKind::Disk),
        ]
        .map(|(name, kind)| DeviceLimit {
            name: name.into(),
            limit: None,
            kind,
        })
        .into()
    }

    #[test]
    fn a_map_with_duplicates_or_other_values_is_refused() {
        let error = DeviceMap::from_json(r#"{"a":"cpu","a":0}"#).unwrap_err();
        assert!(matches!(&error, LoadError::DuplicatePrefix { prefix } if prefix == "a"));
        for json in [
            "",
            "[]",
            "\"auto\"",
            r#"{"a":-1}"#,
            r#"{"a":0.5}"#,
            r#"{"a":null}"#,
            "{}x",
        ] {
            assert_eq!(
                DeviceMap::from_json(json).unwrap_err().kind(),
                "wrong_device_map",
                "{json}"
            );
        }
        let message = DeviceMap::from_json("{\"a\": true}")
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("the name of a device, or the number"),
            "{message}"
        );
        assert_eq!(
            DeviceMap::from_json("{}").unwrap(),
            DeviceMap::Map(BTreeMap::new())
        );
    }

    #[test]
    fn a_limit_for_an_unknown_device_lists_the_known_ones_and_changes_nothing() {
        let mut limits = devices();
        let error = apply_max_memory(
            &mut limits,
            &BTreeMap::from([("cpu".into(), 5), ("cuda:1".into(), 5)]),
        );
        let message = error.unwrap_err().to_string();
        assert_eq!(message, "unknown device `cuda:1`; known: cuda:0, cpu, disk");
        assert_eq!(limits, devices());
        apply_max_memory(&mut limits, &BTreeMap::from([("cpu".into(), 5)])).unwrap();
        assert_eq!((limits[0].limit, limits[1].limit), (None, Some(5)));
    }

    #[test]
    fn two_devices_of_one_name_are_refused() {
        let mut limits = devices();
        limits.extend(devices());
        let error = apply_max_memory(&mut limits, &BTreeMap::new()).unwrap_err();
        assert!(matches!(&error, LoadError::DuplicateDevice { device } if device == "cuda:0"));
    }

    proptest! {
        #[test]
        fn the_longest_prefix_is_the_one_a_naive_search_finds(
            name in "[ab.]{0,6}",
            map in prop::collection::btree_map("[ab.]{0,4}", "[a-z]{2}", 0..8),
        ) {
            let naive = map
                .iter()
                .filter(|(prefix, _)| {
                    prefix.is_empty() || name == **prefix || name.starts_with(&format!("{prefix}."))
                })
                .max_by_key(|(prefix, _)| prefix.len())
                .map(|(_, device)| device.as_str());
            prop_assert_eq!(longest_prefix(&map, &name), naive);
        }
    }
}
