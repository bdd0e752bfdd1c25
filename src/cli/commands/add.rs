//! `add`: files, folders and standard input.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use clap::Args;
use ipfs_accelerate::{
    AddNote, AddOptions, AddReport, Cid, FileError, PinAs, Profile, Store, StoreError, canonical,
    hash_path, hash_reader,
};
use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::lock_args::LockArgs;
use crate::cli::output::{Note, Output};
use crate::cli::profile_args::ProfileArgs;
use crate::cli::stdin::Stdin;
use crate::cli::text;
use crate::cli::walk_args::WalkArgs;

/// Add files, folders or standard input, and print their CIDs
///
/// Adds each PATH as one object and pins it; `-` is standard input. A PATH that is a symbolic link is
/// followed; links inside a folder are kept as links, except in a snapshot folder of the Hugging Face cache,
/// whose links are followed to its blobs. Adding again what is there writes nothing and gives the same CID.
///
/// The store is created if its folder is absent or empty. All paths are looked at before the first one is
/// added. They are added in turn, each in one step: when one fails, those before it stay, it and those
/// after it are not added. SIGINT and SIGTERM keep nothing of the current path. What made way for a path under
/// `max_size` is said, also where the path is not added in the end.
///
/// --reference leaves the bytes of files where they are: the store notes where each block lies and keeps only
/// the nodes of the DAG, so nothing is on the disk twice. Such files must stay as they are: what is read of them is
/// hashed each time, never mapped, and a changed, moved or shortened file is an error that names it and the object.
/// Put it back, or add it again from its new place. `absorb` copies the bytes in later. Blocks that the store has are
/// not referred to, and an `add` without --reference copies what is referred to only.
///
/// With --json: one object a line and path, with cid, name, kind, size, new_bytes, shared_bytes,
/// referenced_bytes, shared_most_with {cid, name, bytes}, blocks, files, pin, profile, stored, notes, seconds.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  ipfs-accelerate add model.safetensors
  ipfs-accelerate add --pin-name llama-3 ~/models/llama-3
  ipfs-accelerate add --pin-name llama-3 --replace ~/models/llama-3    move the name
  ipfs-accelerate add --ignore '*.bin' --ignore 'logs/**' checkpoint/
  tar c folder | ipfs-accelerate add -
  ipfs-accelerate add --reference /mnt/models/llama-3                  no second copy on the disk
  ipfs-accelerate add --only-hash -q model.safetensors                 the CID, nothing stored
  ipfs-accelerate add --chunker tensor-v1 fine-tune/                   share tensors with what was added so too
  ipfs-accelerate add --profile unixfs-v0-2015 docs/                   the CID of an older `ipfs add`")]
pub(crate) struct AddArgs {
    /// Files and folders; `-` is standard input.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Pin under a name, which then stands wherever a CID is taken.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["no_pin", "only_hash"])]
    pin_name: Option<String>,
    /// Move the name of --pin-name if it points to another object.
    #[arg(long, requires = "pin_name")]
    replace: bool,
    /// Do not pin: the object may go once space is needed.
    #[arg(long)]
    no_pin: bool,
    /// Compute the CIDs without storing anything; needs no store.
    #[arg(long)]
    only_hash: bool,
    /// Refer to the files where they lie instead of copying them; they must stay as they are.
    #[arg(long, conflicts_with = "only_hash")]
    reference: bool,
    #[command(flatten)]
    walk: WalkArgs,
    #[command(flatten)]
    profile: ProfileArgs,
    #[command(flatten)]
    lock: LockArgs,
}

#[derive(Serialize)]
struct Added<'a> {
    cid: String,
    name: &'a str,
    kind: &'static str,
    size: u64,
    new_bytes: u64,
    shared_bytes: u64,
    referenced_bytes: u64,
    shared_most_with: Option<Shared<'a>>,
    blocks: u64,
    files: u64,
    pin: Option<&'a str>,
    profile: &'a str,
    stored: bool,
    notes: Vec<String>,
    seconds: f64,
}

#[derive(Serialize)]
struct Shared<'a> {
    cid: String,
    name: &'a str,
    bytes: u64,
}

pub(crate) fn run(args: AddArgs, context: &Context<'_>) -> Result<Output, CliError> {
    // What the flags name is looked at before a store is made.
    args.profile.over(|| Ok(Profile::default()))?;
    let is_stdin = |path: &PathBuf| path.as_os_str() == "-";
    if args.pin_name.is_some() && args.paths.len() > 1 {
        return Err(CliError::OneName {
            paths: args.paths.len(),
        });
    }
    if args.paths.iter().filter(|path| is_stdin(path)).count() > 1 {
        return Err(CliError::StdinTwice);
    }
    for path in args.paths.iter().filter(|path| !is_stdin(path)) {
        fs::metadata(path).map_err(FileError::at("open", path))?;
    }
    let cancel = context.cancel()?;
    let mut options = AddOptions::default().with_pin(match args.pin_name {
        Some(name) => PinAs::Named {
            name,
            replace: args.replace,
        },
        None if args.no_pin => PinAs::No,
        None => PinAs::Unnamed,
    });
    options.dereference_symlinks = args.walk.dereference_symlinks;
    options.hidden = args.walk.hidden;
    options.ignore = args.walk.ignore;
    options.reference = args.reference;
    options.cancel = Some(Arc::clone(&cancel));

    let store = match args.only_hash {
        true => None,
        false => Some(context.writer_or_new(&args.lock)?),
    };
    options.profile = args.profile.over(|| match &store {
        Some(store) => Ok(store.profile().clone()),
        None => context.configured_profile(),
    })?;
    let mut spared = store.as_ref().map(Store::spare);
    let mut last = Output::nothing();
    for (i, path) in args.paths.iter().enumerate() {
        if i > 0 {
            match context.emit(&last) {
                // Nobody reads any more, but the other paths are to be added all the same.
                Ok(()) | Err(CliError::ClosedPipe) => {}
                Err(e) => return Err(e),
            }
        }
        let added = add(context, store.as_ref(), path, &options, &cancel);
        let (cid, output) = added.map_err(|e| match e {
            CliError::Store(StoreError::Cancelled) => CliError::AddCancelled {
                path: match is_stdin(path) {
                    true => "standard input".into(),
                    false => path.clone(),
                },
                is_first: i == 0,
            },
            e => e,
        })?;
        // The report of each path has it.
        drop(context.made_room());
        // Nothing that this command prints makes way for what it adds next.
        spared.iter_mut().for_each(|spared| spared.add(&cid));
        last = output;
    }
    Ok(last)
}

fn add(
    context: &Context<'_>,
    store: Option<&Store>,
    path: &Path,
    options: &AddOptions,
    cancel: &Arc<AtomicBool>,
) -> Result<(Cid, Output), CliError> {
    let begun = Instant::now();
    let mut options = options.clone();
    let is_stdin = path.as_os_str() == "-";
    let total = if is_stdin {
        None
    } else {
        fs::metadata(path).ok().map(|m| m.len())
    };
    let verb = if store.is_some() { "adding" } else { "hashing" };
    let progress = context.progress(verb, path, total);
    options.progress = Some(progress.follow());
    let report = match (store, is_stdin) {
        (Some(store), false) => store.add_path(path, &options),
        (None, false) => hash_path(path, &options),
        (store, true) => {
            let stdin = Stdin::new(Arc::clone(cancel));
            let stdin = stdin.map_err(|e| FileError::new("read", "standard input", e))?;
            let report = match store {
                Some(store) => store.add_reader(stdin, &options),
                None => hash_reader(stdin, &options),
            };
            report.map_err(|e| match cancel.load(Ordering::Relaxed) {
                true => StoreError::Cancelled,
                false => e,
            })
        }
    };
    drop(progress);
    let report = report?;
    let seconds = begun.elapsed().as_secs_f64();
    let output = output(&report, &options, store.is_some(), seconds);
    Ok((report.cid, output))
}

/// `412.0 MiB new`, `3.6 GiB shared, most of it with llama-3`
fn sharing(report: &AddReport) -> Vec<String> {
    let mut said = vec![match (report.new_bytes, report.referenced_bytes) {
        (0, 0) => "nothing new".to_owned(),
        (0, referenced) => format!("{} referenced", text::size(referenced)),
        (new, 0) => format!("{} new", text::size(new)),
        (new, referenced) => {
            let (new, referenced) = (text::size(new), text::size(referenced));
            format!("{new} new, {referenced} referenced")
        }
    }];
    if let Some(with) = &report.shared_most_with {
        let name = match with.name.as_str() {
            "" => with.cid.to_string(),
            name => name.to_owned(),
        };
        let most = match with.bytes {
            all if all >= report.shared_bytes => String::new(),
            most if most >= report.shared_bytes / 2 => ", most of it".to_owned(),
            some => format!(", {} of it", text::size(some)),
        };
        let shared = text::size(report.shared_bytes);
        said.push(format!("{shared} shared{most} with {name}"));
    } else if report.shared_bytes > 0 && report.new_bytes + report.referenced_bytes > 0 {
        said.push(format!("{} shared", text::size(report.shared_bytes)));
    }
    said
}

fn output(report: &AddReport, options: &AddOptions, stored: bool, seconds: f64) -> Output {
    let cid = report.cid.to_string();
    let output = Output::new(&Added {
        cid: cid.clone(),
        name: &report.name,
        kind: report.kind.name(),
        size: report.size,
        new_bytes: if stored { report.new_bytes } else { 0 },
        shared_bytes: if stored { report.shared_bytes } else { 0 },
        referenced_bytes: report.referenced_bytes,
        shared_most_with: report.shared_most_with.as_ref().map(|with| Shared {
            cid: with.cid.to_string(),
            name: &with.name,
            bytes: with.bytes,
        }),
        blocks: report.blocks,
        files: report.files,
        pin: report.pin.as_deref(),
        profile: options.profile.name(),
        stored,
        notes: report.notes.iter().map(ToString::to_string).collect(),
        seconds,
    });
    let name = if report.name.is_empty() {
        "standard input"
    } else {
        &report.name
    };
    let mut said = vec![text::size(report.size)];
    if stored {
        said.extend(sharing(report));
    }
    said.push(text::seconds(seconds));
    said.extend(text::rate(report.size, seconds));
    match &report.pin {
        Some(pin) if *pin != canonical(&report.cid).to_string() => {
            said.push(format!("pinned as {pin:?}"));
        }
        Some(_) => said.push("pinned".into()),
        None if stored => said.push("not pinned".into()),
        None => said.push("not stored".into()),
    }
    let output = output
        .line(format!("{cid}  {name}  ({})", said.join(", ")))
        .quiet(cid);
    report.notes.iter().fold(output, |output, note| {
        output.note(match note {
            AddNote::LinksLeaveFolder { .. } | AddNote::LoadsByCopying { .. } => {
                Note::Warning(note.to_string())
            }
            _ => Note::Note(note.to_string()),
        })
    })
}
