//! The tests of the whole: the library from Rust, the program from a shell, and Python programs that test themselves.

mod suite {
    pub mod harness;

    mod api;
    mod cli;
    mod cli_store;
    mod examples;
    mod policies;
    mod python;
    mod readme;
    mod real;
    mod soak;
    mod store;
    mod testing;
    mod testing_bad_input;
    mod testing_coverage;
    mod testing_output;
    mod testing_python;
    mod testing_unittest;
    mod testing_watch;
    mod testing_workers;
    mod upstream;
}
