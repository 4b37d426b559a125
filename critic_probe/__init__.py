"""Shows what a critic's score really reacts to, under last-token, mean and other read-outs.

Everything below is loaded when it is first used: `import critic_probe` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from critic_probe.version import __version__

if TYPE_CHECKING:
    from critic_probe.errors import CriticProbeError, Notice
    from critic_probe.face import Bench, Critic, bench, check, compare, diff, load, score, track
    from critic_probe.pairs import Fields, Pair, TokenIds
    from critic_probe.probes import Change, Family, Subject
    from critic_probe.report.files import read_result


_ROOMS = {
    "CriticProbeError": "errors",
    "Notice": "errors",
    "Bench": "face",
    "Critic": "face",
    "bench": "face",
    "check": "face",
    "compare": "face",
    "diff": "face",
    "load": "face",
    "score": "face",
    "track": "face",
    "Fields": "pairs",
    "Pair": "pairs",
    "TokenIds": "pairs",
    "Change": "probes",
    "Family": "probes",
    "Subject": "probes",
    "read_result": "report.files",
}
__all__ = [
    "Bench",
    "Change",
    "Critic",
    "CriticProbeError",
    "Family",
    "Fields",
    "Notice",
    "Pair",
    "Subject",
    "TokenIds",
    "__version__",
    "bench",
    "check",
    "compare",
    "diff",
    "load",
    "read_result",
    "score",
    "track",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return getattr(import_module(f"critic_probe.{_ROOMS[name]}"), name)
    raise AttributeError(f"module 'critic_probe' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
