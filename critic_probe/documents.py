"""JSON, TOML and small text from outside: one way in, bounded, held against a schema, and one line for what is wrong.

A schema is a `TypedDict`, or any other type that pydantic reads; it names what is used, and lets other keys be.
"""

import json
import re
import reprlib
import tomllib
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_type_hints

from typing_extensions import TypedDict

from critic_probe.errors import CriticProbeError
from critic_probe.text import neutralise

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

_T = TypeVar("_T")
SMALL = 1 << 26  # bytes of a config, an index, a file of gates
LARGE = 1 << 31  # bytes of a result or a baseline, which hold a row a pair
_DEPTH = 100
_DIGITS = 100  # of an integer: tokenizers write 10 ** 30 for "no limit"
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # as JSON escapes one, in a pair or alone
_LONG = re.compile(rf"\d{{{_DIGITS + 1}}}")


class DocumentError(ValueError):
    """What is wrong with a document, without its name and the cure."""


def read_text(path: Path, cure: str, most: int = SMALL) -> str:
    """A text file in UTF-8.

    Args:
        path: The file.
        cure: What to do if it is none, as the end of a sentence.
        most: The most bytes that it may have.

    Raises:
        CriticProbeError: It is not there, no file, too large, or not UTF-8.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(most + 1)
    except IsADirectoryError:
        raise CriticProbeError(f"{path}: a directory, not a file; {cure}") from None
    except (OSError, ValueError) as error:  # a null byte in the name is a ValueError
        raise CriticProbeError(f"{path}: cannot be read ({getattr(error, 'strerror', error)}); {cure}") from error
    if len(data) > most:
        raise CriticProbeError(f"{path}: larger than the {most:,} bytes that such a file may have; {cure}")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CriticProbeError(f"{path}: not valid UTF-8 (at offset {error.start}); {cure}") from None


def read_json(path: Path, cure: str, schema: type[_T], most: int = SMALL) -> _T:
    """A JSON file of a schema.

    Args:
        path: The file.
        cure: What to do if it is wrong, as the end of a sentence.
        schema: What it must hold.
        most: The most bytes that it may have.

    Raises:
        CriticProbeError: It cannot be read, is no JSON, or holds something else; the line names the place.
    """
    text = read_text(path, cure, most)
    content = _parsed(parse_json, text, str(path), cure)
    if _LONG.search(text):
        _parsed(_bounded, content, str(path), cure)
    if _SURROGATE.search(text) and not _encodable(content):
        raise CriticProbeError(f"{path}: holds a lone surrogate, which is no character; {cure}")
    return checked(content, schema, str(path), cure)


def read_toml(text: str, source: str, cure: str) -> dict[str, Any]:
    """The table that a TOML text holds; `source` names the text in errors.

    Raises:
        CriticProbeError: It is no TOML.
    """
    return cast(dict[str, Any], _parsed(_parse_toml, text, source, cure))


def _parsed(parse: Callable[[Any], Any], text: Any, source: str, cure: str) -> Any:
    try:
        return parse(text)
    except DocumentError as error:
        raise CriticProbeError(f"{source}: {error}; {cure}") from None


def parse_json(text: str, parse_float: Callable[[str], float] = float) -> Any:
    """The value that a JSON text writes.

    Args:
        text: JSON, in which NaN and the infinities may stand: what reads them refuses them.
        parse_float: Makes a number with a fraction or an exponent.

    Raises:
        DocumentError: It is no JSON, an object names a key twice, or lists and objects are nested or integers written
            longer than anything that is meant.
    """
    try:
        value = json.loads(text, parse_float=parse_float, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno} " if error.lineno > 1 else ""
        raise DocumentError(f"not valid JSON ({error.msg}, {line}column {error.colno})") from error
    except RecursionError:
        raise DocumentError(f"not valid JSON (nested deeper than {_DEPTH})") from None
    except DocumentError:
        raise
    except ValueError:  # above Python's own limit
        raise DocumentError("holds an integer of thousands of digits") from None
    if text.count("[") + text.count("{") > _DEPTH:
        _bounded(value)
    return value


def _encodable(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise DocumentError(f"names {shown(twice)} twice in one object")
    return made


def _parse_toml(text: str) -> dict[str, Any]:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DocumentError(f"not valid TOML ({error})") from error
    except RecursionError:
        raise DocumentError(f"not valid TOML (nested deeper than {_DEPTH})") from None
    except ValueError:  # above Python's own limit
        raise DocumentError(f"holds an integer of more than {_DIGITS} digits") from None
    _bounded(table)
    return table


def _bounded(value: Any) -> None:
    """Refuses what is nested too deeply, without recursion, and integers of TOML that are too long."""
    layer: list[Any] = [value]
    for _ in range(_DEPTH):
        inner: list[Any] = []
        for each in layer:
            if isinstance(each, dict):
                inner += each.values()
            elif isinstance(each, list):
                inner += each
            elif isinstance(each, int) and abs(each) >= 10**_DIGITS:
                raise DocumentError(f"holds an integer of more than {_DIGITS} digits")
        if not inner:
            return
        layer = inner
    raise DocumentError(f"nested deeper than {_DEPTH}")


def checked(content: Any, schema: type[_T], source: str, cure: str) -> _T:
    """What a document holds, if it is of a schema: as it is, with the keys that the schema does not name.

    Args:
        content: A parsed document.
        schema: What it must hold; a float of it must be finite.
        source: The document's name.
        cure: What to do if it is wrong, as the end of a sentence.

    Raises:
        CriticProbeError: It holds something else; the line names the place, what stands there and what should.
    """
    from pydantic import ValidationError

    try:
        _adapter(cast(Any, schema)).validate_python([content])
    except ValidationError as error:
        raise CriticProbeError(f"{source}: {_first(error.errors(include_url=False), content)}; {cure}") from None
    return cast(_T, content)


@lru_cache
def _adapter(schema: Any) -> "TypeAdapter[Any]":
    from pydantic import TypeAdapter

    # In a list, since what pydantic is told of a schema itself it does not take for a TypedDict.
    return TypeAdapter(list[schema], config={"strict": True, "allow_inf_nan": False})


def _first(errors: "Sequence[ErrorDetails]", content: Any) -> str:
    """The first fault in words: its place, what stands there, and what should."""
    error = errors[0]
    place, path = _place(error["loc"][1:], content)
    if error["type"] == "missing":
        return f"has no {_joined((*path, error['loc'][-1]))}"
    here = [_WANTED.get(e["type"], e["msg"]) for e in errors if _place(e["loc"][1:], content)[1] == path]
    wanted = " or ".join(each.format(**error.get("ctx", {})) for each in dict.fromkeys(here))
    return f"{_joined(path)} is {shown(place)}, not {wanted}" if path else f"holds {shown(place)}, not {wanted}"


_WANTED = {
    "float_type": "a number",
    "finite_number": "a finite number",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "an object",
    "mapping_type": "an object",
    "literal_error": "{expected}",
}


def _place(location: Iterable[int | str], content: Any) -> tuple[Any, tuple[int | str, ...]]:
    """What lies at a place, and the way there without pydantic's own words for alternatives."""
    path: list[int | str] = []
    for key in location:
        try:
            content = content[key]
        except (KeyError, IndexError, TypeError):
            continue
        path.append(key)
    return content, tuple(path)


def _joined(path: Iterable[int | str]) -> str:
    """A place as one writes it: `gates[3].min`; items are counted from 0, as programs do."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")
    return f"'{neutralise(text[:100])}'"


def shown(value: Any) -> str:
    """A value as an error quotes it: as JSON writes a plain one, and short."""
    if isinstance(value, dict | list):
        kind = "an object" if isinstance(value, dict) else "a list"
        return f"{kind} of {len(value):,}" if value else f"an empty {kind.split()[1]}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return neutralise(reprlib.repr(value))


def fields_of(kind: type, *without: str) -> Any:
    """A schema of the fields of a dataclass, of which any may be missing."""
    types = {name: kept for name, kept in get_type_hints(kind).items() if name not in without}
    return TypedDict(kind.__name__, types, total=False)  # type: ignore[operator]
