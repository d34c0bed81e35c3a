//! The command line. The only layer that prints or reads the environment.

mod args;
mod manifest;
mod report;
mod run;
mod store;
pub(crate) mod test;

use std::io::Write;

use clap::{CommandFactory, Parser};

use args::{Arguments, Command};

/// Runs the command line and returns the process's exit status. `keep_freed_memory` is called first if the process is to run
/// tests: its allocator may then keep what is freed.
#[must_use]
pub fn main(keep_freed_memory: fn()) -> u8 {
    init_tracing();
    crate::vm::panic::report_only_uncaught();
    let arguments = match Arguments::try_parse_from(args::separate(std::env::args_os())) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version go to stdout and succeed; a wrong command line is status 2, as everywhere,
            // but for tests, where pytest has other numbers.
            let wrong =
                if std::env::args_os().nth(1).is_some_and(|command| command == "test") { test::USAGE } else { 2 };
            let status = if error.use_stderr() { wrong } else { 0 };
            return if error.print().is_ok() { status } else { 1 };
        }
    };
    match arguments.command {
        Command::Run(options) => run::run(&options),
        Command::Tree(options) => report::tree(&options),
        Command::Store(options) => store::store(&options),
        Command::Test(options) => {
            keep_freed_memory();
            test::test(&options)
        }
        Command::TestWorker => {
            keep_freed_memory();
            test::worker()
        }
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "modspace", &mut text);
            print(&String::from_utf8_lossy(&text))
        }
        Command::Man => {
            let mut text = Vec::new();
            match clap_mangen::Man::new(Arguments::command()).render(&mut text) {
                Ok(()) => print(&String::from_utf8_lossy(&text)),
                Err(_) => 1,
            }
        }
    }
}

/// Prints to stdout; a reader that went away is no panic but a status.
fn print(text: &str) -> u8 {
    u8::from(std::io::stdout().write_all(text.as_bytes()).is_err())
}

/// `MODSPACE_LOG=debug` shows what the runtime does, on stderr.
fn init_tracing() {
    if let Ok(filter) = tracing_subscriber::EnvFilter::try_from_env("MODSPACE_LOG") {
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
}
