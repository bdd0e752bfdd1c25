//! The table of keys: the one list that loading, `get`, `set`, `save` and messages go by.

use super::Config;
use super::nearest::nearest;
use super::paths::Base;
use super::sections::Endpoint;
use super::setting::{Setting, Shape};
use super::value::ConfigValue;

/// The sections, in the order of the shipped file.
pub(super) const SECTIONS: &[&str] = &[
    "general",
    "store",
    "cache",
    "endpoints",
    "docker",
    "checkpoint",
];

/// The section whose keys are devices.
pub(super) const MAX_MEMORY: &str = "checkpoint.max_memory";

/// A key of `T`: the whole configuration, or one endpoint.
pub(super) struct Key<T: 'static> {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) expected: &'static str,
    pub(super) secret: bool,
    pub(super) get: fn(&T) -> Option<ConfigValue>,
    /// None if the value does not fit.
    pub(super) put: fn(&mut T, &ConfigValue, &Base<'_>) -> Option<()>,
    /// Takes the value from another `T`.
    pub(super) copy: fn(&mut T, &T),
}

/// The static parts of a key, from the type of its field.
const fn key<T, S: Setting>(
    section: &'static str,
    name: &'static str,
    _field: fn(&T) -> &S,
    get: fn(&T) -> Option<ConfigValue>,
    put: fn(&mut T, &ConfigValue, &Base<'_>) -> Option<()>,
    copy: fn(&mut T, &T),
) -> Key<T> {
    let (shape, expected, secret) = (S::SHAPE, S::EXPECTED, S::SECRET);
    Key {
        section,
        name,
        shape,
        expected,
        secret,
        get,
        put,
        copy,
    }
}

macro_rules! field {
    ($section:expr, $name:expr, $($field:ident).+) => {
        key(
            $section,
            $name,
            |all| &all.$($field).+,
            |all| all.$($field).+.write(),
            |all, value, base| {
                all.$($field).+ = Setting::read(value, base)?;
                Some(())
            },
            |all, other| all.$($field).+ = other.$($field).+.clone(),
        )
    };
}

macro_rules! keys {
    ($($section:ident . $name:ident),+ $(,)?) => {
        &[$(field!(stringify!($section), stringify!($name), $section.$name)),+]
    };
}

/// The keys with a fixed name, section by section.
pub(super) static KEYS: &[Key<Config>] = keys![
    general.debug,
    general.log_level,
    store.path,
    store.profile,
    store.max_size,
    store.grace,
    store.lock_timeout,
    store.nobody_collects,
    cache.enabled,
    cache.max_size_mb,
    cache.path,
    endpoints.default,
    docker.enable,
    docker.timeout,
    checkpoint.device_map,
    checkpoint.threads,
];

/// The keys of each `[endpoints.NAME]`.
pub(super) static ENDPOINT_KEYS: &[Key<Endpoint>] = &[
    field!("endpoints.NAME", "host", host),
    field!("endpoints.NAME", "port", port),
    field!("endpoints.NAME", "gateway", gateway),
    field!("endpoints.NAME", "api_key", api_key),
];

/// Section and key as one name.
pub(super) fn dotted(section: &str, key: &str) -> String {
    if section.is_empty() {
        key.to_string()
    } else {
        format!("{section}.{key}")
    }
}

/// The name of the endpoint, if the section is one's; `endpoints.default` is a key.
pub(super) fn endpoint_name(section: &str) -> Option<&str> {
    section
        .strip_prefix("endpoints.")
        .filter(|name| !name.is_empty() && *name != "default")
}

/// Whether there is such a section, those that are named by the user among them.
pub(super) fn is_section(section: &str) -> bool {
    SECTIONS.contains(&section) || section == MAX_MEMORY || endpoint_name(section).is_some()
}

/// The known keys of a section.
pub(super) fn keys_of(section: &str) -> Vec<&'static str> {
    if endpoint_name(section).is_some() {
        return ENDPOINT_KEYS.iter().map(|key| key.name).collect();
    }
    let fixed = KEYS
        .iter()
        .filter(|key| key.section == section)
        .map(|key| key.name);
    fixed
        .chain((section == "checkpoint").then_some("max_memory"))
        .collect()
}

/// The section meant by an unknown one.
pub(super) fn nearest_section(section: &str) -> Option<&'static str> {
    let head = section.split('.').next().unwrap_or(section);
    nearest(head, SECTIONS.iter().copied())
}

/// The section and key meant by an unknown key: a like one beside it, else one elsewhere of the
/// same name.
pub(super) fn nearest_key(section: &str, key: &str) -> Option<(String, &'static str)> {
    if let Some(near) = nearest(key, keys_of(section)) {
        return Some((section.to_string(), near));
    }
    let like = match section {
        "" => nearest(key, KEYS.iter().map(|known| known.name))?,
        _ => key,
    };
    let elsewhere = KEYS
        .iter()
        .find(|known| known.name.eq_ignore_ascii_case(like))?;
    Some((elsewhere.section.to_string(), elsewhere.name))
}

impl Config {
    /// Every key there is, in the order of the shipped file, with `NAME` for the name of an
    /// endpoint and `DEVICE` for that of a device.
    ///
    /// ```
    /// use ipfs_accelerate::Config;
    ///
    /// assert!(Config::keys().any(|key| key == ("cache", "max_size_mb")));
    /// assert!(Config::keys().any(|key| key == ("endpoints.NAME", "api_key")));
    /// ```
    pub fn keys() -> impl Iterator<Item = (&'static str, &'static str)> {
        SECTIONS.iter().flat_map(|section| {
            let fixed = KEYS.iter().filter(move |key| key.section == *section);
            let endpoints = ENDPOINT_KEYS
                .iter()
                .filter(move |_| *section == "endpoints");
            let devices = (*section == "checkpoint").then_some((MAX_MEMORY, "DEVICE"));
            fixed
                .map(|key| (key.section, key.name))
                .chain(endpoints.map(|key| (key.section, key.name)))
                .chain(devices)
        })
    }
}
