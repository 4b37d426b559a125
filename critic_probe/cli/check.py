"""`critic-probe check`: gates on a critic's figures, for CI."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from critic_probe.aggregation import parse
from critic_probe.bundled import Critics
from critic_probe.cli import options, panels, session
from critic_probe.cli.declare import with_options
from critic_probe.errors import CriticProbeError
from critic_probe.option import Option
from critic_probe.report.targets import check_folder
from critic_probe.writing import told, write_text

if TYPE_CHECKING:
    from critic_probe.gates.gate import Plan
    from critic_probe.gates.measure import CheckResult
    from critic_probe.pairs import Pairs
    from critic_probe.workbench import Progress, Settings, Signature

PANEL = panels.GATES
EXAMPLES = (
    "critic-probe check -c bundled:mean -a mean",
    "critic-probe check -c bundled:mean -a mean --save-baseline baseline.json",
)


_baseline = partial(Option, panel="A baseline")


@dataclass(frozen=True, kw_only=True)
class Checking(options.Gating):
    """Where gates come from, and what fails a check."""

    on_unclear: Annotated[
        Literal["pass", "fail"], options.of_gates("Whether a gate that cannot be told counts as pass or fail.")
    ] = "fail"


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """An older run's figures to hold the new ones against."""

    baseline: Annotated[
        Path | None, _baseline("Also fail where a figure or a pair differs from this baseline.", metavar="FILE")
    ] = None
    save_baseline: Annotated[
        Path | None, _baseline("Write what was measured as a baseline.", metavar="FILE", writes=True)
    ] = None
    accept: Annotated[bool, _baseline("Show what differs from --baseline, and make the new figures the baseline.")] = (
        False
    )
    tolerance: Annotated[
        float,
        _baseline("How far a figure without an interval may differ from the baseline, relatively.", min=0),
    ] = 0.05

    def load(self) -> dict[str, Any] | None:
        """The older figures; None where none are asked for.

        Raises:
            CriticProbeError: They cannot be read, or are to be replaced and not named.
        """
        from critic_probe.gates.baseline import load

        if self.accept and self.baseline is None:
            raise CriticProbeError("check: --accept needs --baseline FILE")
        return None if self.baseline is None else load(self.baseline)

    def save(self, figures: dict[str, Any]) -> None:
        """Writes the new figures where that is asked for."""
        from critic_probe.gates.baseline import save

        for path in (self.save_baseline, self.baseline if self.accept else None):
            if path is not None:
                save(path, figures)


@dataclass(frozen=True, kw_only=True)
class GatedReadOuts(options.Scaling):
    """How a text becomes a score, where gates may name read-outs too."""

    aggregation: Annotated[
        options.ReadOuts,
        options.of_reading(
            "A read-out that gates bound which name none; repeatable. Default: last, mean.",
            names=("--aggregation", "-a"),
            metavar="NAME",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Reports:
    """Where verdicts go."""

    junit: Annotated[Path | None, options.of_output("Also write JUnit XML.", metavar="FILE", writes=True)] = None
    markdown: Annotated[
        Path | None,
        options.of_output("Also write Markdown; $GITHUB_STEP_SUMMARY gets it too.", metavar="FILE", writes=True),
    ] = None
    json: options.Json = False
    full: options.Full = False


@with_options
def command(
    pairs: options.PairsFile = None,
    *,
    gating: Checking,
    against: Baseline,
    drawing: options.Drawing,
    loading: options.Loading,
    scoring: GatedReadOuts,
    fields: options.PairFields,
    output: Reports,
) -> None:
    """Check a critic's figures against gates; exit code 1 where one fails."""
    for path in (output.junit, output.markdown, against.save_baseline):
        if path is not None:
            check_folder(path)
    unnamed = [parse(name).name for name in scoring.aggregation or ("last", "mean")]
    loading.critics()  # told of before what is slow to load
    from critic_probe.gates.baseline import record
    from critic_probe.gates.drift import differs, drift
    from critic_probe.gates.figures import figures
    from critic_probe.gates.gate import load_gates
    from critic_probe.gates.measure import judge
    from critic_probe.probes import all_families

    plan = load_gates(gating.profile, gating.gates, all_families())
    before = against.load()
    critics, read, settings = session.prepared(pairs, fields, loading, scoring, plan.aggregations(unnamed))
    with ExitStack() as stack:
        if against.save_baseline is not None or against.accept:  # kept values of another run differ in last digits
            fresh = Path(stack.enter_context(TemporaryDirectory(prefix="critic-probe-")))
            settings = replace(settings, cache=fresh / "values.sqlite")
        progress = stack.enter_context(session.progress(resumable=not scoring.no_cache))
        results, signature = _measured(plan, critics, read, settings, drawing, progress)
    result = judge(plan, results, signature, unnamed, gating.on_unclear)
    now = None
    if before is not None or against.save_baseline is not None:
        now = record(results, figures(results), signature, (drawing.max_per_response, drawing.seed))
        result = replace(result, drift=None if before is None else drift(before, now, against.tolerance))
    if differs(result.drift) and not against.accept:
        result = replace(result, exit_code=1)
    result = session.with_defaults_told(result, critics, pairs is None)
    session.in_turn(
        lambda: None if now is None else against.save(now),
        lambda: _tell(result, output, accepted=against.accept),
    )
    if not result.passed:
        raise typer.Exit(result.exit_code)


def _tell(result: "CheckResult", output: Reports, *, accepted: bool) -> None:
    from critic_probe.report import verdicts
    from critic_probe.report.files import dump_json

    text = verdicts.to_markdown(result)
    actions: list[Callable[[], None]] = []
    if output.junit is not None:
        shown = replace(result, drift=None) if accepted else result
        actions.append(partial(write_text, output.junit, verdicts.to_junit(shown)))
    if output.markdown is not None:
        actions.append(partial(write_text, output.markdown, text))
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        actions.append(partial(_append, Path(summary), text))
    session.in_turn(*actions, lambda: typer.echo(dump_json(result)) if output.json else result.show(full=output.full))


def _append(path: Path, text: str) -> None:
    with told(path), path.open("a", encoding="utf-8") as file:
        file.write(text)


def _measured(
    plan: "Plan",
    critics: Critics,
    pairs: "Pairs",
    settings: "Settings",
    drawing: options.Drawing,
    progress: "Progress",
) -> tuple[dict[str, Any], "Signature"]:
    """What the gates need; a critic that cannot be loaded is a finding where its doctor is all that they name."""
    from critic_probe.gates.measure import measure
    from critic_probe.measures.doctor import doctor
    from critic_probe.workbench import benches

    if plan.commands == ["doctor"]:
        results = [
            (name, doctor(path, lambda: pairs, replace(settings, cache=None), progress, name=name, **critics.loading))
            for name, path in critics.paths.items()
        ]
        return {"doctor": results}, results[0][1].signature
    with benches(critics.load(), pairs, settings, progress) as made:
        return measure(plan, made, drawing.max_per_response, drawing.seed)
