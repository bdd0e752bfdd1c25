//! The shipped `config.toml`.

use ipfs_accelerate::{ByteSize, Config, DeviceMapSetting, LogLevel, Origin};

use super::{SHIPPED, load, uncommented};

#[test]
fn the_shipped_file_equals_the_defaults() {
    let config = load(SHIPPED).unwrap();
    assert!(config.loaded());
    assert_eq!(config, Config::default());
}

#[test]
fn the_shipped_file_names_every_key() {
    let config = load(&uncommented(SHIPPED)).unwrap();
    for (section, key) in Config::keys() {
        let section = section.replace("NAME", "ipfs_gateway");
        let key = key.replace("DEVICE", "cpu");
        assert!(
            matches!(config.origin(&section, &key), Some(Origin::File { .. })),
            "{section}.{key} is not in config.toml"
        );
    }
}

#[test]
fn the_shipped_file_comments_every_key_and_says_which_is_not_read() {
    let text = uncommented(SHIPPED);
    let mut section = "";
    let mut comment = String::new();
    let mut seen = 0;
    for line in text.lines() {
        if let Some(line) = line.strip_prefix('#') {
            comment.push_str(line);
        } else if let Some((key, _)) = line.split_once(" = ") {
            let devices = section == "[checkpoint.max_memory]";
            assert!(
                devices || !comment.is_empty(),
                "{section} {key} has no comment"
            );
            let unread = section.starts_with("[endpoints") || section == "[docker]";
            assert_eq!(comment.contains("Not read yet."), unread, "{section} {key}");
            comment.clear();
            seen += 1;
        } else if line.starts_with('[') {
            section = line;
            comment.clear();
        } else {
            comment.clear();
        }
    }
    assert!(seen >= Config::keys().count(), "{seen}");
}

#[test]
fn the_defaults_are_the_seeds() {
    let config = Config::default();
    assert!(!config.general.debug && !config.loaded() && config.config_path().is_none());
    assert_eq!(config.general.log_level, LogLevel::Info);
    assert!(config.cache.enabled);
    assert_eq!(config.cache.max_size_mb, 500);
    assert_eq!(config.cache.budget(), ByteSize::new(500_000_000));
    assert_eq!(config.endpoints.default, "local");
    let local = &config.endpoints.named["local"];
    assert_eq!((local.host.as_str(), local.port), ("localhost", Some(8000)));
    assert_eq!(config.store.profile, "unixfs-v1-2025");
    assert_eq!(config.checkpoint.device_map, DeviceMapSetting::Auto);
}
