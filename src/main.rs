//! The `sealwright` binary: parses the command line, runs it, and turns the outcome into an exit code.

use std::process::ExitCode;

/// The static binary is built with musl, whose own allocator lets one thread allocate at a time.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match sealwright::cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.report();
            ExitCode::from(error.exit_code())
        }
    }
}
