//! Parts that run in a process of their own, for its memory and so that nothing is open or cached yet.

use std::error::Error;
use std::io::{BufRead, Write};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use super::chunks::Chunks;
use super::disk::read_cids;
use super::measure::{read, surviving, write};
use super::peak_memory::peak_bytes;
use super::side::Side;
use super::survival;

pub(crate) fn run(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [what, side, path, rest @ ..] = &arguments[..] else {
        return Err("child WHAT SIDE PATH …".into());
    };
    let (side, path): (Side, _) = (side.parse()?, Path::new(path));
    match (*what, rest) {
        ("write", [len, count]) => {
            let chunks = chunks(len, count)?;
            println!("{}", write(&*side.open(path)?, &chunks)?);
        }
        // As above, but holding nothing of its own.
        ("write-peak", [len, count]) => {
            let store = side.open(path)?;
            store.write(&mut chunks(len, count)?.blocks())?;
            println!("{}", peak_bytes()?);
        }
        ("open", []) => {
            let begun = Instant::now();
            let store = side.open(path)?;
            println!("{}", begun.elapsed().as_secs_f64());
            drop(store);
        }
        ("read", [cids]) => {
            let cids = read_cids(Path::new(cids))?;
            let seconds = read(&*side.open(path)?, &cids)?;
            println!("{seconds} {}", peak_bytes()?);
        }
        ("survive", [len]) => survival::run(&side, path, len.parse()?)?,
        ("fill", [len, batches, each]) => {
            let store = side.open(path)?;
            let (len, batches, each): (_, usize, usize) =
                (len.parse()?, batches.parse()?, each.parse()?);
            for batch in 0..batches {
                let count = (batch + 1) * each;
                let chunks = Chunks { len, count };
                store.write(&mut (batch * each..count).map(|n| chunks.block(n)))?;
                println!("durable");
                std::io::stdout().flush()?;
                // The store stays open and at rest until its disk is copied.
                std::io::stdin().lock().read_line(&mut String::new())?;
            }
        }
        ("check", [len, count]) => {
            let store = side.open(path)?;
            println!("{}", surviving(&*store, &chunks(len, count)?));
        }
        _ => return Err(format!("unknown child {arguments:?}").into()),
    }
    Ok(())
}

fn chunks(len: &str, count: &str) -> Result<Chunks, Box<dyn Error>> {
    Ok(Chunks {
        len: len.parse()?,
        count: count.parse()?,
    })
}

/// This program as a child.
pub(crate) fn command(what: &str, side: &Side, path: &Path) -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["child", what])
        .arg(side.to_string())
        .arg(path);
    Ok(command)
}

/// Runs a child; returns the numbers that it printed.
pub(crate) fn spawn(
    what: &str,
    side: &Side,
    path: &Path,
    rest: &[String],
) -> Result<Vec<f64>, Box<dyn Error>> {
    let output = command(what, side, path)?.args(rest).output()?;
    if !output.status.success() {
        // A panic's place and message; its backtrace tells nothing here.
        let said = String::from_utf8_lossy(&output.stderr);
        let said: Vec<&str> = said.trim().lines().take(2).collect();
        return Err(format!("{what} {side}: {}", said.join(" ")).into());
    }
    let text = String::from_utf8(output.stdout)?;
    text.split_whitespace().map(|n| Ok(n.parse()?)).collect()
}
