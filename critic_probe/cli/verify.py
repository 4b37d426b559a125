"""`critic-probe verify`: whether a result that was written down is what a checkpoint gives."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from critic_probe.bundled import BUNDLED
from critic_probe.cli import options, panels
from critic_probe.cli.declare import with_options
from critic_probe.encoding import CONVENTIONS, GAD, find_convention
from critic_probe.errors import CriticProbeError
from critic_probe.option import checked

if TYPE_CHECKING:
    from critic_probe.workbench import Settings

PANEL = panels.COMPARE
EXAMPLES = (
    "critic-probe compare -c bundled:mean -o result.json",
    "critic-probe verify result.json",
)


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
    convention: Annotated[
        str | None,
        options.of_reading(
            "The TOML file of the convention, where the record names one from a file.", names=("--as",), metavar="FILE"
        ),
    ] = None,
    sample: Annotated[int, options.of_pairs("How many pairs of each critic to score again.", min=1, metavar="N")] = 20,
    seed: Annotated[int | None, options.of_pairs("Draws the sample. Default: anew each time.")] = None,
    fields: options.PairNames,
    json: options.Json = False,
) -> None:
    """Hold a result against its checkpoint: hashes, its own arithmetic, and a random sample computed again.

    Exits with 1 if the record does not hold.
    """
    if loading.checkpoint:
        loading.critics()  # told of before what is slow to load
    from critic_probe.measures.recorded import read_record
    from critic_probe.measures.verify import verify
    from critic_probe.report.files import dump_plain

    record = read_record(result)
    signed = record["signature"]["critics"]
    names = [critic["name"] for critic in signed]
    given = loading.checkpoint or [name for name in names if name.startswith(BUNDLED)]
    critics = replace(loading, checkpoint=given, dtype=signed[0]["dtype"]).critics()
    critics = replace(critics, paths=_as_named(critics.paths, names, result))
    read = fields.pairs(pairs, critics)
    settings = _as_scored(record["signature"], signed, convention, result)
    verified = verify(record, critics.load(), read, settings, _plan(record["signature"]), sample, seed)
    if json:
        data = {
            "schema": "critic-probe/verify/1",
            "holds": verified.holds,
            "left_out": verified.left_out,
            "checks": verified.checks.to_dict("records"),
        }
        typer.echo(dump_plain(data | {"signature": verified.signature}))
    else:
        verified.show()
    if not verified.holds:
        raise typer.Exit(1)


def _as_scored(
    signature: dict[str, Any], critics: list[dict[str, Any]], own: str | None, result: Path
) -> "dict[str, Settings]":
    """The settings under which each critic of a record was scored; without a convention it was read as gad.

    Args:
        signature: The record's.
        critics: Those of the signature.
        own: The file of a convention that is no named one.
        result: Where the record was read.

    Raises:
        CriticProbeError: A convention's file is needed, is another, or is not needed.
    """
    conventions = {critic["name"]: critic.get("convention", GAD.name) for critic in critics}
    unnamed = {name: signed for name, signed in conventions.items() if signed not in CONVENTIONS}
    if own is None and unnamed:
        name, signed = next(iter(unnamed.items()))
        raise CriticProbeError(f"{result}: {name} was read by '{signed}', a convention from a file; give it with --as")
    if own is not None:
        if not unnamed:
            named = ", ".join(dict.fromkeys(conventions.values()))
            raise CriticProbeError(f"{result}: names its conventions ({named}); leave out --as {own}")
        given = find_convention(own)
        here = given.signed
        for name, signed in unnamed.items():
            if signed != here:
                raise CriticProbeError(
                    f"{own}: is '{here}', and {name} was read by '{signed}'; give --as the file that it was read by"
                )
    settings = {}
    for critic in critics:
        scoring = options.Scoring(
            aggregation=signature["aggregations"],
            eos=signature["eos"],
            convention=own if critic["name"] in unnamed else conventions[critic["name"]],
            value_position=critic.get("value_position", signature["value_position"]),
            template="raw" if critic["template"] == "raw" else signature.get("template_mode", "auto"),
            on_too_long="skip",
            date=signature.get("date"),
            no_cache=True,
        )
        settings[critic["name"]] = replace(checked(scoring).settings(), arguments=signature.get("arguments", {}))
    return settings


def _as_named(paths: dict[str, Path], names: list[str], result: Path) -> dict[str, Path]:
    """The directories under the names of the record, in its order: by name, or one to one where each side has one."""
    if len(paths) == len(names) == 1:
        return {names[0]: next(iter(paths.values()))}
    if set(paths) != set(names):
        raise CriticProbeError(
            f"{result}: was computed with {', '.join(names)}; give each of them with -c (given: {', '.join(paths)})"
        )
    return {name: paths[name] for name in names}


def _plan(signature: dict[str, Any]) -> Any:
    from critic_probe.measures.variants import Plan
    from critic_probe.probes import all_families, choose

    if "families" not in signature:
        return Plan([])
    families = choose(all_families(), [], signature["families"])
    return Plan(families, tuple(signature["sides"]), signature["max_per_response"], signature["seed"])
