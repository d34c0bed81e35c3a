//! The program `modspace`.

use std::process::ExitCode;

/// Python programs allocate small objects all the time; the library leaves the choice to whoever embeds it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ExitCode::from(modspace::cli_main(keep_freed_memory))
}

/// Has the allocator keep what is freed, instead of giving it back to the system a while later: a run of tests
/// frees as much as it allocates, again and again, and a page that was given back is cleared before it comes again.
/// Another `MIMALLOC_PURGE_DELAY` than its default in the environment goes before this.
fn keep_freed_memory() {
    /// `mi_option_purge_delay` in `mimalloc.h`: how long it waits, in milliseconds. (Upstream should name it beside the others.)
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    const DEFAULT: std::ffi::c_long = 1000;
    const NEVER: std::ffi::c_long = -1;
    // SAFETY: these are functions of the allocator that this program is linked with. They read and write a number in a table
    // of its options, without synchronisation: this is the program's only thread. Should another version number its options
    // otherwise, the value is most probably not the default of this one, and nothing is set; any option may be set to any number.
    unsafe {
        if libmimalloc_sys::mi_option_get(PURGE_DELAY) == DEFAULT {
            libmimalloc_sys::mi_option_set(PURGE_DELAY, NEVER);
        }
    }
}
