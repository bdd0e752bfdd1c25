//! The functions over their seeds and over the corpus that is checked in.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use crate::{block, checkpoint, config, dag, store};

struct Target {
    name: &'static str,
    run: fn(&[u8]) -> bool,
    /// What the encoders write, all of which is accepted.
    seeds: fn() -> Vec<Vec<u8>>,
}

macro_rules! targets {
    ($($area:ident: $($name:ident)*;)*) => {
        [$($(Target {
            name: stringify!($name),
            run: super::$name,
            seeds: $area::fuzz::seeds::$name,
        }),*),*]
    };
}

const TARGETS: [Target; 19] = targets! {
    block: cid;
    checkpoint: device_map safetensors_header shard_index;
    config: config_file config_value;
    dag: dag_pb hamt_folder hamt_shard tensor_v1 unixfs;
    store: format_file gone_file name_file pack_header pack_sources pack_table root_file target;
};

/// None in a package, which is without the folder.
fn folder() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let is_package = root.join("Cargo.toml.orig").exists();
    (!is_package).then(|| root.join("fuzz"))
}

fn names_in(folder: PathBuf, suffix: &str) -> Vec<String> {
    let listed = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let names = listed.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names
        .map(|name| name.strip_suffix(suffix).expect(&name).to_owned())
        .collect();
    names.sort();
    names
}

/// With `WRITE_SEEDS` set, the seeds are also put into the corpus.
#[test]
fn what_the_encoders_write_is_accepted() {
    for target in &TARGETS {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        for (number, seed) in seeds.iter().enumerate() {
            assert!((target.run)(seed), "{} refuses seed {number}", target.name);
            if std::env::var_os("WRITE_SEEDS").is_some() {
                let folder = folder().unwrap().join("corpus").join(target.name);
                fs::create_dir_all(&folder).unwrap();
                fs::write(folder.join(format!("seed-{number:02}")), seed).unwrap();
            }
        }
    }
}

#[test]
fn nothing_in_the_corpus_fails_and_some_of_it_is_accepted() {
    let Some(folder) = folder() else { return };
    for target in &TARGETS {
        let corpus = folder.join("corpus").join(target.name);
        let mut accepted = 0;
        for name in names_in(corpus.clone(), "") {
            let path = corpus.join(name);
            let input = fs::read(&path).unwrap();
            let ran = catch_unwind(AssertUnwindSafe(|| (target.run)(&input)));
            let ran = ran.unwrap_or_else(|_| panic!("{} fails", path.display()));
            accepted += usize::from(ran);
        }
        assert!(
            accepted > 0,
            "{} accepts nothing of its corpus",
            target.name
        );
    }
}

#[test]
fn every_target_has_a_program_and_a_corpus() {
    let Some(folder) = folder() else { return };
    let mut names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
    names.sort_unstable();
    assert_eq!(names_in(folder.join("corpus"), ""), names);
    assert_eq!(names_in(folder.join("fuzz_targets"), ".rs"), names);
    // `.ci/fuzz` runs the programs that the manifest lists.
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let (_, programs) = manifest.split_once("\n[[bin]]\n").expect("programs");
    let listed = programs
        .lines()
        .filter_map(|line| line.strip_prefix("name = "));
    let mut listed: Vec<_> = listed.map(|name| name.trim_matches('"')).collect();
    listed.sort_unstable();
    assert_eq!(listed, names);
    for name in &names {
        let path = folder.join("fuzz_targets").join(format!("{name}.rs"));
        let program = fs::read_to_string(path).unwrap();
        assert!(
            program.contains(&format!("fuzzing::{name}(data)")),
            "{name}"
        );
    }
    for name in names_in(folder.join("dictionaries"), ".dict") {
        assert!(names.contains(&&*name), "{name}.dict belongs to no target");
    }
}
