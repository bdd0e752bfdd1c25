//! The rules of the architecture, so that they stay true.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "{folder} has no Rust files");
    found
}

/// Code without comments and without the test modules at a file's end.
fn code(text: &str) -> String {
    let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn layer(module: &str) -> Option<u32> {
    Some(match module {
        "error" | "fsio" => 0,
        "config" | "block" => 1,
        "dag" => 2,
        "store" => 3,
        "checkpoint" => 4,
        "accelerate" | "doctor" => 5,
        "main" | "cli" => 6,
        // No part of the library: what only the fuzz targets and the tests build.
        "fuzzing" => 7,
        _ => return None,
    })
}

fn module_of(file: &str) -> &str {
    let name = file.strip_prefix("src/").unwrap();
    name.split(['/', '.']).next().unwrap()
}

#[test]
fn imports_go_down_the_layers_only() {
    for (file, text) in rust_files("src") {
        let own = module_of(&file);
        if own == "lib" {
            continue;
        }
        let own_layer = layer(own).unwrap_or_else(|| panic!("{file} belongs to no layer"));
        let code = code(&text);
        for (at, _) in code.match_indices("crate::") {
            // `pub(in crate::…)` and names such as `my_crate::` are no imports.
            if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let used = code[at + 7..]
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .next();
            let used = used.unwrap();
            // Within the binary, `crate` is the binary.
            if used == own || own_layer == 6 || used.is_empty() {
                continue;
            }
            let used_layer = layer(used)
                .unwrap_or_else(|| panic!("{file} uses crate::{used}, which is no module"));
            // `fsio` ties errors to paths, so within layer 0 it stands on `error`.
            assert!(
                used_layer < own_layer || (own == "fsio" && used == "error"),
                "{file} (layer {own_layer}) uses crate::{used} (layer {used_layer})"
            );
        }
    }
}

#[test]
fn sled_and_bincode_are_named_in_one_file_each() {
    let naming = |text: &str| -> Vec<String> {
        let files = rust_files("src").into_iter();
        files
            .filter(|(_, code_of)| code(code_of).contains(text))
            .map(|(file, _)| file)
            .collect()
    };
    assert_eq!(naming("::sled::"), ["src/store/index/sled.rs"]);
    assert_eq!(naming("bincode::"), ["src/store/format.rs"]);
}

/// What a power cut or a failing disk can do to a store is replayed through the one trait that its files are
/// reached by, so nothing may go past it.
#[test]
fn the_files_of_a_store_are_reached_through_its_disk_only() {
    const DIRECT: [&str; 16] = [
        "File::open",
        "File::create",
        "File::options",
        "OpenOptions",
        "rustix::fs::",
        "fs::copy",
        "fs::create_dir",
        "fs::exists",
        "fs::hard_link",
        "fs::metadata",
        "fs::read",
        "fs::remove_",
        "fs::rename",
        "fs::set_permissions",
        "fs::symlink_metadata",
        "fs::write",
    ];
    const OUTSIDE: [(&str, &str); 5] = [
        (
            "src/store/collect/holders.rs",
            "asks the kernel who holds a lock",
        ),
        (
            "src/store/desired/find.rs",
            "looks whether what is to be added is there",
        ),
        ("src/store/ingest/walk.rs", "walks what is added"),
        ("src/store/read/export.rs", "writes outputs"),
        ("src/store/sync/run.rs", "tells two stores apart"),
    ];
    let goes_past = |code: String| {
        let mut calls = DIRECT.iter().flat_map(|call| code.match_indices(call));
        // `PackFile::open` is none.
        calls.any(|(at, _)| !code[..at].ends_with(char::is_alphanumeric))
    };
    let files = rust_files("src/store").into_iter();
    let direct: Vec<String> = files
        .filter(|(file, _)| !file.starts_with("src/store/trials/") && !file.ends_with("/tests.rs"))
        .filter(|(_, text)| goes_past(code(text)))
        .map(|(file, _)| file)
        .collect();
    assert_eq!(direct, OUTSIDE.map(|(file, _)| file));
}

#[test]
fn unsafe_code_stands_in_the_files_that_map_memory_only() {
    let lifting: Vec<String> = rust_files("src")
        .into_iter()
        .filter(|(_, text)| {
            text.contains("expect(unsafe_code") || text.contains("allow(unsafe_code")
        })
        .map(|(file, _)| file)
        .collect();
    let known = ["map", "memory", "region", "writeback"];
    assert_eq!(lifting, known.map(|file| format!("src/fsio/{file}.rs")));
    for (file, text) in rust_files("src") {
        let blocks = text.matches("unsafe {").count() + text.matches("unsafe impl").count();
        let reasons = text.matches("SAFETY:").count();
        assert!(
            reasons >= blocks,
            "{file}: {blocks} unsafe blocks, {reasons} reasons"
        );
    }
}

#[test]
fn every_file_under_tests_is_part_of_the_one_binary() {
    let main = fs::read_to_string(root().join("tests/it/main.rs")).unwrap();
    for entry in fs::read_dir(root().join("tests/it")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(module) = name.strip_suffix(".rs").filter(|m| *m != "main") else {
            continue;
        };
        assert!(
            main.contains(&format!("mod {module};")),
            "tests/it/main.rs does not list {name}"
        );
    }
}

#[test]
fn nothing_is_left_undone_in_silence() {
    for folder in ["src", "benches", "tests"] {
        for (file, text) in rust_files(folder) {
            if file == "tests/it/tidy.rs" {
                continue;
            }
            for mark in ["todo!(", "unimplemented!(", "FIXME", "TODO", "#[ignore]"] {
                assert!(!text.contains(mark), "{file} holds {mark}");
            }
        }
    }
}

#[test]
fn files_stay_short() {
    const LIMIT: usize = 420;
    let files = rust_files("src").into_iter();
    for (file, text) in files.filter(|(file, _)| !file.ends_with("/tests.rs")) {
        let lines = code(&text).lines().count();
        assert!(
            lines <= LIMIT,
            "{file} has {lines} lines of code, {LIMIT} at most"
        );
    }
}

/// The versions of a lock file, those of the registry's packages only.
fn locked(file: &str) -> BTreeMap<String, Vec<String>> {
    let text = fs::read_to_string(root().join(file)).unwrap();
    let mut versions: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for package in text.split("[[package]]").skip(1) {
        let field = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim_matches('"').to_owned())
        };
        if field("source = ").is_some() {
            let name = field("name = ").unwrap();
            let version = field("version = ").unwrap();
            versions.entry(name).or_default().push(version);
        }
    }
    assert!(!versions.is_empty(), "{file} lists no packages");
    versions
}

#[test]
fn what_is_fuzzed_has_the_dependencies_that_are_shipped() {
    // A package is without `fuzz/`.
    if root().join("Cargo.toml.orig").exists() {
        return;
    }
    let shipped = locked("Cargo.lock");
    for (name, versions) in locked("fuzz/Cargo.lock") {
        let Some(known) = shipped.get(&name) else {
            continue;
        };
        for version in versions {
            assert!(
                known.contains(&version),
                "fuzz/Cargo.lock has {name} {version}, Cargo.lock {known:?}"
            );
        }
    }
}
