//! Module spaces for Python: what class loaders are to Java, on the RustPython virtual machine.
#![warn(missing_docs)]

mod cli;
mod error;
mod import;
mod lifecycle;
mod pyapi;
mod space;
mod sysview;
mod vm;

#[doc(hidden)]
pub use cli::main as cli_main;
pub use error::{Error, PythonError};
pub use import::{
    generation::SpaceId,
    policy::{
        Attribute, Delegation, NativeModule, Pattern, PlatformModule, Treatment, native_modules, platform_modules,
    },
    table::{Importer, ModuleRecord, ModuleState},
};
pub use space::{Entered, Runtime, RuntimeBuilder, Space, SpaceBuilder};
