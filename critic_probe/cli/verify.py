"""`critic-probe verify`: whether a result that was written down is what a checkpoint gives."""

import json as jsonlib
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from critic_probe import bundled
from critic_probe.cli import options, session
from critic_probe.errors import CriticProbeError
from critic_probe.pairs import Fields


def command(
    result: Annotated[Path, typer.Argument(metavar="RESULT.json", help="What compare, perturb or completeness wrote.")],
    pairs: Annotated[str | None, typer.Argument(help="The pairs that it scored. Default: the bundled ones.")] = None,
    checkpoint: options.Checkpoint = None,
    sample: Annotated[int, typer.Option(min=1, metavar="N", help="How many pairs of each critic to score again.")] = 20,
    seed: Annotated[int | None, typer.Option(help="Draws the sample. Default: anew each time.")] = None,
    base: options.Base = None,
    step: options.Step = None,
    device: options.Device = "auto",
    device_map: options.DeviceMap = None,
    trust_remote_code: options.TrustRemoteCode = False,
    prompt_field: options.PromptField = None,
    student_field: options.StudentField = None,
    teacher_field: options.TeacherField = None,
    json: options.Json = False,
) -> None:
    """Hold a result against its checkpoint: hashes, its own arithmetic, and a random sample computed again.

    Exits with 1 if the record does not hold.
    """
    with session.exit_codes():
        from rich.console import Console

        from critic_probe.measures.verify import signed_critics, verify
        from critic_probe.report.files import dump_plain
        from critic_probe.report.health import print_verify

        record = _read(result)
        signed = signed_critics(record, str(result))
        signature = record["signature"]
        critics = bundled.find_critics(
            checkpoint or [critic["name"] for critic in signed if critic["name"].startswith(bundled.BUNDLED)],
            base=base,
            step=step,
            device=device,
            device_map=device_map,
            dtype=signed[0]["dtype"],
            trust_remote_code=trust_remote_code,
        )
        critics = replace(critics, paths=_as_named(critics.paths, [critic["name"] for critic in signed], result))
        read = bundled.find_pairs(pairs, Fields(prompt_field, student_field, teacher_field), critics)
        templates = {"raw" if critic["template"].startswith("raw") else "auto" for critic in signed}
        settings = session.settings(
            signature["aggregations"],
            signature["eos"],
            signature["value_position"],
            templates.pop() if len(templates) == 1 else "auto",
            "skip",
        )
        found = verify(record, critics.load(), read, settings, _plan(signature), sample, seed)
        if json:
            data = {"schema": "critic-probe/verify/1", "holds": found.holds, "checks": found.checks.to_dict("records")}
            typer.echo(dump_plain(data | {"signature": found.signature}))
        else:
            print_verify(found, Console())
        if not found.holds:
            raise typer.Exit(1)


def _read(path: Path) -> dict[str, Any]:
    try:
        record = jsonlib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CriticProbeError(f"{path}: cannot be read ({error}); give what compare or perturb wrote") from error
    return record if isinstance(record, dict) else {}


def _as_named(paths: dict[str, Path], names: list[str], result: Path) -> dict[str, Path]:
    """The directories under the names of the record: by name, or one to one where each side has one."""
    if len(paths) == len(names) == 1:
        return {names[0]: next(iter(paths.values()))}
    if set(paths) != set(names):
        raise CriticProbeError(
            f"{result}: was computed with {', '.join(names)}; give each of them with -c (given: {', '.join(paths)})"
        )
    return paths


def _plan(signature: dict[str, Any]) -> Any:
    from critic_probe.measures.perturb import Plan
    from critic_probe.probes import all_families, choose

    if "families" not in signature:
        return Plan([])
    families = choose(all_families(), [], signature["families"])
    return Plan(families, tuple(signature["sides"]), signature["max_per_response"], signature["seed"])
