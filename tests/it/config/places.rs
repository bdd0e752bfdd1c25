//! Where the store and the file of the user are.

use std::path::{Path, PathBuf};

use ipfs_accelerate::error::Explain;
use ipfs_accelerate::{Config, ConfigError};

use super::{NO_FLAGS, file, from_env, load, load_error, no_env};

#[test]
fn two_paths_of_the_store_must_agree() {
    let same = load("[store]\npath = \"/a/b\"\n[cache]\npath = \"/a//b\"\n").unwrap();
    assert_eq!(same.store_path(None, no_env()).unwrap(), Path::new("/a/b"));
    let error = load_error("[store]\npath = \"/a\"\n[cache]\npath = \"/b\"\n");
    assert_eq!(error.kind(), "config_path_conflict");
    let text = error.to_string();
    assert!(
        text.contains("config.toml:2") && text.contains("config.toml:4"),
        "{text}"
    );
    let error = from_env(&[
        ("IPFS_ACCELERATE__STORE__PATH", "/a"),
        ("IPFS_ACCELERATE__CACHE__PATH", "/b"),
    ]);
    assert!(matches!(error, Err(ConfigError::PathConflict { .. })));
    let mut config = Config::default();
    config.set("store", "path", "/a").unwrap();
    let error = config.set("cache", "path", "/b").unwrap_err();
    assert!(matches!(error, ConfigError::PathConflict { .. }), "{error}");
    assert_eq!(config.cache.path, None, "nothing changes after an error");
    config.set("cache", "path", "/a").unwrap();
    config.cache.path = Some("/b".into());
    assert!(config.store_path(None, no_env()).is_err());
    let folder = tempfile::tempdir().unwrap();
    assert!(config.save(Some(&folder.path().join("c.toml"))).is_err());
    assert!(config.set("general", "debug", true).is_err());
    config.unset("cache", "path").unwrap();
    config.set("general", "debug", true).unwrap();
}

#[test]
fn a_path_of_a_higher_layer_replaces_both_names_of_a_lower_one() {
    let (_folder, path) = file("[cache]\npath = \"/file\"\n");
    let config = Config::load(&path).unwrap();
    assert_eq!(
        config.store_path(None, no_env()).unwrap(),
        Path::new("/file")
    );
    let env = [("IPFS_ACCELERATE__STORE__PATH", "/env")];
    let config = Config::from_layers(Some(&path), env, NO_FLAGS).unwrap();
    assert_eq!(
        config.store_path(None, no_env()).unwrap(),
        Path::new("/env")
    );
    let flags = [("cache", "path", "/flag")];
    let config = Config::from_layers(Some(&path), env, &flags).unwrap();
    assert_eq!(
        config.store_path(None, no_env()).unwrap(),
        Path::new("/flag")
    );
}

#[test]
fn the_place_of_the_store_is_found_in_order() {
    let config = Config::default();
    let at = |config: &Config, flag: Option<&str>, env: &[(&str, &str)]| {
        config
            .store_path(flag.map(Path::new), env.iter().copied())
            .map_err(|e| e.to_string())
    };
    let home = ("HOME", "/home/ann");
    let variable = ("IPFS_ACCELERATE_STORE", "/variable");
    let path = |text: &str| Ok(PathBuf::from(text));
    assert_eq!(
        at(&config, None, &[home]),
        path("/home/ann/.local/share/ipfs-accelerate")
    );
    let xdg = ("XDG_DATA_HOME", "/xdg");
    assert_eq!(
        at(&config, None, &[home, xdg]),
        path("/xdg/ipfs-accelerate")
    );
    assert_eq!(at(&config, None, &[xdg]), path("/xdg/ipfs-accelerate"));
    let relative = ("XDG_DATA_HOME", "xdg");
    assert_eq!(
        at(&config, None, &[home, relative]),
        path("/home/ann/.local/share/ipfs-accelerate")
    );
    let error = at(&config, None, &[relative]).unwrap_err();
    assert!(
        error.contains("XDG_DATA_HOME") && error.contains("HOME"),
        "{error}"
    );
    assert!(at(&config, None, &[("HOME", "")]).is_err());

    let (_folder, file) = file("[store]\npath = \"/file\"\n");
    let config = Config::load(&file).unwrap();
    assert_eq!(at(&config, None, &[]), path("/file"));
    assert_eq!(at(&config, None, &[variable]), path("/variable"));
    assert_eq!(
        at(&config, None, &[("IPFS_ACCELERATE_STORE", "")]),
        path("/file")
    );
    assert_eq!(at(&config, Some("/flag"), &[variable]), path("/flag"));
    assert_eq!(at(&config, Some("~/flag"), &[home]), path("/home/ann/flag"));
    assert!(at(&config, Some("~/flag"), &[]).is_err());
    let config = Config::from_layers(Some(&file), no_env(), &[("store", "path", "/set")]).unwrap();
    assert_eq!(
        at(&config, None, &[variable]),
        path("/set"),
        "a flag goes over the environment"
    );
}

#[test]
fn the_default_file_is_in_the_xdg_folder() {
    let at = |env: &[(&str, &str)]| Config::default_path(env.iter().copied());
    let xdg = ("XDG_CONFIG_HOME", "/xdg");
    assert_eq!(at(&[xdg]), Some("/xdg/ipfs-accelerate/config.toml".into()));
    assert_eq!(
        at(&[("HOME", "/h")]),
        Some("/h/.config/ipfs-accelerate/config.toml".into())
    );
    assert_eq!(at(&[]), None);
}
