//! Promise I7: what is no checkpoint gets a typed error that names the file, what was expected and what
//! was found, and says what to do. Each case goes through a store, as a user's file would.

use std::fs;

use ipfs_accelerate::checkpoint::{
    LoadOptions, NoDevice, PlainFolder, load_checkpoint_and_dispatch, plan_checkpoint,
};
use ipfs_accelerate::{AddOptions, Explain, LoadError, StoreReader, Target};

use crate::load_files::*;

/// Loads a folder that holds one `model.safetensors`; the plan has to say the same.
fn of_file(scratch: &Scratch, content: &[u8]) -> LoadError {
    of_folder(scratch, &[("model.safetensors", content)])
}

fn of_folder(scratch: &Scratch, files: &[(&str, &[u8])]) -> LoadError {
    let target = scratch.add_folder(files).into();
    same_from_everywhere(scratch, &target)
}

fn same_from_everywhere(scratch: &Scratch, target: &Target) -> LoadError {
    let error = load_error(&scratch.store, target);
    let reader = StoreReader::open(scratch.store.path()).unwrap();
    let planned = plan_checkpoint(&reader, target, &LoadOptions::<NoDevice>::default());
    assert_eq!(planned.unwrap_err().to_string(), error.to_string());
    error
}

/// A header with one tensor `t` of the given entry.
fn entry(entry: &str, data: &[u8]) -> Vec<u8> {
    raw_file(&format!(r#"{{"t":{entry}}}"#), data)
}

const FILE: &str = "model.safetensors";
const AGAIN: Option<&str> = Some("download the file again");

#[test]
fn truncated_files_say_how_much_is_missing() {
    let scratch = Scratch::new();
    let whole = small(&["a", "b"]);
    assert_eq!(whole.len(), 1032);
    let cut = |len: usize| of_file(&scratch, &whole[..len]);
    assert_error(
        &cut(1031),
        "truncated",
        &[FILE, "1 bytes short", "1,031 of 1,032"],
        AGAIN,
    );
    assert_error(&cut(1024), "truncated", &[FILE, "8 bytes short"], AGAIN);
    assert_error(
        &cut(100),
        "truncated",
        &[FILE, "inside its header", "924 bytes"],
        AGAIN,
    );
    assert_error(
        &cut(7),
        "truncated",
        &[FILE, "7 bytes long", "8 bytes"],
        AGAIN,
    );
    assert_error(&cut(0), "truncated", &[FILE, "0 bytes long"], AGAIN);
    // And what was appended to.
    let mut longer = whole.clone();
    longer.extend(b"xyz");
    let error = of_file(&scratch, &longer);
    assert_error(
        &error,
        "trailing_data",
        &[FILE, "3 bytes after", "1,035", "1,032"],
        None,
    );
}

#[test]
fn header_lengths_beyond_the_file_or_the_format_are_refused() {
    let scratch = Scratch::new();
    let with_length = |len: u64| {
        let mut file = small(&["a"]);
        file[..8].copy_from_slice(&len.to_le_bytes());
        of_file(&scratch, &file)
    };
    assert_error(
        &with_length(1021),
        "truncated",
        &["inside its header", "1 bytes short"],
        AGAIN,
    );
    let large = with_length(100_000_001);
    assert_error(
        &large,
        "header_too_large",
        &[FILE, "100,000,001", "100,000,000"],
        None,
    );
    let largest = with_length(u64::MAX);
    assert_error(
        &largest,
        "header_too_large",
        &["18,446,744,073,709,551,615"],
        None,
    );
    let none = with_length(0);
    assert_error(&none, "wrong_header", &[FILE, "empty header"], None);
}

#[test]
fn offsets_that_overlap_leave_gaps_or_run_backwards_are_refused() {
    let scratch = Scratch::new();
    let two = |a: &str, b: &str, data: usize| {
        let header = format!(
            r#"{{"a":{{"dtype":"U8","shape":[4],"data_offsets":{a}}},"b":{{"dtype":"U8","shape":[4],"data_offsets":{b}}}}}"#
        );
        (
            header.len() as u64 + 8,
            of_file(&scratch, &raw_file(&header, &vec![0; data])),
        )
    };
    let (start, error) = two("[0,4]", "[2,6]", 6);
    let (found, expected) = ((start + 2).to_string(), (start + 4).to_string());
    let kind = "wrong_tensor_offsets";
    assert_error(
        &error,
        kind,
        &[FILE, "`b`", "inside `a`", &found, &expected],
        None,
    );
    let (start, error) = two("[0,4]", "[5,9]", 9);
    let (found, expected) = ((start + 5).to_string(), (start + 4).to_string());
    let says = [
        FILE,
        "1 bytes before tensor `b`",
        "no tensor",
        &found,
        &expected,
    ];
    assert_error(&error, kind, &says, None);
    let (_, error) = two("[1,5]", "[5,9]", 9);
    assert_error(&error, kind, &["1 bytes before tensor `a`"], None);
    let (_, error) = two("[0,4]", "[4,0]", 4);
    assert_error(&error, kind, &["`b`", "backwards, from 4 to 0"], None);
    let (_, error) = two("[0,4]", "[0,4]", 4);
    assert_error(&error, kind, &["inside"], None);
    let (_, error) = two("[0,4]", "[4,18446744073709551615]", 8);
    assert_error(
        &error,
        "wrong_tensor_size",
        &["`b`", "4 bytes", "18,446,744,073,709,551,611"],
        None,
    );
}

#[test]
fn sizes_that_overflow_or_do_not_agree_are_refused() {
    let scratch = Scratch::new();
    let t = |json: &str, data: &[u8]| of_file(&scratch, &entry(json, data));
    let huge = r#"{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}"#;
    let error = t(huge, b"");
    assert_error(
        &error,
        "wrong_tensor_size",
        &[FILE, "`t`", "overflows", "F32"],
        None,
    );
    let hidden = r#"{"dtype":"U8","shape":[9223372036854775808,2],"data_offsets":[0,0]}"#;
    assert_error(&t(hidden, b""), "wrong_tensor_size", &["overflows"], None);
    let beyond = r#"{"dtype":"U8","shape":[18446744073709551616],"data_offsets":[0,0]}"#;
    assert_error(&t(beyond, b""), "wrong_header", &["`t`", "at offset"], None);
    let other = r#"{"dtype":"F32","shape":[2],"data_offsets":[0,4]}"#;
    assert_error(
        &t(other, b"1234"),
        "wrong_tensor_size",
        &["`t`", "need 8", "span 4"],
        None,
    );
    let half = r#"{"dtype":"F4","shape":[3],"data_offsets":[0,1]}"#;
    assert_error(
        &t(half, b"1"),
        "wrong_tensor_size",
        &["`t`", "F4", "end on a byte"],
        None,
    );
    let far = r#"{"dtype":"U8","shape":[1000000000000],"data_offsets":[0,1000000000000]}"#;
    assert_error(
        &t(far, b""),
        "truncated",
        &[FILE, "1,000,000,000,000 bytes short"],
        AGAIN,
    );
}

#[test]
fn headers_that_are_not_what_the_format_says_are_refused() {
    let scratch = Scratch::new();
    let t = |json: &str| of_file(&scratch, &entry(json, b"x"));
    let error = t(r#"{"dtype":"F128","shape":[1],"data_offsets":[0,1]}"#);
    assert_error(&error, "unknown_dtype", &[FILE, "`t`", "`F128`"], None);
    let error = t(r#"{"dtype":8,"shape":[1],"data_offsets":[0,1]}"#);
    assert_error(&error, "wrong_header", &["`t`", "at offset"], None);
    let error = t(r#"{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}"#);
    assert_error(&error, "wrong_header", &["`t`", "at offset"], None);
    let error = t(r#"{"dtype":"U8","data_offsets":[0,1]}"#);
    assert_error(&error, "wrong_header", &["`t`", "`shape` is missing"], None);
    let error = t(r#"{"dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1]}"#);
    assert_error(
        &error,
        "wrong_header",
        &["`t`", "`shape` stands twice"],
        None,
    );

    let good = r#"{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#;
    let twice = raw_file(&format!(r#"{{"t":{good},"\u0074":{good}}}"#), b"x");
    let error = of_file(&scratch, &twice);
    assert_error(
        &error,
        "duplicate_tensor",
        &[FILE, "`t` stands twice"],
        None,
    );
    let metadata = raw_file(r#"{"__metadata__":{"a":"1","a":"2"}}"#, b"");
    assert_error(
        &of_file(&scratch, &metadata),
        "wrong_header",
        &["`a` stands twice"],
        None,
    );
    let metadata = raw_file(r#"{"__metadata__":{"a":1}}"#, b"");
    assert_error(
        &of_file(&scratch, &metadata),
        "wrong_header",
        &["at offset", "a string"],
        None,
    );
    let open = raw_file(r#"{"t":{"dtype":"U8""#, b"");
    assert_error(
        &of_file(&scratch, &open),
        "wrong_header",
        &["at offset 25"],
        None,
    );
    let mut text = raw_file("{\"\u{e9}\":1}", b"");
    text[10] = 0xff;
    assert_error(
        &of_file(&scratch, &text),
        "wrong_header",
        &["not UTF-8 at offset 10"],
        None,
    );
}

#[test]
fn deep_json_ends_in_an_error_and_not_in_the_stack() {
    let scratch = Scratch::new();
    for depth in [200, 1_000_000] {
        let nested = format!(r#"{{"t":{{"x":{}"#, "[".repeat(depth));
        let error = of_file(&scratch, &raw_file(&nested, b""));
        assert_error(&error, "wrong_header", &[FILE, "recursion limit"], None);
        let nested = format!(r#"{{"metadata":{}"#, r#"{"a":"#.repeat(depth));
        let error = of_folder(&scratch, &[(INDEX, nested.as_bytes())]);
        assert_error(&error, "wrong_index", &[INDEX, "recursion limit"], None);
    }
}

#[test]
fn files_of_other_kinds_are_named_for_what_they_are() {
    let scratch = Scratch::new();
    let pointer = b"version https://git-lfs.github.com/spec/v1\n\
        oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n\
        size 13476850247\n";
    let error = of_file(&scratch, pointer);
    let says = [FILE, "git-lfs pointer", "13,476,850,247 bytes"];
    assert_error(&error, "git_lfs_pointer", &says, Some("git lfs pull"));

    for (content, what, hint) in [
        (
            &b"PK\x03\x04\x14\0\0\x08archive/data.pkl"[..],
            "zip archive",
            Some("convert"),
        ),
        (b"\x80\x02}q\0X\x05\0\0\0model", "pickle", Some("convert")),
        (b"GGUF\x03\0\0\0\x23\x01\0\0\0\0\0\0", "GGUF", None),
        (b"<!DOCTYPE html><html>Sign in</html>", "HTML page", AGAIN),
        (
            b"{\"weight_map\": {\"a\": \"b\"}}",
            "JSON document",
            Some("CID/path"),
        ),
        (b"Access to this model is restricted.", "text file", None),
        (&[0; 4096], "run of zeros", AGAIN),
    ] {
        let error = of_file(&scratch, content);
        assert_error(&error, "not_safetensors", &[FILE, what], hint);
    }
    let error = of_file(&scratch, &noise(4096, 6));
    assert_eq!(error.kind(), "header_too_large", "{error}");
}

#[test]
fn a_shard_that_is_wrong_is_named_by_its_own_path() {
    let scratch = Scratch::new();
    let (a, b) = (small(&["a"]), small(&["b"]));
    let places = index(&[("a", "1.safetensors"), ("b", "deep/2.safetensors")]);
    let error = of_folder(
        &scratch,
        &[
            ("1.safetensors", &a),
            ("deep/2.safetensors", &b[..1020]),
            (INDEX, &places),
        ],
    );
    assert_error(&error, "truncated", &["deep/2.safetensors: "], AGAIN);
}

#[test]
fn indexes_and_shards_that_do_not_agree_are_refused() {
    let scratch = Scratch::new();
    let (a, b, ab) = (small(&["a"]), small(&["b"]), small(&["a", "b"]));
    let (s1, s2) = ("1.safetensors", "2.safetensors");
    let of = |places: &[(&str, &str)], files: &[(&str, &[u8])]| {
        let places = index(places);
        let mut files = files.to_vec();
        files.push((INDEX, &places));
        of_folder(&scratch, &files)
    };
    let error = of(&[("a", s1), ("b", s2), ("c", "3.safetensors")], &[(s1, &a)]);
    let says = [INDEX, "2 shards are not there", s2, "3.safetensors"];
    assert_error(&error, "missing_shard", &says, Some("missing shards"));
    // A folder of that name is no shard.
    let error = of(&[("a", "sub")], &[("sub/1.safetensors", &a)]);
    assert_error(
        &error,
        "missing_shard",
        &["1 shard is not there: sub"],
        Some("missing shards"),
    );

    for escaping in [
        "../1.safetensors",
        "/etc/passwd",
        "x/../../1.safetensors",
        "..",
        "",
        "a//b",
    ] {
        let error = of(&[("a", escaping)], &[(s1, &a)]);
        let says = [INDEX, "`a`", escaping, "no plain path"];
        assert_error(&error, "unsafe_shard_name", &says, None);
    }

    let error = of(&[("a", s1), ("b", s2), ("c", s2)], &[(s1, &a), (s2, &b)]);
    assert_error(
        &error,
        "missing_tensor",
        &[INDEX, "1 tensor is", "`c`", s2],
        None,
    );
    // It is there, in another shard.
    let error = of(&[("a", s2), ("b", s2)], &[(s1, &a), (s2, &b)]);
    assert_error(&error, "missing_tensor", &["`a`", s2], None);
    let error = of(&[("a", s1), ("b", s2)], &[(s1, &a), (s2, &ab)]);
    assert_error(
        &error,
        "duplicate_tensor",
        &[INDEX, "more than one shard", "`a`", s1, s2],
        None,
    );
    let error = of(&[("a", s1)], &[(s1, &ab)]);
    assert_error(&error, "unindexed_tensor", &[INDEX, "`b`", s1], None);

    for (json, kind, says) in [
        (
            &br#"{"weight_map": oops}"#[..],
            "wrong_index",
            "at offset 15",
        ),
        (br#"{"metadata": {}}"#, "wrong_index", "no tensor"),
        (br#"{"weight_map": {}}"#, "wrong_index", "no tensor"),
        (br#"[]"#, "wrong_index", "at offset"),
        (b"", "wrong_index", "at offset 0"),
        (
            br#"{"weight_map": {"a": "1.safetensors", "a": "x"}}"#,
            "duplicate_tensor",
            "`a`",
        ),
    ] {
        let error = of_folder(&scratch, &[(s1, &a), (INDEX, json)]);
        assert_error(&error, kind, &[INDEX, says], None);
    }
}

#[test]
fn a_folder_without_a_checkpoint_or_with_several_lists_what_there_is() {
    let scratch = Scratch::new();
    let a = small(&["a"]);
    let error = of_folder(
        &scratch,
        &[("config.json", b"{}"), ("sub/model.safetensors", &a)],
    );
    assert_error(
        &error,
        "no_checkpoint",
        &["no safetensors checkpoint"],
        Some("`CID/path`"),
    );
    let error = of_folder(&scratch, &[("pytorch_model.bin", &a), ("model.gguf", &a)]);
    let says = ["model.gguf, pytorch_model.bin"];
    assert_error(&error, "no_checkpoint", &says, Some("convert"));

    let error = of_folder(&scratch, &[("x.safetensors", &a), ("b.safetensors", &a)]);
    let says = ["2 checkpoints", "b.safetensors, x.safetensors"];
    assert_error(
        &error,
        "ambiguous_checkpoint",
        &says,
        Some("`CID/b.safetensors`"),
    );
    let (one, two) = ("fp16.safetensors.index.json", "fp32.safetensors.index.json");
    let error = of_folder(&scratch, &[(one, b"{}"), (two, b"{}"), (FILE, &a)]);
    assert_error(
        &error,
        "ambiguous_checkpoint",
        &[one, two],
        Some("`CID/fp16"),
    );
    let LoadError::AmbiguousCheckpoint { candidates } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(candidates, &[one, two]);

    // Naming one helps.
    let cid = scratch.add_folder(&[("x.safetensors", &a), ("b.safetensors", &a)]);
    let target = format!("{cid}/x.safetensors").parse().unwrap();
    assert_eq!(load(&scratch.store, &target).len(), 1);
}

#[test]
fn targets_that_are_not_there_say_so_as_the_store_does() {
    let scratch = Scratch::new();
    let (store, a) = (&scratch.store, small(&["a"]));
    let folder = scratch.path("model");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join(FILE), &a).unwrap();
    std::os::unix::fs::symlink(FILE, folder.join("link.safetensors")).unwrap();
    let cid = store
        .add_path(&folder, &AddOptions::default().named("llama-3"))
        .unwrap()
        .cid;
    let reader = StoreReader::open(store.path()).unwrap();
    let of = |text: &str| load_error(&reader, &text.parse().unwrap());

    let absent = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";
    assert_error(&of(absent), "not_published", &[absent], Some("`ls`"));
    assert_error(
        &of("lama-3"),
        "no_such_name",
        &["\"lama-3\""],
        Some("\"llama-3\""),
    );
    assert_error(
        &of("llama-3/nodel.safetensors"),
        "no_such_path",
        &["nodel"],
        Some(FILE),
    );
    assert_error(
        &of(&format!("{cid}/{INDEX}")),
        "no_such_path",
        &[INDEX],
        Some(FILE),
    );
    assert_error(
        &of("llama-3/link.safetensors"),
        "not_a_file",
        &["symlink"],
        Some("`ls`"),
    );
    let below = format!("{cid}/{FILE}/deeper");
    assert_error(&of(&below), "no_such_path", &["deeper"], None);
    // The writer answers for the CID as its readers do.
    let error = load_error(store, &absent.parse().unwrap());
    assert!(error.to_string().contains(absent), "{error}");
    assert!(error.hint().is_some());
}

#[test]
fn a_plain_folder_says_what_is_wrong_and_is_not_left() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::write(dir.path().join("secret.safetensors"), small(&["secret"])).unwrap();
    fs::write(root.join("model.safetensors"), small(&["a"])).unwrap();
    let plain = PlainFolder::assume_unchanging(&root);
    let error = load_error(&plain, &"nothing".parse().unwrap());
    assert_error(&error, "file_not_found", &["root/nothing"], None);
    for text in ["..", "../secret.safetensors"] {
        let error = load_error(&plain, &text.parse().unwrap());
        assert_error(&error, "bad_target_path", &["\"..\""], Some("target"));
    }
    // Opening a pipe would wait for a writer that never comes.
    let pipe = root.join("pipe.safetensors");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let error = load_error(&plain, &"pipe.safetensors".parse().unwrap());
    assert_error(
        &error,
        "not_a_file",
        &["pipe.safetensors", "special file"],
        None,
    );
    let absent = PlainFolder::assume_unchanging(dir.path().join("absent"));
    let error = load_error(&absent, &".".parse().unwrap());
    assert_error(&error, "file_not_found", &["absent"], None);
}

#[test]
fn an_index_by_its_own_cid_is_no_checkpoint_because_its_shards_are_not_known() {
    let scratch = Scratch::new();
    let cid = scratch
        .store
        .add_path(SHARDED, &AddOptions::default())
        .unwrap()
        .cid;
    let named: Target = format!("{cid}/{INDEX}").parse().unwrap();
    let own = scratch.store.stat(&named).unwrap().cid;
    let error = load_error(&scratch.store, &own.into());
    assert_error(
        &error,
        "not_safetensors",
        &["JSON document"],
        Some("CID/path"),
    );
}

#[test]
fn a_bad_checkpoint_leaves_the_store_as_it_was() {
    let scratch = Scratch::new();
    let cid = scratch.add_folder(&[(FILE, b"no model"), ("config.json", b"{}")]);
    let listing = || {
        let mut found = Vec::new();
        let mut open = vec![scratch.store.path().to_path_buf()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                // What sled does with its own files is its own affair.
                if entry.file_name() == "db" {
                    continue;
                }
                match entry.metadata().unwrap() {
                    metadata if metadata.is_dir() => open.push(entry.path()),
                    metadata => found.push((entry.path(), metadata.len())),
                }
            }
        }
        found.sort();
        found
    };
    let before = listing();
    let error = load_error(&scratch.store, &cid.into());
    assert_eq!(error.kind(), "not_safetensors");
    assert_eq!(listing(), before);
    let result = load_checkpoint_and_dispatch(
        &scratch.store,
        &format!("{cid}/config.json").parse().unwrap(),
        LoadOptions::default(),
    );
    assert_eq!(result.map(|_| ()).unwrap_err().kind(), "truncated");
    assert_eq!(listing(), before);
}
