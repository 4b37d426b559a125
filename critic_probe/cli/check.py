"""`critic-probe check`: gates on a critic's figures, for CI; `critic-probe profiles` shows the gates that ship."""

import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from critic_probe import bundled
from critic_probe.cli import options, session
from critic_probe.errors import CriticProbeError
from critic_probe.pairs import Fields

if TYPE_CHECKING:
    from critic_probe.bench import Progress, Settings
    from critic_probe.gates.gate import Plan
    from critic_probe.pairs import Pairs

profiles = typer.Typer(help="The gates that ship with the tool.", no_args_is_help=True)


@profiles.command("list")
def list_profiles() -> None:
    """Name the profiles."""
    from critic_probe.gates.shipped import profile_names

    for name in profile_names():
        typer.echo(name)


@profiles.command("show")
def show_profile(name: Annotated[str, typer.Argument(help="A profile's name.")]) -> None:
    """Print a profile as TOML, ready to be changed and given to --gates."""
    with session.exit_codes():
        from critic_probe.gates.shipped import profile_text

        typer.echo(profile_text(name), nl=False)


def command(
    pairs: Annotated[
        str | None,
        typer.Argument(help="Pairs: .jsonl, .json, .csv or .parquet. Default: the bundled ones."),
    ] = None,
    profile: Annotated[
        str | None, typer.Option(metavar="NAME", help="Gates that ship: see `profiles list`. Default: default.")
    ] = None,
    gates: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A TOML file of gates, or a pyproject.toml with [tool.critic-probe]."),
    ] = None,
    on_unclear: Annotated[
        str, typer.Option(help="Whether a gate that cannot be told counts as pass or fail.")
    ] = "fail",
    baseline: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also fail where a figure or a pair differs from this baseline.")
    ] = None,
    save_baseline: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write what was measured as a baseline.")
    ] = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="Show what differs from --baseline, and make the new figures the baseline.")
    ] = False,
    tolerance: Annotated[
        float,
        typer.Option(min=0, help="How far a figure without an interval may differ from the baseline, relatively."),
    ] = 0.05,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write JUnit XML.")] = None,
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write Markdown; $GITHUB_STEP_SUMMARY gets it too.")
    ] = None,
    max_per_response: options.MaxPerResponse = None,
    seed: options.Seed = 0,
    checkpoint: options.Checkpoint = None,
    aggregation: Annotated[
        list[str] | None,
        typer.Option(
            "--aggregation",
            "-a",
            metavar="NAME",
            help="A read-out that gates bound which name none; repeatable. Default: last, mean.",
        ),
    ] = None,
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
    json: options.Json = False,
) -> None:
    """Check a critic's figures against gates; exit code 1 where one fails."""
    with session.exit_codes():
        from rich.console import Console

        from critic_probe.aggregation import parse
        from critic_probe.gates.baseline import drift, load, record, save
        from critic_probe.gates.figures import figures
        from critic_probe.gates.gate import evaluate, exit_code, load_gates
        from critic_probe.probes import all_families
        from critic_probe.report import verdicts as report
        from critic_probe.report.files import check_folder, dump_plain

        session.choice("--on-unclear", on_unclear, "pass", "fail")
        plan = load_gates(profile, gates, all_families())
        unnamed = [parse(name).name for name in aggregation or ("last", "mean")]
        if accept and baseline is None:
            raise CriticProbeError("check: --accept needs --baseline FILE")
        before = None if baseline is None else load(baseline)
        summary = os.environ.get("GITHUB_STEP_SUMMARY")
        for path in (junit, markdown, save_baseline):
            if path is not None:
                check_folder(path)
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
        settings = session.settings(
            plan.aggregations(unnamed), eos, value_position, template, on_too_long, engine, no_cache
        )
        with ExitStack() as stack:
            if save_baseline is not None or accept:  # values that another command kept differ in their last digits
                fresh = Path(stack.enter_context(TemporaryDirectory(prefix="critic-probe-")))
                settings = replace(settings, cache=fresh / "values.sqlite")
            progress = stack.enter_context(session.progress(resumable=not no_cache))
            results, signature = measure(plan, critics, read, settings, (max_per_response, seed), progress)
        table = figures(results)
        found = evaluate(plan, table, unnamed)
        code = exit_code(found, cast(Literal["pass", "fail"], on_unclear))
        moved = None
        if before is not None or save_baseline is not None:
            now = record(results, table, signature, (max_per_response, seed))
            moved = None if before is None else drift(before, now, tolerance)
            for path in (save_baseline, baseline if accept else None):
                if path is not None:
                    save(path, now)
        if moved is not None and len(moved) and not accept:
            code = 1
        data = report.to_json(plan.source, found, on_unclear, code, signature, moved)
        if junit is not None:
            junit.write_text(report.to_junit(found, on_unclear, None if accept else moved), encoding="utf-8")
        text = report.to_markdown(plan.source, found, code, signature, moved)
        if markdown is not None:
            markdown.write_text(text, encoding="utf-8")
        if summary:
            with open(summary, "a", encoding="utf-8") as file:
                file.write(text)
        if json:
            typer.echo(dump_plain(data))
        else:
            report.print_verdicts(plan.source, found, on_unclear, code, signature, moved, Console())
        if code:
            raise typer.Exit(code)


def measure(
    plan: "Plan",
    critics: bundled.Critics,
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
