//! `frith-sim`: see `frith-sim help`.

use std::process::ExitCode;

use clap::Parser as _;
use frith_simulator::cli;

fn main() -> ExitCode {
    cli::main(cli::Cli::parse())
}
