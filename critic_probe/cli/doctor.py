"""`critic-probe doctor`: whether a critic's values are what its framework computed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from critic_probe.cli import options, panels, session
from critic_probe.cli.declare import with_options

PANEL = panels.LOOK
EXAMPLES = ("critic-probe doctor bundled:last pairs.jsonl",)


@dataclass(frozen=True, kw_only=True)
class Examined(options.Scoring):
    """How a text becomes a score: computed anew, and told of what is too long."""

    on_too_long: Literal["error", "skip"] = "skip"
    engine: Literal["auto", "tree", "reference"] = "auto"
    no_cache: bool = True


@with_options
def command(
    critic: Annotated[
        str | None,
        typer.Argument(metavar="[CRITIC]", help="A critic's directory, or a bundled one; left out where -c names it."),
    ] = None,
    pairs: options.PairsArgument = None,
    *,
    loading: options.Loading,
    scoring: Examined,
    fields: options.PairFields,
    output: options.Screen,
) -> None:
    """Check head, tokens, positions, padding and scores of one critic. Exits with 1 if a check fails."""
    session.check_outputs(output)
    if pairs is None and critic is not None and (loading.checkpoint or critic == "-" or Path(critic).is_file()):
        critic, pairs = None, critic
    critics = loading.one(critic)
    [(name, path)] = critics.paths.items()
    settings = scoring.settings()
    if fields.show_input is not None:
        session.show_input(critics, fields.pairs(pairs, critics), settings, fields.show_input)
        return
    from critic_probe.measures.doctor import doctor

    with session.progress() as progress:
        result = doctor(path, lambda: fields.pairs(pairs, critics), settings, progress, name=name, **critics.loading)
    session.finish(result, critics, output, default_pairs=pairs is None, show=output.show)
    if (result.checks.verdict == "fail").any():
        raise typer.Exit(1)
