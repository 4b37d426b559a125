"""`critic-probe report`: everything about a critic as one page that opens from a disk, and its pictures."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from critic_probe.aggregation import parse
from critic_probe.cli import options, panels, session
from critic_probe.cli.declare import with_options
from critic_probe.errors import CriticProbeError
from critic_probe.report.targets import check_folder, require_pages

PANEL = panels.LOOK
EXAMPLES = ("critic-probe report -c bundled:mean --max-per-response 1 -o report.html",)


@with_options
def command(
    pairs: options.PairsFile = None,
    *,
    output: Annotated[
        list[str] | None,
        options.of_output(
            "A page (.html), or a folder (DIR/) for the pictures as .svg and .png; repeatable. Default: report.html.",
            names=("--output", "-o"),
            metavar="FILE",
            writes=True,
        ),
    ] = None,
    gating: options.Gating,
    drawing: options.Drawing,
    loading: options.Loading,
    scoring: options.Scaling,
    fields: options.PairFields,
) -> None:
    """Write one page with the verdict, gates, pictures, and every pair down to its tokens' values."""
    targets = _targets(output or ["report.html"])
    unnamed = [parse(name).name for name in scoring.aggregation or ("last", "mean")]
    loading.critics()  # told of before what is slow to load
    from critic_probe.gates.gate import load_gates
    from critic_probe.gates.measure import measure_report
    from critic_probe.probes import all_families
    from critic_probe.report.html import write_page
    from critic_probe.report.pictures import write_pictures
    from critic_probe.workbench import benches

    plan = load_gates(gating.profile, gating.gates, all_families())
    read_outs = dict.fromkeys([*unnamed, *plan.aggregations(unnamed)])
    critics, read, settings = session.prepared(pairs, fields, loading, scoring, read_outs)
    with ExitStack() as stack:
        if scoring.no_cache:  # tokens are shown from kept values, if only for this run
            fresh = Path(stack.enter_context(TemporaryDirectory(prefix="critic-probe-")))
            settings = replace(settings, cache=fresh / "values.sqlite")
        progress = stack.enter_context(session.progress(resumable=not scoring.no_cache))
        made = stack.enter_context(benches(critics.load(), read, settings, progress))
        result, checked = measure_report(plan, made, unnamed, drawing.max_per_response, drawing.seed)
    compared = session.with_defaults_told(result.compare, critics, pairs is None)
    result = replace(result, compare=compared)
    for path, is_folder in targets:
        if is_folder:
            typer.echo(f"{path}: {len(write_pictures(path, result))} pictures")
        else:
            size = write_page(path, result, checked.source, checked.gates)
            typer.echo(f"{path}: {len(read)} pairs, {size / 1e6:.1f} MB")


def _targets(output: list[str]) -> list[tuple[Path, bool]]:
    """What is to be written, and whether it is a folder.

    Raises:
        CriticProbeError: It could not be written, or what makes pages is not installed.
    """
    require_pages("report")
    targets = []
    for given in output:
        path = Path(given)
        is_folder = given.endswith("/") or path.is_dir()
        if not is_folder:
            if path.suffix.lower() != ".html":
                message = f"cannot make a report of '{path.suffix}'; use .html, or a folder as in {path}/"
                raise CriticProbeError(f"{path}: {message}")
            check_folder(path)
        targets.append((path, is_folder))
    return targets
