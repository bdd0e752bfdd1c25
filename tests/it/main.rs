//! The one integration binary: a file for each behaviour.

#[cfg(feature = "cli")]
mod cli;
mod config;
mod facade;
mod identity;
mod identity_hamt;
mod load_bad_input;
mod load_devices;
mod load_files;
mod load_plan;
mod load_select;
mod load_store;
mod promises;
mod readme;
mod store_add;
mod store_cache;
mod store_commit;
mod store_concurrency;
mod store_damage;
mod store_export;
mod store_hamt;
mod store_index;
mod store_kit;
mod store_locks;
mod store_packs;
mod store_pins;
mod store_profiles;
mod store_reader;
mod store_runs;
mod store_sessions;
mod store_sharing;
mod store_sources;
mod store_space;
mod tidy;
