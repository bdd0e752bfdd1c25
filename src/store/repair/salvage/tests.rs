//! Every bit of a pack's table, flipped: what roots place stays, and no row lies over the bytes of another one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::super::plan::plan;
use super::super::steps::PackStep;
use super::super::{RepairOptions, RepairPlan};
use crate::block::Cid;
use crate::dag::Profile;
use crate::store::folder::StoreFolder;
use crate::store::pack::{Header, Row, Table};
use crate::store::trials::scratch;
use crate::store::{AddOptions, PinAs, RemoveOptions, Store};

/// A pack of a store, and what its table says.
struct Flipped {
    store: PathBuf,
    pack: PathBuf,
    whole: Vec<u8>,
    table: std::ops::Range<usize>,
    rows: Vec<Row>,
}

fn options() -> AddOptions {
    let profile = Profile::default().with_chunk_bytes(1_000).unwrap();
    AddOptions::default()
        .with_profile(profile)
        .with_pin(PinAs::No)
}

fn content(seed: u8) -> Vec<u8> {
    (0..2_500_u32)
        .map(|n| (n * 7 + n / 251) as u8 ^ seed)
        .collect()
}

/// The first pack of the wanted version in a store that `make` fills.
fn flipped(dir: &Path, version: u8, make: impl FnOnce(&Store)) -> Flipped {
    let path = dir.join("store");
    let store = Store::create(&path).unwrap();
    make(&store);
    drop(store);
    let packs = fs::read_dir(path.join("packs")).unwrap();
    let mut packs = packs.map(|entry| entry.unwrap().path());
    let is_wanted = |pack: &PathBuf| fs::read(pack).unwrap()[8] == version;
    let pack = packs.find(is_wanted).unwrap();
    fs::set_permissions(&pack, fs::Permissions::from_mode(0o644)).unwrap();
    let whole = fs::read(&pack).unwrap();
    let header = Header::decode(whole[..Header::BYTES].try_into().unwrap(), &pack).unwrap();
    let table = header.table_offset as usize..header.file_len as usize;
    let rows = Table::parse(&whole[table.clone()], &pack).unwrap().rows;
    Flipped {
        store: path,
        pack,
        whole,
        table,
        rows,
    }
}

impl Flipped {
    fn plan(&self, bytes: &[u8]) -> RepairPlan {
        fs::write(&self.pack, bytes).unwrap();
        plan(&StoreFolder::new(&self.store), &RepairOptions::default()).unwrap()
    }

    /// What the repaired tables list, for each of these changes of a byte of the table.
    fn repaired(&self, changes: &[u8], mut check: impl FnMut(usize, u8, Vec<Row>, RepairPlan)) {
        for at in self.table.clone() {
            for change in changes {
                let mut bytes = self.whole.clone();
                bytes[at] ^= change;
                let plan = self.plan(&bytes);
                let rebuilt = plan.steps.packs.iter().find_map(|step| match step {
                    PackStep::Rebuild { rebuilt, .. } => rebuilt.table.as_deref(),
                    _ => None,
                });
                let rebuilt = rebuilt.unwrap_or_else(|| panic!("{at}: {:?}", plan.findings));
                let rows = Table::parse(rebuilt, &self.pack).unwrap().rows;
                let mut end = 0;
                for row in rows.iter().filter(|row| row.len > 0) {
                    assert!(row.offset >= end, "byte {at} ^ {change}: {rows:?}");
                    end = row.offset + u64::from(row.len);
                }
                check(at, *change, rows, plan);
            }
        }
    }
}

const BITS: [u8; 8] = [1, 2, 4, 8, 16, 32, 64, 128];

fn same(a: &Row, b: &Row) -> bool {
    (a.cid.0.hash(), a.offset, a.len) == (b.cid.0.hash(), b.offset, b.len)
}

#[test]
fn any_bit_of_a_table_whose_blocks_roots_place() {
    let dir = scratch();
    let pack = flipped(dir.path(), 1, |store| {
        store.add_reader(&content(1)[..], &options()).unwrap();
    });
    pack.repaired(&BITS, |at, change, rows, plan| {
        let is_kept = |row: &Row| rows.iter().any(|kept| same(row, kept));
        assert!(
            pack.rows.iter().all(is_kept),
            "byte {at} ^ {change}: {rows:?}"
        );
        assert!(plan.steps.gone.is_none(), "byte {at} ^ {change}");
    });
}

/// A root that is retired says nothing of its blocks once it is gone; its rows are all that does.
fn unrooted(store: &Store, cid: Cid) {
    store
        .remove(&cid.into(), &RemoveOptions::with_unpin())
        .unwrap();
    let roots = fs::read_dir(store.path().join("roots")).unwrap();
    roots.for_each(|root| fs::remove_file(root.unwrap().path()).unwrap());
}

#[test]
fn any_bit_of_a_table_whose_blocks_only_itself_tells() {
    let dir = scratch();
    let pack = flipped(dir.path(), 1, |store| {
        let cid = store.add_reader(&content(1)[..], &options()).unwrap().cid;
        unrooted(store, cid);
    });
    let digests = {
        let mut found = Vec::new();
        for row in &pack.rows {
            let digest = row.cid.0.hash().digest();
            let at = pack.whole.windows(digest.len()).rposition(|w| w == digest);
            found.push(at.unwrap());
        }
        found
    };
    pack.repaired(&BITS, |at, change, rows, _| {
        let lost = |row: &&Row| !rows.iter().any(|kept| same(row, kept));
        let lost = pack.rows.iter().filter(lost).count();
        assert!(lost <= 1, "byte {at} ^ {change}: {rows:?}");
        // The function of a hash is told by the digest.
        if digests.iter().any(|digest| at + 2 == *digest) && change < 128 {
            assert_eq!(lost, 0, "byte {at} ^ {change}: {rows:?}");
        }
    });
}

#[test]
fn any_byte_of_the_table_of_a_reference_pack() {
    let dir = scratch();
    let file = dir.path().join("file");
    fs::write(&file, content(1)).unwrap();
    let pack = flipped(dir.path(), 2, |store| {
        let mut options = options();
        options.reference = true;
        store.add_path(&file, &options).unwrap();
    });
    pack.repaired(&[0xff, 1, 64], |at, change, rows, _| {
        assert_eq!(
            rows.len(),
            pack.rows.len(),
            "byte {at} ^ {change}: {rows:?}"
        );
        let is_kept = |row: &Row| rows.iter().any(|kept| same(row, kept));
        assert!(
            pack.rows.iter().all(is_kept),
            "byte {at} ^ {change}: {rows:?}"
        );
    });
}
