//! From the arguments to the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    dirpost::cli::main()
}
