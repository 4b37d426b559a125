"""Stored outputs, and what counts as the same output on another machine.

Numbers may differ as arithmetic does between machines, and versions of libraries as they like; all else is exact.
"""

import json
import re
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

RELATIVE = 1e-4  # float32 over a few layers, then differences of scores
NOISE = 1e-4  # in units of a score: what stays below it is arithmetic's, whatever its digits
RATIO = 2e-6  # a ratio r over a figure that barely leaves the noise moves by r^2 times the noise
DIGITS = 7
NUMBER = re.compile(r"(?<![\w.#-])[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?(?![\w])")
COLOUR = re.compile(r"#[0-9a-f]{6}\b")
SIGNATURE = re.compile(r"^critic-probe \d[^\n]{,67}(?:\n[^\n]+)*", re.MULTILINE)  # as a terminal wraps it
VERSION = re.compile(r"(critic-probe|torch|transformers) \d[\w.+]*")


@dataclass(frozen=True)
class Stored:
    """A folder of outputs.

    Attributes:
        folder: Where they lie.
        update: Write what differs instead of failing.
    """

    folder: Path
    update: bool

    def holds(self, name: str, found: Any) -> None:
        """Holds an output against the stored one.

        Args:
            name: Its file: .json for plain values, anything else for text.
            found: The output.

        Raises:
            AssertionError: They differ, or none is stored.
        """
        path = self.folder / name
        plain = path.suffix == ".json"
        found = in_order(without_versions(found)) if plain else same_signature(found)
        told = [f"{path} does not exist"]
        if path.exists():
            text = path.read_text(encoding="utf-8")
            told = list(differences(json.loads(text) if plain else text, found))
        if told and self.update:
            path.write_text(pretty(found) if plain else found, encoding="utf-8")
        elif told:
            shown = "\n".join(told[:20])
            raise AssertionError(
                f"{name} differs in {len(told)} places; if it should: pytest tests/golden --golden-update\n{shown}"
            )


def differences(stored: Any, found: Any, place: str = "") -> list[str]:
    """Where two outputs differ, a line a place.

    Args:
        stored: Plain values or text.
        found: The same of now.
        place: Where in the whole they stand.
    """
    if isinstance(stored, dict) and isinstance(found, dict):
        told = [f"{place}: keys {list(stored)}, now {list(found)}"] if list(stored) != list(found) else []
        return told + [
            line for key in stored if key in found for line in differences(stored[key], found[key], f"{place}.{key}")
        ]
    if isinstance(stored, list) and isinstance(found, list):
        told = [f"{place}: {len(stored)} entries, now {len(found)}"] if len(stored) != len(found) else []
        pairs = enumerate(zip(stored, found, strict=False))
        return told + [line for i, (a, b) in pairs for line in differences(a, b, f"{place}[{i}]")]
    if isinstance(stored, str) and isinstance(found, str):
        return text_differences(stored, found, place)
    if type(stored) is type(found) is float:
        same = abs(stored - found) <= _allowed(stored)
    else:
        same = type(stored) is type(found) and stored == found
    return [] if same else [f"{place}: {stored!r}, now {found!r}"]


def text_differences(stored: str, found: str, place: str = "") -> list[str]:
    """Lines of two texts that differ; a number may differ in its last digit where it has decimals.

    White space counts, but where a number is longer or shorter than it was, which moves what follows: then it is words
    that are compared.
    """
    before, now = NUMBER.findall(stored), NUMBER.findall(found)
    a, b = (stored, found)
    if [len(number) for number in before] != [len(number) for number in now]:
        a, b = ("\n".join(re.sub("─+", "─", text).split()) for text in (stored, found))
    return [
        f"{place}:{number}: {one!r}, now {other!r}"
        for number, (one, other) in enumerate(zip_longest(a.split("\n"), b.split("\n")), 1)
        if one is None or other is None or not _same_line(one, other)
    ]


def _same_line(stored: str, found: str) -> bool:
    numbers = zip(NUMBER.findall(stored), NUMBER.findall(found), strict=False)
    colours = zip(COLOUR.findall(stored), COLOUR.findall(found), strict=False)
    frames = {COLOUR.sub("#", NUMBER.sub("0", line)) for line in (stored, found)}
    return len(frames) == 1 and all(_same_number(*n) for n in numbers) and all(_near(*c) for c in colours)


def _same_number(stored: str, found: str) -> bool:
    a, b = (float(number.replace(",", "")) for number in (stored, found))
    if a == b or max(abs(a), abs(b)) < NOISE:
        return True
    mantissa, _, exponent = stored.partition("e")
    decimals = len(mantissa.partition(".")[2]) - int(exponent or 0)
    return "." in mantissa and abs(a - b) < max(1.5 * 10.0**-decimals, _allowed(a))


def _allowed(value: float) -> float:
    return NOISE + RELATIVE * abs(value) + RATIO * value**2


def _near(stored: str, found: str) -> bool:
    """Whether two colours differ by one level of 256 at most."""
    return all(abs(int(stored[i : i + 2], 16) - int(found[i : i + 2], 16)) <= 1 for i in (1, 3, 5))


def same_signature(text: str) -> str:
    """A text with its signature on one line and without versions."""
    text = SIGNATURE.sub(lambda match: " ".join(match[0].split()), text)
    return VERSION.sub(r"\1 VERSION", text)


def without_versions(value: Any) -> Any:
    """Plain values with the versions of a signature named VERSION."""
    if isinstance(value, dict):
        signed = {"torch", "transformers", "version"} & set(value) if "torch" in value else set()
        return {key: "VERSION" if key in signed else without_versions(item) for key, item in value.items()}
    return [without_versions(item) for item in value] if isinstance(value, list) else value


def in_order(value: Any) -> Any:
    """Plain values in whose tables of edits what no more than arithmetic moved stands last, by its words.

    Those rows are sorted by how far they moved, which another machine does otherwise.
    """
    if isinstance(value, dict):
        return {key: in_order(item) for key, item in value.items()}
    if not isinstance(value, list) or not all(
        isinstance(row, dict) and {"delta", "floor"} <= set(row) for row in value
    ):
        return value
    moved = [row for row in value if abs(row["delta"]) > row["floor"]]
    still = [row for row in value if abs(row["delta"]) <= row["floor"]]
    return moved + sorted(still, key=lambda row: [str(cell) for cell in row.values() if not isinstance(cell, float)])


def pretty(value: Any) -> str:
    """JSON with a line a row of each table, and no more digits than are compared."""
    return _pretty(_short(value), "") + "\n"


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_short(item) for item in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _pretty(value: Any, indent: str) -> str:
    text = json.dumps(value, ensure_ascii=False)
    deep = isinstance(value, dict) and not indent
    if not (deep or (len(text) > 100 and isinstance(value, list | dict) and len(indent) < 2)):
        return text
    inner = indent + " "
    if isinstance(value, dict):
        parts = [f"{inner}{json.dumps(key, ensure_ascii=False)}: {_pretty(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(parts) + f"\n{indent}}}"
    return "[\n" + ",\n".join(inner + json.dumps(item, ensure_ascii=False) for item in value) + f"\n{indent}]"
