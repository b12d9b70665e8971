//! The binary `frith`.

use std::process::ExitCode;

fn main() -> ExitCode {
    frith_node::cli::main()
}
