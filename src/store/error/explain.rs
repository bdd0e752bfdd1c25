//! Kinds and hints of a store's errors.

use std::path::Path;

use super::{NOT_A_FILE, StoreError};
use crate::error::Explain;

impl Explain for StoreError {
    fn kind(&self) -> &'static str {
        match self {
            Self::File(e) => e.kind(),
            Self::Cid(e) => e.kind(),
            Self::Target(e) => e.kind(),
            Self::Block(e) => e.kind(),
            Self::Dag(e) => e.kind(),
            Self::Absent { .. } => "no_store",
            Self::NotAStore { .. } => "not_a_store",
            Self::Exists { .. } => "store_exists",
            Self::NewerFormat { .. } => "newer_format",
            Self::MissingFeature { .. } => "missing_feature",
            Self::Locked { .. } => "locked",
            Self::ReadOnly { .. } => "read_only_file_system",
            Self::Overlay { .. } => "overlay",
            Self::Poisoned { .. } => "poisoned",
            Self::Damaged { .. } | Self::NameDamaged { .. } => "damaged",
            Self::Corrupt { .. } | Self::CorruptNode { .. } => "corrupt",
            Self::KnownDamage { .. } => "known_damage",
            Self::Collected { .. } => "collected",
            Self::PackMissing { .. } => "pack_missing",
            Self::SourceGone { .. } => "source_gone",
            Self::SourceDiffers { .. } => "source_differs",
            Self::ReferenceRefused { .. } => "reference_refused",
            Self::NotReferable { .. } => "not_referable",
            Self::NotPublished { .. } => "not_published",
            Self::BlockAbsent { .. } => "block_absent",
            Self::NoSuchName { .. } => "no_such_name",
            Self::NoSuchPath { .. } => "no_such_path",
            Self::NotAFile { .. } => "not_a_file",
            Self::NotAFolder { .. } => "not_a_folder",
            Self::BadName { .. } => "bad_name",
            Self::NameTaken { .. } => "name_taken",
            Self::Pinned { .. } => "pinned",
            Self::OtherNames { .. } => "other_names",
            Self::NotPinned { .. } => "not_pinned",
            Self::NotAnObject { .. } => "not_an_object",
            Self::ManyPins { .. } => "many_pins",
            Self::OtherCid { .. } => "other_cid",
            Self::SourceChanged { .. } => "source_changed",
            Self::UnsupportedFile { .. } => "unsupported_file",
            Self::NameNotUtf8 { .. } => "name_not_utf8",
            Self::LinkLoop { .. } => "link_loop",
            Self::TooDeep { .. } => "too_deep",
            Self::OutputExists { .. } => "output_exists",
            Self::OutputKind { .. } => "output_kind",
            Self::OutputInStore { .. } => "output_in_store",
            Self::EscapingLink { .. } => "escaping_link",
            Self::QuotaExceeded { .. } => "quota_exceeded",
            Self::NameWithoutRoot { .. } => "name_without_root",
            Self::Map { .. } => "map",
            Self::BadPattern { .. } => "bad_pattern",
            Self::Cancelled => "cancelled",
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::File(e) => return e.hint(),
            Self::Cid(e) => return e.hint(),
            Self::Target(e) => return e.hint(),
            Self::Block(e) => return e.hint(),
            Self::Dag(e) => return e.hint(),
            Self::Absent { .. } => {
                "`ipfs-accelerate add PATH` creates it, `init` creates an empty one; \
                 --store names another"
            }
            Self::NotAStore { .. } => "name an empty or absent folder with --store",
            Self::Exists { .. } => "use it as it is, or name another folder",
            Self::NewerFormat { .. } | Self::MissingFeature { .. } => {
                "use the version that wrote it, or a newer one"
            }
            Self::Locked { .. } => {
                "wait for it (--lock-timeout 30s) or end it; reading (get, cat, ls, load, \
                 verify --read-only) works beside it"
            }
            Self::ReadOnly { .. } => {
                "reading works there: get, cat, ls, load, plan, check, df, doctor, verify --read-only, and gc and \
                 repair with --dry-run"
            }
            Self::Overlay { .. } => {
                "whoever collects outside does not see the locks that are taken here: mount the store's own folder \
                 (a bind mount, a volume); or, if nothing is ever removed from it there, as from an image, say so \
                 with --nobody-collects or IPFS_ACCELERATE__STORE__NOBODY_COLLECTS=true"
            }
            Self::Poisoned { .. } => "mend the cause and open the store again",
            Self::Damaged {
                what: "kind of file",
                ..
            } => "put the folder itself in its place",
            Self::Damaged {
                what: NOT_A_FILE, ..
            } => {
                "move it out of the store: `repair` makes again what is missing then, as far as that can be"
            }
            Self::Damaged { path, .. } if is_name(path) => {
                "`repair` puts it right where that can be told (one changed byte); `repair --drop-names` removes it, and \
                 `pin add` sets the name anew"
            }
            Self::Damaged { .. } => {
                "`repair` makes it again from the rest of the store, as far as that can be; `repair --dry-run` says \
                 how far. `verify` finds damaged blocks"
            }
            Self::Corrupt { .. } | Self::CorruptNode { .. } => {
                "the disk changed them: `verify` finds all that is damaged and puts it on record, \
                 `verify --heal FROM` takes good bytes from a file, a folder or another store, and `repair` mends \
                 what is no block"
            }
            Self::QuotaExceeded { .. } => {
                "unpin or remove something (`df` shows what takes the space), or raise `max_size` in [store]"
            }
            Self::NameWithoutRoot { .. } => {
                "`repair` puts the root together again from its blocks; `pin rm NAME` gives the name up"
            }
            Self::KnownDamage { .. } => {
                "`verify --heal FROM` takes good bytes from a file, a folder or another store; adding the same content \
                 again writes them anew for that object, and `verify --heal` then for what else shares them"
            }
            Self::Collected { .. } => {
                "add the same content again, or `verify --heal FROM` a copy of it; `rm` gives the object up. A root \
                 alone is no backup of an object: its packs belong to it"
            }
            Self::PackMissing { .. } => {
                "`repair` says what else needs it, and mends what can be told without it; bring the file back, add \
                 the same content again, or `verify --heal FROM` a copy of it"
            }
            Self::SourceGone { .. } | Self::SourceDiffers { .. } => {
                "put the file back as it was, or add a good copy again, with --reference or without; \
                 `absorb` beforehand makes the store independent of such files"
            }
            Self::ReferenceRefused { .. } => {
                "`absorb` in the store that it was added to copies the bytes in"
            }
            Self::NotReferable { hint, .. } => hint,
            Self::NotPublished { .. } => "`ls` lists what is there; `add` what is missing",
            Self::BlockAbsent { .. } => "add the file that holds it",
            Self::NoSuchName {
                titled: Some(cid), ..
            } => {
                return Some(format!(
                    "{cid} was called so when it was added, which is no pin: name its CID, or `pin add` it"
                ));
            }
            Self::NoSuchName {
                nearest: Some(name),
                ..
            } => {
                return Some(format!("did you mean {name:?}? `pin ls` lists the names"));
            }
            Self::NoSuchName { .. } => "`pin ls` lists the names, `ls` the objects",
            Self::NoSuchPath { there, .. } if there.is_empty() => "`ls CID` lists what it holds",
            Self::NoSuchPath { there, .. } => {
                return Some(format!("there is: {}", shortened(there)));
            }
            Self::NotAFile {
                found: "symlink", ..
            } => "`ls` shows where it points to; name that",
            Self::NotAFile { .. } => "`ls` lists what it holds; name a file as CID/path",
            Self::NotAFolder { .. } => "name its folder",
            Self::BadName { .. } => "choose another name",
            Self::NameTaken { .. } => "--replace moves the name to the new object",
            Self::NameDamaged { .. } => {
                "`repair` puts the name right, as far as that can be; --replace sets it anew"
            }
            Self::Pinned { .. } => "`pin rm NAME` first, or `rm --unpin` to do both",
            Self::OtherNames { name, cid, .. } => {
                return Some(format!(
                    "`pin rm {name}` gives up this name alone; `rm --unpin {cid}` removes the object with all of them"
                ));
            }
            Self::NotPinned { .. } => "`pin ls` lists the pins",
            Self::NotAnObject { .. } => "remove the object that holds it",
            Self::ManyPins { .. } => "name the one to remove",
            Self::OtherCid { .. } => {
                "it is other content, or was cut and hashed under another profile: `check PATH CID` tells"
            }
            Self::SourceChanged { .. } => "try again once it is at rest; nothing was kept of it",
            Self::UnsupportedFile { .. } => {
                "files, folders and links can be read; `add` leaves it out with --ignore, and takes what comes \
                 through a pipe as `-`"
            }
            Self::NameNotUtf8 { .. } => "rename it, or leave it out with --ignore",
            Self::LinkLoop { .. } => "remove the link, or add without --dereference-symlinks",
            Self::OutputExists { path } if path.is_dir() => {
                "name a path inside it; --force replaces the whole folder"
            }
            Self::OutputExists { .. } => "--force replaces it",
            Self::OutputKind { .. } => {
                "name another output, or remove that one; `-o -` writes to standard output"
            }
            Self::OutputInStore { .. } => {
                "name an output outside of it: a store's folder is its own"
            }
            Self::EscapingLink { .. } => {
                "--unsafe-links skip leaves such links out, --unsafe-links keep writes them as they are (a snapshot folder of the Hugging \
                 Face cache: `add --dereference-symlinks` takes what they point to)"
            }
            Self::TooDeep { .. } | Self::Map { .. } | Self::Cancelled => return None,
            Self::BadPattern { .. } => "write it as for a shell: *.bin, logs/**",
        };
        Some(text.to_owned())
    }
}

/// Whether a file of a store is that of a pin.
fn is_name(path: &Path) -> bool {
    let folder = path.parent().and_then(Path::file_name);
    folder.is_some_and(|folder| folder == "names")
}

fn shortened(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut text = names
        .iter()
        .take(SHOWN)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}
