//! What becomes of a referenced object when its files are changed, moved, cut off or replaced: an error that names
//! file, object and block, never other bytes and never a signal; and all is well once the file is back.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ipfs_accelerate::checkpoint::{LoadOptions, Residency, load_checkpoint_and_dispatch};
use ipfs_accelerate::{
    AddOptions, Cid, Explain, ExportOptions, Health, Profile, ReaderOptions, Store, StoreError,
    StoreReader, Target,
};

use super::doctor::{check, look};
use super::gc::gc;
use super::load_files::{SINGLE, load_error, shards_of};
use super::refs::{by_reference, refer};
use super::store_kit::*;

struct Referenced {
    stage: Stage,
    store: Store,
    path: PathBuf,
    content: Vec<u8>,
    cid: Cid,
}

const LEN: usize = 2_500_000;

fn referenced() -> Referenced {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(1, LEN);
    let path = stage.file("m/model", &content);
    let cid = store
        .add_path(stage.path("m"), &by_reference())
        .unwrap()
        .cid;
    Referenced {
        stage,
        store,
        path,
        content,
        cid,
    }
}

impl Referenced {
    fn target(&self) -> Target {
        target(format!("{}/model", self.cid))
    }

    fn read(&self) -> Result<Vec<u8>, StoreError> {
        StoreReader::open(self.stage.store_path())
            .unwrap()
            .read(&self.target())
    }

    #[track_caller]
    fn reads(&self) {
        assert!(self.read().unwrap() == self.content);
    }

    /// Everything that reads the bytes fails, naming file and object.
    #[track_caller]
    fn fails(&self, kind: &str, says: &str) {
        let output = self.stage.path("out");
        let leaf = ipfs_accelerate::leaf(&self.content[1 << 20..2 << 20], &Profile::default()).cid;
        let errors = [
            self.read().unwrap_err(),
            self.store
                .export(&of(self.cid), &output, &ExportOptions::default())
                .unwrap_err(),
            self.store.get_block(&leaf).unwrap_err(),
        ];
        for (i, error) in errors.iter().enumerate() {
            assert_eq!(error.kind(), kind, "{error}");
            let text = error.to_string();
            assert!(text.contains(&self.path.display().to_string()), "{text}");
            let named = match i {
                2 => leaf.to_string(),
                _ => self.target().to_string(),
            };
            assert!(
                text.contains(&named) && text.contains(says) && !text.contains('\n'),
                "{text}"
            );
            assert!(error.hint().unwrap().contains("absorb"));
        }
        assert!(!output.exists());
    }
}

/// Writes into a file and gives it its old time back.
fn overwrite(path: &Path, offset: u64, content: &[u8]) {
    let file = fs::File::options().write(true).open(path).unwrap();
    let time = file.metadata().unwrap().modified().unwrap();
    file.write_all_at(content, offset).unwrap();
    file.set_modified(time).unwrap();
}

#[test]
fn a_byte_that_was_changed_is_seen_though_length_and_time_are_as_they_were() {
    let there = referenced();
    let at = (1 << 20) + 77;
    overwrite(&there.path, at, &[there.content[at as usize] ^ 1]);
    there.fails("source_differs", "length and time are as they were");
    // What other blocks hold is read all the same.
    let file = there.store.to_reader().open_file(&there.target()).unwrap();
    let mut part = vec![0; 1 << 20];
    file.read_at(0, &mut part).unwrap();
    assert!(part == there.content[..1 << 20]);
    assert!(file.read_at((1 << 20) - 1, &mut part[..2]).is_err());
    overwrite(&there.path, at, &[there.content[at as usize]]);
    there.reads();
}

#[test]
fn a_file_that_was_written_to_is_told_by_its_time() {
    let there = referenced();
    fs::File::options()
        .write(true)
        .open(&there.path)
        .unwrap()
        .write_all_at(&[there.content[1 << 20] ^ 1; 1], 1 << 20)
        .unwrap();
    there.fails("source_differs", "written to since");
    // The time is a hint only: the same bytes at another time are good.
    fs::write(&there.path, &there.content).unwrap();
    there.reads();
    // So is the length.
    fs::write(&there.path, [&there.content[..], b"more"].concat()).unwrap();
    there.reads();
}

#[test]
fn a_file_that_was_cut_off_is_an_error_and_no_signal() {
    let there = referenced();
    let reader = StoreReader::open(there.stage.store_path()).unwrap();
    let file = reader.open_file(&there.target()).unwrap();
    let mut first = [0; 10];
    file.read_at(0, &mut first).unwrap();
    let map = std::sync::Arc::new(file.map().unwrap());
    fs::File::options()
        .write(true)
        .open(&there.path)
        .unwrap()
        .set_len(1_500_000)
        .unwrap();
    there.fails("source_differs", "1500000 bytes now, and had 2500000");
    let error = map.slice(2_000_000..2_400_000).unwrap_err();
    assert_eq!(error.kind(), "source_differs");
    fs::write(&there.path, &there.content).unwrap();
    there.reads();
}

#[test]
fn a_file_that_was_moved_is_an_error_until_it_is_back() {
    let there = referenced();
    let aside = there.stage.path("aside");
    fs::rename(&there.path, &aside).unwrap();
    there.fails("source_gone", "No such file");
    // Listings, roots and names need no file.
    assert_eq!(
        there.store.stat(&there.target()).unwrap().referenced_bytes,
        LEN as u64
    );
    assert_eq!(there.store.list(&of(there.cid)).unwrap().len(), 1);
    assert_eq!(there.store.totals().unwrap().referenced_bytes, LEN as u64);
    // Whoever has it open may read on.
    fs::rename(&aside, &there.path).unwrap();
    there.reads();
    let file = there.store.to_reader().open_file(&there.target()).unwrap();
    file.read_at(0, &mut [0; 10]).unwrap();
    fs::rename(&there.path, &aside).unwrap();
    assert!(file.read().unwrap() == there.content);
}

#[test]
fn what_stands_in_its_place_is_not_waited_for_nor_opened() {
    let there = referenced();
    let aside = there.stage.path("aside");
    fs::rename(&there.path, &aside).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(&there.path)
            .status()
            .unwrap()
            .success()
    );
    there.fails("source_gone", "not a file");
    fs::remove_file(&there.path).unwrap();
    fs::create_dir(&there.path).unwrap();
    there.fails("source_gone", "not a file");
    fs::remove_dir(&there.path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &there.path).unwrap();
    there.fails("source_gone", "not a file");
    fs::remove_file(&there.path).unwrap();
    fs::rename(&aside, &there.path).unwrap();
    there.reads();
}

#[test]
fn a_file_that_another_user_may_not_read_is_an_error_that_says_so() {
    const CHILD: &str = "IPFS_ACCELERATE_TEST_REFERENCE_UID";
    if let Some(dir) = is_child(CHILD) {
        let dir = PathBuf::from(dir);
        let reader = StoreReader::open(dir.join("store")).unwrap();
        let cid = reader.objects().unwrap()[0].cid;
        let error = reader.read(&target(format!("{cid}/model"))).unwrap_err();
        assert_eq!(error.kind(), "source_gone");
        assert!(error.to_string().contains("ermission denied"), "{error}");
        println!("refused as it should");
        return;
    }
    let there = referenced();
    let dir = there.path.parent().unwrap().parent().unwrap();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&there.path, fs::Permissions::from_mode(0o000)).unwrap();
    // For root the other user is nobody.
    let readable = there.stage.path("test-binary");
    fs::copy(std::env::current_exe().unwrap(), &readable).unwrap();
    let mut child = Command::new(&readable);
    child
        .args([
            "--exact",
            "refs_sources::a_file_that_another_user_may_not_read_is_an_error_that_says_so",
            "--nocapture",
        ])
        .current_dir("/")
        .env(CHILD, dir);
    if rustix::process::getuid().is_root() {
        child.uid(65_534).gid(65_534);
    }
    let ran = child.output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(
        ran.status.success() && said.contains("refused as it should"),
        "{said}"
    );
    fs::set_permissions(&there.path, fs::Permissions::from_mode(0o644)).unwrap();
    there.reads();
}

/// What users of other stores run into: a file is moved, and adding it again fails because of where it was.
#[test]
fn a_file_that_was_moved_is_added_again_from_its_new_place() {
    let there = referenced();
    let moved = there.stage.path("renamed");
    fs::rename(there.stage.path("m"), &moved).unwrap();
    let again = there.store.add_path(&moved, &by_reference()).unwrap();
    assert_eq!((again.cid, again.referenced_bytes), (there.cid, LEN as u64));
    there.reads();
    let leaf = ipfs_accelerate::leaf(&there.content[..1 << 20], &Profile::default()).cid;
    assert!(there.store.get_block(&leaf).unwrap().data() == &there.content[..1 << 20]);
    // From the moved file nothing is new, and the old places go.
    let before = there.stage.on_disk();
    there.store.add_path(&moved, &by_reference()).unwrap();
    assert_eq!(there.stage.on_disk(), before);
    assert_eq!(super::gc::gc(&there.store).packs, 1);
    there.reads();
    assert_eq!(there.store.totals().unwrap().referenced_bytes, LEN as u64);
}

#[test]
fn a_good_copy_elsewhere_mends_an_object_whose_file_was_changed_behind_its_time() {
    let there = referenced();
    let copy = there.stage.file("copy/model", &there.content);
    overwrite(&there.path, 5, &[there.content[5] ^ 1]);
    assert!(there.read().is_err());
    let folder = copy.parent().unwrap();
    let again = there.store.add_path(folder, &by_reference()).unwrap();
    assert_eq!(again.cid, there.cid);
    there.reads();
    // And so does a plain add, which needs no file from then on.
    fs::remove_file(&copy).unwrap();
    assert!(there.read().is_err());
    overwrite(&there.path, 5, &[there.content[5]]);
    there
        .store
        .add_path(there.stage.path("m"), &AddOptions::default())
        .unwrap();
    fs::remove_file(&there.path).unwrap();
    there.reads();
}

#[test]
fn objects_rest_on_their_own_files_though_they_share_content() {
    let there = referenced();
    let longer = [&there.content[..2 << 20], b"and more"].concat();
    let other = there.stage.file("longer", &longer);
    let other_cid = refer(&there.store, &other).cid;
    fs::remove_file(&there.path).unwrap();
    assert!(there.store.to_reader().read(&of(other_cid)).unwrap() == longer);
    fs::write(&there.path, &there.content).unwrap();
    fs::remove_file(&other).unwrap();
    there.reads();
}

#[test]
fn a_load_of_a_changed_checkpoint_is_an_error_in_every_residency() {
    let stage = Stage::new();
    let store = stage.create();
    let path = stage.file(
        "model.safetensors",
        &fs::read(&shards_of(Path::new(SINGLE))[0]).unwrap(),
    );
    let cid = refer(&store, &path).cid;
    let at = fs::metadata(&path).unwrap().len() - 1;
    let last = fs::read(&path).unwrap()[at as usize];
    overwrite(&path, at, &[last ^ 1]);
    for residency in [Residency::Lazy, Residency::Populate, Residency::Copy] {
        for verify in [false, true] {
            let mut options = LoadOptions::default();
            options.residency = residency;
            options.verify = verify;
            let error = load_checkpoint_and_dispatch(&store, &of(cid), options).unwrap_err();
            assert_eq!(error.kind(), "source_differs", "{error}");
            assert!(
                error.to_string().contains(&path.display().to_string()),
                "{error}"
            );
        }
    }
    fs::remove_file(&path).unwrap();
    let error = load_error(&store, &of(cid));
    assert_eq!(error.kind(), "source_gone", "{error}");
}

#[test]
fn a_reader_may_be_told_to_open_no_file_outside_the_store() {
    let there = referenced();
    let mut options = ReaderOptions::default();
    options.no_references = true;
    let reader = StoreReader::open_with(there.stage.store_path(), &options).unwrap();
    let error = reader.read(&there.target()).unwrap_err();
    assert_eq!(error.kind(), "reference_refused");
    assert!(
        error
            .to_string()
            .contains(&there.path.display().to_string()),
        "{error}"
    );
    assert_eq!(reader.list(&of(there.cid)).unwrap().len(), 1);
    let stored = add_bytes(&there.store, b"stored");
    assert_eq!(reader.read(&of(stored.cid)).unwrap(), b"stored");
}

#[test]
fn a_file_that_changes_while_it_is_added_by_reference_is_refused() {
    let stage = Stage::new();
    let store = stage.create();
    let path = stage.file("model", &bytes(3, 40 << 20));
    let changed = std::sync::atomic::AtomicBool::new(false);
    let mut options = by_reference();
    let at = path.clone();
    options.progress = Some(std::sync::Arc::new(move |_| {
        if !changed.swap(true, std::sync::atomic::Ordering::Relaxed) {
            let file = fs::File::options().write(true).open(&at).unwrap();
            file.write_all_at(b"x", (40 << 20) - 1).unwrap();
        }
    }));
    let error = refused(&stage, || store.add_path(&path, &options));
    assert!(matches!(error, StoreError::SourceChanged { .. }), "{error}");
}

/// Only touched, it has the same bytes: adding it again notes the new time, and `doctor` has nothing to say.
#[test]
fn a_file_that_was_only_touched_is_a_note_until_it_is_added_again() {
    let Referenced {
        stage,
        store,
        path,
        content,
        cid,
    } = referenced();
    let touch = |second| {
        let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(second);
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(time).unwrap();
    };
    let reference_of = |status| {
        let examined = look(stage.store_path());
        let check = check(&examined, "references");
        assert_eq!(check.status, status, "{check:?}");
        check.found.clone()
    };
    reference_of(Health::Ok);
    for second in [1_000, 2_000] {
        touch(second);
        let found = reference_of(Health::Note);
        assert!(found.contains("was written to since"), "{found}");
        let added = store.add_path(stage.path("m"), &by_reference()).unwrap();
        assert_eq!((added.cid, added.new_bytes), (cid, 0));
        reference_of(Health::Ok);
    }
    // Nothing new is written where nothing is new.
    let before = stage.stored("packs");
    store.add_path(stage.path("m"), &by_reference()).unwrap();
    assert_eq!(stage.stored("packs"), before);
    assert!(read(&store, &target(format!("{cid}/model"))) == content);
    // The places of before go with the roots that had them, and the index is made again without them.
    gc(&store);
    assert!(stage.stored("packs").len() < before.len());
    drop(store);
    fs::remove_dir_all(stage.store_path().join("db")).unwrap();
    let store = stage.open();
    assert!(read(&store, &target(format!("{cid}/model"))) == content);
    reference_of(Health::Ok);
}

/// Of files that were added together one was touched and added again: the pack of before stays for the other one.
#[test]
fn a_reference_that_no_root_needs_any_more_is_no_fault() {
    let stage = Stage::new();
    let store = stage.create();
    let path = stage.file("m/a", &bytes(1, LEN));
    stage.file("m/b", &bytes(2, LEN));
    store.add_path(stage.path("m"), &by_reference()).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH)
        .unwrap();
    let status = || check(&look(stage.store_path()), "references").status;
    assert_eq!(status(), Health::Note);
    store.add_path(stage.path("m"), &by_reference()).unwrap();
    gc(&store);
    assert_eq!(status(), Health::Ok);
}
