//! `dedup`, and what `add` says of sharing.

use serde_json::{Value, json};

use super::{Sandbox, fixture, noise, safetensors};

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    for (folder, name) in [("silero-vad", "vad"), ("silero-vad-sharded", "sharded")] {
        sandbox.add(&[
            &fixture(folder),
            "--pin-name",
            name,
            "--chunker",
            "tensor-v1",
        ]);
    }
    sandbox
}

/// A checkpoint of as many tensors, one after the other, of which the last ones have other bytes.
fn many(tensors: usize, changed: usize) -> Vec<u8> {
    const LEN: usize = 70_000;
    let entries: Vec<String> = (0..tensors)
        .map(|n| {
            let (start, end) = (n * LEN, (n + 1) * LEN);
            format!(r#""t{n:02}":{{"dtype":"U8","shape":[{LEN}],"data_offsets":[{start},{end}]}}"#)
        })
        .collect();
    let mut bytes = safetensors(&format!("{{{}}}", entries.join(",")), tensors * LEN);
    let at = bytes.len() - changed * LEN;
    bytes[at..].iter_mut().for_each(|byte| *byte = !*byte);
    bytes
}

#[test]
fn two_checkpoints_are_compared_by_tensor() {
    let sandbox = sandbox();
    let found = sandbox.json(&["dedup", "vad", "sharded"]);
    assert_eq!(
        (&found["by"], &found["parts"].as_array().unwrap().len()),
        (&json!("tensor"), &15)
    );
    let shared = found["shared_bytes"].as_u64().unwrap();
    assert_eq!(shared, 1_238_532 + 1_075, "tensors and LICENSE");
    for side in ["a", "b"] {
        let of = &found[side];
        let number = |field: &str| of[field].as_u64().unwrap();
        assert_eq!(
            number("stored_bytes") - number("only_bytes"),
            shared,
            "{of}"
        );
        assert_eq!(of["totals"]["same_name"]["parts"], 15);
        assert_eq!(of["totals"]["alone"]["parts"], 0);
        assert_eq!(of["tensors"], 15);
        assert_eq!((&of["kind"], &of["cid"]), (&json!("folder"), &of["object"]));
    }
    let both = |side: &str| found[side]["only_bytes"].as_u64().unwrap();
    assert_eq!(found["stored_bytes"], both("a") + both("b") + shared);
    assert_eq!(found["a"]["target"], "vad");
    let part = &found["parts"][0];
    assert_eq!(part["a"]["same_as"], part["name"]);
    assert_eq!(
        sandbox.ok(&["-q", "dedup", "vad", "sharded"]),
        format!("{shared}\n")
    );

    let said = sandbox.ok(&["dedup", "vad", "sharded"]);
    for words in [
        "SIZE",
        "STORED",
        "SHARED",
        "ONLY HERE",
        "the same, same name",
        "15 tensors the same in both",
    ] {
        assert!(said.contains(words), "{words} in\n{said}");
    }
    assert!(!said.contains("conv1.weight"), "{said}");
    let all = sandbox.ok(&["dedup", "vad", "sharded", "--all"]);
    assert!(
        all.contains("conv1.weight") && !all.contains("--all"),
        "{all}"
    );
    // A shard, and an index by its path.
    let shard = sandbox.json(&["dedup", "vad", "sharded/model-00001-of-00003.safetensors"]);
    assert_eq!(
        (&shard["by"], &shard["b"]["kind"]),
        (&json!("tensor"), &json!("file"))
    );
    assert!(shard["shared_bytes"].as_u64().unwrap() < shared);
    let index = sandbox.json(&["dedup", "vad", "sharded/model.safetensors.index.json"]);
    assert_eq!(index["shared_bytes"], shared);
}

#[test]
fn long_lists_begin_with_what_differs_and_end_with_a_count() {
    let sandbox = Sandbox::new();
    sandbox.write("base.safetensors", many(60, 0));
    sandbox.write("tuned.safetensors", many(60, 25));
    for name in ["base", "tuned"] {
        let file = format!("{name}.safetensors");
        sandbox.add(&[&file, "--pin-name", name, "--chunker", "tensor-v1"]);
    }
    let said = sandbox.ok(&["dedup", "base", "tuned"]);
    assert_eq!(
        said.lines()
            .filter(|line| line.contains("  stored apart  "))
            .count(),
        20,
        "{said}"
    );
    assert!(
        said.ends_with("5 tensors more, 35 tensors the same in both; --all lists every tensor\n"),
        "{said}"
    );
    let all = sandbox.ok(&["dedup", "base", "tuned", "--all"]);
    let how: Vec<bool> = all
        .lines()
        .filter(|line| line.contains("  stored apart  ") || line.contains("  the same  "))
        .map(|line| line.contains("stored apart"))
        .collect();
    assert_eq!(how, [vec![true; 25], vec![false; 35]].concat());
    let found = sandbox.json(&["dedup", "base", "tuned"]);
    assert_eq!(found["parts"].as_array().unwrap().len(), 60);
    assert_eq!(found["parts"][0]["a"]["same_as"], Value::Null);
    assert_eq!(
        found["shared_bytes"],
        35 * 70_000 + found["a"]["content_bytes"].as_u64().unwrap() - 60 * 70_000
    );
}

#[test]
fn anything_else_is_compared_by_file() {
    let sandbox = sandbox();
    sandbox.write("docs/one", noise(3_000, 1));
    sandbox.write("docs/two", noise(4_000, 2));
    sandbox.write("other", noise(3_000, 1));
    sandbox.add(&["docs", "--pin-name", "docs"]);
    sandbox.add(&["other", "--pin-name", "other"]);
    let found = sandbox.json(&["dedup", "docs", "other"]);
    assert_eq!(
        (&found["by"], &found["shared_bytes"]),
        (&json!("file"), &json!(3_000))
    );
    let one = json!({"name": "one", "a": {"bytes": 3_000, "shared_bytes": 3_000, "same_as": "other"}, "b": null});
    assert_eq!(found["parts"][1], one, "what is not shared comes first");
    let said = sandbox.ok(&["dedup", "docs", "other"]);
    for words in ["only in A", "in B as other", "in A as one", "FILES"] {
        assert!(said.contains(words), "{words} in\n{said}");
    }
    // Checkpoints too, if it is asked for; and where one of the two is none, which is said.
    let files = sandbox.json(&["dedup", "vad", "sharded", "--files"]);
    assert_eq!(files["by"], "file");
    assert_eq!(files["shared_bytes"], 1_238_532 + 1_075);
    let ran = sandbox.run(&["dedup", "vad", "docs"]);
    assert_eq!(ran.code, Some(0));
    assert!(
        ran.stderr.contains("note: compared file by file"),
        "{}",
        ran.stderr
    );
    let ran = sandbox.run(&["dedup", "docs", "sharded/config.json", "-q"]);
    assert_eq!(
        (ran.code, ran.text().as_str(), ran.stderr.as_str()),
        (Some(0), "0\n", "")
    );
}

#[test]
fn other_profiles_are_pointed_out() {
    let sandbox = sandbox();
    sandbox.add(&[
        &fixture("silero-vad"),
        "--pin-name",
        "b3",
        "--hash",
        "blake3",
    ]);
    for (folder, name) in [("silero-vad", "p1"), ("silero-vad-sharded", "p2")] {
        sandbox.add(&[&fixture(folder), "--pin-name", name]);
    }
    let ran = sandbox.run(&["dedup", "p1", "p2"]);
    assert!(ran.text().contains("  stored apart  "), "{}", ran.text());
    assert!(ran.stderr.contains("--chunker tensor-v1"), "{}", ran.stderr);
    let ran = sandbox.run(&["dedup", "vad", "b3"]);
    assert_eq!(ran.code, Some(0));
    assert!(
        ran.stderr
            .contains("A was added under unixfs-v1-2025+chunk=tensor-v1 and B under"),
        "{}",
        ran.stderr
    );
    assert!(ran.text().contains("nothing shared"), "{}", ran.text());
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let sandbox = sandbox();
    sandbox.refused(&["dedup", "vad", "nothing"], "no_such_name");
    sandbox.refused(&["dedup", "nothing", "vad", "--files"], "no_such_name");
    sandbox.refused(&["dedup", "vad", "vad/nothing"], "no_such_path");
    sandbox.refused(&["dedup", "vad"], "usage");
    sandbox.refused(&["dedup", "vad", "vad/.."], "bad_target_path");
    std::os::unix::fs::symlink("x", sandbox.path("link")).unwrap();
    sandbox.write("links/file", "x");
    std::os::unix::fs::symlink("file", sandbox.path("links/link")).unwrap();
    sandbox.add(&["links", "--pin-name", "links"]);
    sandbox.refused(&["dedup", "links/link", "vad"], "not_a_file");
}

#[test]
fn add_says_how_much_is_shared_and_with_what() {
    let sandbox = Sandbox::new();
    sandbox.write("base.safetensors", many(10, 0));
    sandbox.write("tuned.safetensors", many(10, 3));
    let add = |name| sandbox.ok(&["add", name, "--chunker", "tensor-v1"]);
    let first = add("base.safetensors");
    assert!(
        first.contains(" new, ") && !first.contains("shared"),
        "{first}"
    );
    let second = add("tuned.safetensors");
    assert!(
        second.contains("205.1 KiB new, 479.2 KiB shared with base.safetensors, "),
        "{second}"
    );
    let third = add("tuned.safetensors");
    assert!(
        third.contains("nothing new, ") && !third.contains("shared"),
        "{third}"
    );
    let again = sandbox.json(&["add", "base.safetensors"]);
    assert_eq!(again["shared_most_with"], Value::Null);
    sandbox.write("both", [many(10, 0), many(10, 3)].concat());
    let both = sandbox.json(&["add", "both"]);
    assert_eq!(
        both["new_bytes"], both["size"],
        "cut otherwise, so all is new"
    );
}
