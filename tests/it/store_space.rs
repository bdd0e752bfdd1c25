//! A full disk: a typed error, the store as it was, and everything works again once there is space.

use std::fs;
use std::path::Path;
use std::process::Command;

use ipfs_accelerate::{
    AddOptions, Block, Explain, HashFunction, PinOptions, RAW, RemoveOptions, Store, StoreReader,
};

use super::store_kit::*;

/// A small file system of its own, unmounted when dropped; none where mounting is not allowed.
pub(crate) struct Disk(tempfile::TempDir);

impl Disk {
    pub(crate) fn new(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(folder.path())
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(folder));
        }
        println!("skipped: this user may not mount a file system");
        None
    }

    pub(crate) fn store(&self) -> std::path::PathBuf {
        self.0.path().join("store")
    }

    /// Takes all space but so many pages.
    pub(crate) fn fill(&self, pages_left: usize) {
        let ballast = self.0.path().join("ballast");
        let mut file = fs::File::create(&ballast).unwrap();
        while std::io::Write::write_all(&mut file, &[1; 4_096]).is_ok() {}
        let len = file.metadata().unwrap().len() / 4_096 * 4_096;
        file.set_len(len.saturating_sub(4_096 * pages_left as u64))
            .unwrap();
    }

    pub(crate) fn free(&self) {
        fs::remove_file(self.0.path().join("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn assert_whole(store: &Store, path: &Path, known: &[(ipfs_accelerate::Cid, Vec<u8>)]) {
    for (cid, content) in known {
        assert!(StoreReader::open(path).unwrap().read(&of(*cid)).unwrap() == *content);
        assert!(store.has_block(cid).unwrap());
    }
}

#[test]
fn whichever_write_meets_the_full_disk_the_store_is_as_it_was() {
    let Some(disk) = Disk::new("24m") else { return };
    let store = Store::create_with(disk.store(), small_packs(200_000)).unwrap();
    let before = bytes(1, 300_000);
    let mut known = vec![(add_bytes(&store, &before).cid, before)];
    let (mut met, mut done) = (0, 0);
    // So few pages that every step of one add or the other is the one that gets none.
    for pages in (0..10).chain([20, 40, 60, 80, 120, 200, 400]) {
        for (len, seed) in [(1_000, 100), (700_000, 200)] {
            let content = bytes(seed + pages as u64, len);
            disk.fill(pages);
            let state = OnDisk::of(&disk.store());
            let options = AddOptions::default().named(format!("n{pages}-{len}"));
            let result = store.add_reader(&content[..], &options);
            match result {
                Ok(added) => {
                    assert_eq!(added.size, len as u64);
                    known.push((added.cid, content.clone()));
                    done += 1;
                }
                Err(e) => {
                    assert_eq!(e.kind(), "no_space", "{e}");
                    assert!(e.hint().is_some());
                    assert_eq!(
                        OnDisk::of(&disk.store()),
                        state,
                        "{pages} pages, {len} bytes: {e}"
                    );
                    met += 1;
                }
            }
            assert!(OnDisk::of(&disk.store()).has_nothing_in_tmp());
            disk.free();
            if known.last().is_some_and(|(_, c)| *c != content) {
                known.push((
                    store.add_reader(&content[..], &options).unwrap().cid,
                    content,
                ));
            }
            let last = known.last().unwrap().0;
            store
                .remove(&of(last), &RemoveOptions::with_unpin())
                .unwrap();
            known.pop();
            for file in ["packs", "roots"]
                .iter()
                .flat_map(|f| fs::read_dir(disk.store().join(f)).unwrap())
            {
                // There is no collection yet, so the test makes room itself, all but the first object's.
                let path = file.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap();
                if path.parent().unwrap().ends_with("roots") && name.contains('.') {
                    fs::remove_file(path).unwrap();
                }
            }
        }
        assert_whole(&store, &disk.store(), &known);
    }
    assert!(met >= 10 && done >= 2, "{met} met, {done} done");
    drop(store);
    let store = Store::open(disk.store()).unwrap();
    assert_whole(&store, &disk.store(), &known);
}

#[test]
fn pins_sessions_and_exports_meet_a_full_disk_too() {
    let Some(disk) = Disk::new("16m") else { return };
    let store = Store::create(disk.store()).unwrap();
    let content = bytes(2, 500_000);
    let cid = add_bytes(&store, &content).cid;
    disk.fill(0);
    let state = OnDisk::of(&disk.store());
    let error = store.pin(&of(cid), &PinOptions::named("n")).unwrap_err();
    assert_eq!(error.kind(), "no_space", "{error}");
    let mut session = store.session();
    let block = Block::new(RAW, HashFunction::Sha2_256, bytes(3, 100_000));
    let put = session.put_block(&block).map(drop);
    let error = put.and_then(|()| session.commit().map(drop)).unwrap_err();
    assert_eq!(error.kind(), "no_space", "{error}");
    let output = disk.0.path().join("out");
    let error = store
        .export(&of(cid), &output, &Default::default())
        .unwrap_err();
    assert_eq!(error.kind(), "no_space", "{error}");
    let names: Vec<_> = fs::read_dir(disk.0.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(OnDisk::of(&disk.store()), state);
    // Reading and removing need no space, and opening does not either.
    assert!(
        StoreReader::open(disk.store())
            .unwrap()
            .read(&of(cid))
            .unwrap()
            == content
    );
    drop(store);
    let store = Store::open(disk.store()).unwrap();
    assert!(store.get_block(&cid).unwrap().data() == content);
    store.remove(&of(cid), &RemoveOptions::default()).unwrap();
    assert_eq!(store.objects().unwrap(), []);
    disk.free();
    store
        .pin(
            &of(add_bytes(&store, &content).cid),
            &PinOptions::named("n"),
        )
        .unwrap();
    assert!(read(&store, &target("n")) == content);
}
