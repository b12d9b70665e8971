//! `frith-sim`: see `frith-sim help`.

use std::process::ExitCode;

use clap::Parser as _;
use frith_simulator::cli;

/// A thousand nodes are many small things: the system's allocator costs a sixth of a run, half of it by scattering them over small pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main(cli::Cli::parse())
}
