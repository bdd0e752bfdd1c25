//! Paths: `~`, what a relative one is relative to, and the default places.

use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use super::Config;
use super::error::ConfigError;
use super::origin::Origin;

/// The program's own folder below each of the XDG folders.
const FOLDER: &str = "ipfs-accelerate";

/// The variable that names the store.
const STORE_VARIABLE: &str = "IPFS_ACCELERATE_STORE";

/// What paths are resolved against.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Base<'a> {
    /// The folder of the file the path stands in; none elsewhere.
    pub(crate) folder: Option<&'a Path>,
    /// The home folder.
    pub(crate) home: Option<&'a Path>,
}

impl Base<'_> {
    /// The path with `~/` replaced and the folder before it; none if `~` cannot be replaced.
    pub(crate) fn resolve(&self, path: &Path) -> Option<PathBuf> {
        if let Ok(rest) = path.strip_prefix("~") {
            let home = self.home?;
            return Some(if rest.as_os_str().is_empty() {
                home.into()
            } else {
                home.join(rest)
            });
        }
        match path.components().next() {
            None => None,
            // Another user's home: a folder of that literal name is not what is meant.
            Some(Component::Normal(name)) if name.as_encoded_bytes().starts_with(b"~") => None,
            Some(_) => Some(match self.folder {
                Some(folder) => folder.join(path),
                None => path.into(),
            }),
        }
    }
}

/// A copy of the variables a configuration depends on.
#[derive(Debug, Default)]
pub(super) struct Environment(Vec<(OsString, OsString)>);

impl Environment {
    pub(super) fn new<K, V>(variables: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let mut all: Vec<(OsString, OsString)> = variables
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        // So that of several faults always the same one is reported.
        all.sort();
        Self(all)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    /// The variable as a path; an empty one counts as not set.
    fn path(&self, name: &str) -> Option<&Path> {
        let (_, value) = self.iter().find(|(known, _)| *known == name)?;
        (!value.is_empty()).then(|| Path::new(value))
    }

    pub(super) fn home(&self) -> Option<&Path> {
        self.path("HOME")
    }

    /// An XDG folder: relative ones are ignored, as the specification says.
    fn xdg(&self, name: &str, below_home: &str) -> Option<PathBuf> {
        match self.path(name).filter(|path| path.is_absolute()) {
            Some(path) => Some(path.join(FOLDER)),
            None => Some(self.home()?.join(below_home).join(FOLDER)),
        }
    }

    pub(super) fn config_file(&self) -> Option<PathBuf> {
        Some(self.xdg("XDG_CONFIG_HOME", ".config")?.join("config.toml"))
    }
}

impl Config {
    /// Where the file of this user is looked for:
    /// `$XDG_CONFIG_HOME/ipfs-accelerate/config.toml`, else
    /// `~/.config/ipfs-accelerate/config.toml`; none if there is no home folder either.
    ///
    /// ```
    /// use ipfs_accelerate::Config;
    /// use std::path::Path;
    ///
    /// let path = Config::default_path([("HOME", "/home/ann")]);
    /// assert_eq!(
    ///     path.as_deref(),
    ///     Some(Path::new("/home/ann/.config/ipfs-accelerate/config.toml"))
    /// );
    /// // In a program:
    /// let path = Config::default_path(std::env::vars_os());
    /// ```
    pub fn default_path<K, V>(env: impl IntoIterator<Item = (K, V)>) -> Option<PathBuf>
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        Environment::new(env).config_file()
    }

    /// The folder of the store: `flag`, else the variable `IPFS_ACCELERATE_STORE`, else
    /// `[store] path` or its other name `[cache] path`, else
    /// `$XDG_DATA_HOME/ipfs-accelerate`, else `~/.local/share/ipfs-accelerate`.
    ///
    /// A `[store] path` that was itself given as a flag goes before the variable.
    ///
    /// # Errors
    /// [`ConfigError::NoStorePath`] if nothing names a folder; [`ConfigError::WrongValue`] for a
    /// `~` that cannot be replaced, and [`ConfigError::PathConflict`] if the two paths differ.
    ///
    /// ```
    /// use ipfs_accelerate::Config;
    /// use std::path::Path;
    ///
    /// let config = Config::default();
    /// let env = [("HOME", "/home/ann")];
    /// assert_eq!(
    ///     config.store_path(None, env)?,
    ///     Path::new("/home/ann/.local/share/ipfs-accelerate")
    /// );
    /// assert_eq!(config.store_path(Some(Path::new("/data")), env)?, Path::new("/data"));
    /// # Ok::<(), ipfs_accelerate::ConfigError>(())
    /// ```
    pub fn store_path<K, V>(
        &self,
        flag: Option<&Path>,
        env: impl IntoIterator<Item = (K, V)>,
    ) -> Result<PathBuf, ConfigError>
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let env = Environment::new(env);
        let resolve = |path: &Path, key: &str, at: Origin| {
            let base = Base {
                folder: None,
                home: env.home(),
            };
            base.resolve(path).ok_or_else(|| ConfigError::WrongValue {
                at,
                key: key.to_string(),
                expected: super::setting::PATH,
                found: format!("{path:?}"),
            })
        };
        if let Some(path) = flag {
            return resolve(path, "--store", Origin::Flag);
        }
        self.check_paths()?;
        let configured = match (&self.store.path, &self.cache.path) {
            (Some(path), _) => Some(("store", path)),
            (None, Some(path)) => Some(("cache", path)),
            (None, None) => None,
        };
        let from_flag = configured
            .filter(|(section, _)| self.origin_of(section, "path") == Origin::Flag)
            .is_some();
        if let Some(path) = env.path(STORE_VARIABLE).filter(|_| !from_flag) {
            let variable = STORE_VARIABLE.to_string();
            return resolve(path, STORE_VARIABLE, Origin::Environment { variable });
        }
        if let Some((section, path)) = configured {
            let at = self.origin_of(section, "path");
            return resolve(path, &super::schema::dotted(section, "path"), at);
        }
        env.xdg("XDG_DATA_HOME", ".local/share")
            .ok_or(ConfigError::NoStorePath)
    }

    /// `[cache] path` is the seed's name for `[store] path`, so both together must agree.
    pub(super) fn check_paths(&self) -> Result<(), ConfigError> {
        match (&self.store.path, &self.cache.path) {
            (Some(store), Some(cache)) if store != cache => Err(ConfigError::PathConflict {
                store: store.clone(),
                store_at: self.origin_of("store", "path"),
                cache: cache.clone(),
                cache_at: self.origin_of("cache", "path"),
            }),
            _ => Ok(()),
        }
    }
}
