//! The layers: defaults, file, environment, flags; each goes over those before it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::Config;
use super::document;
use super::error::ConfigError;
use super::origin::Origin;
use super::paths::{Base, Environment};
use super::put::{Given, Put};
use crate::error::FileError;

/// What the variables that set a key begin with.
const PREFIX: &str = "IPFS_ACCELERATE__";

/// The variable that sets a key.
pub(super) fn variable(section: &str, key: &str) -> String {
    let name = super::schema::dotted(section, key)
        .replace('.', "__")
        .replace('-', "_");
    format!("{PREFIX}{}", name.to_uppercase())
}

fn warn_missing(path: &Path) {
    tracing::warn!(path = %path.display(), "no configuration there, the defaults are used");
}

impl Config {
    /// Reads a file over the defaults. A missing file means the defaults, with a warning in the
    /// log and [`loaded`](Config::loaded) false. The environment is not read, except `HOME`.
    ///
    /// # Errors
    /// A file that cannot be read or is no TOML, an unknown section or key, a wrong value, or
    /// two paths of the store.
    ///
    /// ```
    /// use ipfs_accelerate::Config;
    ///
    /// let config = Config::load("/nonexistent/config.toml")?;
    /// assert!(!config.loaded());
    /// assert_eq!(config, Config::default());
    /// # Ok::<(), ipfs_accelerate::ConfigError>(())
    /// ```
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let mut config = Self::default();
        config.apply_file(path)?;
        if !config.loaded() {
            warn_missing(path);
        }
        Ok(config)
    }

    /// Puts the layers over each other: the defaults, the file, the environment, and the flags
    /// as (section, key, text).
    ///
    /// The variable `IPFS_ACCELERATE__SECTION__KEY` sets a key, and
    /// `IPFS_ACCELERATE__ENDPOINTS__LOCAL__PORT` one of a section in a section; names are
    /// compared without case. `true`, `false`, `1` and `0` are truth values there. `~` means the
    /// `HOME` of `env`. A path in a file is relative to the folder of that file, one in the
    /// environment or a flag to the current folder. A path of the store replaces that of lower
    /// layers, whichever of its two names either has.
    ///
    /// A missing file means the defaults, with a warning in the log unless it is the file at
    /// [`default_path`](Config::default_path), which nobody needs to have.
    ///
    /// # Errors
    /// As [`load`](Config::load), also for variables and flags, unknown ones among them.
    ///
    /// ```
    /// use ipfs_accelerate::Config;
    ///
    /// let env = [("IPFS_ACCELERATE__CACHE__MAX_SIZE_MB", "200")];
    /// let config = Config::from_layers(None, env, &[("general", "log_level", "DEBUG")])?;
    /// assert_eq!(config.cache.max_size_mb, 200);
    /// # Ok::<(), ipfs_accelerate::ConfigError>(())
    /// ```
    pub fn from_layers<K, V>(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (K, V)>,
        flags: &[(&str, &str, &str)],
    ) -> Result<Self, ConfigError>
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let env = Environment::new(env);
        let mut config = Self::default();
        config.source.home = env.home().map(PathBuf::from);
        if let Some(path) = file {
            config.apply_file(path)?;
            if !config.loaded() && env.config_file().as_deref() != Some(path) {
                warn_missing(path);
            }
        }
        let variables = config.variables(&env)?;
        config.apply(&variables, None)?;
        let flags: Vec<Put> = flags
            .iter()
            .map(|(section, key, text)| Put {
                section: section.to_string(),
                key: key.to_string(),
                value: Given::Text(text.to_string()),
                at: Origin::Flag,
            })
            .collect();
        config.apply(&flags, None)?;
        Ok(config)
    }

    fn apply_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        self.source.path = Some(path.to_path_buf());
        if let Some(text) = document::read(path)? {
            // Absolute, so that a path from the file stays right if the current folder changes.
            let whole = std::path::absolute(path).map_err(FileError::at("resolve", path))?;
            self.apply(&document::parse(path, &text)?, whole.parent())?;
            self.source.text = Some(text);
            self.warn_of_readers(path);
        }
        Ok(())
    }

    pub(super) fn apply(&mut self, puts: &[Put], folder: Option<&Path>) -> Result<(), ConfigError> {
        let gives = |section: &str| {
            puts.iter()
                .any(|put| (put.section.as_str(), put.key.as_str()) == (section, "path"))
        };
        if gives("store") || gives("cache") {
            (self.store.path, self.cache.path) = (None, None);
            self.forget("store", "path");
            self.forget("cache", "path");
        }
        let home = self.source.home.clone();
        let base = Base {
            folder,
            home: home.as_deref(),
        };
        puts.iter().try_for_each(|put| self.put(put, &base))?;
        self.settle();
        self.check_paths()
    }

    /// The keys that variables set.
    fn variables(&self, env: &Environment) -> Result<Vec<Put>, ConfigError> {
        let mut puts = Vec::new();
        for (name, value) in env.iter() {
            let name = name.to_string_lossy();
            let Some(path) = name.strip_prefix(PREFIX) else {
                continue;
            };
            let path = path.to_ascii_lowercase();
            let (section, key) = path.rsplit_once("__").unwrap_or(("", &path));
            let section = match section.split_once("__") {
                Some(("endpoints", endpoint)) => format!("endpoints.{}", self.endpoint(endpoint)),
                Some((outer, inner)) => format!("{outer}.{inner}"),
                None => section.to_string(),
            };
            let value = match value.to_str() {
                Some(text) => Given::Text(text.to_string()),
                None => Given::Other("text that is not UTF-8"),
            };
            let at = Origin::Environment {
                variable: name.to_string(),
            };
            puts.push(Put {
                section,
                key: key.to_string(),
                value,
                at,
            });
        }
        Ok(puts)
    }

    /// The known endpoint a variable means: variables have neither lower case nor hyphens.
    fn endpoint(&self, wanted: &str) -> String {
        let plain = |name: &str| name.to_ascii_lowercase().replace('-', "_");
        let mut names = self.endpoints.named.keys();
        names
            .find(|name| plain(name) == wanted)
            .map_or_else(|| wanted.into(), String::clone)
    }

    /// Others on this machine can read a key in a file that is open to them.
    #[cfg(unix)]
    fn warn_of_readers(&self, path: &Path) {
        use std::os::unix::fs::PermissionsExt;

        let holds_key = self
            .endpoints
            .named
            .values()
            .any(|endpoint| endpoint.api_key.is_some());
        let open = |mode: u32| mode & 0o044 != 0;
        if holds_key && std::fs::metadata(path).is_ok_and(|meta| open(meta.permissions().mode())) {
            tracing::warn!(path = %path.display(), "holds an api_key, and other users can read it");
        }
    }

    #[cfg(not(unix))]
    fn warn_of_readers(&self, _: &Path) {}
}
