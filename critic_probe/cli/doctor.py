"""`critic-probe doctor`: whether a critic's values are what its framework computed."""

from dataclasses import dataclass
from typing import Literal

import typer

from critic_probe.cli import options, session
from critic_probe.cli.declare import with_options
from critic_probe.errors import CriticProbeError


@dataclass(frozen=True, kw_only=True)
class Examined(options.Scoring):
    """How a text becomes a score: computed anew, and told of what is too long."""

    on_too_long: Literal["error", "skip"] = "skip"
    engine: Literal["auto", "tree", "reference"] = "auto"
    no_cache: bool = True


@with_options
def command(
    pairs: options.PairsArgument = None,
    *,
    loading: options.Loading,
    scoring: Examined,
    fields: options.PairFields,
    output: options.Screen,
) -> None:
    """Check head, tokens, positions, padding and scores of one critic. Exits with 1 if a check fails."""
    session.check_outputs(output)
    critics = loading.critics()
    if critics.bundled:
        raise CriticProbeError("doctor: no critic to examine; name one with -c DIR (or -c bundled:last)")
    if len(critics.paths) > 1:
        raise CriticProbeError("doctor: examines one critic at a time; give -c once")
    [(name, path)] = critics.paths.items()
    settings = scoring.settings()
    if fields.show_input is not None:
        session.prepared(pairs, fields, loading, scoring)
    from critic_probe.measures.doctor import doctor

    session.require_checkpoint(path)
    with session.progress() as progress:
        result = doctor(path, lambda: fields.pairs(pairs, critics), settings, progress, name=name, **critics.loading)
    session.finish(result, critics, output, default_pairs=pairs is None, show=output.show)
    if (result.checks.verdict == "fail").any():
        raise typer.Exit(1)
