"""click.progressbar(iterable) asks for a length hint and names -1 as the answer for "unknown"."""

import operator

assert operator.length_hint([1, 2, 3], -1) == 3
assert operator.length_hint(object(), -1) == -1
