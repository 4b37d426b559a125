"""`critic-probe doctor`: whether values are what a critic's framework computed, or what is served is the critic."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from critic_probe.cli import options, panels, session
from critic_probe.cli.declare import with_options
from critic_probe.errors import CriticProbeError, parameter

if TYPE_CHECKING:
    from critic_probe.bundled import Critics
    from critic_probe.measures.endpoint import EndpointResult
    from critic_probe.pairs import Pairs
    from critic_probe.serving.client import Endpoint
    from critic_probe.workbench import Settings

PANEL = panels.LOOK
EXAMPLES = (
    "critic-probe doctor bundled:last pairs.jsonl",
    "critic-probe doctor bundled:last pairs.jsonl --endpoint http://localhost:8000",
)

_of_server = "A server"


@dataclass(frozen=True, kw_only=True)
class Examined(options.Scoring):
    """How a text becomes a score: computed anew, and told of what is too long."""

    on_too_long: Literal["error", "skip"] = "skip"
    engine: Literal["auto", "tree", "reference"] = "auto"
    no_cache: bool = True


@dataclass(frozen=True, kw_only=True)
class Server:
    """Which server is asked, and how."""

    endpoint: Annotated[
        str | None,
        options.Option(
            "A server that scores, such as http://localhost:8000: is what it serves the critic? Asked in place of the "
            "other checks, for the responses of the first 64 pairs; $CRITIC_PROBE_ENDPOINT_KEY is the key it may want.",
            metavar="URL",
            panel=_of_server,
        ),
    ] = None
    protocol: Annotated[
        Literal["auto", "vllm-classify", "vllm-pooling", "sglang", "openrlhf", "json"],
        options.Option("How it is asked. auto: by its URL, else by what it answers.", panel=_of_server),
    ] = "auto"


@with_options
def command(
    critic: Annotated[
        str | None,
        typer.Argument(metavar="[CRITIC]", help="A critic's directory, or a bundled one; left out where -c names it."),
    ] = None,
    pairs: options.PairsArgument = None,
    *,
    loading: options.Loading,
    server: Server,
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
    if server.endpoint is not None and (scoring.aggregation or ["last"]) != ["last"]:
        raise CriticProbeError(f"{parameter('endpoint')}: a server reads one token; leave {parameter('read_outs')} out")
    reading = scoring.parsed(None if server.endpoint is None else ["last"])
    client = None
    if server.endpoint is not None and fields.show_input is None:
        from critic_probe.serving.client import Endpoint

        client = Endpoint(server.endpoint, server.protocol)  # told of before what is slow to load
    settings = reading()
    if fields.show_input is not None:
        session.show_input(critics, fields.pairs(pairs, critics), settings, fields.show_input)
        return
    result: Any
    if client is not None:
        result = _asked(client, critics, fields.pairs(pairs, critics), settings)
        failed = not result.agrees
    else:
        from critic_probe.measures.doctor import doctor

        with session.progress() as progress:
            result = doctor(
                path, lambda: fields.pairs(pairs, critics), settings, progress, name=name, **critics.loading
            )
        failed = (result.checks.verdict == "fail").any()
    session.finish(result, critics, output, default_pairs=pairs is None, show=output.show)
    if failed:
        raise typer.Exit(1)


def _asked(client: "Endpoint", critics: "Critics", pairs: "Pairs", settings: "Settings") -> "EndpointResult":
    """What a server's scores are, held against those of the one critic."""
    from critic_probe.measures.endpoint import endpoint
    from critic_probe.workbench import benches

    try:
        with session.progress() as progress, benches(critics.load(), pairs, settings, progress) as made:
            return endpoint(next(made), client)
    finally:
        client.close()
