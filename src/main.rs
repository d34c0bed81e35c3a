//! The program `modspace`.

use std::process::ExitCode;

/// Python programs allocate small objects all the time; the library leaves the choice to whoever embeds it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ExitCode::from(modspace::cli_main())
}
