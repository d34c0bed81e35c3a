"""Native types cannot be assigned to. zope.interface relies on it: what it cannot write on a class, it keeps in a table of
its own. RustPython lets it write on these types, which all spaces share, and a second zope.interface in the process
finds the first one's declarations there."""

import sys
import types

frame_locals = type((lambda: sys._getframe().f_locals)())
for native in (types.MappingProxyType, types.NoneType, types.CellType, types.TracebackType, frame_locals):
    try:
        native.assigned = 1
    except TypeError as error:
        assert "immutable type" in str(error), error
    else:
        raise AssertionError(f"{native} was assigned to")
