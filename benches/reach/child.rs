//! Parts that run in a process of their own, for its memory or for its start.

use std::error::Error;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use ipfs_accelerate::checkpoint::LoadOptions;
use ipfs_accelerate::{
    AddOptions, Profile, Store, StoreOptions, StoreReader, VerifyOptions,
    load_checkpoint_and_dispatch,
};

use crate::peak_memory::peak_bytes;

pub(crate) fn run(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let [what, store, rest] = arguments else {
        return Err("child WHAT STORE REST".into());
    };
    match what.as_str() {
        "add" => {
            let begun = Instant::now();
            let store = Store::create(store)?;
            let report = store.add_path(rest, &AddOptions::default())?;
            println!(
                "{} {} {}",
                begun.elapsed().as_secs_f64(),
                peak_bytes()?,
                report.cid
            );
        }
        "add-small-chunks" => {
            let store = Store::create_with(store, StoreOptions::default())?;
            let profile = Profile::default().with_chunk_bytes(4096)?;
            let report = store.add_path(rest, &AddOptions::default().with_profile(profile))?;
            println!("{} {} {}", report.blocks, peak_bytes()?, report.cid);
        }
        "open" => {
            let begun = Instant::now();
            drop(Store::open(store)?);
            println!("{} {}", begun.elapsed().as_secs_f64(), peak_bytes()?);
        }
        "repair" => {
            let begun = Instant::now();
            crate::repair::repair(store, rest)?;
            println!("{} {}", begun.elapsed().as_secs_f64(), peak_bytes()?);
        }
        "first-tensor" => {
            let reader = StoreReader::open(store)?;
            let loaded =
                load_checkpoint_and_dispatch(&reader, &rest.parse()?, LoadOptions::default())?;
            let (_, placed) = loaded.iter().next().ok_or("no tensor")?;
            let first = placed
                .mapped()
                .ok_or("not mapped")?
                .bytes()
                .first()
                .copied();
            println!("{first:?} {}", loaded.len());
        }
        "verify" => {
            let begun = Instant::now();
            let report = StoreReader::open(store)?.verify(&VerifyOptions::default())?;
            let seconds = begun.elapsed().as_secs_f64();
            if !report.findings.is_empty() {
                return Err(format!("{:?}", report.findings).into());
            }
            println!("{seconds} {} {}", peak_bytes()?, report.blocks);
        }
        other => return Err(format!("unknown child {other}").into()),
    }
    Ok(())
}

/// Runs this program as a child; returns what it printed, and the seconds from its start to its first word.
pub(crate) fn spawn(arguments: &[&str]) -> Result<(String, f64), Box<dyn Error>> {
    let begun = Instant::now();
    let mut child = Command::new(std::env::current_exe()?)
        .arg("child")
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut pipe = child.stdout.take().ok_or("no pipe")?;
    let mut first = [0];
    pipe.read_exact(&mut first)?;
    let seconds = begun.elapsed().as_secs_f64();
    let mut text = String::from(char::from(first[0]));
    pipe.read_to_string(&mut text)?;
    std::io::stdout().flush()?;
    match child.wait()?.success() {
        true => Ok((text, seconds)),
        false => Err(format!("child {arguments:?} failed").into()),
    }
}
