//! Stores that are checked in: one as this version writes it, and damaged ones with what a repair says of them.
//!
//! `IPFS_ACCELERATE_WRITE_FIXTURES=stores` writes all of them anew, `=reports` what is expected of the damaged ones;
//! see `fixtures/README.md` for when that is right.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ipfs_accelerate::{
    AddOptions, Block, Cid, Explain, GcOptions, HashFunction, PinAs, PinKind, PinOptions, Profile,
    RAW, RemoveOptions, Store, StoreError, StoreReader,
};
use serde_json::{Value, json};

use super::*;

const WRITE: &str = "IPFS_ACCELERATE_WRITE_FIXTURES";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/stores")
}

fn is_writing(what: &str) -> bool {
    std::env::var(WRITE).is_ok_and(|wanted| wanted == what || wanted == "stores")
}

/// What is kept of a store: no index, no lock, no space held for a full disk, and no empty folders.
fn check_in(store: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    for (path, (_, content)) in snapshot(store) {
        let inside = path.strip_prefix(store).unwrap();
        let is_kept = !["db", "lock", "reserve"]
            .iter()
            .any(|left| inside.starts_with(left));
        if path.is_file() && is_kept {
            let to = to.join(inside);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::write(to, content).unwrap();
        }
    }
}

/// A copy as a store has it on disk.
fn check_out(from: &Path) -> Stage {
    let stage = Stage::new();
    for (path, (_, content)) in snapshot(from) {
        let to = stage.store_path().join(path.strip_prefix(from).unwrap());
        if path.is_dir() {
            fs::create_dir_all(to).unwrap();
        } else {
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::write(&to, content).unwrap();
            if to.parent().unwrap().ends_with("packs") {
                fs::set_permissions(&to, fs::Permissions::from_mode(0o444)).unwrap();
            }
        }
    }
    stage
}

fn sha256(content: &[u8]) -> String {
    let hash = HashFunction::Sha2_256.digest(content);
    hash.digest()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The whole store, and the list of what is in it.
fn write_whole(stage: &Stage) -> Value {
    let mut objects = Vec::new();
    let store = stage.create_with(small_packs(100_000));
    let mut add = |name: &str, profile: Profile, files: &[(&str, Vec<u8>)], pin: PinAs| {
        for (path, content) in files {
            stage.file(&format!("{name}/{path}"), content);
        }
        if name == "model" {
            std::os::unix::fs::symlink("config.json", stage.path(name).join("link")).unwrap();
        }
        let options = AddOptions::default()
            .with_profile(profile)
            .with_pin(pin.clone());
        let added = store.add_path(stage.path(name), &options).unwrap();
        let files: BTreeMap<&str, Value> = files
            .iter()
            .map(|(path, content)| {
                (
                    *path,
                    json!({"size": content.len(), "sha256": sha256(content)}),
                )
            })
            .collect();
        objects.push(json!({
            "cid": added.cid.to_string(), "name": name, "pins": added.pin.into_iter().collect::<Vec<_>>(),
            "profile": options.profile.name(), "size": added.size, "files": files,
        }));
    };
    let named = |name: &str| PinAs::Named {
        name: name.into(),
        replace: false,
    };
    let small = |profile: Profile| profile.with_chunk_bytes(4_000).unwrap();
    let model = [
        ("config.json", b"{\"layers\": 2}".to_vec()),
        ("empty", Vec::new()),
        ("weights/a.bin", bytes(1, 66_000)),
        ("weights/b.bin", bytes(2, 3_000)),
    ];
    add("model", small(Profile::default()), &model, named("model"));
    let framed = [("f.bin", bytes(3, 9_000))];
    add(
        "framed",
        small(Profile::unixfs_v0_2015()),
        &framed,
        named("framed"),
    );
    let kubo = [("k.bin", bytes(4, 5_000))];
    add("kubo", Profile::kubo_cidv1(), &kubo, PinAs::Unnamed);
    let blake = small("unixfs-v1-2025+hash=blake3".parse().unwrap());
    add(
        "blake3",
        blake,
        &[("b.bin", bytes(5, 9_000))],
        named("blake3"),
    );
    let removed = [("c.bin", bytes(6, 2_000)), ("r.bin", bytes(7, 9_000))];
    add("removed", small(Profile::default()), &removed, PinAs::No);
    let shared = [("a.bin", bytes(1, 66_000)), ("c.bin", bytes(6, 2_000))];
    add("unpinned", small(Profile::default()), &shared, PinAs::No);
    // One that is gone and one that waits for a collection.
    let at = objects
        .iter()
        .position(|object| object["name"] == "removed");
    let removed = objects.remove(at.unwrap());
    store
        .remove(
            &target(removed["cid"].as_str().unwrap()),
            &RemoveOptions::default(),
        )
        .unwrap();
    store
        .apply_gc(&store.plan_gc(&GcOptions::default()).unwrap())
        .unwrap();
    let waits = add_bytes(&store, &bytes(8, 2_000)).cid;
    store.remove(&of(waits), &RemoveOptions::default()).unwrap();
    let single = Block::new(RAW, HashFunction::Sha2_256, bytes(9, 1_000));
    let mut session = store.session();
    session.put_block(&single).unwrap();
    session.commit().unwrap();
    let leaf = ipfs_accelerate::leaf(&bytes(1, 66_000)[..4_000], &Profile::default()).cid;
    let mut direct = PinOptions::named("direct");
    direct.kind = PinKind::Direct;
    store.pin(&of(leaf), &direct).unwrap();
    json!({
        "profile": store.profile().name(),
        "objects": objects,
        "blocks": [single.cid().to_string(), leaf.to_string()],
        "pins": {"model": "recursive", "framed": "recursive", "blake3": "recursive", "direct": "direct"},
    })
}

#[test]
fn a_store_of_this_version_stays_readable() {
    let fixture = folder().join("v1");
    if is_writing("stores") {
        let stage = Stage::new();
        let listed = write_whole(&stage);
        check_in(&stage.store_path(), &fixture.join("store"));
        let text = serde_json::to_string_pretty(&listed).unwrap();
        fs::write(fixture.join("objects.json"), text + "\n").unwrap();
    }
    let listed: Value =
        serde_json::from_slice(&fs::read(fixture.join("objects.json")).unwrap()).unwrap();
    // As it is checked in: nothing is written, and nothing is missed that git does not keep.
    let before = snapshot(&fixture);
    check_content(&StoreReader::open(fixture.join("store")).unwrap(), &listed);
    assert_eq!(snapshot(&fixture), before);

    let stage = check_out(&fixture.join("store"));
    check_content(&StoreReader::open(stage.store_path()).unwrap(), &listed);
    let store = stage.open();
    for cid in listed["blocks"].as_array().unwrap() {
        let cid: Cid = cid.as_str().unwrap().parse().unwrap();
        assert_eq!(*store.get_block(&cid).unwrap().cid(), cid);
    }
    check_content(&store.to_reader(), &listed);
    // It can be gone on with.
    let added = add_bytes(&store, &bytes(10, 9_000)).cid;
    store
        .apply_gc(&store.plan_gc(&GcOptions::default()).unwrap())
        .unwrap();
    drop(store);
    let mut options = RepairOptions::default();
    options.rehash = true;
    let plan = plan_repair(stage.store_path(), &options).unwrap();
    assert_eq!(plan.findings, []);
    let reader = StoreReader::open(stage.store_path()).unwrap();
    assert!(reader.read(&of(added)).unwrap() == bytes(10, 9_000));
    check_content(&reader, &listed);
}

fn check_content(reader: &StoreReader, listed: &Value) {
    assert_eq!(reader.profile().name(), listed["profile"]);
    let objects = reader.objects().unwrap();
    let listed_objects = listed["objects"].as_array().unwrap();
    for object in listed_objects {
        let cid = object["cid"].as_str().unwrap();
        let found = objects
            .iter()
            .find(|found| found.cid.to_string() == cid)
            .unwrap();
        assert_eq!(found.name, object["name"]);
        assert_eq!(found.profile, object["profile"]);
        assert_eq!(json!(found.size), object["size"]);
        let pins: Vec<&str> = found.pins.iter().map(|pin| pin.name.as_str()).collect();
        assert_eq!(json!(pins), object["pins"]);
        let files = object["files"].as_object().unwrap();
        for (path, file) in files {
            let content = reader.read(&target(format!("{cid}/{path}"))).unwrap();
            assert_eq!(json!(content.len()), file["size"], "{path}");
            assert_eq!(sha256(&content), file["sha256"], "{path}");
        }
    }
    for (name, kind) in listed["pins"].as_object().unwrap() {
        let pins = reader.pins().unwrap();
        let pin = pins.iter().find(|pin| pin.name == *name).unwrap();
        assert_eq!(pin.kind.name(), kind);
    }
    let link = reader.list(&target("model")).unwrap();
    assert!(
        link.iter()
            .any(|entry| entry.kind == ipfs_accelerate::EntryType::Symlink)
    );
}

/// A store of two objects in three packs.
fn base() -> (Stage, Cid, Cid) {
    let stage = Stage::new();
    let store = stage.create_with(small_packs(3_000));
    stage.file("model/a.bin", &bytes(1, 3_000));
    stage.file("model/b.bin", &bytes(2, 300));
    let options = |name: &str| {
        let profile = Profile::default().with_chunk_bytes(1_000).unwrap();
        AddOptions::default().with_profile(profile).named(name)
    };
    let model = store
        .add_path(stage.path("model"), &options("model"))
        .unwrap()
        .cid;
    stage.file("other/a.bin", &bytes(1, 2_000));
    stage.file("other/c.bin", &bytes(3, 700));
    let unpinned = options("").with_pin(PinAs::No);
    let other = store.add_path(stage.path("other"), &unpinned).unwrap().cid;
    drop(store);
    (stage, model, other)
}

/// A defect under its name, and what brings it about in a store with an object.
type Damage = (&'static str, fn(&Stage, Cid));

fn damages() -> Vec<Damage> {
    fn first(stage: &Stage) -> PathBuf {
        let packs = stage.stored("packs").into_iter();
        let holds = |path: &PathBuf| {
            let (content, wanted) = (fs::read(path).unwrap(), bytes(1, 1_000));
            content.windows(64).any(|window| window == &wanted[..64])
        };
        packs.into_iter().find(holds).unwrap()
    }
    fn store(stage: &Stage, path: &str) -> PathBuf {
        stage.store_path().join(path)
    }
    vec![
        ("pack-header", |stage, _| {
            change(&first(stage), |c| c[60..80].fill(0x11))
        }),
        ("pack-table", |stage, _| {
            change(&first(stage), |c| {
                let table = table_of(c);
                c[table + 30] ^= 1;
            });
        }),
        ("pack-shortened", |stage, _| {
            change(&first(stage), |c| c.truncate(1_500))
        }),
        ("pack-torn-table", |stage, _| {
            change(&first(stage), |c| {
                let table = table_of(c);
                c.truncate(table + 100);
            });
        }),
        ("pack-grown", |stage, _| {
            change(&first(stage), |c| c.extend_from_slice(b"more"))
        }),
        ("pack-missing", |stage, _| {
            fs::remove_file(first(stage)).unwrap()
        }),
        ("pack-misnamed", |stage, _| {
            let name = format!("{}.pack", "0123456789abcdef".repeat(2));
            fs::rename(first(stage), store(stage, "packs").join(name)).unwrap();
        }),
        ("pack-foreign", |stage, _| {
            let (other, ..) = base();
            let theirs = other.stored("packs").remove(0);
            let to = store(stage, "packs").join(theirs.file_name().unwrap());
            fs::copy(theirs, to).unwrap();
        }),
        ("root-missing", |stage, cid| {
            fs::remove_file(store(stage, &format!("roots/{cid}"))).unwrap();
        }),
        ("root-damaged", |stage, cid| {
            flip(&store(stage, &format!("roots/{cid}")), 300)
        }),
        ("roots-lost", |stage, _| {
            fs::remove_dir_all(store(stage, "roots")).unwrap()
        }),
        ("root-places", |stage, cid| {
            // The object is removed and collected, and its root comes back.
            let root = store(stage, &format!("roots/{cid}"));
            let saved = fs::read(&root).unwrap();
            let open = stage.open();
            open.remove(&of(cid), &RemoveOptions::with_unpin()).unwrap();
            open.apply_gc(&open.plan_gc(&GcOptions::default()).unwrap())
                .unwrap();
            fs::write(root, saved).unwrap();
        }),
        ("root-foreign", |stage, cid| {
            let (other, ..) = base();
            fs::copy(
                store(&other, &format!("roots/{cid}")),
                store(stage, &format!("roots/{cid}")),
            )
            .unwrap();
        }),
        ("loose-root-damaged", |stage, _| {
            let open = stage.open();
            let mut session = open.session();
            session
                .put_block(&Block::new(RAW, HashFunction::Sha2_256, bytes(4, 100)))
                .unwrap();
            session.commit().unwrap();
            let roots = stage.stored("roots").into_iter();
            let loose = roots
                .into_iter()
                .find(|path| path.to_str().unwrap().contains("loose-"));
            change(&loose.unwrap(), |c| c.truncate(90));
        }),
        ("retired-root-damaged", |stage, cid| {
            let open = stage.open();
            open.remove(&of(cid), &RemoveOptions::with_unpin()).unwrap();
            let roots = stage.stored("roots").into_iter();
            let retired = roots.into_iter().find(|path| path.extension().is_some());
            change(&retired.unwrap(), |c| c.truncate(90));
        }),
        ("name-damaged", |stage, _| {
            change(&store(stage, "names/model"), |c| {
                c[75] ^= 0x20;
                c[80] ^= 0x20;
            })
        }),
        ("name-without-root", |stage, cid| {
            // Its pack is lost as well, so that it cannot be put together.
            fs::remove_file(store(stage, &format!("roots/{cid}"))).unwrap();
            fs::remove_file(first(stage)).unwrap();
        }),
        ("gone-torn", |stage, _| {
            change(&store(stage, "gone"), |c| c.truncate(50))
        }),
        ("gone-lost", |stage, _| {
            fs::remove_file(store(stage, "gone")).unwrap()
        }),
        ("format-lost", |stage, _| {
            fs::remove_file(store(stage, "FORMAT")).unwrap()
        }),
        ("format-torn", |stage, _| {
            change(&store(stage, "FORMAT"), |c| c.truncate(40))
        }),
        ("names-lost", |stage, _| {
            fs::remove_dir_all(store(stage, "names")).unwrap()
        }),
    ]
}

fn write_damaged() {
    for (name, damage) in damages() {
        let (stage, model, _) = base();
        damage(&stage, model);
        let fixture = folder().join(format!("damaged-{name}"));
        check_in(&stage.store_path(), &fixture.join("store"));
        fs::write(fixture.join("report.json"), "{}").unwrap();
    }
}

/// What the command line says of a store, without the path that differs.
fn report(stage: &Stage, args: &[&str]) -> (i32, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_ipfs-accelerate"))
        .args(["repair", "--json", "--store"])
        .arg(stage.store_path())
        .args(args)
        .env_clear()
        .env("HOME", stage.path("home"))
        .output()
        .unwrap();
    let mut report: Value = serde_json::from_slice(&output.stdout).unwrap();
    report.as_object_mut().unwrap().remove("store");
    (output.status.code().unwrap(), report)
}

#[test]
fn damaged_stores_that_are_checked_in_are_told_and_repaired_as_expected() {
    if is_writing("stores") {
        write_damaged();
    }
    let entries = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut fixtures: Vec<PathBuf> = entries
        .filter(|path| name(path).starts_with("damaged-"))
        .collect();
    fixtures.sort();
    assert_eq!(fixtures.len(), damages().len());
    for fixture in fixtures {
        let stage = check_out(&fixture.join("store"));
        let before = snapshot(&stage.store_path());
        let (code, said) = report(&stage, &["--dry-run"]);
        assert_eq!(snapshot(&stage.store_path()), before, "{fixture:?}");
        if is_writing("reports") {
            let text = serde_json::to_string_pretty(&said).unwrap();
            fs::write(fixture.join("report.json"), text + "\n").unwrap();
        }
        let expected = fs::read(fixture.join("report.json")).unwrap();
        let expected: Value = serde_json::from_slice(&expected).unwrap();
        assert_eq!(said, expected, "{fixture:?}");
        assert_eq!(code, 1);

        let (code, mut done) = report(&stage, &[]);
        assert_eq!(code, 1);
        done["dry_run"] = json!(true);
        assert_eq!(done, expected, "{fixture:?}");
        let (code, again) = report(&stage, &[]);
        assert_eq!(again["repaired"], 0, "{fixture:?}: {again}");
        assert_eq!(again["left"], expected["left"], "{fixture:?}: {again}");
        assert_eq!(code, i32::from(again["left"] != 0));
        assert_readable(&stage, &expected);
    }
}

/// What no finding is left for reads whole.
fn assert_readable(stage: &Stage, report: &Value) {
    let store = stage.open();
    let (_, model, other) = base();
    for (cid, files) in [
        (
            model,
            vec![("a.bin", bytes(1, 3_000)), ("b.bin", bytes(2, 300))],
        ),
        (
            other,
            vec![("a.bin", bytes(1, 2_000)), ("c.bin", bytes(3, 700))],
        ),
    ] {
        let findings = report["findings"].as_array().unwrap().iter();
        let mut left = findings.filter(|finding| finding["action"] == "left");
        let is_left = left.any(|finding| {
            let concerned = finding["objects"].as_array().unwrap();
            concerned
                .iter()
                .any(|object| object["cid"] == cid.to_string())
        });
        let has_root = stage.store_path().join(format!("roots/{cid}")).exists();
        if is_left || !has_root {
            continue;
        }
        for (path, content) in files {
            let read = store.to_reader().read(&target(format!("{cid}/{path}")));
            assert!(read.unwrap() == content, "{cid}/{path}");
        }
    }
}

#[test]
fn damaged_stores_that_do_not_open_say_to_repair_them() {
    for (name, damage) in damages() {
        let (stage, model, _) = base();
        damage(&stage, model);
        let opened = Store::open(stage.store_path());
        let does_not = [
            "gone-torn",
            "gone-lost",
            "format-lost",
            "format-torn",
            "roots-lost",
            "names-lost",
        ];
        assert_eq!(opened.is_err(), does_not.contains(&name), "{name}");
        if let Err(e) = opened {
            assert!(
                matches!(e, StoreError::Damaged { .. } | StoreError::File(_)),
                "{name}: {e}"
            );
            assert!(
                e.hint().unwrap_or_default().contains("repair"),
                "{name}: {e}"
            );
        }
    }
}
