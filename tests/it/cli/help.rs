//! Help, version, usage errors and the demo.

use serde_json::Value;

use super::Sandbox;

const COMMANDS: [&str; 22] = [
    "add", "absorb", "get", "cat", "ls", "stat", "has", "check", "rm", "pin", "sync", "gc", "df",
    "plan", "load", "dedup", "verify", "repair", "init", "config", "doctor", "demo",
];

#[test]
fn every_command_explains_itself() {
    let sandbox = Sandbox::new();
    let overview = sandbox.ok(&["--help"]);
    for heading in [
        "Content:",
        "Checkpoints:",
        "Setting up:",
        "Exit codes:",
        "Examples:",
    ] {
        assert!(overview.contains(heading), "{heading}");
    }
    for command in COMMANDS {
        assert!(
            overview.contains(&format!("\n  {command:<7} ")),
            "{command}"
        );
        let help = sandbox.ok(&[command, "--help"]);
        assert!(help.contains("Usage: ipfs-accelerate"), "{help}");
        assert!(help.contains("--store <DIR>"), "{help}");
        if !["pin", "config"].contains(&command) {
            assert!(help.contains("Examples:\n  ipfs-accelerate "), "{help}");
        }
    }
    // The short form fits on a screen.
    assert!(sandbox.ok(&["-h"]).lines().count() < 50);
    assert!(!overview.contains('\u{1b}'));
}

#[test]
fn the_version_is_the_packages() {
    let version = Sandbox::new().ok(&["--version"]);
    assert_eq!(
        version,
        concat!("ipfs-accelerate ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn a_wrong_call_is_an_error_in_json_too() {
    let sandbox = Sandbox::new();
    for args in [
        &["nonsense"][..],
        &["add"],
        &["cat", "x", "--offset", "many"],
        &["add", "x", "--pin-name", "n", "--no-pin"],
        &["-q", "-v", "ls"],
        &["ls", "--nonsense"],
    ] {
        let ran = sandbox.run(args);
        assert_eq!((ran.code, ran.text().as_str()), (Some(2), ""), "{args:?}");
        let lines: Vec<&str> = ran.stderr.lines().collect();
        assert_eq!(lines.len(), 2, "{}", ran.stderr);
        assert!(lines[0].starts_with("error: "), "{}", ran.stderr);
        let hint = lines[1].strip_prefix("hint: ").unwrap();
        assert!(hint.contains("see `ipfs-accelerate"), "{hint}");
        let json: Vec<&str> = ["--json"].iter().chain(args).copied().collect();
        let ran = sandbox.run(&json);
        assert_eq!(ran.code, Some(2), "{args:?}");
        let error: Value = serde_json::from_str(&ran.text()).unwrap();
        assert_eq!(
            (error["status"].as_str(), error["kind"].as_str()),
            (Some("error"), Some("usage"))
        );
        assert!(
            !error["message"].as_str().unwrap().starts_with("error"),
            "{error}"
        );
    }
    // Behind `--` it is a path.
    assert_eq!(
        sandbox.run(&["ls", "--nonsense", "--", "--json"]).text(),
        ""
    );
}

#[test]
fn two_names_for_stdin_or_one_name_for_two_paths_are_refused() {
    let sandbox = Sandbox::new();
    sandbox.refused(&["add", "-", "-"], "usage");
    sandbox.refused(&["add", "a", "b", "--pin-name", "n"], "usage");
}

#[test]
fn the_demo_adds_plans_loads_and_cleans_up() {
    let sandbox = Sandbox::new();
    let said = sandbox.ok(&["demo"]);
    let cid = sandbox.add(&[
        "--only-hash",
        &super::fixture("silero-vad/silero_vad_16k.safetensors"),
    ]);
    for part in [
        cid.as_str(),
        "MODULE",
        "loaded 15 tensors",
        "DEVICE",
        "\ncpu ",
        "\ndisk ",
        "cleaned up",
    ] {
        assert!(said.contains(part), "{part:?} in\n{said}");
    }
    let left: Vec<_> = std::fs::read_dir(sandbox.dir.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_demos_parts_can_be_had_one_by_one() {
    let sandbox = Sandbox::new();
    let parts = |args: &[&str]| -> Vec<String> {
        let shown = sandbox.json(args);
        let parts = shown["parts"].as_array().unwrap().iter();
        parts
            .map(|part| part["part"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(parts(&["demo"]), ["checkpoint"]);
    assert_eq!(parts(&["demo", "--config"]), ["config"]);
    assert_eq!(parts(&["demo", "--backends"]), ["backends"]);
    assert_eq!(parts(&["demo", "--config", "--ipfs"]), ["config", "ipfs"]);
    assert_eq!(
        parts(&["demo", "--all"]),
        ["checkpoint", "config", "backends", "ipfs"]
    );

    let ipfs = sandbox.json(&["demo", "--ipfs"])["parts"][0].clone();
    assert_eq!(ipfs["cache"]["hits"], 1);
    assert_eq!(ipfs["exists"], true);
    assert_eq!(ipfs["load"]["tensors"], 15);
    let backends = sandbox.ok(&["demo", "--backends"]);
    assert!(backends.contains("not built yet"), "{backends}");
}

#[test]
fn a_shell_gets_completions_of_every_command() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = sandbox.ok(&["completions", shell]);
        for word in ["verify", "dry-run", "unsafe-links"] {
            assert!(script.contains(word), "{shell} lacks {word}");
        }
    }
    assert_eq!(sandbox.json(&["completions", "bash"])["shell"], "bash");
    sandbox.refused(&["completions", "tcsh"], "usage");
}
