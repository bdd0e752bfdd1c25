//! Splits a safetensors file into shards with an index.

mod arguments;
mod checkpoint;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use arguments::{Arguments, number};

const USAGE: &str = "usage: shard-checkpoint INPUT.safetensors OUTDIR --shards N";

fn main() -> ExitCode {
    let (input, dir, shards) = match parse() {
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
    match checkpoint::shard(&input, &dir, shards) {
        Ok(summary) => {
            println!(
                "{} tensors, {} bytes of payload, {} shards in {}",
                summary.tensors,
                summary.payload_bytes,
                summary.shards.len(),
                dir.display()
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
fn parse() -> Result<Option<(PathBuf, PathBuf, usize)>, String> {
    let mut arguments = Arguments::parse(env::args_os().skip(1), &["--shards"], &["--help"])?;
    if arguments.has("--help") {
        return Ok(None);
    }
    let input = arguments.path("INPUT.safetensors")?;
    let dir = arguments.path("OUTDIR")?;
    arguments.no_more_paths()?;
    let shards = arguments
        .value("--shards", number)?
        .ok_or("--shards is missing")?;
    Ok(Some((input, dir, shards)))
}
