//! The program `modspace`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(modspace::cli_main())
}
