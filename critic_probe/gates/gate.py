"""Gates: what a TOML file demands of figures, and whether they meet it."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from typing_extensions import TypedDict

from critic_probe import documents
from critic_probe.aggregation import parse
from critic_probe.errors import CriticProbeError, parameter
from critic_probe.gates.figures import GONE, METRICS, OF_RUNS, SHARES
from critic_probe.gates.shipped import DEFAULT_PROFILE, profile_text
from critic_probe.stats.intervals import NOTHING, Interval, would_tell
from critic_probe.stats.rates import too_few

At = Literal["value", "ci"]
Severity = Literal["fail", "warn"]


@dataclass(frozen=True)
class Gate:
    """A bound on one figure, under every critic, read-out, family and position that it does not name.

    Attributes:
        metric: The command and the figure, such as `perturb.median_abs_delta_over_sd`.
        min: The smallest value that passes; None for none.
        max: The largest value that passes; None for none.
        at: `value` bounds the figure; `ci` both ends of its interval, so that noise alone neither passes nor fails it.
        severity: Whether a failed gate fails the check, or only warns.
        aggregation: A read-out; empty for all.
        family: A family of edits; empty for all.
        position: A position of edits or, for `tokens.d_acc`, a share such as `50%`, for `track.` figures `best` or
            `last`; empty for all.
        category: A category of pairs; empty for the figure over all pairs.
        name: How the verdict names it; made of the rest where empty.
    """

    metric: str
    min: float | None = None
    max: float | None = None
    at: At = "ci"
    severity: Severity = "fail"
    aggregation: str = ""
    family: str = ""
    position: str = ""
    category: str = ""
    name: str = ""

    @property
    def label(self) -> str:
        """The name, or what makes the gate."""
        parts = (self.metric, self.aggregation, self.family, self.position, self.category)
        return self.name or " ".join(part for part in parts if part)

    @property
    def bound(self) -> str:
        """The bounds in words."""
        ends = [f">= {self.min:g}" if self.min is not None else "", f"<= {self.max:g}" if self.max is not None else ""]
        return " and ".join(end for end in ends if end)


_TABLE = documents.fields_of(Gate)


_Tools = TypedDict("_Tools", {"critic-probe": Mapping[str, Any]}, total=False)


class _Pyproject(TypedDict):
    tool: _Tools


@dataclass(frozen=True)
class Plan:
    """Gates and where they come from.

    Attributes:
        source: A profile's name or a file.
        gates: In the order of the file.
    """

    source: str
    gates: tuple[Gate, ...]

    @property
    def commands(self) -> list[str]:
        """The commands that measure what the gates name."""
        return list(dict.fromkeys(gate.metric.partition(".")[0] for gate in self.gates))

    def of(self, chosen: Callable[[str], bool]) -> "Plan":
        """The gates whose metric is chosen."""
        return replace(self, gates=tuple(gate for gate in self.gates if chosen(gate.metric)))

    def aggregations(self, unnamed: Iterable[str]) -> list[str]:
        """The read-outs to measure: those that gates name, and `unnamed` where a gate names none."""
        named = [gate.aggregation for gate in self.gates if gate.aggregation]
        return list(dict.fromkeys([*(unnamed if any(not gate.aggregation for gate in self.gates) else ()), *named]))


def load_gates(profile: str | None, path: Path | None, families: Iterable[str]) -> Plan:
    """The gates of a file, else of a profile, else of `[tool.critic-probe]` in ./pyproject.toml, else the default ones.

    Args:
        profile: A profile's name.
        path: A TOML file with `[[gates]]`, or a pyproject.toml with `[[tool.critic-probe.gates]]`.
        families: The names of the known families of edits.

    Raises:
        CriticProbeError: Both are given, the file cannot be read, or a gate is not what it must be.
    """
    if profile is not None and path is not None:
        raise CriticProbeError(f"check: give {parameter('profile')} or {parameter('gates')}, not both")
    own = Path("pyproject.toml")
    if profile is None and path is None and own.is_file() and _table(own.name, own) is not None:
        path = own
    if path is None:
        name = profile or DEFAULT_PROFILE
        return _plan(f"profile {name}", documents.read_toml(profile_text(name), name, "install it anew"), families)
    return _plan(str(path), _table(str(path), path), families)


def _table(source: str, path: Path) -> Mapping[str, Any] | None:
    text = documents.read_text(path, "name a TOML file of gates")
    content = documents.read_toml(text, source, "mend it")
    if "tool" in content:
        return documents.checked(content, _Pyproject, source, "mend it")["tool"].get("critic-probe")
    return None if source.endswith("pyproject.toml") else content


def _plan(source: str, table: Mapping[str, Any] | None, families: Iterable[str]) -> Plan:
    gates = (table or {}).get("gates")
    if not isinstance(gates, list) or not gates:
        raise CriticProbeError(f"{source}: holds no gates; write [[gates]] with metric and min or max")
    known = set(families)
    return Plan(source, tuple(read_gate(gate, f"{source} gate {n}", known) for n, gate in enumerate(gates, start=1)))


def read_gate(given: Any, where: str, families: Collection[str]) -> Gate:
    """A gate from the keys that a TOML file gives it.

    Args:
        given: A mapping of `Gate`'s attributes.
        where: What an error names.
        families: The known families.

    Raises:
        CriticProbeError: A key, metric, read-out or family is unknown, or there is no bound.
    """
    names = [field.name for field in fields(Gate)]
    if not isinstance(given, dict):
        raise CriticProbeError(f"{where}: is no table; write [[gates]]")
    if unknown := [key for key in given if key not in names]:
        raise CriticProbeError(f"{where}: {documents.shown(unknown[0])} is unknown; choose from {', '.join(names)}")
    documents.checked(given, _TABLE, where, "mend it")
    if given.get("metric") in GONE:
        raise CriticProbeError(
            f"{where}: metric '{given['metric']}' is gone, since edits that move nothing hid in it those that do; "
            f"bound {GONE[given['metric']]}"
        )
    if given.get("metric") not in METRICS and not str(given.get("metric")).startswith(OF_RUNS):
        raise CriticProbeError(
            f"{where}: metric {documents.shown(given.get('metric'))} is unknown; choose from "
            f"{', '.join(sorted(METRICS))}"
        )
    gate = Gate(**given)
    if gate.min is None and gate.max is None:
        raise CriticProbeError(f"{where}: has no bound; give min or max")
    if gate.min is not None and gate.max is not None and gate.min > gate.max:
        raise CriticProbeError(f"{where}: min {gate.min:g} is above max {gate.max:g}; nothing could pass")
    beyond = [bound for bound in (gate.min, gate.max) if bound is not None and not 0 <= bound <= 1]
    if beyond and gate.metric in SHARES:
        raise CriticProbeError(
            f"{where}: {gate.metric} is a share between 0 and 1, which {beyond[0]:g} does not bound; write 0.7 for 70%"
        )
    if gate.family and gate.family not in families:
        raise CriticProbeError(
            f"{where}: family {documents.shown(gate.family)} is unknown; choose from {', '.join(sorted(families))}"
        )
    if gate.aggregation:
        try:
            parse(gate.aggregation)
        except CriticProbeError as error:
            raise CriticProbeError(f"{where}: {error}") from error
    return gate


_COLUMNS = [
    *("gate", "metric", "critic", "aggregation", "family", "position", "category", "value", "low", "high", "n"),
    *("bound", "at", "severity", "verdict", "note", "ids"),
]


def evaluate(plan: Plan, figures: pd.DataFrame, unnamed: Iterable[str]) -> pd.DataFrame:
    """One row per gate and figure that it bounds.

    Columns: gate, metric, critic, aggregation, family, position, category, value, low, high, n, bound, at, severity,
    verdict (pass, fail, cannot tell), note, ids.

    Args:
        plan: The gates.
        figures: The table of `figures`.
        unnamed: The read-outs that a gate bounds which names none.

    Raises:
        CriticProbeError: A gate bounds the interval of a figure that has none.
    """
    rows = []
    for gate in plan.gates:
        matching = figures[(figures.metric == gate.metric) & (figures.category == gate.category)]
        if not gate.aggregation:
            matching = matching[matching.aggregation.isin(["", *unnamed])]
        for name in ("aggregation", "family", "position"):
            wanted = getattr(gate, name)
            if wanted:
                matching = matching[matching[name] == wanted]
        measured = matching.to_dict("records") or [
            {"critic": "", "aggregation": gate.aggregation, "family": gate.family, "position": gate.position}
            | {
                "category": gate.category,
                "value": math.nan,
                "low": None,
                "high": None,
                "n": 0,
                "prompts": 0,
                "ids": [],
                "floor": None,
            }
        ]
        for figure in measured:
            word, note = _verdict(gate, figure) if len(matching) else ("cannot tell", _unmeasured(gate, figures))
            shown = {key: figure[key] for key in ("critic", "aggregation", "family", "position", "category")}
            shown |= {key: figure[key] for key in ("value", "low", "high", "n")}
            asked = {"bound": gate.bound, "at": gate.at, "severity": gate.severity}
            ids = figure["ids"] if word != "pass" else []
            rows.append(
                {"gate": gate.label, "metric": gate.metric, **shown, **asked, "verdict": word, "note": note, "ids": ids}
            )
    return pd.DataFrame(rows, columns=_COLUMNS)


def _unmeasured(gate: Gate, figures: pd.DataFrame) -> str:
    """Why a gate bounds no figure: a name of it that no figure of its metric has, and those that they have."""
    of_metric = figures[figures.metric == gate.metric]
    for name in ("category", "family", "position"):
        known = sorted(set(of_metric[name]) - {""})
        if (wanted := getattr(gate, name)) and wanted not in known:
            there = f"there {'is' if len(known) == 1 else 'are'} {', '.join(known[:8])}" if known else "there is none"
            return f"nothing was measured of {name} '{wanted}': {there}"
    return "nothing was measured"


def _verdict(gate: Gate, figure: Mapping[str, Any]) -> tuple[str, str]:
    value, low, high = figure["value"], figure["low"], figure["high"]
    if value is None or pd.isna(value):
        return "cannot tell", "nothing was measured" if not figure["n"] else "the figure is not defined on these pairs"
    floor = figure["floor"]
    below = floor is not None and not pd.isna(floor) and abs(value) <= floor
    note = "below the noise floor" if below else ""
    if gate.at == "value":
        low = high = value
    elif low is None or high is None or pd.isna(low) or pd.isna(high):
        if figure["n"] and gate.metric.partition(".")[0] != "doctor" and low is None:
            raise CriticProbeError(f"gate '{gate.label}': {gate.metric} has no interval; bound it with at = \"value\"")
        return "cannot tell", _unclear("too few prompts for an interval", NOTHING, math.nan, figure)
    interval = Interval(value, low, high)
    least = -math.inf if gate.min is None else gate.min
    most = math.inf if gate.max is None else gate.max
    spanned = min((end for end in (least, most) if low <= end <= high), key=lambda end: abs(end - value), default=least)
    if gate.at == "ci" and (why := too_few(figure["n"], figure["prompts"])):
        return "cannot tell", _unclear(why, interval, spanned, figure)
    if least <= low and high <= most:
        return "pass", note
    if high < least or low > most:
        return "fail", note
    return "cannot tell", note or _unclear("the interval spans the bound", interval, spanned, figure)


def _unclear(why: str, interval: Interval, bound: float, figure: Mapping[str, Any]) -> str:
    """Why a gate cannot be told, and about how many more prompts would tell where it is of prompts."""
    if pd.isna(figure["prompts"]):
        return why
    return ": ".join(filter(None, (why, would_tell(interval, bound, int(figure["n"]), int(figure["prompts"])))))


def exit_code(verdicts: pd.DataFrame, on_unclear: Literal["pass", "fail"]) -> int:
    """1 where a gate of severity `fail` fails, or cannot be told and that counts as failing; else 0."""
    return int((verdicts.verdict.isin(failing(on_unclear)) & (verdicts.severity == "fail")).any())


def failing(on_unclear: str) -> frozenset[str]:
    """The verdicts that count as failing."""
    return frozenset({"fail"} if on_unclear == "pass" else {"fail", "cannot tell"})
