//! The configuration in effect, for people.

use std::fmt::Write;

use toml_edit::Key;

use super::Config;
use super::origin::Origin;
use super::value::ConfigValue;

/// A key that has a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The section, with dots within sections.
    pub section: String,
    /// The key.
    pub key: String,
    /// Its value.
    pub value: ConfigValue,
    /// Where that comes from.
    pub origin: Origin,
}

impl Config {
    /// Every key that has a value, in the order of the shipped file.
    pub fn entries(&self) -> Vec<ConfigEntry> {
        let values = self.values().into_iter();
        values
            .map(|((section, key), value)| {
                let origin = self.origin_of(&section, &key);
                ConfigEntry {
                    section,
                    key,
                    value,
                    origin,
                }
            })
            .collect()
    }

    /// The configuration in effect as TOML: secrets as asterisks, and behind each value that is
    /// no default where it comes from.
    ///
    /// ```
    /// use ipfs_accelerate::Config;
    ///
    /// let env = [("IPFS_ACCELERATE__CACHE__MAX_SIZE_MB", "200")];
    /// let config = Config::from_layers(None, env, &[])?;
    /// assert!(
    ///     config.show().contains("max_size_mb = 200  # IPFS_ACCELERATE__CACHE__MAX_SIZE_MB\n")
    /// );
    /// # Ok::<(), ipfs_accelerate::ConfigError>(())
    /// ```
    pub fn show(&self) -> String {
        let mut text = String::new();
        let mut current = None;
        for ConfigEntry {
            section,
            key,
            value,
            origin,
        } in self.entries()
        {
            if current.as_ref() != Some(&section) {
                let gap = if current.is_none() { "" } else { "\n" };
                let (outer, inner) = section.split_once('.').unwrap_or((&section, ""));
                let inner = if inner.is_empty() {
                    String::new()
                } else {
                    format!(".{}", Key::new(inner).display_repr())
                };
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{gap}[{outer}{inner}]");
                current = Some(section);
            }
            let from = match origin {
                Origin::Default => String::new(),
                // A line break in the path of a file would end the comment.
                other => format!("  # {}", other.to_string().replace(char::is_control, "?")),
            };
            let _ = writeln!(text, "{} = {value}{from}", Key::new(&key).display_repr());
        }
        text
    }
}
