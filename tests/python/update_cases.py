r"""Updates of modules, as a table: what the sources were, what they are, and what then has to hold.

`holder` runs before the update and keeps things; `check` runs after it in the same namespace. What holds for all cases:

- Functions, methods, classes and descriptors of a name keep their identity and take the new code.
- What the new source does not define any more goes; who still holds it goes on with the old code over the module's
  globals as they are now.
- Values are what the new source makes them. Instances made before keep their attributes and see the new class.
- What `from m import name` bound in other modules is bound anew.
- What runs already finishes in the code that it began with; so do functions that a call returned before.
- Attributes that others have set on a module or on a class stay.
- An update that fails changes nothing.
"""

import typing


class Case(typing.NamedTuple):
    name: str
    old: dict[str, str]  # module to source; a package's own code is "pkg.__init__"
    new: dict[str, str]  # the modules that change, or that are new; those that others import come first
    holder: str
    check: str
    error: str = ""  # the exception that the update raises; then `check` finds everything as it was
    replaced: tuple[str, ...] = ()  # what can only be replaced; `check` also holds if it was updated after all


CASES: list[Case] = []


def dedent(text):
    """The text without the indentation of its first line, and without the blank lines around it."""
    lines = text.strip("\n").rstrip().split("\n")
    width = len(lines[0]) - len(lines[0].lstrip())
    assert all(not line[:width].strip() for line in lines), text
    return "".join(line[width:] + "\n" for line in lines)


def case(name, old, new, holder, check, error="", replaced=()):
    """Adds a case. A text instead of a dictionary is the source of `m`."""
    old, new = ({"m": text} if isinstance(text, str) else text for text in (old, new))
    CASES.append(Case(name, {module: dedent(text) for module, text in old.items()},
                      {module: dedent(text) for module, text in new.items()},
                      dedent(holder), dedent(check), error, replaced))


# Functions

case("function_body", r"""
    def f():
        return 1
""", r"""
    def f():
        return 2
""", r"""
    import m
    f = m.f
""", r"""
    assert f is m.f
    assert f() == 2, f()
""")

case("function_defaults", r"""
    def f(a, b=1, *, c=2):
        return a, b, c
""", r"""
    def f(a, b=10, d=11, *, c=20, e=21):
        return a, b, d, c, e
""", r"""
    import m
    f = m.f
""", r"""
    assert f is m.f
    assert f(0) == (0, 10, 11, 20, 21), f(0)
    assert f.__defaults__ == (10, 11) and f.__kwdefaults__ == {"c": 20, "e": 21}
""")

case("function_loses_defaults", r"""
    def f(a=1, *, b=2):
        return a, b
""", r"""
    def f(a, *, b):
        return a, b
""", r"""
    import m
    f = m.f
""", r"""
    assert f(3, b=4) == (3, 4)
    try:
        f()
    except TypeError:
        pass
    else:
        raise AssertionError("the defaults are still there")
""")

case("default_is_a_function", r"""
    def key(x):
        return x

    def order(items, key=key):
        return sorted(items, key=key)
""", r"""
    def key(x):
        return -x

    def order(items, key=key):
        return sorted(items, key=key)
""", r"""
    import m
    key, order = m.key, m.order
""", r"""
    assert order([1, 3, 2]) == [3, 2, 1]
    assert order.__defaults__[0] is key is m.key
""")

case("default_is_a_class", r"""
    class Node:
        kind = "old"

    def make(cls=Node, /):
        return cls()
""", r"""
    class Node:
        kind = "new"

    def make(cls=Node, /):
        return cls()
""", r"""
    import m
    make, node = m.make, m.make()
""", r"""
    assert type(make()) is m.Node is type(node)
    assert make().kind == node.kind == "new"
""")

case("default_is_a_sentinel", r"""
    MISSING = object()

    def get(value=MISSING):
        return "none" if value is MISSING else value
""", r"""
    MISSING = object()

    def get(value=MISSING):
        return "missing" if value is MISSING else value
""", r"""
    import m
    get = m.get
""", r"""
    assert get() == "missing", get()
    assert get(m.MISSING) == "missing"
    assert get.__defaults__[0] is m.MISSING
""")

case("function_signature", r"""
    def f(a: int, b: int) -> int:
        "Adds."
        return a + b
""", r"""
    def f(text: str, /, *parts: str, **more) -> str:
        "Joins."
        return text.join(parts)
""", r"""
    import m, inspect
    f = m.f
""", r"""
    assert f("-", "a", "b") == "a-b"
    assert list(inspect.signature(f).parameters) == ["text", "parts", "more"]
    assert f.__annotations__ == {"text": str, "parts": str, "return": str}, f.__annotations__
    assert f.__doc__ == "Joins.", f.__doc__
""")

case("function_attributes", r"""
    def f():
        return f.limit

    f.limit = 1
""", r"""
    def f():
        return f.limit, f.name

    f.limit = 10
    f.name = "ten"
""", r"""
    import m
    f = m.f
""", r"""
    assert f is m.f
    assert f() == (10, "ten"), f()
""")

case("function_attribute_goes", r"""
    def f():
        return 1

    f.hidden = True
""", r"""
    def f():
        return 2
""", r"""
    import m
    f = m.f
""", r"""
    assert f() == 2
    assert not hasattr(f, "hidden")
""")

case("function_goes", r"""
    LIMIT = 1

    def f():
        return "old", LIMIT

    def g():
        return f()
""", r"""
    LIMIT = 2

    def g():
        return "new"
""", r"""
    import m
    f, g = m.f, m.g
""", r"""
    assert not hasattr(m, "f")
    assert g is m.g and g() == "new"
    assert f() == ("old", 2), "old code over the globals as they are now"
""")

case("function_comes", r"""
    def f():
        return 1
""", r"""
    def helper(x):
        return x * 2

    def f():
        return helper(21)
""", r"""
    import m
    f = m.f
""", r"""
    assert f() == 42
    assert m.helper(2) == 4
""")

case("function_renamed", r"""
    def before():
        return "before"
""", r"""
    def after():
        return "after"
""", r"""
    import m
    before = m.before
""", r"""
    assert not hasattr(m, "before")
    assert m.after() == "after" and m.after.__name__ == "after"
    assert before() == "before"
""")

case("functions_swap_bodies", r"""
    def f():
        return "f"

    def g():
        return "g"
""", r"""
    def g():
        return "f"

    def f():
        return "g"
""", r"""
    import m
    f, g = m.f, m.g
""", r"""
    assert (f(), g()) == ("g", "f")
    assert f is m.f and g is m.g
""")

case("functions_swap_names", {"m": r"""
    def f():
        return "f"

    def g():
        return "g"
""", "other": r"""
    from m import f, g
"""}, r"""
    def f():
        return "new f"

    def g():
        return "new g"

    f, g = g, f
""", r"""
    import m, other
""", r"""
    assert (m.f(), m.g()) == ("new g", "new f")
    assert (other.f(), other.g()) == ("new g", "new f")
""")

case("recursion", r"""
    def total(n):
        return 0 if n == 0 else n + total(n - 1)
""", r"""
    def total(n):
        return 1 if n == 0 else n * total(n - 1)
""", r"""
    import m
    total = m.total
""", r"""
    assert total(5) == 120, total(5)
""")

case("mutual_recursion", r"""
    def even(n):
        return True if n == 0 else odd(n - 1)

    def odd(n):
        return False if n == 0 else even(n - 1)
""", r"""
    def even(n):
        return "even" if n == 0 else odd(n - 1)

    def odd(n):
        return "odd" if n == 0 else even(n - 1)
""", r"""
    import m
    even, odd = m.even, m.odd
""", r"""
    assert (even(4), odd(4)) == ("even", "odd")
    assert even is m.even and odd is m.odd
""")

case("constants_of_functions", r"""
    LIMIT = 10

    def limit():
        return LIMIT
""", r"""
    LIMIT = 20

    def limit():
        return LIMIT
""", r"""
    import m
    limit = m.limit
""", r"""
    assert limit() == 20 and limit is m.limit
""")

case("line_numbers", r"""
    def f():
        raise ValueError
""", r"""
    # One.
    # Two.

    def f():
        raise ValueError
""", r"""
    import m
    f = m.f
""", r"""
    assert f.__code__.co_firstlineno == 4, f.__code__.co_firstlineno
    try:
        f()
    except ValueError as error:
        assert error.__traceback__.tb_next.tb_lineno == 5
    else:
        raise AssertionError("nothing raised")
""")

case("conditional_definition", r"""
    FAST = False

    if FAST:
        def f():
            return "fast"
    else:
        def f():
            return "slow"
""", r"""
    FAST = True

    if FAST:
        def f():
            return "fast"
    else:
        def f():
            return "slow"
""", r"""
    import m
    f = m.f
""", r"""
    assert f is m.f and f() == "fast"
""")

case("lambda_with_a_name", r"""
    double = lambda x: x * 2
""", r"""
    double = lambda x, times=20: x * times
""", r"""
    import m
    double = m.double
""", r"""
    assert double is m.double and double(1) == 20
""")

case("lambdas_in_containers", {"m": r"""
    TABLE = {"inc": lambda x: x + 1}
    STEPS = [lambda x, n=n: x * n for n in (1, 2, 3)]

    def run(name, x):
        return TABLE[name](x)
""", "other": r"""
    from m import TABLE, run
"""}, r"""
    TABLE = {"inc": lambda x: x + 10, "dec": lambda x: x - 10}
    STEPS = [lambda x, n=n: x * n for n in (10, 20, 30)]

    def run(name, x):
        return TABLE[name](x)
""", r"""
    import m, other
    run = m.run
""", r"""
    assert (run("inc", 1), run("dec", 1)) == (11, -9)
    assert m.STEPS[2](1) == 30
    assert other.TABLE is m.TABLE and other.TABLE["inc"](1) == 11
""")

case("functions_in_containers", r"""
    def up(x):
        return x + 1

    HOOKS = (up,)
    NAMES = {up: "up"}
""", r"""
    def up(x):
        return x + 2

    def down(x):
        return x - 2

    HOOKS = (up, down)
    NAMES = {up: "UP", down: "DOWN"}
""", r"""
    import m
    up = m.up
""", r"""
    assert m.HOOKS[0] is up is m.up and m.HOOKS[1] is m.down
    assert m.NAMES[up] == "UP" and m.NAMES[m.down] == "DOWN" and len(m.NAMES) == 2
    assert [hook(0) for hook in m.HOOKS] == [2, -2]
""")

case("callbacks_elsewhere", r"""
    def on_start():
        return "old start"

    def on_stop():
        return "old stop"
""", r"""
    def on_start():
        return "new start"

    def on_stop():
        return "new stop"
""", r"""
    import m
    callbacks = [m.on_start, m.on_stop]
    names = {m.on_start: "start"}
""", r"""
    assert [callback() for callback in callbacks] == ["new start", "new stop"]
    assert names[m.on_start] == "start"
    callbacks.remove(m.on_start)
""")

case("partial_elsewhere", r"""
    def power(base, exponent):
        return base ** exponent
""", r"""
    def power(base, exponent):
        return "power", base, exponent
""", r"""
    import m, functools
    square = functools.partial(m.power, exponent=2)
""", r"""
    assert square.func is m.power
    assert square(3) == ("power", 3, 2)
""")

case("partial_in_the_module", r"""
    import functools

    def add(a, b):
        return a + b

    increment = functools.partial(add, 1)
""", r"""
    import functools

    def add(a, b):
        return a + b + 100

    increment = functools.partial(add, 2)
""", r"""
    import m
    add = m.add
""", r"""
    assert m.increment(0) == 102
    assert m.increment.func is add is m.add
""")

case("bound_method_in_the_module", r"""
    class Speaker:
        def say(self):
            return "old"

    say = Speaker().say
""", r"""
    class Speaker:
        def say(self):
            return "new"

    say = Speaker().say
""", r"""
    import m
    say = m.say
""", r"""
    assert m.say() == say() == "new"
    assert m.say.__func__ is say.__func__ is m.Speaker.say
    assert type(m.say.__self__) is m.Speaker
""")

# Functions that suspend

case("running_generator", r"""
    def numbers():
        yield 1
        yield 2
""", r"""
    def numbers():
        yield 10
        yield 20
        yield 30
""", r"""
    import m
    numbers = m.numbers
    running = numbers()
    first = next(running)
""", r"""
    assert (first, list(running)) == (1, [2]), "it finishes in the code that it began with"
    assert list(numbers()) == [10, 20, 30]
    assert numbers is m.numbers
""")

case("generator_becomes_function", r"""
    def items():
        yield 1
""", r"""
    def items():
        return [1, 2]
""", r"""
    import m
    items = m.items
    running = items()
""", r"""
    assert items() == [1, 2]
    assert list(running) == [1]
""")

case("function_becomes_generator", r"""
    def items():
        return [1]
""", r"""
    def items():
        yield 2
""", r"""
    import m, inspect
    items = m.items
""", r"""
    assert inspect.isgeneratorfunction(items)
    assert list(items()) == [2]
""")

case("function_becomes_coroutine", r"""
    def fetch():
        return 1
""", r"""
    async def fetch():
        return 2
""", r"""
    import m, inspect
    fetch = m.fetch

    def run(coroutine):
        try:
            coroutine.send(None)
        except StopIteration as stop:
            return stop.value
""", r"""
    assert inspect.iscoroutinefunction(fetch)
    assert run(fetch()) == 2
""")

case("coroutine_becomes_function", r"""
    async def fetch():
        return 1
""", r"""
    def fetch():
        return 2
""", r"""
    import m
    fetch = m.fetch
""", r"""
    assert fetch() == 2
""")

case("running_coroutine", r"""
    import types

    @types.coroutine
    def pause():
        yield "paused"

    async def work():
        await pause()
        return "old"
""", r"""
    import types

    @types.coroutine
    def pause():
        yield "waiting"

    async def work():
        await pause()
        return "new"
""", r"""
    import m
    work = m.work
    running = work()
    paused = running.send(None)

    def finish(coroutine):
        try:
            coroutine.send(None)
        except StopIteration as stop:
            return stop.value
""", r"""
    assert paused == "paused" and finish(running) == "old"
    again = work()
    assert again.send(None) == "waiting" and finish(again) == "new"
""")

case("async_generator", r"""
    async def numbers():
        yield 1
""", r"""
    async def numbers():
        yield 10
        yield 20
""", r"""
    import m
    numbers = m.numbers

    async def collect():
        return [number async for number in numbers()]

    def run(coroutine):
        try:
            coroutine.send(None)
        except StopIteration as stop:
            return stop.value
""", r"""
    assert run(collect()) == [10, 20]
    assert numbers is m.numbers
""")

case("entered_context", r"""
    import contextlib

    @contextlib.contextmanager
    def managed(log):
        log.append("enter")
        yield
        log.append("leave")
""", r"""
    import contextlib

    @contextlib.contextmanager
    def managed(log):
        log.append("new enter")
        yield
        log.append("new leave")
""", r"""
    import m
    log, managed = [], m.managed
    entered = managed(log)
    entered.__enter__()
""", r"""
    entered.__exit__(None, None, None)
    assert log == ["enter", "leave"], log
    with managed(log):
        pass
    assert log[2:] == ["new enter", "new leave"], log
""")

# Decorators and closures

case("decorated_function", r"""
    import functools

    def loud(function):
        @functools.wraps(function)
        def wrapper(*args):
            return function(*args) + "!"
        return wrapper

    @loud
    def greet(name):
        "Greets."
        return "hello " + name
""", r"""
    import functools

    def loud(function):
        @functools.wraps(function)
        def wrapper(*args):
            return function(*args) + "!"
        return wrapper

    @loud
    def greet(name):
        "Greets politely."
        return "good day " + name
""", r"""
    import m
    greet = m.greet
""", r"""
    assert greet is m.greet
    assert greet("you") == "good day you!", greet("you")
    assert greet.__doc__ == "Greets politely."
""")

case("decorator_changes", r"""
    def mark(function):
        def wrapper():
            return "<" + function() + ">"
        return wrapper

    @mark
    def f():
        return "f"
""", r"""
    def mark(function):
        def wrapper():
            return "[" + function() + "]"
        return wrapper

    @mark
    def f():
        return "f"
""", r"""
    import m
    f = m.f
""", r"""
    assert f is m.f and f() == "[f]", f()
""")

case("decorator_comes", r"""
    import functools

    def twice(function):
        @functools.wraps(function)
        def wrapper():
            return function() * 2
        return wrapper

    def f():
        return "a"
""", r"""
    import functools

    def twice(function):
        @functools.wraps(function)
        def wrapper():
            return function() * 2
        return wrapper

    @twice
    def f():
        return "b"
""", r"""
    import m
    f = m.f
""", r"""
    assert m.f() == "bb"
    assert f is m.f and f() == "bb", f()
    assert f.__wrapped__() == "b", "what is wrapped is another function than the wrapper"
""")

case("decorator_goes", r"""
    import functools

    def twice(function):
        @functools.wraps(function)
        def wrapper():
            return function() * 2
        return wrapper

    @twice
    def f():
        return "a"
""", r"""
    def f():
        return "b"
""", r"""
    import m
    f = m.f
""", r"""
    assert f is m.f and f() == "b", f()
    assert not hasattr(m, "twice")
""")

case("decorators_stacked", r"""
    def tag(name):
        def decorate(function):
            def wrapper():
                return [name, *function()]
            return wrapper
        return decorate

    @tag("a")
    @tag("b")
    def f():
        return ["f"]
""", r"""
    def tag(name):
        def decorate(function):
            def wrapper():
                return [name, *function()]
            return wrapper
        return decorate

    @tag("c")
    @tag("b")
    @tag("a")
    def f():
        return ["g"]
""", r"""
    import m
    f = m.f
""", r"""
    assert f is m.f and f() == ["c", "b", "a", "g"], f()
""")

case("decorated_method", r"""
    import functools

    def checked(function):
        @functools.wraps(function)
        def wrapper(self, x):
            return function(self, x)
        return wrapper

    class A:
        @checked
        def f(self, x):
            return x
""", r"""
    import functools

    def checked(function):
        @functools.wraps(function)
        def wrapper(self, x):
            if x < 0:
                raise ValueError(x)
            return function(self, x)
        return wrapper

    class A:
        @checked
        def f(self, x):
            return x * 2
""", r"""
    import m
    bound, function = m.A().f, m.A.f
""", r"""
    assert function is m.A.f and bound(1) == 2
    try:
        bound(-1)
    except ValueError:
        pass
    else:
        raise AssertionError("the old decorator")
""")

case("decorator_that_is_a_class", {"m": r"""
    class Counted:
        def __init__(self, function):
            self.function, self.calls = function, 0

        def __call__(self):
            self.calls += 1
            return self.function()

    @Counted
    def f():
        return "old"
""", "other": r"""
    from m import f
"""}, r"""
    class Counted:
        def __init__(self, function):
            self.function, self.calls = function, 100

        def __call__(self):
            self.calls += 1
            return self.function(), self.calls

    @Counted
    def f():
        return "new"
""", r"""
    import m, other
    m.f()
""", r"""
    assert other.f is m.f and type(m.f) is m.Counted
    assert other.f() == ("new", 101)
""")

case("closure_over_a_class", r"""
    class Point:
        pass

    def only(cls):
        def check(value):
            return isinstance(value, cls)
        return check

    is_point = only(Point)
""", r"""
    class Point:
        x = 0

    def only(cls):
        def check(value):
            return "yes" if isinstance(value, cls) else "no"
        return check

    is_point = only(Point)
""", r"""
    import m
    point, is_point = m.Point(), m.is_point
""", r"""
    assert is_point is m.is_point
    assert is_point(point) == is_point(m.Point()) == "yes"
    assert is_point.__closure__[0].cell_contents is m.Point
""")

case("closure_in_the_module", r"""
    def counter():
        count = 0
        def step():
            nonlocal count
            count += 1
            return count
        return step

    step = counter()
""", r"""
    def counter():
        count = 100
        by = 5
        def step():
            nonlocal count
            count += by
            return count
        return step

    step = counter()
""", r"""
    import m
    step = m.step
    step(), step()
""", r"""
    assert step is m.step
    assert (step(), step()) == (105, 110)
""")

case("function_factory", r"""
    def adder(n):
        def add(x):
            return x + n
        return add
""", r"""
    def adder(n):
        def add(x):
            return x + n + 1000
        return add
""", r"""
    import m
    adder = m.adder
    add_one = adder(1)
""", r"""
    assert adder is m.adder and adder(2)(0) == 1002
    assert add_one(0) == 1, "what a call returned before keeps its code"
""")

case("lru_cache", {"m": r"""
    import functools

    @functools.lru_cache
    def f(n):
        return n + 1
""", "other": r"""
    from m import f
"""}, r"""
    import functools

    @functools.lru_cache
    def f(n):
        return n + 100
""", r"""
    import m, other
    f = m.f
    f(1), f(1)
""", r"""
    assert m.f(1) == 101
    assert other.f(1) == 101
    assert f(1) == 101, "the cache of the old code"
    assert m.f.cache_info().currsize == 1
""")

case("lru_cache_of_a_method", r"""
    import functools

    class A:
        @functools.lru_cache(maxsize=10)
        def f(self, n):
            return n + 1
""", r"""
    import functools

    class A:
        @functools.lru_cache(maxsize=20)
        def f(self, n):
            return n + 100
""", r"""
    import m
    a = m.A()
    bound = a.f
    bound(1)
""", r"""
    assert a.f(1) == 101
    assert bound(1) == 101
    assert m.A.f.cache_info().maxsize == 20
""")

case("cached_property", r"""
    import functools

    class A:
        @functools.cached_property
        def x(self):
            return "old"
""", r"""
    import functools

    class A:
        @functools.cached_property
        def x(self):
            return "new"

        @functools.cached_property
        def y(self):
            return self.x + " y"
""", r"""
    import m
    cached, fresh = m.A(), m.A()
    cached.x
""", r"""
    assert cached.x == "old", "it is in the instance"
    assert fresh.x == "new" and fresh.y == "new y" and "x" in vars(fresh)
""")

case("partialmethod", r"""
    import functools

    class Cell:
        def set(self, state):
            self.state = state

        on = functools.partialmethod(set, True)
""", r"""
    import functools

    class Cell:
        def set(self, state, by="new"):
            self.state = state, by

        on = functools.partialmethod(set, "on")
        off = functools.partialmethod(set, "off", by="off")
""", r"""
    import m
    cell = m.Cell()
    cell.on()
""", r"""
    assert cell.state is True
    cell.on()
    assert cell.state == ("on", "new")
    cell.off()
    assert cell.state == ("off", "off")
""")

case("singledispatch", r"""
    import functools

    @functools.singledispatch
    def show(value):
        return "object"

    @show.register
    def _(value: int):
        return "int"
""", r"""
    import functools

    @functools.singledispatch
    def show(value):
        return "anything"

    @show.register
    def _(value: int):
        return "number"

    @show.register
    def _(value: str):
        return "text"
""", r"""
    import m
    show = m.show
    show(1), show("")
""", r"""
    assert [m.show(value) for value in (None, 1, "")] == ["anything", "number", "text"]
    assert [show(value) for value in (None, 1, "")] == ["anything", "number", "text"]
""")

case("singledispatch_on_a_class", r"""
    import functools

    class Circle:
        pass

    @functools.singledispatch
    def area(shape):
        raise TypeError(shape)

    @area.register
    def _(shape: Circle):
        return "old"
""", r"""
    import functools

    class Circle:
        pass

    @functools.singledispatch
    def area(shape):
        raise TypeError(shape)

    @area.register
    def _(shape: Circle):
        return "new"
""", r"""
    import m
    circle, area = m.Circle(), m.area
    area(circle)
""", r"""
    assert m.area(circle) == area(circle) == area(m.Circle()) == "new"
    assert list(m.area.registry) == [object, m.Circle]
""")

case("total_ordering", r"""
    import functools

    @functools.total_ordering
    class V:
        def __init__(self, n):
            self.n = n

        def __eq__(self, other):
            return self.n == other.n

        def __lt__(self, other):
            return self.n < other.n
""", r"""
    import functools

    @functools.total_ordering
    class V:
        def __init__(self, n):
            self.n = n

        def __eq__(self, other):
            return self.n == other.n

        def __gt__(self, other):
            return self.n < other.n
""", r"""
    import m
    one, two = m.V(1), m.V(2)
    before = one < two, one >= two
""", r"""
    assert before == (True, False)
    assert (one < two, one > two, one >= two, one <= two) == (False, True, True, False)
""")

# Classes

case("method_body", r"""
    class A:
        def f(self):
            return 1
""", r"""
    class A:
        def f(self):
            return 2
""", r"""
    import m
    a, A, function, bound = m.A(), m.A, m.A.f, m.A().f
""", r"""
    assert A is m.A and type(a) is A and isinstance(a, m.A)
    assert a.f() == bound() == function(a) == 2
    assert function is A.f and bound.__func__ is function
""")

case("methods_come_and_go", r"""
    class A:
        def stays(self):
            return "old"

        def goes(self):
            return "goes"
""", r"""
    class A:
        def stays(self):
            return "new"

        def comes(self):
            return "comes"
""", r"""
    import m
    a, goes = m.A(), m.A.goes
""", r"""
    assert (a.stays(), a.comes()) == ("new", "comes")
    assert not hasattr(a, "goes") and not hasattr(m.A, "goes")
    assert goes(a) == "goes"
""")

case("state_of_instances", r"""
    class Account:
        def __init__(self, balance):
            self.balance = balance

        def report(self):
            return self.balance
""", r"""
    class Account:
        currency = "EUR"

        def __init__(self, balance, owner):
            self.balance = balance
            self.owner = owner

        def report(self):
            return f"{self.balance} {self.currency}"
""", r"""
    import m
    account = m.Account(5)
""", r"""
    assert vars(account) == {"balance": 5}
    assert account.report() == "5 EUR"
    assert vars(m.Account(6, "me")) == {"balance": 6, "owner": "me"}
""")

case("class_attributes", r"""
    class A:
        changes = 1
        goes = 2
        items = []
""", r"""
    class A:
        changes = 10
        comes = 3
        items = []
""", r"""
    import m
    a, own = m.A(), m.A()
    a.items.append("left over")
    own.changes = "own"
""", r"""
    assert (a.changes, a.comes, a.items) == (10, 3, [])
    assert own.changes == "own"
    assert not hasattr(a, "goes")
""")

case("class_attribute_becomes_method", r"""
    class A:
        x = 1
""", r"""
    class A:
        def x(self):
            return 2
""", r"""
    import m
    a = m.A()
""", r"""
    assert a.x() == 2
""")

case("method_becomes_class_attribute", r"""
    class A:
        def x(self):
            return 1
""", r"""
    class A:
        x = 2
""", r"""
    import m
    a, x = m.A(), m.A.x
""", r"""
    assert a.x == 2
    assert x(a) == 1
""")

case("static_method_becomes_class_method", r"""
    class A:
        @staticmethod
        def make():
            return "static"
""", r"""
    class A:
        @classmethod
        def make(cls):
            return cls
""", r"""
    import m
    a = m.A()
""", r"""
    assert a.make() is m.A.make() is m.A
""")

case("static_method_becomes_method", r"""
    class A:
        @staticmethod
        def f():
            return "static"

        def g(self):
            return "method"
""", r"""
    class A:
        def f(self):
            return "method", self

        @staticmethod
        def g():
            return "static"
""", r"""
    import m
    a = m.A()
""", r"""
    assert a.f() == ("method", a)
    assert a.g() == m.A.g() == "static"
""")

case("class_method_held", r"""
    class A:
        @classmethod
        def make(cls):
            return cls.__name__, "old"

        @staticmethod
        def help():
            return "old"
""", r"""
    class A:
        @classmethod
        def make(cls):
            return cls.__name__, "new"

        @staticmethod
        def help():
            return "new"
""", r"""
    import m
    make, help_ = m.A.make, m.A.help
    descriptors = m.A.__dict__["make"], m.A.__dict__["help"]
""", r"""
    assert make() == ("A", "new") and help_() == "new"
    assert help_ is m.A.help and make.__self__ is m.A
    assert descriptors == (m.A.__dict__["make"], m.A.__dict__["help"]), "they keep their identity"
""")

case("property_getter", r"""
    class A:
        @property
        def x(self):
            "Old."
            return 1
""", r"""
    class A:
        @property
        def x(self):
            "New."
            return 2
""", r"""
    import m
    a, x = m.A(), m.A.x
""", r"""
    assert a.x == 2
    assert x is m.A.x and x.fget(a) == 2
    assert x.__doc__ == "New.", x.__doc__
""")

case("property_gains_setter", r"""
    class A:
        _x = 1

        @property
        def x(self):
            return self._x
""", r"""
    class A:
        _x = 1

        @property
        def x(self):
            return self._x

        @x.setter
        def x(self, value):
            self._x = value * 10

        @x.deleter
        def x(self):
            del self._x
""", r"""
    import m
    a, x = m.A(), m.A.x
""", r"""
    a.x = 2
    assert a.x == 20
    del a.x
    assert a.x == 1
    assert x is m.A.x and x.fset is not None
""")

case("property_loses_setter", r"""
    class A:
        @property
        def x(self):
            return self._x

        @x.setter
        def x(self, value):
            self._x = value
""", r"""
    class A:
        @property
        def x(self):
            return self._x
""", r"""
    import m
    a = m.A()
    a.x = 1
""", r"""
    assert a.x == 1
    try:
        a.x = 2
    except AttributeError:
        pass
    else:
        raise AssertionError("it can still be set")
""")

case("property_becomes_method", r"""
    class A:
        @property
        def x(self):
            return 1

        def y(self):
            return 1
""", r"""
    class A:
        def x(self):
            return 2

        @property
        def y(self):
            return 2
""", r"""
    import m
    a = m.A()
""", r"""
    assert a.x() == 2 and a.y == 2
""")

case("attribute_becomes_property", r"""
    class A:
        def __init__(self):
            self.x = 1
""", r"""
    class A:
        def __init__(self):
            self.x = 1

        @property
        def x(self):
            return self.__dict__["x"] * 100

        @x.setter
        def x(self, value):
            self.__dict__["x"] = value
""", r"""
    import m
    a = m.A()
""", r"""
    assert a.x == 100, a.x
    a.x = 5
    assert a.x == 500 and vars(a) == {"x": 5}
""")

case("nested_class", r"""
    class Outer:
        class Inner:
            class Core:
                value = 1

            def f(self):
                return "old"
""", r"""
    class Outer:
        class Inner:
            class Core:
                value = 2

            def f(self):
                return "new"

        class Second:
            pass
""", r"""
    import m
    Inner, Core = m.Outer.Inner, m.Outer.Inner.Core
    inner, core = Inner(), Core()
""", r"""
    assert Inner is m.Outer.Inner and Core is m.Outer.Inner.Core
    assert inner.f() == "new" and core.value == 2
    assert m.Outer.Second.__qualname__ == "Outer.Second"
""")

case("nested_class_goes", r"""
    class Outer:
        class Inner:
            def f(self):
                return "inner"
""", r"""
    class Outer:
        def f(self):
            return "outer"
""", r"""
    import m
    outer, inner = m.Outer(), m.Outer.Inner()
""", r"""
    assert not hasattr(m.Outer, "Inner")
    assert outer.f() == "outer" and inner.f() == "inner"
""")

case("class_goes", {"m": r"""
    NAME = "one"

    class A:
        def f(self):
            return NAME

    class B:
        pass
""", "other": r"""
    from m import A

    class C(A):
        pass
"""}, r"""
    NAME = "two"

    class B:
        def f(self):
            return "B"
""", r"""
    import m, other
    a, b, c = m.A(), m.B(), other.C()
""", r"""
    assert not hasattr(m, "A")
    assert a.f() == c.f() == "two"
    assert b.f() == "B"
""")

case("class_becomes_function", {"m": r"""
    class A:
        def f(self):
            return "class"
""", "other": r"""
    from m import A
"""}, r"""
    def A():
        return "function"
""", r"""
    import m, other
    a = m.A()
""", r"""
    assert m.A() == "function"
    assert other.A is m.A
    assert a.f() == "class"
""")

case("function_becomes_class", {"m": r"""
    def A():
        return "function"
""", "other": r"""
    from m import A
"""}, r"""
    class A:
        def f(self):
            return "class"
""", r"""
    import m, other
    function = m.A
""", r"""
    assert m.A().f() == "class"
    assert other.A is m.A
    assert function() == "function"
""")

case("function_becomes_value", {"m": r"""
    def limit():
        return 1

    COLOUR = "red"
""", "other": r"""
    from m import limit, COLOUR
"""}, r"""
    limit = 2

    def COLOUR():
        return "blue"
""", r"""
    import m, other
    limit = m.limit
""", r"""
    assert m.limit == other.limit == 2
    assert m.COLOUR() == other.COLOUR() == "blue"
    assert limit() == 1
""")

case("class_doc_and_annotations", r"""
    class A:
        "Old."
        x: int
""", r"""
    class A:
        "New."
        x: str
        y: int
""", r"""
    import m, typing
    A = m.A
""", r"""
    assert A is m.A and A.__doc__ == "New."
    assert typing.get_type_hints(A) == {"x": str, "y": int}
""")

case("annotations_name_classes", r"""
    class A:
        pass

    def f(a: A) -> int:
        return 1
""", r"""
    class A:
        pass

    def f(a: A, b: "A" = None) -> A:
        return a
""", r"""
    import m, typing
    A, f = m.A, m.f
""", r"""
    assert typing.get_type_hints(f) == {"a": A, "b": A, "return": A}
    assert f.__annotations__["a"] is m.A is A
""")

case("private_names", r"""
    class A:
        def __init__(self):
            self.__secret = 1

        def __hidden(self):
            return self.__secret

        def f(self):
            return self.__hidden()
""", r"""
    class A:
        def __init__(self):
            self.__secret = 1

        def __hidden(self, by=10):
            return self.__secret * by

        def f(self):
            return "new", self.__hidden()
""", r"""
    import m
    a = m.A()
""", r"""
    assert a.f() == ("new", 10)
""")

case("constructor", r"""
    class A:
        _instance = None

        def __new__(cls):
            if cls._instance is None:
                cls._instance = super().__new__(cls)
            return cls._instance
""", r"""
    class A:
        def __new__(cls, name="new"):
            self = super().__new__(cls)
            self.name = name
            return self
""", r"""
    import m
    a = m.A()
    same = a is m.A()
""", r"""
    assert same
    assert m.A() is not m.A() and m.A("x").name == "x"
    assert isinstance(a, m.A) and type(m.A()) is type(a)
    assert not hasattr(m.A, "_instance") or m.A._instance is a
""")

case("class_made_by_a_call", r"""
    A = type("A", (), {"f": lambda self: "old"})
""", r"""
    A = type("A", (), {"f": lambda self: "new", "g": lambda self: "g"})
""", r"""
    import m
    a, A = m.A(), m.A
""", r"""
    assert A is m.A and type(a) is A
    assert (a.f(), a.g()) == ("new", "g")
""")

case("class_with_slots", r"""
    class P:
        __slots__ = ("x", "y", "__weakref__")

        def __init__(self, x, y):
            self.x, self.y = x, y

        def sum(self):
            return self.x + self.y
""", r"""
    class P:
        __slots__ = ("x", "y", "__weakref__")

        def __init__(self, x, y=0):
            self.x, self.y = x, y

        def sum(self):
            return self.x + self.y + 100

        def swap(self):
            self.x, self.y = self.y, self.x
            return self
""", r"""
    import m
    p, x = m.P(1, 2), m.P.x
""", r"""
    assert (p.x, p.y, p.sum()) == (1, 2, 103)
    assert p.swap().x == 2 and x.__get__(p) == 2
    assert m.P(5).sum() == 105 and type(p) is m.P
    assert not hasattr(p, "__dict__")
""")

case("subclass_of_class_with_slots", r"""
    class Base:
        __slots__ = ("x",)

    class Derived(Base):
        __slots__ = ("y",)

        def f(self):
            return self.x, self.y
""", r"""
    class Base:
        __slots__ = ("x",)

        def g(self):
            return "new", self.x

    class Derived(Base):
        __slots__ = ("y",)

        def f(self):
            return self.y, self.x
""", r"""
    import m
    d = m.Derived()
    d.x, d.y = 1, 2
""", r"""
    assert d.f() == (2, 1) and d.g() == ("new", 1)
    d.x = 3
    assert d.f() == (2, 3)
""")

case("subclass_of_builtin", r"""
    class Stack(list):
        def push(self, item):
            self.append(item)

    class Text(str):
        def shout(self):
            return self + "!"
""", r"""
    class Stack(list):
        def push(self, *items):
            self.extend(items)

        def __repr__(self):
            return f"Stack{list(self)}"

    class Text(str):
        def shout(self):
            return Text(self.upper() + "!")
""", r"""
    import m
    stack, text = m.Stack([1]), m.Text("a")
""", r"""
    stack.push(2, 3)
    assert repr(stack) == "Stack[1, 2, 3]" and type(stack) is m.Stack
    assert text.shout() == "A!" and type(text.shout()) is type(text)
""")

# Aliases

case("alias_becomes_two_functions", {"m": r"""
    def f():
        return "both"

    g = f
""", "other": r"""
    from m import f, g
"""}, r"""
    def f():
        return "f"

    def g():
        return "g"
""", r"""
    import m, other
    f = m.f
""", r"""
    assert f is m.f and f() == "f"
    assert m.g is not m.f and m.g() == "g"
    assert (other.f(), other.g()) == ("f", "g")
""")

case("alias_that_comes_first_becomes_a_class", r"""
    class B:
        x: int = 1

        def who(self):
            return "B"

    A = B
""", r"""
    class A:
        x: int = 1

        def who(self):
            return "A"

    class B:
        x: int = 1

        def who(self):
            return "B2"
""", r"""
    import m
    b, B = m.B(), m.B
""", r"""
    assert B is m.B and type(b) is m.B and b.who() == "B2"
    assert m.A is not m.B and m.A().who() == "A"
""")

case("alias_that_comes_first_becomes_an_enum", r"""
    import enum

    class Color(enum.Enum):
        RED = 1

    Colour = Color
""", r"""
    import enum

    class Colour(enum.Enum):
        RED = 1

    class Color(enum.Enum):
        RED = 1
""", r"""
    import m
    red = m.Color.RED
""", r"""
    assert red is m.Color.RED and red in m.Color and m.Colour.RED is not red
""")

case("alias_that_comes_first_becomes_a_function", r"""
    def g(x=[]):
        return "g"

    f = g
""", r"""
    def f(x=[]):
        return "f"

    def g(x=[]):
        return "g2"
""", r"""
    import m
    g = m.g
""", r"""
    assert g is m.g and g() == "g2" and m.f() == "f"
""")

case("function_that_a_program_put_elsewhere", r"""
    def f():
        return "f"

    def g():
        return "g"
""", r"""
    def f():
        return "f2"

    def g():
        return "g2"
""", r"""
    import m
    f, g = m.f, m.g
    m.f = m.g
""", r"""
    assert g is m.g and g() == "g2"
    assert m.f() == "f2" and f() == "f"
""")

case("annotations_that_were_set", r"""
    def f(x):
        return 1

    f.__annotations__ = {"x": int}

    def g(x):
        return 1

    g.__annotations__ = {"x": int}
""", r"""
    def f(x):
        return 1

    f.__annotations__ = {"x": str}

    def g(x):
        return 2

    g.__annotations__ = {"x": int}
""", r"""
    import m
    f, g = m.f, m.g
""", r"""
    assert f is m.f and f.__annotations__ == {"x": str}, f.__annotations__
    assert g is m.g and g(0) == 2 and g.__annotations__ == {"x": int}, g.__annotations__
""")

case("range_becomes_another_empty_one", "R = range(0)\n", "R = range(5, 5)\n", "import m\n", r"""
    assert repr(m.R) == "range(5, 5)", m.R
""")

case("two_functions_become_alias", {"m": r"""
    def f():
        return "f"

    def g():
        return "g"
""", "other": r"""
    from m import f, g
"""}, r"""
    def f():
        return "both"

    g = f
""", r"""
    import m, other
    f = m.f
""", r"""
    assert m.g is m.f is f and f() == "both"
    assert other.g is other.f is f
""")

case("alias_stays", r"""
    def f():
        return "old"

    g = f
    h = [f, g]
""", r"""
    def f():
        return "new"

    g = f
    h = [g, f]
""", r"""
    import m
    f = m.f
""", r"""
    assert m.f is m.g is m.h[0] is m.h[1] is f
    assert f() == "new"
""")

case("alias_becomes_two_classes", {"m": r"""
    class A:
        name = "both"

    B = A
""", "other": r"""
    from m import A, B
"""}, r"""
    class A:
        name = "A"

    class B(A):
        name = "B"
""", r"""
    import m, other
    a = m.B()
""", r"""
    assert type(a) is m.A and a.name == "A"
    assert m.B is not m.A and m.B.__mro__ == (m.B, m.A, object)
    assert other.A is m.A and other.B is m.B and other.B().name == "B"
""")

case("two_classes_become_alias", {"m": r"""
    class A:
        name = "A"

    class B:
        name = "B"
""", "other": r"""
    from m import A, B
"""}, r"""
    class A:
        name = "both"

    B = A
""", r"""
    import m, other
    a = m.A()
""", r"""
    assert m.B is m.A is type(a) and a.name == "both"
    assert other.A is other.B is m.A
""")

case("alias_of_a_method", r"""
    class A:
        def __str__(self):
            return "old"

        __repr__ = __str__
""", r"""
    class A:
        def __str__(self):
            return "text"

        def __repr__(self):
            return "A()"
""", r"""
    import m
    a, method = m.A(), m.A.__str__
""", r"""
    assert (str(a), repr(a)) == ("text", "A()")
    assert method is m.A.__str__
""")

case("methods_become_alias", r"""
    class A:
        def __add__(self, other):
            return "add"

        def __radd__(self, other):
            return "radd"
""", r"""
    class A:
        def __add__(self, other):
            return "both"

        __radd__ = __add__
""", r"""
    import m
    a, add = m.A(), m.A.__add__
""", r"""
    assert (a + 1, 1 + a) == ("both", "both")
    assert m.A.__add__ is m.A.__radd__ is add
""")

# Special methods

case("operators_come", r"""
    class A:
        def __init__(self, n):
            self.n = n
""", r"""
    class A:
        def __init__(self, n):
            self.n = n

        def __add__(self, other):
            return self.n + other

        __radd__ = __add__

        def __len__(self):
            return self.n

        def __call__(self, x):
            return "called", x

        def __getitem__(self, key):
            return "item", key

        def __contains__(self, x):
            return x == self.n

        def __iter__(self):
            return iter(range(self.n))

        def __lt__(self, other):
            return self.n < other.n

        def __neg__(self):
            return -self.n

        def __index__(self):
            return self.n

        def __format__(self, spec):
            return f"<{spec}>"
""", r"""
    import m
    a, empty = m.A(3), m.A(0)
""", r"""
    assert (a + 1, 1 + a, len(a), -a) == (4, 4, 3, -3)
    assert a(5) == ("called", 5) and a["k"] == ("item", "k")
    assert 3 in a and 4 not in a and list(a) == [0, 1, 2]
    assert empty < a and not empty and "abcd"[a] == "d" and f"{a:x}" == "<x>"
""")

case("operators_go", r"""
    class A:
        def __len__(self):
            return 0

        def __call__(self):
            return 1

        def __iter__(self):
            return iter([1])

        def __add__(self, other):
            return 1

        def __repr__(self):
            return "A!"

        def __getattr__(self, name):
            return name
""", r"""
    class A:
        pass
""", r"""
    import m
    a = m.A()
    before = bool(a), callable(a), list(a), a + 1, repr(a), a.anything
""", r"""
    assert before == (False, True, [1], 1, "A!", "anything")
    assert bool(a) and not callable(a) and repr(a) != "A!" and not hasattr(a, "anything")
    for operation in (lambda: len(a), lambda: a(), lambda: iter(a), lambda: a + 1):
        try:
            operation()
        except TypeError:
            pass
        else:
            raise AssertionError("an operator is still there")
""")

case("equality_comes", r"""
    class A:
        def __init__(self, n):
            self.n = n
""", r"""
    class A:
        def __init__(self, n):
            self.n = n

        def __eq__(self, other):
            return self.n == other.n
""", r"""
    import m
    a, b = m.A(1), m.A(1)
    before = a == b
    hash(a)
""", r"""
    assert not before and a == b and a == m.A(1)
    try:
        hash(a)
    except TypeError:
        pass
    else:
        raise AssertionError("equality without a hash makes unhashable")
""")

case("equality_goes", r"""
    class A:
        def __eq__(self, other):
            return True

        def __bool__(self):
            return False
""", r"""
    class A:
        pass
""", r"""
    import m
    a, b = m.A(), m.A()
""", r"""
    assert a != b and a == a and bool(a)
    assert len({a, b}) == 2, "they are hashable again"
""")

case("hash_changes", r"""
    class Key:
        def __init__(self, name):
            self.name = name

        def __eq__(self, other):
            return self.name == other.name

        def __hash__(self):
            return hash(self.name)
""", r"""
    class Key:
        def __init__(self, name):
            self.name = name

        def __eq__(self, other):
            return self.name.lower() == other.name.lower()

        def __hash__(self):
            return hash(self.name.lower())
""", r"""
    import m
    small, large = m.Key("a"), m.Key("A")
    before = len({small, large})
""", r"""
    assert before == 2
    assert small == large and len({small, large, m.Key("A")}) == 1
""")

case("special_methods_in_subclass_elsewhere", {"m": r"""
    class Base:
        pass
""", "other": r"""
    import m

    class Middle(m.Base):
        pass

    class Derived(Middle):
        pass
"""}, r"""
    class Base:
        def __len__(self):
            return 7

        def __eq__(self, other):
            return "equal"

        def __enter__(self):
            return "entered"

        def __exit__(self, *error):
            return True
""", r"""
    import m, other
    d = other.Derived()
    hash(d)
""", r"""
    assert len(d) == 7 and (d == 1) == "equal"
    with d as entered:
        assert entered == "entered"
    assert other.Derived.__mro__ == (other.Derived, other.Middle, m.Base, object)
""")

case("special_methods_go_from_subclass_elsewhere", {"m": r"""
    class Base:
        def __bool__(self):
            return False

        def __call__(self):
            return 1

        def __setattr__(self, name, value):
            raise AttributeError("read only")
""", "other": r"""
    from m import Base

    class Derived(Base):
        pass
"""}, r"""
    class Base:
        pass
""", r"""
    import m, other
    d = other.Derived()
""", r"""
    assert bool(d) and not callable(d)
    d.x = 1
    assert d.x == 1
""")

case("own_special_method_of_subclass_stays", {"m": r"""
    class Base:
        pass
""", "other": r"""
    import m

    class Derived(m.Base):
        def __len__(self):
            return 1

        def __repr__(self):
            return "derived " + super().__repr__()
"""}, r"""
    class Base:
        def __len__(self):
            return 2

        def __repr__(self):
            return "base"
""", r"""
    import m, other
    d, base = other.Derived(), m.Base()
""", r"""
    assert (len(d), len(base)) == (1, 2)
    assert repr(d) == "derived base", repr(d)
""")

case("attribute_access", r"""
    class A:
        x = 1
""", r"""
    class A:
        x = 1

        def __getattr__(self, name):
            return "no " + name

        def __setattr__(self, name, value):
            super().__setattr__(name, [value])

        def __delattr__(self, name):
            super().__setattr__("deleted", name)
""", r"""
    import m
    a = m.A()
    a.own = 1
""", r"""
    assert (a.x, a.own, a.y) == (1, 1, "no y")
    a.z = 2
    del a.z
    assert (a.z, a.deleted) == ([2], "z")
""")

case("getattribute_comes_and_goes", r"""
    class Open:
        x = 1

    class Closed:
        x = 1

        def __getattribute__(self, name):
            return "closed"
""", r"""
    class Open:
        x = 1

        def __getattribute__(self, name):
            return "closed"

    class Closed:
        x = 1
""", r"""
    import m
    opened, closed = m.Open(), m.Closed()
    before = opened.x, closed.x
""", r"""
    assert before == (1, "closed")
    assert (opened.x, closed.x) == ("closed", 1)
""")

case("iterator_in_progress", r"""
    class Count:
        n = 0

        def __iter__(self):
            return self

        def __next__(self):
            self.n += 1
            return self.n
""", r"""
    class Count:
        n = 0

        def __iter__(self):
            return self

        def __next__(self):
            if self.n > 20:
                raise StopIteration
            self.n += 10
            return self.n
""", r"""
    import m
    count = iter(m.Count())
    first = next(count)
""", r"""
    rest = [next(count, "end") for _ in range(3)]
    assert (first, rest) == (1, [11, 21, "end"]), "an instance sees the new class"
""")

case("context_manager", r"""
    class Lock:
        def __init__(self):
            self.log = []

        def __enter__(self):
            self.log.append("enter")

        def __exit__(self, *error):
            self.log.append("exit")
""", r"""
    class Lock:
        def __init__(self):
            self.log = []

        def __enter__(self):
            self.log.append("lock")
            return self

        def __exit__(self, *error):
            self.log.append("unlock")
            return True
""", r"""
    import m
    lock = m.Lock()
    with lock:
        pass
""", r"""
    with lock as entered:
        raise KeyError
    assert entered is lock
    assert lock.log == ["enter", "exit", "lock", "unlock"]
""")

case("class_getitem", r"""
    class Box:
        def __class_getitem__(cls, item):
            return "old", item
""", r"""
    class Box:
        def __class_getitem__(cls, item):
            return cls, item

    class Bag:
        def __class_getitem__(cls, item):
            return "bag"
""", r"""
    import m
    Box = m.Box
""", r"""
    assert Box[int] == (m.Box, int) and m.Bag[int] == "bag"
""")

case("match_args", r"""
    class P:
        __match_args__ = ("x",)

        def __init__(self, x, y):
            self.x, self.y = x, y
""", r"""
    class P:
        __match_args__ = ("y", "x")

        def __init__(self, x, y):
            self.x, self.y = x, y
""", r"""
    import m

    def first(value):
        match value:
            case m.P(one):
                return one
            case _:
                return "no match"

    p = m.P(1, 2)
    before = first(p)
""", r"""
    assert (before, first(p), first(m.P(3, 4))) == (1, 2, 4)
""")

# Inheritance

case("base_in_the_same_module", r"""
    class Base:
        def f(self):
            return "old base"

    class Derived(Base):
        def g(self):
            return "old"
""", r"""
    class Base:
        def f(self):
            return "new base"

    class Derived(Base):
        def g(self):
            return "new " + self.f()
""", r"""
    import m
    d = m.Derived()
""", r"""
    assert d.g() == "new new base"
    assert m.Derived.__mro__ == (m.Derived, m.Base, object) and isinstance(d, m.Base)
""")

case("super_init_chain", {"m": r"""
    class Root:
        def __init__(self):
            self.log = ["root"]

    class Base(Root):
        def __init__(self):
            super().__init__()
            self.log.append("base")
""", "other": r"""
    import m

    class Derived(m.Base):
        def __init__(self):
            super().__init__()
            self.log.append("derived")
"""}, r"""
    class Root:
        def __init__(self, name="new root"):
            self.log = [name]

    class Base(Root):
        def __init__(self):
            super().__init__("root of base")
            self.log.append("new base")
""", r"""
    import m, other
    Derived = other.Derived
    d = Derived()
""", r"""
    assert d.log == ["root", "base", "derived"]
    assert Derived().log == ["root of base", "new base", "derived"]
    d.__init__()
    assert d.log == ["root of base", "new base", "derived"]
""")

case("method_gains_super", r"""
    class Base:
        def f(self):
            return "base"

    class Derived(Base):
        def f(self):
            return "derived"
""", r"""
    class Base:
        def f(self):
            return "base"

    class Derived(Base):
        def f(self):
            return "derived " + super().f()
""", r"""
    import m
    d, f, bound = m.Derived(), m.Derived.f, m.Derived().f
""", r"""
    assert d.f() == "derived base"
    assert f is m.Derived.f and f(d) == bound() == "derived base"
""")

case("method_loses_super", r"""
    class Base:
        def f(self):
            return "base"

    class Derived(Base):
        def f(self):
            return "derived " + super().f()
""", r"""
    class Base:
        def f(self):
            return "base"

    class Derived(Base):
        def f(self):
            return "derived"
""", r"""
    import m
    d, f, bound = m.Derived(), m.Derived.f, m.Derived().f
""", r"""
    assert d.f() == bound() == "derived" and f is m.Derived.f
""")

case("method_comes_with_super", {"m": r"""
    class Base:
        def f(self):
            return "base"

    class Derived(Base):
        pass
""", "other": r"""
    from m import Derived

    class Third(Derived):
        pass
"""}, r"""
    class Base:
        def f(self):
            return "new base"

    class Derived(Base):
        def f(self):
            return __class__, super().f()

        @classmethod
        def c(cls):
            return super().__new__(cls)

        @property
        def p(self):
            return (lambda: super(Derived, self).f())()
""", r"""
    import m, other
    d, third = m.Derived(), other.Third()
""", r"""
    assert d.f() == third.f() == (m.Derived, "new base"), "__class__ is the class that stayed"
    assert type(other.Third.c()) is other.Third and third.p == "new base"
""")

case("diamond", r"""
    class A:
        def f(self):
            return ["A"]

    class B(A):
        def f(self):
            return ["B", *super().f()]

    class C(A):
        pass

    class D(B, C):
        def f(self):
            return ["D", *super().f()]
""", r"""
    class A:
        def f(self):
            return ["a"]

    class B(A):
        def f(self):
            return ["b", *super().f()]

    class C(A):
        def f(self):
            return ["c", *super().f()]

    class D(B, C):
        def f(self):
            return ["d", *super().f()]
""", r"""
    import m
    d = m.D()
    before = d.f()
""", r"""
    assert before == ["D", "B", "A"] and d.f() == ["d", "b", "c", "a"], d.f()
    assert m.D.__mro__ == (m.D, m.B, m.C, m.A, object)
""")

case("base_exchanged", r"""
    class A:
        def who(self):
            return "A"

    class B:
        def who(self):
            return "B"

    class C(A):
        pass
""", r"""
    class A:
        def who(self):
            return "new A"

    class B:
        def who(self):
            return "new B"

    class C(B):
        pass
""", r"""
    import m
    c, C = m.C(), m.C
""", r"""
    assert C is m.C and c.who() == "new B"
    assert isinstance(c, m.B) and not isinstance(c, m.A)
    assert C.__bases__ == (m.B,) and m.C not in m.A.__subclasses__()
""")

case("base_comes", {"m": r"""
    class A:
        pass

    class C(A):
        pass
""", "other": r"""
    import m

    class E(m.C):
        pass
"""}, r"""
    class A:
        pass

    class Mixin:
        def mixed(self):
            return "mixed"

    class C(A, Mixin):
        pass
""", r"""
    import m, other
    c, e = m.C(), other.E()
""", r"""
    assert c.mixed() == e.mixed() == "mixed"
    assert isinstance(c, m.Mixin) and issubclass(other.E, m.Mixin)
    assert other.E.__mro__ == (other.E, m.C, m.A, m.Mixin, object)
""")

case("base_in_between", r"""
    class A:
        def f(self):
            return "A"

    class C(A):
        pass
""", r"""
    class A:
        def f(self):
            return "a"

    class B(A):
        def f(self):
            return "b" + super().f()

    class C(B):
        pass
""", r"""
    import m
    c = m.C()
""", r"""
    assert c.f() == "ba"
    assert type(c).__mro__ == (m.C, m.B, m.A, object)
""")

case("bases_in_another_order", r"""
    class A:
        name = "A"

    class B:
        name = "B"

    class C(A, B):
        pass
""", r"""
    class A:
        name = "A"

    class B:
        name = "B"

    class C(B, A):
        pass
""", r"""
    import m
    c = m.C()
    before = c.name
""", r"""
    assert (before, c.name) == ("A", "B") and m.C.__bases__ == (m.B, m.A)
""")

case("subclasses_are_not_doubled", r"""
    class Base:
        pass

    class A(Base):
        pass

    class B(Base):
        pass
""", r"""
    class Base:
        pass

    class A(Base):
        pass

    class C(Base):
        pass
""", r"""
    import m, gc
    A = m.A
""", r"""
    gc.collect()
    assert m.Base.__subclasses__().count(A) == 1 and A is m.A
    assert sorted(cls.__name__ for cls in m.Base.__subclasses__()) == ["A", "C"]
""")

case("exception_caught_elsewhere", {"m": r"""
    class Error(Exception):
        def __str__(self):
            return "old"

    def fail():
        raise Error
""", "other": r"""
    import m
    from m import Error, fail

    def run():
        try:
            fail()
        except Error as error:
            return str(error), isinstance(error, m.Error)
"""}, r"""
    class Error(Exception):
        def __str__(self):
            return "new"

    class Special(Error):
        pass

    def fail():
        raise Special
""", r"""
    import m, other
    Error, fail = m.Error, m.fail
    try:
        fail()
    except Error as error:
        kept = error
""", r"""
    assert other.run() == ("new", True)
    try:
        fail()
    except Error as error:
        assert type(error) is m.Special
    assert str(kept) == "new" and isinstance(kept, m.Error)
""")

case("exception_with_another_base", r"""
    class Error(Exception):
        pass
""", r"""
    class Error(ValueError):
        pass
""", r"""
    import m
    Error = m.Error
    kept = Error("kept")
""", r"""
    assert Error is m.Error
    try:
        raise kept
    except ValueError as error:
        assert error.args == ("kept",)
    assert issubclass(Error, ValueError)
""")

# What classes know of each other

case("classes_in_containers", r"""
    class A:
        pass

    class B:
        pass

    KINDS = (A, B)
    NAMES = {A: "a", B: "b"}
    SET = frozenset({A, B})
""", r"""
    class A:
        x = 1

    class B:
        x = 2

    KINDS = (B, A)
    NAMES = {A: "A", B: "B"}
    SET = frozenset({A})
""", r"""
    import m
    a = m.A()
""", r"""
    assert m.KINDS == (m.B, m.A) and isinstance(a, m.KINDS)
    assert m.NAMES[type(a)] == m.NAMES[m.A] == "A" and len(m.NAMES) == 2
    assert type(a) in m.SET and m.B not in m.SET
""")

case("class_names_a_class", r"""
    class Item:
        name = "old"

    class Owner:
        item_class = Item
        default = Item()

        def make(self):
            return self.item_class()
""", r"""
    class Item:
        name = "new"

    class Owner:
        item_class = Item
        default = Item()
        kinds = [Item]

        def make(self):
            return self.item_class()
""", r"""
    import m
    owner, item = m.Owner(), m.Owner().make()
""", r"""
    assert m.Owner.item_class is m.Item is type(item)
    assert type(m.Owner.default) is m.Item and m.Owner.kinds[0] is m.Item
    assert owner.make().name == item.name == "new" and isinstance(item, owner.item_class)
""")

case("class_decorator_that_registers", r"""
    REGISTRY = {}

    def register(cls):
        REGISTRY[cls.__name__] = cls
        return cls

    @register
    class A:
        x = 1
""", r"""
    REGISTRY = {}

    def register(cls):
        REGISTRY[cls.__name__] = cls
        cls.registered = True
        return cls

    @register
    class A:
        x = 2

    @register
    class B:
        x = 3
""", r"""
    import m
    A, a = m.A, m.A()
""", r"""
    assert m.REGISTRY == {"A": m.A, "B": m.B} and m.REGISTRY["A"] is A
    assert a.registered and a.x == 2
""")

case("init_subclass_that_registers", r"""
    class Base:
        plugins = []

        def __init_subclass__(cls, **more):
            super().__init_subclass__(**more)
            Base.plugins.append(cls)

    class A(Base):
        pass
""", r"""
    class Base:
        plugins = []

        def __init_subclass__(cls, **more):
            super().__init_subclass__(**more)
            cls.position = len(Base.plugins)
            Base.plugins.append(cls)

    class B(Base):
        pass

    class A(Base):
        pass
""", r"""
    import m
    A, a = m.A, m.A()
""", r"""
    assert m.Base.plugins == [m.B, m.A] and m.Base.plugins[1] is A
    assert (a.position, m.B.position) == (1, 0)
""")

case("class_keywords", r"""
    class Base:
        def __init_subclass__(cls, tag):
            cls.tag = tag

    class A(Base, tag="old"):
        pass
""", r"""
    class Base:
        def __init_subclass__(cls, tag, more=None):
            cls.tag = tag
            cls.more = more

    class A(Base, tag="new", more="more"):
        pass
""", r"""
    import m
    A, a = m.A, m.A()
""", r"""
    assert A is m.A and (a.tag, A.more) == ("new", "more")
""")

case("metaclass_method", r"""
    class Meta(type):
        def describe(cls):
            return "old " + cls.__name__

        def __len__(cls):
            return 1

    class A(metaclass=Meta):
        pass
""", r"""
    class Meta(type):
        def describe(cls):
            return "new " + cls.__name__

        def __len__(cls):
            return 2

        def __instancecheck__(cls, value):
            return value == "an A"

    class A(metaclass=Meta):
        pass
""", r"""
    import m
    A, Meta = m.A, m.Meta
""", r"""
    assert A is m.A and Meta is m.Meta and type(A) is Meta
    assert A.describe() == "new A" and len(A) == 2
    assert isinstance("an A", A) and not isinstance(1, A)
""")

case("metaclass_that_registers", r"""
    class Meta(type):
        registry = {}

        def __new__(meta, name, bases, namespace):
            cls = super().__new__(meta, name, bases, namespace)
            cls.label = "old " + name
            meta.registry[name] = cls
            return cls

    class A(metaclass=Meta):
        pass
""", r"""
    class Meta(type):
        registry = {}

        def __new__(meta, name, bases, namespace):
            cls = super().__new__(meta, name, bases, namespace)
            cls.label = "new " + name
            meta.registry[name] = cls
            return cls

    class A(metaclass=Meta):
        pass

    class B(A):
        pass
""", r"""
    import m
    A, a = m.A, m.A()
""", r"""
    assert m.Meta.registry == {"A": m.A, "B": m.B} and m.A is A
    assert a.label == "new A" and issubclass(m.B, A)
""")

case("references_in_native_containers", r"""
    import collections, types, weakref

    class A:
        label = "old"

    def make():
        return A()

    by_name = collections.defaultdict(A)
    lazy = collections.defaultdict(lambda: A())
    queue = collections.deque([A(), A])
    counts = collections.Counter([A, A])
    view = types.MappingProxyType({"a": A})
    reference = weakref.ref(A)
    known = weakref.WeakSet([A])
    weak = weakref.WeakKeyDictionary({A: 1})
    error = ValueError(A, A())
    ordered = collections.OrderedDict(a=A)
""", r"""
    import collections, types, weakref

    class A:
        label = "new"

    def make():
        return A()

    by_name = collections.defaultdict(A)
    lazy = collections.defaultdict(lambda: A())
    queue = collections.deque([A(), A])
    counts = collections.Counter([A, A])
    view = types.MappingProxyType({"a": A})
    reference = weakref.ref(A)
    known = weakref.WeakSet([A])
    weak = weakref.WeakKeyDictionary({A: 1})
    error = ValueError(A, A())
    ordered = collections.OrderedDict(a=A)
""", r"""
    import m
    A, make = m.A, m.make
""", r"""
    assert m.A is A and A.label == "new"
    assert type(m.by_name["x"]) is A and type(m.lazy["x"]) is A, "factories"
    assert type(m.queue[0]) is A and m.queue[1] is A, "deque"
    assert m.counts == {A: 2} and m.counts[A] == 2, "Counter"
    assert m.view["a"] is A, "MappingProxyType"
    assert m.reference() is A, "ref"
    assert A in m.known and list(m.known) == [A], "WeakSet"
    assert m.weak[A] == 1, "WeakKeyDictionary"
    assert m.error.args[0] is A and type(m.error.args[1]) is A, "exception"
    assert m.ordered["a"] is A
""")

case("singledispatch_registrations_of_others", {
    "m": r"""
    import functools

    @functools.singledispatch
    def show(value):
        return "old"
""",
    "other": r"""
    import m

    @m.show.register
    def show_number(value: int):
        return "number"
"""}, r"""
    import functools

    @functools.singledispatch
    def show(value):
        return "new"

    @show.register
    def show_text(value: str):
        return "text"
""", r"""
    import m, other
    show = m.show
""", r"""
    assert (show(None), show(1), show("")) == ("new", "number", "text")
    assert m.show(1) == "number"
""")

case("classes_that_look_like_their_instances", r"""
    class A:
        def __eq__(self, other):
            raise RuntimeError("asked")
        __hash__ = None

    things = [A(), {"a": A()}, (A(), A)]
""", r"""
    class A:
        def __eq__(self, other):
            raise RuntimeError("asked again")
        __hash__ = None

    things = [A(), {"a": A()}, (A(), A)]
""", r"""
    import m
    A, a = m.A, m.things[0]
""", r"""
    assert all(type(thing) is A for thing in (m.things[0], m.things[1]["a"], m.things[2][0]))
    assert m.things[2][1] is A and type(a) is A
""")

case("metaclass_comes", r"""
    class Meta(type):
        def describe(cls):
            return cls.__name__

    class A:
        pass
""", r"""
    class Meta(type):
        def describe(cls):
            return "meta " + cls.__name__

    class A(metaclass=Meta):
        pass
""", r"""
    import m
    A, a = m.A, m.A()
""", r"""
    assert m.A.describe() == "meta A" and type(m.A) is m.Meta
    assert type(a) is A
""", replaced=("m.A",))

case("set_name", r"""
    class Field:
        def __set_name__(self, owner, name):
            self.owner, self.name = owner, name

        def __get__(self, instance, owner=None):
            return self if instance is None else "old " + self.name

    class A:
        x = Field()
""", r"""
    class Field:
        def __set_name__(self, owner, name):
            self.owner, self.name = owner, name

        def __get__(self, instance, owner=None):
            return self if instance is None else "new " + self.name

        def __set__(self, instance, value):
            raise AttributeError(self.name)

    class A:
        x = Field()
        y = Field()
""", r"""
    import m
    a = m.A()
""", r"""
    assert (a.x, a.y) == ("new x", "new y")
    assert m.A.x.owner is m.A.y.owner is m.A and type(m.A.x) is m.Field
    try:
        a.x = 1
    except AttributeError:
        pass
    else:
        raise AssertionError("the new descriptor is not consulted")
""")

case("descriptor_values", r"""
    class Limit:
        def __init__(self, high):
            self.high = high

        def __set_name__(self, owner, name):
            self.name = "_" + name

        def __get__(self, instance, owner=None):
            return getattr(instance, self.name, 0)

        def __set__(self, instance, value):
            setattr(instance, self.name, min(value, self.high))

    class A:
        x = Limit(10)
""", r"""
    class Limit:
        def __init__(self, high):
            self.high = high

        def __set_name__(self, owner, name):
            self.name = "_" + name

        def __get__(self, instance, owner=None):
            return getattr(instance, self.name, 0)

        def __set__(self, instance, value):
            setattr(instance, self.name, min(value, self.high))

    class A:
        x = Limit(20)
        y = Limit(5)
""", r"""
    import m
    a = m.A()
    a.x = 100
""", r"""
    assert a.x == 10
    a.x = a.y = 100
    assert (a.x, a.y) == (20, 5)
""")

case("descriptor_used_elsewhere", {"m": r"""
    class Constant:
        pass
""", "other": r"""
    import m

    class Uses:
        value = m.Constant()
"""}, r"""
    class Constant:
        def __get__(self, instance, owner=None):
            return "got"
""", r"""
    import m, other
    uses = other.Uses()
""", r"""
    assert uses.value == other.Uses.value == "got"
""")

case("abstract_method_comes", {"m": r"""
    import abc

    class Base(abc.ABC):
        @abc.abstractmethod
        def f(self): ...
""", "other": r"""
    from m import Base

    class Impl(Base):
        def f(self):
            return "f"
"""}, r"""
    import abc

    class Base(abc.ABC):
        @abc.abstractmethod
        def f(self): ...

        @abc.abstractmethod
        def g(self): ...
""", r"""
    import m, other
    impl = other.Impl()
""", r"""
    assert impl.f() == "f" and isinstance(impl, m.Base)
    assert m.Base.__abstractmethods__ == {"f", "g"}
    try:
        other.Impl()
    except TypeError:
        pass
    else:
        raise AssertionError("a subclass elsewhere lacks g")
""")

case("abstract_method_becomes_concrete", {"m": r"""
    import abc

    class Base(abc.ABC):
        @abc.abstractmethod
        def f(self): ...
""", "other": r"""
    import m

    class Half(m.Base):
        pass
"""}, r"""
    import abc

    class Base(abc.ABC):
        def f(self):
            return "concrete"
""", r"""
    import m, other
    Base = m.Base
""", r"""
    assert Base().f() == other.Half().f() == "concrete"
    assert not Base.__abstractmethods__
""")

case("abstract_class_keeps_registrations", r"""
    import abc

    class Base(abc.ABC):
        @abc.abstractmethod
        def f(self): ...
""", r"""
    import abc

    class Base(abc.ABC):
        @abc.abstractmethod
        def f(self):
            "Documented."
""", r"""
    import m

    @m.Base.register
    class Virtual:
        pass

    Base, virtual = m.Base, Virtual()
    before = isinstance(virtual, Base)
""", r"""
    assert before and Base is m.Base
    assert isinstance(virtual, m.Base), "another module has registered it"
    assert not isinstance(1, m.Base) and Base.f.__doc__ == "Documented."
""")

case("subclass_hook", r"""
    import abc

    class Sized(abc.ABC):
        @classmethod
        def __subclasshook__(cls, other):
            return hasattr(other, "size")
""", r"""
    import abc

    class Sized(abc.ABC):
        @classmethod
        def __subclasshook__(cls, other):
            return hasattr(other, "length")
""", r"""
    import m

    class Old:
        size = 1

    class New:
        length = 1

    Sized = m.Sized
    before = isinstance(Old(), Sized), isinstance(New(), Sized)
""", r"""
    assert before == (True, False) and Sized is m.Sized
    assert (isinstance(Old(), Sized), isinstance(New(), Sized)) == (False, True), "answers from before are forgotten"
""")

# The standard library's kinds of classes

case("enum_gains_member", r"""
    import enum

    class Colour(enum.Enum):
        RED = 1
        BLUE = 2
""", r"""
    import enum

    class Colour(enum.Enum):
        RED = 1
        GREEN = 3
        BLUE = 2

        def shout(self):
            return self.name + "!"
""", r"""
    import m
    Colour, red, names = m.Colour, m.Colour.RED, {m.Colour.BLUE: "blue"}
""", r"""
    assert Colour is m.Colour and red is m.Colour.RED is m.Colour(1) is m.Colour["RED"]
    assert [colour.name for colour in Colour] == ["RED", "GREEN", "BLUE"]
    assert isinstance(red, Colour) and red.shout() == "RED!" and red in Colour
    assert names[m.Colour.BLUE] == "blue" and type(m.Colour.GREEN) is Colour and Colour(3) is Colour.GREEN
""")

case("enum_loses_member", r"""
    import enum

    class Colour(enum.Enum):
        RED = 1
        GREEN = 2
""", r"""
    import enum

    class Colour(enum.Enum):
        RED = 1
""", r"""
    import m
    red, green = m.Colour.RED, m.Colour.GREEN
""", r"""
    assert red is m.Colour.RED and list(m.Colour) == [red] and len(m.Colour) == 1
    assert not hasattr(m.Colour, "GREEN") and green.name == "GREEN"
    try:
        m.Colour(2)
    except ValueError:
        pass
    else:
        raise AssertionError("the value is still known")
""")

case("enum_value_changes", r"""
    import enum

    class Level(enum.Enum):
        LOW = "l"
        HIGH = "h"
""", r"""
    import enum

    class Level(enum.Enum):
        LOW = "low"
        HIGH = "high"
        TOP = "high"
""", r"""
    import m
    low, high = m.Level.LOW, m.Level.HIGH
""", r"""
    assert low is m.Level.LOW is m.Level("low") and low.value == "low"
    assert m.Level.TOP is high is m.Level.HIGH, "an alias of a member"
    try:
        m.Level("l")
    except ValueError:
        pass
    else:
        raise AssertionError("the old value is still known")
""")

case("enum_flags", r"""
    import enum

    class Mode(enum.Flag):
        READ = enum.auto()
        WRITE = enum.auto()
""", r"""
    import enum

    class Mode(enum.Flag):
        READ = enum.auto()
        WRITE = enum.auto()
        RUN = enum.auto()
""", r"""
    import m
    both = m.Mode.READ | m.Mode.WRITE
    read = m.Mode.READ
""", r"""
    assert read is m.Mode.READ and read in both and m.Mode.WRITE in both and m.Mode.RUN not in both
    assert both == m.Mode.READ | m.Mode.WRITE and (both | m.Mode.RUN).value == 7
    assert ~both == m.Mode.RUN
""")

case("enum_of_integers", r"""
    import enum

    class Code(enum.IntEnum):
        OK = 200
        GONE = 410
""", r"""
    import enum

    class Code(enum.IntEnum):
        OK = 200
        LOST = 404
        GONE = 410

        @property
        def bad(self):
            return self >= 400
""", r"""
    import m
    ok, gone = m.Code.OK, m.Code.GONE
""", r"""
    assert gone is m.Code.GONE is m.Code(410) and ok == 200
    assert (ok.bad, gone.bad) == (False, True) and m.Code.LOST < gone
""")

case("enum_members_in_defaults", r"""
    import enum

    class Kind(enum.Enum):
        A = "a"

    def f(kind=Kind.A):
        return kind is Kind.A
""", r"""
    import enum

    class Kind(enum.Enum):
        A = "a"
        B = "b"

    TABLE = {Kind.A: 1, Kind.B: 2}

    def f(kind=Kind.A):
        return kind is Kind.A, TABLE[kind]
""", r"""
    import m
    a, f = m.Kind.A, m.f
""", r"""
    assert f() == f(a) == f(m.Kind.A) == (True, 1)
    assert list(m.TABLE)[0] is a
""")

case("dataclass_gains_field", r"""
    import dataclasses

    @dataclasses.dataclass
    class P:
        x: int
""", r"""
    import dataclasses

    @dataclasses.dataclass
    class P:
        x: int
        y: int = 0
""", r"""
    import m, dataclasses
    P, p = m.P, m.P(1)
""", r"""
    assert P is m.P and p == P(1) and P(1, 2) != p
    assert repr(p) == "P(x=1, y=0)", repr(p)
    assert [field.name for field in dataclasses.fields(p)] == ["x", "y"]
    assert dataclasses.replace(p, y=5) == P(1, 5)
""")

case("dataclass_loses_field", r"""
    import dataclasses

    @dataclasses.dataclass
    class P:
        x: int
        y: int = 0
""", r"""
    import dataclasses

    @dataclasses.dataclass(order=True)
    class P:
        x: int
""", r"""
    import m, dataclasses
    p = m.P(1, 2)
""", r"""
    assert repr(p) == "P(x=1)" and p == m.P(1) and p < m.P(2)
    assert dataclasses.asdict(p) == {"x": 1} and not hasattr(m.P, "y")
""")

case("dataclass_becomes_frozen", r"""
    import dataclasses

    @dataclasses.dataclass
    class P:
        x: int
""", r"""
    import dataclasses

    @dataclasses.dataclass(frozen=True)
    class P:
        x: int
""", r"""
    import m, dataclasses
    p = m.P(1)
""", r"""
    assert hash(p) == hash(m.P(1)) and p in {m.P(1)}
    try:
        p.x = 2
    except dataclasses.FrozenInstanceError:
        pass
    else:
        raise AssertionError("it is not frozen")
""")

case("dataclass_with_slots", r"""
    import dataclasses

    @dataclasses.dataclass(slots=True)
    class P:
        x: int

        def f(self):
            return self.x
""", r"""
    import dataclasses

    @dataclasses.dataclass(slots=True)
    class P:
        x: int

        def f(self):
            self.x += 1
            return self.x, "new"
""", r"""
    import m
    P, p = m.P, m.P(1)
""", r"""
    assert P is m.P and type(p) is P
    assert p == P(1) and p.f() == (2, "new") and repr(p) == "P(x=2)"
""")

case("dataclass_base", {"m": r"""
    import dataclasses

    @dataclasses.dataclass
    class Base:
        x: int = 0

        def f(self):
            return "old"

    @dataclasses.dataclass
    class Derived(Base):
        y: list = dataclasses.field(default_factory=list)
"""}, r"""
    import dataclasses

    @dataclasses.dataclass
    class Base:
        x: int = 0
        name: str = "new"

        def f(self):
            return self.name

    @dataclasses.dataclass
    class Derived(Base):
        y: list = dataclasses.field(default_factory=list)
""", r"""
    import m
    d = m.Derived(1)
""", r"""
    assert d.f() == "new" and repr(d) == "Derived(x=1, name='new', y=[])"
    assert m.Derived(1, "n", [2]).y == [2] and isinstance(d, m.Base)
""")

case("named_tuple_gains_field", r"""
    import typing

    class P(typing.NamedTuple):
        x: int
        y: int

        def sum(self):
            return self.x + self.y
""", r"""
    import typing

    class P(typing.NamedTuple):
        x: int
        y: int
        z: int = 0

        def sum(self):
            return sum(self)
""", r"""
    import m
    P, p = m.P, m.P(1, 2)
""", r"""
    assert P is m.P and type(p) is P and (p.x, p.y) == (1, 2) and p.sum() == 3
    assert P._fields == ("x", "y", "z") and P(1, 2) == (1, 2, 0) and P(1, 2, 3).z == 3
""")

case("named_tuple_fields_in_another_order", r"""
    import collections

    P = collections.namedtuple("P", "x y")
""", r"""
    import collections

    P = collections.namedtuple("P", "y x", defaults=[0])
""", r"""
    import m
    P, p = m.P, m.P(1, 2)
""", r"""
    assert P is m.P and type(p) is P
    assert (p.x, p.y) == (2, 1) and P(5) == (5, 0) and repr(P(3, 4)) == "P(y=3, x=4)"
""")

case("generic_class", r"""
    import typing

    T = typing.TypeVar("T")

    class Box(typing.Generic[T]):
        def __init__(self, value):
            self.value = value

        def get(self):
            return "old"
""", r"""
    import typing

    T = typing.TypeVar("T")
    U = typing.TypeVar("U")

    class Box(typing.Generic[T, U]):
        def __init__(self, value):
            self.value = value

        def get(self):
            return self.value
""", r"""
    import m
    Box, alias, box = m.Box, m.Box[int], m.Box[int](5)
""", r"""
    assert Box is m.Box and alias.__origin__ is Box and type(box) is Box
    assert box.get() == 5 and alias(6).get() == 6
    assert Box.__parameters__ == (m.T, m.U) and Box[int, str].__args__ == (int, str)
""")

case("generic_class_with_parameters", r"""
    class Box[T]:
        def get(self) -> T:
            return "old"

    def first[T](items: list[T]) -> T:
        return items[0]
""", r"""
    class Box[T, U]:
        def get(self) -> U:
            return "new"

    def first[T, U](items: list[T], default: U = None) -> T | U:
        return items[0] if items else default
""", r"""
    import m
    Box, box, first = m.Box, m.Box[int](), m.first
""", r"""
    assert Box is m.Box and box.get() == "new" and len(Box.__type_params__) == 2
    assert Box[int, str]().get() == "new"
    assert first is m.first and first([], 1) == 1 and len(first.__type_params__) == 2
""")

case("protocol", r"""
    import typing

    @typing.runtime_checkable
    class Named(typing.Protocol):
        def name(self): ...
""", r"""
    import typing

    @typing.runtime_checkable
    class Named(typing.Protocol):
        def name(self): ...
        def title(self): ...
""", r"""
    import m

    class One:
        def name(self): ...

    class Two(One):
        def title(self): ...

    Named = m.Named
    before = isinstance(One(), Named), isinstance(Two(), Named)
""", r"""
    assert before == (True, True) and Named is m.Named
    assert (isinstance(One(), Named), isinstance(Two(), Named)) == (False, True)
""")

case("typed_dict", r"""
    import typing

    class Film(typing.TypedDict):
        title: str
""", r"""
    import typing

    class Film(typing.TypedDict):
        title: str
        year: typing.NotRequired[int]
""", r"""
    import m, typing
    Film = m.Film
""", r"""
    assert Film is m.Film and Film(title="x", year=1) == {"title": "x", "year": 1}
    assert Film.__required_keys__ == {"title"} and Film.__optional_keys__ == {"year"}
    assert typing.get_type_hints(Film) == {"title": str, "year": int}
""")

# The module's own state

case("counter_starts_again", r"""
    counter = 0

    def bump():
        global counter
        counter += 1
        return counter
""", r"""
    counter = 0

    def bump():
        global counter
        counter += 10
        return counter
""", r"""
    import m
    bump = m.bump
    bump(), bump()
""", r"""
    assert m.counter == 0, "a module's state is its source"
    assert (bump(), m.counter) == (10, 10)
""")

case("mutable_state", {"m": r"""
    items = []

    def add(item):
        items.append(item)
""", "other": r"""
    from m import items
"""}, r"""
    items = ["first"]

    def add(item):
        items.append(item)
        return len(items)
""", r"""
    import m, other
    add, items = m.add, m.items
    add(1)
""", r"""
    assert m.items == ["first"] and other.items is m.items
    assert add(2) == 2 and items == [1]
""")

case("singleton", {"m": r"""
    class Config:
        def __init__(self):
            self.values = {}

        def get(self, name):
            return self.values.get(name)

    config = Config()
""", "other": r"""
    from m import config

    def read(name):
        return config.get(name)
"""}, r"""
    class Config:
        def __init__(self):
            self.values = {"mode": "new"}

        def get(self, name):
            return "value", self.values.get(name)

    config = Config()
""", r"""
    import m, other
    kept = m.config
    kept.values["mode"] = "kept"
""", r"""
    assert type(m.config) is m.Config is type(kept)
    assert other.config is m.config and other.read("mode") == ("value", "new")
    assert kept.get("mode") == ("value", "kept"), "an instance keeps its state and sees the new class"
""")

case("names_go", r"""
    LIMIT = 1
    import os

    def f():
        return 1

    class A:
        pass
""", r"""
    NAME = "x"
""", r"""
    import m
""", r"""
    assert m.NAME == "x"
    assert not [name for name in ("LIMIT", "os", "f", "A") if hasattr(m, name)]
    try:
        from m import f
    except ImportError:
        pass
    else:
        raise AssertionError("it can still be imported")
""")

case("module_attributes_of_others", r"""
    def f():
        return 1

    class A:
        x = 1
""", r"""
    def f():
        return 2, injected

    class A:
        x = 2
""", r"""
    import m
    m.injected = "injected"
    m.A.label = "label"
    m.A.extra = lambda self: ("extra", self.x)
    a = m.A()
""", r"""
    assert m.injected == "injected" and m.f() == (2, "injected")
    assert m.A.label == a.label == "label" and a.extra() == ("extra", 2)
""")

case("module_doc", r'''
    """Old."""
    x = 1
''', r'''
    """New."""
    x = 2
''', r"""
    import m
    module = m
""", r"""
    import sys
    assert module is m is sys.modules["m"]
    assert m.__doc__ == "New." and m.x == 2 and m.__name__ == "m"
""")

case("module_doc_goes", r'''
    """Old."""
    x: int = 1
''', r"""
    y: str = "2"
""", r"""
    import m
""", r"""
    assert m.__doc__ is None, m.__doc__
    assert m.__annotations__ == {"y": str}, m.__annotations__
""")

case("module_getattr", r"""
    def __getattr__(name):
        if name == "lazy":
            return "old"
        raise AttributeError(name)
""", r"""
    def __getattr__(name):
        if name in ("lazy", "late"):
            return "new " + name
        raise AttributeError(name)

    def __dir__():
        return ["late", "lazy"]
""", r"""
    import m
    before = m.lazy
""", r"""
    assert (before, m.lazy, m.late) == ("old", "new lazy", "new late")
    assert dir(m) == ["late", "lazy"] and not hasattr(m, "never")
""")

case("module_getattr_goes", r"""
    def __getattr__(name):
        return "anything"
""", r"""
    x = 1
""", r"""
    import m
    before = m.y
""", r"""
    assert before == "anything" and m.x == 1 and not hasattr(m, "y")
""")

case("all_changes", r"""
    __all__ = ["f"]

    def f():
        return "f"

    def g():
        return "g"
""", r"""
    __all__ = ["g"]

    def f():
        return "f"

    def g():
        return "g"
""", r"""
    import m
""", r"""
    names = {}
    exec("from m import *", names)
    assert "g" in names and "f" not in names
""")

case("all_goes", r"""
    __all__ = ["f"]

    def f():
        return "f"

    def g():
        return "g"
""", r"""
    def f():
        return "f"

    def g():
        return "g"
""", r"""
    import m
""", r"""
    names = {}
    exec("from m import *", names)
    assert not hasattr(m, "__all__") and "g" in names and "f" in names
""")

# Other modules

case("from_import", {"m": r"""
    LIMIT = 10

    def f():
        return "old"

    class A:
        x = 1
""", "other": r"""
    from m import LIMIT, f, A

    def get():
        return LIMIT, f(), A().x
"""}, r"""
    LIMIT = 20

    def f():
        return "new"

    class A:
        x = 2
""", r"""
    import m, other
""", r"""
    assert other.get() == (20, "new", 2), other.get()
    assert other.f is m.f and other.A is m.A
""")

case("from_import_as", {"m": r"""
    VALUE = "old"

    def f():
        return VALUE
""", "other": r"""
    import m as n
    from m import VALUE as value, f as g

    def get():
        return n.VALUE, value, g()
"""}, r"""
    VALUE = "new"

    def f():
        return [VALUE]
""", r"""
    import other
""", r"""
    assert other.get() == ("new", "new", ["new"]), other.get()
    import m
    assert other.n is m and other.g is m.f
""")

case("from_import_in_a_class_body", {"m": r"""
    LIMIT = 10

    def helper(self):
        return "old", self.LIMIT
""", "other": r"""
    class Uses:
        from m import LIMIT, helper

        class Inner:
            from m import LIMIT as limit
"""}, r"""
    LIMIT = 20

    def helper(self):
        return "new", self.LIMIT
""", r"""
    import m, other
    uses = other.Uses()
""", r"""
    assert uses.LIMIT == 20 and uses.helper() == ("new", 20)
    assert other.Uses.Inner.limit == 20
""")

case("from_import_of_everything", {"m": r"""
    LIMIT = 10
    _private = 1

    def f():
        return "old"
""", "other": r"""
    from m import *

    def get():
        return LIMIT, f()
"""}, r"""
    LIMIT = 20
    _private = 2

    def f():
        return "new"
""", r"""
    import m, other
""", r"""
    assert other.get() == (20, "new"), other.get()
    assert not hasattr(other, "_private")
""")

case("from_import_of_a_name_that_goes", {"m": r"""
    LIMIT = 10

    def gone():
        return "gone", LIMIT
""", "other": r"""
    from m import gone
"""}, r"""
    LIMIT = 20
""", r"""
    import m, other
""", r"""
    assert not hasattr(m, "gone")
    assert other.gone() == ("gone", 20)
""")

case("from_import_changed_by_the_importer", {"m": r"""
    LIMIT = 10
    NAME = "old"
""", "other": r"""
    from m import LIMIT, NAME

    LIMIT = LIMIT * 2
"""}, r"""
    LIMIT = 50
    NAME = "new"
""", r"""
    import m, other
""", r"""
    assert other.NAME == "new"
    assert other.LIMIT == 20, "the importer has bound it to something else"
""")

case("from_import_in_a_chain", {"m": r"""
    LIMIT = 10
""", "middle": r"""
    from m import LIMIT as middle
""", "end": r"""
    from middle import middle as end

    def get():
        return end
"""}, r"""
    LIMIT = 20
""", r"""
    import m, middle, end
""", r"""
    assert (middle.middle, end.end, end.get()) == (20, 20, 20)
""")

case("from_import_of_equal_values", {"m": r"""
    ONE = None
    TWO = None
""", "other": r"""
    from m import ONE, TWO

    THREE = None
"""}, r"""
    ONE = 1
    TWO = 2
""", r"""
    import m, other
""", r"""
    assert (other.ONE, other.TWO, other.THREE) == (1, 2, None)
""")

case("package_exports_anew", {"pkg.__init__": r"""
    from .sub import LIMIT, f
    from . import sub
""", "pkg.sub": r"""
    LIMIT = 10

    def f():
        return "old"
""", "other": r"""
    from pkg import LIMIT, f, sub
    import pkg.sub as renamed
"""}, {"pkg.sub": r"""
    LIMIT = 20

    def f():
        return "new"
"""}, r"""
    import pkg, other
    sub = pkg.sub
""", r"""
    import pkg.sub
    assert pkg.LIMIT == other.LIMIT == 20 and pkg.f() == other.f() == "new"
    assert pkg.sub is sub is other.sub is other.renamed
""")

case("package_changes", {"pkg.__init__": r"""
    NAME = "old"
    from .sub import value
""", "pkg.sub": r"""
    from pkg import NAME

    def value():
        return NAME
"""}, {"pkg.__init__": r"""
    NAME = "new"
    from .sub import value

    def more():
        return value()
"""}, r"""
    import pkg, pkg.sub
    sub, value = pkg.sub, pkg.value
""", r"""
    assert pkg.more() == value() == "new" and pkg.sub.NAME == "new"
    assert pkg.sub is sub and pkg.value is value is sub.value, "submodules stay"
""")

case("package_gains_module", {"pkg.__init__": r"""
    names = ["a"]
""", "pkg.a": r"""
    def f():
        return "a"
"""}, {"pkg.b": r"""
    from .a import f

    def g():
        return "b" + f()
""", "pkg.__init__": r"""
    names = ["a", "b"]
    from .b import g
"""}, r"""
    import pkg.a
    a = pkg.a
""", r"""
    assert pkg.names == ["a", "b"] and pkg.g() == "ba"
    assert pkg.a is a and pkg.b.f is a.f
""")

case("relative_import", {"pkg.__init__": r"""
""", "pkg.base": r"""
    class Base:
        def f(self):
            return "old"
""", "pkg.deep.__init__": r"""
    from ..base import Base
""", "pkg.deep.leaf": r"""
    from . import Base

    class Leaf(Base):
        def g(self):
            return super().f()
"""}, {"pkg.base": r"""
    class Base:
        def f(self):
            return "new"

        def h(self):
            return "h"
"""}, r"""
    import pkg.deep.leaf
    leaf = pkg.deep.leaf.Leaf()
""", r"""
    assert (leaf.f(), leaf.g(), leaf.h()) == ("new", "new", "h")
    assert pkg.deep.Base is pkg.base.Base is pkg.deep.leaf.Base
""")

case("two_modules_change", {"m": r"""
    def f():
        return "old"
""", "other": r"""
    import m

    VALUE = m.f()

    def g():
        return "old " + VALUE
"""}, {"m": r"""
    def f():
        return "new"

    def fresh():
        return "fresh"
""", "other": r"""
    from m import f, fresh

    VALUE = f() + fresh()

    def g():
        return "new " + VALUE
"""}, r"""
    import m, other
    g = other.g
""", r"""
    assert g is other.g and g() == "new newfresh", g()
    assert other.f is m.f and not hasattr(other, "m")
""")

case("base_and_derived_change", {"m": r"""
    class Base:
        def f(self):
            return "old base"
""", "other": r"""
    from m import Base

    class Derived(Base):
        def f(self):
            return "old " + super().f()
"""}, {"m": r"""
    class Base:
        def f(self, x="x"):
            return "base " + x
""", "other": r"""
    from m import Base

    class Derived(Base):
        def f(self, x="y"):
            return "derived " + super().f(x)
"""}, r"""
    import m, other
    d, bound = other.Derived(), other.Derived().f
""", r"""
    assert d.f() == bound() == "derived base y"
    assert other.Derived.__mro__ == (other.Derived, m.Base, object)
""")

case("modules_in_a_circle", {"m": r"""
    import other

    def f(n):
        return n if n == 0 else other.g(n - 1)
""", "other": r"""
    import m

    def g(n):
        return n if n == 0 else m.f(n - 1)
"""}, {"m": r"""
    import other

    def f(n):
        return "f" if n == 0 else other.g(n - 1)
""", "other": r"""
    import m

    def g(n):
        return "g" if n == 0 else m.f(n - 1)
"""}, r"""
    import m, other
    f, g = m.f, other.g
""", r"""
    assert f is m.f and g is other.g
    assert (f(2), f(3), g(2)) == ("f", "g", "g")
    assert m.other is other and other.m is m
""")

case("new_module", {"m": r"""
    def f():
        return "old"
"""}, {"extra": r"""
    def helper():
        return "helped"
""", "m": r"""
    from extra import helper

    def f():
        return helper()
"""}, r"""
    import m
    f = m.f
""", r"""
    assert f() == "helped"
    import extra
    assert m.helper is extra.helper
""")

case("class_moves", {"m": r"""
    class A:
        def f(self):
            return "old"
""", "other": r"""
    from m import A
"""}, {"base": r"""
    class A:
        def f(self):
            return "moved"
""", "m": r"""
    from base import A
"""}, r"""
    import m, other
    old = m.A()
""", r"""
    import base
    assert m.A is base.A is other.A and m.A().f() == "moved"
    assert old.f() in ("old", "moved")
""")

case("imports_change", r"""
    from math import floor as whole
    import string

    def f(x):
        return whole(x)
""", r"""
    from math import ceil as whole
    import operator

    def f(x):
        return operator.neg(whole(x))
""", r"""
    import m
    f = m.f
""", r"""
    assert f(1.5) == -2 and not hasattr(m, "string")
    import math
    assert math.floor(1.5) == 1 and m.whole is math.ceil, "what is imported is not the module's own"
""")

case("imported_function_is_not_overwritten", {"m": r"""
    from other import f
""", "other": r"""
    def f():
        return "other"

    class A:
        x = "other"
"""}, r"""
    def f():
        return "m"

    class A:
        x = "m"
""", r"""
    import m, other
    f = other.f
""", r"""
    assert (m.f(), m.A.x) == ("m", "m")
    assert other.f is f and f() == "other" and other.A.x == "other", "they are another module's"
""")

# What holds on to things

case("weak_references", r"""
    class A:
        x = 1

        def f(self):
            return 1

    def f():
        return 1
""", r"""
    class A:
        x = 2

        def f(self):
            return 2

    def f():
        return 2
""", r"""
    import m, gc, weakref
    gone = []
    references = [weakref.ref(thing, gone.append) for thing in (m.A, m.f, m.A.f)]
    table = weakref.WeakKeyDictionary({m.A: "A", m.f: "f"})
""", r"""
    gc.collect()
    assert [reference() for reference in references] == [m.A, m.f, m.A.f] and not gone
    assert (table[m.A], table[m.f]) == ("A", "f")
    assert references[0]().x == references[1]()() == references[2]()(None) == 2
""")

case("weak_references_to_methods", r"""
    class A:
        def f(self):
            return "old"
""", r"""
    class A:
        def f(self):
            return "new"
""", r"""
    import m, gc, weakref
    a = m.A()
    method = weakref.WeakMethod(a.f)
    instances = weakref.WeakSet([a])
""", r"""
    gc.collect()
    assert method() is not None and method()() == "new"
    assert method().__func__ is m.A.f and list(instances) == [a]
""")

case("pickles", r"""
    import enum

    class A:
        def __init__(self, x):
            self.x = x

        def f(self):
            return self.x

    class Colour(enum.Enum):
        RED = 1

    def f():
        return 1
""", r"""
    import enum

    class A:
        def __init__(self, x, y=0):
            self.x, self.y = x, y

        def f(self):
            return "new", self.x

    class Colour(enum.Enum):
        RED = 1
        BLUE = 2

    def f():
        return 2
""", r"""
    import m, pickle
    things = [m.A(5), m.A, m.f, m.Colour.RED]
    before = pickle.dumps(things)
""", r"""
    for data in (before, pickle.dumps(things)):
        a, A, f, red = pickle.loads(data)
        assert type(a) is A is m.A is type(things[0]) and a.f() == ("new", 5)
        assert f is m.f is things[2] and red is m.Colour.RED is things[3]
""")

case("instances_everywhere", r"""
    class A:
        def __init__(self, n):
            self.n = n

        def f(self):
            return "old"
""", r"""
    class A:
        def __init__(self, n):
            self.n = n

        def f(self):
            return self.n
""", r"""
    import m, copy, functools, itertools
    held = [m.A(0), {"k": m.A(1)}, (m.A(2),)]
    closed_over = (lambda a: lambda: a.f())(m.A(3))
    mapped = map(m.A.f, [m.A(4)])
    partial = functools.partial(m.A(5).f)
    deferred = itertools.chain([m.A(6)])
""", r"""
    assert [held[0].f(), held[1]["k"].f(), held[2][0].f()] == [0, 1, 2]
    assert (closed_over(), next(mapped), partial(), next(deferred).f()) == (3, 4, 5, 6)
    assert type(copy.copy(held[0])) is m.A
""")

case("functions_borrowed_by_other_classes", {"m": r"""
    def describe(self):
        return "old " + self.name

    class A:
        name = "A"

        def f(self):
            return "old f of " + self.name
""", "other": r"""
    import m

    class B:
        name = "B"
        describe = m.describe
        f = m.A.f
        shown = property(m.describe)
"""}, r"""
    def describe(self):
        return "new " + self.name

    class A:
        name = "A"

        def f(self):
            return "new f of " + self.name
""", r"""
    import m, other
    b = other.B()
""", r"""
    assert (b.describe(), b.f(), b.shown) == ("new B", "new f of B", "new B")
""")

case("patched_class_elsewhere", {"m": r"""
    def close(self):
        return "old"
""", "other": r"""
    import m

    class Door:
        pass

    Door.close = m.close
    doors = {"front": m.close}
"""}, r"""
    def close(self):
        return "new"
""", r"""
    import m, other
    door = other.Door()
""", r"""
    assert door.close() == other.doors["front"](door) == "new"
""")

# Updates that fail

case("syntax_error", {"m": r"""
    LIMIT = 1

    def f():
        return LIMIT
""", "other": r"""
    from m import LIMIT, f
"""}, r"""
    LIMIT = 2

    def f(:
        return LIMIT
""", r"""
    import m, other
    f = m.f
    m.LIMIT = 5
    before = dict(vars(m))
""", r"""
    assert dict(vars(m)) == before
    assert f is m.f and f() == 5 and other.LIMIT == 1 and other.f is f
""", error="SyntaxError")

case("exception_at_the_end", {"m": r"""
    counter = 0

    def f():
        return "old"

    class A:
        x = 1

        def f(self):
            return "old"
""", "other": r"""
    from m import A, counter, f
"""}, r"""
    counter = 100

    def f():
        return "new"

    def g():
        return "g"

    class A:
        x = 2

        def f(self):
            return "new"

    class B(A):
        pass

    1 / 0
""", r"""
    import m, other
    m.counter = 3
    a, A, f, method = m.A(), m.A, m.f, m.A.f
    before = dict(vars(m))
""", r"""
    assert dict(vars(m)) == before, sorted(vars(m))
    assert m.counter == 3 and m.f is f and f() == "old" and m.A is A and type(a) is A
    assert a.f() == "old" and a.x == 1 and A.f is method and not hasattr(m, "g")
    assert A.__subclasses__() == [] and (other.A, other.counter, other.f) == (A, 0, f)
""", error="ZeroDivisionError")

case("exception_in_a_class_body", r"""
    items = []

    class A:
        x = 1
""", r"""
    items = None

    class A:
        x = 2
        y = missing
""", r"""
    import m
    A, items = m.A, m.items
    items.append(1)
""", r"""
    assert m.A is A and A.x == 1 and m.items is items == [1]
""", error="NameError")

case("exception_in_a_decorator", r"""
    def check(function):
        return function

    @check
    def f():
        return "old"
""", r"""
    def check(function):
        raise ValueError(function.__name__)

    @check
    def f():
        return "new"
""", r"""
    import m
    f, check = m.f, m.check
""", r"""
    assert m.f is f and f() == "old"
    assert m.check is check and check(f) is f
""", error="ValueError")

case("import_that_fails", {"m": r"""
    from other import f

    def g():
        return f()
""", "other": r"""
    def f():
        return "old"
"""}, r"""
    from other import f, missing

    def g():
        return missing()
""", r"""
    import m, other
    g = m.g
""", r"""
    assert m.g is g and g() == "old" and m.f is other.f
""", error="ImportError")

case("second_module_fails", {"m": r"""
    LIMIT = 1

    def f():
        return "old"
""", "other": r"""
    from m import LIMIT, f

    def g():
        return f(), LIMIT
"""}, {"m": r"""
    LIMIT = 2

    def f():
        return "new"
""", "other": r"""
    from m import LIMIT, f

    if LIMIT > 1:
        raise RuntimeError("too much")
"""}, r"""
    import m, other
    f, g = m.f, other.g
""", r"""
    assert m.LIMIT == 1 and m.f is f and f() == "old", "all modules or none"
    assert other.g is g and g() == ("old", 1)
""", error="RuntimeError")

case("new_module_that_fails", {"m": r"""
    def f():
        return "old"
"""}, {"extra": r"""
    def helper():
        return 1

    raise KeyError("extra")
""", "m": r"""
    from extra import helper

    def f():
        return helper()
"""}, r"""
    import m, sys
    f = m.f
""", r"""
    assert m.f is f and f() == "old" and not hasattr(m, "helper")
    assert "extra" not in sys.modules
""", error="KeyError")

case("bases_that_do_not_fit", r"""
    class A:
        pass

    class B(A):
        def f(self):
            return "old"
""", r"""
    class A:
        pass

    class B(A):
        pass

    class C(A, B):
        pass
""", r"""
    import m
    b, A = m.B(), m.A
""", r"""
    assert b.f() == "old" and type(b) is m.B and m.A is A and not hasattr(m, "C")
    assert [cls.__name__ for cls in A.__subclasses__()] == ["B"]
""", error="TypeError")

case("init_subclass_that_fails", {"m": r"""
    class Base:
        def __init_subclass__(cls):
            cls.seen = True

    class A(Base):
        x = 1
""", "other": r"""
    from m import Base

    class C(Base):
        pass
"""}, r"""
    class Base:
        def __init_subclass__(cls):
            raise LookupError(cls.__name__)

    class A(Base):
        x = 2
""", r"""
    import m, other
    a = m.A()
""", r"""
    assert type(a) is m.A and a.x == 1 and m.A.__bases__ == (m.Base,)

    class D(m.Base):
        pass

    assert D.seen and sorted(cls.__name__ for cls in m.Base.__subclasses__()) == ["A", "C", "D"]
""", error="LookupError")

case("running_generator_after_failure", r"""
    def numbers():
        yield 1
        yield 2
""", r"""
    def numbers():
        yield 10

    assert not list(numbers()), "wrong"
""", r"""
    import m
    numbers = m.numbers
    running = numbers()
    next(running)
""", r"""
    assert list(running) == [2] and list(numbers()) == [1, 2] and m.numbers is numbers
""", error="AssertionError")

# What can only be replaced

case("slots_come", {"m": r"""
    class P:
        def __init__(self, x):
            self.x = x

        def f(self):
            return "old"
""", "other": r"""
    from m import P

    def make():
        return P(1)
"""}, r"""
    class P:
        __slots__ = ("x",)

        def __init__(self, x):
            self.x = x

        def f(self):
            return "new"
""", r"""
    import m, other
    p = other.make()
    p.extra = 1
""", r"""
    assert not hasattr(m.P(1), "__dict__") and other.P is m.P and other.make().f() == "new"
    assert p.x == p.extra == 1 and p.f() == ("new" if isinstance(p, m.P) else "old")
""", replaced=("m.P",))

case("slots_change", {"m": r"""
    class P:
        __slots__ = ("x",)

        def f(self):
            return "old"
""", "other": r"""
    from m import P
"""}, r"""
    class P:
        __slots__ = ("x", "y")

        def f(self):
            return "new"
""", r"""
    import m, other
    p = m.P()
    p.x = 1
""", r"""
    fresh = m.P()
    fresh.x, fresh.y = 2, 3
    assert (fresh.x, fresh.y, fresh.f()) == (2, 3, "new") and other.P is m.P
    assert p.x == 1 and p.f() == ("new" if isinstance(p, m.P) else "old")
""", replaced=("m.P",))

case("slots_go", {"m": r"""
    class P:
        __slots__ = ("x",)
""", "other": r"""
    import m

    class Q(m.P):
        __slots__ = ("z",)
"""}, r"""
    class P:
        def f(self):
            return "new"
""", r"""
    import m, other
    p = m.P()
    p.x = 1
""", r"""
    fresh = m.P()
    fresh.anything = 1
    assert vars(fresh) == {"anything": 1} and fresh.f() == "new"
    assert p.x == 1
""", replaced=("m.P",))

case("base_is_a_builtin", r"""
    class A:
        def f(self):
            return "old"
""", r"""
    class A(dict):
        def f(self):
            return "new"
""", r"""
    import m
    a = m.A()
""", r"""
    fresh = m.A(x=1)
    assert fresh == {"x": 1} and fresh.f() == "new"
    assert a.f() == ("new" if isinstance(a, m.A) else "old")
""", replaced=("m.A",))

case("class_gains_its_first_base", r"""
    class B:
        def g(self):
            return "B"

    class A:
        def f(self):
            return "old"
""", r"""
    class B:
        def g(self):
            return "new B"

    class A(B):
        def f(self):
            return "new " + self.g()
""", r"""
    import m
    a, b = m.A(), m.B()
""", r"""
    assert m.A().f() == "new new B" and issubclass(m.A, m.B) and b.g() == "new B"
    assert a.f() == ("new new B" if isinstance(a, m.A) else "old")
""", replaced=("m.A",))

case("class_loses_its_last_base", r"""
    class B:
        def g(self):
            return "B"

    class A(B):
        def f(self):
            return "old"
""", r"""
    class B:
        def g(self):
            return "B"

    class A:
        def f(self):
            return "new"
""", r"""
    import m
    a = m.A()
""", r"""
    assert m.A().f() == "new" and not issubclass(m.A, m.B) and not hasattr(m.A, "g")
    assert a.f() == ("new" if isinstance(a, m.A) else "old")
""", replaced=("m.A",))

case("replaced_class_and_its_neighbours", {"m": r"""
    class Node:
        __slots__ = ("value",)

        def __init__(self, value):
            self.value = value

    def make(value):
        return Node(value)

    class Tree:
        node = Node

        def f(self):
            return "old"
""", "other": r"""
    from m import make, Node
"""}, r"""
    class Node:
        __slots__ = ("value", "next")

        def __init__(self, value):
            self.value, self.next = value, None

    def make(value):
        return Node(value)

    class Tree:
        node = Node

        def f(self):
            return "new"
""", r"""
    import m, other
    make, tree, old = m.make, m.Tree(), m.make(1)
""", r"""
    assert make is m.make is other.make and make(2).next is None and type(make(2)) is m.Node
    assert type(tree) is m.Tree and tree.f() == "new" and tree.node is m.Node is other.Node
    assert old.value == 1
""", replaced=("m.Node",))

assert len({one.name for one in CASES}) == len(CASES)
