//! The `sealwright` binary: parses the command line, runs it, and turns the outcome into an exit code.

use std::{
    io::{self, Write},
    process::ExitCode,
};

fn main() -> ExitCode {
    match sealwright::cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If standard error cannot be written, the exit code still reports the failure.
            let _ = writeln!(io::stderr(), "sealwright: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
