//! Names and pins, and removing what they keep.

use ipfs_accelerate::{
    AddOptions, Explain, PinAs, PinKind, PinOptions, Profile, RemoveOptions, Store, StoreError,
};

use super::store_kit::*;

fn pinned(store: &Store) -> Vec<(String, PinKind)> {
    store
        .pins()
        .unwrap()
        .into_iter()
        .map(|pin| (pin.name, pin.kind))
        .collect()
}

fn direct() -> PinOptions {
    let mut options = PinOptions::default();
    options.kind = PinKind::Direct;
    options
}

#[test]
fn an_added_object_is_pinned_under_its_cid_unless_told_otherwise() {
    let stage = Stage::new();
    let store = stage.create();
    let added = store.add_reader(&b"a"[..], &AddOptions::default()).unwrap();
    assert_eq!(added.pin, Some(added.cid.to_string()));
    assert_eq!(
        pinned(&store),
        [(added.cid.to_string(), PinKind::Recursive)]
    );
    let named = store
        .add_reader(&b"b"[..], &AddOptions::default().named("b"))
        .unwrap();
    assert_eq!(named.pin.as_deref(), Some("b"));
    assert_eq!(store.add_reader(&b"c"[..], &unpinned()).unwrap().pin, None);
    assert_eq!(store.pins().unwrap().len(), 2);
    assert_eq!(read(&store, &target("b")), b"b");
    let objects = store.objects().unwrap();
    let pins: usize = objects.iter().map(|o| o.pins.len()).sum();
    assert_eq!((objects.len(), pins), (3, 2));
}

#[test]
fn a_taken_name_is_refused_and_moves_with_replace_only() {
    let stage = Stage::new();
    let store = stage.create_with(small_packs(300_000));
    let first = store
        .add_reader(&b"1"[..], &AddOptions::default().named("n"))
        .unwrap();
    // Over several packs, so that sealed ones have to go again.
    let content = bytes(1, 3 << 20);
    let error = refused(&stage, || {
        store.add_reader(&content[..], &AddOptions::default().named("n"))
    });
    assert!(
        matches!(&error, StoreError::NameTaken { name, cid } if name == "n" && *cid == first.cid),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("--replace"));
    // The same content under the same name is no conflict.
    store
        .add_reader(&b"1"[..], &AddOptions::default().named("n"))
        .unwrap();

    let replace = PinAs::Named {
        name: "n".into(),
        replace: true,
    };
    let options = AddOptions::default().with_pin(replace);
    let second = store.add_reader(&content[..], &options).unwrap();
    assert_eq!(store.stat(&target("n")).unwrap().cid, second.cid);
    assert_eq!(pinned(&store), [("n".to_owned(), PinKind::Recursive)]);

    let error = refused(&stage, || {
        store.pin(&of(first.cid), &PinOptions::named("n"))
    });
    assert!(matches!(error, StoreError::NameTaken { .. }), "{error}");
    let mut options = PinOptions::named("n");
    options.replace = true;
    assert_eq!(store.pin(&of(first.cid), &options).unwrap().cid, first.cid);
    drop(store);
    assert_eq!(read(&stage.open(), &target("n")), b"1");
}

#[test]
fn names_that_cannot_be_are_refused_before_anything_is_hashed() {
    let stage = Stage::new();
    let store = stage.create();
    let added = add_bytes(&store, b"x");
    let other = add_bytes(&store, b"y").cid.to_string();
    let v0 = "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o";
    let long = "n".repeat(256);
    let bad = [
        "",
        "a/b",
        "/",
        "a\0b",
        ".",
        "..",
        ".hidden",
        "line\nbreak",
        "\u{7f}",
        &long,
        v0,
    ];
    for name in bad.into_iter().chain([other.as_str()]) {
        let error = refused(&stage, || {
            store.pin(&of(added.cid), &PinOptions::named(name))
        });
        assert!(
            matches!(&error, StoreError::BadName { name: n, .. } if n == name),
            "{error}"
        );
        struct Unread;
        impl std::io::Read for Unread {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                panic!("nothing should be read")
            }
        }
        // The CID of another object is known to be one only once this one's is known.
        if name != other {
            let options = AddOptions::default().named(name);
            let error = refused(&stage, || store.add_reader(Unread, &options));
            assert!(matches!(error, StoreError::BadName { .. }), "{error}");
        }
    }
    let options = AddOptions::default().named(&other);
    let error = refused(&stage, || store.add_reader(&b"z"[..], &options));
    assert!(matches!(error, StoreError::BadName { .. }), "{error}");
    for name in [
        "a b",
        "é日",
        "v1.0",
        &"n".repeat(255),
        "-x",
        &added.cid.to_string(),
    ] {
        assert_eq!(
            store
                .pin(&of(added.cid), &PinOptions::named(name))
                .unwrap()
                .name,
            name
        );
        assert_eq!(read(&store, &target(name)), b"x");
    }
}

#[test]
fn a_pin_inside_an_object_stands_on_its_own() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(2, 2_500_000);
    stage.file("m/sub/weights", &content);
    stage.file("m/sub/empty", b"");
    stage.file("m/config", b"{}");
    let added = store
        .add_path(stage.path("m"), &AddOptions::default().named("m"))
        .unwrap();
    let below = store
        .pin(&target("m/sub"), &PinOptions::named("below"))
        .unwrap();
    assert_ne!(below.cid, added.cid);
    let stat = store.stat(&target("below")).unwrap();
    assert_eq!(
        (stat.object, stat.size, stat.blocks),
        (below.cid, 2_500_000, 1 + 1 + 4)
    );
    let removed = store
        .remove(&target("m"), &RemoveOptions::with_unpin())
        .unwrap();
    assert_eq!(removed.unpinned, ["m"]);
    // Only the config's leaf and the folder's node are not the pin's too.
    let own = removed.not_freeable_bytes;
    assert!(own < 300 && own > 2, "{removed:?}");
    assert_eq!(removed.freeable_bytes, 0, "they share a page");
    assert!(removed.shared_bytes > 2_500_000, "{removed:?}");
    drop(store);
    let store = stage.open();
    assert!(read(&store, &target("below/weights")) == content);
    assert_eq!(read(&store, &target("below/empty")), b"");
    assert!(!store.to_reader().has(&target("m")).unwrap());
}

#[test]
fn a_direct_pin_keeps_one_block_and_hides_nothing() {
    let stage = Stage::new();
    let store = stage.create();
    stage.file("m/sub/a", &bytes(3, 100_000));
    let added = store.add_path(stage.path("m"), &unpinned()).unwrap();
    let sub = store
        .stat(&target(format!("{}/sub", added.cid)))
        .unwrap()
        .cid;
    let pin = store.pin(&of(sub), &direct()).unwrap();
    assert_eq!((pin.kind, pin.name), (PinKind::Direct, sub.to_string()));
    // The folder is still found in the object that holds all of it.
    assert_eq!(store.list(&of(sub)).unwrap().len(), 1);
    assert_eq!(store.to_reader().list(&of(sub)).unwrap().len(), 1);
    store
        .remove(&of(added.cid), &RemoveOptions::default())
        .unwrap();
    let error = store.to_reader().list(&of(sub)).unwrap_err();
    assert!(
        matches!(error, StoreError::NotAFolder { found: "block", .. }),
        "{error}"
    );
    assert!(store.get_block(&sub).is_ok());
    // A recursive pin puts the whole in its place.
    assert_eq!(
        store.pin(&of(sub), &PinOptions::default()).unwrap().kind,
        PinKind::Recursive
    );
    assert_eq!(store.to_reader().list(&of(sub)).unwrap().len(), 1);
}

#[test]
fn a_direct_pin_does_not_weaken_a_recursive_one() {
    let stage = Stage::new();
    let store = stage.create();
    let added = store
        .add_reader(&bytes(4, 3 << 20)[..], &AddOptions::default())
        .unwrap();
    assert_eq!(
        store.pin(&of(added.cid), &direct()).unwrap().kind,
        PinKind::Recursive
    );
    assert_eq!(
        pinned(&store),
        [(added.cid.to_string(), PinKind::Recursive)]
    );
}

#[test]
fn a_pin_of_what_is_absent_is_refused() {
    let stage = Stage::new();
    let store = stage.create();
    let absent = ipfs_accelerate::leaf(b"absent", &Profile::default()).cid;
    for options in [PinOptions::default(), direct()] {
        let error = refused(&stage, || store.pin(&of(absent), &options));
        let kinds = ["not_published", "block_absent"];
        assert!(
            kinds.contains(&error.kind()) && error.to_string().contains(&absent.to_string()),
            "{error}"
        );
        let error = refused(&stage, || store.pin(&target("nobody"), &options));
        assert!(matches!(error, StoreError::NoSuchName { .. }), "{error}");
    }
}

#[test]
fn unpin_takes_a_name_or_a_cid_and_wants_to_know_which() {
    let stage = Stage::new();
    let store = stage.create();
    let cid = add_bytes(&store, b"x").cid;
    let error = refused(&stage, || store.unpin(&of(cid)));
    assert!(matches!(error, StoreError::NotPinned { .. }), "{error}");
    for name in ["a", "b"] {
        store.pin(&of(cid), &PinOptions::named(name)).unwrap();
    }
    let error = refused(&stage, || store.unpin(&of(cid)));
    assert!(
        matches!(&error, StoreError::ManyPins { names, .. } if *names == ["a", "b"]),
        "{error}"
    );
    assert_eq!(store.unpin(&target("a")).unwrap().name, "a");
    assert_eq!(store.unpin(&of(cid)).unwrap().name, "b");
    // Among several, the one named by the CID is the one that is meant.
    for options in [PinOptions::named("c"), PinOptions::default()] {
        store.pin(&of(cid), &options).unwrap();
    }
    assert_eq!(store.unpin(&of(cid)).unwrap().name, cid.to_string());
    assert_eq!(pinned(&store), [("c".to_owned(), PinKind::Recursive)]);
    for wrong in ["a", "c/path"] {
        let error = refused(&stage, || store.unpin(&target(wrong)));
        assert!(matches!(error, StoreError::NotPinned { .. }), "{error}");
    }
    drop(store);
    assert_eq!(pinned(&stage.open()).len(), 1);
}

#[test]
fn remove_refuses_what_is_pinned_and_parts_of_objects() {
    let stage = Stage::new();
    let store = stage.create();
    stage.file("m/a", b"part");
    let options = AddOptions::default().named("m");
    let added = store.add_path(stage.path("m"), &options).unwrap();
    store
        .pin(&of(added.cid), &PinOptions::named("also"))
        .unwrap();
    let error = refused(&stage, || {
        store.remove(&of(added.cid), &RemoveOptions::default())
    });
    assert!(
        matches!(&error, StoreError::Pinned { names, .. } if *names == ["also", "m"]),
        "{error}"
    );
    let leaf = ipfs_accelerate::leaf(b"part", &Profile::default()).cid;
    for part in [target("m/a"), of(leaf)] {
        let error = refused(&stage, || store.remove(&part, &RemoveOptions::with_unpin()));
        assert!(
            matches!(&error, StoreError::NotAnObject { object, .. } if *object == added.cid),
            "{error}"
        );
    }
    let error = refused(&stage, || {
        store.remove(&target("also"), &RemoveOptions::with_unpin())
    });
    assert!(
        matches!(&error, StoreError::OtherNames { others, .. } if *others == ["m"]),
        "{error}"
    );
    let report = store
        .remove(&of(added.cid), &RemoveOptions::with_unpin())
        .unwrap();
    assert_eq!(report.unpinned, ["also", "m"]);
    assert_eq!((store.objects().unwrap(), pinned(&store)), (vec![], vec![]));
    let error = refused(&stage, || {
        store.remove(&of(added.cid), &RemoveOptions::default())
    });
    assert!(matches!(error, StoreError::NotPublished { .. }), "{error}");
    // Its blocks are there until a collection, so adding it again writes no payload.
    assert_eq!(
        store.add_path(stage.path("m"), &options).unwrap().new_bytes,
        0
    );
    assert_eq!(read(&store, &target("m/a")), b"part");
}

#[test]
fn remove_says_how_much_nothing_else_uses() {
    let stage = Stage::new();
    let store = stage.create();
    let shared = bytes(5, 4 << 20);
    let one = [&shared[..], &bytes(6, 1 << 20)].concat();
    let two = [&shared[..], &bytes(7, 2 << 20)].concat();
    let (one, two) = (add_bytes(&store, &one), add_bytes(&store, &two));
    let removed = store
        .remove(&of(one.cid), &RemoveOptions::default())
        .unwrap();
    assert_eq!(removed.shared_bytes, 4 << 20);
    // The leaf of its own, and its node.
    assert!(
        (1 << 20..(1 << 20) + 8_192).contains(&removed.freeable_bytes),
        "{removed:?}"
    );
    let removed = store
        .remove(&of(two.cid), &RemoveOptions::default())
        .unwrap();
    assert_eq!(removed.shared_bytes, 0);
    assert!(
        (6 << 20..(6 << 20) + 131_072).contains(&removed.freeable_bytes),
        "{removed:?}"
    );
}

#[test]
fn a_misspelt_name_is_answered_with_the_nearest() {
    let stage = Stage::new();
    let store = stage.create();
    store
        .add_reader(&b"x"[..], &AddOptions::default().named("llama-3"))
        .unwrap();
    let error = store.resolve(&target("lama-3")).unwrap_err();
    assert!(error.hint().unwrap().contains("llama-3"), "{error}");
}
