//! The one integration binary: a file for each behaviour.

#[cfg(feature = "cli")]
mod cli;
mod config;
mod facade;
mod identity;
mod load_bad_input;
mod load_devices;
mod load_files;
mod load_plan;
mod load_select;
mod load_store;
mod promises;
mod store_add;
mod store_kit;
mod store_runs;
mod tidy;
