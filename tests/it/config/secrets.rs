//! Secrets are never shown.

use std::fs;

use ipfs_accelerate::Config;
use ipfs_accelerate::error::Explain;

use super::{NO_FLAGS, SECRET, file, from_env, load, load_error, logged};

#[test]
fn secrets_are_never_shown() {
    let text = format!("[endpoints.far]\napi_key = \"{SECRET}\"\nhost = \"h\"\n");
    let (_folder, path) = file(&text);
    let (mut config, log) = logged(|| Config::load(&path).unwrap());
    config.set("endpoints.near", "api_key", SECRET).unwrap();
    let value = config.get("endpoints.far", "api_key").unwrap();
    let table = config.get("endpoints", "far").unwrap();
    let everything = format!(
        "{config:?} {config:#?} {} {value} {value:?} {table} {table:?} {:?} {:?} {log}",
        config.show(),
        config.entries(),
        config.config_data(),
    );
    assert!(!everything.contains(SECRET), "{everything}");
    assert!(
        config.show().contains("api_key = \"********\""),
        "{}",
        config.show()
    );
    assert_eq!(
        config.endpoints.named["far"]
            .api_key
            .as_ref()
            .unwrap()
            .expose(),
        SECRET
    );
    config.save(None).unwrap();
    assert_eq!(
        fs::read_to_string(&path).unwrap().matches(SECRET).count(),
        2
    );
}

#[test]
fn errors_do_not_show_secrets() {
    for text in [
        "[endpoints.a]\napi_key = \"SECRET",
        "[endpoints.a]\napi_key = SECRET\n",
        "[endpoints.a]\napi_key = [\"SECRET\"]",
        "[endpoints.a]\napi_kye = \"SECRET\"",
        "[endpoints]\napi_key = \"SECRET\"",
        "[endpoints]\na = \"SECRET\"",
        "endpoints = \"SECRET\"",
        "api_key = \"SECRET\"",
        "[endpoints.a]\napi_key = \"SECRET\"\napi_key = \"SECRET\"",
        "[endpoints.a]\napi_key = \"SECRET\"\nport = 0",
    ] {
        let error = load_error(&text.replace("SECRET", SECRET));
        let all = format!("{error} {error:?} {:?}", error.hint());
        assert!(!all.contains(SECRET), "{text}: {all}");
    }
    for value in ["", "********"] {
        let env = [("IPFS_ACCELERATE__ENDPOINTS__LOCAL__API_KEY", value)];
        let error = from_env(&env).unwrap_err().to_string();
        assert!(error.ends_with("found a string"), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn a_secret_in_a_file_that_others_can_read_gives_a_warning() {
    use std::os::unix::fs::PermissionsExt;

    let (_folder, path) = file("[endpoints.a]\napi_key = \"x\"\n");
    for (mode, warned) in [(0o600, false), (0o644, true)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let (_, log) = logged(|| Config::load(&path).unwrap());
        assert_eq!(log.contains("other users"), warned, "{mode:o}: {log}");
    }
}

#[test]
fn what_is_shown_is_toml_with_origins() {
    let (_folder, path) = file("[cache]\nmax_size_mb = 7\n[endpoints.\"a b\"]\nport = 1\n");
    let env = [("IPFS_ACCELERATE__GENERAL__DEBUG", "true")];
    let config = Config::from_layers(Some(&path), env, NO_FLAGS).unwrap();
    let shown = config.show();
    assert!(shown.starts_with("[general]\ndebug = true  # IPFS_ACCELERATE__GENERAL__DEBUG\n"));
    assert!(
        shown.contains(&format!("\nmax_size_mb = 7  # {}:2\n", path.display())),
        "{shown}"
    );
    assert!(shown.contains("\nlog_level = \"INFO\"\n"), "{shown}");
    assert_eq!(load(&shown).unwrap(), config);
}
