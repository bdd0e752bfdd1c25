//! `load` and `plan`.

use serde_json::{Value, json};

use super::{Sandbox, fixture};

/// Bytes of the fixture's tensors.
const BYTES: u64 = 1_238_532;

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.add(&[&fixture("silero-vad"), "--pin-name", "vad"]);
    sandbox.add(&[&fixture("silero-vad-sharded"), "--pin-name", "sharded"]);
    sandbox
}

fn devices(shown: &Value) -> Vec<(String, u64, u64)> {
    let devices = shown["devices"].as_object().unwrap().iter();
    let counted = |device: &Value| {
        (
            device["tensors"].as_u64().unwrap(),
            device["bytes"].as_u64().unwrap(),
        )
    };
    devices
        .map(|(name, device)| (name.clone(), counted(device).0, counted(device).1))
        .collect()
}

#[test]
fn load_reports_bytes_copies_and_devices() {
    let sandbox = sandbox();
    for (target, shards) in [
        ("vad", 1),
        ("sharded", 3),
        ("vad/silero_vad_16k.safetensors", 1),
    ] {
        let loaded = sandbox.json(&["load", target]);
        assert_eq!(
            (&loaded["tensors"], &loaded["shards"]),
            (&json!(15), &json!(shards)),
            "{target}"
        );
        assert_eq!(
            (&loaded["bytes"], &loaded["zero_copy_bytes"]),
            (&json!(BYTES), &json!(BYTES))
        );
        assert_eq!(
            (&loaded["copied_bytes"], &loaded["copies"]),
            (&json!(0), &json!({}))
        );
        assert!(loaded["seconds"].as_f64().unwrap() > 0.0);
        assert!(loaded["stages"]["headers"].as_f64().unwrap() > 0.0);
        assert_eq!(
            devices(&loaded),
            [("cpu".into(), 15, BYTES), ("disk".into(), 0, 0)]
        );
    }
    let said = sandbox.ok(&["load", "sharded"]);
    assert!(
        said.starts_with("loaded 15 tensors, 1.2 MiB from 3 shards in "),
        "{said}"
    );
    assert!(said.contains("1.2 MiB zero-copy, nothing copied"), "{said}");
    assert!(said.contains("\ncpu "), "{said}");
    assert_eq!(sandbox.ok(&["load", "-q", "vad"]), "");
}

#[test]
fn limits_send_the_rest_to_the_disk() {
    let sandbox = sandbox();
    let args = ["vad", "--max-memory", "cpu=500KB,disk=1GiB"];
    let plan = sandbox.json(&[&["plan"], &args[..]].concat());
    let load = sandbox.json(&[&["load"], &args[..]].concat());
    assert_eq!(devices(&plan), devices(&load));
    let cpu = &plan["devices"]["cpu"];
    assert_eq!(cpu["limit"], 500_000);
    assert!(cpu["bytes"].as_u64().unwrap() <= 500_000 && cpu["bytes"].as_u64().unwrap() > 0);
    assert_eq!(plan["devices"]["disk"]["limit"], 1 << 30);
    let total: u64 = devices(&plan).iter().map(|(_, _, bytes)| bytes).sum();
    assert_eq!((total, &plan["bytes"]), (BYTES, &json!(BYTES)));

    let map = plan["device_map"].as_object().unwrap();
    assert_eq!(map.len(), 15);
    let on_cpu = map.values().filter(|device| **device == "cpu").count();
    assert_eq!(cpu["tensors"], on_cpu);
}

#[test]
fn plan_shows_devices_and_modules() {
    let sandbox = sandbox();
    let said = sandbox.ok(&["plan", "vad", "--max-memory", "cpu=500KB"]);
    let words: Vec<Vec<_>> = said
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(words[0], ["15", "tensors,", "1.2", "MiB"]);
    assert!(
        words.contains(&vec!["DEVICE", "TENSORS", "SIZE", "LIMIT"]),
        "{said}"
    );
    assert!(words.contains(&vec!["lstm_cell", "disk"]), "{said}");
    assert!(words.contains(&vec!["conv1", "cpu"]), "{said}");
    let whole = sandbox.ok(&["plan", "vad"]);
    assert!(whole.contains("(all)   cpu"), "{whole}");
}

#[test]
fn include_and_exclude_choose_tensors_by_name() {
    let sandbox = sandbox();
    let names = |args: &[&str]| -> Vec<String> {
        let plan = sandbox.json(&[&["plan", "vad"], args].concat());
        plan["device_map"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    };
    assert_eq!(
        names(&["--include", "conv1.*"]),
        ["conv1.bias", "conv1.weight"]
    );
    let biases = names(&["--include", "*.bias", "--exclude", "conv{1,2}*"]);
    assert_eq!(biases, ["conv3.bias", "conv4.bias", "final_conv.bias"]);
    let loaded = sandbox.json(&["load", "vad", "--include", "conv1.bias"]);
    assert_eq!(
        (&loaded["tensors"], &loaded["bytes"]),
        (&json!(1), &json!(512))
    );
    for command in ["plan", "load"] {
        sandbox.refused(
            &[command, "vad", "--include", "nothing*"],
            "nothing_selected",
        );
        sandbox.refused(&[command, "vad", "--exclude", "[a"], "bad_pattern");
    }
}

#[test]
fn a_map_in_a_file_decides_by_the_longest_prefix() {
    let sandbox = sandbox();
    sandbox.write(
        "map.json",
        r#"{"": "disk", "conv1": "cpu", "conv1.bias": "disk"}"#,
    );
    let plan = sandbox.json(&["plan", "vad", "--device-map", "map.json"]);
    let cpu: Vec<_> = plan["device_map"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, device)| **device == "cpu")
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(cpu, ["conv1.weight"]);

    sandbox.write("short.json", r#"{"conv1": "cpu"}"#);
    sandbox.refused(&["plan", "vad", "--device-map", "short.json"], "no_device");
    sandbox.write("gpu.json", r#"{"": 0}"#);
    sandbox.refused(
        &["load", "vad", "--device-map", "gpu.json"],
        "unknown_device",
    );
    sandbox.write("bad.json", "[]");
    sandbox.refused(
        &["load", "vad", "--device-map", "bad.json"],
        "wrong_device_map",
    );
    sandbox.refused(
        &["load", "vad", "--device-map", "absent.json"],
        "file_not_found",
    );
}

#[test]
fn flags_go_before_the_configuration() {
    let sandbox = sandbox();
    sandbox.ok(&["config", "set", "checkpoint.max_memory.cpu", "0"]);
    let plan = sandbox.json(&["plan", "vad"]);
    assert_eq!(devices(&plan)[0], ("cpu".into(), 0, 0));
    let plan = sandbox.json(&["plan", "vad", "--max-memory", "cpu=1GiB"]);
    assert_eq!(devices(&plan)[0], ("cpu".into(), 15, BYTES));

    sandbox.write("map.json", r#"{"": "disk"}"#);
    sandbox.ok(&["config", "set", "checkpoint.device_map", "map.json"]);
    let plan = sandbox.json(&["plan", "vad", "--max-memory", "cpu=1GiB"]);
    assert_eq!(devices(&plan)[1], ("disk".into(), 15, BYTES));
    let plan = sandbox.json(&[
        "plan",
        "vad",
        "--max-memory",
        "cpu=1GiB",
        "--device-map",
        "auto",
    ]);
    assert_eq!(devices(&plan)[0], ("cpu".into(), 15, BYTES));
}

#[test]
fn wrong_limits_are_refused() {
    let sandbox = sandbox();
    for wrong in ["cpu", "=1GiB", "cpu=many", "cpu=1GiB,cpu=2GiB", "cpu=-1"] {
        sandbox.refused(&["load", "vad", "--max-memory", wrong], "bad_max_memory");
    }
    sandbox.refused(
        &["plan", "vad", "--max-memory", "tpu=1GiB"],
        "unknown_device",
    );
    let error = sandbox.refused(
        &["load", "vad", "--max-memory", "cpu=1KB,disk=1KB"],
        "does_not_fit",
    );
    assert!(
        error["hint"].as_str().unwrap().contains("raise a limit"),
        "{error}"
    );
}

#[test]
fn load_brings_bytes_along_and_verifies_them_when_it_is_told_to() {
    let sandbox = sandbox();
    let fields = ["residency", "populated_bytes", "lazy_bytes", "copied_bytes"];
    let all = |args: &[&str]| {
        let loaded = sandbox.json(&[&["load", "sharded"], args].concat());
        let verified = loaded["verified_bytes"].as_u64().unwrap();
        (fields.map(|field| loaded[field].clone()), verified)
    };
    let expect = |residency: &str, bytes: [u64; 3]| {
        let [populated, lazy, copied] = bytes.map(|bytes| json!(bytes));
        [json!(residency), populated, lazy, copied]
    };
    assert_eq!(all(&[]), (expect("lazy", [0, BYTES, 0]), 0));
    for (how, is, bytes) in [
        ("populate", "populate", [BYTES, 0, 0]),
        ("auto", "populate", [BYTES, 0, 0]),
        ("copy", "copy", [0, 0, BYTES]),
    ] {
        assert_eq!(all(&["--residency", how]), (expect(is, bytes), 0));
        let (found, verified) = all(&["--residency", how, "--verify"]);
        assert_eq!(found, expect(is, bytes));
        assert!(verified >= BYTES);
    }
    let capped = ["--residency", "populate", "--memory-cap", "1MiB"];
    let (found, _) = all(&capped);
    assert!(found[1].as_u64().unwrap() <= 1 << 20, "{found:?}");
    assert_eq!(
        found[1].as_u64().unwrap() + found[2].as_u64().unwrap(),
        BYTES
    );
    let said = sandbox.ok(&[&["load", "sharded"], &capped[..]].concat());
    assert!(said.contains("to be read at the first touch"), "{said}");
    let copy = [
        "load",
        "sharded",
        "--residency",
        "copy",
        "--memory-cap",
        "1MiB",
    ];
    sandbox.refused(&copy, "memory_cap");
    assert_eq!(
        sandbox
            .run(&["load", "sharded", "--residency", "eager"])
            .code,
        Some(2)
    );
    assert_eq!(
        sandbox
            .run(&["load", "sharded", "--memory-cap", "much"])
            .code,
        Some(2)
    );
}

/// A control group with a memory limit, removed when dropped; none where this user may not make one.
struct Group(std::path::PathBuf);

impl Group {
    fn new(limit_bytes: u64) -> Option<Self> {
        let name = format!("ipfs-accelerate-test-{}", std::process::id());
        for (hierarchy, limit) in [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
        ] {
            let folder = std::path::Path::new(hierarchy).join(&name);
            if std::fs::create_dir(&folder).is_err() {
                continue;
            }
            let group = Self(folder);
            if std::fs::write(group.0.join(limit), limit_bytes.to_string()).is_ok() {
                return Some(group);
            }
        }
        println!("skipped: this user may not make a control group with a limit on memory");
        None
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // What has ended leaves the group a moment later.
        for _ in 0..50 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

#[test]
fn the_limit_of_the_control_group_ends_what_is_read_ahead_and_nothing_is_killed() {
    const LIMIT: u64 = 48 << 20;
    let Some(group) = Group::new(LIMIT) else {
        return;
    };
    let sandbox = Sandbox::new();
    let shape: &[usize] = &[12 << 20];
    let names: Vec<String> = (0..8).map(|i| format!("h.{i}")).collect();
    let tensors: Vec<_> = names
        .iter()
        .map(|name| (&**name, ipfs_accelerate::checkpoint::Dtype::U8, shape))
        .collect();
    let data = crate::load_files::noise(8 * shape[0], 1);
    let file = crate::load_files::file_from(&tensors, 4096, &data);
    sandbox.write("m.safetensors", &file);
    let path = sandbox.path("m.safetensors");
    sandbox.add(&[path.to_str().unwrap(), "--pin-name", "m"]);
    let whole = data.len() as u64;
    let run = |args: &[&str]| -> std::process::Output {
        // Into the group first, and then into the program.
        let script = format!(
            "echo $$ > {}/cgroup.procs && exec \"$0\" \"$@\"",
            group.0.display()
        );
        let mut command = sandbox.command::<&str>([]);
        let program = command.get_program().to_owned();
        let mut shell = std::process::Command::new("/bin/sh");
        shell.args(["-c", &script]).arg(program);
        shell.args(["--json", "load", "m", "--max-memory", "cpu=1GiB"]);
        shell.args(args).env_clear().envs(
            command
                .env("PATH", "/usr/bin:/bin")
                .get_envs()
                .filter_map(|(key, value)| Some((key, value?))),
        );
        shell.output().unwrap()
    };
    let load = |args: &[&str]| -> Value {
        let output = run(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    for verify in [&[][..], &["--verify"]] {
        let loaded = load(&[&["--residency", "populate"], verify].concat());
        let [populated, lazy] =
            ["populated_bytes", "lazy_bytes"].map(|field| loaded[field].as_u64().unwrap());
        assert_eq!(populated + lazy, whole);
        assert!(populated > 0 && populated <= LIMIT, "{populated}");
    }
    assert_eq!(load(&["--residency", "lazy"])["lazy_bytes"], whole);
    // Copies that the group has no memory for are refused before any is made.
    let output = run(&["--residency", "copy"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let error: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(error["kind"], "not_enough_memory", "{error}");
}

#[test]
fn what_stays_on_the_disk_is_not_verified_and_it_is_said() {
    let sandbox = sandbox();
    let ran = sandbox.run(&["load", "vad", "--verify", "--max-memory", "cpu=0"]);
    assert_eq!(ran.code, Some(0));
    assert!(
        ran.stderr.starts_with("warning: ") && ran.stderr.contains("not verified"),
        "{}",
        ran.stderr
    );
    assert!(
        !sandbox
            .ok(&["load", "vad", "--verify"])
            .contains("not verified")
    );
}
