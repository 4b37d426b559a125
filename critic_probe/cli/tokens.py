"""`critic-probe tokens`: values along a response."""

from dataclasses import dataclass

from critic_probe.cli import options, panels, session
from critic_probe.cli.declare import with_options

PANEL = panels.LOOK
EXAMPLES = ("critic-probe tokens -c bundled:mean",)


@dataclass(frozen=True, kw_only=True)
class Reading(options.Scaling):
    """How a text becomes a score, where read-outs are the command's own."""

    aggregation: options.ReadOuts = None


@with_options
def command(
    pairs: options.PairsArgument = None,
    *,
    loading: options.Loading,
    scoring: Reading,
    fields: options.PairFields,
    output: options.Screen,
) -> None:
    """Show when a verdict is known, how dependent token values are, and which kinds of token carry them."""
    session.check_outputs(output)
    critics, read, settings = session.prepared(pairs, fields, loading, scoring)
    from critic_probe.measures.tokens import tokens

    with session.progress(resumable=not scoring.no_cache) as progress:
        result = tokens(critics.load(), read, settings, progress)
    session.finish(result, critics, output, default_pairs=pairs is None, show=output.show)
