//! `get`, `set` and `unset`.

use ipfs_accelerate::error::Explain;
use ipfs_accelerate::{ByteSize, Config, ConfigValue, Origin};

use super::{SHIPPED, load, uncommented};

#[test]
fn every_key_is_had_and_set_by_name() {
    let mut config = load(&uncommented(SHIPPED)).unwrap();
    for (section, key) in Config::keys() {
        let section = section.replace("NAME", "ipfs_gateway");
        let key = key.replace("DEVICE", "cpu");
        let value = config
            .get(&section, &key)
            .unwrap_or_else(|| panic!("{section}.{key}"));
        config.set(&section, &key, value.clone()).unwrap();
        assert_eq!(config.get(&section, &key), Some(value));
        assert_eq!(config.origin(&section, &key), Some(Origin::Set));
    }
    assert_eq!(config, load(&uncommented(SHIPPED)).unwrap());
}

#[test]
fn set_is_checked_like_loading_and_changes_nothing_after_an_error() {
    let mut config = Config::default();
    let error = config.set("cache", "max_size_mb", "200").unwrap_err();
    assert_eq!(error.kind(), "config_wrong_value");
    let error = config.set("cache", "max_siz_mb", 200).unwrap_err();
    assert!(
        error.to_string().ends_with("did you mean `max_size_mb`?"),
        "{error}"
    );
    let error = config.set("cach", "max_size_mb", 200).unwrap_err();
    assert!(
        error.to_string().ends_with("did you mean [cache]?"),
        "{error}"
    );
    assert!(config.set("endpoints.new", "prot", 1).is_err());
    assert!(config.set("endpoints.new", "port", 0).is_err());
    assert!(config.set("endpoints", "new", 1).is_err());
    assert!(config.set("general.deep", "debug", true).is_err());
    assert_eq!(config, Config::default());
    config.set("endpoints.new", "port", 1).unwrap();
    assert_eq!(config.endpoints.named["new"].port, Some(1));
    config
        .set_text("checkpoint.max_memory", "cpu", "1KiB")
        .unwrap();
    assert_eq!(config.checkpoint.max_memory["cpu"], ByteSize::new(1024));
    config.set_text("cache", "enabled", "0").unwrap();
    assert!(!config.cache.enabled);
}

#[test]
fn get_finds_values_tables_and_nothing() {
    let config = Config::default();
    assert_eq!(config.get("general", "log_level"), Some("INFO".into()));
    assert_eq!(config.get("store", "path"), None);
    assert_eq!(config.get("nope", "path"), None);
    assert_eq!(config.get("cache", "nope"), None);
    assert_eq!(config.get_or("cache", "nope", 7), ConfigValue::Integer(7));
    assert_eq!(
        config.get_or("cache", "enabled", false),
        ConfigValue::Bool(true)
    );
    let local = config.get("endpoints", "local").unwrap();
    assert_eq!(
        local.as_table().unwrap()["port"],
        ConfigValue::Integer(8000)
    );
    assert_eq!(local.to_string(), r#"{ host = "localhost", port = 8000 }"#);
    assert_eq!(
        config.config_data()["endpoints"].as_table().unwrap()["local"],
        local
    );
}

#[test]
fn unset_goes_back_to_the_default() {
    let mut config = load("[cache]\nmax_size_mb = 1\n[checkpoint.max_memory]\ncpu = 1\n").unwrap();
    config.unset("cache", "max_size_mb").unwrap();
    config.unset("checkpoint.max_memory", "cpu").unwrap();
    config.unset("endpoints.absent", "host").unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(config.origin("cache", "max_size_mb"), Some(Origin::Default));
    assert!(config.unset("cache", "max").is_err());
    assert!(config.unset("cach", "path").is_err());
    assert!(config.unset("endpoints", "local").is_err());
}
