//! `demo`: what the store does, on a real checkpoint, in a temporary folder.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use clap::Args;
use ipfs_accelerate::checkpoint::collapse;
use ipfs_accelerate::{
    AddOptions, Config, ExportOptions, FileError, LoadOptions, PlainFolder, Store, StoreError,
    Target, load_checkpoint_and_dispatch, plan_checkpoint,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::load;
use super::plan::modules_table;
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::output::{Output, Table, View};
use crate::cli::temporary::TemporaryFolder;
use crate::cli::text;

/// Show it all at work on a real checkpoint, in a temporary folder
///
/// Adds the checkpoint of Silero VAD (1.2 MB, 15 tensors), which this program carries, to a fresh store in
/// a temporary folder, loads it to cpu and disk, shows the plan and the timings, and cleans up. Your own
/// store and configuration are left alone.
///
/// With --json: parts, a list of {part, …}, and seconds.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  ipfs-accelerate demo
  ipfs-accelerate demo --ipfs
  ipfs-accelerate demo --all --json")]
pub(crate) struct DemoArgs {
    /// Every part.
    #[arg(long)]
    all: bool,
    /// The configuration: get, set, save, load.
    // The seed's flag has the name of a global one, which would take a file: one identifier, one type.
    #[arg(long, num_args = 0, default_missing_value = CONFIG_PART)]
    pub(crate) config: Option<PathBuf>,
    /// Containers.
    #[arg(long)]
    backends: bool,
    /// Step by step: add, get, exists, metadata, a cache hit on the second read, load.
    #[arg(long)]
    ipfs: bool,
}

/// What `demo --config` gives, which no file is called.
pub(crate) const CONFIG_PART: &str = "\0";

const NAME: &str = "silero_vad_16k.safetensors";
const MODEL: &[u8] = include_bytes!("../../../fixtures/silero-vad/silero_vad_16k.safetensors");

#[derive(Serialize)]
struct Shown {
    parts: Vec<Value>,
    seconds: f64,
}

/// What the parts said so far.
struct Demo {
    folder: TemporaryFolder,
    cancel: Arc<AtomicBool>,
    views: Vec<View>,
    parts: Vec<Value>,
}

pub(crate) fn run(args: DemoArgs, context: &Context<'_>) -> Result<Output, CliError> {
    let begun = Instant::now();
    let mut demo = Demo {
        cancel: context.cancel()?,
        folder: TemporaryFolder::new("demo")?,
        views: Vec::new(),
        parts: Vec::new(),
    };
    let DemoArgs {
        all,
        config,
        backends,
        ipfs,
    } = args;
    let config = config.is_some_and(|path| path.as_os_str() == CONFIG_PART);
    if all || !(config || backends || ipfs) {
        demo.checkpoint()?;
    }
    if all || config {
        demo.config()?;
    }
    if all || backends {
        demo.backends();
    }
    if all || ipfs {
        demo.ipfs()?;
    }
    let Demo {
        folder,
        views,
        parts,
        ..
    } = demo;
    let removed = folder.path().display().to_string();
    drop(folder);
    let output = Output::new(&Shown {
        parts,
        seconds: begun.elapsed().as_secs_f64(),
    });
    let output = views.into_iter().fold(output, Output::view);
    Ok(output
        .line("")
        .line(format!("cleaned up: {removed} is gone")))
}

impl Demo {
    fn heading(&mut self, text: &str) {
        if !self.views.is_empty() {
            self.line("");
        }
        self.line(format!("== {text}"));
    }

    fn line(&mut self, text: impl Into<String>) {
        self.views.push(View::Line(text.into()));
    }

    fn check_cancel(&self) -> Result<(), CliError> {
        match self.cancel.load(Ordering::Relaxed) {
            true => Err(StoreError::Cancelled.into()),
            false => Ok(()),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The model as a file in the temporary folder.
    fn model(&self) -> Result<PathBuf, CliError> {
        let path = self.path(NAME);
        fs::write(&path, MODEL).map_err(FileError::at("write", &path))?;
        Ok(path)
    }

    /// Add, plan, load: the main job.
    fn checkpoint(&mut self) -> Result<(), CliError> {
        self.heading("A checkpoint, from a file to tensors on devices");
        let model = self.model()?;
        let store = Store::create(self.path("store"))?;
        self.line(format!("a fresh store at {}", store.path().display()));

        let options = AddOptions::default().named("silero-vad");
        let (added, add_seconds) = timed(|| store.add_path(&model, &options))?;
        let (again, again_seconds) = timed(|| store.add_path(&model, &options))?;
        check("the same CID again", &added.cid, &again.cid)?;
        self.line(format!("added {NAME} in {}", text::seconds(add_seconds)));
        self.line(format!("  CID        {}", added.cid));
        self.line(format!(
            "  size       {} in {}, pinned as \"silero-vad\"",
            text::size(added.size),
            text::count(added.blocks, "block")
        ));
        self.line(format!(
            "  once more  the same CID in {}, {} new bytes",
            text::seconds(again_seconds),
            again.new_bytes
        ));
        self.check_cancel()?;

        // Half of it for the cpu, so that there is something to dispatch.
        let limit = added.size / 2;
        let options = || LoadOptions::default().with_max_memory("cpu", limit);
        let target: Target = "silero-vad".parse()?;
        let planned = plan_checkpoint(&store, &target, &options())?;
        self.line("");
        self.line(format!(
            "the plan, with cpu limited to {}:",
            text::size(limit)
        ));
        let names: Vec<&str> = planned.tensors.iter().map(|t| t.name.as_str()).collect();
        self.views
            .push(View::Table(modules_table(collapse(&planned.plan, &names))));

        self.check_cancel()?;
        let loaded = load_checkpoint_and_dispatch(&store, &target, options())?;
        self.line("");
        self.views.extend(load::summary(loaded.report()));
        let shown = loaded.iter().map(|(tensor, _)| {
            let device = loaded.device_of(&tensor.name).unwrap_or_default();
            let shape = format!("{:?}", tensor.shape);
            vec![
                tensor.name.to_string(),
                tensor.dtype.to_string(),
                shape,
                device.to_owned(),
            ]
        });
        let rows: Vec<_> = shown.take(3).collect();
        self.line("");
        self.views.push(View::Table(Table {
            columns: &["TENSOR", "TYPE", "SHAPE", "DEVICE"],
            rows,
            empty: "",
        }));
        self.line(format!("and {} more", loaded.len().saturating_sub(3)));
        self.parts.push(json!({
            "part": "checkpoint",
            "cid": added.cid.to_string(),
            "size": added.size,
            "new_bytes": added.new_bytes,
            "new_bytes_again": again.new_bytes,
            "add_seconds": add_seconds,
            "load": load::Loaded::from(loaded.report()),
        }));
        Ok(())
    }

    /// The store step by step, as the seed's demo had it.
    fn ipfs(&mut self) -> Result<(), CliError> {
        self.heading("The store, step by step");
        let model = self.model()?;
        let store = Store::create(self.path("ipfs"))?;
        let (added, seconds) = timed(|| store.add_path(&model, &AddOptions::default()))?;
        let target = Target::new(&added.cid);
        self.line(format!(
            "add        {}  ({})",
            added.cid,
            text::seconds(seconds)
        ));

        let copy = self.path("copy.safetensors");
        let (got, seconds) = timed(|| store.export(&target, &copy, &ExportOptions::default()))?;
        let same = fs::read(&copy).map_err(FileError::at("read", &copy))? == MODEL;
        check("the same bytes again", &true, &same)?;
        self.line(format!(
            "get        {}, the same bytes  ({})",
            text::size(got.bytes),
            text::seconds(seconds)
        ));

        let other = PlainFolder::assume_unchanging(self.folder.path());
        let absent: Target =
            "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354".parse()?;
        let (has, has_other) = (store.has(&target)?, store.has(&absent)?);
        check(
            "the object to be there and another not to be",
            &(true, false),
            &(has, has_other),
        )?;
        self.line("exists     yes; for the CID of an empty folder, which was not added: no");

        let stat = store.stat(&target)?;
        self.line(format!(
            "metadata   {}, {} bytes, {}, {}, {}, pinned: {}",
            stat.kind.name(),
            stat.size,
            text::count(stat.blocks, "block"),
            stat.codec,
            stat.hash,
            if stat.pinned_by.is_empty() {
                "no"
            } else {
                "yes"
            }
        ));

        let before = store.cache_stats();
        let (_, miss_seconds) = timed(|| store.get_block(&added.cid))?;
        let (_, hit_seconds) = timed(|| store.get_block(&added.cid))?;
        let after = store.cache_stats();
        let (hits, misses) = (after.hits - before.hits, after.misses - before.misses);
        check("one miss, then one hit", &(1, 1), &(misses, hits))?;
        self.line(format!(
            "cache      first read of the root block {} (miss), second {} (hit)",
            text::seconds(miss_seconds),
            text::seconds(hit_seconds)
        ));
        self.check_cancel()?;

        let loaded = load_checkpoint_and_dispatch(&store, &target, LoadOptions::default())?;
        let plain: Target = NAME.parse()?;
        let beside = load_checkpoint_and_dispatch(&other, &plain, LoadOptions::default())?;
        let report = loaded.report();
        self.line(format!(
            "load       {}, {}, {} copied  ({}; from the plain file {})",
            text::count(report.tensors as u64, "tensor"),
            text::size(report.bytes),
            text::size(report.copied_bytes),
            text::seconds(report.seconds),
            text::seconds(beside.report().seconds)
        ));
        self.parts.push(json!({
            "part": "ipfs",
            "cid": added.cid.to_string(),
            "got_bytes": got.bytes,
            "exists": has,
            "metadata": {"size": stat.size, "blocks": stat.blocks, "codec": stat.codec, "hash": stat.hash},
            "cache": {"misses": misses, "hits": hits, "miss_seconds": miss_seconds, "hit_seconds": hit_seconds},
            "load": load::Loaded::from(report),
        }));
        Ok(())
    }

    /// Get, set, save, load.
    fn config(&mut self) -> Result<(), CliError> {
        self.heading("The configuration");
        let file = self.path("config.toml");
        let mut config = Config::default();
        let default = config.cache.max_size_mb;
        self.line(format!("get   cache.max_size_mb = {default}, the default"));
        config.set("cache", "max_size_mb", 200)?;
        self.line("set   cache.max_size_mb = 200");
        config.save(Some(&file))?;
        let loaded = Config::load(&file)?;
        check("the value that was saved", &200, &loaded.cache.max_size_mb)?;
        self.line(format!(
            "save  to {}, with the comments of the shipped file",
            file.display()
        ));
        self.line(format!(
            "load  cache.max_size_mb = {}",
            loaded.cache.max_size_mb
        ));
        let wrong = config
            .set("cache", "max_siz_mb", 1)
            .map_or_else(|e| e.to_string(), |()| String::new());
        self.line(format!("a misspelt key: {wrong}"));
        self.parts.push(json!({
            "part": "config",
            "default": default,
            "loaded": loaded.cache.max_size_mb,
            "misspelt": wrong,
        }));
        Ok(())
    }

    /// Said plainly, instead of the seed's simulation.
    fn backends(&mut self) {
        self.heading("Containers");
        self.line("not built yet: this version starts no containers and opens no tunnels");
        self.parts.push(json!({"part": "backends", "built": false}));
    }
}

fn timed<T, E>(work: impl FnOnce() -> Result<T, E>) -> Result<(T, f64), E> {
    let begun = Instant::now();
    let done = work()?;
    Ok((done, begun.elapsed().as_secs_f64()))
}

/// A demo that shows something untrue is worse than none.
fn check<T: PartialEq + std::fmt::Debug>(
    what: &str,
    expected: &T,
    found: &T,
) -> Result<(), CliError> {
    if expected == found {
        return Ok(());
    }
    Err(CliError::Demo {
        expected: format!("{what}, {expected:?},"),
        found: format!("{found:?}"),
    })
}
