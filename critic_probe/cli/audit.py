"""`critic-probe audit`: the claims that this tool began with, measured."""

from typing import Annotated

import typer

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
    seed: options.Seed = 0,
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
    """Measure what was claimed of last-token and mean scores: gradients, variance, punctuation, content, EOS."""
    with session.exit_codes():
        session.check_outputs(output)
        critics = session.find_critics(
            checkpoint,
            base=base,
            step=step,
            device=device,
            device_map=device_map,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
        )
        read = session.find_pairs(pairs, Fields(prompt_field, student_field, teacher_field), critics)
        chosen = session.settings(None, eos, value_position, template, on_too_long, engine, no_cache)
        from critic_probe.analysis.audit import audit
        from critic_probe.report.terminal import print_audit

        with session.progress(resumable=not no_cache) as progress:
            result = audit(critics.load(), read, chosen, progress, seed)
        session.finish(
            "audit", result, critics, default_pairs=pairs is None, json=json, output=output, show=print_audit
        )
