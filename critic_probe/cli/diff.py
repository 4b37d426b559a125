"""`critic-probe diff`: one critic against another on the same pairs and the same edits."""

from typing import Annotated

import typer

from critic_probe import bundled
from critic_probe.cli import options, session
from critic_probe.errors import CriticProbeError
from critic_probe.pairs import Fields


def command(
    old: Annotated[str, typer.Argument(metavar="A", help="The critic to compare with.")],
    new: Annotated[str, typer.Argument(metavar="B", help="The critic that is compared.")],
    pairs: Annotated[
        str | None,
        typer.Argument(help="Pairs: .jsonl, .json, .csv or .parquet. Default: the bundled ones."),
    ] = None,
    aggregation: options.Aggregations = None,
    max_per_response: options.MaxPerResponse = None,
    seed: options.Seed = 0,
    eos: options.Eos = "exclude",
    value_position: options.ValuePosition = "at",
    template: options.Template = "auto",
    on_too_long: options.OnTooLong = "error",
    base: options.Base = None,
    device: options.Device = "auto",
    device_map: options.DeviceMap = None,
    dtype: options.Dtype = "auto",
    engine: options.Engine = "auto",
    no_cache: options.NoCache = False,
    trust_remote_code: options.TrustRemoteCode = False,
    prompt_field: options.PromptField = None,
    student_field: options.StudentField = None,
    teacher_field: options.TeacherField = None,
    rows: options.Rows = 10,
    json: options.Json = False,
    output: options.Output = None,
) -> None:
    """Show what changed from one critic to another: paired tests, family by family, and the pairs that flipped."""
    with session.exit_codes():
        session.check_outputs(output)
        if pairs == "-":
            raise CriticProbeError("diff: pairs are read twice, which stdin cannot be; give a file")
        critics = bundled.find_critics(
            [old, new],
            base=base,
            step=None,
            device=device,
            device_map=device_map,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
        )
        read = bundled.find_pairs(pairs, Fields(prompt_field, student_field, teacher_field), critics)
        chosen = session.settings(aggregation, eos, value_position, template, on_too_long, engine, no_cache)
        from critic_probe.measures.compare import compare
        from critic_probe.measures.diff import diff
        from critic_probe.measures.perturb import Plan, perturb
        from critic_probe.probes import all_families, choose
        from critic_probe.report.terminal import print_diff

        families = choose(all_families(), ["punct", "completeness", "controls"], [])
        plan = Plan(families, most=max_per_response, seed=seed)
        with session.progress(resumable=not no_cache) as progress:
            compared = compare(critics.load(), read, chosen, progress)
            edited = perturb(critics.load(), read, chosen, plan, progress)
        session.finish(
            "diff",
            diff(compared, edited),
            critics,
            default_pairs=pairs is None,
            json=json,
            output=output,
            show=lambda result, console: print_diff(result, console, rows),
        )
