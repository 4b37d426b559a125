"""`critic-probe compare`: student against teacher under every critic and read-out."""

from dataclasses import replace
from typing import Annotated

import typer

from critic_probe import bundled
from critic_probe.cli import options, session
from critic_probe.pairs import Fields


def command(
    pairs: Annotated[
        str | None,
        typer.Argument(
            help="Pairs: .jsonl, .json, .csv, .parquet, or - for JSONL on stdin. Default: the bundled ones."
        ),
    ] = None,
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
    temperature: Annotated[
        float, typer.Option(min=1e-6, help="T of the loss softplus(-d/T), for saturation and the gradient left.")
    ] = 5.0,
    rows: options.Rows = 10,
    json: options.Json = False,
    output: options.Output = None,
) -> None:
    """Compare student and teacher scores under every critic and read-out."""
    with session.exit_codes():
        session.check_outputs(output)
        given = session.find_scores(pairs, checkpoint)
        if given is not None:
            from critic_probe.measures.scores import compare_scores
            from critic_probe.pairs import read_scores
            from critic_probe.report.terminal import print_compare

            session.finish(
                "compare",
                compare_scores(list(read_scores(given)), given.name, temperature),
                None,
                default_pairs=False,
                json=json,
                output=output,
                show=lambda result, console: print_compare(result, console, rows),
            )
            return
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
        chosen = session.settings(aggregation, eos, value_position, template, on_too_long, engine, no_cache)
        from critic_probe.measures.compare import compare
        from critic_probe.measures.price import price
        from critic_probe.report.terminal import print_compare

        if dry_run:
            table = price(critics.load(), read, replace(chosen, cache=None), lambda _, pair: pair.group.responses)
            session.show_price(table, json)
            return
        with session.progress(resumable=not no_cache) as progress:
            result = compare(critics.load(), read, chosen, progress, temperature)
        session.finish(
            "compare",
            result,
            critics,
            default_pairs=pairs is None,
            json=json,
            output=output,
            show=lambda result, console: print_compare(result, console, rows),
        )
