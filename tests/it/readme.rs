//! The command lines of the README, run as they stand there.

use std::path::Path;
use std::process::Command;

#[test]
fn every_command_of_the_readme_works_in_its_order() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let program = env!("CARGO_BIN_EXE_ipfs-accelerate");
    let dir = tempfile::tempdir().unwrap();
    let fixtures = dir.path().join("fixtures");
    std::os::unix::fs::symlink(root.join("fixtures"), fixtures).unwrap();
    let mut run = 0;
    let blocks = readme
        .split("```console\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap());
    for line in blocks.flat_map(str::lines) {
        let Some(command) = line.strip_prefix("$ ipfs-accelerate ") else {
            continue;
        };
        let output = Command::new(program)
            .args(command.split_whitespace())
            .current_dir(dir.path())
            .env_clear()
            .env("IPFS_ACCELERATE_STORE", dir.path().join("store"))
            .env("HOME", dir.path())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {stderr}");
        assert!(
            !output.stdout.is_empty() || command.starts_with("get "),
            "{line} printed nothing"
        );
        run += 1;
    }
    assert!(run >= 10, "the README shows {run} commands");
}
