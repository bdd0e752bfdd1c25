//! `cat`: the bytes of a file on standard output.

use std::io::{self, Read, Seek, SeekFrom, Write};

use clap::Args;
use ipfs_accelerate::{ByteSize, FileError, StoreError, Target};

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::output::Output;

/// Bytes read and written at a time.
const PIECE: usize = 1 << 20;

/// Print the bytes of a file, or a range of them
///
/// Writes the bytes and nothing else, with --json too. Past the end of the file there are none. That the
/// reader of the output goes away is no error.
///
/// Works beside a writer.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  ipfs-accelerate cat llama-3/config.json
  ipfs-accelerate cat llama-3/model.safetensors --length 8 | od -t u8    length of the header
  ipfs-accelerate cat CID --offset 1MiB --length 64KiB > piece")]
pub(crate) struct CatArgs {
    /// The file: CID or name, and a path below it.
    #[arg(value_name = "TARGET")]
    target: String,
    /// Begin at this byte; 4096 or 4KiB.
    #[arg(long, value_name = "N", default_value = "0", hide_default_value = true)]
    offset: ByteSize,
    /// Stop after so many bytes.
    #[arg(long, value_name = "N")]
    length: Option<ByteSize>,
}

pub(crate) fn run(args: CatArgs, context: &Context<'_>) -> Result<Output, CliError> {
    let target: Target = args.target.parse()?;
    let file = context.reader()?.open_file(&target)?;
    let mut reader = file.reader();
    let offset = args.offset.bytes().min(file.size());
    let at = |e| FileError::new("read", &args.target, e);
    reader.seek(SeekFrom::Start(offset)).map_err(at)?;
    let length = args.length.map_or(u64::MAX, ByteSize::bytes);
    copy(&mut reader.take(length), &mut context.content()?)?;
    Ok(Output::nothing())
}

/// Copies all of the input; tells an unreadable store from an unwritable output.
pub(crate) fn copy(from: &mut impl Read, to: &mut impl Write) -> Result<(), CliError> {
    let mut piece = vec![0; PIECE];
    loop {
        let read = from.read(&mut piece).map_err(of_the_store)?;
        if read == 0 {
            return to.flush().map_err(CliError::stdout);
        }
        to.write_all(&piece[..read]).map_err(CliError::stdout)?;
    }
}

/// What the store said, with its hint; else that it could not be read.
fn of_the_store(e: io::Error) -> CliError {
    match e.downcast::<StoreError>() {
        Ok(e) => e.into(),
        Err(e) => FileError::new("read", "the store", e).into(),
    }
}
