"""`critic-probe tokens`: values along a response."""

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
    output: options.Output = None,
) -> None:
    """Show when a verdict is known, how dependent token values are, and which kinds of token carry them."""
    with session.exit_codes():
        session.check_outputs(output)
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
        chosen = session.settings(None, eos, value_position, template, on_too_long, engine, no_cache)
        from critic_probe.measures.tokens import tokens
        from critic_probe.report.terminal import print_tokens

        with session.progress(resumable=not no_cache) as progress:
            result = tokens(critics.load(), read, chosen, progress)
        session.finish(
            "tokens", result, critics, default_pairs=pairs is None, json=json, output=output, show=print_tokens
        )
