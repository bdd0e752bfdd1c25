//! Stores of a container's image: refused, unless a flag, the configuration or the environment says that nobody
//! collects below.

use super::super::mounts::Layers;
use super::{HELLO, Ran, Sandbox};

#[test]
fn a_store_of_a_lower_layer_needs_the_word_that_nobody_collects_there() {
    let Some(layers) = Layers::new(true) else {
        return;
    };
    let sandbox = Sandbox::new();
    sandbox.write("hello.txt", "hello world");
    let below = layers.lower().join("store");
    let below = below.to_str().unwrap();
    sandbox.ok(&["add", "-q", "hello.txt", "--store", below]);
    let Some(overlay) = layers.mount() else {
        return;
    };
    let store = overlay.path().join("store");
    let store = store.to_str().unwrap();
    for args in [
        &["ls"][..],
        &["cat", HELLO],
        &["load", HELLO],
        &["add", "hello.txt"],
        &["pin", "add", HELLO, "--name", "n"],
    ] {
        let args: Vec<&str> = args.iter().copied().chain(["--store", store]).collect();
        let error = sandbox.refused(&args, "overlay");
        assert!(
            error["hint"]
                .as_str()
                .unwrap()
                .contains("--nobody-collects"),
            "{error}"
        );
    }
    let cat = ["cat", HELLO, "--store", store];
    assert_eq!(
        sandbox.ok(&[&cat[..], &["--nobody-collects"]].concat()),
        "hello world"
    );
    let variable = "IPFS_ACCELERATE__STORE__NOBODY_COLLECTS";
    let ran = Ran::from(sandbox.command(cat).env(variable, "1").output().unwrap());
    assert_eq!(
        (ran.code, ran.text().as_str()),
        (Some(0), "hello world"),
        "{}",
        ran.stderr
    );
    // In a container's own layer nobody needs to be told anything.
    let own = overlay.path().join("own");
    let own = own.to_str().unwrap();
    sandbox.ok(&["add", "-q", "hello.txt", "--store", own]);
    assert_eq!(sandbox.ok(&["cat", HELLO, "--store", own]), "hello world");
}
