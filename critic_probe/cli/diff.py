"""`critic-probe diff`: one critic against another on the same pairs and the same edits."""

from dataclasses import dataclass, replace
from typing import Annotated

import typer

from critic_probe.cli import options, panels, session
from critic_probe.cli.declare import with_options

PANEL = panels.COMPARE
EXAMPLES = ("critic-probe diff bundled:last bundled:mean --max-per-response 1",)


@dataclass(frozen=True, kw_only=True)
class TwoCritics(options.Loading):
    """How the two critics are loaded, which are arguments."""

    checkpoint: list[str] | None = None
    step: int | None = None


@with_options
def command(
    old: Annotated[str, typer.Argument(metavar="A", help="The critic to compare with.")],
    new: Annotated[str, typer.Argument(metavar="B", help="The critic that is compared.")],
    pairs: options.PairsFile = None,
    *,
    loading: TwoCritics,
    scoring: options.Scaling,
    drawing: options.Drawing,
    fields: options.PairFields,
    output: options.Tables,
) -> None:
    """Show what changed from one critic to another: paired tests, family by family, and the pairs that flipped."""
    session.check_outputs(output)
    both = replace(loading, checkpoint=[old, new])
    critics, read, settings = session.prepared(pairs, fields, both, scoring)
    from critic_probe.measures.compare import Compare
    from critic_probe.measures.diff import diff
    from critic_probe.measures.perturb import Perturb
    from critic_probe.measures.variants import Plan
    from critic_probe.probes import all_families, choose
    from critic_probe.workbench import benches, run

    families = choose(all_families(), ["punct", "completeness", "controls"], [])
    compared, edited = Compare(), Perturb(Plan(families, most=drawing.max_per_response, seed=drawing.seed))
    with (
        session.progress(resumable=not scoring.no_cache) as progress,
        benches(critics.load(), read, settings, progress) as made,
    ):
        done = run(made, [compared, edited])
        result = diff(compared.result(done), edited.result(done))
    session.finish(result, critics, output, default_pairs=pairs is None, show=output.show)
