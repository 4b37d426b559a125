"""`critic-probe perturb`: what edits of a response do to its score."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from critic_probe.cli import options, panels, session
from critic_probe.cli.declare import with_options
from critic_probe.encoding import EosPolicy
from critic_probe.errors import CriticProbeError

if TYPE_CHECKING:
    from critic_probe.pairs import Pairs
    from critic_probe.probes import Family

PANEL = panels.LOOK
EXAMPLES = (
    "critic-probe perturb --punct --controls -c bundled:mean --max-per-response 2",
    "critic-probe perturb --list",
)


_GROUPS = ("punct", "layout", "eos", "completeness", "controls")


@dataclass(frozen=True, kw_only=True)
class Families:
    """Which families of edits are tried."""

    punct: Annotated[bool, options.of_edits("Punctuation-only edits.")] = False
    layout: Annotated[bool, options.of_edits("White space, invisible characters, forms, typos.")] = False
    eos: Annotated[bool, options.of_edits("The same response once more, and with EOS toggled.")] = False
    completeness: Annotated[bool, options.of_edits("Terse to complete, and back.")] = False
    controls: Annotated[bool, options.of_edits("Edits that make an answer worse.")] = False
    everything: Annotated[bool, options.of_edits("All families, your own among them.", names=("--all",))] = False
    family: Annotated[
        list[str] | None, options.of_edits("One family; repeatable. --list names them.", metavar="NAME")
    ] = None

    def chosen(self) -> "list[Family]":
        """The families that are asked for.

        Raises:
            CriticProbeError: None is, or one is unknown.
        """
        from critic_probe.probes import all_families, choose

        groups = [name for name in _GROUPS if self.everything or getattr(self, name)]
        families = choose(all_families(), groups, self.family or [])
        if not families:
            flags = ", ".join(f"--{name}" for name in _GROUPS)
            raise CriticProbeError(f"perturb: no family of edits chosen; add {flags}, --all or --family NAME")
        return families


@dataclass(frozen=True, kw_only=True)
class EditScoring(options.Scaling):
    """How a text becomes a score, where `--eos` is a family."""

    eos: Annotated[EosPolicy, options.of_reading(options.EOS_HELP, names=("--eos-policy",))] = "exclude"


@with_options
def command(
    pairs: options.PairsArgument = None,
    *,
    families: Families,
    list_families: Annotated[bool, options.of_edits("List the families and exit.", names=("--list",))] = False,
    show: Annotated[
        str | None,
        options.of_edits(
            "Print --rows edits of a family to read, drawn by --seed; no critic is loaded.", metavar="NAME"
        ),
    ] = None,
    drawing: options.SideDrawing,
    loading: options.Loading,
    scoring: EditScoring,
    fields: options.PairFields,
    dry_run: options.DryRun = False,
    output: options.Tables,
) -> None:
    """Edit responses, harmlessly and harmfully, and see how far the score moves."""
    if list_families:
        from critic_probe.probes import all_families

        _show_families(all_families().values(), output.json)
        return
    if show is not None:
        _show_edits(show, fields.pairs(pairs, loading.critics()), drawing, output)
        return
    chosen = families.chosen()
    run_edits("perturb", pairs, chosen, drawing, loading, scoring, fields, dry_run=dry_run, output=output)


def run_edits(
    name: str,
    pairs: str | None,
    families: "list[Family]",
    drawing: options.SideDrawing,
    loading: options.Loading,
    scoring: options.Scoring,
    fields: options.PairFields,
    *,
    dry_run: bool,
    output: options.Tables,
) -> None:
    """Makes these edits and shows, as the result of the command of this name, what they do; or what that would cost."""
    session.check_outputs(output)
    critics, read, settings = session.prepared(pairs, fields, loading, scoring)
    from critic_probe.measures.perturb import Perturb
    from critic_probe.measures.price import price
    from critic_probe.measures.variants import Plan
    from critic_probe.workbench import benches, run

    measure = Perturb(Plan(families, drawing.sides, drawing.max_per_response, drawing.seed), name)
    if dry_run:
        table = price(critics.load(), read, replace(settings, cache=None), [measure])
        session.show_price(table, output.json)
        return
    with (
        session.progress(resumable=not scoring.no_cache) as progress,
        benches(critics.load(), read, settings, progress) as made,
    ):
        result = measure.result(run(made, [measure]))
    session.finish(result, critics, output, default_pairs=pairs is None, show=output.show)


_SHOWN = 10  # edits to read, where no number is asked for


def _show_edits(name: str, pairs: "Pairs", drawing: options.SideDrawing, output: options.Tables) -> None:
    from critic_probe.probes import all_families, choose, drawn

    [family] = choose(all_families(), [], [name])
    rows = _SHOWN if output.rows is None else output.rows
    edits = list(islice(drawn(family, pairs, drawing.sides, drawing.seed), rows))
    if not edits and rows:
        raise CriticProbeError(f"--show {name}: the family edits no text of these pairs; give others")
    if output.json:
        from critic_probe.report.files import dump_plain

        shown = [
            {"id": edit.id, "side": edit.side, "position": edit.case.position}
            | {"original": edit.case.original, "edited": edit.case.text}
            for edit in edits
        ]
        typer.echo(dump_plain({"schema": "critic-probe/edits/1", "family": name, "edits": shown}))
        return
    from rich.console import Console

    from critic_probe.report.edits import print_edits

    print_edits(edits, Console())


def _show_families(families: "Iterable[Family]", json: bool) -> None:
    if json:
        from critic_probe.report.files import dump_plain

        listed = [
            {"family": f.name, "group": f.group, "kind": f.kind, "sign": f.sign, "description": f.description}
            for f in families
        ]
        typer.echo(dump_plain({"schema": "critic-probe/families/1", "families": listed}))
        return
    for family in families:
        typer.echo(f"{family.name:<18} {family.group:<13} {family.kind:<17} {family.description}")
