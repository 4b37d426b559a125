"""`critic-probe cache`: the values that were computed before."""

import typer

from critic_probe.cli import options
from critic_probe.cli.declare import with_options

app = typer.Typer(help="Values that were computed before, and where they lie.", no_args_is_help=True)


@app.command("info")
@with_options
def info(json: options.Json = False) -> None:
    """Say where the cache is and what it holds."""
    from critic_probe.scoring.cache import cache_info, cache_path

    facts = cache_info(cache_path())
    if json:
        from critic_probe.report.files import dump_plain

        typer.echo(dump_plain({"schema": "critic-probe/cache/1", **facts}))
    else:
        typer.echo(
            f"{facts['path']}: {facts['responses']:,} responses of {facts['critics']:,} critics, "
            f"{facts['bytes'] / 1e6:,.1f} MB"
        )


@app.command("clear")
@with_options
def clear() -> None:
    """Remove the cache."""
    from critic_probe.scoring.cache import cache_path, clear_cache

    clear_cache(cache_path())
