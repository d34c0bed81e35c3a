"""Takes what platform modules remember of spaces that end.

Runs as platform code over the interpreter's own `modules`; `loaded(name)` gives one of them, or None while it is not
loaded whole. `held(object)` says whether an object is one of these spaces', or leads to one; `own_variables()` are the
ContextVars that stand in modules of theirs and nowhere else, `platform_variables()` those that stand in platform modules;
`new_context()` gives the thread an empty base context, unless it is inside one that somebody runs.
"""


def _dicts():
    """Registries: name to object, or class to function."""
    for name, attributes in (
        ("copyreg", ("dispatch_table", "_extension_cache")),
        ("copy", ("_deepcopy_dispatch",)),
        ("_asyncio", ("_current_tasks",)),
    ):
        module = loaded(name)
        for attribute in attributes:
            registry = getattr(module, attribute, None)
            if registry:
                yield registry


def purge_registries():
    for registry in _dicts():
        for key, value in list(registry.items()):
            if held((key, value)):
                registry.pop(key, None)
    typing = loaded("typing")
    if typing is not None:
        for names in list(typing._overload_registry.values()):
            for name, overloads in list(names.items()):
                for line, function in list(overloads.items()):
                    if held(function):
                        del overloads[line]
                if not overloads:
                    names.pop(name, None)
    linecache = loaded("linecache")
    if linecache is not None:
        for file, entry in list(linecache.cache.items()):
            if len(entry) == 1 and held(entry):
                linecache.cache.pop(file, None)
    for name, attribute in (("threading", "_threading_atexits"), ("gc", "callbacks"), ("gc", "garbage")):
        entries = getattr(loaded(name), attribute, None)
        if entries:
            entries[:] = [entry for entry in entries if not held(entry)]
    encodings = loaded("encodings")
    if encodings is not None:
        for name, codec in list(encodings._cache.items()):
            if codec is not None and held(tuple(codec)):
                encodings._cache.pop(name, None)
                forget_codec(name)
    reprlib = loaded("reprlib")
    if reprlib is not None:
        for name, value in list(vars(reprlib.aRepr).items()):
            if held(value):
                delattr(reprlib.aRepr, name)


def purge_hooks(is_main_thread):
    import sys

    threading = loaded("threading")
    if threading is not None:
        for name in ("_trace_hook", "_profile_hook"):
            if held(getattr(threading, name, None)):
                setattr(threading, name, None)
    if held(sys.gettrace()):
        sys.settrace(None)
    if held(sys.getprofile()):
        sys.setprofile(None)
    hooks = sys.get_asyncgen_hooks()
    if held(tuple(hooks)):
        sys.set_asyncgen_hooks(None, None)
    signal = loaded("_signal")
    # On another thread, asking for a handler would take the signals away from the main thread.
    if signal is not None and is_main_thread:
        for number in range(1, signal.NSIG):
            try:
                handler = signal.getsignal(number)
                if callable(handler) and held(handler):
                    default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
                    signal.signal(number, default)
            except (OSError, ValueError):
                pass


def purge_caches():
    """Caches, where forgetting costs only time: for everybody."""
    typing = loaded("typing")
    if typing is not None:
        for clear in typing._cleanups:
            clear()
    re = loaded("re")
    if re is not None:
        re.purge()
    for name, function in (
        ("fnmatch", "_compile_pattern"),
        ("glob", "_compile_pattern"),
        ("fractions", "_hash_algorithm"),
        ("inspect", "_shadowed_dict_from_weakref_mro_tuple"),
    ):
        cached = getattr(loaded(name), function, None)
        if cached is not None:
            cached.cache_clear()
    ipaddress = loaded("ipaddress")
    if ipaddress is not None:
        for owner, name in (("IPv4Address", "is_private"), ("IPv4Address", "is_global"),
                            ("IPv6Address", "is_private"), ("IPv4Network", "is_global")):
            cached = getattr(getattr(ipaddress, owner).__dict__.get(name), "fget", None)
            if hasattr(cached, "cache_clear"):
                cached.cache_clear()
    # Flags made of a number of another class remember that number.
    for module in list(modules.values()):
        for value in list(getattr(module, "__dict__", {}).values()):
            members = type.__dict__["__dict__"].__get__(value).get("_value2member_map_") if isinstance(value, type) else None
            if members:
                for key, member in list(members.items()):
                    if any(type(number) is not int and held(type(number)) for number in (key, member._value_)):
                        members.pop(key, None)


def purge_classes():
    """Attributes that the spaces set on native and platform classes."""
    for owner, name, original in patched_classes():
        if original:
            setattr(owner, name, original[0])
        else:
            delattr(owner, name)


def forget_dead_classes(tables):
    """Abstract classes remember which classes were asked about, by weak references that RustPython leaves there when a
    class is gone, and looks through at each question. (Upstream should remove them, as CPython does.)"""
    metaclass = modules["abc"].ABCMeta
    for module in [module for table in [modules, *tables] for module in list(table.values())]:
        for value in list(getattr(module, "__dict__", {}).values()):
            if isinstance(value, metaclass):
                modules["_abc"]._reset_caches(value)


def rebuild_busy_sets():
    """Like dicts, RustPython's sets keep room for each of what came and went at one place; see `heap::compact`."""
    threading = loaded("threading")
    if threading is None:
        return
    threads = threading._dangling
    # Who adds a thread meanwhile adds it to the new set.
    old, threads.data = threads.data, set()
    threads.data.update(reference for reference in old.copy() if reference() is not None)


def refresh_native_caches():
    """Native code keeps, per thread, the modules that it imported last: let these be the interpreter's."""
    import sys

    asyncio = loaded("_asyncio")
    if asyncio is not None:
        loop = type(sys.implementation)(get_debug=bool)
        asyncio.Future(loop=loop).add_done_callback(id)
        asyncio.current_task(loop)
    json = loaded("_json")
    if json is not None:
        json.make_encoder(None, None, json.encode_basestring_ascii, None, ":", ",", False, False, True)


def is_among(objects, one):
    return any(one is other for other in objects)


def purge_context():
    """The running thread's context: variables of the spaces, and what platform modules' variables hold of them."""
    contextvars = loaded("_contextvars")
    if contextvars is None:
        return
    items = list(contextvars.copy_context().items())
    own, platform = own_variables(), platform_variables()
    gone = [variable for variable, value in items if is_among(own, variable) or is_among(platform, variable) and held(value)]
    if gone:
        if new_context():
            for variable, value in items:
                if not is_among(gone, variable):
                    variable.set(value)
        else:
            for variable in gone:
                variable.set(None)
    for variable in gone + own:
        # The variable itself remembers the value that was set last, in any context.
        contextvars.Context().run(variable.set, None)


def purge(is_main_thread):
    purge_registries()
    purge_hooks(is_main_thread)
    purge_caches()
    purge_classes()
    purge_context()
    refresh_native_caches()
