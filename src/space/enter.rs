//! Entering a space from Rust.

use std::sync::Arc;

use rustpython_vm::{
    AsObject, PyObjectRef, PyRef, PyResult, VirtualMachine,
    builtins::{PyBaseExceptionRef, PyDictRef, PyModule},
};

use super::Space;
use crate::{
    error::{Error, PythonError},
    import::{
        context,
        generation::{Asked, Generation},
        level,
    },
    vm::panic,
};

/// A space that was entered; see [`Space::enter`].
#[derive(Clone, Copy)]
pub struct Entered<'vm> {
    vm: &'vm VirtualMachine,
    generation: &'vm Arc<Generation>,
}

impl std::fmt::Debug for Entered<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Entered").field("space", &self.generation.name()).finish_non_exhaustive()
    }
}

impl<'vm> Entered<'vm> {
    /// RustPython's virtual machine, for everything this crate does not wrap.
    #[must_use]
    pub const fn vm(&self) -> &'vm VirtualMachine {
        self.vm
    }

    pub(crate) const fn generation(&self) -> &'vm Arc<Generation> {
        self.generation
    }

    /// The namespace of the space's `__main__`.
    ///
    /// # Errors
    /// What the program's own `sys.modules` raised.
    pub fn namespace(&self) -> PyResult<PyDictRef> {
        self.generation.main(self.vm).map(|main| main.dict())
    }

    /// The space's `sys`.
    #[must_use]
    pub fn sys(&self) -> PyRef<PyModule> {
        self.generation.sys.clone()
    }

    /// Imports as `importlib.import_module` does: the module named, not its first package.
    ///
    /// # Errors
    /// What importing raised.
    pub fn import(&self, name: &str) -> PyResult {
        level::import_module(self.generation, name, self.vm)
    }

    /// Runs `source` in the space's `__main__`.
    ///
    /// # Errors
    /// What compiling or running raised.
    pub fn exec(&self, source: &str) -> PyResult<()> {
        self.generation.shared.exec.call((source, self.namespace()?), self.vm).map(drop)
    }

    /// Evaluates `expression` in the space's `__main__`.
    ///
    /// # Errors
    /// What compiling or running raised.
    pub fn eval(&self, expression: &str) -> PyResult {
        self.generation.shared.eval.call((expression, self.namespace()?), self.vm)
    }
}

impl Space {
    /// Enters the space: what `body` does belongs to it, and it is the context space.
    ///
    /// Do not let Python objects leave `body` except to drop them inside the interpreter again; a `__del__` that runs
    /// outside is skipped.
    ///
    /// # Errors
    /// [`Error::Unknown`] or [`Error::Closed`] once the space was discarded; [`Error::Python`] with what `body` raised,
    /// a panic in the virtual machine included.
    ///
    /// ```
    /// # let runtime = modspace::Runtime::new()?;
    /// let space = runtime.root().child().name("plugin").create()?;
    /// let answer = space.enter(|entered| {
    ///     entered.exec("import math")?;
    ///     entered.eval("math.factorial(5)")?.try_to_value::<u32>(entered.vm())
    /// })?;
    /// assert_eq!(answer, 120);
    /// # Ok::<(), modspace::Error>(())
    /// ```
    pub fn enter<R>(&self, body: impl FnOnce(Entered<'_>) -> PyResult<R>) -> Result<R, Error> {
        self.runtime.with(|vm| {
            // Taken and dropped inside the interpreter: it may be the last reference by the end.
            let generation = self.generation()?;
            let entered = Entered { vm, generation: &generation };
            let run = || panic::catch(vm, || body(entered));
            context::enter(Arc::clone(&generation), vm, run)
                .map_err(|error| Error::Python(context_free(&generation, &error, vm)))
        })
    }

    /// Runs `source` in the space's `__main__`.
    ///
    /// # Errors
    /// As [`Space::enter`].
    pub fn exec(&self, source: &str) -> Result<(), Error> {
        self.enter(|entered| entered.exec(source))
    }

    /// Imports `name` as `importlib.import_module` does, for its effect.
    ///
    /// # Errors
    /// As [`Space::enter`].
    pub fn import(&self, name: &str) -> Result<(), Error> {
        self.enter(|entered| {
            entered.import(name)?;
            entered.generation.note(Asked::Import(name.to_owned()));
            Ok(())
        })
    }

    /// `repr()` of an expression's value.
    ///
    /// # Errors
    /// As [`Space::enter`].
    pub fn eval_repr(&self, expression: &str) -> Result<String, Error> {
        self.enter(|entered| {
            let value = entered.eval(expression)?;
            Ok(value.repr(entered.vm())?.to_string_lossy().into_owned())
        })
    }
}

/// The exception as data, formatted on behalf of the space it came from.
fn context_free(generation: &Arc<Generation>, error: &PyBaseExceptionRef, vm: &VirtualMachine) -> PythonError {
    use crate::import::owner::{self, Owner};
    owner::enter(Owner::Space(Arc::clone(generation)), || to_python_error(error, vm))
}

/// How many causes of an exception are told: an exception can be its own.
const CAUSES: usize = 16;

/// The exception as data.
pub(crate) fn to_python_error(error: &PyBaseExceptionRef, vm: &VirtualMachine) -> PythonError {
    described(error, CAUSES, vm)
}

fn described(error: &PyBaseExceptionRef, deeper: usize, vm: &VirtualMachine) -> PythonError {
    let class = error.class();
    let module = class.as_object().get_attr("__module__", vm).ok();
    let module =
        module.and_then(|module: PyObjectRef| module.str(vm).ok()).map(|module| module.to_string_lossy().into_owned());
    let class = match module {
        Some(module) if module != "builtins" => format!("{module}.{}", class.name()),
        _ => class.name().to_string(),
    };
    let message = error
        .as_object()
        .str(vm)
        .map_or_else(|_| "<exception str() failed>".to_owned(), |message| message.to_string_lossy().into_owned());
    let mut traceback = String::new();
    if vm.write_exception(&mut traceback, error).is_err() {
        traceback.clear();
    }
    let cause = error.__cause__().filter(|_| deeper > 0);
    let cause = cause.map(|cause| Box::new(described(&cause, deeper - 1, vm)));
    PythonError { class, message, traceback, cause }
}
