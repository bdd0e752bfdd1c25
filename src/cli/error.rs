//! What can go wrong on the command line, beside what goes wrong in the library.

use std::io;
use std::path::PathBuf;

use ipfs_accelerate::{
    ByteSizeError, CheckError, ConfigError, DesiredPinsError, Explain, FileError, LoadError,
    ProfileError, StoreError, SyncError, TargetError,
};

/// Any error of a command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Sync(#[from] SyncError),
    #[error(transparent)]
    Pins(#[from] DesiredPinsError),
    #[error(transparent)]
    Check(#[from] CheckError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Profile(#[from] ProfileError),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    File(#[from] FileError),
    /// What `sync` was to copy from is no store.
    #[error(transparent)]
    NoSource(StoreError),
    /// `--config` names a file that is not there.
    #[error("there is no configuration at {}", path.display())]
    NoConfig { path: PathBuf },
    /// `pin sync --prune` would remove every pin.
    #[error("{} lists no pin, and --prune would remove every pin of the store", path.display())]
    NoPinsListed { path: PathBuf },
    #[error("--pin-name names one object, and {paths} paths were given")]
    OneName { paths: usize },
    #[error("standard input (`-`) can be added only once")]
    StdinTwice,
    #[error("`{text}` in --max-memory is not DEVICE=SIZE")]
    MaxMemory { text: String },
    #[error("`{text}` in --max-memory: {source}")]
    MaxMemorySize { text: String, source: ByteSizeError },
    #[error("--max-memory names {device} twice")]
    MaxMemoryTwice { device: String },
    #[error("{pattern:?} after {flag} is no pattern: {source}")]
    Glob {
        flag: &'static str,
        pattern: String,
        source: globset::Error,
    },
    #[error("no tensor is left by --include and --exclude")]
    NothingSelected,
    /// `add` was told to stop.
    #[error("cancelled; nothing of {} was kept", path.display())]
    AddCancelled { path: PathBuf, is_first: bool },
    /// Whoever read the output has gone, which is no error.
    #[error("standard output was closed")]
    ClosedPipe,
    #[error("cannot write to standard output: {0}")]
    Stdout(#[source] io::Error),
    #[error("cannot watch for signals: {0}")]
    Signals(#[source] io::Error),
    /// The demo's own check failed.
    #[error("the demo found {found} where {expected} was expected")]
    Demo { expected: String, found: String },
}

impl CliError {
    /// An error of writing to standard output.
    pub(crate) fn stdout(e: io::Error) -> Self {
        match e.kind() {
            io::ErrorKind::BrokenPipe => Self::ClosedPipe,
            _ => Self::Stdout(e),
        }
    }
}

impl Explain for CliError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Store(e) => e.kind(),
            Self::NoSource(e) => e.kind(),
            Self::Sync(e) => e.kind(),
            Self::Pins(e) => e.kind(),
            Self::Check(e) => e.kind(),
            Self::Config(e) => e.kind(),
            Self::Load(e) => e.kind(),
            Self::Profile(e) => e.kind(),
            Self::Target(e) => e.kind(),
            Self::File(e) => e.kind(),
            Self::NoConfig { .. } => "no_config",
            Self::NoPinsListed { .. } => "no_pins_listed",
            Self::OneName { .. } | Self::StdinTwice => "usage",
            Self::MaxMemory { .. } | Self::MaxMemorySize { .. } | Self::MaxMemoryTwice { .. } => {
                "bad_max_memory"
            }
            Self::Glob { .. } => "bad_pattern",
            Self::NothingSelected => "nothing_selected",
            Self::AddCancelled { .. } => "cancelled",
            Self::ClosedPipe => "closed_pipe",
            Self::Stdout(_) => "stdout",
            Self::Signals(_) => "signals",
            Self::Demo { .. } => "demo",
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Store(e) => return e.hint(),
            Self::Sync(e) => return e.hint(),
            Self::Pins(e) => return e.hint(),
            Self::Check(e) => return e.hint(),
            Self::Config(e) => return e.hint(),
            Self::Load(e) => return e.hint(),
            Self::Profile(e) => return e.hint(),
            Self::Target(e) => return e.hint(),
            Self::File(e) => return e.hint(),
            Self::MaxMemorySize { source, .. } => return source.hint(),
            Self::NoSource(_) => {
                "SOURCE is the folder of another store; files and folders that are none come in with `add`"
            }
            Self::NoConfig { .. } => "`config set SECTION.KEY VALUE` creates it",
            Self::NoPinsListed { .. } => "say --allow-empty if that is meant",
            Self::OneName { .. } => "add them one by one, or the folder that holds them",
            Self::StdinTwice => "name it once",
            Self::MaxMemory { .. } | Self::MaxMemoryTwice { .. } => {
                "write it as cpu=16GiB,disk=100GiB"
            }
            Self::Glob { .. } => "write it as for a shell: model.layers.*, *.bias, {a,b}*",
            Self::NothingSelected => "`plan TARGET --json` lists the names of the tensors",
            Self::Stdout(_) => "free space there, or write elsewhere",
            Self::Demo { .. } => "this is a bug; please report it",
            Self::AddCancelled {
                is_first: false, ..
            } => "the paths before it are added and stay",
            Self::AddCancelled { .. } | Self::ClosedPipe | Self::Signals(_) => return None,
        };
        Some(text.to_owned())
    }
}
