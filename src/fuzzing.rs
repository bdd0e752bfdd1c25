//! What the fuzz targets in `fuzz/` run: a function for each, which takes any bytes and says whether they were
//! accepted. It panics if what was accepted is not what it should be.
//!
//! They stand beside what they read, and are no part of the library: only `--cfg fuzzing` and the tests build
//! them. A new one needs a function with its seeds there, a name here and in `tests`, a program in `fuzz/` and a
//! corpus, which `WRITE_SEEDS=1 cargo test --lib fuzzing` begins.

pub use crate::block::fuzz::cid;
pub use crate::checkpoint::fuzz::{device_map, safetensors_header, shard_index};
pub use crate::config::fuzz::{config_file, config_value};
pub use crate::dag::fuzz::{dag_pb, hamt_folder, hamt_shard, tensor_v1, unixfs};
pub use crate::store::fuzz::{
    format_file, gone_file, name_file, pack_header, pack_sources, pack_table, root_file, target,
};

#[cfg(test)]
mod tests;
