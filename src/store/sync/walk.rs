//! The DAG of one object of the source, from its CID down: leaves, nodes and paths in the order in which they are
//! copied.

use super::error::SyncObjectError;
use super::leaves::{Leaf, OpenFile};
use super::source::SourceObject;
use crate::block::{Block, Cid, RAW};
use crate::dag::{self, Node, ShardPosition};
use crate::store::assemble::{Below, MAX_PATHS, below};
use crate::store::error::StoreError;
use crate::store::root::ObjectKind;

/// A part of the object.
pub(super) enum Step {
    /// The next leaf of a file.
    Leaf(Leaf),
    /// The file whose leaves came is complete; these are its nodes.
    File {
        path: String,
        cid: Cid,
        nodes: Vec<Block>,
    },
    /// A node of a folder.
    Node(Block),
    /// Everything in a folder came.
    Folder { path: String, cid: Cid, size: u64 },
    Symlink {
        path: String,
        block: Block,
        target: String,
    },
}

impl Step {
    /// How much of the memory of a batch it takes.
    fn bytes(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.len as usize,
            Self::File { nodes, .. } => nodes.iter().map(|node| node.data().len()).sum(),
            Self::Node(block) | Self::Symlink { block, .. } => block.data().len(),
            Self::Folder { .. } => 0,
        }
    }
}

pub(super) struct Walk<'s> {
    source: &'s SourceObject,
    /// The next one last.
    tasks: Vec<Task>,
    file: Option<OpenFile>,
    paths: usize,
    kind: Option<ObjectKind>,
    sum: Below,
}

enum Task {
    Enter(Cid, String),
    /// A further shard of the folder at a path.
    Shard(Cid, String, ShardPosition),
    /// Everything in the folder was seen, on top of so many bytes before it.
    Leave(Cid, String, u64),
}

/// Two batches are in memory at once.
const BATCH_BYTES: usize = 16 << 20;
const BATCH_STEPS: usize = 2_048;

impl<'s> Walk<'s> {
    pub(super) fn new(source: &'s SourceObject) -> Self {
        Self {
            tasks: vec![Task::Enter(source.cid, String::new())],
            source,
            file: None,
            paths: 0,
            kind: None,
            sum: Below::default(),
        }
    }

    /// The steps that are next; none at the end.
    pub(super) fn next_batch(&mut self) -> Result<Vec<Step>, SyncObjectError> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES && batch.len() < BATCH_STEPS {
            let Some(step) = self.next()? else { break };
            bytes += step.bytes();
            batch.push(step);
        }
        Ok(batch)
    }

    /// What the object is, and the sums over all of it, once the walk is at its end.
    pub(super) fn finish(self) -> (ObjectKind, Below) {
        (self.kind.unwrap_or(ObjectKind::File), self.sum)
    }

    fn next(&mut self) -> Result<Option<Step>, SyncObjectError> {
        loop {
            if let Some(file) = &mut self.file {
                if let Some(leaf) = file.next(self.source, &mut self.sum)? {
                    return Ok(Some(Step::Leaf(leaf)));
                }
                return Ok(self.file.take().map(|file| Step::File {
                    path: file.path,
                    cid: file.cid,
                    nodes: file.nodes,
                }));
            }
            let Some(task) = self.tasks.pop() else {
                return Ok(None);
            };
            let step = match task {
                Task::Enter(cid, path) => self.enter(cid, path)?,
                Task::Shard(cid, path, position) => {
                    let node = self.node(&cid)?;
                    Some(self.shard(node, &path, position)?)
                }
                Task::Leave(cid, path, before) => {
                    let size = self.sum.size - before;
                    Some(Step::Folder { path, cid, size })
                }
            };
            if step.is_some() {
                return Ok(step);
            }
        }
    }

    fn enter(&mut self, cid: Cid, path: String) -> Result<Option<Step>, SyncObjectError> {
        self.paths += 1;
        if self.paths > MAX_PATHS {
            let (what, limit) = ("paths", MAX_PATHS);
            return Err(self.unreadable(StoreError::TooDeep { cid, what, limit }));
        }
        if cid.codec() == RAW {
            return self.file(cid, path);
        }
        let (block, node) = self.node(&cid)?;
        match node {
            Node::Folder { entries } => {
                self.kind.get_or_insert(ObjectKind::Folder);
                self.count(&block);
                self.tasks
                    .push(Task::Leave(cid, path.clone(), self.sum.size));
                for entry in entries.iter().rev() {
                    let path = self.below(cid, &path, &entry.name)?;
                    self.tasks.push(Task::Enter(entry.cid, path));
                }
                Ok(Some(Step::Node(block)))
            }
            Node::Shard { .. } => {
                self.kind.get_or_insert(ObjectKind::Folder);
                self.tasks
                    .push(Task::Leave(cid, path.clone(), self.sum.size));
                let step = self.shard((block, node), &path, ShardPosition::top())?;
                Ok(Some(step))
            }
            Node::Symlink { target } => {
                self.kind.get_or_insert(ObjectKind::Symlink);
                self.count(&block);
                Ok(Some(Step::Symlink {
                    path,
                    block,
                    target,
                }))
            }
            _ => self.file(cid, path),
        }
    }

    /// The position bounds how many shards there are: every one leads to an entry, and no entry is below two.
    fn shard(
        &mut self,
        (block, node): (Block, Node),
        path: &str,
        position: ShardPosition,
    ) -> Result<Step, SyncObjectError> {
        let cid = *block.cid();
        let checked = position.check(&cid, &node);
        checked.map_err(|e| self.unreadable(e.into()))?;
        self.count(&block);
        if let Node::Shard { fanout, links } = &node {
            for link in links.iter().rev() {
                let task = match &link.name {
                    Some(name) => Task::Enter(link.cid, self.below(cid, path, name)?),
                    None => {
                        let position = position.below(*fanout, link.slot);
                        Task::Shard(link.cid, path.to_owned(), position)
                    }
                };
                self.tasks.push(task);
            }
        }
        Ok(Step::Node(block))
    }

    fn file(&mut self, cid: Cid, path: String) -> Result<Option<Step>, SyncObjectError> {
        self.kind.get_or_insert(ObjectKind::File);
        self.file = Some(OpenFile::new(self.source, cid, path)?);
        Ok(None)
    }

    fn node(&self, cid: &Cid) -> Result<(Block, Node), SyncObjectError> {
        let block = self.source.block(cid)?;
        let node = dag::decode(cid, block.data()).map_err(|e| self.unreadable(e.into()))?;
        Ok((block, node))
    }

    fn count(&mut self, block: &Block) {
        self.sum.blocks += 1;
        self.sum.tsize += block.data().len() as u64;
    }

    fn below(&self, cid: Cid, path: &str, name: &str) -> Result<String, SyncObjectError> {
        below(cid, path, name).map_err(|e| self.unreadable(e))
    }

    fn unreadable(&self, e: StoreError) -> SyncObjectError {
        self.source.unreadable(e)
    }
}
