"""`critic-probe compare`: student against teacher under every critic and read-out."""

from dataclasses import replace
from typing import Annotated

from critic_probe.cli import options, panels, session
from critic_probe.cli.declare import with_options
from critic_probe.errors import CriticProbeError

PANEL = panels.LOOK
EXAMPLES = (
    "critic-probe compare -c bundled:last -c bundled:mean",
    "critic-probe compare pairs.jsonl -c bundled:mean -a mean -a min -o result.json",
)


@with_options
def command(
    pairs: options.PairsArgument = None,
    *,
    loading: options.Loading,
    scoring: options.Scaling,
    fields: options.PairFields,
    temperature: Annotated[
        float, options.of_output("T of the loss softplus(-d/T), for saturation and the gradient left.", min=1e-6)
    ] = 5.0,
    tie_within: Annotated[
        float,
        options.of_pairs("Of scores from a file: gaps up to this are ties too, in the unit of the scores.", min=0),
    ] = 0.0,
    dry_run: options.DryRun = False,
    output: options.Tables,
) -> None:
    """Compare student and teacher scores under every critic and read-out."""
    session.check_outputs(output)
    if (scores := session.find_scores(pairs, loading.checkpoint)) is not None:
        if (loading, scoring, fields, dry_run) != (options.Loading(), options.Scaling(), options.PairFields(), False):
            raise CriticProbeError(f"{pairs}: holds scores, and no critic is asked; leave out the options for critics")
        from critic_probe.measures.scores import compare_scores
        from critic_probe.pairs import read_scores

        result = compare_scores(list(read_scores(scores)), scores.name, temperature, tie_within)
        session.finish(result, None, output, default_pairs=False, show=output.show)
        return
    if tie_within:
        raise CriticProbeError("--tie-within is for scores from a file; a critic's noise floor is measured")
    critics, read, settings = session.prepared(pairs, fields, loading, scoring)
    from critic_probe.measures.compare import Compare, compare
    from critic_probe.measures.price import price

    if dry_run:
        table = price(critics.load(), read, replace(settings, cache=None), [Compare(temperature)])
        session.show_price(table, output.json)
        return
    with session.progress(resumable=not scoring.no_cache) as progress:
        result = compare(critics.load(), read, settings, progress, temperature)
    session.finish(result, critics, output, default_pairs=pairs is None, show=output.show)
