//! What commands share: configuration, the store's place, signals, progress.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ipfs_accelerate::{
    Config, Profile, ReaderOptions, Store, StoreError, StoreOptions, StoreReader,
};

use super::args::GlobalArgs;
use super::error::CliError;
use super::lock_args::LockArgs;
use super::output::{Output, Printer};
use super::progress::Progress;
use super::signals;
use super::temporary::TemporaryFolder;

pub(crate) struct Context<'a> {
    pub(crate) config: Config,
    pub(crate) global: &'a GlobalArgs,
    printer: &'a Printer,
    /// Of the signals, once they are watched.
    cancel: OnceCell<Arc<AtomicBool>>,
}

/// A store, or an empty one in its place.
pub(crate) struct StandIn {
    pub(crate) store: Store,
    /// Removed once the store is closed.
    #[expect(dead_code, reason = "held for its drop")]
    folder: Option<TemporaryFolder>,
}

/// Defaults, file, environment. A file that was named must be there.
pub(crate) fn load_config(global: &GlobalArgs) -> Result<Config, CliError> {
    if let Some(path) = global.config.as_ref().filter(|path| !path.exists()) {
        return Err(CliError::NoConfig { path: path.clone() });
    }
    let file = config_path(global);
    Ok(Config::from_layers(
        file.as_deref(),
        std::env::vars_os(),
        &[],
    )?)
}

/// The file that `--config` names, or the user's.
pub(crate) fn config_path(global: &GlobalArgs) -> Option<PathBuf> {
    let named = global.config.clone();
    named.or_else(|| Config::default_path(std::env::vars_os()))
}

impl<'a> Context<'a> {
    pub(crate) fn new(global: &'a GlobalArgs, config: Config, printer: &'a Printer) -> Self {
        Self {
            config,
            global,
            printer,
            cancel: OnceCell::new(),
        }
    }

    /// The store's folder.
    pub(crate) fn store_path(&self) -> Result<PathBuf, CliError> {
        Ok(self
            .config
            .store_path(self.global.store.as_deref(), std::env::vars_os())?)
    }

    /// The store for reading, beside any writer.
    pub(crate) fn reader(&self) -> Result<StoreReader, CliError> {
        Ok(StoreReader::open_with(
            self.store_path()?,
            &self.reader_options(),
        )?)
    }

    pub(crate) fn reader_options(&self) -> ReaderOptions {
        let mut options = ReaderOptions::default();
        options.nobody_collects = self.nobody_collects();
        options
    }

    fn nobody_collects(&self) -> bool {
        self.global.nobody_collects || self.config.store.nobody_collects
    }

    /// The store for writing.
    pub(crate) fn writer(&self, lock: &LockArgs) -> Result<Store, CliError> {
        Ok(Store::open_with(
            self.store_path()?,
            self.store_options(lock)?,
        )?)
    }

    /// The store for writing, made where the folder is absent or empty.
    pub(crate) fn writer_or_new(&self, lock: &LockArgs) -> Result<Store, CliError> {
        self.writer_or_new_under(lock, self.configured_profile()?)
    }

    /// The same; one that is made gets this profile.
    pub(crate) fn writer_or_new_under(
        &self,
        lock: &LockArgs,
        profile: Profile,
    ) -> Result<Store, CliError> {
        let mut options = self.store_options(lock)?;
        options.profile = profile;
        Ok(Store::open_or_create(self.store_path()?, options)?)
    }

    /// As [`Context::writer_or_new_under`]. For a dry run nothing is made: an empty store in a temporary folder
    /// stands in for it.
    pub(crate) fn writer_for(
        &self,
        dry_run: bool,
        lock: &LockArgs,
        profile: Profile,
    ) -> Result<StandIn, CliError> {
        let (store, folder) = match self.writer(lock) {
            Err(CliError::Store(StoreError::Absent { .. })) if dry_run => {
                let folder = TemporaryFolder::new("dry-run")?;
                let mut options = self.store_options(lock)?;
                options.profile = profile;
                options.stands_for = Some(self.store_path()?);
                let store = Store::create_with(folder.path().join("store"), options)?;
                (store, Some(folder))
            }
            Err(CliError::Store(StoreError::Absent { .. })) => {
                (self.writer_or_new_under(lock, profile)?, None)
            }
            writer => (writer?, None),
        };
        Ok(StandIn { store, folder })
    }

    /// How long a command waits for another writer.
    pub(crate) fn lock_timeout(&self, lock: &LockArgs) -> std::time::Duration {
        let timeout = lock.lock_timeout.unwrap_or(self.config.store.lock_timeout);
        timeout.duration()
    }

    /// Options under which a wait for another writer ends on a signal.
    pub(crate) fn store_options(&self, lock: &LockArgs) -> Result<StoreOptions, CliError> {
        let mut options = StoreOptions::default();
        options.memory_bytes = self.config.cache.budget().bytes();
        options.lock_timeout = self.lock_timeout(lock);
        options.max_bytes = self.config.store.max_size.map(|size| size.bytes());
        options.made_way = Some(self.printer.room().follow());
        options.grace = self.config.store.grace.duration();
        options.cancel = Some(self.cancel()?);
        options.nobody_collects = self.nobody_collects();
        Ok(options)
    }

    /// The profile that the configuration names for new stores; a store keeps its own.
    pub(crate) fn configured_profile(&self) -> Result<Profile, CliError> {
        Ok(self.config.store.profile.parse()?)
    }

    /// From now on a first SIGINT or SIGTERM sets the flag instead of ending the process, so that what has
    /// begun is finished or undone. Commands that only write to standard output do without.
    pub(crate) fn cancel(&self) -> Result<Arc<AtomicBool>, CliError> {
        if let Some(flag) = self.cancel.get() {
            return Ok(Arc::clone(flag));
        }
        let flag = signals::cancel_flag()?;
        Ok(Arc::clone(self.cancel.get_or_init(|| flag)))
    }

    pub(crate) fn progress(
        &self,
        message: &str,
        path: &Path,
        total_bytes: Option<u64>,
    ) -> Progress {
        let name = path
            .file_name()
            .unwrap_or(path.as_os_str())
            .to_string_lossy();
        let message = super::text::harmless(&format!("{message} {name}"));
        Progress::new(!self.printer.is_quiet(), message, total_bytes)
    }

    /// What made way since this was asked last, as notes.
    pub(crate) fn made_room(&self) -> Vec<String> {
        self.printer.room().say()
    }

    /// Prints one of several outputs as soon as it is there.
    pub(crate) fn emit(&self, output: &Output) -> Result<(), CliError> {
        self.printer.print(output)
    }

    /// Standard output for the content of a file.
    pub(crate) fn content(&self) -> Result<std::fs::File, CliError> {
        self.printer.content()
    }
}
