"""What every command does around its measurement: find pairs and critics, report progress, print, exit."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from critic_probe.errors import CriticProbeError, Notice
from critic_probe.report.targets import check_path
from critic_probe.text import neutralise

if TYPE_CHECKING:
    from critic_probe.bundled import Critics
    from critic_probe.cli.options import Loading, Output, PairFields, Scoring
    from critic_probe.measures.result import Result
    from critic_probe.pairs import Pairs, RowFile
    from critic_probe.scoring.engine import Stats
    from critic_probe.workbench import Progress, Settings

LONG_RUN = 1000  # pairs from which the price is told where there is no progress bar


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turns an error that users are meant to see into one line on stderr and exit code 2."""
    try:
        yield
    except CriticProbeError as error:
        typer.echo(f"critic-probe: error: {neutralise(str(error))}", err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.echo("critic-probe: interrupted; nothing was written", err=True)
        raise typer.Exit(130) from None


def require_checkpoint(path: Path) -> None:
    """Refuses a path that is no directory: what is wrong then is the command line, not a critic.

    Raises:
        CriticProbeError: It is none.
    """
    if not path.exists():
        raise CriticProbeError(f"{path}: no such checkpoint directory; give a local directory, nothing is downloaded")
    if not path.is_dir():
        raise CriticProbeError(f"{path}: a file, not a checkpoint directory; give the directory that holds it")


def find_scores(path: str | None, checkpoint: Sequence[str] | None) -> "RowFile | None":
    """A file whose rows carry scores, where no critic is asked for; None for pairs that are to be scored."""
    if path is None or path == "-" or checkpoint or os.environ.get("CRITIC_PROBE_CHECKPOINT"):
        return None
    from critic_probe.pairs import RowFile, holds_scores

    rows = RowFile(path)
    return rows if holds_scores(rows) else None


@contextmanager
def progress(resumable: bool = False) -> "Iterator[Progress]":
    """A progress bar on stderr, and only where that is a terminal; on Ctrl-C it says how far the run came.

    It shows pairs and computed tokens per second, the time left, and the share of tokens that the prefix tree saved.

    Args:
        resumable: Whether what was scored is kept.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Speed(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed, replicas = task.speed or 0.0, task.fields["stats"].replicas
            each = f", {speed / replicas:,.1f}/s each of {replicas} replicas" if replicas else ""
            return Text(f"{speed:,.1f}/s{each}" if speed else "")

    class Tokens(ProgressColumn):
        def render(self, task: Task) -> Text:
            now, before = task.fields["stats"], task.fields["before"]
            computed = now.computed - before.computed
            wanted = now.given - before.given - (now.cached - before.cached)
            if not computed or not task.elapsed:
                return Text("")
            return Text(f"{computed / task.elapsed:,.0f} tokens/s, {1 - computed / wanted:.0%} saved")

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Speed(),
        Tokens(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:

        def start(label: str, total: int, stats: "Stats") -> Callable[[], None]:
            task = bar.add_task(label, total=total, stats=stats, before=replace(stats))
            if total >= LONG_RUN and not console.is_terminal:
                typer.echo(label, err=True)
            return lambda: bar.advance(task)

        try:
            yield start
        except KeyboardInterrupt:
            done = ", ".join(f"{t.description}: {t.completed:.0f} of {t.total:.0f}" for t in bar.tasks) or "nothing yet"
            kept = "what was scored is kept, run the same command again to go on" if resumable else "nothing was kept"
            typer.echo(f"critic-probe: interrupted ({done}); {kept}", err=True)
            raise typer.Exit(130) from None


def show_price(table: Any, json: bool) -> None:
    """Prints what a run would cost."""
    if json:
        from critic_probe.report.files import dump_plain

        typer.echo(dump_plain({"schema": "critic-probe/price/1", "price": table.to_dict("records")}))
        return
    for row in table.to_dict("records"):
        sizes = {name: f"{row[name] / 1e6:,.0f}" for name in row if name.endswith("memory") and row[name] is not None}
        memory = (
            "; up to {memory} MB of memory: program {program_memory}, weights {weights_memory}, largest batch "
            "{batch_memory}, tables {tables_memory}"
        )
        typer.echo(
            f"{row['critic']}: {row['pairs']:,} pairs, {row['responses']:,} responses, {row['tokens']:,} tokens, "
            f"{row['tokens_after_sharing']:,} after sharing ({row['saved']:.0%} saved, engine {row['engine']}); "
            f"about {row['seconds']:,.0f} s at {row['tokens_per_second']:,.0f} tokens/s, timed on the first pairs"
            + (memory.format(**sizes) if sizes else "")
        )


def prepared(
    file: "str | None",
    fields: "PairFields",
    loading: "Loading",
    scoring: "Scoring",
    read_outs: "Iterable[str] | None" = None,
) -> "tuple[Critics, Pairs, Settings]":
    """The critics, the pairs and how they are scored; or one pair as it is fed, where that was asked for.

    Raises:
        CriticProbeError: One of them is not there.
    """
    critics, reading = replace(loading.critics(), cluster=scoring.cluster()), scoring.parsed(read_outs)
    pairs = fields.pairs(file, critics)
    settings = reading()
    if fields.show_input is not None:
        show_input(critics, pairs, settings, fields.show_input)
        raise typer.Exit
    return critics, pairs, settings


def show_input(critics: "Critics", pairs: "Pairs", settings: "Settings", wanted: str) -> None:
    """Prints a pair exactly as each critic is fed it; none is loaded.

    Raises:
        CriticProbeError: There is no such pair, or a critic's files cannot be read.
    """
    from rich.console import Console

    from critic_probe.checkpoint import dissect
    from critic_probe.encoding import encode, shown_input
    from critic_probe.report.terminal.input import print_input
    from critic_probe.workbench.reading import encoder_of

    pair = next((pair for pair in pairs if wanted in ("first", pair.id)), None)
    if pair is None:
        raise CriticProbeError(f"--show-input {wanted}: no pair has that id; `first` shows the first")
    loading = {key: critics.loading.get(key) for key in ("base", "step", "head_row")}
    for name, path in critics.paths.items():
        trusted = bool(critics.loading.get("trust_remote_code"))
        encoder, because = encoder_of(dissect(path, trust_remote_code=trusted, **loading), settings)
        print_input(name, because, shown_input(encode(pair, encoder), encoder), Console())


def check_outputs(output: "Output") -> None:
    """Refuses a file that could not be written, before anything is scored.

    Raises:
        CriticProbeError: Its suffix is unknown or its place is not writable.
    """
    for path in output.output or ():
        check_path(Path(path))


def with_defaults_told(result: Any, critics: "Critics | None", default_pairs: bool) -> Any:
    """The result with a notice where critics or pairs are the bundled ones because none were named."""
    notices = []
    if default_pairs:
        notices.append(Notice("bundled-pairs", "no file given: the bundled pairs"))
    if critics is not None and critics.bundled:
        notice = "no --checkpoint given: these are the two bundled toy critics, not yours"
        notices.append(Notice("bundled-critics", notice))
    return replace(result, notices=[*notices, *result.notices])


def in_turn(*actions: Callable[[], object]) -> None:
    """Does one after the other, also where one before it failed; what the last failure raised is raised then."""
    with ExitStack() as stack:
        for action in reversed(actions):
            stack.callback(action)


def finish(
    result: "Result",
    critics: "Critics | None",
    output: "Output",
    *,
    default_pairs: bool,
    show: "Callable[[Any], None]" = lambda result: result.show(),
) -> None:
    """Writes the files asked for and prints the result as JSON or as tables, also where a file cannot be written.

    Raises:
        CriticProbeError: One could not.
    """
    from critic_probe.report.files import dump_json

    result = with_defaults_told(result, critics, default_pairs)
    in_turn(
        *(partial(result.save, path) for path in output.output or ()),
        lambda: typer.echo(dump_json(result)) if output.json else show(result),
    )
