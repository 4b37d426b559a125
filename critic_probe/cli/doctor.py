"""`critic-probe doctor`: whether a critic's values are what its framework computed."""

from typing import Annotated

import typer

from critic_probe import bundled
from critic_probe.cli import options, session
from critic_probe.errors import CriticProbeError
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
    base: options.Base = None,
    step: options.Step = None,
    device: options.Device = "auto",
    device_map: options.DeviceMap = None,
    dtype: options.Dtype = "auto",
    trust_remote_code: options.TrustRemoteCode = False,
    prompt_field: options.PromptField = None,
    student_field: options.StudentField = None,
    teacher_field: options.TeacherField = None,
    json: options.Json = False,
    output: options.Output = None,
) -> None:
    """Check head, tokens, positions, padding and scores of one critic. Exits with 1 if a check fails."""
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
        if critics.bundled:
            raise CriticProbeError("doctor: no critic to examine; name one with -c DIR (or -c bundled:last)")
        if len(critics.paths) > 1:
            raise CriticProbeError("doctor: examines one critic at a time; give -c once")
        chosen = session.settings(aggregation, eos, value_position, template, "skip")
        [(name, path)] = critics.paths.items()
        fields = Fields(prompt_field, student_field, teacher_field)
        from critic_probe.measures.doctor import doctor
        from critic_probe.report.health import print_doctor

        session.require_checkpoint(path)
        with session.progress() as progress:
            result = doctor(
                path,
                lambda: bundled.find_pairs(pairs, fields, critics),
                chosen,
                progress,
                name=name,
                **critics.loading,
            )
        session.finish(
            "doctor", result, critics, default_pairs=pairs is None, json=json, output=output, show=print_doctor
        )
        if (result.checks.verdict == "fail").any():
            raise typer.Exit(1)
