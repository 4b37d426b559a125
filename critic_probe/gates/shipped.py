"""The profiles that ship with the tool."""

from importlib.resources import files
from importlib.resources.abc import Traversable

from critic_probe.errors import CriticProbeError

DEFAULT_PROFILE = "default"


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


def _profiles() -> Traversable:
    return files("critic_probe.gates") / "profiles"
