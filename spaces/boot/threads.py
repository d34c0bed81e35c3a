"""Threads of a space, found among all threads of the process.

Runs as platform code. `loaded(name)` gives one of the interpreter's own modules; `own` is the space's own copy of
`threading`, or None; `held(object)` says whether an object is the space's, or leads to one.
"""


def _known(own):
    """The Thread objects by identifier, of the shared `threading` and of a space's own."""
    threads = {}
    for threading in (loaded("threading"), own):
        if threading is not None:
            threads.update(getattr(threading, "_active", {}))
    return threads


def end_thread_pools(_idents, own):
    """Runs what the space gave to `threading._register_atexit`, the last first, as `threading._shutdown` does."""
    for threading in (loaded("threading"), own):
        registered = getattr(threading, "_threading_atexits", None)
        for entry in reversed(list(registered or ())):
            if threading is own or held(entry):
                registered.remove(entry)
                names = getattr(_registered(entry), "__globals__", {})
                if "_threads_queues" in names and "_global_shutdown_lock" in names:
                    _tell_workers(names)
                else:
                    entry()


def _registered(entry):
    """What was given to `_register_atexit`, which keeps a lambda over it."""
    for name, cell in zip(entry.__code__.co_freevars, entry.__closure__ or ()):
        if name == "func":
            return cell.cell_contents
    return entry


def _tell_workers(names):
    """`concurrent.futures.thread._python_exit` without the joins: threads are waited for later, for a limited time."""
    with names["_global_shutdown_lock"]:
        names["_shutdown"] = True
    for _thread, queue in list(names["_threads_queues"].items()):
        queue.put(None)


def describe(stacks, own):
    """Rows of identifier, name and formatted stack, for identifiers and their stacks: file, line and function's name, the
    outermost first."""
    import traceback

    known = _known(own)
    rows = []
    for ident, stack in stacks:
        text = "".join(traceback.format_list([traceback.FrameSummary(*frame) for frame in stack]))
        rows.append((ident, known[ident].name if ident in known else str(ident), text))
    return rows
