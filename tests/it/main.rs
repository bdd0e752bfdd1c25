//! The one integration binary: a file for each behaviour.

mod config;
mod identity;
mod load_devices;
mod load_files;
mod load_select;
mod load_store;
mod store_runs;
mod store_smoke;
mod tidy;
