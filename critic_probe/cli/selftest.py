"""`critic-probe selftest`: whether the probes find what is known to be there."""

import typer

from critic_probe.bundled import fixtures
from critic_probe.cli import options, panels, session
from critic_probe.cli.declare import with_options

PANEL = panels.TOOL
EXAMPLES = ("critic-probe selftest",)


@with_options
def command(json: options.Json = False) -> None:
    """Run all probes on critics with a planted rule: each must be named, and no other. About two minutes."""
    import torch

    from critic_probe.report.files import dump_plain
    from critic_probe.studies.selftest import selftest

    torch.set_num_threads(1)  # the critics are tiny
    with session.progress() as progress:
        result = selftest(fixtures() / "critics" / "last", progress)
    if json:
        typer.echo(dump_plain({"schema": "critic-probe/selftest/1", "checks": result.checks.to_dict("records")}))
    else:
        result.show()
    if (result.checks.verdict == "fail").any():
        raise typer.Exit(1)
