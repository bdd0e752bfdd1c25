//! What is to be done about findings.

use std::path::{Path, PathBuf};

use ipfs_accelerate::{Finding, VerifyReport};

use crate::cli::text;

/// Whether what is concerned lies in a file that was added by reference.
pub(super) fn is_outside(finding: &Finding, store: &Path) -> bool {
    finding.kind.is_block() && !finding.file.starts_with(store)
}

/// What there is to say; `from` is where a healing that went through looked for good bytes.
pub(super) fn notes(
    report: &VerifyReport,
    left: &[Finding],
    from: Option<&[PathBuf]>,
    store: &Path,
) -> Vec<String> {
    let mut notes = Vec::new();
    if left.iter().any(|one| is_outside(one, store)) {
        notes.push(
            "files that were added by reference are hashed at each use, so nothing is recorded of them: put them \
             back as they were, or add good copies again"
                .into(),
        );
    }
    let mut blocks = left.iter().filter(|one| one.kind.is_block());
    let has_blocks = blocks.any(|one| !is_outside(one, store));
    match (has_blocks, report.is_recorded) {
        (true, true) => notes.push(unhealed(from)),
        (true, false) => {
            notes.push("nothing was recorded; `verify` without --read-only does".into())
        }
        (false, _) => {}
    }
    if left.iter().any(|one| !one.kind.is_block()) {
        notes.push(
            "`repair` mends roots, and headers and tables of packs, and names where one byte is wrong"
                .into(),
        );
    }
    if !report.cleared.is_empty() {
        let cleared = text::count(report.cleared.len() as u64, "block");
        notes.push(match report.is_recorded {
            true => format!("{cleared} recorded as damaged before read well, and are served again"),
            false => format!("{cleared} recorded as damaged read well"),
        });
    }
    if report.unused_damaged > 0 {
        let unused = text::count(report.unused_damaged, "damaged block");
        notes.push(format!(
            "nothing needs {unused} besides; `gc` takes what is removed or replaced"
        ));
    }
    notes
}

/// What mends blocks that are damaged or missing still.
fn unhealed(from: Option<&[PathBuf]>) -> String {
    const ADD: &str =
        "adding the same content again writes it anew, and --heal then mends what else shares it";
    match from {
        None => format!(
            "what is damaged is recorded, and refused to every reader; --heal FROM takes good bytes from elsewhere; \
             {ADD}"
        ),
        Some([]) => format!(
            "the store has no other good bytes for what is left; --heal FROM takes them from elsewhere; {ADD}"
        ),
        Some(from) => {
            let from: Vec<String> = from.iter().map(|path| path.display().to_string()).collect();
            format!(
                "there are no good bytes for what is left in {}: `sync` takes it from a store that has it whole; {ADD}",
                from.join(", ")
            )
        }
    }
}
