"""Uses a good part of the standard library a little, in ways that collectors find hard."""

import logging, json, unittest, asyncio, concurrent.futures, random, threading, decimal, re, weakref, enum, dataclasses, typing, operator
import contextvars, queue
class Slotted:
    __slots__ = ("a", "b")
    def get(self): return self.a
@dataclasses.dataclass(slots=True)
class Point:
    x: int
    y: "Slotted" = None
class Colour(enum.Enum):
    RED = 1
T = typing.TypeVar("T")
class Box(typing.Generic[T]):
    def __init__(self, v): self.v = v
class New[U]:
    def f[V](self, x: V) -> U: return x
type Alias = list[Slotted]
things = list[Slotted], typing.List[Slotted], Slotted | None, typing.Callable[[Slotted], Slotted]
box = Box[int](3)
live = weakref.WeakValueDictionary()
p = Point(1)
s = Slotted(); s.a = p; s.b = s
class Node: pass
n = Node(); n.me = n; live["n"] = n
getter = operator.itemgetter(Slotted); caller = operator.methodcaller("get", Slotted)
q = queue.Queue(); q.put(Slotted)
var = contextvars.ContextVar("var"); var.set(s)
ctx = contextvars.copy_context()
with concurrent.futures.ThreadPoolExecutor(2) as pool:
    assert list(pool.map(lambda x: x*x, range(4))) == [0,1,4,9]
async def main():
    await asyncio.gather(*[asyncio.sleep(0) for _ in range(3)])
    return 1
assert asyncio.run(main()) == 1
log = logging.getLogger("soak"); log.addHandler(logging.NullHandler()); log.warning("x")
class Case(unittest.TestCase):
    def test(self): self.assertEqual(json.loads(json.dumps({"a": [1]})), {"a": [1]})
r = unittest.TestResult(); Case("test").run(r); assert r.wasSuccessful(), r
assert decimal.Decimal("1.1") + 1 == decimal.Decimal("2.1")
assert re.sub("a+", "b", "caat") == "cbt"
random.seed(1); random.random()
t = threading.Thread(target=lambda: None); t.start(); t.join()
local = threading.local(); local.x = Slotted
keys = {1: Slotted}.keys(); view = vars(Slotted)
wrapper = object.__repr__.__get__(s)
def gen():
    yield Slotted
g = gen(); next(g)
try:
    1/0
except ZeroDivisionError as e:
    err = e
