//! Following an object from its CID down: through folders and the nodes of files to the leaves, and from each to
//! the row of the table that says where it lies. With the rows' bytes hashed, this proves every byte of the object.

use std::collections::HashMap;

use super::access::Access;
use super::contest::Placed;
use super::findings::Findings;
use super::report::{Affected, FindingKind};
use super::tables::Tables;
use crate::block::{Cid, RAW, canonical};
use crate::dag::{self, Node, ShardPosition};
use crate::store::coverage::Coverage;
use crate::store::error::StoreError;
use crate::store::gone::Gone;
use crate::store::pack::Place;
use crate::store::root::{self, EntryKind, NodePlace, RootRecord};

/// One object.
pub(super) struct Proof<'a, 'w> {
    pub(super) access: &'a Access<'a>,
    pub(super) tables: &'w mut Tables<'a>,
    pub(super) findings: &'w mut Findings,
    pub(super) gone: &'w Gone,
    pub(super) record: &'w RootRecord,
    /// What was followed, for those who hash only that.
    pub(super) covered: Option<&'w mut Coverage>,
    /// Told of every block that is followed, and where it is said to lie.
    pub(super) placed: Option<&'w mut Placed>,
    is_cancelled: &'w dyn Fn() -> bool,
    nodes: HashMap<Cid, NodePlace>,
    /// Paths that were found, and whether a node that could not be read hides some.
    paths: usize,
    hidden: bool,
}

enum Task {
    Path(Cid, String),
    /// A further shard of the folder at a path.
    Shard(Cid, String, ShardPosition),
}

impl<'a, 'w> Proof<'a, 'w> {
    pub(super) fn new(
        access: &'a Access<'a>,
        tables: &'w mut Tables<'a>,
        findings: &'w mut Findings,
        gone: &'w Gone,
        record: &'w RootRecord,
        is_cancelled: &'w dyn Fn() -> bool,
    ) -> Self {
        let node = |node: &NodePlace| (node.cid.0, *node);
        Self {
            access,
            tables,
            findings,
            gone,
            covered: None,
            placed: None,
            nodes: record.nodes.iter().map(node).collect(),
            record,
            is_cancelled,
            paths: 0,
            hidden: false,
        }
    }

    pub(super) fn covering(mut self, covered: &'w mut Coverage) -> Self {
        self.covered = Some(covered);
        self
    }

    pub(super) fn noting(mut self, placed: &'w mut Placed) -> Self {
        self.placed = Some(placed);
        self
    }

    /// Follows what stands at a path, and the folders that lead there.
    pub(super) fn follow(&mut self, path: &str) -> Result<(), StoreError> {
        let Some(cid) = self.descend(path)? else {
            return Ok(());
        };
        let mut tasks = vec![Task::Path(cid, path.to_owned())];
        while let Some(task) = tasks.pop() {
            if (self.is_cancelled)() {
                return Ok(());
            }
            match task {
                Task::Path(cid, path) => self.path(cid, path, &mut tasks)?,
                Task::Shard(cid, path, position) => {
                    self.shard(cid, &path, position, &mut tasks)?;
                }
            }
        }
        let stated = self.stated_below(path);
        if !self.hidden && stated != self.paths {
            let expected = format!("the {} paths of its nodes", self.paths);
            self.differs(path, None, expected, format!("{stated} paths"));
        }
        Ok(())
    }

    fn stated_below(&self, path: &str) -> usize {
        let below = |entry: &&root::PathEntry| match entry.path.strip_prefix(path) {
            Some(rest) => path.is_empty() || rest.is_empty() || rest.starts_with('/'),
            None => false,
        };
        self.record.paths.iter().filter(below).count()
    }

    /// Checks that every node that the root places is a row of a table.
    pub(super) fn place_nodes(&mut self) -> Result<(), StoreError> {
        for node in &self.record.nodes {
            let place = self.place_of(node);
            self.check_row(&node.cid.0, place, "")?;
        }
        Ok(())
    }

    fn place_of(&self, node: &NodePlace) -> Place {
        Place {
            pack: self.record.pack(node.pack),
            offset: node.offset,
            len: node.len,
        }
    }

    pub(super) fn affected(&self, path: &str) -> Affected {
        Affected {
            object: self.record.head.cid.0,
            name: self.record.head.name.clone(),
            path: path.to_owned(),
        }
    }

    /// The root, or what it places, is not what the nodes say.
    pub(super) fn differs(
        &mut self,
        path: &str,
        block: Option<Cid>,
        expected: String,
        found: String,
    ) {
        let file = root::object_path(&self.access.core.folder, &self.record.head.cid.0);
        let affected = self.affected(path);
        self.findings.differs(
            FindingKind::Structure,
            file,
            block,
            expected,
            found,
            Some(&affected),
        );
    }

    /// The CID at a path below the object, from folder to folder; none where one cannot be read.
    fn descend(&mut self, path: &str) -> Result<Option<Cid>, StoreError> {
        let mut cid = self.record.head.cid.0;
        let mut above = String::new();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let next = self.entry(cid, &above, name)?;
            if next.is_none() && !self.hidden {
                let expected = format!("an entry {name:?} in folder {cid}");
                self.differs(path, Some(cid), expected, "none".into());
            }
            let Some(next) = next else { return Ok(None) };
            above = below(&above, name);
            cid = next;
        }
        Ok(Some(cid))
    }

    /// The entry of a folder, through its shards.
    fn entry(
        &mut self,
        mut folder: Cid,
        path: &str,
        name: &str,
    ) -> Result<Option<Cid>, StoreError> {
        let mut position = ShardPosition::top();
        loop {
            let Some((node, _)) = self.node(&folder, path)? else {
                return Ok(None);
            };
            let (fanout, links) = match node {
                Node::Folder { entries } => {
                    let found = entries.iter().find(|entry| entry.name == name);
                    return Ok(found.map(|entry| entry.cid));
                }
                Node::Shard { .. } if position.check(&folder, &node).is_ok() => match node {
                    Node::Shard { fanout, links } => (fanout, links),
                    _ => return Ok(None),
                },
                _ => return Ok(None),
            };
            let slot = position.slot_of(fanout, name);
            match links.into_iter().find(|link| link.slot == slot) {
                Some(link) if link.name.is_none() => {
                    position = position.below(fanout, slot);
                    folder = link.cid;
                }
                link => {
                    let found = link.filter(|link| link.name.as_deref() == Some(name));
                    return Ok(found.map(|link| link.cid));
                }
            }
        }
    }

    fn path(&mut self, cid: Cid, path: String, tasks: &mut Vec<Task>) -> Result<(), StoreError> {
        let record = self.record;
        let Some(entry) = record.entry(&path) else {
            self.hidden = true;
            self.differs(
                &path,
                Some(cid),
                format!("the path of {cid}"),
                "no such path".into(),
            );
            return Ok(());
        };
        self.paths += 1;
        if canonical(&entry.cid.0) != canonical(&cid) {
            let found = entry.cid.0.to_string();
            self.differs(&path, Some(cid), cid.to_string(), found);
        }
        if let EntryKind::File { .. } = entry.kind {
            return self.file(cid, entry);
        }
        let Some((node, _)) = self.node(&cid, &path)? else {
            return Ok(());
        };
        match (node, &entry.kind) {
            (Node::Folder { entries }, EntryKind::Folder) => {
                let entries = entries.into_iter().rev();
                tasks.extend(entries.map(|e| Task::Path(e.cid, below(&path, &e.name))));
            }
            (Node::Shard { .. }, EntryKind::Folder) => {
                tasks.push(Task::Shard(cid, path, ShardPosition::top()));
            }
            (Node::Symlink { target }, EntryKind::Symlink { target: stated })
                if target == *stated => {}
            (node, stated) => {
                let expected = format!("a {}", kind_of(&node));
                self.differs(&path, Some(cid), expected, format!("{stated:?}"));
            }
        }
        Ok(())
    }

    fn shard(
        &mut self,
        cid: Cid,
        path: &str,
        position: ShardPosition,
        tasks: &mut Vec<Task>,
    ) -> Result<(), StoreError> {
        let Some((node, _)) = self.node(&cid, path)? else {
            return Ok(());
        };
        if let Err(e) = position.check(&cid, &node) {
            self.hidden = true;
            self.differs(
                path,
                Some(cid),
                "a shard of its folder".into(),
                e.to_string(),
            );
            return Ok(());
        }
        if let Node::Shard { fanout, links } = node {
            for link in links.into_iter().rev() {
                tasks.push(match link.name {
                    Some(name) => Task::Path(link.cid, below(path, &name)),
                    None => {
                        let position = position.below(fanout, link.slot);
                        Task::Shard(link.cid, path.to_owned(), position)
                    }
                });
            }
        }
        Ok(())
    }

    /// Reads a node and checks it against its CID and its row; none, with a finding, where it is not what it
    /// should be.
    pub(super) fn node(
        &mut self,
        cid: &Cid,
        path: &str,
    ) -> Result<Option<(Node, Place)>, StoreError> {
        let read = self.read_node(cid, path)?;
        self.hidden |= read.is_none();
        Ok(read)
    }

    fn read_node(&mut self, cid: &Cid, path: &str) -> Result<Option<(Node, Place)>, StoreError> {
        let Some(place) = self.nodes.get(cid).map(|node| self.place_of(node)) else {
            self.differs(
                path,
                Some(*cid),
                format!("a place for {cid}"),
                "none".into(),
            );
            return Ok(None);
        };
        if let Some(covered) = &mut self.covered {
            covered.add_range(place.pack, place.range());
        }
        let Some(pack) = self.check_row(cid, place, path)? else {
            return Ok(None);
        };
        let Some(data) = self.read_block(cid, place, &pack, path)? else {
            return Ok(None);
        };
        match dag::decode(cid, &data) {
            Ok(node) => Ok(Some((node, place))),
            Err(e) => {
                let expected = "a part of a file or folder".into();
                self.differs(path, Some(*cid), expected, e.to_string());
                Ok(None)
            }
        }
    }

    /// A leaf that is nothing but bytes of a file.
    pub(super) fn is_raw(cid: &Cid) -> bool {
        cid.codec() == RAW
    }
}

fn below(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        above => format!("{above}/{name}"),
    }
}

fn kind_of(node: &Node) -> &'static str {
    match node {
        Node::Folder { .. } | Node::Shard { .. } => "folder",
        Node::Symlink { .. } => "symbolic link",
        _ => "file",
    }
}
