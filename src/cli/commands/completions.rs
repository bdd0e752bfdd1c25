//! `completions`: what a shell needs to complete commands and flags.

use clap::Args;
use clap_complete::Shell;
use serde::Serialize;

use crate::cli::args;
use crate::cli::output::{Output, View};

/// Print a script that lets a shell complete commands and flags
///
/// The shell reads it when it starts. Names and CIDs are not completed.
///
/// With --json: shell, script.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  source <(ipfs-accelerate completions bash)                                        in ~/.bashrc
  ipfs-accelerate completions zsh > \"${fpath[1]}/_ipfs-accelerate\"
  ipfs-accelerate completions fish > ~/.config/fish/completions/ipfs-accelerate.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

#[derive(Serialize)]
struct Completions {
    shell: String,
    script: String,
}

pub(crate) fn run(args: &CompletionsArgs) -> Output {
    let mut script = Vec::new();
    let mut command = args::command();
    let name = command.get_name().to_owned();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    Output::new(&Completions {
        shell: args.shell.to_string(),
        script: script.clone(),
    })
    .view(View::Text(script))
}
