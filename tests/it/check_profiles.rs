//! `check_path` and `check_reader`: content is read once, and is under each profile what hashing it under
//! that profile alone says; the CIDs of other implementations are matched under the right one (promises I1
//! and I9).

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ipfs_accelerate::{
    AddOptions, BLAKE3, CheckError, CheckOptions, CheckReport, Cid, Explain, HashFunction,
    IDENTITY, Multihash, Profile, RAW, SHA2_256, Store, StoreError, canonical, check_path,
    check_reader, cid_of_reader, hash_path, hash_reader, parse_cid,
};
use proptest::prelude::*;
use serde_json::Value;

use super::identity::{agreed, pattern, splitmix, vectors};
use super::store_kit::*;

const HELLO: &str = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";

/// A CID that nothing here has.
fn other(hash: HashFunction) -> Cid {
    Cid::new_v1(RAW, hash.digest(b"something else"))
}

fn under(profiles: &[Profile]) -> CheckOptions {
    CheckOptions::default().with_profiles(profiles.to_vec())
}

fn check(path: &Path, cid: &str) -> CheckReport {
    check_path(path, &parse_cid(cid).unwrap(), &CheckOptions::default()).unwrap()
}

fn matched(report: &CheckReport) -> Option<&str> {
    report.profile.as_ref().map(Profile::name)
}

/// All candidates of both hash functions, and chunks so short that a window has 64 KiB.
fn all_profiles() -> Vec<Profile> {
    let more = [
        "kubo-cidv1+chunk=size-16+links=100",
        "unixfs-v1-2025+chunk=size-1000+links=3",
        "unixfs-v0-2015+chunk=size-4096",
        "unixfs-v1-2025+chunk=size-2097152",
    ];
    let candidates = HashFunction::ALL.iter();
    candidates
        .flat_map(|hash| Profile::candidates(*hash))
        .chain(more.map(|name| name.parse().unwrap()))
        .collect()
}

/// A safetensors file: a header with spaces behind it, and as many bytes of data as the tensors have.
fn checkpoint(tensors: &[usize], padding: usize, seed: u64) -> Vec<u8> {
    let mut offset = 0;
    let mut members = Vec::new();
    for (i, len) in tensors.iter().enumerate() {
        let end = offset + len;
        members.push(format!(
            r#""t{i}":{{"dtype":"U8","shape":[{len}],"data_offsets":[{offset},{end}]}}"#
        ));
        offset = end;
    }
    let header = format!("{{{}}}{}", members.join(","), " ".repeat(padding));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend(bytes(seed, offset));
    file
}

/// Hands out a few bytes at a time.
struct Trickle<'b>(&'b [u8], usize);

impl Read for Trickle<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = self.1.min(out.len());
        self.0.read(&mut out[..len])
    }
}

/// Compares one reading under all profiles with readings one by one, which other code does.
fn assert_alike(content: &[u8], profiles: &[Profile]) {
    let stage = Stage::new();
    let path = stage.file("f", content);
    let cid = other(HashFunction::Sha2_256);
    let options = under(profiles);
    let by_path = check_path(&path, &cid, &options).unwrap();
    let by_reader = check_reader(Trickle(content, 70_001), &cid, &options).unwrap();
    assert_eq!(by_path.computed, by_reader.computed);
    assert_eq!(by_path.size, content.len() as u64);
    assert_eq!(by_path.computed.len(), profiles.len());
    for (computed, profile) in by_path.computed.iter().zip(profiles) {
        assert_eq!(computed.profile, *profile);
        let alone = cid_of_reader(content, profile).unwrap();
        assert_eq!(
            computed.cid,
            alone.cid,
            "{profile}, {} bytes",
            content.len()
        );
    }
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    // Around the ends of chunks and of windows.
    let edges = [0, 1_000, 4_096, 65_536, 262_144, 1 << 20, 2 << 20].to_vec();
    let size = (prop::sample::select(edges), 0usize..3);
    let plain =
        size.prop_map(|(edge, more)| bytes(edge as u64 + 1, (edge + more).saturating_sub(1)));
    let tensors = prop::collection::vec(
        prop::sample::select(vec![1usize, 1_000, 65_535, 65_536, 300_000, (1 << 20) + 1]),
        0..6,
    );
    // A header may be longer than a window, and than the chunks that it is cut into if it is none.
    let padding = prop::sample::select(vec![0usize, 7, 70_000, 200_000, 1_200_000]);
    let fault = prop::sample::select(vec!["none", "none", "cut off", "no header"]);
    let tensors =
        (tensors, padding, any::<u64>(), fault).prop_map(|(tensors, padding, seed, fault)| {
            let mut file = checkpoint(&tensors, padding, seed);
            match fault {
                "cut off" => file.truncate(seed as usize % file.len()),
                "no header" => file[9] = b'!',
                _ => {}
            }
            file
        });
    prop_oneof![plain, tensors]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_file_is_under_each_profile_what_it_is_under_that_profile_alone(content in content()) {
        assert_alike(&content, &all_profiles());
        // With long chunks only, a window is longer than most files.
        assert_alike(&content, &Profile::candidates(HashFunction::Sha2_256));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn a_folder_is_under_each_profile_what_an_add_under_it_makes(
        files in prop::collection::vec((0usize..4, prop::sample::select(vec![0, 1, 999, 70_000, 300_000])), 0..12),
        links in 0usize..3,
    ) {
        let stage = Stage::new();
        let top = stage.path("m");
        fs::create_dir(&top).unwrap();
        for (i, (depth, len)) in files.iter().enumerate() {
            let name = format!("m/{}f{i}", "d/".repeat(*depth));
            stage.file(&name, &bytes(i as u64, *len));
        }
        stage.file("m/model.safetensors", &checkpoint(&[70_000, 5], 0, 1));
        for i in 0..links {
            std::os::unix::fs::symlink(format!("f{i}"), top.join(format!("link{i}"))).unwrap();
        }
        fs::create_dir(top.join("empty")).unwrap();
        let store = stage.create();
        let profiles = all_profiles();
        let report = check_path(&top, &other(HashFunction::Sha2_256), &under(&profiles)).unwrap();
        for computed in &report.computed {
            let options = unpinned().with_profile(computed.profile.clone());
            let added = store.add_path(&top, &options).unwrap();
            prop_assert_eq!(added.cid, computed.cid, "{}", &computed.profile);
            prop_assert_eq!((report.size, report.files), (added.size, added.files));
            // What is hashed without a store is counted as what is added.
            let hashed = hash_path(&top, &options).unwrap();
            prop_assert_eq!((hashed.cid, hashed.blocks), (added.cid, added.blocks));
        }
    }
}

#[test]
fn files_that_end_with_a_window_or_a_byte_beside_it_are_hashed_whole() {
    let profiles = Profile::candidates(HashFunction::Blake3);
    for len in [(16 << 20) - 1, 16 << 20, (16 << 20) + 1, 33 << 20] {
        assert_alike(&bytes(3, len), &profiles);
    }
}

#[test]
fn what_is_hashed_without_a_store_counts_as_many_blocks_as_an_add() {
    let stage = Stage::new();
    let store = stage.create();
    for len in [0, 1, 1_000, 1_001, 50_000] {
        for name in ["unixfs-v1-2025+chunk=size-1000+links=3", "unixfs-v0-2015"] {
            let options = unpinned().with_profile(name.parse().unwrap());
            let content = bytes(9, len);
            let added = store.add_reader(&content[..], &options).unwrap();
            let hashed = hash_reader(&content[..], &options).unwrap();
            assert_eq!((hashed.cid, hashed.blocks), (added.cid, added.blocks));
            assert_eq!((hashed.new_bytes, hashed.size), (len as u64, len as u64));
        }
    }
}

#[test]
fn folders_of_many_entries_are_sharded_under_each_profile_by_its_own_rule() {
    let stage = Stage::new();
    let top = stage.path("m");
    fs::create_dir(&top).unwrap();
    // As the vector `hamt` is made.
    for n in 0..10_000 {
        fs::write(top.join(format!("f{n:05}")), format!("f{n:05}\n")).unwrap();
    }
    for profile in Profile::all() {
        let cid = agreed(&vectors()["hamt"], &profile);
        let report = check(&top, &cid);
        let computed = report.computed.iter().find(|c| c.profile == profile);
        assert_eq!(computed.unwrap().cid.to_string(), cid, "{profile}");
        assert!(report.is_match());
        assert_eq!(report.files, 10_000);
    }
}

#[test]
fn a_tree_of_folders_matches_the_cids_of_other_implementations() {
    let stage = Stage::new();
    stage.file("dir/a.txt", b"hello world\n");
    stage.file("dir/empty.bin", b"");
    stage.file("dir/sub/deep/b.txt", b"nested\n");
    stage.file("dir/z-é.txt", "café\n".as_bytes());
    let mut large = Vec::new();
    pattern((1 << 20) + 1).read_to_end(&mut large).unwrap();
    stage.file("dir/sub/p1m+1.bin", &large);
    for profile in Profile::all() {
        let report = check(&stage.path("dir"), &agreed(&vectors()["dir"], &profile));
        assert_eq!(matched(&report), Some(profile.name()));
    }
}

#[test]
fn vectors_of_files_match_under_the_profile_that_made_them() {
    for name in ["p256k+1", "p1m+1", "p44m+1", "s2m", "s44m+1"] {
        let vector = &vectors()[name];
        let size = vector["size"].as_u64().unwrap();
        for profile in Profile::all() {
            let cid = agreed(vector, &profile);
            let input: Box<dyn Read> = match name.starts_with('p') {
                true => Box::new(pattern(size)),
                false => Box::new(splitmix(size)),
            };
            let parsed = parse_cid(&cid).unwrap();
            let report = check_reader(input, &parsed, &CheckOptions::default()).unwrap();
            assert!(report.is_match(), "{name} {profile}");
            let computed = report.computed.iter().find(|c| c.profile == profile);
            assert_eq!(computed.unwrap().cid.to_string(), cid, "{name} {profile}");
            // Several profiles may make the same CID of a file; the named one is then the first.
            let first = report.computed.iter().find(|c| c.cid == parsed).unwrap();
            assert_eq!(matched(&report), Some(first.profile.name()));
        }
    }
}

/// What two other implementations made with chunks of 1 MiB and 174 links, which only a file of more than
/// 174 MiB tells from 1,024 links.
#[test]
fn a_cid_of_a_candidate_that_has_no_name_of_its_own_is_recognised() {
    let entry = &vectors()["p300m"]["cids"]["cidv1-1MiB-174links-raw"];
    assert_eq!(entry["agree"], true);
    let cid = parse_cid(entry["cid"].as_str().unwrap()).unwrap();
    let report = check_reader(pattern(300 << 20), &cid, &CheckOptions::default()).unwrap();
    assert_eq!(matched(&report), Some("kubo-cidv1+chunk=size-1048576"));
    let same = report.computed.iter().filter(|c| c.cid == cid);
    assert_eq!(
        same.count(),
        2,
        "tensor-v1 cuts alike what is no safetensors file"
    );
}

#[test]
fn vectors_of_single_settings_match_under_all_of_them_at_once() {
    let file: Value =
        serde_json::from_str(include_str!("../../fixtures/cid_parameters.json")).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    let name = |vector: &Value| vector["profile"].as_str().unwrap().to_owned();
    let mut profiles: Vec<Profile> = Vec::new();
    for profile in vectors.iter().map(|v| name(v).parse().unwrap()) {
        if !profiles.contains(&profile) {
            profiles.push(profile);
        }
    }
    assert_eq!(profiles.len(), 13);
    let mut sizes: Vec<u64> = vectors
        .iter()
        .map(|v| v["size"].as_u64().unwrap())
        .collect();
    sizes.sort_unstable();
    sizes.dedup();
    let mut checked = 0;
    for size in sizes {
        let cid = other(HashFunction::Sha2_256);
        let report = check_reader(splitmix(size), &cid, &under(&profiles)).unwrap();
        for vector in vectors.iter().filter(|v| v["size"] == size) {
            let profile: Profile = name(vector).parse().unwrap();
            let computed = report.computed.iter().find(|c| c.profile == profile);
            assert_eq!(
                vector["cid"],
                computed.unwrap().cid.to_string(),
                "{profile} {size}"
            );
            checked += 1;
        }
    }
    assert_eq!(checked, vectors.len());
}

/// What the kernel counted as read by this process.
fn bytes_read() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap();
    let rchar = io.lines().find_map(|line| line.strip_prefix("rchar: "));
    rchar.unwrap().parse().unwrap()
}

#[test]
fn each_byte_is_read_once_whatever_the_number_of_profiles() {
    const CHILD: &str = "CHECK_READS_ONCE";
    if let Some(path) = is_child(CHILD) {
        for (profiles, cid) in [
            (Vec::new(), other(HashFunction::Sha2_256)),
            (all_profiles(), other(HashFunction::Blake3)),
        ] {
            let before = bytes_read();
            let report = check_path(&path, &cid, &under(&profiles)).unwrap();
            let read = bytes_read() - before;
            assert!(!report.is_match() && report.computed.len() >= 10);
            // The count itself is read, and what tells the number of processors.
            let more = read.checked_sub(report.size).expect("all is read");
            assert!(more < 32 << 10, "{more} bytes more than {}", report.size);
        }
        return;
    }
    let stage = Stage::new();
    // The header alone is longer than what may be read besides.
    stage.file(
        "m/model.safetensors",
        &checkpoint(&[3_000_000, 70_000, 5], 200_000, 4),
    );
    stage.file("m/other", &bytes(1, 20 << 20));
    for n in 0..50 {
        stage.file(&format!("m/small/{n}"), &bytes(n, 10_000));
    }
    let name = "check_profiles::each_byte_is_read_once_whatever_the_number_of_profiles";
    let mut child = again_in_a_child(name, CHILD, stage.path("m").to_str().unwrap());
    let output = child.output().unwrap();
    assert_passed(&output);
}

#[test]
fn memory_stays_bounded_however_large_the_file() {
    const CHILD: &str = "CHECK_MEMORY";
    if let Some(path) = is_child(CHILD) {
        let report = check(Path::new(&path), HELLO);
        assert_eq!(report.size, 1 << 29);
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.unwrap().trim().strip_suffix(" kB").unwrap();
        let peak: u64 = peak.parse().unwrap();
        assert!(peak < 128 << 10, "{peak} kB");
        return;
    }
    let stage = Stage::new();
    let path = stage.file("large", b"");
    fs::File::create(&path).unwrap().set_len(1 << 29).unwrap();
    let name = "check_profiles::memory_stays_bounded_however_large_the_file";
    let mut child = again_in_a_child(name, CHILD, path.to_str().unwrap());
    let output = child.output().unwrap();
    assert_passed(&output);
}

#[test]
fn both_versions_of_a_cid_match_and_the_version_asked_for_decides_the_name() {
    let stage = Stage::new();
    let path = stage.file("hello", b"hello world");
    let v0 = "Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD";
    let v1 = canonical(&parse_cid(v0).unwrap()).to_string();
    assert_eq!(matched(&check(&path, v0)), Some("unixfs-v0-2015"));
    assert_eq!(matched(&check(&path, &v1)), Some("unixfs-v0-2015+cid=1"));
    assert_eq!(matched(&check(&path, HELLO)), Some("unixfs-v1-2025"));
    // With one profile, its version does not matter.
    let only = under(&[Profile::unixfs_v0_2015()]);
    let report = check_path(&path, &parse_cid(&v1).unwrap(), &only).unwrap();
    assert_eq!(matched(&report), Some("unixfs-v0-2015"));
    assert_eq!(report.computed[0].cid.to_string(), v0);
    assert_eq!(report.cid.to_string(), v1);
    // The same digest under another codec is another CID.
    let digest = *parse_cid(HELLO).unwrap().hash();
    let not_raw = Cid::new_v1(ipfs_accelerate::DAG_PB, digest);
    assert!(!check(&path, &not_raw.to_string()).is_match());
}

#[test]
fn a_cid_of_blake3_is_compared_with_those_of_blake3() {
    let stage = Stage::new();
    let path = stage.file("f", &bytes(5, 3 << 20));
    for profile in Profile::candidates(HashFunction::Blake3) {
        let options = AddOptions::default().with_profile(profile.clone());
        let cid = hash_path(&path, &options).unwrap().cid;
        let report = check(&path, &cid.to_string());
        let first = report.computed.iter().find(|c| c.cid == cid).unwrap();
        assert_eq!(matched(&report), Some(first.profile.name()), "{profile}");
        let is_blake3 = |cid: &Cid| cid.hash().code() == BLAKE3;
        assert!(report.computed.iter().all(|c| is_blake3(&c.cid)));
    }
}

#[test]
fn given_profiles_are_tried_alone_and_in_their_order() {
    let stage = Stage::new();
    let path = stage.file("f", &bytes(5, 300_000));
    let given: Vec<Profile> = ["kubo-cidv1", "unixfs-v1-2025+chunk=size-1000", "kubo-cidv1"]
        .map(|name| name.parse().unwrap())
        .to_vec();
    let cid = other(HashFunction::Sha2_256);
    let report = check_path(&path, &cid, &under(&given)).unwrap();
    let tried: Vec<_> = report.computed.iter().map(|c| c.profile.name()).collect();
    assert_eq!(tried, ["kubo-cidv1", "unixfs-v1-2025+chunk=size-1000"]);
    let report = check(&path, &cid.to_string());
    let tried: Vec<_> = report.computed.into_iter().map(|c| c.profile).collect();
    assert_eq!(tried, Profile::candidates(HashFunction::Sha2_256));
}

#[test]
fn cids_that_no_file_or_folder_has_are_refused_before_anything_is_read() {
    struct Unreadable;
    impl Read for Unreadable {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            panic!("nothing is to be read");
        }
    }
    let hash = |code, digest: &[u8]| Multihash::wrap(code, digest).unwrap();
    for (cid, kind) in [
        (
            Cid::new_v1(0x71, hash(SHA2_256, &[1; 32])),
            "not_a_file_cid",
        ),
        (Cid::new_v1(RAW, hash(IDENTITY, b"hello")), "identity_cid"),
        (Cid::new_v1(RAW, hash(0x13, &[1; 64])), "hash_unknown"),
        (Cid::new_v1(RAW, hash(SHA2_256, &[1; 20])), "digest_length"),
    ] {
        for profiles in [Vec::new(), Profile::all()] {
            let error = check_reader(Unreadable, &cid, &under(&profiles)).unwrap_err();
            assert_eq!(error.kind(), kind);
            assert!(error.to_string().contains(&cid.to_string()), "{error}");
            assert!(error.hint().is_some());
            let missing = check_path("/nowhere", &cid, &under(&profiles)).unwrap_err();
            assert_eq!(missing.kind(), kind);
        }
    }
}

fn store_error(result: Result<CheckReport, CheckError>) -> StoreError {
    match result {
        Err(CheckError::Store(e)) => e,
        other => panic!("{other:?}"),
    }
}

#[test]
fn sources_are_read_as_by_an_add_and_refused_as_by_an_add() {
    let stage = Stage::new();
    let store = stage.create();
    stage.file("m/a", b"a");
    stage.file("m/.hidden/b", b"b");
    stage.file("m/c.bin", b"c");
    std::os::unix::fs::symlink("a", stage.path("m/link")).unwrap();
    let top = stage.path("m");
    let check = |options: &CheckOptions, cid: &Cid| check_path(&top, cid, options);
    for (dereference, hidden, ignore) in [
        (false, false, Vec::new()),
        (true, false, Vec::new()),
        (false, true, Vec::new()),
        (true, true, vec!["*.bin".to_owned()]),
    ] {
        let mut add = unpinned();
        let mut options = CheckOptions::default();
        (add.dereference_symlinks, options.dereference_symlinks) = (dereference, dereference);
        (add.hidden, options.hidden) = (hidden, hidden);
        (add.ignore, options.ignore) = (ignore.clone(), ignore);
        let added = store.add_path(&top, &add).unwrap();
        let report = check(&options, &added.cid).unwrap();
        assert_eq!(matched(&report), Some("unixfs-v1-2025"), "{options:?}");
        assert_eq!(report.notes, added.notes);
        assert_eq!((&*report.name, report.kind), ("m", added.kind));
        if hidden || dereference {
            assert!(
                !check(&CheckOptions::default(), &added.cid)
                    .unwrap()
                    .is_match()
            );
        }
    }
    let cid = other(HashFunction::Sha2_256);
    let mut options = CheckOptions::default();
    options.ignore = vec!["a{".into()];
    assert_eq!(store_error(check(&options, &cid)).kind(), "bad_pattern");
    let made = std::process::Command::new("mkfifo")
        .arg(top.join("pipe"))
        .status();
    assert!(made.unwrap().success());
    let error = store_error(check(&CheckOptions::default(), &cid));
    assert!(
        matches!(
            error,
            StoreError::UnsupportedFile {
                found: "named pipe",
                ..
            }
        ),
        "{error}"
    );
    let missing = check_path(stage.path("missing"), &cid, &CheckOptions::default());
    assert_eq!(store_error(missing).kind(), "file_not_found");
}

#[test]
fn a_file_that_changes_while_it_is_read_is_refused() {
    let stage = Stage::new();
    let path = stage.file("f", &bytes(1, 40 << 20));
    let calls = Arc::new(AtomicU64::new(0));
    let (seen, changed) = (Arc::clone(&calls), path.clone());
    let mut options = CheckOptions::default();
    options.progress = Some(Arc::new(move |_| {
        if seen.fetch_add(1, Ordering::Relaxed) == 0 {
            let file = fs::OpenOptions::new().write(true).open(&changed).unwrap();
            file.set_len(39 << 20).unwrap();
        }
    }));
    let error = store_error(check_path(&path, &other(HashFunction::Sha2_256), &options));
    assert!(
        matches!(&error, StoreError::SourceChanged { path: at, .. } if *at == path),
        "{error}"
    );
}

#[test]
fn progress_ends_with_all_bytes_and_a_cancelled_check_stops() {
    let stage = Stage::new();
    let path = stage.file("f", &bytes(1, 40 << 20));
    let cid = other(HashFunction::Sha2_256);
    let last = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&last);
    let mut options = CheckOptions::default();
    options.progress = Some(Arc::new(move |at| {
        assert_eq!(at.total_bytes, Some(40 << 20));
        assert!(seen.swap(at.done_bytes, Ordering::Relaxed) < at.done_bytes);
    }));
    check_path(&path, &cid, &options).unwrap();
    assert_eq!(last.load(Ordering::Relaxed), 40 << 20);

    let cancel = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&cancel);
    options.cancel = Some(cancel);
    options.progress = Some(Arc::new(move |_| {
        assert!(!flag.swap(true, Ordering::Relaxed), "it goes on");
    }));
    let error = store_error(check_path(&path, &cid, &options));
    assert!(matches!(error, StoreError::Cancelled), "{error}");
}

#[test]
fn a_stream_that_fails_is_an_error() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    let content = (&b"abc"[..]).chain(Broken);
    let cid = other(HashFunction::Sha2_256);
    let error = store_error(check_reader(content, &cid, &CheckOptions::default()));
    assert!(matches!(error, StoreError::File(_)), "{error}");
}

#[test]
fn what_a_store_recorded_is_tried_first_though_it_is_no_usual_profile() {
    let stage = Stage::new();
    let store: Store = stage.create();
    let path = stage.file("f", &bytes(5, 30_000));
    let profile: Profile = "kubo-cidv1+chunk=size-777+links=5".parse().unwrap();
    let options = unpinned().with_profile(profile.clone());
    let cid = store.add_path(&path, &options).unwrap().cid;
    assert!(!check(&path, &cid.to_string()).is_match());
    let stored = store.resolve(&of(cid)).unwrap();
    assert_eq!(stored.profile(), profile.name());
    let options = CheckOptions::default().with_stored(stored);
    let report = check_path(&path, &cid, &options).unwrap();
    assert_eq!(report.profile, Some(profile.clone()));
    assert_eq!(report.computed[0].profile, profile);
    assert_eq!(report.differences, None);
    assert_eq!(report.computed.len(), 11);
}
