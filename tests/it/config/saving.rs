//! Saving keeps what was not changed.

use std::fs;
use std::path::Path;

use ipfs_accelerate::error::Explain;
use ipfs_accelerate::{Config, ConfigError, Origin};

use super::{COMMENTED, NO_FLAGS, SECRET, SHIPPED, file};

#[test]
fn save_changes_only_what_was_changed() {
    let (_folder, path) = file(COMMENTED);
    let mut config = Config::load(&path).unwrap();
    config.save(None).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), COMMENTED);
    config.set("general", "debug", true).unwrap();
    config.set("cache", "max_size_mb", 10).unwrap();
    config.cache.enabled = false;
    config.save(None).unwrap();
    let expected = COMMENTED
        .replace("debug = false", "debug = true")
        .replace("# megabytes\n", "# megabytes\nenabled = false\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    assert_eq!(Config::load(&path).unwrap(), config);
    // The lines of the new file are known, and a second save has nothing to do.
    assert_eq!(
        config.origin("store", "path"),
        Some(Origin::File {
            path: path.clone(),
            line: 11
        })
    );
    config.save(None).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    config.unset("cache", "enabled").unwrap();
    config.set("general", "debug", false).unwrap();
    config.save(None).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), COMMENTED);
}

/// Found by fuzzing: what was saved was read back with the HOME of the process.
#[test]
fn a_tilde_stays_one_whatever_home_it_was_loaded_with() {
    let text = "[store]\npath = \"~/models\"\n";
    let (_folder, path) = file(text);
    let env = [("HOME", "/home/somebody-else")];
    let mut config = Config::from_layers(Some(&path), env, NO_FLAGS).unwrap();
    config.save(None).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

/// Found by fuzzing: in the file it was relative to the file's folder.
#[test]
fn a_relative_path_that_was_set_means_the_same_after_saving() {
    let (_folder, path) = file("");
    let mut config = Config::load(&path).unwrap();
    config.set("checkpoint", "device_map", "map.json").unwrap();
    config.store.path = Some("models/store".into());
    let meant = std::path::absolute("models/store").unwrap();
    for _ in 0..2 {
        config.save(None).unwrap();
        let loaded = Config::load(&path).unwrap();
        assert_eq!(loaded.store.path.as_deref(), Some(&*meant));
        let map = std::path::absolute("map.json").unwrap();
        let map = map.to_str().unwrap();
        assert_eq!(loaded.get("checkpoint", "device_map"), Some(map.into()));
    }
}

#[test]
fn save_reaches_every_way_to_write_a_section() {
    for text in [
        "",
        "cache.enabled = true\nendpoints.local.host = \"x\"\n",
        "cache = { enabled = true }\nendpoints = { local = { port = 1 } }\n",
        "[endpoints.local]\nport = 1\n",
        "[checkpoint]\nmax_memory = { disk = 1 }\n",
        "[cache]\r\nenabled = true\r\n[endpoints]\r\n",
    ] {
        let (_folder, path) = file(text);
        let mut config = Config::load(&path).unwrap();
        config.set("cache", "max_size_mb", 7).unwrap();
        config.set("endpoints", "default", "far").unwrap();
        config.set("endpoints.local", "port", 2).unwrap();
        config.set("endpoints.far away", "api_key", SECRET).unwrap();
        config
            .set("checkpoint.max_memory", "cuda:0", "1GiB")
            .unwrap();
        config.save(None).unwrap();
        let saved = fs::read_to_string(&path).unwrap();
        assert_eq!(Config::load(&path).unwrap(), config, "{text}\n->\n{saved}");
        config.endpoints.named.remove("far away");
        config.unset("endpoints", "default").unwrap();
        config.unset("checkpoint.max_memory", "cuda:0").unwrap();
        config.save(None).unwrap();
        let saved = fs::read_to_string(&path).unwrap();
        assert_eq!(Config::load(&path).unwrap(), config, "{text}\n->\n{saved}");
        assert!(!saved.contains("far"), "{text}\n->\n{saved}");
    }
}

#[test]
fn save_leaves_out_what_the_environment_and_flags_gave() {
    let (_folder, path) = file("[cache]\nmax_size_mb = 1\n");
    let env = [
        ("IPFS_ACCELERATE__CACHE__MAX_SIZE_MB", "2"),
        ("IPFS_ACCELERATE__ENDPOINTS__LOCAL__API_KEY", SECRET),
    ];
    let flags = [("docker", "timeout", "3")];
    let mut config = Config::from_layers(Some(&path), env, &flags).unwrap();
    config.set("general", "debug", true).unwrap();
    config.save(None).unwrap();
    let saved = fs::read_to_string(&path).unwrap();
    assert_eq!(
        saved,
        "[cache]\nmax_size_mb = 1\n\n[general]\ndebug = true\n"
    );
    assert_eq!((config.cache.max_size_mb, config.docker.timeout), (2, 3));
    assert_eq!(config.origin("docker", "timeout"), Some(Origin::Flag));
    config.set("docker", "timeout", 3).unwrap();
    config.save(None).unwrap();
    assert!(
        fs::read_to_string(&path)
            .unwrap()
            .ends_with("[docker]\ntimeout = 3\n")
    );
}

#[test]
fn save_without_a_file_starts_from_the_shipped_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/folder/config.toml");
    let mut config = Config::load(&path).unwrap();
    config.set("cache", "max_size_mb", 7).unwrap();
    config.save(None).unwrap();
    let expected = SHIPPED.replace("max_size_mb = 500", "max_size_mb = 7");
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    assert!(config.loaded());
    let error = Config::default().save(None).unwrap_err();
    assert!(matches!(error, ConfigError::NoFile), "{error}");
}

#[test]
fn a_path_means_the_same_after_saving_elsewhere() {
    let (folder, path) = file(COMMENTED);
    let mut config = Config::load(&path).unwrap();
    let other = folder.path().join("other/config.toml");
    config.save(Some(&other)).unwrap();
    assert_eq!(Config::load(&other).unwrap(), config);
    assert_eq!(config.config_path(), Some(path.as_path()));
    assert_eq!(fs::read_to_string(&path).unwrap(), COMMENTED);
}

#[test]
fn save_does_not_overwrite_what_somebody_else_wrote() {
    let (folder, path) = file("[cache]\nmax_size_mb = 1\n");
    let mut config = Config::load(&path).unwrap();
    fs::write(&path, "[cache]\nmax_size_mb = 2\n").unwrap();
    config.set("general", "debug", true).unwrap();
    let error = config.save(None).unwrap_err();
    assert!(
        matches!(error, ConfigError::ChangedOnDisk { .. }),
        "{error}"
    );
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "[cache]\nmax_size_mb = 2\n"
    );
    let path = folder.path().join("late.toml");
    let mut config = Config::load(&path).unwrap();
    fs::write(&path, "").unwrap();
    assert!(config.save(None).is_err());
    fs::remove_file(&path).unwrap();
    config.save(None).unwrap();
}

#[test]
fn save_to_where_nothing_can_be_written_is_an_error_that_leaves_nothing() {
    let (folder, path) = file("");
    let mut config = Config::default();
    let error = config.save(Some(&path.join("config.toml"))).unwrap_err();
    assert!(matches!(error, ConfigError::File(_)), "{error}");
    let error = config.save(Some(folder.path())).unwrap_err();
    assert!(matches!(error, ConfigError::File(_)), "{error}");
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "no temporary file stays"
    );
    assert!(config.config_path().is_none());
}

#[cfg(unix)]
#[test]
fn save_into_a_read_only_folder_is_an_error() {
    use std::os::unix::fs::PermissionsExt;

    let (folder, path) = file(COMMENTED);
    let mut config = Config::load(&path).unwrap();
    config.set("general", "debug", true).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
    // Root may write there all the same.
    let unrestricted = fs::write(folder.path().join("probe"), "").is_ok();
    let saved = config.save(None);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    if unrestricted {
        saved.unwrap();
        // A folder that nobody can write to.
        let error = config
            .save(Some(Path::new("/proc/config.toml")))
            .unwrap_err();
        assert!(matches!(error, ConfigError::File(_)), "{error}");
    } else {
        assert_eq!(saved.unwrap_err().kind(), "permission_denied");
        assert_eq!(fs::read_to_string(&path).unwrap(), COMMENTED);
    }
}

#[cfg(unix)]
#[test]
fn save_keeps_permissions_and_symbolic_links() {
    use std::os::unix::fs::PermissionsExt;

    let (folder, path) = file("");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let link = folder.path().join("link.toml");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let mut config = Config::load(&link).unwrap();
    config.set("general", "debug", true).unwrap();
    config.save(None).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(mode(&path), 0o640);
    assert!(Config::load(&path).unwrap().general.debug);
    let new = folder.path().join("new.toml");
    config.set("endpoints.local", "api_key", SECRET).unwrap();
    config.save(Some(&new)).unwrap();
    assert_eq!(mode(&new), 0o600);
}

#[cfg(unix)]
#[test]
fn a_path_that_is_not_utf8_is_not_saved_as_another() {
    use std::os::unix::ffi::OsStringExt;

    let (_folder, path) = file("");
    let mut config = Config::load(&path).unwrap();
    config.store.path = Some(std::ffi::OsString::from_vec(b"/\xff".to_vec()).into());
    let error = config.save(None).unwrap_err();
    assert!(error.to_string().contains("UTF-8"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "");
}

#[test]
fn what_could_not_be_loaded_is_not_saved() {
    let (_folder, path) = file("");
    let mut config = Config::load(&path).unwrap();
    config.store.profile = String::new();
    assert!(config.save(None).is_err());
    config.unset("store", "profile").unwrap();
    let local = config.endpoints.named["local"].clone();
    config.endpoints.named.insert("default".into(), local);
    assert!(config.save(None).is_err());
    assert_eq!(fs::read_to_string(&path).unwrap(), "");
}
