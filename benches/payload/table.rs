//! Measurements of one way of keeping chunks, and the table of all.

use std::error::Error;
use std::fmt;

use ipfs_accelerate::ByteSize;

use super::chunks::Chunks;
use super::disk::{self, Scratch};
use super::side::Side;
use super::survival::Survival;
use super::{child, median};

const OPENS: usize = 5;

/// One row of the table: a value for each round.
#[derive(Default)]
pub(crate) struct Row {
    len: usize,
    write: Vec<f64>,
    warm: Vec<f64>,
    cold: Vec<f64>,
    disk: Vec<f64>,
    files: usize,
    write_peak: Vec<f64>,
    read_peak: Vec<f64>,
    open: Vec<f64>,
    pub(crate) survival: Survival,
}

impl Row {
    pub(crate) fn new(len: usize) -> Self {
        Self {
            len,
            ..Self::default()
        }
    }

    pub(crate) fn title(&self, side: &Side) -> String {
        format!("{}, {}", ByteSize::new(self.len as u64), side.title())
    }

    /// One round.
    pub(crate) fn measure(
        &mut self,
        scratch: &Scratch,
        side: &Side,
        chunks: &Chunks,
    ) -> Result<(), Box<dyn Error>> {
        let path = scratch.path("store");
        let spawn = |what: &str, rest: &[String]| child::spawn(what, side, &path, rest);
        let first = |numbers: Vec<f64>| numbers.first().copied().ok_or("no number");
        let shape = [chunks.len.to_string(), chunks.count.to_string()];
        let cids = [scratch.cids().display().to_string()];
        let bytes = chunks.bytes() as f64;

        // Memory does not drift, so once is enough.
        if self.write_peak.is_empty() {
            scratch.clear("store")?;
            self.write_peak.push(first(spawn("write-peak", &shape)?)?);
        }
        scratch.clear("store")?;
        self.write.push(bytes / first(spawn("write", &shape)?)?);
        let (allocated, files) = disk::allocated(&path)?;
        self.disk.push(allocated as f64 / bytes);
        self.files = files;
        disk::warm(&path)?;
        for _ in 0..OPENS {
            self.open.push(first(spawn("open", &[])?)?);
        }
        let read = spawn("read", &cids)?;
        self.warm.push(bytes / first(read)?);
        disk::cool(&path)?;
        let read = spawn("read", &cids)?;
        self.read_peak.push(*read.get(1).ok_or("no peak")?);
        self.cold.push(bytes / first(read)?);
        scratch.clear("store")?;
        Ok(())
    }

    /// The medians so far, on one line.
    pub(crate) fn latest(&self) -> String {
        let [write, warm, cold, disk, write_peak, read_peak, open] = self.medians();
        format!(
            "write {write}, read {warm} warm, {cold} cold, disk {disk} in {} files, peak {write_peak} writing, \
             {read_peak} reading, open {open}",
            self.files
        )
    }

    fn medians(&self) -> [String; 7] {
        let shown = |values: &[f64], form: &dyn Fn(f64) -> String| match median(values) {
            Some(value) => form(value),
            None => "not measured".to_owned(),
        };
        let rate = |value: f64| format!("{:.0} MB/s", value / 1e6);
        let memory = |value: f64| format!("{:.0} MB", value / 1e6);
        [
            shown(&self.write, &rate),
            shown(&self.warm, &rate),
            shown(&self.cold, &rate),
            shown(&self.disk, &|value| format!("{value:.3} ×")),
            shown(&self.write_peak, &memory),
            shown(&self.read_peak, &memory),
            shown(&self.open, &|value| format!("{:.1} ms", value * 1e3)),
        ]
    }
}

pub(crate) fn print(rows: &[(Side, Row)]) {
    println!(
        "| chunks | kept as | write | read, warm | cold | disk | peak memory, writing | reading | open | survive |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for (side, row) in rows {
        let cells = Cells(row.medians());
        println!(
            "| {} | {} | {cells} | {} |",
            ByteSize::new(row.len as u64),
            side.title(),
            row.survival
        );
    }
}

struct Cells([String; 7]);

impl fmt::Display for Cells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" | "))
    }
}
