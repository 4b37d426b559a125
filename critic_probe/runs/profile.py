"""Bounds of the checks on runs, by profile."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from critic_probe.documents import read_text, read_toml, shown
from critic_probe.errors import CriticProbeError, parameter
from critic_probe.gates.shipped import DEFAULT_PROFILE, profile_names, profile_text

ROOM = "runs"  # whose profiles these are
_CURE = "name a TOML file of bounds"
_MOST = 10**9  # steps, points, rounds
Bounds = Mapping[str, Any]
Profile = Mapping[str, Bounds]
"""Check -> its bounds, and `general` -> what all of them keep to. What a profile leaves out is not checked."""


def load_profile(name: str | Path = DEFAULT_PROFILE) -> Profile:
    """A profile that ships with the tool, by its name, or a TOML file of the same form.

    Raises:
        CriticProbeError: It cannot be read, a check or bound is unknown or lacking, or a bound is no number.
    """
    known = read_toml(profile_text(DEFAULT_PROFILE, ROOM), DEFAULT_PROFILE, _CURE)
    if str(name) in profile_names(ROOM):
        return _checked(str(name), read_toml(profile_text(str(name), ROOM), str(name), _CURE), known)
    path = Path(name)
    if not path.is_file():
        choices = ", ".join(profile_names(ROOM))
        raise CriticProbeError(f"{parameter('profile', str(name))}: no such file or profile; choose from {choices}")
    return _checked(str(path), read_toml(read_text(path, _CURE), str(path), _CURE), known)


def _checked(source: str, given: dict[str, Any], known: dict[str, Any]) -> Profile:
    """The profile, with `general` of the default where it has none.

    `level` is free: figures by name, each with `min` or `max` or both.
    """
    for check, bounds in given.items():
        if check == "level":
            known = known | {check: {}}
            if not isinstance(bounds, dict):
                raise CriticProbeError(f"{source}: level is {shown(bounds)}, not a table of figures")
            for name, ends in bounds.items():
                if not isinstance(ends, dict) or not ends.keys() <= {"min", "max"} or not ends:
                    raise CriticProbeError(f'{source}: [level."{name}"] needs min or max, and nothing else')
                for end, value in ends.items():
                    if not _finite(value):
                        raise CriticProbeError(f'{source}: [level."{name}"] {end} is {shown(value)}, not a number')
            continue
        if check not in known:
            raise CriticProbeError(f"{source}: [{check}] is no check; choose from {', '.join([*known, 'level'])}")
        if not isinstance(bounds, dict) or bounds.keys() != known[check].keys():
            raise CriticProbeError(f"{source}: [{check}] needs {', '.join(known[check])}, and nothing else")
        _numbers(f"{source}: [{check}]", bounds, known[check])
    return {"general": known["general"]} | given


def _numbers(where: str, bounds: dict[str, Any], like: dict[str, Any]) -> None:
    """Holds every bound against the one that ships: a finite number, and whole or above 0 where that one is."""
    lengths = {len(value) for value in bounds.values() if isinstance(value, list)}
    if len(lengths) > 1:
        raise CriticProbeError(f"{where}: its lists are not of one length; give each phase a number in every one")
    for name, value in bounds.items():
        shipped = like[name]
        if isinstance(shipped, list):
            numbers, whole = value if isinstance(value, list) else [], isinstance(shipped[0], int)
            sound = bool(numbers) and all(_finite(n) and (isinstance(n, int) or not whole) for n in numbers)
            wanted = f"a list of {'whole ' if whole else ''}numbers"
        elif isinstance(shipped, int):
            sound, wanted = type(value) is int and 1 <= value <= _MOST, f"a whole number from 1 to {_MOST:,}"
        else:
            sound = _finite(value) and (value > 0 or shipped <= 0)
            wanted = "a number above 0" if shipped > 0 else "a number"
        if not sound:
            raise CriticProbeError(f"{where}: {name} is {shown(value)}, not {wanted}")


def _finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
