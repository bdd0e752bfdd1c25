//! The one integration binary: a file for each behaviour.

mod config;
mod identity;
mod load_devices;
mod load_files;
mod load_select;
mod load_store;
mod promises;
mod store_runs;
mod store_add;
mod store_kit;
mod tidy;
