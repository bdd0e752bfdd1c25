//! Reading a file.

use std::path::Path;

use ipfs_accelerate::{ByteSize, Config, ConfigError, DeviceMapSetting, LogLevel, Secret};

use super::{NO_FLAGS, file, load, load_error, logged, no_env};

#[test]
fn every_key_is_read_from_a_file() {
    let config = load(
        r#"
        [general]
        debug = true
        log_level = "warn"
        [store]
        path = "/data/store"
        profile = "unixfs-v0-2015"
        [cache]
        enabled = false
        max_size_mb = 0x10
        path = "/data/store"
        [endpoints]
        default = "pinata"
        [endpoints.pinata]
        host = "api.example"
        port = 443
        gateway = "https://gateway.example/ipfs/"
        api_key = "k"
        [docker]
        enable = true
        timeout = 9
        [checkpoint]
        device_map = "sequential"
        threads = 4
        max_memory = { cpu = "16GiB", 0 = "20 GB", disk = 1024 }
        "#,
    )
    .unwrap();
    assert_eq!(config.general.log_level, LogLevel::Warning);
    assert_eq!(config.general.level(), LogLevel::Debug);
    assert_eq!(config.store.path.as_deref(), Some(Path::new("/data/store")));
    assert_eq!(config.store.path, config.cache.path);
    assert_eq!(config.store.profile, "unixfs-v0-2015");
    assert_eq!(
        (config.cache.max_size_mb, config.cache.budget().bytes()),
        (16, 0)
    );
    assert_eq!(config.endpoints.default, "pinata");
    let pinata = &config.endpoints.named["pinata"];
    assert_eq!(
        (pinata.host.as_str(), pinata.port),
        ("api.example", Some(443))
    );
    assert_eq!(
        pinata.gateway.as_deref(),
        Some("https://gateway.example/ipfs/")
    );
    assert_eq!(pinata.api_key.as_ref().map(Secret::expose), Some("k"));
    assert!(config.endpoints.named.contains_key("local"));
    assert_eq!((config.docker.enable, config.docker.timeout), (true, 9));
    assert_eq!(config.checkpoint.device_map, DeviceMapSetting::Sequential);
    assert_eq!(config.checkpoint.threads, 4);
    let sizes: Vec<_> = config.checkpoint.max_memory.iter().collect();
    let expected = [("0", 20_000_000_000), ("cpu", 16 << 30), ("disk", 1024)];
    let expected = expected.map(|(device, bytes)| (device.to_string(), ByteSize::new(bytes)));
    assert!(
        sizes
            .into_iter()
            .eq(expected.iter().map(|(device, size)| (device, size)))
    );
}

#[test]
fn a_missing_file_means_the_defaults_and_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    let (config, log) = logged(|| Config::load(&path).unwrap());
    assert_eq!(config, Config::default());
    assert!(!config.loaded());
    assert_eq!(config.config_path(), Some(path.as_path()));
    assert!(
        log.contains("WARN") && log.contains(&path.display().to_string()),
        "{log}"
    );
}

#[test]
fn a_missing_default_file_is_no_cause_for_a_warning() {
    let home = tempfile::tempdir().unwrap();
    let env = [("HOME", home.path().as_os_str())];
    let path = Config::default_path(env).unwrap();
    let (config, log) = logged(|| Config::from_layers(Some(&path), env, NO_FLAGS).unwrap());
    assert!(!config.loaded());
    assert_eq!(log, "");
    let named = home.path().join("other.toml");
    let (_, log) = logged(|| Config::from_layers(Some(&named), env, NO_FLAGS).unwrap());
    assert!(log.contains("WARN"), "{log}");
}

#[test]
fn an_empty_file_means_the_defaults() {
    for text in ["", "\u{feff}", "# only a comment\n", "[cache]\n[general]\n"] {
        assert_eq!(load(text).unwrap(), Config::default(), "{text:?}");
    }
}

#[test]
fn a_path_in_a_file_is_relative_to_the_folder_of_that_file() {
    let (folder, path) = file("[store]\npath = \"s\"\n[checkpoint]\ndevice_map = \"d/map.json\"\n");
    let config = Config::load(&path).unwrap();
    assert_eq!(config.store.path, Some(folder.path().join("s")));
    let map = folder.path().join("d/map.json");
    assert_eq!(config.checkpoint.device_map, DeviceMapSetting::File(map));
    let env = [("IPFS_ACCELERATE__STORE__PATH", "t")];
    let config = Config::from_layers(Some(&path), env, NO_FLAGS).unwrap();
    assert_eq!(config.store.path.as_deref(), Some(Path::new("t")));
}

#[test]
fn a_tilde_is_the_home_of_the_environment() {
    let (_folder, path) = file("[store]\npath = \"~/s\"\n");
    let config = Config::from_layers(Some(&path), [("HOME", "/home/ann")], NO_FLAGS).unwrap();
    assert_eq!(config.store.path.as_deref(), Some(Path::new("/home/ann/s")));
    let error = Config::from_layers(Some(&path), no_env(), NO_FLAGS).unwrap_err();
    assert!(error.to_string().contains("HOME"), "{error}");
    let error = load_error("[store]\npath = \"~bob/s\"\n");
    assert!(matches!(error, ConfigError::WrongValue { .. }), "{error}");
}
