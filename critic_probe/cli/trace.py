"""`critic-probe trace`: the values of one pair, token by token."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from critic_probe import bundled
from critic_probe.cli import options, session
from critic_probe.errors import CriticProbeError
from critic_probe.pairs import Fields, Pair

if TYPE_CHECKING:
    from collections.abc import Iterable


def command(
    pairs: Annotated[
        str | None,
        typer.Argument(
            help="Pairs: .jsonl, .json, .csv, .parquet, or - for JSONL on stdin. Default: the bundled ones."
        ),
    ] = None,
    pair_id: Annotated[str | None, typer.Option("--id", metavar="ID", help="The pair to trace.")] = None,
    prompt: Annotated[str | None, typer.Option(help="A prompt, instead of a file of pairs.")] = None,
    student: Annotated[str | None, typer.Option(help="The student's response to --prompt.")] = None,
    teacher: Annotated[str | None, typer.Option(help="The teacher's response to --prompt.")] = None,
    checkpoint: options.Checkpoint = None,
    aggregation: options.Aggregations = None,
    eos: options.Eos = "exclude",
    value_position: options.ValuePosition = "at",
    template: options.Template = "auto",
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
    view: Annotated[
        str, typer.Option(help="table: a row a token; line: each response as text whose ground shows the values.")
    ] = "table",
    export: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Also write what is shown as a picture: .svg, .html or .png; repeatable."),
    ] = None,
    json: options.Json = False,
    output: options.Output = None,
) -> None:
    """Show the value of every token of one pair, student and teacher side by side."""
    with session.exit_codes():
        session.check_outputs(output)
        session.choice("--view", view, "line", "table")
        from critic_probe.report.svg import check_picture, write_picture

        for path in export or ():
            check_picture(Path(path))
        critics = bundled.find_critics(
            checkpoint,
            base=base,
            step=step,
            device=device,
            device_map=device_map,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
        )
        given = (prompt, student, teacher)
        if any(text is not None for text in given):
            if prompt is None or student is None or teacher is None or pairs or pair_id:
                raise CriticProbeError("trace: give --prompt, --student and --teacher together, or a file and --id")
            pair = Pair("command line", prompt, student, teacher)
        else:
            fields = Fields(prompt_field, student_field, teacher_field)
            pair = _find(bundled.find_pairs(pairs, fields, critics), pair_id, pairs or "the bundled pairs")
        chosen = session.settings(aggregation, eos, value_position, template, "error", engine, no_cache)
        from critic_probe.measures.trace import trace
        from critic_probe.report.terminal import print_trace

        result = trace(critics.load(), pair, chosen)
        for path in export or ():
            write_picture(
                Path(path), lambda console: print_trace(result, console, view), f"critic-probe trace {pair.id}"
            )
        session.finish(
            "trace",
            result,
            critics,
            default_pairs=pairs is None and prompt is None,
            json=json,
            output=output,
            show=lambda result, console: print_trace(result, console, view),
        )


def _find(pairs: "Iterable[Pair]", wanted: str | None, where: str) -> Pair:
    ids = [pair.id for pair in pairs]
    listed = ", ".join(ids[:5]) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
    if wanted is None:
        raise CriticProbeError(f"trace: name a pair of {where} with --id: {listed}")
    found = next((pair for pair in pairs if pair.id == wanted), None)
    if found is None:
        raise CriticProbeError(f"{where}: no pair has the id '{wanted}'; it holds {listed}")
    return found
