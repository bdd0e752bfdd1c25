//! `dedup`: what two targets share.

use std::collections::BTreeMap;

use clap::Args;
use ipfs_accelerate::{
    Counterpart, Explain, LoadError, PartCount, PartTotals, SharedBytes, SharedPart, SharingSide,
    StoreReader, Target, compare_checkpoints,
};
use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::output::{Note, Output, Table, View};
use crate::cli::text;

/// Show what two targets share, by tensor and by byte
///
/// Compares two checkpoints tensor by tensor, and any other two files or folders file by file. What lies at
/// the same place of the store is shared; the same bytes under another hash function, in framed leaves or in
/// other chunks are stored apart, and are not. Reads roots and headers, and no other payload.
///
/// SIZE is the target's content, each occurrence counted. STORED is what it takes in the packs, each place
/// once: SHARED of it serves both targets, ONLY HERE just the one. In the list come first those of which the
/// most is not shared; those that are the same under the same name are counted below it. "Stored apart" does
/// not say that bytes differ, only that they were not stored once.
///
/// Works beside a writer.
///
/// With --json: a and b {target, cid, object, kind, profile, files, tensors, content_bytes,
/// shared_content_bytes, stored_bytes, only_bytes, totals {same_name, other_name, partly, alone: {parts, bytes,
/// shared_bytes}}}, shared_bytes, stored_bytes, by, parts [{name, a, b: {bytes, shared_bytes, same_as}}], all of
/// them. With -q: shared_bytes.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  ipfs-accelerate dedup llama-3 llama-3-chat
  ipfs-accelerate dedup llama-3 llama-3-chat --all
  ipfs-accelerate dedup llama-3/model.safetensors CID --json | jq .shared_bytes
  ipfs-accelerate dedup --files docs-v1 docs-v2")]
pub(crate) struct DedupArgs {
    /// A file or folder: CID or name, and a path below it.
    #[arg(value_name = "A")]
    a: String,
    /// The one to compare it with.
    #[arg(value_name = "B")]
    b: String,
    /// List every tensor or file, those that are the same too.
    #[arg(long)]
    all: bool,
    /// Compare file by file, checkpoints too.
    #[arg(long)]
    files: bool,
}

/// How many rows are shown without --all.
const SHOWN: usize = 20;

#[derive(Serialize)]
struct Deduped<'a> {
    a: Side<'a>,
    b: Side<'a>,
    shared_bytes: u64,
    stored_bytes: u64,
    by: &'static str,
    parts: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Side<'a> {
    target: String,
    cid: String,
    object: String,
    kind: &'static str,
    profile: &'a str,
    files: usize,
    /// None where files are compared.
    tensors: Option<usize>,
    content_bytes: u64,
    shared_content_bytes: u64,
    stored_bytes: u64,
    only_bytes: u64,
    totals: PartTotals,
}

/// A name, and what stands under it on either side.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    a: Option<Cell<'a>>,
    b: Option<Cell<'a>>,
}

#[derive(Clone, Copy, Serialize)]
struct Cell<'a> {
    bytes: u64,
    shared_bytes: u64,
    /// The name of what is wholly the same on the other side.
    same_as: Option<&'a str>,
}

impl<'a> Cell<'a> {
    fn new(part: &'a SharedPart) -> Self {
        Self {
            bytes: part.bytes,
            shared_bytes: part.shared_bytes,
            same_as: match &part.counterpart {
                Counterpart::SameName => Some(&part.name),
                Counterpart::OtherName(name) => Some(name),
                _ => None,
            },
        }
    }
}

impl Row<'_> {
    fn cells(&self) -> impl Iterator<Item = Cell<'_>> {
        self.a.into_iter().chain(self.b)
    }

    fn not_shared(&self) -> u64 {
        self.cells()
            .map(|cell| cell.bytes - cell.shared_bytes)
            .fold(0, u64::saturating_add)
    }

    fn is_same(&self) -> bool {
        self.a.is_some_and(|cell| cell.same_as == Some(self.name))
    }

    fn how(&self) -> String {
        let other = |cell: Option<Cell<'_>>, side| {
            let named = cell.and_then(|cell| cell.same_as);
            named.map(|name| format!("in {side} as {name}"))
        };
        let partly = self.cells().any(|cell| cell.shared_bytes > 0);
        let wholly = partly && self.not_shared() == 0;
        let renamed: Vec<_> = [other(self.a, "B"), other(self.b, "A")]
            .into_iter()
            .flatten()
            .collect();
        match (self.a, self.b) {
            _ if self.is_same() => "the same".to_owned(),
            _ if !renamed.is_empty() => renamed.join(", "),
            (Some(_), Some(_)) if wholly => "all shared, arranged otherwise".to_owned(),
            (Some(_), Some(_)) if partly => "partly shared".to_owned(),
            (Some(_), Some(_)) => "stored apart".to_owned(),
            (a, _) => {
                let side = if a.is_some() { "A" } else { "B" };
                let also = match (partly, wholly) {
                    (_, true) => ", all of it shared",
                    (true, false) => ", partly shared",
                    (false, false) => "",
                };
                format!("only in {side}{also}")
            }
        }
    }
}

/// The parts of both sides by name, those first of which the most is not shared.
fn rows<'a>(a: &'a [SharedPart], b: &'a [SharedPart]) -> Vec<Row<'a>> {
    let mut rows: BTreeMap<&str, Row<'_>> = BTreeMap::new();
    let mut row = |part: &'a SharedPart, is_a: bool| {
        let row = rows.entry(&part.name).or_insert(Row {
            name: &part.name,
            a: None,
            b: None,
        });
        let side = if is_a { &mut row.a } else { &mut row.b };
        *side = Some(Cell::new(part));
    };
    a.iter().for_each(|part| row(part, true));
    b.iter().for_each(|part| row(part, false));
    let mut rows: Vec<_> = rows.into_values().collect();
    rows.sort_by_key(|row| (std::cmp::Reverse(row.not_shared()), row.is_same()));
    rows
}

/// What is listed, and by what.
struct Compared {
    bytes: SharedBytes,
    tensors: Option<(Vec<SharedPart>, Vec<SharedPart>)>,
    note: Option<Note>,
}

pub(crate) fn run(args: DedupArgs, context: &Context<'_>) -> Result<Output, CliError> {
    let (a, b): (Target, Target) = (args.a.parse()?, args.b.parse()?);
    let compared = compare(&context.reader()?, &a, &b, args.files)?;
    let SharedBytes { a: one, b: two, .. } = &compared.bytes;
    let tensors = compared.tensors.as_ref();
    let (by, a_parts, b_parts) = match tensors {
        Some((a, b)) => ("tensor", a, b),
        None => ("file", &one.files, &two.files),
    };
    let totals = [PartTotals::of(a_parts), PartTotals::of(b_parts)];
    let rows = rows(a_parts, b_parts);
    let mut views = vec![
        View::Table(sides_table(
            &compared.bytes,
            [(&a, a_parts.len()), (&b, b_parts.len())],
            by,
        )),
        View::Line(String::new()),
        View::Table(totals_table(by, totals)),
    ];
    views.extend(list(&rows, by, args.all));
    let all_same = rows.iter().all(Row::is_same);
    let shared = compared.bytes.shared_bytes;
    let mut output = Output::new(&Deduped {
        a: side(&a, one, tensors.map(|(a, _)| a), totals[0]),
        b: side(&b, two, tensors.map(|(_, b)| b), totals[1]),
        shared_bytes: shared,
        stored_bytes: compared.bytes.stored_bytes,
        by,
        parts: rows,
    })
    .quiet(shared.to_string());
    if one.profile != two.profile {
        output = output.note(Note::Note(format!(
            "A was added under {} and B under {}: what is cut, framed or hashed apart is stored apart",
            one.profile, two.profile
        )));
    }
    let cuts_tensors = |side: &SharingSide| side.profile.contains("chunk=tensor-v1");
    if tensors.is_some() && !all_same && !(cuts_tensors(one) && cuts_tensors(two)) {
        output = output.note(Note::Note(
            "what is stored apart may still be equal; checkpoints that are all added with the same profile and \
             --chunker tensor-v1 are cut at their tensors, so that equal ones are stored once"
                .into(),
        ));
    }
    let output = compared.note.into_iter().fold(output, Output::note);
    Ok(views.into_iter().fold(output, Output::view))
}

/// By tensor where both are checkpoints, by file otherwise.
fn compare(
    reader: &StoreReader,
    a: &Target,
    b: &Target,
    by_file: bool,
) -> Result<Compared, CliError> {
    let why = match by_file {
        true => None,
        false => match compare_checkpoints(reader, a, b) {
            Ok(shared) => {
                return Ok(Compared {
                    bytes: shared.bytes,
                    tensors: Some((shared.a, shared.b)),
                    note: None,
                });
            }
            Err(e @ LoadError::Source(_)) => return Err(e.into()),
            Err(e) => Some(e),
        },
    };
    let bytes = reader.compare(a, b)?;
    let is_shard = |file: &SharedPart| file.name.ends_with(".safetensors");
    let has_shards = bytes.a.files.iter().chain(&bytes.b.files).any(is_shard);
    // Between files that nobody takes for a checkpoint there is nothing to explain.
    let note = why.filter(|_| has_shards).map(|e| {
        let hint = e.hint().map(|hint| format!(" ({hint})"));
        Note::Note(format!(
            "compared file by file, not tensor by tensor: {e}{}",
            hint.unwrap_or_default()
        ))
    });
    Ok(Compared {
        bytes,
        tensors: None,
        note,
    })
}

fn side<'a>(
    target: &Target,
    side: &'a SharingSide,
    tensors: Option<&Vec<SharedPart>>,
    totals: PartTotals,
) -> Side<'a> {
    Side {
        target: target.to_string(),
        cid: side.cid.to_string(),
        object: side.object.to_string(),
        kind: side.kind.name(),
        profile: &side.profile,
        files: side.files.len(),
        tensors: tensors.map(Vec::len),
        content_bytes: side.content_bytes,
        shared_content_bytes: side.shared_content_bytes,
        stored_bytes: side.stored_bytes,
        only_bytes: side.only_bytes,
        totals,
    }
}

fn sides_table(bytes: &SharedBytes, [a, b]: [(&Target, usize); 2], by: &str) -> Table {
    let row = |label: &str, parts: usize, sizes: [u64; 4], target: String| {
        let mut cells = vec![label.to_owned(), parts.to_string()];
        cells.extend(sizes.map(text::size));
        cells.push(target);
        cells
    };
    let of = |label, side: &SharingSide, (target, parts): (&Target, usize)| {
        let (content, stored) = (side.content_bytes, side.stored_bytes);
        let sizes = [content, stored, bytes.shared_bytes, side.only_bytes];
        row(label, parts, sizes, target.to_string())
    };
    let both = [
        bytes.a.content_bytes.saturating_add(bytes.b.content_bytes),
        bytes.stored_bytes,
        bytes.shared_bytes,
        bytes.a.only_bytes.saturating_add(bytes.b.only_bytes),
    ];
    Table {
        columns: match by {
            "tensor" => &[
                "",
                ">TENSORS",
                ">SIZE",
                ">STORED",
                ">SHARED",
                ">ONLY HERE",
                "TARGET",
            ],
            _ => &[
                "",
                ">FILES",
                ">SIZE",
                ">STORED",
                ">SHARED",
                ">ONLY HERE",
                "TARGET",
            ],
        },
        rows: vec![
            of("A", &bytes.a, a),
            of("B", &bytes.b, b),
            row("both", a.1 + b.1, both, String::new()),
        ],
        empty: "",
    }
}

fn totals_table(by: &str, [a, b]: [PartTotals; 2]) -> Table {
    let row = |(label, a, b): (&str, PartCount, PartCount)| {
        if a.parts + b.parts == 0 {
            return None;
        }
        let mut cells = vec![label.to_owned()];
        for count in [a, b] {
            cells.extend([
                count.parts.to_string(),
                text::size(count.bytes),
                text::size(count.shared_bytes),
            ]);
        }
        Some(cells)
    };
    let counts = [
        ("the same, same name", a.same_name, b.same_name),
        ("the same, another name", a.other_name, b.other_name),
        ("partly, or in pieces", a.partly, b.partly),
        ("nothing shared", a.alone, b.alone),
    ];
    Table {
        columns: match by {
            "tensor" => &[
                "TENSORS", ">IN A", ">SIZE", ">SHARED", ">IN B", ">SIZE", ">SHARED",
            ],
            _ => &[
                "FILES", ">IN A", ">SIZE", ">SHARED", ">IN B", ">SIZE", ">SHARED",
            ],
        },
        rows: counts.into_iter().filter_map(row).collect(),
        empty: "Neither has a file.",
    }
}

fn list(rows: &[Row<'_>], by: &str, all: bool) -> Vec<View> {
    let of_interest = rows.iter().filter(|row| all || !row.is_same());
    let limit = if all { usize::MAX } else { SHOWN };
    let shown: Vec<_> = of_interest.take(limit).collect();
    let mut views = Vec::new();
    if !shown.is_empty() {
        let size = |cell: Option<Cell<'_>>| cell.map_or("-".to_owned(), |c| text::size(c.bytes));
        let cells = |row: &&Row<'_>| {
            let shared = row.cells().next().map_or(0, |cell| cell.shared_bytes);
            vec![
                size(row.a),
                size(row.b),
                text::size(shared),
                row.how(),
                row.name.to_owned(),
            ]
        };
        views.push(View::Line(String::new()));
        views.push(View::Table(Table {
            columns: match by {
                "tensor" => &[">IN A", ">IN B", ">SHARED", "HOW", "TENSOR"],
                _ => &[">IN A", ">IN B", ">SHARED", "HOW", "FILE"],
            },
            rows: shown.iter().map(cells).collect(),
            empty: "",
        }));
    }
    let same = rows.iter().filter(|row| row.is_same()).count();
    let others = rows.len() - same - shown.iter().filter(|row| !row.is_same()).count();
    let left: Vec<_> = [
        (others, "more"),
        (if all { 0 } else { same }, "the same in both"),
    ]
    .iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{} {what}", text::count(*count as u64, by)))
    .collect();
    if !left.is_empty() {
        views.push(View::Line(String::new()));
        views.push(View::Line(format!(
            "{}; --all lists every {by}",
            left.join(", ")
        )));
    }
    views
}
