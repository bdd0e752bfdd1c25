//! `stat`: a target, or the store as a whole.

use clap::Args;
use ipfs_accelerate::{CacheStats, Target};
use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::output::{Output, View};
use crate::cli::text;

/// Show sizes, blocks and pins of a target, or of the store
///
/// The counters of the memory tier are those of this process, as every process that opens a store has a tier
/// of its own: this command reads nothing through it, so they are zero. A program that links the library
/// sees its own in `Store::cache_stats`.
///
/// Works beside a writer.
///
/// With --json: store, objects, pins, packs, blocks, content_bytes, pack_bytes, pack_disk_bytes,
/// referenced_bytes, index_disk_bytes, cache {hits, misses, evictions, entries, bytes, budget_bytes}; with TARGET: cid, size,
/// blocks, kind, pinned, codec, hash, pins, object, profile, extents, damaged_bytes, referenced_bytes. With -q: the path, or
/// the CID.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  ipfs-accelerate stat
  ipfs-accelerate stat llama-3/model.safetensors
  ipfs-accelerate stat llama-3 --json | jq .size")]
pub(crate) struct StatArgs {
    /// What to look at: CID or name, and a path below it.
    #[arg(value_name = "TARGET")]
    target: Option<String>,
}

#[derive(Serialize)]
struct TargetStat<'a> {
    cid: String,
    size: u64,
    blocks: u64,
    kind: &'static str,
    pinned: bool,
    codec: &'static str,
    hash: &'static str,
    pins: &'a [String],
    object: String,
    profile: &'a str,
    extents: u64,
    damaged_bytes: u64,
    referenced_bytes: u64,
}

#[derive(Serialize)]
struct StoreStat<'a> {
    store: &'a str,
    objects: u64,
    pins: u64,
    packs: u64,
    blocks: u64,
    content_bytes: u64,
    pack_bytes: u64,
    pack_disk_bytes: u64,
    referenced_bytes: u64,
    index_disk_bytes: u64,
    cache: CacheStats,
}

pub(crate) fn run(args: StatArgs, context: &Context<'_>) -> Result<Output, CliError> {
    match args.target {
        Some(target) => of_target(&target.parse()?, context),
        None => of_store(context),
    }
}

fn of_target(target: &Target, context: &Context<'_>) -> Result<Output, CliError> {
    let stat = context.reader()?.stat(target)?;
    let cid = stat.cid.to_string();
    let pinned = match stat.pinned_by.is_empty() {
        true => "no".to_owned(),
        false => format!("as {}", stat.pinned_by.join(", ")),
    };
    let mut fields = vec![
        ("cid", cid.clone()),
        ("kind", stat.kind.name().to_owned()),
        ("size", exact(stat.size)),
        ("blocks", stat.blocks.to_string()),
        ("pieces", stat.extents.to_string()),
        ("pinned", pinned),
        ("codec", stat.codec.to_owned()),
        ("hash", stat.hash.to_owned()),
        ("profile", stat.profile.clone()),
    ];
    if stat.referenced_bytes > 0 {
        fields.push(("referenced", exact(stat.referenced_bytes)));
    }
    if stat.object != stat.cid {
        fields.push(("part of", stat.object.to_string()));
    }
    if stat.damaged_bytes > 0 {
        fields.push((
            "damaged",
            format!("{}, on record", exact(stat.damaged_bytes)),
        ));
    }
    Ok(Output::new(&TargetStat {
        cid: cid.clone(),
        size: stat.size,
        blocks: stat.blocks,
        kind: stat.kind.name(),
        pinned: !stat.pinned_by.is_empty(),
        codec: stat.codec,
        hash: stat.hash,
        pins: &stat.pinned_by,
        object: stat.object.to_string(),
        profile: &stat.profile,
        extents: stat.extents,
        damaged_bytes: stat.damaged_bytes,
        referenced_bytes: stat.referenced_bytes,
    })
    .view(View::Fields(fields))
    .quiet(cid))
}

fn of_store(context: &Context<'_>) -> Result<Output, CliError> {
    let reader = context.reader()?;
    let totals = reader.totals()?;
    let mut cache = CacheStats::default();
    cache.budget_bytes = context.config.cache.budget().bytes();
    let store = reader.path().display().to_string();
    let packs = format!(
        "{} with {}, {} long, {} on disk",
        totals.packs,
        text::count(totals.blocks, "block"),
        text::size(totals.pack_bytes),
        text::size(totals.pack_disk_bytes)
    );
    let tier = format!(
        "budget {}; this process: {} hits, {} misses, {} evictions",
        text::size(cache.budget_bytes),
        cache.hits,
        cache.misses,
        cache.evictions
    );
    let mut fields = vec![
        ("store", store.clone()),
        (
            "objects",
            format!(
                "{}, {} of content",
                totals.objects,
                text::size(totals.content_bytes)
            ),
        ),
        ("pins", totals.pins.to_string()),
        ("packs", packs),
        (
            "index",
            format!("{} on disk", text::size(totals.index_disk_bytes)),
        ),
        ("memory tier", tier),
    ];
    if totals.referenced_bytes > 0 {
        let referenced = format!("{} in files outside", text::size(totals.referenced_bytes));
        fields.insert(4, ("referenced", referenced));
    }
    Ok(Output::new(&StoreStat {
        store: &store,
        objects: totals.objects,
        pins: totals.pins,
        packs: totals.packs,
        blocks: totals.blocks,
        content_bytes: totals.content_bytes,
        pack_bytes: totals.pack_bytes,
        pack_disk_bytes: totals.pack_disk_bytes,
        referenced_bytes: totals.referenced_bytes,
        index_disk_bytes: totals.index_disk_bytes,
        cache,
    })
    .view(View::Fields(fields))
    .quiet(store))
}

/// `1.2 MiB (1239512 bytes)`
fn exact(bytes: u64) -> String {
    match bytes {
        0..1024 => text::count(bytes, "byte"),
        _ => format!("{} ({bytes} bytes)", text::size(bytes)),
    }
}
