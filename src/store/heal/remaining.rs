//! What is wrong still after a healing.

use std::collections::HashSet;
use std::path::Path;

use crate::store::verify::{Finding, FindingKind};

/// Findings that are not healed, each once, however often an object was followed.
#[derive(Default)]
pub(super) struct Remaining {
    list: Vec<Finding>,
    known: HashSet<Finding>,
}

impl Remaining {
    /// What a pack or the place of a block concerns was told the first time; of a structure that is all there is.
    pub(super) fn add(&mut self, finding: Finding) {
        let mut identity = finding.clone();
        if identity.kind != FindingKind::Structure {
            identity.affected.clear();
            identity.found.clear();
        }
        if self.known.insert(identity) {
            self.list.push(finding);
        }
    }

    /// The list in the order of a verification. A pack that is missing is missed no more once everything that lay in
    /// it lies elsewhere.
    pub(super) fn into_list(mut self, is_missing: impl Fn(&Path) -> bool) -> Vec<Finding> {
        let blocks = self.list.iter().filter(|finding| finding.kind.is_block());
        let needed: HashSet<_> = blocks.map(|finding| finding.file.clone()).collect();
        self.list.retain(|finding| {
            finding.kind != FindingKind::Pack
                || needed.contains(&finding.file)
                || !is_missing(&finding.file)
        });
        self.list
            .sort_by(|a, b| (a.kind, &a.file, a.offset).cmp(&(b.kind, &b.file, b.offset)));
        self.list
    }
}
