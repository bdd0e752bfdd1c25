//! Packs that are torn, cut off, missing, foreign, or whose header or table is damaged.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ipfs_accelerate::{Defect, Explain, Remedy, RepairOptions, StoreReader, VerifyOptions};

use super::*;

#[test]
fn a_damaged_header_is_made_again_from_the_table() {
    let sample = Sample::new();
    let packs = sample.stage.stored("packs");
    for (pack, damage) in packs.iter().zip(["magic", "numbers", "zeros", "checksum"]) {
        let before = fs::read(pack).unwrap();
        change(pack, |content| match damage {
            "magic" => content[..8].fill(b'x'),
            "numbers" => content[50..70].fill(7),
            "zeros" => content[..128].fill(0),
            _ => content[90] ^= 1,
        });
        let report = sample.repair();
        assert_eq!(
            said(&report),
            [(Defect::PackHeader, Remedy::Rebuilt)],
            "{damage}"
        );
        assert_eq!(report.findings[0].path, *pack);
        assert!(fs::read(pack).unwrap() == before, "{damage}: as it was");
        assert_eq!(
            fs::metadata(pack).unwrap().permissions().mode() & 0o777,
            0o444
        );
        sample.assert_whole();
    }
}

#[test]
fn a_damaged_table_is_made_again_from_what_is_left_and_from_roots() {
    let sample = Sample::new();
    for (number, pack) in sample.stage.stored("packs").iter().enumerate() {
        // A byte of a digest, a byte of the count, most of the table, all of it.
        change(pack, |content| {
            let table = table_of(content);
            match number % 4 {
                0 => content[table + 30] ^= 1,
                1 => content[table] ^= 0xff,
                2 => {
                    let half = (content.len() - table) / 2;
                    content[table + half..].fill(0xee);
                }
                _ => content[table..].fill(0),
            }
        });
    }
    let report = sample.repair();
    let of_packs = report
        .findings
        .iter()
        .filter(|f| f.defect == Defect::PackTable);
    assert_eq!(
        of_packs.count(),
        sample.stage.stored("packs").len(),
        "{:#?}",
        report.findings
    );
    // Blocks of no object are told by the table only, so a pack of nothing else may be lost with it.
    let single = sample.pack_with(&bytes(7, 3_000));
    let left = report.findings.iter().filter(|f| f.is_left());
    assert!(
        left.clone().all(|f| f.path == single),
        "{:#?}",
        report.findings
    );
    let reader = StoreReader::open(sample.store()).unwrap();
    for object in &sample.objects {
        for (path, content) in &object.files {
            let read = reader
                .read(&target(format!("{}/{path}", object.cid)))
                .unwrap();
            assert!(read == *content, "{}/{path}", object.title);
        }
        sample.add_again(object.title);
    }
}

#[test]
fn what_a_rebuilt_pack_says_of_objects_is_kept() {
    let sample = Sample::small();
    for pack in sample.stage.stored("packs") {
        change(&pack, |content| {
            let table = table_of(content);
            content[table..].fill(0);
        });
    }
    sample.repair();
    // The roots are lost only now: the packs still tell the objects.
    fs::remove_dir_all(sample.store().join("roots")).unwrap();
    sample.repair();
    let reader = StoreReader::open(sample.store()).unwrap();
    for object in &sample.objects {
        let info = reader.objects().unwrap();
        let info = info
            .into_iter()
            .find(|info| canonical(&info.cid) == object.cid)
            .unwrap();
        assert_eq!(info.name, object.title);
        assert!(!info.profile.is_empty());
    }
}

#[test]
fn a_pack_without_header_and_table_is_made_again_from_roots() {
    let sample = Sample::new();
    let pack = sample.pack_with(&bytes(2, 70_001)[..CHUNK]);
    change(&pack, |content| {
        let table = table_of(content);
        content[table..].fill(0xab);
        content[..128].fill(0);
    });
    let report = sample.repair();
    assert_eq!(said(&report), [(Defect::PackHeader, Remedy::Rebuilt)]);
    sample.assert_whole();
}

#[test]
fn a_pack_whose_table_is_cut_off_loses_nothing() {
    let sample = Sample::small();
    for pack in sample.stage.stored("packs") {
        let len = fs::read(&pack)
            .map(|content| table_of(&content) + 40)
            .unwrap();
        change(&pack, |content| content.truncate(len));
    }
    let report = sample.repair();
    let rebuilt = |f: &&ipfs_accelerate::RepairFinding| {
        (f.defect, f.remedy) == (Defect::PackLength, Remedy::Rebuilt)
    };
    assert!(report.findings.iter().filter(rebuilt).count() >= 4);
    let reader = StoreReader::open(sample.store()).unwrap();
    for object in &sample.objects {
        for (path, content) in &object.files {
            let read = reader
                .read(&target(format!("{}/{path}", object.cid)))
                .unwrap();
            assert!(read == *content, "{}/{path}", object.title);
        }
    }
}

#[test]
fn a_shortened_pack_says_what_is_lost_and_adding_brings_it_back() {
    let sample = Sample::new();
    let whole = bytes(1, 400_000);
    let pack = sample.pack_with(&whole[..CHUNK]);
    let content = fs::read(&pack).unwrap();
    let at = content
        .windows(64)
        .position(|window| window == &whole[..64])
        .unwrap();
    // The first chunk stays and the second is cut through.
    change(&pack, |content| content.truncate(at + CHUNK + CHUNK / 2));
    let report = sample.repair();
    let finding = &report.findings[0];
    assert_eq!(
        (finding.defect, finding.remedy),
        (Defect::PackLength, Remedy::Rebuilt)
    );
    assert_eq!(finding.path, pack);
    assert_eq!(titles(finding), ["model", "tuned"]);
    let left: Vec<_> = report.findings[1..]
        .iter()
        .map(|f| (f.defect, f.remedy))
        .collect();
    assert_eq!(left, [(Defect::RootPlaces, Remedy::Left); 2]);
    let second = ipfs_accelerate::leaf(&whole[CHUNK..2 * CHUNK], &Profile::default()).cid;
    for finding in &report.findings[1..] {
        assert!(finding.lacking.contains(&second), "{finding:#?}");
        assert!(finding.advice.unwrap().contains("add the same content"));
    }
    sample.assert_whole_but(&["model", "tuned"]);
    // What is lost is refused, and what is left of the file still reads.
    let reader = StoreReader::open(sample.store()).unwrap();
    let file = reader.open_file(&target("model/weights/a.bin")).unwrap();
    let mut first = vec![0; CHUNK];
    file.read_at(0, &mut first).unwrap();
    assert!(first == whole[..CHUNK]);
    let error = file.read_at(CHUNK as u64 * 3 / 2, &mut first).unwrap_err();
    assert_eq!(error.kind(), "known_damage", "{error}");

    sample.add_again("model");
    sample.add_again("tuned");
    assert_eq!(sample.repair().findings, []);
    sample.assert_whole();
}

#[test]
fn an_empty_pack_is_left_and_said() {
    let sample = Sample::small();
    let pack = sample.pack_with(&bytes(3, 130_000)[..1_000]);
    change(&pack, Vec::clear);
    let report = sample.repair();
    assert_eq!(said(&report)[0], (Defect::PackHeader, Remedy::Left));
    assert!(titles(&report.findings[0]).contains(&"framed"));
    let lacking: usize = report.findings.iter().map(|f| f.lacking.len()).sum();
    assert!(lacking > 0);
    sample.add_again("framed");
    let report = sample.repair();
    assert_eq!(said(&report), [(Defect::PackHeader, Remedy::Left)]);
    assert_eq!(report.findings[0].objects, []);
    sample.assert_whole();
}

#[test]
fn a_pack_that_grew_is_cut_back() {
    let sample = Sample::small();
    let pack = sample.pack_with(&bytes(3, 130_000)[..1_000]);
    let before = fs::read(&pack).unwrap();
    change(&pack, |content| content.extend_from_slice(&bytes(8, 5_000)));
    let report = sample.repair();
    assert_eq!(said(&report), [(Defect::PackLength, Remedy::Cut)]);
    assert!(fs::read(&pack).unwrap() == before);
    sample.assert_whole();
    // Its table may be damaged too, as after a repair that was cut off.
    change(&pack, |content| {
        let table = table_of(content);
        content[table + 9] ^= 1;
        content.extend_from_slice(&bytes(8, 5_000));
    });
    let report = sample.repair();
    assert_eq!(said(&report), [(Defect::PackTable, Remedy::Rebuilt)]);
    sample.assert_whole();
}

#[test]
fn a_missing_pack_is_said_with_its_objects_and_nothing_is_deleted() {
    let sample = Sample::small();
    let pack = sample.pack_with(&bytes(1, 400_000)[..1_000]);
    let aside = sample.stage.path("aside");
    fs::rename(&pack, &aside).unwrap();
    let report = sample.repair();
    assert_eq!(said(&report)[0], (Defect::PackMissing, Remedy::Left));
    assert_eq!(titles(&report.findings[0]), ["model", "tuned"]);
    assert!(
        report.findings[1..]
            .iter()
            .all(|f| f.defect == Defect::RootPlaces && f.is_left())
    );
    assert!(report.findings[1..].iter().all(|f| !f.lacking.is_empty()));
    assert!(sample.root("model").exists());
    // It comes back.
    fs::rename(&aside, &pack).unwrap();
    assert_eq!(sample.repair().findings, []);
    sample.assert_whole();
}

#[test]
fn a_pack_under_another_name_gets_its_own_back() {
    let sample = Sample::small();
    let pack = sample.pack_with(&bytes(1, 400_000)[..1_000]);
    fs::rename(
        &pack,
        pack.with_file_name(format!("{}.pack", "0123456789abcdef".repeat(2))),
    )
    .unwrap();
    let report = sample.repair();
    assert_eq!(said(&report), [(Defect::PackName, Remedy::Renamed)]);
    assert!(pack.exists());
    sample.assert_whole();
    // A copy under another name is needed by nobody.
    let copy = pack.with_file_name(format!("{}.pack", "fedcba9876543210".repeat(2)));
    fs::copy(&pack, &copy).unwrap();
    let report = sample.repair();
    assert_eq!(said(&report), [(Defect::PackName, Remedy::Left)]);
    assert!(copy.exists());
    sample.assert_whole();
}

#[test]
fn packs_of_others_are_left_alone() {
    let sample = Sample::small();
    let other = Sample::small();
    let theirs = other.stage.stored("packs").remove(0);
    let copy = sample
        .store()
        .join("packs")
        .join(theirs.file_name().unwrap());
    fs::copy(&theirs, &copy).unwrap();
    let text = sample
        .store()
        .join(format!("packs/{}.pack", "00".repeat(16)));
    fs::write(&text, "no pack").unwrap();
    let long = sample
        .store()
        .join(format!("packs/{}.pack", "11".repeat(16)));
    fs::write(&long, bytes(9, 10_000)).unwrap();
    let folder = sample
        .store()
        .join(format!("packs/{}.pack", "22".repeat(16)));
    fs::create_dir(&folder).unwrap();
    let report = sample.repair();
    let mut found = said(&report);
    found.sort();
    // Seven bytes may be the rest of a pack of ours.
    let expected = [
        (Defect::PackHeader, Remedy::Left),
        (Defect::Foreign, Remedy::Left),
        (Defect::Foreign, Remedy::Left),
        (Defect::Foreign, Remedy::Left),
    ];
    assert_eq!(found, expected, "{:#?}", report.findings);
    fs::remove_dir(&folder).unwrap();
    assert!(fs::read(&theirs).unwrap() == fs::read(&copy).unwrap());
    assert_eq!(fs::read(&text).unwrap(), b"no pack");
    assert!(fs::read(&long).unwrap() == bytes(9, 10_000));
    sample.assert_whole();
}

#[test]
fn only_a_repair_that_hashes_finds_wrong_bytes_and_they_are_refused_then() {
    let sample = Sample::small();
    let whole = bytes(1, 400_000);
    let pack = sample.pack_with(&whole[..CHUNK]);
    let content = fs::read(&pack).unwrap();
    let at = content
        .windows(64)
        .position(|window| window == &whole[..64])
        .unwrap();
    flip(&pack, at + 100);
    assert_eq!(sample.repair().findings, []);
    let mut options = RepairOptions::default();
    options.rehash = true;
    let before = fs::read(&pack).unwrap();
    let plan = plan_repair(sample.store(), &options).unwrap();
    let report = apply_repair(&plan).unwrap();
    let first = ipfs_accelerate::leaf(&whole[..CHUNK], &Profile::default()).cid;
    assert_eq!(
        said(&report),
        [
            (Defect::Blocks, Remedy::Recorded),
            (Defect::RootPlaces, Remedy::Left),
            (Defect::RootPlaces, Remedy::Left)
        ]
    );
    assert_eq!(titles(&report.findings[0]), ["model", "tuned"]);
    assert_eq!(report.findings[1].lacking, [first]);
    assert!(fs::read(&pack).unwrap() == before, "payload is not touched");
    let reader = StoreReader::open(sample.store()).unwrap();
    let error = reader.read(&target("model/weights/a.bin")).unwrap_err();
    assert_eq!(error.kind(), "known_damage", "{error}");
    sample.assert_whole_but(&["model", "tuned"]);
    sample.add_again("model");
    // The other object finds the block in its new place.
    let report = sample.repair();
    assert_eq!(said(&report), [(Defect::RootPlaces, Remedy::Restored)]);
    sample.assert_whole();
}

#[test]
fn a_repair_says_how_far_it_is_and_stops_when_it_is_told_to() {
    let sample = Sample::small();
    let before = snapshot(&sample.store());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut options = RepairOptions::default();
    options.rehash = true;
    options.threads = 1;
    let told = Arc::clone(&seen);
    options.progress = Some(Arc::new(move |at| told.lock().unwrap().push(at)));
    assert!(
        plan_repair(sample.store(), &options)
            .unwrap()
            .findings
            .is_empty()
    );
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    assert!(seen.is_sorted_by_key(|at| at.done_bytes) && seen.len() > 2);
    let last = seen.last().unwrap();
    assert_eq!(last.done_bytes, last.total_bytes);

    // At any of these moments.
    for stop in 0..seen.len() {
        let cancel = Arc::new(AtomicBool::new(false));
        let calls = Arc::new(AtomicUsize::new(0));
        options.cancel = Some(Arc::clone(&cancel));
        let (counted, flag) = (Arc::clone(&calls), cancel);
        options.progress = Some(Arc::new(move |_| {
            if counted.fetch_add(1, Ordering::Relaxed) == stop {
                flag.store(true, Ordering::Relaxed);
            }
        }));
        let error = plan_repair(sample.store(), &options).unwrap_err();
        assert_eq!(error.kind(), "cancelled");
        assert_eq!(calls.load(Ordering::Relaxed), stop + 1);
    }
    assert_eq!(snapshot(&sample.store()), before);
}

#[test]
fn a_damaged_row_is_no_proof_of_the_damaged_bytes_under_it() {
    let stage = Stage::new();
    let store = stage.create();
    stage.file("top/a", &bytes(1, 300_000));
    stage.file("top/b", &bytes(2, 3_000_000));
    let top = store.add_path(stage.path("top"), &unpinned()).unwrap().cid;
    drop(store);
    let pack = stage.stored("packs").remove(0);
    change(&pack, |content| {
        let head = &bytes(1, 300_000)[..64];
        let offset = content.windows(64).position(|at| at == head).unwrap();
        // Offset and length of its row, of which the length is damaged.
        let mut row = (offset as u64).to_le_bytes().to_vec();
        row.extend(300_000_u32.to_le_bytes());
        let at = content.windows(12).rposition(|at| at == row).unwrap();
        content[at + 8] ^= 1;
        content[offset + 500] ^= 1;
    });
    let plan = plan_repair(stage.store_path(), &RepairOptions::default()).unwrap();
    apply_repair(&plan).unwrap();
    let store = stage.open();
    for _ in 0..2 {
        let report = store.verify(&VerifyOptions::default()).unwrap();
        assert_eq!(report.findings.len(), 1, "{report:#?}");
        assert_eq!(report.cleared, []);
        let a = store.to_reader().read(&target(format!("{top}/a")));
        assert_eq!(a.unwrap_err().kind(), "known_damage");
    }
}

#[test]
fn a_damaged_pack_behind_a_link_is_said_and_what_it_leads_to_is_not_written() {
    let damages: [fn(&Path); 2] = [
        |pack| change(pack, |content| content[..128].fill(0)),
        |pack| change(pack, |content| content.extend(b"not ours")),
    ];
    for damage in damages {
        let sample = Sample::small();
        let pack = sample.pack_with(&bytes(6, 45_000)[..1_000]);
        let outside = sample.stage.path("outside");
        fs::rename(&pack, &outside).unwrap();
        std::os::unix::fs::symlink(&outside, &pack).unwrap();
        damage(&outside);
        let before = fs::read(&outside).unwrap();
        let report = sample.repair();
        assert_eq!(said(&report)[0], (Defect::PackLink, Remedy::Left));
        assert!(fs::read(&outside).unwrap() == before);
        // As its advice says.
        fs::remove_file(&pack).unwrap();
        fs::rename(&outside, &pack).unwrap();
        assert_eq!(sample.repair().left(), 0);
        sample.assert_whole();
    }
}
