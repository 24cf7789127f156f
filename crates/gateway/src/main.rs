//! The `tollgate` binary.

use std::process::ExitCode;

/// An allocator that is quick at the many small, short-lived allocations of HTTP.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tollgate::cli::main()
}
