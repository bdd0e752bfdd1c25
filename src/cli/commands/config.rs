//! `config`: read and write the configuration.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use ipfs_accelerate::{Config, ConfigError, ConfigValue, Profile};
use serde::Serialize;
use serde_json::Value;

use crate::cli::args::GlobalArgs;
use crate::cli::context::{Context, config_path};
use crate::cli::error::CliError;
use crate::cli::output::{Output, View};

/// Read and write the configuration
///
/// The value of a setting is taken from the last of: default, configuration file, environment
/// (IPFS_ACCELERATE__SECTION__KEY), flag.
#[derive(Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

#[derive(Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print the value of a setting
    ///
    /// A setting that exists but has no value prints nothing, with exit code 1. Secrets are masked.
    ///
    /// With --json: key, value.
    #[command(after_long_help = "\
Examples:
  ipfs-accelerate config get cache.max_size_mb
  ipfs-accelerate config get endpoints.local.port")]
    Get(GetArgs),
    /// Set a value in the configuration file
    ///
    /// Comments and the order of the file stay; the file is created if it is not there. Relative paths are
    /// relative to the current folder.
    ///
    /// With --json: key, value, config.
    #[command(after_long_help = "\
Examples:
  ipfs-accelerate config set cache.max_size_mb 200
  ipfs-accelerate config set store.path ~/models/store
  ipfs-accelerate config set checkpoint.max_memory.cpu 16GiB")]
    Set(SetArgs),
    /// Print every setting in effect, and where it comes from
    ///
    /// Secrets are masked. With --json: config, entries, a list of {section, key, value, origin}.
    Show,
    /// Print the path of the configuration file, whether it exists or not
    ///
    /// With --json: config, exists.
    Path,
}

#[derive(Args)]
pub(crate) struct GetArgs {
    /// SECTION.KEY, or a whole SECTION.
    #[arg(value_name = "SECTION.KEY")]
    key: String,
}

#[derive(Args)]
pub(crate) struct SetArgs {
    /// The setting.
    #[arg(value_name = "SECTION.KEY")]
    key: String,
    /// Its value.
    #[arg(value_name = "VALUE", allow_hyphen_values = true)]
    value: String,
}

#[derive(Serialize)]
struct Setting<'a> {
    key: &'a str,
    value: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<String>,
}

#[derive(Serialize)]
struct Settings {
    config: Option<String>,
    entries: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    section: String,
    key: String,
    value: Value,
    origin: String,
}

#[derive(Serialize)]
struct Place {
    config: String,
    exists: bool,
}

pub(crate) fn run(args: ConfigArgs, context: &Context<'_>) -> Result<Output, CliError> {
    match args.command {
        ConfigCommand::Get(args) => get(&args, &context.config),
        ConfigCommand::Show => Ok(show(&context.config)),
        ConfigCommand::Set(args) => set(context.global, &args),
        ConfigCommand::Path => path(context.global),
    }
}

/// Section and key; a section may hold dots, a key does not.
fn split(name: &str) -> (&str, &str) {
    name.rsplit_once('.').unwrap_or(("", name))
}

fn get(args: &GetArgs, config: &Config) -> Result<Output, CliError> {
    let (section, key) = split(&args.key);
    let value = config.get(section, key);
    if value.is_none() {
        check_key(section, key)?;
    }
    let output = Output::new(&Setting {
        key: &args.key,
        value: value.as_ref().map_or(Value::Null, to_json),
        config: None,
    });
    Ok(match value {
        Some(value) => output.line(plain(&value)).quiet(plain(&value)),
        None => output.no(true),
    })
}

/// Names the fault of a key that does not exist, and the nearest one that does.
fn check_key(section: &str, key: &str) -> Result<(), ConfigError> {
    let none: [(&str, &str); 0] = [];
    match Config::from_layers(None, none, &[(section, key, "")]) {
        Err(e @ (ConfigError::UnknownKey { .. } | ConfigError::UnknownSection { .. })) => Err(e),
        _ => Ok(()),
    }
}

pub(crate) fn set(global: &GlobalArgs, args: &SetArgs) -> Result<Output, CliError> {
    let (section, key) = split(&args.key);
    let file = config_path(global);
    let config = write(file.as_deref(), section, key, &args.value)?;
    let value = config.get(section, key);
    let file = config.config_path().map(|path| path.display().to_string());
    let shown = value.as_ref().map_or_else(String::new, ToString::to_string);
    let line = format!(
        "{} = {shown}  # {}",
        args.key,
        file.as_deref().unwrap_or_default()
    );
    Ok(Output::new(&Setting {
        key: &args.key,
        value: value.as_ref().map_or(Value::Null, to_json),
        config: file,
    })
    .line(line))
}

/// Sets a key in the file, and in nothing but the file: what the environment says does not get into it.
pub(crate) fn write(
    file: Option<&Path>,
    section: &str,
    key: &str,
    value: &str,
) -> Result<Config, CliError> {
    // So that a wrong key or value is said to stand on the command line.
    let home = std::env::var_os("HOME").map(|home| ("HOME", home));
    check_value(section, key, value, home.clone())?;
    if (section, key) == ("store", "profile") {
        value.parse::<Profile>()?;
    }
    let file = file.ok_or(ConfigError::NoFile)?;
    let mut config = match file.exists() {
        true => Config::from_layers(Some(file), home, &[])?,
        false => Config::default(),
    };
    config.set_text(section, key, &absolute(section, key, value))?;
    config.save(Some(file))?;
    Ok(config)
}

fn check_value(
    section: &str,
    key: &str,
    value: &str,
    home: Option<(&str, std::ffi::OsString)>,
) -> Result<(), ConfigError> {
    Config::from_layers(None, home, &[(section, key, value)]).map(|_| ())
}

/// In the file a relative path is relative to the file's folder, here to the current one.
fn absolute(section: &str, key: &str, value: &str) -> String {
    let is_path = match (section, key) {
        ("store" | "cache", "path") => true,
        ("checkpoint", "device_map") => value.ends_with(".json"),
        _ => false,
    };
    let path = Path::new(value);
    if !is_path || value.is_empty() || path.is_absolute() || value.starts_with('~') {
        return value.to_owned();
    }
    let whole = std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path));
    whole.to_string_lossy().into_owned()
}

fn show(config: &Config) -> Output {
    let entries = config.entries().into_iter().map(|entry| Entry {
        value: to_json(&entry.value),
        section: entry.section,
        key: entry.key,
        origin: entry.origin.to_string(),
    });
    let file = config.config_path().filter(|_| config.loaded());
    Output::new(&Settings {
        config: file.map(|path| path.display().to_string()),
        entries: entries.collect(),
    })
    .view(View::Text(config.show()))
}

pub(crate) fn path(global: &GlobalArgs) -> Result<Output, CliError> {
    let path = config_path(global).ok_or(ConfigError::NoFile)?;
    let shown = path.display().to_string();
    let exists = path.exists();
    Ok(Output::new(&Place {
        config: shown.clone(),
        exists,
    })
    .line(&*shown)
    .quiet(shown))
}

/// Text without quotes, as a script wants it; a secret masked.
fn plain(value: &ConfigValue) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn to_json(value: &ConfigValue) -> Value {
    match value {
        ConfigValue::Bool(value) => (*value).into(),
        ConfigValue::Integer(value) => (*value).into(),
        ConfigValue::String(value) => value.as_str().into(),
        ConfigValue::Table(table) => table
            .iter()
            .map(|(key, value)| (key.clone(), to_json(value)))
            .collect(),
        // A secret shows as its mask, in TOML's quotes.
        other => other.to_string().trim_matches('"').into(),
    }
}
