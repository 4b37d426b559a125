"""`critic-probe perturb` and `critic-probe completeness`: what edits of a response do to its score."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from critic_probe import bundled
from critic_probe.cli import options, session
from critic_probe.errors import CriticProbeError
from critic_probe.pairs import Fields

if TYPE_CHECKING:
    from critic_probe.probes import Family

_GROUPS = ("punct", "layout", "eos", "completeness", "controls")

PairsFile = Annotated[
    str | None,
    typer.Argument(help="Pairs: .jsonl, .json, .csv, .parquet, or - for JSONL on stdin. Default: the bundled ones."),
]


def command(
    pairs: PairsFile = None,
    punct: Annotated[bool, typer.Option("--punct", help="Punctuation-only edits.")] = False,
    layout: Annotated[bool, typer.Option("--layout", help="White space, invisible characters, forms, typos.")] = False,
    eos: Annotated[bool, typer.Option("--eos", help="The same response once more, and with EOS toggled.")] = False,
    completeness: Annotated[bool, typer.Option("--completeness", help="Terse to complete, and back.")] = False,
    controls: Annotated[bool, typer.Option("--controls", help="Edits that make an answer worse.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="All families, your own among them.")] = False,
    family: Annotated[
        list[str] | None, typer.Option("--family", metavar="NAME", help="One family; repeatable. --list names them.")
    ] = None,
    list_families: Annotated[bool, typer.Option("--list", help="List the families and exit.")] = False,
    side: options.Side = "both",
    max_per_response: options.MaxPerResponse = None,
    seed: options.Seed = 0,
    checkpoint: options.Checkpoint = None,
    aggregation: options.Aggregations = None,
    eos_policy: options.EosPolicy = "exclude",
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
    dry_run: options.DryRun = False,
    trust_remote_code: options.TrustRemoteCode = False,
    prompt_field: options.PromptField = None,
    student_field: options.StudentField = None,
    teacher_field: options.TeacherField = None,
    rows: options.Rows = 10,
    json: options.Json = False,
    output: options.Output = None,
) -> None:
    """Edit responses, harmlessly and harmfully, and see how far the score moves."""
    with session.exit_codes():
        from critic_probe.probes import all_families, choose

        families = all_families()
        if list_families:
            _show_families(families.values(), json)
            return
        switches = (punct, layout, eos, completeness, controls)
        groups = _GROUPS if everything else [name for name, on in zip(_GROUPS, switches, strict=True) if on]
        chosen = choose(families, groups, family or [])
        if not chosen:
            flags = ", ".join(f"--{name}" for name in _GROUPS)
            raise CriticProbeError(f"perturb: no family of edits chosen; add {flags}, --all or --family NAME")
        session.check_outputs(output)
        _run(
            "perturb",
            pairs,
            chosen,
            (side, max_per_response, seed),
            bundled.find_critics(
                checkpoint,
                base=base,
                step=step,
                device=device,
                device_map=device_map,
                dtype=dtype,
                trust_remote_code=trust_remote_code,
            ),
            session.settings(aggregation, eos_policy, value_position, template, on_too_long, engine, no_cache),
            Fields(prompt_field, student_field, teacher_field),
            dry_run=dry_run,
            rows=rows,
            json=json,
            output=output,
        )


def completeness_command(
    pairs: PairsFile = None,
    side: options.Side = "both",
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
    dry_run: options.DryRun = False,
    trust_remote_code: options.TrustRemoteCode = False,
    prompt_field: options.PromptField = None,
    student_field: options.StudentField = None,
    teacher_field: options.TeacherField = None,
    rows: options.Rows = 10,
    json: options.Json = False,
    output: options.Output = None,
) -> None:
    """Compare complete answers with terse ones that state the same facts."""
    with session.exit_codes():
        from critic_probe.probes import all_families, choose

        session.check_outputs(output)
        _run(
            "completeness",
            pairs,
            choose(all_families(), ["completeness"], []),
            (side, None, seed),
            bundled.find_critics(
                checkpoint,
                base=base,
                step=step,
                device=device,
                device_map=device_map,
                dtype=dtype,
                trust_remote_code=trust_remote_code,
            ),
            session.settings(aggregation, eos, value_position, template, on_too_long, engine, no_cache),
            Fields(prompt_field, student_field, teacher_field),
            dry_run=dry_run,
            rows=rows,
            json=json,
            output=output,
        )


def _run(
    name: str,
    pairs: str | None,
    families: "list[Family]",
    drawn: tuple[str, int | None, int],
    critics: bundled.Critics,
    settings: Any,
    fields: Fields,
    *,
    dry_run: bool,
    rows: int,
    json: bool,
    output: Sequence[str] | None,
) -> None:
    from critic_probe.measures.perturb import Plan, edited_responses, perturb
    from critic_probe.measures.price import price
    from critic_probe.report.terminal import print_perturb

    side, most, seed = drawn
    session.choice("--side", side, "student", "teacher", "both")
    plan = Plan(families, ("student", "teacher") if side == "both" else (side,), most, seed)
    read = bundled.find_pairs(pairs, fields, critics)
    if dry_run:
        table = price(critics.load(), read, replace(settings, cache=None), edited_responses(plan, read))
        session.show_price(table, json)
        return
    with session.progress(resumable=settings.cache is not None) as progress:
        result = perturb(critics.load(), read, settings, plan, progress)
    session.finish(
        name,
        result,
        critics,
        default_pairs=pairs is None,
        json=json,
        output=output,
        show=lambda result, console: print_perturb(result, console, rows),
    )


def _show_families(families: Any, json: bool) -> None:
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
