//! Command-line arguments for the tools in this folder, which must also build
//! without the `cli` feature and so without clap.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// What was given, split but not yet understood.
#[derive(Debug)]
pub(crate) struct Arguments {
    paths: std::vec::IntoIter<OsString>,
    options: BTreeMap<&'static str, String>,
}

impl Arguments {
    /// `valued` options take `--name value` or `--name=value`, `switches` take
    /// nothing. After `--` everything is a path.
    pub(crate) fn parse(
        given: impl IntoIterator<Item = OsString>,
        valued: &[&'static str],
        switches: &[&'static str],
    ) -> Result<Self, String> {
        let mut given = given.into_iter();
        let mut paths = Vec::new();
        let mut options = BTreeMap::new();
        while let Some(argument) = given.next() {
            let text = argument.to_string_lossy().into_owned();
            if text == "--" {
                paths.extend(given);
                break;
            }
            if !text.starts_with('-') {
                paths.push(argument);
                continue;
            }
            let (name, inline) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (text.as_str(), None),
            };
            let (name, value) = if let Some(&name) = valued.iter().find(|&&known| known == name) {
                let next = || Some(given.next()?.to_string_lossy().into_owned());
                let value = inline.or_else(next);
                (name, value.ok_or_else(|| format!("{name} needs a value"))?)
            } else if let Some(&name) = switches.iter().find(|&&known| known == name) {
                if inline.is_some() {
                    return Err(format!("{name} takes no value"));
                }
                (name, String::new())
            } else {
                return Err(format!("unknown option {name}"));
            };
            if options.insert(name, value).is_some() {
                return Err(format!("{name} is given twice"));
            }
        }
        Ok(Self {
            paths: paths.into_iter(),
            options,
        })
    }

    /// The next path, which has to be there.
    pub(crate) fn path(&mut self, what: &str) -> Result<PathBuf, String> {
        let path = self
            .paths
            .next()
            .ok_or_else(|| format!("no {what} given"))?;
        Ok(path.into())
    }

    /// Refuses what [`Self::path`] did not take.
    pub(crate) fn no_more_paths(&mut self) -> Result<(), String> {
        match self.paths.next() {
            Some(extra) => Err(format!("one argument too many: {}", extra.display())),
            None => Ok(()),
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.options.contains_key(name)
    }

    /// The value of an option, read by `parse`.
    pub(crate) fn value<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        let Some(text) = self.options.get(name) else {
            return Ok(None);
        };
        match parse(text) {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(format!("{name} {text}: {error}")),
        }
    }
}

/// A count in decimal digits.
pub(crate) fn number<T: std::str::FromStr<Err = std::num::ParseIntError>>(
    text: &str,
) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}
