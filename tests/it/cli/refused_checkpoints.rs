//! Checkpoints that cannot be loaded: each is told by its kind, from `load` and from `plan`.

use serde_json::{Value, json};

use super::{Sandbox, safetensors};

const HEADER: &str = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;

/// Adds one file and has `load` and `plan` refuse it.
fn refused(name: &str, content: impl AsRef<[u8]>, kind: &str) -> Value {
    let sandbox = Sandbox::new();
    sandbox.write(name, content);
    let cid = sandbox.add(&[name]);
    let planned = sandbox.refused(&["plan", &cid], kind);
    let loaded = sandbox.refused(&["load", &cid], kind);
    assert_eq!(planned, loaded);
    loaded
}

#[test]
fn a_download_that_was_cut_off_is_said_to_be_so() {
    let whole = safetensors(HEADER, 8);
    let error = refused("a.safetensors", &whole[..whole.len() - 3], "truncated");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("3 bytes short: not downloaded whole"),
        "{message}"
    );
    assert!(
        error["hint"].as_str().unwrap().contains("download"),
        "{error}"
    );
    refused("a.safetensors", &whole[..20], "truncated");
    refused("a.safetensors", &whole[..5], "truncated");
    refused("a.safetensors", b"", "truncated");
    refused(
        "a.safetensors",
        [&whole[..], b"more"].concat(),
        "trailing_data",
    );
}

#[test]
fn a_git_lfs_pointer_is_said_to_be_one() {
    let pointer = "version https://git-lfs.github.com/spec/v1\n\
        oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";
    let error = refused("model.safetensors", pointer, "git_lfs_pointer");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("git-lfs pointer, not a model")
    );
    assert!(error["hint"].as_str().unwrap().contains("git lfs pull"));
}

#[test]
fn hostile_headers_are_refused_by_name() {
    let one = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    let two = |first: &str, second: &str| {
        let tensor = |name: &str, offsets: &str| {
            format!(r#""{name}":{{"dtype":"F32","shape":[2],"data_offsets":{offsets}}}"#)
        };
        format!("{{{},{}}}", tensor("a", first), tensor("b", second))
    };
    let same = r#""a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#;
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(50_000), "]".repeat(50_000));
    for (header, data, kind) in [
        (one("F33", "[2]", "[0,8]"), 8, "unknown_dtype"),
        (one("F32", "[3]", "[0,8]"), 8, "wrong_tensor_size"),
        (
            one("F32", "[4294967296,4294967296,4294967296]", "[0,8]"),
            8,
            "wrong_tensor_size",
        ),
        (one("F32", "[2]", "[8,0]"), 8, "wrong_tensor_offsets"),
        (two("[0,8]", "[4,12]"), 12, "wrong_tensor_offsets"),
        (two("[0,8]", "[12,20]"), 20, "wrong_tensor_offsets"),
        (format!("{{{same},{same}}}"), 8, "duplicate_tensor"),
        (deep, 8, "wrong_header"),
        ("{nonsense".into(), 8, "wrong_header"),
        ("[]".into(), 8, "wrong_header"),
    ] {
        refused("a.safetensors", safetensors(&header, data), kind);
    }
    let mut long = safetensors(HEADER, 8);
    long[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    refused("a.safetensors", long, "header_too_large");
    let mut over = safetensors(HEADER, 8);
    over[..8].copy_from_slice(&1_000_000_u64.to_le_bytes());
    refused("a.safetensors", over, "truncated");
    refused(
        "a.safetensors",
        b"PK\x03\x04 and the rest of a zip file",
        "not_safetensors",
    );
}

/// Two shards and an index over them, changed by the caller.
fn sharded(index: Value, shards: &[(&str, &str)], kind: &str) -> Value {
    let sandbox = Sandbox::new();
    sandbox.write("m/model.safetensors.index.json", index.to_string());
    for (name, tensor) in shards {
        let header =
            format!(r#"{{"{tensor}":{{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}}}"#);
        sandbox.write(&format!("m/{name}"), safetensors(&header, 8));
    }
    sandbox.add(&["m", "--pin-name", "m"]);
    sandbox.refused(&["plan", "m"], kind);
    sandbox.refused(&["load", "m"], kind)
}

#[test]
fn an_index_that_does_not_fit_its_shards_is_refused() {
    let (one, two) = ("one.safetensors", "two.safetensors");
    let index = |map: Value| json!({"metadata": {}, "weight_map": map});
    let both = [(one, "a"), (two, "b")];

    let error = sharded(
        index(json!({"a": one, "b": two})),
        &both[..1],
        "missing_shard",
    );
    assert!(error["message"].as_str().unwrap().contains(two), "{error}");
    let error = sharded(
        index(json!({"a": one, "b": two, "c": two})),
        &both,
        "missing_tensor",
    );
    assert!(error["message"].as_str().unwrap().contains('c'), "{error}");
    sharded(
        index(json!({"a": "../one.safetensors", "b": two})),
        &both,
        "unsafe_shard_name",
    );
    sharded(
        index(json!({"a": "/etc/passwd", "b": two})),
        &both,
        "unsafe_shard_name",
    );
    let error = sharded(
        index(json!({"a": one, "b": two})),
        &[(one, "a"), (two, "a")],
        "duplicate_tensor",
    );
    assert!(error["message"].as_str().unwrap().contains(two), "{error}");
    sharded(index(json!({"a": one})), &[(one, "b")], "missing_tensor");
    sharded(json!({"weight_map": {}}), &both, "wrong_index");
    sharded(json!([]), &both, "wrong_index");
}

#[test]
fn a_folder_without_one_checkpoint_lists_what_could_be_meant() {
    let sandbox = Sandbox::new();
    sandbox.write("none/pytorch_model.bin", "pickle");
    sandbox.write("two/a.safetensors", safetensors(HEADER, 8));
    sandbox.write("two/b.safetensors", safetensors(HEADER, 8));
    sandbox.add(&["none", "--pin-name", "none"]);
    sandbox.add(&["two", "--pin-name", "two"]);
    let error = sandbox.refused(&["load", "none"], "no_checkpoint");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("pytorch_model.bin"),
        "{error}"
    );
    let error = sandbox.refused(&["plan", "two"], "ambiguous_checkpoint");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("a.safetensors, b.safetensors"),
        "{error}"
    );
    assert!(
        error["hint"].as_str().unwrap().contains("CID/path"),
        "{error}"
    );
    assert_eq!(sandbox.json(&["load", "two/b.safetensors"])["tensors"], 1);
    sandbox.refused(&["load", "none/pytorch_model.bin"], "truncated");
}
