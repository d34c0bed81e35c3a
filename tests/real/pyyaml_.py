"""PyYAML in pure Python: documents, types, anchors, own tags, errors, dumping."""

import datetime
import importlib.metadata
import textwrap

import yaml

assert not yaml.__with_libyaml__, "this is the pure Python library"

text = textwrap.dedent(
    """\
    name: demo   # a comment
    numbers: [1, 0x1F, 1_000, 3.5, .inf, -2e3]
    flags: {yes: true, no: ~}
    when: 2024-02-29
    at: 2001-12-14t21:59:43.10-05:00
    base: &base {a: 1, b: 2}
    derived:
      <<: *base
      b: 3
    literal: |
      first
        second
    folded: >-
      one
      two
    binary: !!binary aGVsbG8=
    set: !!set {x, y}
    "quoted \\u00e9\\n": 'it''s'
    """
)
data = yaml.safe_load(text)
assert data["name"] == "demo" and data["numbers"] == [1, 31, 1000, 3.5, float("inf"), "-2e3"], data["numbers"]
assert data["flags"] == {True: True, False: None}
assert data["when"] == datetime.date(2024, 2, 29)
assert data["at"].utcoffset() == datetime.timedelta(hours=-5) and data["at"].microsecond == 100_000
assert data["derived"] == {"a": 1, "b": 3} and data["base"] == {"a": 1, "b": 2}
assert data["literal"] == "first\n  second\n" and data["folded"] == "one two"
assert data["binary"] == b"hello" and data["set"] == {"x", "y"}
assert data["quoted é\n"] == "it's"
assert list(yaml.safe_load_all("--- 1\n--- [2]\n...\n")) == [1, [2]]

# Identity of anchors, recursion.
left, right = yaml.safe_load("[&x [1], *x]")
assert left is right
loop = yaml.safe_load("&me [*me]")
assert loop[0] is loop and yaml.safe_dump(loop) == "&id001\n- *id001\n"

# Round trip, styles.
value = {"b": [1, 2.5, None, True, "yes", "12", "a: b", ""], "a": {"date": datetime.date(2020, 1, 2), "bytes": b"\x00\xff"}}
assert yaml.safe_load(yaml.safe_dump(value)) == value
assert yaml.safe_dump({"b": 1, "a": [1, 2]}) == "a:\n- 1\n- 2\nb: 1\n"
assert yaml.safe_dump({"b": 1, "a": [1, 2]}, sort_keys=False, default_flow_style=True) == "{b: 1, a: [1, 2]}\n"
assert yaml.safe_dump("é", allow_unicode=True) == "é\n...\n"
assert yaml.safe_dump("é") == '"\\xE9"\n'
assert yaml.dump("x\ny\n", default_style="|") == "|\n  x\n  y\n"
assert yaml.safe_dump_all([1, 2], explicit_start=True) == "--- 1\n--- 2\n...\n"


# Own classes: a YAMLObject, a constructor, an implicit resolver, a representer.
class Monster(yaml.YAMLObject):
    yaml_tag = "!Monster"
    yaml_loader = yaml.SafeLoader
    yaml_dumper = yaml.SafeDumper

    def __init__(self, name, hp):
        self.name, self.hp = name, hp


monster = yaml.safe_load("!Monster {name: Cave lizard, hp: [3, 6]}")
assert type(monster) is Monster and monster.hp == [3, 6]
assert yaml.safe_dump(Monster("Bat", 1)) == "!Monster\nhp: 1\nname: Bat\n"


class Loader(yaml.SafeLoader):
    pass


Loader.add_constructor("!join", lambda loader, node: "-".join(loader.construct_sequence(node)))
Loader.add_implicit_resolver("!dice", __import__("re").compile(r"^\d+d\d+$"), list("0123456789"))
Loader.add_constructor("!dice", lambda loader, node: tuple(map(int, node.value.split("d"))))
assert yaml.load("[!join [a, b], 3d6]", Loader) == ["a-b", (3, 6)]
assert yaml.safe_load("3d6") == "3d6"

# Python objects: only the unsafe loader makes them, and finds them by name.
dumped = yaml.dump({"point": complex(1, 2), "kind": datetime.timedelta, "pair": (1, 2)})
assert "!!python/complex" in dumped and "!!python/name:datetime.timedelta" in dumped, dumped
assert yaml.unsafe_load(dumped) == {"point": 1 + 2j, "kind": datetime.timedelta, "pair": (1, 2)}
made = yaml.unsafe_load(f"!!python/object:{__name__}.Monster {{name: Rat, hp: 2}}")
assert type(made) is Monster and made.name == "Rat"
for loader in (yaml.SafeLoader, yaml.FullLoader):
    try:
        yaml.load("!!python/object/apply:os.getcwd []", loader)
    except yaml.constructor.ConstructorError as error:
        assert "could not determine a constructor" in str(error)
    else:
        raise AssertionError(f"{loader} made an object")

# Errors say where.
for bad, line, column, problem in [
    ("a: [1, 2", 0, 8, "expected ',' or ']', but got '<stream end>'"),
    ("a: b: c", 0, 4, "mapping values are not allowed here"),
    ("a: 1\n\tb: 2", 1, 0, "found character '\\t' that cannot start any token"),
    ("a: *nothing", 0, 3, "found undefined alias 'nothing'"),
]:
    try:
        yaml.safe_load(bad)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        assert (mark.line, mark.column, error.problem) == (line, column, problem), (bad, str(error))
    else:
        raise AssertionError(bad)

tokens = [type(token).__name__ for token in yaml.scan("[a]")]
assert tokens[1:-1] == ["FlowSequenceStartToken", "ScalarToken", "FlowSequenceEndToken"]
assert yaml.serialize(yaml.compose("{a: 1}")) == "{a: 1}\n"

print("ok: pyyaml", importlib.metadata.version("pyyaml"))
