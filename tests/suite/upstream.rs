//! What RustPython does today and this crate works around. A test that fails here says that a workaround can go.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::harness::root;

/// The plain interpreter of the same build, which `cargo test` builds as an example.
fn plain() -> Command {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_modspace"));
    let mut command = Command::new(program.with_file_name("examples").join("plain"));
    command.current_dir(root()).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn prints(program: &str) -> String {
    let output = plain().args(["-c", program]).output().expect("the plain interpreter starts");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// `vm::code::frozen` gives frozen code the path of its source.
#[test]
fn frozen_code_names_its_module_instead_of_a_file() {
    assert_eq!(prints("import json; print(json.dumps.__code__.co_filename)"), "json\n");
}

/// `sysview::execution` supplies the builtins of the running space.
#[test]
fn exec_supplies_the_interpreters_builtins_instead_of_the_frames() {
    let program = "\
names = {'__builtins__': {'exec': exec, 'print': print, 'mark': 1}}
exec(\"inner = {}\\nexec('x = 1', inner)\\nprint('mark' in inner['__builtins__'])\", names)";
    assert_eq!(prints(program), "False\n");
}

/// `sysview::natives` makes them one.
#[test]
fn the_hooks_of_sys_are_not_their_defaults() {
    let program = "import sys; print(*[getattr(sys, name) is getattr(sys, f'__{name}__') for name in ('breakpointhook', 'excepthook', 'unraisablehook')])";
    assert_eq!(prints(program), "False False False\n");
}

/// `sysview::natives::display_hook` keeps `_` out of the interpreter's builtins.
#[test]
fn the_display_hook_binds_in_the_interpreters_builtins() {
    assert_eq!(prints("import sys, builtins; sys.displayhook(5); print(builtins._)"), "5\n5\n");
}

/// How often a program gets the chance to hang that hangs nearly always.
const ATTEMPTS: usize = 20;

/// `sysview::natives::guard_caches` keeps the native `lru_cache` out of what spaces share.
#[test]
fn the_native_lru_cache_deadlocks_with_a_collection() {
    let hangs = (0..ATTEMPTS).any(|_| {
        let mut command = plain();
        command.arg("tests/real/upstream/lru_cache_lock.py").stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the plain interpreter starts");
        let give_up = Instant::now() + Duration::from_secs(10);
        let ended = loop {
            match child.try_wait().expect("the child can be asked") {
                Some(_) => break true,
                None if Instant::now() > give_up => break false,
                None => std::thread::sleep(Duration::from_millis(50)),
            }
        };
        child.kill().ok();
        child.wait().expect("the child ends");
        !ended
    });
    assert!(hangs, "lru_cache does not hang any more: natives::guard_caches can go");
}

/// `vm::edges` reads these references, because the collector is not told of them.
#[test]
fn the_collector_is_not_told_of_these_references() {
    let program = "\
import gc, operator, types, weakref, contextvars
class A:
    __slots__ = ('x', '__weakref__')
    def f(self): pass
a = A()
def callback(ref): pass
context = contextvars.Context()
variable = contextvars.ContextVar('variable')
context.run(variable.set, A)
for name, holder, held in [
    ('function', A.f, A.f.__builtins__),
    ('member', A.x, A),
    ('alias', list[A], A),
    ('itemgetter', operator.itemgetter(A), A),
    ('methodcaller', operator.methodcaller('f', A), A),
    ('weakref', weakref.ref(a, callback), callback),
    ('method', {'a': A}.get, None),
    ('keys', {'a': A}.keys(), None),
    ('frozenset', frozenset([A]), A),
    ('wrapper', a.__repr__, a),
    ('context', context, A),
]:
    seen = gc.get_referents(holder)
    if (held is None and seen) or any(other is held for other in seen):
        print(name)";
    assert_eq!(prints(program), "", "the collector sees these now; take them out of spaces/policies/types.toml");
}

/// `vm::heap::compact` makes dicts as small as what is in them.
#[test]
fn a_dict_grows_with_each_key_that_comes_again() {
    let program = "\
d = {}
for _ in range(1000):
    d[1] = 1
    del d[1]
print(d.__sizeof__() > 10_000)";
    assert_eq!(prints(program), "True\n");
}

/// `vm::heap::collect_old_garbage` collects what is not young.
#[test]
fn only_young_garbage_is_collected() {
    let program = "\
import gc
kept = []
for _ in range(200_000):
    cycle = []
    cycle.append(cycle)
    kept.append(cycle)
    if len(kept) > 3000:
        kept.clear()
print([generation['collections'] > 0 for generation in gc.get_stats()])";
    assert_eq!(prints(program), "[True, False, False]\n");
}

/// `vm::freelists` gives back what the dead dicts of a thread own.
#[test]
fn a_thread_that_ends_loses_memory() {
    let program = "\
import _thread, os
def resident():
    return int(open('/proc/self/statm').read().split()[1]) * os.sysconf('SC_PAGE_SIZE')
def run(count):
    for _ in range(count):
        done = _thread.allocate_lock()
        done.acquire()
        def work():
            [{} for _ in range(200)]
            done.release()
        _thread.start_new_thread(work, ())
        done.acquire()
    return resident()
before = run(500)
print((run(3000) - before) / 2**20 > 7)";
    assert_eq!(prints(program), "True\n");
}

/// `vm::heap::prune_subclasses` takes out what a class leaves in its base's list.
#[test]
fn a_class_stays_in_its_bases_list_when_it_goes() {
    let program = "\
import gc, weakref
class Base: pass
before = len(gc.get_referents(Base))
for _ in range(5):
    type('Derived', (Base,), {})
gc.collect()
print(len(gc.get_referents(Base)) - before)";
    assert_eq!(prints(program), "5\n");
}

/// `vm::heap::Stopped::hide_frame_objects` lets the frames be copied.
#[test]
fn the_frame_of_a_functions_first_call_cannot_be_read_by_another_thread() {
    let program = "\
import sys, threading
end, ready = [], threading.Event()
def first():
    mark = 1
    ready.set()
    while not end: pass
thread = threading.Thread(target=lambda: first())
thread.start()
ready.wait()
frame = sys._current_frames()[thread.ident]
while frame.f_code.co_name != 'first': frame = sys._current_frames()[thread.ident]
try: print(list(frame.f_locals))
except RuntimeError as error: print(error)
end.append(1)";
    assert_eq!(prints(program), "cannot access frame locals while the frame is executing in another thread\n");
}

/// `sysview::natives::warn` takes the class of a warning that exists.
#[test]
fn the_category_beside_a_warning_is_looked_at() {
    let program = "\
import warnings
try: warnings.warn(UserWarning('it'), object())
except TypeError as error: print(error)";
    assert_eq!(prints(program), "category must be a Warning subclass, not 'object'\n");
}
