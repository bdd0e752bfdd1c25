//! The command line: `ipfs-accelerate`.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
