//! What a commit of 1 KiB costs in fsyncs.

use std::error::Error;

use ipfs_accelerate::{AddOptions, PinAs, Store, io_tally};

use crate::scratch::Scratch;

pub(crate) fn run(scratch: &Scratch) -> Result<(), Box<dyn Error>> {
    let store = Store::create(scratch.path("commit"))?;
    println!("commit of a file of 1 KiB");
    for (seed, pin, why) in [
        (
            1_u8,
            PinAs::No,
            "loose root, roots/, pack, packs/, root, roots/: each a new file and its name",
        ),
        (2, PinAs::Unnamed, "the same, and the pin and names/"),
    ] {
        let before = io_tally();
        store.add_reader(
            &[seed; 1_024][..],
            &AddOptions::default().with_pin(pin.clone()),
        )?;
        let made = io_tally().since(before);
        let (files, folders) = (made.file_syncs, made.folder_syncs);
        println!(
            "  {pin:?}: {} fsyncs ({files} files, {folders} folders): {why}",
            files + folders
        );
    }
    Ok(())
}
