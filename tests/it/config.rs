//! The configuration: the shipped file, the layers, access by name, saving, and what is refused.

mod any_input;
mod by_name;
mod byte_sizes;
mod layers;
mod loading;
mod places;
mod refused;
mod saving;
mod secrets;
mod shipped;
mod time_spans;

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use ipfs_accelerate::{Config, ConfigError};
use tempfile::TempDir;

const SHIPPED: &str = include_str!("../../config.toml");
const NO_FLAGS: &[(&str, &str, &str)] = &[];
const SECRET: &str = "sk-5f2a-not-to-be-seen";

fn no_env() -> [(String, String); 0] {
    []
}

/// A folder with a `config.toml` of that text.
fn file(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    fs::write(&path, text).unwrap();
    (folder, path)
}

fn load(text: &str) -> Result<Config, ConfigError> {
    let (_folder, path) = file(text);
    Config::load(path)
}

fn load_error(text: &str) -> ConfigError {
    load(text).expect_err(text)
}

fn from_env(env: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::from_layers(None, env.iter().copied(), NO_FLAGS)
}

/// A file with comments wherever there may be one.
const COMMENTED: &str = r#"# my store
[general]   # first
debug = false # why

[cache]
# keep it small
max_size_mb   =   1_0  # megabytes

[store]
path = "s"   # beside this file
# the end
"#;

/// Takes the `# ` off every line that is a header or a key.
fn uncommented(text: &str) -> String {
    let is_toml = |line: &str| {
        let bare = |key: &str| key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        line.starts_with('[') || line.split_once(" = ").is_some_and(|(key, _)| bare(key))
    };
    let lines = text.lines().map(|line| match line.strip_prefix("# ") {
        Some(rest) if is_toml(rest) => rest,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Runs `work` and returns what it logged on this thread.
fn logged<T>(work: impl FnOnce() -> T) -> (T, String) {
    // While only one subscriber exists, tracing asks the one of whatever thread comes first to a
    // place that logs, and that thread may have none; a second one that stays avoids that.
    static SECOND: OnceLock<tracing::Dispatch> = OnceLock::new();
    SECOND.get_or_init(|| tracing::Dispatch::new(Log(Arc::default())));
    let log = Arc::new(Mutex::new(String::new()));
    let result = tracing::subscriber::with_default(Log(log.clone()), work);
    let text = log.lock().unwrap().clone();
    (result, text)
}

struct Log(Arc<Mutex<String>>);

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = self.0.lock().unwrap();
        let _ = write!(text, "{}", event.metadata().level());
        event.record(
            &mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
                let _ = write!(text, " {field}={value:?}");
            },
        );
        text.push('\n');
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}
