"""`critic-probe report`: everything about a critic as one page that opens from a disk, and its pictures."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from critic_probe import bundled
from critic_probe.cli import options, session
from critic_probe.cli.check import measure
from critic_probe.errors import CriticProbeError
from critic_probe.pairs import Fields


def command(
    pairs: Annotated[
        str | None,
        typer.Argument(help="Pairs: .jsonl, .json, .csv or .parquet. Default: the bundled ones."),
    ] = None,
    output: Annotated[
        list[str] | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="A page (.html), or a folder (DIR/) for the pictures as .svg and .png; repeatable. "
            "Default: report.html.",
        ),
    ] = None,
    profile: Annotated[
        str | None, typer.Option(metavar="NAME", help="Gates that ship: see `profiles list`. Default: default.")
    ] = None,
    gates: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A TOML file of gates, or a pyproject.toml with [tool.critic-probe]."),
    ] = None,
    max_per_response: options.MaxPerResponse = None,
    seed: options.Seed = 0,
    checkpoint: options.Checkpoint = None,
    aggregation: options.Aggregations = None,
    eos: options.Eos = "exclude",
    value_position: options.ValuePosition = "at",
    template: options.Template = "auto",
    on_too_long: options.OnTooLong = "error",
    base: options.Base = None,
    step: options.Step = None,
    device: options.Device = "auto",
    device_map: options.DeviceMap = None,
    dtype: options.Dtype = "auto",
    engine: options.Engine = "auto",
    no_cache: options.NoCache = False,
    trust_remote_code: options.TrustRemoteCode = False,
    prompt_field: options.PromptField = None,
    student_field: options.StudentField = None,
    teacher_field: options.TeacherField = None,
) -> None:
    """Write one page with the verdict, gates, pictures, and every pair down to its tokens' values."""
    with session.exit_codes():
        from critic_probe.report.svg import require

        for module in ("altair", "jinja2", "vl_convert"):
            require(module, "report")
        targets = [(path, Path(path)) for path in output or ("report.html",)]
        for given, path in targets:
            _check_target(given, path)
        from critic_probe.aggregation import parse
        from critic_probe.gates.figures import figures
        from critic_probe.gates.gate import Gate, Plan, evaluate, load_gates
        from critic_probe.measures.report import report
        from critic_probe.probes import all_families
        from critic_probe.report.html import write_page
        from critic_probe.report.pictures import write_pictures

        plan = load_gates(profile, gates, all_families())
        unnamed = [parse(name).name for name in aggregation or ("last", "mean")]
        read_outs = list(dict.fromkeys([*unnamed, *plan.aggregations(unnamed)]))
        critics = bundled.find_critics(
            checkpoint,
            base=base,
            step=step,
            device=device,
            device_map=device_map,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
        )
        read = bundled.find_pairs(pairs, Fields(prompt_field, student_field, teacher_field), critics)
        settings = session.settings(read_outs, eos, value_position, template, on_too_long, engine, no_cache)
        # What the pictures need, told as gates without a bound.
        drawn = tuple(Gate(name) for name in ("compare.d_acc", "perturb.signal_to_noise", "tokens.d_acc"))
        with ExitStack() as stack:
            if no_cache:  # the commands and the traces share their values, if only for this run
                fresh = Path(stack.enter_context(TemporaryDirectory(prefix="critic-probe-")))
                settings = replace(settings, cache=fresh / "values.sqlite")
            progress = stack.enter_context(session.progress(resumable=not no_cache))
            wanted = Plan(plan.source, (*plan.gates, *drawn))
            results, _ = measure(wanted, critics, read, settings, (max_per_response, seed), progress)
            verdicts = evaluate(plan, figures(results), unnamed)
            compared = session.with_defaults_told(results["compare"], critics, pairs is None)
            perturbed, along = results["perturb"], results["tokens"]
            result = report(critics.load(), read, settings, compared, perturbed, along, progress)
        for given, path in targets:
            if _is_folder(given, path):
                typer.echo(f"{path}: {len(write_pictures(path, result))} pictures")
            else:
                size = write_page(path, result, plan.source, verdicts)
                typer.echo(f"{path}: {len(result.prompts)} pairs, {size / 1e6:.1f} MB")


def _is_folder(given: str, path: Path) -> bool:
    return given.endswith("/") or path.is_dir()


def _check_target(given: str, path: Path) -> None:
    from critic_probe.report.files import check_folder

    if _is_folder(given, path):
        return
    if path.suffix.lower() != ".html":
        raise CriticProbeError(f"{path}: cannot make a report of '{path.suffix}'; use .html, or a folder as in {path}/")
    check_folder(path)
