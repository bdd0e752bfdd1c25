//! What is refused, and what the error says.

use std::fs;

use ipfs_accelerate::error::Explain;
use ipfs_accelerate::{Config, ConfigError};

use super::{file, load_error};

#[test]
fn an_unknown_key_is_an_error_with_file_line_and_the_nearest_key() {
    let (_folder, path) = file("# a comment\n[cache]\nenabled = true\nmax_size = 5\n");
    let error = Config::load(&path).unwrap_err();
    assert_eq!(error.file(), Some(path.as_path()));
    assert_eq!(error.line(), Some(4));
    assert_eq!(error.key().as_deref(), Some("cache.max_size"));
    assert_eq!(error.kind(), "config_unknown_key");
    assert_eq!(
        error.to_string(),
        format!(
            "{}:4: unknown key `max_size` in [cache]; did you mean `max_size_mb`?",
            path.display()
        )
    );
    assert_eq!(
        error.hint().as_deref(),
        Some("the keys of [cache] are enabled, max_size_mb, path")
    );
}

#[test]
fn a_misspelt_name_is_answered_with_the_nearest() {
    for (text, near) in [
        ("[general]\ndebgu = true", "`debug`"),
        ("[general]\nmax_size_mb = 1", "`max_size_mb` in [cache]"),
        ("log_levle = \"INFO\"", "`log_level` in [general]"),
        ("[cach]\nenabled = true", "[cache]"),
        ("[Cache]", "[cache]"),
        ("[[chekpoint]]", "[checkpoint]"),
        ("[endpoint.local]", "[endpoints]"),
        ("[endpoints]\ndefualt = \"local\"", "`default`"),
        ("[endpoints.local]\nhots = \"x\"", "`host`"),
        ("[checkpoint]\nmax_memroy = 1", "`max_memory`"),
        ("cache.max_sizemb = 1", "`max_size_mb`"),
    ] {
        let error = load_error(text).to_string();
        assert!(
            error.ends_with(&format!("did you mean {near}?")),
            "{text}: {error}"
        );
    }
    let error = load_error("[zzzzzzzz]\n");
    assert!(!error.to_string().contains("did you mean"), "{error}");
    assert!(error.hint().unwrap().contains("checkpoint"));
}

#[test]
fn a_wrong_value_is_an_error_for_every_key() {
    let wrong = [
        (
            "general",
            "debug",
            &["1", "\"true\"", "[]", "1.5", "{}"][..],
        ),
        ("general", "log_level", &["\"LOUD\"", "10", "\"\""]),
        ("store", "path", &["5", "\"\"", "[\"a\"]", "true"]),
        ("store", "profile", &["1", "\"\""]),
        ("store", "max_size", &["-1", "\"lots\"", "1.5", "true"]),
        ("store", "grace", &["1", "-1", "\"1\"", "\"1M\"", "false"]),
        (
            "store",
            "lock_timeout",
            &["30", "-1", "\"30\"", "\"5M\"", "true", "1.5"],
        ),
        ("store", "nobody_collects", &["\"true\"", "1"]),
        ("cache", "enabled", &["\"yes\"", "0"]),
        (
            "cache",
            "max_size_mb",
            &["\"500\"", "-1", "1.5", "9223372036854775808", "1979-05-27"],
        ),
        ("cache", "path", &["false", "\"\""]),
        ("endpoints", "default", &["1", "\"\"", "{ host = \"x\" }"]),
        ("endpoints.local", "host", &["1", "\"\""]),
        ("endpoints.local", "port", &["0", "65536", "\"8000\"", "-1"]),
        ("endpoints.local", "gateway", &["1", "\"\""]),
        (
            "endpoints.local",
            "api_key",
            &["1", "\"\"", "\"********\"", "[\"x\"]"],
        ),
        ("docker", "enable", &["\"on\""]),
        ("docker", "timeout", &["-5", "\"60s\""]),
        (
            "checkpoint",
            "device_map",
            &["\"sequental\"", "1", "\"map.yaml\""],
        ),
        ("checkpoint", "threads", &["-1", "\"all\""]),
        ("checkpoint", "max_memory", &["\"16GiB\"", "5", "[]"]),
        (
            "checkpoint.max_memory",
            "cpu",
            &["-1", "\"16 Gb\"", "\"lots\"", "1.5", "true", "{}"],
        ),
    ];
    for (section, key) in Config::keys().map(|(s, k)| (s.replace("NAME", "local"), k)) {
        let key = key.replace("DEVICE", "cpu");
        assert!(
            wrong.iter().any(|(s, k, _)| (*s, *k) == (&section, &key)),
            "{section}.{key}"
        );
    }
    for (section, key, values) in wrong {
        for value in values {
            let error = load_error(&format!("\n[{section}]\n{key} = {value}\n"));
            assert!(
                matches!(error, ConfigError::WrongValue { .. }),
                "{key} = {value}: {error}"
            );
            assert_eq!(error.line(), Some(3), "{key} = {value}: {error}");
            assert_eq!(
                error.key(),
                Some(format!("{section}.{key}")),
                "{key} = {value}"
            );
            assert_eq!(error.kind(), "config_wrong_value");
            let message = error.to_string();
            assert!(
                message.contains(" must be ") && message.contains(", found "),
                "{message}"
            );
        }
    }
}

#[test]
fn a_wrong_value_says_what_was_expected_and_found() {
    let error = load_error("[cache]\nmax_size_mb = \"500\"").to_string();
    let expected =
        ":2: `cache.max_size_mb` must be a whole number, 0 or more, found the string \"500\"";
    assert!(error.ends_with(expected), "{error}");
}

#[test]
fn a_value_in_the_place_of_a_section_is_an_error() {
    for text in [
        "cache = 5",
        "general = \"x\"",
        "[[docker]]",
        "endpoints.local = 1",
    ] {
        let error = load_error(text);
        assert!(
            matches!(error, ConfigError::WrongValue { .. }),
            "{text}: {error}"
        );
        assert_eq!(error.line(), Some(1));
    }
    for text in [
        "[endpoints.default]\nhost = \"x\"",
        "[endpoints.\"\"]",
        "[checkpoint.max_mem]",
    ] {
        load_error(text);
    }
}

#[test]
fn what_is_no_toml_is_an_error_with_line_and_column() {
    for (text, place) in [
        ("[cache]\nenabled = \n", (2, 11)),
        ("[cache]\nenabled = true\nenabled = false\n", (3, 1)),
        ("[cache]\n[cache]\n", (2, 2)),
        ("[cache]\n# ä\nä", (3, 2)),
        ("[cache", (1, 7)),
    ] {
        let error = load_error(text);
        let ConfigError::Syntax { line, column, .. } = &error else {
            panic!("{text}: {error}")
        };
        assert_eq!((*line, *column), place, "{text:?}: {error}");
        assert_eq!(
            (error.line(), error.kind()),
            (Some(place.0), "config_syntax")
        );
    }
}

#[test]
fn the_first_fault_in_the_file_is_the_one_reported() {
    let error = load_error("[store]\nzzz = 1\n[cache]\naaa = 1\n");
    assert_eq!(error.line(), Some(2), "{error}");
}

#[test]
fn a_file_that_is_no_text_or_no_configuration_is_an_error() {
    let (folder, path) = file("");
    fs::write(&path, b"[cache]\n# caf\xe9\n").unwrap();
    let error = Config::load(&path).unwrap_err();
    assert_eq!(error.line(), Some(2), "{error}");
    fs::write(&path, "#".repeat(2 << 20)).unwrap();
    let error = Config::load(&path).unwrap_err();
    assert!(matches!(error, ConfigError::TooLarge { .. }), "{error}");
    let error = Config::load(folder.path()).unwrap_err();
    assert!(matches!(error, ConfigError::File(_)), "{error}");
    assert_eq!(error.file(), Some(folder.path()));
    // A long name costs no long time.
    let long = format!("[cache]\n{} = 1\n", "k".repeat(900_000));
    assert!(matches!(load_error(&long), ConfigError::UnknownKey { .. }));
}
