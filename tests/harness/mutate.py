"""Mutants of a file: bytes damaged as disks and copies damage them, and documents whose parts are something else."""

import json
import random
import tomllib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

DIGITS = "9" * 5000
DEEP = "[" * 3000 + "]" * 3000
_RAW = "<<raw>>"
# What stands where something else belongs, as a document writes it.
VALUES = [
    *(
        "null",
        "true",
        "false",
        "0",
        "-1",
        "7",
        "1.5",
        "-0.0",
        "1e400",
        "10000000000",
        "1000000000000000000000000000000",
    ),
    *('""', '"abc"', '"-"', '"../../x"', '"\\u0000"', '"\\ud800"', '"\\u001b[31mred"', '"' + "long " * 2000 + '"'),
    *("[]", "{}", "[1]", "[null]", '["a", 1]', '{"a": 1}', '[{"a": [1]}]', "[[1.5]]"),
]


class Mutant(NamedTuple):
    """A changed file.

    Attributes:
        kind: How it was changed, such as `duplicate key`.
        content: Its bytes.
        must: Whether taking it without a word is a fault, whatever the values are.
    """

    kind: str
    content: bytes
    must: bool = False


def of_bytes(sample: bytes, rng: random.Random) -> Mutant:
    """Flips, cuts, holes, repeats and noise."""
    kind = rng.choice(["flip", "cut", "hole", "repeat", "noise", "zeros", "swap"])
    data, size = bytearray(sample), len(sample)
    start = rng.randrange(size)
    length = min(size - start, int(2 ** rng.uniform(0, 10)))
    piece = slice(start, start + length)
    if kind == "flip":
        for _ in range(rng.choice([1, 1, 2, 8])):
            data[rng.randrange(size)] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del data[start:]
    elif kind == "hole":
        del data[piece]
    elif kind == "repeat":
        data[start:start] = data[piece]
    elif kind == "noise":
        data[piece] = rng.randbytes(length)
    elif kind == "zeros":
        data[piece] = bytes(length)
    else:
        data[start], data[-1 - start] = data[-1 - start], data[start]
    return Mutant(kind, bytes(data))


class Document:
    """A document with its places, and the types of values by kind of place."""

    def __init__(self, tree: Any) -> None:
        self.tree = tree
        self.paths = list(_paths(tree, ()))
        self.types: dict[Any, set[str]] = {}
        for path in self.paths:
            self.types.setdefault(_shape(path), set()).add(_type(_at(tree, path)))


def of_document(
    document: Document, dumps: Callable[[Any, str], str], rng: random.Random, *, typed: bool, toml: bool
) -> Mutant:
    """Another value, key or literal at one place of a document.

    Args:
        document: The document.
        dumps: Writes a tree, with the second argument in place of `_RAW`.
        rng: Draws the place and the change.
        typed: Whether a value of a type that its place never has is a fault.
        toml: Whether it is TOML, where there is no null.
    """
    tree = document.tree
    path = rng.choice(document.paths)
    keyed = path and isinstance(path[-1], str)
    kind = rng.choice(
        ["value"] * 6
        + ["digits", "deep", "not finite"]
        + (["gone", "renamed", "added", "duplicate key"] if keyed else [])
    )
    if kind == "value":
        text = rng.choice(VALUES[3:] if toml else VALUES)
        new = _type(json.loads(text))
        types = document.types[_shape(path)]
        sound = types | {"null", "not finite"} | ({"int"} if "float" in types else set())
        return Mutant(f"value: {new}", dumps(_with(tree, path, _RAW), text).encode(), typed and new not in sound)
    if kind == "digits":
        return Mutant(kind, dumps(_with(tree, path, _RAW), DIGITS).encode(), True)
    if kind == "deep":
        return Mutant(kind, dumps(_with(tree, path, _RAW), DEEP).encode(), True)
    if kind == "not finite":
        text = rng.choice(["nan", "inf", "-inf"] if toml else ["NaN", "Infinity", "-Infinity"])
        return Mutant(kind, dumps(_with(tree, path, _RAW), text).encode(), typed)
    if kind == "gone":
        return Mutant(kind, dumps(_without(tree, path), "").encode())
    if kind == "renamed":
        return Mutant(
            kind, dumps(_with(_without(tree, path), (*path[:-1], f"{path[-1]}x"), _at(tree, path)), "").encode()
        )
    if kind == "added":
        return Mutant(kind, dumps(_with(tree, (*path[:-1], "unheard of"), 1), "").encode())
    text, other = dumps(_at(tree, path), ""), rng.choice(VALUES[3:])
    mark = " = " if toml and len(path) <= 3 else ": "
    again = f"{text}\n{path[-1]} = {other}" if mark == " = " else f"{text}, {json.dumps(path[-1])}: {other}"
    return Mutant(kind, dumps(_with(tree, path, _RAW), again).encode(), True)


def mutants(sample: bytes, form: str, count: int, seed: int, *, typed: bool) -> Iterator[Mutant]:
    """The first `count` mutants of a file, the same ones for a seed.

    Args:
        sample: A sound file.
        form: `json`, `jsonl`, `toml`, or `bytes` for all others.
        count: How many.
        seed: Draws them.
        typed: As in `of_document`.
    """
    rng = random.Random(seed)
    whole = [
        b"",
        b"\n",
        b"null",
        b"[]",
        b"{}",
        b"3",
        b'"text"',
        b"\xff\xfe",
        DEEP.encode(),
        DIGITS.encode(),
        b"\x00" * 64,
    ]
    yield from (
        Mutant("whole", content, typed and content != b"{}")
        for content in whole[:count]
        if content.strip() or form != "toml"
    )
    lines = [] if form == "bytes" else sample.decode().splitlines() if form == "jsonl" else [sample.decode()]
    load, dumps = (tomllib.loads, _toml) if form == "toml" else (json.loads, _json)
    documents = [Document(load(line)) for line in lines]
    for number in range(len(whole), count):
        if form == "bytes" or number % 4 == 0:
            yield of_bytes(sample, rng)
            continue
        index = rng.randrange(len(lines))
        mutant = of_document(documents[index], dumps, rng, typed=typed, toml=form == "toml")
        changed = [*lines[:index], mutant.content.decode(), *lines[index + 1 :]]
        yield mutant._replace(content="\n".join(changed).encode())


def _json(tree: Any, raw: str) -> str:
    return json.dumps(tree, ensure_ascii=False).replace(json.dumps(_RAW), raw)


def _toml(tree: Any, raw: str) -> str:
    """Tables of a table are inline, but for a list of tables at the top, as files of gates have it."""
    if not isinstance(tree, dict):
        return _inline(tree)
    plain = [f"{key} = {_inline(value)}" for key, value in tree.items() if not _tables(value)]
    tables = [
        f"[[{key}]]\n" + "\n".join(f"{name} = {_inline(value)}" for name, value in table.items())
        for key, value in tree.items()
        if _tables(value)
        for table in value
    ]
    return "\n".join([*plain, *tables]).replace(json.dumps(_RAW), raw)


def _tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return json.dumps(value)


def _type(value: Any) -> str:
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return "not finite"
    return "null" if value is None else type(value).__name__


def _shape(path: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple("[]" if isinstance(key, int) else key for key in path)


def _paths(tree: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    yield path
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield from _paths(value, (*path, key))


def _at(tree: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def _with(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    key = path[0]
    copy[key] = _with(copy[key], path[1:], value) if len(path) > 1 else value
    return copy


def _without(tree: Any, path: tuple[Any, ...]) -> Any:
    if len(path) == 1:
        return {key: value for key, value in tree.items() if key != path[0]}
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[path[0]] = _without(copy[path[0]], path[1:])
    return copy
