//! The commands, one a file.

pub(crate) mod absorb;
pub(crate) mod add;
pub(crate) mod cat;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod dedup;
pub(crate) mod demo;
pub(crate) mod df;
pub(crate) mod doctor;
pub(crate) mod gc;
pub(crate) mod get;
pub(crate) mod has;
pub(crate) mod init;
pub(crate) mod load;
pub(crate) mod ls;
pub(crate) mod pin;
pub(crate) mod pin_sync;
pub(crate) mod plan;
pub(crate) mod repair;
pub(crate) mod rm;
pub(crate) mod stat;
pub(crate) mod sync;
pub(crate) mod verify;
