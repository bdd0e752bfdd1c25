//! Defaults, file, environment and flags over each other.

use ipfs_accelerate::{Config, DeviceMapSetting, Origin, Secret};

use super::{NO_FLAGS, SECRET, file, from_env, no_env};

#[test]
fn flags_go_over_the_environment_over_the_file_over_the_defaults() {
    let (_folder, path) =
        file("[cache]\nmax_size_mb = 1\nenabled = false\n[docker]\ntimeout = 1\n");
    let env = [
        ("IPFS_ACCELERATE__CACHE__MAX_SIZE_MB", "2"),
        ("IPFS_ACCELERATE__DOCKER__TIMEOUT", "2"),
        ("PATH", "/bin"),
    ];
    let config = Config::from_layers(Some(&path), env, &[("docker", "timeout", "3")]).unwrap();
    assert!(!config.cache.enabled && !config.general.debug);
    assert_eq!((config.cache.max_size_mb, config.docker.timeout), (2, 3));
    let origin = |section, key| config.origin(section, key);
    assert_eq!(origin("general", "debug"), Some(Origin::Default));
    assert_eq!(
        origin("cache", "enabled"),
        Some(Origin::File {
            path: path.clone(),
            line: 3
        })
    );
    let variable = "IPFS_ACCELERATE__CACHE__MAX_SIZE_MB".to_string();
    assert_eq!(
        origin("cache", "max_size_mb"),
        Some(Origin::Environment { variable })
    );
    assert_eq!(origin("docker", "timeout"), Some(Origin::Flag));
    assert_eq!(origin("docker", "nothing"), None);
}

#[test]
fn variables_reach_every_key() {
    let config = from_env(&[
        ("IPFS_ACCELERATE__GENERAL__DEBUG", "1"),
        ("IPFS_ACCELERATE__ENDPOINTS__DEFAULT", "my_node"),
        ("IPFS_ACCELERATE__ENDPOINTS__LOCAL__PORT", "5001"),
        ("IPFS_ACCELERATE__ENDPOINTS__MY_NODE__API_KEY", SECRET),
        ("IPFS_ACCELERATE__CHECKPOINT__MAX_MEMORY__CPU", "1.5 GiB"),
        ("IPFS_ACCELERATE__CHECKPOINT__DEVICE_MAP", "maps/a.json"),
        ("IPFS_ACCELERATE_STORE", "/not/a/key"),
    ])
    .unwrap();
    assert!(config.general.debug);
    assert_eq!(config.endpoints.named["local"].port, Some(5001));
    let key = config.endpoints.named["my_node"].api_key.as_ref();
    assert_eq!(key.map(Secret::expose), Some(SECRET));
    assert_eq!(config.checkpoint.max_memory["cpu"].bytes(), 1_610_612_736);
    assert_eq!(
        config.checkpoint.device_map,
        DeviceMapSetting::File("maps/a.json".into())
    );
    assert_eq!(config.store.path, None);
}

#[test]
fn a_variable_finds_the_endpoint_whose_name_has_hyphens_or_capitals() {
    let (_folder, path) = file("[endpoints.My-Node]\nhost = \"x\"\n");
    let env = [("IPFS_ACCELERATE__ENDPOINTS__MY_NODE__PORT", "7")];
    let config = Config::from_layers(Some(&path), env, NO_FLAGS).unwrap();
    assert_eq!(config.endpoints.named["My-Node"].port, Some(7));
    assert_eq!(config.endpoints.named.len(), 2);
}

#[test]
fn a_wrong_variable_is_an_error_that_names_it() {
    for (variable, value, near) in [
        (
            "IPFS_ACCELERATE__CACHE__MAX_SIZ_MB",
            "5",
            "`IPFS_ACCELERATE__CACHE__MAX_SIZE_MB`?",
        ),
        (
            "IPFS_ACCELERATE__DEBUG",
            "1",
            "`IPFS_ACCELERATE__GENERAL__DEBUG`?",
        ),
        ("IPFS_ACCELERATE__CAHCE__PATH", "x", "[cache]?"),
        (
            "IPFS_ACCELERATE__ENDPOINTS__LOCAL__PROT",
            "1",
            "`IPFS_ACCELERATE__ENDPOINTS__LOCAL__PORT`?",
        ),
        ("IPFS_ACCELERATE__", "x", ""),
        ("IPFS_ACCELERATE__CACHE", "x", ""),
        (
            "IPFS_ACCELERATE__CACHE__MAX_SIZE_MB",
            "many",
            "the string \"many\"",
        ),
        ("IPFS_ACCELERATE__CACHE__MAX_SIZE_MB", "", ""),
        ("IPFS_ACCELERATE__CACHE__ENABLED", "yes", ""),
        ("IPFS_ACCELERATE__ENDPOINTS__LOCAL", SECRET, ""),
        ("IPFS_ACCELERATE__CHECKPOINT__MAX_MEMORY", "1GB", ""),
        ("IPFS_ACCELERATE__CHECKPOINT__MAX_MEMORY__CPU", "1 Gb", ""),
    ] {
        let error = from_env(&[(variable, value)]).expect_err(variable);
        let text = error.to_string();
        assert!(text.starts_with(&format!("{variable}: ")), "{text}");
        assert!(text.ends_with(near), "{text}");
        assert!(!text.contains(SECRET), "{text}");
    }
}

#[cfg(unix)]
#[test]
fn variables_that_are_not_utf8_are_an_error_only_where_they_are_ours() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    let junk = || OsString::from_vec(b"\xff\xfe".to_vec());
    Config::from_layers(None, [(junk(), junk())], NO_FLAGS).unwrap();
    let name = OsString::from("IPFS_ACCELERATE__STORE__PROFILE");
    let error = Config::from_layers(None, [(name, junk())], NO_FLAGS).unwrap_err();
    assert!(error.to_string().contains("not UTF-8"), "{error}");
}

#[test]
fn a_wrong_flag_is_an_error() {
    for flag in [
        ("cache", "max_size_mb", "x"),
        ("cache", "nope", "x"),
        ("", "", ""),
    ] {
        let error = Config::from_layers(None, no_env(), &[flag]).unwrap_err();
        assert!(error.to_string().starts_with("command line: "), "{error}");
    }
}
