//! `check`: whether a file or folder has a CID.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use ipfs_accelerate::{
    CheckOptions, CheckReport, Cid, Difference, EntrySummary, EntryType, FileError, HashFunction,
    Object, Profile, StoreError, StoreReader, Target, check_path, check_reader, parse_cid,
};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::output::{Note, Output, Table, View};
use crate::cli::profile_args::ProfileArgs;
use crate::cli::stdin::Stdin;
use crate::cli::text;
use crate::cli::walk_args::WalkArgs;

/// Tell whether a file or folder has a CID, whatever profile made it
///
/// Reads PATH once, as `add` would, and computes its CID under every usual profile side by side: those that
/// `add` knows by name, with --chunker tensor-v1 too, and what `ipfs add` makes with --raw-leaves, with
/// --cid-version=1 --raw-leaves=false, and with --chunker=size-1048576. A CID of blake3 is compared with
/// CIDs of blake3. A CIDv0 and its CIDv1 form are the same.
///
/// Prints the profile that matches, with exit code 0. If none does, prints the CID under each, with exit
/// code 1; and if the CID is in the store, which files differ from it, which PATH lacks, and which are extra,
/// or of a file the first byte that differs, for which it is read again up to there.
/// --profile tries that profile alone; any other setting holds for all that are tried. The profile under
/// which the store has the CID is always among them.
///
/// Needs no store, unless a pin or a path below a CID is named.
///
/// With --json: match, profile, cid, name, kind, size, files, computed {profile: cid}, differences [{path,
/// difference, stored, found, offset}], notes, seconds. With -q: nothing.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  ipfs-accelerate check model.safetensors bafybeihmf37wcuvtx4hpu7he5zl5qaf2ineo2lqlfrapokkm5zzw7zyhvm
  ipfs-accelerate check ~/models/llama-3 llama-3                   the folder against what was added
  ipfs-accelerate check -q model.safetensors CID || echo damaged
  ipfs-accelerate check --profile kubo-cidv1 large.bin CID         one profile, which is faster
  ipfs-accelerate check --chunker size-524288 large.bin CID        all, with chunks of 512 KiB
  curl -s URL | ipfs-accelerate check - CID")]
pub(crate) struct CheckArgs {
    /// A file or folder; `-` is standard input.
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// The CID that it should have, in any form; or a pin's name, or a path below either, in the store.
    #[arg(value_name = "CID")]
    target: String,
    #[command(flatten)]
    walk: WalkArgs,
    #[command(flatten)]
    profile: ProfileArgs,
}

#[derive(Serialize)]
struct Checked<'a> {
    r#match: bool,
    profile: Option<&'a str>,
    cid: String,
    name: &'a str,
    kind: EntryType,
    size: u64,
    files: u64,
    computed: Computed<'a>,
    differences: Option<Vec<Differing<'a>>>,
    notes: Vec<String>,
    seconds: f64,
}

/// A map in the order of the profiles.
struct Computed<'a>(&'a CheckReport);

impl Serialize for Computed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for computed in &self.0.computed {
            map.serialize_entry(computed.profile.name(), &computed.cid.to_string())?;
        }
        map.end()
    }
}

#[derive(Serialize)]
struct Differing<'a> {
    path: &'a str,
    difference: &'static str,
    stored: Option<Side<'a>>,
    found: Option<Side<'a>>,
    offset: Option<u64>,
}

#[derive(Serialize)]
struct Side<'a> {
    kind: EntryType,
    size: Option<u64>,
    target: Option<&'a str>,
}

pub(crate) fn run(args: CheckArgs, context: &Context<'_>) -> Result<Output, CliError> {
    // What the flags name is looked at before anything is read.
    args.profile.over(|| Ok(Profile::default()))?;
    let is_stdin = args.path.as_os_str() == "-";
    if !is_stdin {
        fs::metadata(&args.path).map_err(FileError::at("open", &args.path))?;
    }
    let Wanted {
        cid,
        stored,
        profiles,
        note,
    } = wanted(&args.target, context)?;
    let cancel = context.cancel()?;
    let mut options = CheckOptions::default().with_profiles(args.profile.over_each(profiles)?);
    options.stored = stored;
    options.dereference_symlinks = args.walk.dereference_symlinks;
    options.hidden = args.walk.hidden;
    options.ignore = args.walk.ignore;
    options.cancel = Some(Arc::clone(&cancel));

    let begun = Instant::now();
    let total = if is_stdin {
        None
    } else {
        fs::metadata(&args.path).ok().map(|m| m.len())
    };
    let progress = context.progress("checking", &args.path, total);
    options.progress = Some(progress.follow());
    let report = if is_stdin {
        let stdin = Stdin::new(cancel);
        let stdin = stdin.map_err(|e| FileError::new("read", "standard input", e))?;
        check_reader(stdin, &cid, &options)
    } else {
        check_path(&args.path, &cid, &options)
    };
    drop(progress);
    let output = output(&report?, begun.elapsed().as_secs_f64());
    Ok(note.into_iter().fold(output, Output::note))
}

/// What the second argument says, and what a store knows of it.
struct Wanted {
    cid: Cid,
    stored: Option<Object>,
    /// To be tried.
    profiles: Vec<Profile>,
    note: Option<Note>,
}

fn wanted(text: &str, context: &Context<'_>) -> Result<Wanted, CliError> {
    let target: Target = text.parse()?;
    let reader = || -> Result<StoreReader, CliError> { context.reader() };
    let (cid, reader, stored, note) = match target.cid().filter(|_| target.path().is_empty()) {
        // As it was written, so that of two profiles the one is named that has a CID of that version.
        Some(cid) => {
            let written = parse_cid(text.trim_end_matches('/')).unwrap_or(*cid);
            let (reader, stored, note) = known(reader(), &target);
            (written, reader, stored, note)
        }
        None => {
            // Where no name helps, what was meant for a CID is told what is wrong with it as one.
            let as_a_cid = |e: CliError| match parse_cid(text) {
                Err(wrong) if looks_like_a_cid(text) => StoreError::from(wrong).into(),
                _ => e,
            };
            let reader = reader().map_err(as_a_cid)?;
            let stored = reader.resolve(&target);
            let stored = stored.map_err(|e| match e {
                StoreError::NoSuchName { .. } => as_a_cid(e.into()),
                other => other.into(),
            })?;
            (stored.cid(), Some(reader), Some(stored), None)
        }
    };
    // What no profile can make is refused with the content unread, so there is nothing to try on it.
    let hash = HashFunction::from_code(cid.hash().code());
    let mut profiles = hash.map(Profile::candidates).unwrap_or_default();
    let own = reader.map(|reader| reader.profile().clone());
    let own = own.into_iter().chain([context.configured_profile()?]);
    profiles.extend(own.filter(|profile| Some(profile.hash()) == hash));
    Ok(Wanted {
        cid,
        stored,
        profiles,
        note,
    })
}

/// Names may have any form; so long a word, and beginning so, was most likely a CID.
fn looks_like_a_cid(text: &str) -> bool {
    let begins = ["Qm", "baf", "bah", "z", "f01", "k2", "k5"];
    text.len() > 40
        && text.chars().all(|c| c.is_ascii_alphanumeric())
        && begins.iter().any(|begin| text.starts_with(begin))
}

/// What the store has under a CID. No store is as good as any, and one that cannot be read is mentioned.
fn known(
    reader: Result<StoreReader, CliError>,
    target: &Target,
) -> (Option<StoreReader>, Option<Object>, Option<Note>) {
    let unread = |e: CliError| Note::Note(format!("checked without the store: {e}"));
    let reader = match reader {
        Ok(reader) => reader,
        Err(CliError::Store(StoreError::Absent { .. })) => return (None, None, None),
        Err(e) => return (None, None, Some(unread(e))),
    };
    match reader.resolve(target) {
        Ok(stored) => (Some(reader), Some(stored), None),
        Err(StoreError::NotPublished { .. }) => (Some(reader), None, None),
        Err(e) => (Some(reader), None, Some(unread(e.into()))),
    }
}

fn output(report: &CheckReport, seconds: f64) -> Output {
    let cid = report.cid.to_string();
    let differences = report.differences.as_deref();
    let output = Output::new(&Checked {
        r#match: report.is_match(),
        profile: report.profile.as_ref().map(Profile::name),
        cid: cid.clone(),
        name: &report.name,
        kind: report.kind,
        size: report.size,
        files: report.files,
        computed: Computed(report),
        differences: differences.map(|all| all.iter().map(differing).collect()),
        notes: report.notes.iter().map(ToString::to_string).collect(),
        seconds,
    });
    let name = match report.name.as_str() {
        "" => "standard input",
        name => name,
    };
    let mut said = vec![text::size(report.size), text::seconds(seconds)];
    said.extend(text::rate(report.size, seconds));
    let said = said.join(", ");
    let mut output = match &report.profile {
        Some(profile) => output.line(format!("match: {name} is {cid} under {profile}  ({said})")),
        None => output
            .line(format!("no match: {name} is not {cid}  ({said})"))
            .view(View::Table(Table {
                columns: &["PROFILE", "CID"],
                rows: report.computed.iter().map(row_of_computed).collect(),
                empty: "",
            })),
    };
    if let Some(differences) = differences {
        output = output.view(View::Table(Table {
            columns: &["DIFFERENCE", "PATH", "IN THE STORE", "HERE"],
            rows: differences.iter().map(row_of_difference).collect(),
            empty: "all content is as in the store, where it was cut in another way",
        }));
    }
    let notes = report.notes.iter().map(ToString::to_string);
    notes
        .map(Note::Note)
        .fold(output.no(!report.is_match()), Output::note)
}

fn differing(difference: &Difference) -> Differing<'_> {
    fn side(side: &EntrySummary) -> Side<'_> {
        Side {
            kind: side.kind,
            size: side.size,
            target: side.target.as_deref(),
        }
    }
    Differing {
        path: &difference.path,
        difference: difference.name(),
        stored: difference.stored.as_ref().map(side),
        found: difference.found.as_ref().map(side),
        offset: difference.offset,
    }
}

fn row_of_computed(computed: &ipfs_accelerate::ComputedCid) -> Vec<String> {
    vec![computed.profile.to_string(), computed.cid.to_string()]
}

fn row_of_difference(difference: &Difference) -> Vec<String> {
    let side = |side: &Option<EntrySummary>| match side {
        None => "-".to_owned(),
        Some(EntrySummary {
            target: Some(target),
            ..
        }) => format!("link to {target}"),
        Some(EntrySummary {
            size: Some(size), ..
        }) => text::count(*size, "byte"),
        Some(side) => side.kind.name().to_owned(),
    };
    let path = match difference.path.as_str() {
        "" => ".",
        path => path,
    };
    let mut found = side(&difference.found);
    if let Some(offset) = difference.offset {
        found.push_str(&format!(", differs from byte {offset}"));
    }
    vec![
        difference.name().to_owned(),
        path.to_owned(),
        side(&difference.stored),
        found,
    ]
}
