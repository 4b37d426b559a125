"""`critic-probe completeness`: complete answers against terse ones."""

from dataclasses import dataclass

from critic_probe.cli import options, panels
from critic_probe.cli.declare import with_options
from critic_probe.cli.perturb import Families, run_edits

PANEL = panels.LOOK
EXAMPLES = ("critic-probe completeness -c bundled:mean",)


@dataclass(frozen=True, kw_only=True)
class AllOfASide(options.SideDrawing):
    """Which of all possible edits are made: all of a side's."""

    max_per_response: int | None = None


@with_options
def command(
    pairs: options.PairsArgument = None,
    *,
    drawing: AllOfASide,
    loading: options.Loading,
    scoring: options.Scaling,
    fields: options.PairFields,
    dry_run: options.DryRun = False,
    output: options.Tables,
) -> None:
    """Compare complete answers with terse ones that state the same facts."""
    chosen = Families(completeness=True).chosen()
    run_edits("completeness", pairs, chosen, drawing, loading, scoring, fields, dry_run=dry_run, output=output)
