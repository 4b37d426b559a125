"""The profiles that ship with the tool."""

from importlib.resources import files
from importlib.resources.abc import Traversable

from critic_probe.errors import CriticProbeError

DEFAULT_PROFILE = "default"


def profile_names(room: str = "gates") -> list[str]:
    """The profiles that ship with the tool, of gates or of another room."""
    return sorted(path.name.removesuffix(".toml") for path in _profiles(room).iterdir() if path.name.endswith(".toml"))


def profile_text(name: str, room: str = "gates") -> str:
    """A profile as it is written, comments and all.

    Raises:
        CriticProbeError: There is none of that name.
    """
    if name not in profile_names(room):
        raise CriticProbeError(f"profile '{name}' is unknown; choose from {', '.join(profile_names(room))}")
    return _profiles(room).joinpath(f"{name}.toml").read_text(encoding="utf-8")


def _profiles(room: str) -> Traversable:
    return files(f"critic_probe.{room}") / "profiles"
