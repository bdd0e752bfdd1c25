//! Makes a synthetic checkpoint of any size, for benches and for trying out
//! what a model of that size does.

mod arguments;
mod checkpoint;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use arguments::{Arguments, number};
use checkpoint::Spec;

const USAGE: &str = "\
usage: synthetic-checkpoint OUTDIR [--size 4GiB] [--shards 4] [--layers 44] [--seed 0] [--tuned-every N]
                            [--sparse]

  --size         payload in bytes, or with KB, MB, GB, TB, KiB, MiB, GiB or TiB
  --tuned-every  give every N-th tensor other bytes than the seed's, as a fine-tune does
  --sparse       leave the payload a hole: zeros that take no space";

fn main() -> ExitCode {
    let (dir, spec) = match parse() {
        Ok(Some(given)) => given,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("error: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let start = Instant::now();
    match checkpoint::synthesize(&dir, &spec) {
        Ok(summary) => {
            println!(
                "{} tensors, {} bytes of payload, {} shards in {}, {:.1} s",
                summary.tensors,
                summary.payload_bytes,
                summary.shards.len(),
                dir.display(),
                start.elapsed().as_secs_f64()
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// None: only help was asked for.
fn parse() -> Result<Option<(PathBuf, Spec)>, String> {
    let mut arguments = Arguments::parse(
        env::args_os().skip(1),
        &["--size", "--shards", "--layers", "--seed", "--tuned-every"],
        &["--sparse", "--help"],
    )?;
    if arguments.has("--help") {
        return Ok(None);
    }
    let dir = arguments.path("OUTDIR")?;
    arguments.no_more_paths()?;
    let default = Spec::default();
    let spec = Spec {
        size_bytes: arguments
            .value("--size", size)?
            .unwrap_or(default.size_bytes),
        shards: arguments
            .value("--shards", number)?
            .unwrap_or(default.shards),
        layers: arguments
            .value("--layers", number)?
            .unwrap_or(default.layers),
        seed: arguments.value("--seed", number)?.unwrap_or(default.seed),
        sparse: arguments.has("--sparse"),
        tuned_every: arguments.value("--tuned-every", number)?.unwrap_or(0),
    };
    Ok(Some((dir, spec)))
}

/// `4096`, `512MiB` or `4GB`, in bytes.
fn size(text: &str) -> Result<u64, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (count, unit) = text.split_at(digits);
    let factor = match unit {
        "" | "B" => 1,
        "KB" => 1000u64.pow(1),
        "MB" => 1000u64.pow(2),
        "GB" => 1000u64.pow(3),
        "TB" => 1000u64.pow(4),
        "KiB" => 1024u64.pow(1),
        "MiB" => 1024u64.pow(2),
        "GiB" => 1024u64.pow(3),
        "TiB" => 1024u64.pow(4),
        _ => return Err(format!("unknown unit {unit:?}")),
    };
    number::<u64>(count)?
        .checked_mul(factor)
        .ok_or_else(|| "too large".to_owned())
}
