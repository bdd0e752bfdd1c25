//! Building folders over files, from the leaves up.

use super::hash::Sink;
use super::walk::{Found, Step};
use crate::block::{Block, Cid};
use crate::dag::{self, FileRoot, FolderEntry, FolderRoot, Profile};
use crate::store::error::StoreError;
use crate::store::root::ObjectKind;

/// What stands at a path, once everything below it is hashed.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    pub(crate) cid: Cid,
    pub(crate) kind: ObjectKind,
    pub(crate) size: u64,
    pub(crate) tsize: u64,
    pub(crate) blocks: u64,
    pub(crate) files: u64,
}

/// Where the nodes of folders and links go.
pub(crate) trait NodeSink {
    fn node(&mut self, block: Block) -> Result<(), StoreError>;
    fn symlink(&mut self, path: &str, cid: Cid, target: &str);
    fn folder(&mut self, path: &str, cid: Cid, size: u64);
}

/// Nowhere, when only CIDs are wanted.
pub(crate) struct Nowhere;

impl NodeSink for Nowhere {
    fn node(&mut self, _: Block) -> Result<(), StoreError> {
        Ok(())
    }

    fn symlink(&mut self, _: &str, _: Cid, _: &str) {}

    fn folder(&mut self, _: &str, _: Cid, _: u64) {}
}

impl NodeSink for Sink<'_, '_> {
    fn node(&mut self, block: Block) -> Result<(), StoreError> {
        self.put_node(block)
    }

    fn symlink(&mut self, path: &str, cid: Cid, target: &str) {
        self.root.symlink(path.to_owned(), cid, target.to_owned());
    }

    fn folder(&mut self, path: &str, cid: Cid, size: u64) {
        self.root.folder(path.to_owned(), cid, size);
    }
}

/// The folders under one profile. Files come in in the order of the walk; a folder is built, and what
/// stands in it forgotten, as soon as its last entry is there.
pub(crate) struct Tree<'w> {
    steps: &'w [Step],
    profile: &'w Profile,
    /// What has no folder over it yet, in the order of the steps.
    built: Vec<(&'w str, Built)>,
}

impl<'w> Tree<'w> {
    pub(crate) fn new(steps: &'w [Step], profile: &'w Profile) -> Self {
        Self {
            steps,
            profile,
            built: Vec::new(),
        }
    }

    /// The file that comes next.
    pub(crate) fn file(&mut self, root: FileRoot, blocks: u64) {
        let (step, rest) = self.steps.split_first().expect("a file of the walk");
        debug_assert!(matches!(step.found, Found::File));
        self.steps = rest;
        let built = Built {
            cid: root.cid,
            kind: ObjectKind::File,
            size: root.size,
            tsize: root.tsize,
            blocks,
            files: 1,
        };
        self.built.push((name_in(&step.path), built));
    }

    /// Builds everything that comes before the next file, or before the end.
    pub(crate) fn build_up_to_a_file(&mut self, sink: &mut dyn NodeSink) -> Result<(), StoreError> {
        while let Some((Step { path, found }, rest)) = self.steps.split_first() {
            let built = match found {
                Found::File => break,
                Found::Symlink(target) => self.symlink(path, target, sink)?,
                Found::Folder { entries } => self.folder(path, *entries, sink)?,
            };
            self.steps = rest;
            self.built.push((name_in(path), built));
        }
        Ok(())
    }

    /// What stands at the top.
    pub(crate) fn finish(mut self) -> Built {
        debug_assert!(self.steps.is_empty());
        let (_, top) = self.built.pop().expect("a walk ends with its top");
        top
    }

    fn symlink(
        &self,
        path: &str,
        target: &str,
        sink: &mut dyn NodeSink,
    ) -> Result<Built, StoreError> {
        let block = dag::symlink_node(target, self.profile);
        let (cid, tsize) = (*block.cid(), block.data().len() as u64);
        sink.symlink(path, cid, target);
        sink.node(block)?;
        Ok(Built {
            cid,
            kind: ObjectKind::Symlink,
            size: 0,
            tsize,
            blocks: 1,
            files: 0,
        })
    }

    fn folder(
        &mut self,
        path: &str,
        entries: usize,
        sink: &mut dyn NodeSink,
    ) -> Result<Built, StoreError> {
        let below = self.built.split_off(self.built.len() - entries);
        let size = below.iter().map(|(_, built)| built.size).sum();
        let mut blocks = below.iter().map(|(_, built)| built.blocks).sum();
        let files = below.iter().map(|(_, built)| built.files).sum();
        let links = below.into_iter().map(|(name, built)| FolderEntry {
            name: name.to_owned(),
            cid: built.cid,
            tsize: built.tsize,
        });
        let mut put = |block| -> Result<(), StoreError> {
            blocks += 1;
            sink.node(block)
        };
        let FolderRoot { cid, tsize } = dag::build_folder(links.collect(), self.profile, &mut put)?;
        sink.folder(path, cid, size);
        Ok(Built {
            cid,
            kind: ObjectKind::Folder,
            size,
            tsize,
            blocks,
            files,
        })
    }
}

fn name_in(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}
