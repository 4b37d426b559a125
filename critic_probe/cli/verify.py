"""`critic-probe verify`: whether a result that was written down is what a checkpoint gives."""

import json as jsonlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from critic_probe.bundled import BUNDLED
from critic_probe.cli import options
from critic_probe.cli.declare import checked, with_options
from critic_probe.errors import CriticProbeError


@dataclass(frozen=True, kw_only=True)
class AsRecorded(options.Loading):
    """How the critics of a record are loaded; it tells their dtype."""

    dtype: str = "auto"


@with_options
def command(
    result: Annotated[Path, typer.Argument(metavar="RESULT.json", help="What compare, perturb or completeness wrote.")],
    pairs: Annotated[str | None, typer.Argument(help="The pairs that it scored. Default: the bundled ones.")] = None,
    *,
    loading: AsRecorded,
    sample: Annotated[int, options.of_pairs("How many pairs of each critic to score again.", min=1, metavar="N")] = 20,
    seed: Annotated[int | None, options.of_pairs("Draws the sample. Default: anew each time.")] = None,
    fields: options.PairNames,
    json: options.Json = False,
) -> None:
    """Hold a result against its checkpoint: hashes, its own arithmetic, and a random sample computed again.

    Exits with 1 if the record does not hold.
    """
    from critic_probe.measures.verify import signed_critics, verify
    from critic_probe.report.files import dump_plain

    record = _read(result)
    signed = signed_critics(record, str(result))
    names = [critic["name"] for critic in signed]
    given = loading.checkpoint or [name for name in names if name.startswith(BUNDLED)]
    critics = replace(loading, checkpoint=given, dtype=signed[0]["dtype"]).critics()
    critics = replace(critics, paths=_as_named(critics.paths, names, result))
    read = fields.pairs(pairs, critics)
    settings = _scoring(record["signature"], signed).settings()
    found = verify(record, critics.load(), read, settings, _plan(record["signature"]), sample, seed)
    if json:
        data = {"schema": "critic-probe/verify/1", "holds": found.holds, "checks": found.checks.to_dict("records")}
        typer.echo(dump_plain(data | {"signature": found.signature}))
    else:
        found.show()
    if not found.holds:
        raise typer.Exit(1)


def _scoring(signature: dict[str, Any], critics: list[dict[str, Any]]) -> options.Scoring:
    templates = {"raw" if critic["template"].startswith("raw") else "auto" for critic in critics}
    return checked(
        options.Scoring(
            aggregation=signature["aggregations"],
            eos=signature["eos"],
            value_position=signature["value_position"],
            template="raw" if templates == {"raw"} else "auto",
            on_too_long="skip",
            no_cache=True,
        )
    )


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
    from critic_probe.measures.variants import Plan
    from critic_probe.probes import all_families, choose

    if "families" not in signature:
        return Plan([])
    families = choose(all_families(), [], signature["families"])
    return Plan(families, tuple(signature["sides"]), signature["max_per_response"], signature["seed"])
