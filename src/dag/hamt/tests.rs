use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;
use crate::block::{Block, DAG_PB, HashFunction, RAW, parse_cid};
use crate::dag::dagpb::{self, PbLink};
use crate::dag::protobuf::{put_bytes, put_number};
use crate::dag::{
    FolderEntry, FolderRoot, Malformed, NameFault, Node, Profile, decode, leaf, unixfs,
};

fn entry(name: impl Into<String>, content: &[u8]) -> FolderEntry {
    FolderEntry {
        name: name.into(),
        cid: leaf(content, &Profile::default()).cid,
        tsize: content.len() as u64,
    }
}

fn named(names: impl IntoIterator<Item = String>) -> Vec<FolderEntry> {
    let of_name = |name: String| {
        let content = name.clone();
        entry(name, content.as_bytes())
    };
    names.into_iter().map(of_name).collect()
}

type Blocks = HashMap<Cid, Block>;

fn build_in(entries: &[FolderEntry], fanout: Fanout) -> Result<(FolderRoot, Blocks), DagError> {
    let mut blocks = Blocks::new();
    let mut last = None;
    let mut keep = |block: Block| {
        last = Some(*block.cid());
        blocks.insert(*block.cid(), block);
        Ok::<_, DagError>(())
    };
    let root = build(entries, fanout, &Profile::default(), &mut keep)?;
    assert_eq!(last, Some(root.cid), "the topmost shard comes last");
    Ok((root, blocks))
}

/// Everything below a shard that is checked to stand where it does, and the deepest level.
fn read_all(
    blocks: &Blocks,
    cid: &Cid,
    at: ShardPosition,
    found: &mut Vec<FolderEntry>,
) -> Result<u32, DagError> {
    let node = decode(cid, blocks[cid].data())?;
    at.check(cid, &node)?;
    let Node::Shard { fanout, links } = node else {
        unreachable!("the position was checked")
    };
    let mut levels = 0;
    for link in links {
        let (cid, tsize) = (link.cid, link.tsize);
        match link.name {
            Some(name) => found.push(FolderEntry { name, cid, tsize }),
            None => {
                let below = at.below(fanout, link.slot);
                levels = levels.max(read_all(blocks, &cid, below, found)?);
            }
        }
    }
    Ok(levels + 1)
}

/// Looks a name up as any reader does: slot by slot.
fn look_up(blocks: &Blocks, root: &Cid, name: &str) -> Option<(Cid, u64)> {
    let hash = murmur3_x64_64(name.as_bytes());
    let (mut cid, mut taken) = (*root, 0);
    loop {
        let Node::Shard { fanout, links } = decode(&cid, blocks[&cid].data()).unwrap() else {
            panic!("{cid}")
        };
        taken += fanout.trailing_zeros();
        let slot = hash >> (64 - taken) & (fanout - 1);
        let link = links.into_iter().find(|link| link.slot == slot)?;
        match link.name {
            Some(there) if there == name => return Some((link.cid, link.tsize)),
            Some(_) => return None,
            None => cid = link.cid,
        }
    }
}

/// boxo 0.43.0, `hamt.NewShard(_, width)` with CIDv1, entries `DIRNAME0`, `DIRNAME1`, … that are all
/// the empty folder: width, entries, CID, size.
#[rustfmt::skip]
const BOXO: [(u64, usize, &str, u64); 24] = [
    (8, 0, "bafybeigaf7jzc6tvkco3ojvvf4altkea6upqcfssmmop6zukrb4ztxbjma", 8),
    (8, 1, "bafybeifcpeu34gkhh7crvfmx7n7qwinoav7eovvedmsupeuquvhzlzqmmm", 68),
    (8, 1000, "bafybeic5s42gz4uapjoxepwfbs33e5oteustf3xwxqryif7yp2gnngxkxe", 86485),
    (16, 0, "bafybeiemm67qxfijlnjol3job6zb6og5wztsjghdnvl25no2t3eurxduii", 8),
    (16, 1, "bafybeifroovn5fbef5yfscsvempuovt6tss5etiba5sdbve5kixcathfxu", 68),
    (16, 1000, "bafybeihcrrsjwbzxrnfubnpz66t7u6texjpdnetfzxkhk6g4cutk5ktz2a", 79108),
    (32, 0, "bafybeicr3ja5c2vrnlhooffk7i3zj7km36izhwsworbp42o3adwl6hwpre", 8),
    (32, 1, "bafybeid26bucnjwaqml7btonpmacga3kjbzfxjhyjx3kdihoe7xzflwlee", 69),
    (32, 1000, "bafybeiaw4jdtabbpmpdcucpnabwbn2n4vsdnluvfzgoxmy6dbr453ygmh4", 78660),
    (64, 0, "bafybeiffpwgx3wmamlptjrftrhcr3aoctccxcctuxszrkhohmtwwevjqgq", 8),
    (64, 1, "bafybeidpufrfaubvyp77arkxnxph44yfa5xchh3hjfjqehjlkk53zli53a", 70),
    (64, 1000, "bafybeicx7x6x5ygoxqo2fu56lv7tvwhygh7jt6mwnl5hwqm2rmezhjqrta", 69994),
    (128, 0, "bafybeicywqcxm2b4gvcvor3stdsn2hp5jdxeeejyp5yakngh6i2je7go54", 9),
    (128, 1, "bafybeicsv3pcje3p5sbuhhmdek7xday4pbxi47yz6esqy6muir7yclktfu", 72),
    (128, 1000, "bafybeiaief736ds4623xvfifzuhy6l33r5celhsxaio7pvqxdteakolwiy", 70977),
    (256, 0, "bafybeifoplefg5piy3pjhlp73q7unqx4hwecxeu7opfqfmg352pkpljt6m", 9),
    (256, 1, "bafybeihfp4qkptpxt3ytvz7rqhfopg32twap77wxhze6eeucwcrg42zshe", 75),
    (256, 1000, "bafybeifp6a7n7lp2yeqnk2pnn4otmqrq7d3y4l3kgmdkhlspa3qppzfrji", 80109),
    (512, 0, "bafybeihykksgt5qs3smld3fgtrdrynvmqdc6nwxcquy6p3zyb36tjokxo4", 9),
    (512, 1, "bafybeicbogtman6trikr6yga5mx5er74w7uws6emr45efist4gytpm4yse", 82),
    (512, 1000, "bafybeieakkvlbcwkenugfe4mivognl5nihefvic6otypr5tahggahtpnuq", 93240),
    (1024, 0, "bafybeiblkp7x5kqcu6bss6u32z54ba4gnqucm5vp333idpofd7nbnwc3nm", 9),
    (1024, 1, "bafybeicx4itkuvrhvmtzytf7usx4ivilauzxv3xt7arg3uoeh2ps3vzukq", 94),
    (1024, 1000, "bafybeiaktnlcrhxwc6kwvxjtalj2k3tmy5alki6qq66pxu6g6shtrnk5gu", 100759),
];

#[test]
fn shards_of_every_fanout_are_those_of_boxo_and_read_back() {
    let empty = Block::new(
        DAG_PB,
        HashFunction::Sha2_256,
        dagpb::encode([], &unixfs::directory()),
    );
    for (width, count, cid, tsize) in BOXO {
        let mut entries: Vec<_> = (0..count)
            .map(|n| FolderEntry {
                name: format!("DIRNAME{n}"),
                cid: *empty.cid(),
                tsize: empty.data().len() as u64,
            })
            .collect();
        let (root, blocks) = build_in(&entries, Fanout::new(width).unwrap()).unwrap();
        assert_eq!(
            (root.cid.to_string().as_str(), root.tsize),
            (cid, tsize),
            "{width} {count}"
        );
        let mut found = Vec::new();
        read_all(&blocks, &root.cid, ShardPosition::top(), &mut found).unwrap();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        found.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(found, entries);
    }
}

/// Kubo's own test, test/sharness/t0260-sharding.sh: 2,000 files, sharding forced, CIDv1.
#[test]
fn shards_are_those_of_kubos_own_test() {
    let entries: Vec<_> = (1..=2000)
        .map(|n| entry(format!("file{n}"), format!("{n}\n").as_bytes()))
        .collect();
    let (root, _) = build_in(&entries, FANOUT).unwrap();
    assert_eq!(
        root.cid.to_string(),
        "bafybeibiemewfzzdyhq2l74wrd6qj2oz42usjlktgnlqv4yfawgouaqn4u"
    );
}

/// boxo's fixture of its gateway tests, `directory-with-multilayer-hamt-and-multiblock-files.car`.
#[test]
fn shards_are_those_of_boxos_gateway_fixture() {
    let entry = |name: &str, cid: &str, tsize| FolderEntry {
        name: name.into(),
        cid: parse_cid(cid).unwrap(),
        tsize,
    };
    let entries = [
        entry(
            "exampleA",
            "bafybeigcisqd7m5nf3qmuvjdbakl5bdnh4ocrmacaqkpuh77qjvggmt2sa",
            1271,
        ),
        entry(
            "exampleB",
            "bafybeid3trcauvcp7fxaai23gkz3qexmlfxnnejgwm57hdvre472dafvha",
            1084,
        ),
        entry(
            "exampleC-hamt-collide-exampleA-seed-52",
            "bafkreidqhbqn5htm5qejxpb3hps7dookudo3nncfn6al6niqibi5lq6fee",
            962,
        ),
        entry(
            "exampleD-hamt-collide-exampleB-seed-364",
            "bafkreih2grj7p2bo5yk2guqazxfjzapv6hpm3mwrinv6s3cyayd72ke5he",
            1283,
        ),
    ];
    let (root, blocks) = build_in(&entries, FANOUT).unwrap();
    assert_eq!(
        root.cid.to_string(),
        "bafybeignui4g7l6cvqyy4t6vnbl2fjtego4ejmpcia77jhhwnksmm4bejm"
    );
    assert_eq!(blocks.len(), 3);
}

/// Names that were searched for: each pair has as many first bits of the hash in common as it says.
const NEAR: [&str; 6] = [
    "deep16-148",
    "deep16-185",
    "deep24-1903",
    "deep24-4402",
    "deep32-34911",
    "deep32-70477",
];

#[test]
fn names_whose_hashes_begin_alike_are_told_apart_further_down() {
    for (pair, levels) in NEAR.chunks(2).zip([3, 4, 5]) {
        let entries = named(pair.iter().map(|name| (*name).to_owned()));
        let (root, blocks) = build_in(&entries, FANOUT).unwrap();
        assert_eq!(blocks.len(), levels as usize);
        let mut found = Vec::new();
        let read = read_all(&blocks, &root.cid, ShardPosition::top(), &mut found);
        assert_eq!(read, Ok(levels));
        for entry in entries {
            let there = look_up(&blocks, &root.cid, &entry.name);
            assert_eq!(there, Some((entry.cid, entry.tsize)));
        }
    }
}

/// Two names with one hash; MurmurHash3 can be run backwards.
const SAME: [&str; 2] = [
    "the-first-name-of-32-bytes....!!",
    "040yaaaaaaaaaaaa'=.|t^<)#K)eq~I$",
];

#[test]
fn names_with_the_same_hash_are_refused_and_named() {
    assert_eq!(
        murmur3_x64_64(SAME[0].as_bytes()),
        murmur3_x64_64(SAME[1].as_bytes())
    );
    let names = SAME.into_iter().chain(["a", "b"]).map(str::to_owned);
    let entries = named(names);
    for width in [8, 256, 1024] {
        let error = build_in(&entries, Fanout::new(width).unwrap()).unwrap_err();
        let [first, second] = SAME.map(str::to_owned);
        assert_eq!(error, DagError::HashCollision { first, second });
    }
}

/// A message of a shard, field by field; `hash_type` and `fanout` only if there.
fn message(bitfield: &[u8], hash_type: Option<u64>, fanout: Option<u64>) -> Vec<u8> {
    let mut out = vec![0x08, 5];
    put_bytes(&mut out, 2, bitfield);
    for (field, value) in [(5, hash_type), (6, fanout)] {
        if let Some(value) = value {
            put_number(&mut out, field, value);
        }
    }
    out
}

fn shard_block<N: AsRef<str>>(links: &[(N, Cid)], message: &[u8]) -> Block {
    let links = links.iter().map(|(name, cid)| PbLink {
        cid: *cid,
        name: name.as_ref(),
        tsize: 3,
    });
    Block::new(
        DAG_PB,
        HashFunction::Sha2_256,
        dagpb::encode(links, message),
    )
}

fn read_block(links: &[&str], message: &[u8]) -> Result<Node, Malformed> {
    let raw = Cid::new_v1(RAW, HashFunction::Sha2_256.digest(b""));
    let links: Vec<_> = links.iter().map(|name| (*name, raw)).collect();
    let block = shard_block(&links, message);
    decode(block.cid(), block.data()).map_err(|error| match error {
        DagError::Malformed { fault, .. } => *fault,
        other => panic!("{other}"),
    })
}

#[test]
fn a_bitfield_is_read_with_and_without_its_leading_zeros() {
    let whole = |bits: &[u8]| [vec![0; 32 - bits.len()], bits.to_vec()].concat();
    let links = ["00a", "08", "FFé"];
    let mut bits = vec![0; 32];
    (bits[31], bits[30], bits[0]) = (1, 1, 0x80);
    let Ok(Node::Shard {
        fanout: 256,
        links: read,
    }) = read_block(&links, &message(&bits, Some(0x22), Some(256)))
    else {
        panic!()
    };
    let read: Vec<_> = read
        .iter()
        .map(|link| (link.slot, link.name.as_deref()))
        .collect();
    assert_eq!(read, [(0, Some("a")), (8, None), (255, Some("é"))]);
    for bits in [vec![1, 1], whole(&[1, 1])] {
        assert!(read_block(&links[..2], &message(&bits, Some(0x22), Some(256))).is_ok());
    }
    let empty = Node::Shard {
        fanout: 256,
        links: Vec::new(),
    };
    for bits in [vec![], vec![0], whole(&[])] {
        let read = read_block(&[], &message(&bits, Some(0x22), Some(256)));
        assert_eq!(read, Ok(empty.clone()));
    }
    assert_eq!(
        read_block(&[], &[0x08, 5, 0x28, 0x22, 0x30, 128, 2]),
        Ok(empty)
    );
}

#[test]
fn shards_that_are_not_well_formed_are_refused_for_what_is_wrong() {
    let good = |bits: &[u8]| message(bits, Some(0x22), Some(256));
    let missing = |field| Malformed::Missing {
        message: "UnixFS Data",
        field,
    };
    let link = |name: &str, digits, fanout| Malformed::ShardLink {
        name: name.into(),
        digits,
        fanout,
    };
    let bits = |slot, has_link| Malformed::ShardBitfield { slot, has_link };
    let mut too_long = vec![0; 33];
    too_long[32] = 1;
    for (links, message, fault) in [
        (
            &["00a"][..],
            message(&[1], None, Some(256)),
            missing("hashType"),
        ),
        (&["00a"], message(&[1], Some(0x22), None), missing("fanout")),
        (
            &["00a"],
            message(&[1], Some(0x12), Some(256)),
            Malformed::ShardHash { hash_type: 0x12 },
        ),
        (
            &["00a"],
            good(&too_long),
            Malformed::ShardBitfieldLength { len: 33, limit: 32 },
        ),
        (&["a"], good(&[1]), link("a", 2, 256)),
        (&[""], good(&[1]), link("", 2, 256)),
        (&["0é"], good(&[1]), link("0é", 2, 256)),
        (&["G0a"], good(&[1]), link("G0a", 2, 256)),
        (&["0aa"], good(&[0x04, 0]), link("0aa", 2, 256)),
        (&["+1a"], good(&[2]), link("+1a", 2, 256)),
        (
            &["00a"],
            message(&[1], Some(0x22), Some(512)),
            link("00a", 3, 512),
        ),
        (
            &["8a"],
            message(&[1], Some(0x22), Some(8)),
            link("8a", 1, 8),
        ),
        (
            &["00a", "00b"],
            good(&[1]),
            Malformed::ShardOrder { slot: 0, after: 0 },
        ),
        (
            &["00", "00a"],
            good(&[1]),
            Malformed::ShardOrder { slot: 0, after: 0 },
        ),
        (
            &["01a", "00b"],
            good(&[3]),
            Malformed::ShardOrder { slot: 0, after: 1 },
        ),
        (&["00a"], good(&[]), bits(0, true)),
        (&["00a"], good(&[3]), bits(1, false)),
        (&["08a"], good(&[1, 1]), bits(0, false)),
        (&["09a"], good(&[1, 0]), bits(8, false)),
        (&["FFa"], good(&[0x80]), bits(7, false)),
        (&[], good(&[0x80, 0]), bits(15, false)),
    ] {
        assert_eq!(read_block(links, &message), Err(fault), "{links:?}");
    }
    for fanout in [0, 1, 4, 255, 257, 2048, 1 << 20, u64::MAX] {
        let limit = 1024;
        assert_eq!(
            read_block(&["00a"], &message(&[1], Some(0x22), Some(fanout))),
            Err(Malformed::Fanout { fanout, limit })
        );
    }
    for (name, expected) in [
        ("00..", NameFault::Dots),
        ("00.", NameFault::Dots),
        ("00../a", NameFault::Slash),
        ("00a\0", NameFault::Nul),
    ] {
        let Err(Malformed::Name(error)) = read_block(&[name], &good(&[1])) else {
            panic!("{name}")
        };
        assert_eq!(error.fault, expected);
    }
}

fn slot_of(name: &str, level: u32) -> u64 {
    murmur3_x64_64(name.as_bytes()) >> (56 - 8 * level) & 0xff
}

/// A shard whose links are at the given slots, sorted.
fn shard_of(fanout: u64, mut links: Vec<(u64, &str, Cid)>) -> Block {
    links.sort_by_key(|(slot, ..)| *slot);
    let width = Fanout::new(fanout).unwrap();
    let mut bits = vec![0; width.bitfield_bytes()];
    let mut written = Vec::new();
    for (slot, name, cid) in links {
        set_slot(&mut bits, slot);
        let digits = width.digits();
        written.push((format!("{slot:0digits$X}{name}"), cid));
    }
    shard_block(&written, &message(&bits, Some(0x22), Some(fanout)))
}

#[test]
fn shards_that_stand_where_no_writer_puts_them_are_refused() {
    let raw = Cid::new_v1(RAW, HashFunction::Sha2_256.digest(b""));
    let [a, b] = [NEAR[0], NEAR[1]];
    let fault_of = |blocks: &[&Block], top: &Block| {
        let map: Blocks = blocks.iter().map(|b| (*b.cid(), (*b).clone())).collect();
        match read_all(&map, top.cid(), ShardPosition::top(), &mut Vec::new()) {
            Err(DagError::Shard { fault, .. }) => *fault,
            other => panic!("{other:?}"),
        }
    };
    // In the wrong slot of the topmost shard.
    let slot = slot_of(a, 0);
    let wrong = shard_of(256, vec![(slot ^ 1, a, raw)]);
    let misplaced = ShardFault::Misplaced {
        name: a.into(),
        bits: 8,
        here: slot ^ 1,
        leads_to: slot,
    };
    assert_eq!(fault_of(&[&wrong], &wrong), misplaced);
    // In the right slot of a shard that another slot leads to: found at one place, lost at another.
    let below = shard_of(256, vec![(slot_of(a, 1), a, raw)]);
    let twice = shard_of(
        256,
        vec![(slot, "", *below.cid()), (slot ^ 3, "", *below.cid())],
    );
    let ShardFault::Misplaced { bits: 16, name, .. } = fault_of(&[&below, &twice], &twice) else {
        panic!()
    };
    assert_eq!(name, a);
    // A shard of another width.
    let narrow = shard_of(8, vec![(0, b, raw)]);
    let top = shard_of(256, vec![(slot, "", *narrow.cid())]);
    let other = ShardFault::OtherFanout {
        fanout: 8,
        above: 256,
    };
    assert_eq!(fault_of(&[&narrow, &top], &top), other);
    // No shard at all.
    let folder = Block::new(
        DAG_PB,
        HashFunction::Sha2_256,
        dagpb::encode([], &unixfs::directory()),
    );
    let top = shard_of(256, vec![(slot, "", *folder.cid())]);
    assert_eq!(fault_of(&[&folder, &top], &top), ShardFault::OtherNode);
    // Empty below the top.
    let empty = shard_of(256, vec![]);
    let top = shard_of(256, vec![(slot, "", *empty.cid())]);
    assert_eq!(fault_of(&[&empty, &top], &top), ShardFault::Empty);
    // 256 links to one shard at every level would be 2^72 shards; the first way down is the last.
    let mut blocks = vec![shard_of(256, vec![])];
    for _ in 0..9 {
        let below = *blocks.last().unwrap().cid();
        blocks.push(shard_of(
            256,
            (0..256).map(|slot| (slot, "", below)).collect(),
        ));
    }
    let all: Vec<&Block> = blocks.iter().collect();
    assert_eq!(fault_of(&all, &blocks[8]), ShardFault::Empty);
    assert_eq!(fault_of(&all, &blocks[9]), ShardFault::TooDeep { bits: 72 });
}

#[test]
fn a_name_alone_below_several_shards_is_read() {
    let raw = Cid::new_v1(RAW, HashFunction::Sha2_256.digest(b""));
    let lower = shard_of(256, vec![(slot_of("a", 1), "a", raw)]);
    let top = shard_of(256, vec![(slot_of("a", 0), "", *lower.cid())]);
    let blocks: Blocks = [&lower, &top].map(|b| (*b.cid(), b.clone())).into();
    let mut found = Vec::new();
    read_all(&blocks, top.cid(), ShardPosition::top(), &mut found).unwrap();
    assert_eq!(found.len(), 1);
    assert!(look_up(&blocks, top.cid(), "a").is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_names_in_any_order_give_one_cid_and_are_found(
        names in prop::collection::btree_set("[^/\0]{1,12}", 0..400),
        bits in 3_u32..11,
        order in any::<u64>(),
    ) {
        let names = names.into_iter().filter(|name| name != "." && name != "..");
        let entries = named(names);
        let mut shuffled = entries.clone();
        let random = |entry: &FolderEntry| murmur3_x64_64(format!("{order}{}", entry.name).as_bytes());
        shuffled.sort_by_key(random);
        let fanout = Fanout::new(1 << bits).unwrap();
        let (root, blocks) = build_in(&entries, fanout).unwrap();
        prop_assert_eq!(build_in(&shuffled, fanout).unwrap().0, root);

        let mut found = Vec::new();
        read_all(&blocks, &root.cid, ShardPosition::top(), &mut found).unwrap();
        let found: BTreeMap<_, _> = found.into_iter().map(|e| (e.name.clone(), e)).collect();
        prop_assert_eq!(found.len(), entries.len());
        for entry in &entries {
            prop_assert_eq!(&found[&entry.name], entry);
            prop_assert_eq!(look_up(&blocks, &root.cid, &entry.name), Some((entry.cid, entry.tsize)));
            let absent = format!("{}/", entry.name);
            prop_assert_eq!(look_up(&blocks, &root.cid, &absent), None);
        }
        let own: u64 = blocks.values().map(|block| block.data().len() as u64).sum();
        let below: u64 = entries.iter().map(|entry| entry.tsize).sum();
        prop_assert_eq!(root.tsize, own + below);
    }

    #[test]
    fn reading_hostile_shards_never_panics(
        links in prop::collection::vec("[0-9A-G]{0,3}[a-z]?", 0..6),
        bitfield in prop::collection::vec(any::<u8>(), 0..40),
        hash_type in prop_oneof![Just(Some(0x22)), any::<Option<u64>>()],
        fanout in prop_oneof![(0_u32..12).prop_map(|bits| Some(1_u64 << bits)), any::<Option<u64>>()],
        slots in prop::collection::vec(any::<u64>(), 0..12),
    ) {
        let names: Vec<&str> = links.iter().map(String::as_str).collect();
        let cid = Cid::new_v1(RAW, HashFunction::Sha2_256.digest(b""));
        let read = read_block(&names, &message(&bitfield, hash_type, fanout));
        let fanout = fanout.unwrap_or_default();
        let links = names.iter().zip(&slots).map(|(name, slot)| ShardLink {
            slot: *slot,
            name: Some((*name).to_owned()),
            cid,
            tsize: 0,
        });
        let made = Node::Shard { fanout, links: links.collect() };
        let mut at = ShardPosition::top();
        for slot in slots {
            if let Ok(node) = &read {
                let _ = at.check(&cid, node);
            }
            let _ = at.check(&cid, &made);
            at = at.below(fanout, slot);
        }
    }

    #[test]
    fn a_damaged_shard_never_panics_and_never_moves_a_name(
        names in prop::collection::btree_set("[a-z]{1,3}", 1..20),
        at: prop::sample::Index,
        bits in 1_u8..,
    ) {
        let entries = named(names);
        let (root, blocks) = build_in(&entries, FANOUT).unwrap();
        let mut data = blocks[&root.cid].data().to_vec();
        let at = at.index(data.len());
        data[at] ^= bits;
        if let Ok(node) = decode(&root.cid, &data)
            && ShardPosition::top().check(&root.cid, &node).is_ok()
            && let Node::Shard { links, .. } = node
        {
            for link in links {
                if let Some(name) = link.name {
                    prop_assert_eq!(link.slot, slot_of(&name, 0));
                }
            }
        }
    }
}
