"""weakref.finalize with a registry of the space's own.

`weakref` is loaded once, and its `finalize` keeps one registry, which one exit function empties: ending one space would
run the finalizers of all. The attributes below hide those of `plain`, the shared class.
"""

import atexit
import itertools


class finalize(plain):
    __slots__ = ()
    _registry = {}
    _shutdown = False
    _index_iter = itertools.count()
    _registered_with_atexit = True
    _own_registered = False

    def __init__(self, obj, func, /, *args, **kwargs):
        if not finalize._own_registered:
            finalize._own_registered = True
            atexit.register(finalize._exitfunc)
        super().__init__(obj, func, *args, **kwargs)

    @classmethod
    def _exitfunc(cls):
        super()._exitfunc()
        plain._shutdown = False
        finalize._shutdown = True


finalize.__doc__ = plain.__doc__
finalize.__qualname__ = plain.__qualname__
finalize.__module__ = plain.__module__
