//! `config`, and how a setting is found: default, file, environment, flag.

use std::fs;

use serde_json::{Value, json};

use super::{HELLO, Ran, Sandbox};

fn file(sandbox: &Sandbox) -> String {
    sandbox
        .path(".config/ipfs-accelerate/config.toml")
        .display()
        .to_string()
}

#[test]
fn get_prints_a_value_as_a_script_wants_it() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.ok(&["config", "get", "cache.max_size_mb"]), "500\n");
    assert_eq!(
        sandbox.ok(&["config", "get", "store.profile"]),
        "unixfs-v1-2025\n"
    );
    assert_eq!(
        sandbox.ok(&["config", "get", "endpoints.local.port"]),
        "8000\n"
    );
    let got = sandbox.json(&["config", "get", "cache.enabled"]);
    assert_eq!(
        got,
        json!({"status": "success", "key": "cache.enabled", "value": true})
    );
    assert_eq!(
        sandbox.json(&["config", "get", "docker"])["value"],
        json!({"enable": false, "timeout": 60})
    );

    let unset = sandbox.run(&["config", "get", "store.path"]);
    assert_eq!(
        (unset.code, unset.text().as_str(), unset.stderr.as_str()),
        (Some(1), "", "")
    );
    let error = sandbox.refused(&["config", "get", "cache.max_siz_mb"], "config_unknown_key");
    let expected = "command line: unknown key `max_siz_mb` in [cache]; did you mean `max_size_mb`?";
    assert_eq!(
        error["message"].as_str().unwrap().replace("?`", "`?"),
        expected
    );
    sandbox.refused(&["config", "get", "nonsense.key"], "config_unknown_section");
}

#[test]
fn set_writes_the_file_and_keeps_its_comments() {
    let sandbox = Sandbox::new();
    let path = file(&sandbox);
    let said = sandbox.ok(&["config", "set", "cache.max_size_mb", "200"]);
    assert_eq!(said, format!("cache.max_size_mb = 200  # {path}\n"));
    assert_eq!(sandbox.ok(&["config", "get", "cache.max_size_mb"]), "200\n");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("# The most that is kept there"), "{text}");

    fs::write(&path, "# mine\n[cache]\nmax_size_mb = 1 # small\n").unwrap();
    let set = sandbox.json(&["config", "set", "cache.max_size_mb", "300"]);
    let expected =
        json!({"status": "success", "key": "cache.max_size_mb", "value": 300, "config": path});
    assert_eq!(set, expected);
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text, "# mine\n[cache]\nmax_size_mb = 300 # small\n");
}

#[test]
fn set_refuses_what_loading_would_and_leaves_the_file() {
    let sandbox = Sandbox::new();
    sandbox.refused(
        &["config", "set", "cache.max_size_mb", "many"],
        "config_wrong_value",
    );
    sandbox.refused(
        &["config", "set", "cache.nonsense", "1"],
        "config_unknown_key",
    );
    assert!(!sandbox.path(".config").exists());
    let path = file(&sandbox);
    sandbox.write(".config/ipfs-accelerate/config.toml", "[cache\n");
    sandbox.refused(
        &["config", "set", "cache.enabled", "false"],
        "config_syntax",
    );
    assert_eq!(fs::read_to_string(path).unwrap(), "[cache\n");
}

#[test]
fn set_does_not_save_what_the_environment_said() {
    let sandbox = Sandbox::new();
    let ran = sandbox
        .command(["config", "set", "docker.timeout", "5"])
        .env("IPFS_ACCELERATE__CACHE__MAX_SIZE_MB", "7")
        .output()
        .unwrap();
    assert_eq!(Ran::from(ran).code, Some(0));
    assert_eq!(sandbox.ok(&["config", "get", "cache.max_size_mb"]), "500\n");
    assert_eq!(sandbox.ok(&["config", "get", "docker.timeout"]), "5\n");
}

#[test]
fn a_relative_path_is_relative_to_where_it_was_typed() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["config", "set", "store.path", "here"]);
    let here = sandbox
        .dir
        .path()
        .canonicalize()
        .unwrap()
        .join("here")
        .display()
        .to_string();
    assert_eq!(sandbox.ok(&["config", "get", "store.path"]).trim(), here);
}

#[test]
fn show_says_where_each_value_comes_from_and_masks_secrets() {
    let sandbox = Sandbox::new();
    let path = file(&sandbox);
    sandbox.write(
        ".config/ipfs-accelerate/config.toml",
        "[endpoints.mine]\nhost = \"example.org\"\napi_key = \"hunter2\"\n",
    );
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let shown = sandbox
        .command(["config", "show"])
        .env("IPFS_ACCELERATE__CACHE__MAX_SIZE_MB", "200")
        .output()
        .unwrap();
    let shown = Ran::from(shown);
    assert_eq!((shown.code, shown.stderr.as_str()), (Some(0), ""));
    let text = shown.text();
    assert!(
        text.contains("max_size_mb = 200  # IPFS_ACCELERATE__CACHE__MAX_SIZE_MB\n"),
        "{text}"
    );
    assert!(
        text.contains(&format!("host = \"example.org\"  # {path}:2\n")),
        "{text}"
    );
    for args in [
        &["config", "show"][..],
        &["config", "show", "--json"],
        &["config", "get", "endpoints.mine.api_key"],
        &["config", "get", "endpoints.mine"],
        &["config", "get", "endpoints", "--json"],
        &["-vvv", "config", "show"],
    ] {
        let ran = sandbox.run(args);
        assert_eq!(ran.code, Some(0), "{args:?}");
        assert!(
            !ran.text().contains("hunter2") && !ran.stderr.contains("hunter2"),
            "{args:?}"
        );
    }
    let entries = sandbox.json(&["config", "show"])["entries"].clone();
    let host = entries
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["section"] == "endpoints.mine" && entry["key"] == "host");
    let expected = json!({
        "section": "endpoints.mine", "key": "host", "value": "example.org", "origin": format!("{path}:2"),
    });
    assert_eq!(host, Some(&expected));
}

#[test]
fn path_says_where_the_file_is_or_would_be_even_if_it_is_broken() {
    let sandbox = Sandbox::new();
    let path = file(&sandbox);
    assert_eq!(sandbox.ok(&["config", "path"]), format!("{path}\n"));
    let absent = json!({"status": "success", "config": path, "exists": false});
    assert_eq!(sandbox.json(&["config", "path"]), absent);
    sandbox.write(".config/ipfs-accelerate/config.toml", "nonsense");
    assert_eq!(sandbox.json(&["config", "path"])["exists"], true);
    let error = sandbox.refused(&["config", "show"], "config_syntax");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .starts_with(&format!("{path}:1:")),
        "{error}"
    );
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let sandbox = Sandbox::new();
    sandbox.refused(&["--config", "absent.toml", "ls"], "no_config");
    sandbox.refused(
        &["config", "get", "cache.enabled", "--config", "absent.toml"],
        "no_config",
    );
    sandbox.ok(&[
        "--config",
        "mine.toml",
        "config",
        "set",
        "cache.enabled",
        "false",
    ]);
    let got = sandbox.ok(&["--config", "mine.toml", "config", "get", "cache.enabled"]);
    assert_eq!(got, "false\n");
    assert_eq!(sandbox.ok(&["config", "get", "cache.enabled"]), "true\n");
}

#[test]
fn the_store_is_where_the_first_of_flag_variable_file_and_default_says() {
    let sandbox = Sandbox::new();
    let store_of = |args: &[&str], variables: &[(&str, &str)]| -> String {
        let mut command = sandbox.command([&["stat", "--json"], args].concat());
        command
            .env_remove("IPFS_ACCELERATE_STORE")
            .envs(variables.iter().copied());
        let error: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
        let message = error["message"].as_str().unwrap();
        message
            .strip_prefix("there is no store at ")
            .unwrap()
            .to_owned()
    };
    let home = sandbox.dir.path().display().to_string();
    let default = format!("{home}/.local/share/ipfs-accelerate");
    assert_eq!(store_of(&[], &[]), default);
    assert_eq!(
        store_of(&[], &[("XDG_DATA_HOME", "/nowhere/xdg")]),
        "/nowhere/xdg/ipfs-accelerate"
    );
    sandbox.ok(&["config", "set", "cache.path", "/nowhere/file"]);
    assert_eq!(
        store_of(&[], &[("XDG_DATA_HOME", "/nowhere/xdg")]),
        "/nowhere/file"
    );
    let seed = [("IPFS_ACCELERATE__STORE__PATH", "/nowhere/layer")];
    assert_eq!(store_of(&[], &seed), "/nowhere/layer");
    let variable = [
        ("IPFS_ACCELERATE__STORE__PATH", "/nowhere/layer"),
        ("IPFS_ACCELERATE_STORE", "/nowhere/var"),
    ];
    assert_eq!(store_of(&[], &variable), "/nowhere/var");
    assert_eq!(
        store_of(&["--store", "/nowhere/flag"], &variable),
        "/nowhere/flag"
    );
}

#[test]
fn the_environment_goes_before_the_file() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["config", "set", "cache.max_size_mb", "100"]);
    let got = |variable: Option<&str>| {
        let mut command = sandbox.command(["config", "get", "cache.max_size_mb"]);
        command.envs(variable.map(|value| ("IPFS_ACCELERATE__CACHE__MAX_SIZE_MB", value)));
        Ran::from(command.output().unwrap()).text()
    };
    assert_eq!(
        (got(None).as_str(), got(Some("200")).as_str()),
        ("100\n", "200\n")
    );
    sandbox.ok(&["init"]);
    assert_eq!(
        sandbox.json(&["stat"])["cache"]["budget_bytes"],
        100_000_000
    );
    let unknown = sandbox
        .command(["stat"])
        .env("IPFS_ACCELERATE__CACHE__MAX_SIZ_MB", "1")
        .output()
        .unwrap();
    let unknown = Ran::from(unknown);
    assert_eq!(unknown.code, Some(2));
    assert!(
        unknown
            .stderr
            .contains("IPFS_ACCELERATE__CACHE__MAX_SIZ_MB"),
        "{}",
        unknown.stderr
    );
}

#[test]
fn warnings_are_logged_and_quiet_leaves_them_out() {
    let sandbox = Sandbox::new();
    let key = "[endpoints.mine]\napi_key = \"hunter2\"\n";
    let path = sandbox.write("open.toml", key);
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    sandbox.write("hello.txt", "hello world");
    let loud = sandbox.run(&["--config", "open.toml", "add", "hello.txt"]);
    assert_eq!(loud.code, Some(0));
    assert!(!loud.stderr.contains('\u{1b}'), "{:?}", loud.stderr);
    let quiet = sandbox.run(&["--config", "open.toml", "add", "hello.txt", "-q"]);
    assert_eq!(
        (quiet.text(), quiet.stderr.as_str()),
        (format!("{HELLO}\n"), "")
    );
}

#[test]
fn a_profile_that_does_not_exist_is_not_written() {
    let sandbox = Sandbox::new();
    let set = |value| ["config", "set", "store.profile", value];
    sandbox.refused(&set("nonsense"), "profile_unknown");
    sandbox.refused(&set("kubo-cidv1+hash=md5"), "profile_setting_invalid");
    assert!(!sandbox.path(".config/ipfs-accelerate/config.toml").exists());
    sandbox.ok(&set("unixfs-v1-2025+chunk=tensor-v1"));
    let model = super::fixture("silero-vad");
    let added = sandbox.json(&["add", &model]);
    assert_eq!(added["profile"], "unixfs-v1-2025+chunk=tensor-v1");
}
