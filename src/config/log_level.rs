//! The seed's log levels, which are Python's.

use std::fmt;

use tracing::level_filters::LevelFilter;

/// How much is logged: everything at this level and above.
///
/// ```
/// use ipfs_accelerate::LogLevel;
///
/// assert_eq!(LogLevel::from_name("warn"), Some(LogLevel::Warning));
/// assert_eq!(LogLevel::Warning.to_string(), "WARNING");
/// assert!(LogLevel::Debug < LogLevel::Info);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum LogLevel {
    /// Steps inside operations.
    Trace,
    /// What helps to find a fault.
    Debug,
    /// What was done.
    #[default]
    Info,
    /// What was done differently than asked, or may go wrong later.
    Warning,
    /// What failed.
    Error,
    /// Python's highest level; nothing is logged above `ERROR` here, so it is the same.
    Critical,
}

impl LogLevel {
    /// The level of that name, in any case; `WARN` and `FATAL` are Python's other names.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "TRACE" => Self::Trace,
            "DEBUG" => Self::Debug,
            "INFO" => Self::Info,
            "WARNING" | "WARN" => Self::Warning,
            "ERROR" => Self::Error,
            "CRITICAL" | "FATAL" => Self::Critical,
            _ => return None,
        })
    }

    /// The name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
            Self::Critical => "CRITICAL",
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Trace => Self::TRACE,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Info => Self::INFO,
            LogLevel::Warning => Self::WARN,
            LogLevel::Error | LogLevel::Critical => Self::ERROR,
        }
    }
}
