//! The flags that decide what of a folder is taken.

use clap::Args;

/// What `add` and `check` both take of a folder.
#[derive(Args)]
pub(crate) struct WalkArgs {
    /// Take what symbolic links inside folders point to, instead of the links.
    #[arg(long)]
    pub(crate) dereference_symlinks: bool,
    /// Take entries of folders whose names begin with a dot; the profiles leave them out.
    #[arg(long)]
    pub(crate) hidden: bool,
    /// Leave out entries whose name, or path below the folder, matches; may be given several times.
    #[arg(long, value_name = "GLOB")]
    pub(crate) ignore: Vec<String>,
}
