def __init__(self, name):
    self._name = name
    self._lock = None


def __enter__(self):
    self._lock = _acquire_module_lock(self._name)


def __exit__(self, *args, **kwargs):
    _release_module_lock(self._lock)


# In place: a second class would leave the first behind, with functions that only a collection finds.
for method in (__init__, __enter__, __exit__):
    setattr(_ModuleLockManager, method.__name__, method)
del __init__, __enter__, __exit__, method
