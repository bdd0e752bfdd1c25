//! The CIDs of content under several profiles, from one reading of it and without a store.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

use rayon::ThreadPool;
use rayon::prelude::*;

use super::add::{Committed, report};
use super::cuts::{Cutting, PiecePlan};
use super::hash::Bytes;
use super::options::{AddOptions, AddProgress, AddReport};
use super::tree::{Built, NodeSink, Nowhere, Tree};
use super::walk::{Walk, walk};
use super::window::{FileWindows, StreamWindows, Windows};
use crate::block::{Block, Cid};
use crate::dag::{FileBuilder, FileRoot, LeafHash, Profile};
use crate::store::error::StoreError;
use crate::store::inner::build_pool;

/// Told of each file: its path below the top, and what it is under each profile.
pub(crate) type OnFile<'f> = dyn FnMut(&str, &[FileRoot]) + 'f;

pub(crate) fn hash_path(path: &Path, options: &AddOptions) -> Result<AddReport, StoreError> {
    let profile = std::slice::from_ref(&options.profile);
    let (walk, built) = compute_path(path, profile, options, &mut |_, _| {})?;
    report_of(&walk, &built[0], options)
}

pub(crate) fn hash_reader(
    reader: impl Read,
    options: &AddOptions,
) -> Result<AddReport, StoreError> {
    let profile = std::slice::from_ref(&options.profile);
    let (walk, built) = compute_reader(reader, profile, options, &mut |_, _| {})?;
    report_of(&walk, &built[0], options)
}

/// As [`hash_path`], with everything that the object consists of.
pub(crate) fn list_path(path: &Path, options: &AddOptions) -> Result<Listing, StoreError> {
    let profile = std::slice::from_ref(&options.profile);
    let mut files = Vec::new();
    let mut on_file = |path: &str, roots: &[FileRoot]| files.push((path.to_owned(), roots[0].cid));
    let mut rest = Rest(Vec::new());
    let (walk, built) = compute_nodes(path, profile, options, &mut on_file, &mut rest)?;
    options.check_expected(&walk.name, &built[0].cid)?;
    let entries = files.into_iter().chain(rest.0).collect();
    let cid = built[0].cid;
    Ok(Listing { cid, entries })
}

/// An object that was computed.
pub(crate) struct Listing {
    pub(crate) cid: Cid,
    /// Its files, folders and links by their paths below the top, whose own is empty.
    pub(crate) entries: HashMap<String, Cid>,
}

/// What is no file.
struct Rest(Vec<(String, Cid)>);

impl NodeSink for Rest {
    fn node(&mut self, _: Block) -> Result<(), StoreError> {
        Ok(())
    }

    fn symlink(&mut self, path: &str, cid: Cid, _: &str) {
        self.0.push((path.to_owned(), cid));
    }

    fn folder(&mut self, path: &str, cid: Cid, _: u64) {
        self.0.push((path.to_owned(), cid));
    }
}

fn report_of(walk: &Walk, built: &Built, options: &AddOptions) -> Result<AddReport, StoreError> {
    options.check_expected(&walk.name, &built.cid)?;
    let bytes = Bytes {
        new: built.size,
        shared: 0,
        referenced: 0,
    };
    Ok(report(walk, built, bytes, Committed::default()))
}

/// What a file or folder is under each of the profiles.
pub(crate) fn compute_path(
    path: &Path,
    profiles: &[Profile],
    options: &AddOptions,
    on_file: &mut OnFile<'_>,
) -> Result<(Walk, Vec<Built>), StoreError> {
    compute_nodes(path, profiles, options, on_file, &mut Nowhere)
}

fn compute_nodes(
    path: &Path,
    profiles: &[Profile],
    options: &AddOptions,
    on_file: &mut OnFile<'_>,
    nodes: &mut dyn NodeSink,
) -> Result<(Walk, Vec<Built>), StoreError> {
    let mut walk = walk(path, options)?;
    // Handed over: each file is closed once it is read, however many there are.
    let mut windows = FileWindows::new(std::mem::take(&mut walk.files), profiles);
    let total = Some(walk.total_bytes);
    let mut told = Told { on_file, nodes };
    let built = compute(&walk, &mut windows, profiles, options, total, &mut told)?;
    Ok((walk, built))
}

/// What the content of a stream is under each of the profiles.
pub(crate) fn compute_reader(
    reader: impl Read,
    profiles: &[Profile],
    options: &AddOptions,
    on_file: &mut OnFile<'_>,
) -> Result<(Walk, Vec<Built>), StoreError> {
    let walk = Walk::of_stream();
    let mut windows = StreamWindows::new(reader, profiles, options);
    let nodes = &mut Nowhere;
    let mut told = Told { on_file, nodes };
    let built = compute(&walk, &mut windows, profiles, options, None, &mut told)?;
    Ok((walk, built))
}

/// Who is told of what was computed: of the files, and of the folders and links.
struct Told<'t, 'f> {
    on_file: &'t mut OnFile<'f>,
    nodes: &'t mut dyn NodeSink,
}

fn compute(
    walk: &Walk,
    windows: &mut dyn Windows,
    profiles: &[Profile],
    options: &AddOptions,
    total_bytes: Option<u64>,
    told: &mut Told<'_, '_>,
) -> Result<Vec<Built>, StoreError> {
    let pool = build_pool(0)?;
    let mut objects = Objects::new(walk, profiles, told.nodes)?;
    let mut cutting = Cutting::new(profiles);
    let mut done_bytes = 0;
    let mut window = windows.next(&[], Vec::new(), &pool)?;
    let mut spare = Vec::new();
    while !window.pieces.is_empty() {
        options.check_cancel()?;
        let plan = cutting.cut(&window);
        let carry = &window.data[plan.carry.clone()];
        let hash = || -> Vec<LeafHash> {
            let leaves = plan.leaves.par_iter();
            let hash = |leaf: &super::cuts::Leaf| {
                LeafHash::new(&window.data[leaf.at.clone()], leaf.leaves, leaf.hash)
            };
            leaves.map(hash).collect()
        };
        let (hashes, next) = beside(&pool, hash, || windows.next(carry, spare, &pool));
        for piece in &plan.pieces {
            objects.take(piece, &hashes, told)?;
        }
        done_bytes += window.new_bytes;
        if let Some(progress) = &options.progress {
            progress(AddProgress {
                done_bytes,
                total_bytes,
                new_bytes: 0,
                shared_bytes: 0,
            });
        }
        spare = std::mem::replace(&mut window, next?).data;
    }
    Ok(objects.finish())
}

/// Hashes in the pool while the caller's thread reads on. What it reads from may wait, and must not keep a
/// thread from hashing.
fn beside<H: Send, R>(
    pool: &ThreadPool,
    hash: impl FnOnce() -> H + Send,
    read: impl FnOnce() -> R,
) -> (H, R) {
    let mut hashed = None;
    let read = pool.in_place_scope(|scope| {
        scope.spawn(|_| hashed = Some(hash()));
        read()
    });
    (hashed.expect("the scope waits for it"), read)
}

/// What is being put together, under each profile.
struct Objects<'w> {
    profiles: &'w [Profile],
    trees: Vec<Tree<'w>>,
    paths: Box<dyn Iterator<Item = &'w str> + 'w>,
    /// The file that goes on: its builder and its blocks, for each profile.
    file: Vec<(FileBuilder, u64)>,
}

impl<'w> Objects<'w> {
    fn new(
        walk: &'w Walk,
        profiles: &'w [Profile],
        nodes: &mut dyn NodeSink,
    ) -> Result<Self, StoreError> {
        let trees = profiles.iter().map(|profile| {
            let mut tree = Tree::new(&walk.steps, profile);
            tree.build_up_to_a_file(nodes).map(|()| tree)
        });
        Ok(Self {
            profiles,
            trees: trees.collect::<Result<_, _>>()?,
            paths: Box::new(walk.file_paths()),
            file: Vec::new(),
        })
    }

    fn take(
        &mut self,
        piece: &PiecePlan,
        hashes: &[LeafHash],
        told: &mut Told<'_, '_>,
    ) -> Result<(), StoreError> {
        if self.file.is_empty() {
            let builder = |profile| (FileBuilder::new(profile), 0);
            self.file = self.profiles.iter().map(builder).collect();
        }
        for (profiles, leaves) in &piece.chunks {
            for &i in &profiles[..] {
                let (builder, blocks) = &mut self.file[i];
                for leaf in leaves {
                    *blocks += 1;
                    let root = hashes[*leaf].root(&self.profiles[i]);
                    builder.push_leaf(root, &mut |_| *blocks += 1);
                }
            }
        }
        if piece.ends {
            let mut roots = Vec::with_capacity(self.profiles.len());
            for ((builder, mut blocks), tree) in self.file.drain(..).zip(&mut self.trees) {
                let root = builder.finish(&mut |_| blocks += 1);
                tree.file(root, blocks);
                tree.build_up_to_a_file(told.nodes)?;
                roots.push(root);
            }
            (told.on_file)(self.paths.next().unwrap_or_default(), &roots);
        }
        Ok(())
    }

    fn finish(self) -> Vec<Built> {
        self.trees.into_iter().map(Tree::finish).collect()
    }
}
