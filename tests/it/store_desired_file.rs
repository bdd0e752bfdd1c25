//! Files that list the pins that a store is to have: what they may say.

use std::path::{Path, PathBuf};

use ipfs_accelerate::{
    DesiredPath, DesiredPins, DesiredPinsError, DesiredSource, Explain, Profile,
};

use super::store_kit::*;

pub(crate) const HELLO: &str = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";

fn parse(text: &str) -> Result<DesiredPins, DesiredPinsError> {
    DesiredPins::parse(
        text,
        Path::new("conf/pins.toml"),
        Some(Path::new("/home/ann")),
    )
}

fn source(text: &str) -> DesiredSource {
    let pins = parse(&format!("[pins]\nname = {text}")).unwrap();
    let [entry] = &pins.entries[..] else {
        panic!("{pins:?}")
    };
    assert_eq!(entry.name, "name");
    entry.source.clone()
}

fn path(text: &str) -> DesiredPath {
    match source(text) {
        DesiredSource::Path(path) => path,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_text_is_a_cid_if_it_can_be_and_else_a_path() {
    for text in [
        HELLO.to_owned(),
        format!("ipfs://{HELLO}"),
        format!("/ipfs/{HELLO}"),
    ] {
        let DesiredSource::Stored(target) = source(&format!("{text:?}")) else {
            panic!("{text}")
        };
        assert_eq!(target, of(HELLO.parse().unwrap()), "{text}");
    }
    let v0 = "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o";
    let DesiredSource::Stored(inside) = source(&format!("'{v0}/sub/file'")) else {
        panic!("a path below a CID")
    };
    assert_eq!(inside.path(), "sub/file");
    for (text, expected) in [
        ("'../models/a'", "conf/../models/a"),
        ("'/models/a'", "/models/a"),
        ("'~/models/a'", "/home/ann/models/a"),
        ("'a'", "conf/a"),
        (&format!("'./{HELLO}'"), &format!("conf/./{HELLO}")),
        ("{ path = 'a b' }", "conf/a b"),
    ] {
        assert_eq!(path(text).path, PathBuf::from(expected), "{text}");
    }
}

#[test]
fn a_table_says_how_a_path_is_added() {
    let entry = path(&format!(
        "{{ path = 'm', cid = '{HELLO}', profile = 'kubo-cidv1+chunk=tensor-v1', hidden = true,\n \
         dereference-symlinks = true, ignore = ['*.bin', 'logs/**'] }}"
    ));
    let profile: Profile = "kubo-cidv1+chunk=tensor-v1".parse().unwrap();
    assert_eq!(entry.cid, Some(HELLO.parse().unwrap()));
    assert_eq!(entry.profile, Some(profile));
    assert!(entry.hidden && entry.dereference_symlinks);
    assert_eq!(entry.ignore, ["*.bin", "logs/**"]);
    let plain = path("'m'");
    assert_eq!(
        (plain.cid, plain.profile, plain.hidden),
        (None, None, false)
    );
    // The same in sections, and in the order of the file.
    let pins =
        parse("[pins]\nb = 'x'\n[pins.a]\npath = 'm'\nhidden = true\n[pins.\"c.1\"]\npath='y'");
    let names: Vec<String> = pins.unwrap().entries.into_iter().map(|e| e.name).collect();
    assert_eq!(names, ["b", "a", "c.1"]);
    assert_eq!(parse("[pins]").unwrap().entries, []);
}

#[test]
fn a_file_that_is_not_right_is_refused_with_its_line() {
    let long = "n".repeat(256);
    let cases: &[(&str, &str, usize, &[&str])] = &[
        ("[pins", "pins_syntax", 1, &["conf/pins.toml:1:"]),
        // Twice, in either form.
        (
            "[pins]\na = 'x'\na = 'y'",
            "pins_syntax",
            3,
            &["duplicate key"],
        ),
        (
            "[pins]\na = 'x'\n[pins.a]\npath = 'y'",
            "pins_syntax",
            3,
            &[],
        ),
        ("[pins]\na = 'x'\n'a' = 'y'", "pins_syntax", 3, &[]),
        (
            "[pin]\na = 'x'",
            "pins_unknown_key",
            1,
            &["`pin`", "did you mean `pins`?"],
        ),
        ("version = 1\n[pins]", "pins_unknown_key", 1, &["`version`"]),
        (
            "[pins]\n\na = { pth = 'x' }",
            "pins_unknown_key",
            3,
            &["`pth` of pin \"a\"", "did you mean `path`?"],
        ),
        // Names with dots are tables unless they are quoted.
        (
            "[pins]\nllama-3.1 = 'x'",
            "pins_unknown_key",
            2,
            &["`1` of pin \"llama-3\""],
        ),
        (
            "pins = 1",
            "pins_wrong_value",
            1,
            &["a table of names", "integer"],
        ),
        (
            "[pins]\na = 1",
            "pins_wrong_value",
            2,
            &["a CID, a path or a table"],
        ),
        ("[pins]\na = ['x']", "pins_wrong_value", 2, &["array"]),
        (
            "[pins]\na = { path = 1 }",
            "pins_wrong_value",
            2,
            &["`path` of pin \"a\"", "a string"],
        ),
        (
            "[pins]\na = { path = 'x', hidden = 'yes' }",
            "pins_wrong_value",
            2,
            &["true or false"],
        ),
        (
            "[pins]\na = { path = 'x', ignore = '*.bin' }",
            "pins_wrong_value",
            2,
            &["a list"],
        ),
        (
            "[pins]\na = { path = 'x', ignore = [1] }",
            "pins_wrong_value",
            2,
            &["a list"],
        ),
        (
            "[pins]\na = { path = 'x', ignore = ['[z'] }",
            "bad_pattern",
            2,
            &["\"[z\""],
        ),
        (
            "[pins]\na = { path = 'x', cid = 'bafy' }",
            "cid_invalid",
            2,
            &["pin \"a\""],
        ),
        (
            "[pins]\na = { path = 'x', profile = 'v9' }",
            "profile_unknown",
            2,
            &["\"v9\""],
        ),
        (
            "[pins]\na = {}",
            "pins_nothing",
            2,
            &["neither `path` nor `cid`"],
        ),
        ("[pins]\na = ''", "pins_bad_path", 2, &["is empty"]),
        ("[pins]\na = '~ann/x'", "pins_bad_path", 2, &["~"]),
        ("[pins]\n'a/b' = 'x'", "bad_name", 2, &["slash"]),
        ("[pins]\n'.a' = 'x'", "bad_name", 2, &["dot"]),
        ("[pins]\n'' = 'x'", "bad_name", 2, &["empty"]),
        // A CID that was cut off is no file.
        (
            "[pins]\na = 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5'",
            "cid_invalid",
            2,
            &["pin \"a\""],
        ),
        ("[pins]\na = 'ipfs://x/y'", "cid_invalid", 2, &["pin \"a\""]),
    ];
    for (text, kind, line, says) in cases {
        let error = parse(text).unwrap_err();
        let message = error.to_string();
        if *kind != "cid_invalid" {
            assert_eq!(error.kind(), *kind, "{text}: {message}");
        } else {
            assert!(
                matches!(error, DesiredPinsError::NotACid { .. }),
                "{text}: {message}"
            );
        }
        assert_eq!(error.line(), Some(*line), "{text}: {message}");
        assert_eq!(error.file(), Path::new("conf/pins.toml"));
        assert!(
            message.starts_with(&format!("conf/pins.toml:{line}:")),
            "{message}"
        );
        for part in *says {
            assert!(message.contains(part), "{part:?} is not in {message}");
        }
        assert!(!message.contains('\n'), "{message}");
        let says_itself = matches!(error, DesiredPinsError::Profile { .. });
        assert!(error.hint().is_some() || says_itself, "{message}");
    }
    // What needs a text made here.
    let other =
        format!("[pins]\n{HELLO} = 'bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy'");
    for text in [other, format!("[pins]\n{long} = 'x'")] {
        let error = parse(&text).unwrap_err();
        assert!(
            matches!(&error, DesiredPinsError::BadName { line: 2, .. }),
            "{error}"
        );
    }
    let text = format!("[pins]\na = {{ cid = '{HELLO}', profile = 'kubo-cidv1' }}");
    let error = parse(&text).unwrap_err();
    assert!(
        matches!(&error, DesiredPinsError::NothingToAdd { key, .. } if key == "profile"),
        "{error}"
    );
    let error = parse("[pins]\nllama-3.1 = 'x'").unwrap_err();
    assert!(
        error.hint().unwrap().contains("\"llama-3.1\" = "),
        "{error}"
    );
    // An empty file would else mean to remove everything.
    for text in ["", "# nothing yet\n"] {
        let error = parse(text).unwrap_err();
        assert!(matches!(error, DesiredPinsError::NoPins { .. }), "{error}");
    }
}

#[test]
fn a_file_is_read_from_its_folder() {
    let stage = Stage::new();
    let file = stage.file("conf/pins.toml", b"[pins]\na = '../m'\n");
    let pins = DesiredPins::read(&file).unwrap();
    let DesiredSource::Path(entry) = &pins.entries[0].source else {
        panic!("{pins:?}")
    };
    assert_eq!(entry.path, stage.path("conf/../m"));
    let error = DesiredPins::read(stage.path("conf/none.toml")).unwrap_err();
    assert_eq!(error.kind(), "file_not_found");
    let file = stage.file("conf/bytes.toml", b"[pins]\na = '\xff'\n");
    let error = DesiredPins::read(&file).unwrap_err();
    assert!(
        matches!(
            &error,
            DesiredPinsError::Syntax {
                line: 2,
                column: 6,
                ..
            }
        ),
        "{error}"
    );
    let error = DesiredPins::read(stage.path("conf")).unwrap_err();
    assert!(matches!(error, DesiredPinsError::File(_)), "{error}");
}
