"""`critic-probe check`: gates on a critic's figures, for CI; `critic-probe profiles` shows the gates that ship."""

import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from critic_probe.bundled import Critics
from critic_probe.cli import options, session
from critic_probe.cli.declare import with_options
from critic_probe.errors import CriticProbeError
from critic_probe.option import Option

if TYPE_CHECKING:
    import pandas as pd

    from critic_probe.bench import Progress, Settings, Signature
    from critic_probe.gates.gate import Plan
    from critic_probe.pairs import Pairs

_baseline = partial(Option, panel="A baseline")
profiles = typer.Typer(help="The gates that ship with the tool.", no_args_is_help=True)


@profiles.command("list")
@with_options
def list_profiles() -> None:
    """Name the profiles."""
    from critic_probe.gates.shipped import profile_names

    for name in profile_names():
        typer.echo(name)


@profiles.command("show")
@with_options
def show_profile(name: Annotated[str, typer.Argument(help="A profile's name.")]) -> None:
    """Print a profile as TOML, ready to be changed and given to --gates."""
    from critic_probe.gates.shipped import profile_text

    typer.echo(profile_text(name), nl=False)


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
    save_baseline: Annotated[Path | None, _baseline("Write what was measured as a baseline.", metavar="FILE")] = None
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
class GatedReadOuts(options.Scoring):
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

    junit: Annotated[Path | None, options.of_output("Also write JUnit XML.", metavar="FILE")] = None
    markdown: Annotated[
        Path | None, options.of_output("Also write Markdown; $GITHUB_STEP_SUMMARY gets it too.", metavar="FILE")
    ] = None
    json: options.Json = False


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
    from critic_probe.aggregation import parse
    from critic_probe.gates.baseline import drift, record
    from critic_probe.gates.figures import figures
    from critic_probe.gates.gate import evaluate, exit_code, load_gates
    from critic_probe.probes import all_families
    from critic_probe.report.files import check_folder

    plan = load_gates(gating.profile, gating.gates, all_families())
    unnamed = [parse(name).name for name in scoring.aggregation or ("last", "mean")]
    before = against.load()
    for path in (output.junit, output.markdown, against.save_baseline):
        if path is not None:
            check_folder(path)
    critics = loading.critics()
    read, settings = fields.pairs(pairs, critics), scoring.settings(plan.aggregations(unnamed))
    drawn = (drawing.max_per_response, drawing.seed)
    with ExitStack() as stack:
        if against.save_baseline is not None or against.accept:  # kept values of another run differ in last digits
            fresh = Path(stack.enter_context(TemporaryDirectory(prefix="critic-probe-")))
            settings = replace(settings, cache=fresh / "values.sqlite")
        progress = stack.enter_context(session.progress(resumable=not scoring.no_cache))
        results, signature = measure(plan, critics, read, settings, drawn, progress)
    table = figures(results)
    verdicts = evaluate(plan, table, unnamed)
    code = exit_code(verdicts, gating.on_unclear)
    moved = None
    if before is not None or against.save_baseline is not None:
        now = record(results, table, signature, drawn)
        moved = None if before is None else drift(before, now, against.tolerance)
        against.save(now)
    if moved is not None and len(moved) and not against.accept:
        code = 1
    _show(Verdicts(plan.source, verdicts, gating.on_unclear, code, signature, moved), output, accepted=against.accept)
    if code:
        raise typer.Exit(code)


@dataclass(frozen=True)
class Verdicts:
    """What is said of a check, as `report.verdicts` takes it."""

    source: str
    found: "pd.DataFrame"
    on_unclear: str
    code: int
    signature: "Signature"
    moved: "pd.DataFrame | None"


def _show(verdicts: Verdicts, output: Reports, *, accepted: bool) -> None:
    from rich.console import Console

    from critic_probe.report import verdicts as report
    from critic_probe.report.files import dump_plain

    v = verdicts
    if output.junit is not None:
        output.junit.write_text(report.to_junit(v.found, v.on_unclear, None if accepted else v.moved), encoding="utf-8")
    text = report.to_markdown(v.source, v.found, v.code, v.signature, v.moved)
    if output.markdown is not None:
        output.markdown.write_text(text, encoding="utf-8")
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with open(summary, "a", encoding="utf-8") as file:
            file.write(text)
    if output.json:
        typer.echo(dump_plain(report.to_json(v.source, v.found, v.on_unclear, v.code, v.signature, v.moved)))
    else:
        report.print_verdicts(v.source, v.found, v.on_unclear, v.code, v.signature, v.moved, Console())


def measure(
    plan: "Plan",
    critics: Critics,
    pairs: "Pairs",
    settings: "Settings",
    drawn: tuple[int | None, int],
    progress: "Progress",
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the gates need, each command once; what they share is computed once and kept for the run.

    Args:
        plan: The gates.
        critics: The critics that they bound.
        pairs: What is scored.
        settings: How text becomes a score.
        drawn: At most so many edits a response (None for all), and the seed that draws them.
        progress: Told of what is done.

    Returns:
        Command -> its result, as `gates.figures` takes it, and the signature.
    """
    from critic_probe.measures.compare import compare
    from critic_probe.measures.doctor import doctor
    from critic_probe.measures.perturb import Plan as Edits
    from critic_probe.measures.perturb import perturb
    from critic_probe.measures.tokens import tokens
    from critic_probe.probes import all_families, choose

    families = all_families()
    results: dict[str, Any] = {}
    for name in plan.commands:
        if name == "compare":
            results[name] = compare(critics.load(), pairs, settings, progress)
        elif name == "tokens":
            results[name] = tokens(critics.load(), pairs, settings, progress)
        elif name == "doctor":
            results[name] = [
                (
                    critic,
                    doctor(
                        path, lambda: pairs, replace(settings, cache=None), progress, name=critic, **critics.loading
                    ),
                )
                for critic, path in critics.paths.items()
            ]
        else:
            asked = {gate.family for gate in plan.gates if gate.metric.startswith(f"{name}.")}
            whole = ["punct", "controls"] if name == "perturb" else ["completeness"]
            chosen = choose(families, whole if "" in asked else [], asked - {""})
            results[name] = perturb(
                critics.load(), pairs, settings, Edits(chosen, most=drawn[0], seed=drawn[1]), progress
            )
    signed = (
        next(result.signature for key, result in results.items() if key != "doctor")
        if set(results) - {"doctor"}
        else results["doctor"][0][1].signature
    )
    return results, signed
