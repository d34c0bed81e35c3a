class _ModuleLockManager:
    """Holds a module's lock for the length of a `with` block."""

    def __init__(self, name):
        self._name = name
        self._lock = None

    def __enter__(self):
        self._lock = _acquire_module_lock(self._name)

    def __exit__(self, *args, **kwargs):
        _release_module_lock(self._lock)
