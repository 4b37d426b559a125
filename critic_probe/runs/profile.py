"""Bounds of the checks on runs, by profile."""

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from critic_probe.errors import CriticProbeError, parameter

DEFAULT_PROFILE = "default"
Bounds = Mapping[str, Any]
Profile = Mapping[str, Bounds]
"""Check -> its bounds, and `general` -> what all of them keep to. What a profile leaves out is not checked."""


def profile_names() -> list[str]:
    """The profiles that ship with the tool."""
    return sorted(path.name.removesuffix(".toml") for path in _profiles().iterdir() if path.name.endswith(".toml"))


def profile_text(name: str) -> str:
    """A profile as it is written, comments and all.

    Raises:
        CriticProbeError: There is none of that name.
    """
    if name not in profile_names():
        raise CriticProbeError(f"profile '{name}' is unknown; choose from {', '.join(profile_names())}")
    return _profiles().joinpath(f"{name}.toml").read_text(encoding="utf-8")


def load_profile(name: str | Path = DEFAULT_PROFILE) -> Profile:
    """A profile that ships with the tool, by its name, or a TOML file of the same form.

    Raises:
        CriticProbeError: It cannot be read, a check or bound is unknown or lacking, or a bound is no number.
    """
    known = _parsed(DEFAULT_PROFILE, profile_text(DEFAULT_PROFILE))
    if str(name) in profile_names():
        return _checked(str(name), _parsed(str(name), profile_text(str(name))), known)
    path = Path(name)
    if not path.is_file():
        choices = ", ".join(profile_names())
        raise CriticProbeError(f"{parameter('profile', str(name))}: no such file or profile; choose from {choices}")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CriticProbeError(f"{path}: cannot be read ({error}); name a TOML file of bounds") from error
    return _checked(str(path), _parsed(str(path), text), known)


def _parsed(source: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CriticProbeError(f"{source}: not valid TOML ({error}); mend it") from error


def _checked(source: str, given: dict[str, Any], known: dict[str, Any]) -> Profile:
    """The profile, with `general` of the default where it has none.

    `level` is free: figures by name, each with `min` or `max` or both.
    """
    for check, bounds in given.items():
        if check == "level":
            known = known | {check: {}}
            for name, ends in bounds.items():
                if not isinstance(ends, dict) or not ends.keys() <= {"min", "max"} or not ends:
                    raise CriticProbeError(f'{source}: [level."{name}"] needs min or max, and nothing else')
                _numbers(f'{source}: [level."{name}"]', ends, ends)
            continue
        if check not in known:
            raise CriticProbeError(f"{source}: [{check}] is no check; choose from {', '.join([*known, 'level'])}")
        if not isinstance(bounds, dict) or bounds.keys() != known[check].keys():
            raise CriticProbeError(f"{source}: [{check}] needs {', '.join(known[check])}, and nothing else")
        _numbers(f"{source}: [{check}]", bounds, known[check])
    return {"general": known["general"]} | given


def _numbers(where: str, bounds: dict[str, Any], like: dict[str, Any]) -> None:
    for name, value in bounds.items():
        wanted, each = isinstance(like[name], list), value if isinstance(value, list) else [value]
        if isinstance(value, list) != wanted or not all(type(number) in (int, float) for number in each):
            raise CriticProbeError(f"{where}: {name} must be {'a list of numbers' if wanted else 'a number'}")


def _profiles() -> Traversable:
    return files("critic_probe.runs") / "profiles"
