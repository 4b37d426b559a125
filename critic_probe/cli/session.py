"""What every command does around its measurement: find pairs and critics, report progress, print, exit."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import typer

from critic_probe.errors import CriticProbeError, Notice
from critic_probe.text import neutralise

if TYPE_CHECKING:
    from rich.console import Console

    from critic_probe.analysis import Settings
    from critic_probe.analysis.measure import Progress
    from critic_probe.checkpoint import Critic
    from critic_probe.pairs import Fields, Pairs, RowFile
    from critic_probe.scoring import Stats

BUNDLED = "bundled:"
TOYS = (f"{BUNDLED}last", f"{BUNDLED}mean")  # need nothing else, and are used where no critic is named
ADAPTERS = (f"{BUNDLED}smollm2-last", f"{BUNDLED}smollm2-mean")
TINY = 10_000_000  # parameters
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
    except BrokenPipeError:  # the reader of a pipe has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None


def fixtures() -> Path:
    """The directory of the bundled pairs and critics: inside an installed package, or beside it in a clone."""
    inside = Path(__file__).parents[1] / "fixtures"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "fixtures"


@dataclass(frozen=True)
class Critics:
    """Which critics to load, and how."""

    paths: dict[str, Path]  # name -> directory
    bundled: bool  # nothing was asked for, so the bundled ones are used
    loading: dict[str, Any]  # what `load_critic` takes beside the path

    def load(self) -> "Iterator[Critic]":
        """Loads one critic after the other."""
        from critic_probe.checkpoint import load_critic

        for name, path in self.paths.items():
            critic = load_critic(path, name=name, **self.loading)
            _one_thread_for_a_tiny(critic)
            yield critic
            del critic  # before the next one is loaded


def require_checkpoint(path: Path) -> None:
    """Refuses a path that is no directory: what is wrong then is the command line, not a critic.

    Raises:
        CriticProbeError: It is none.
    """
    if not path.is_dir():
        raise CriticProbeError(f"{path}: no such checkpoint directory; give a local directory, nothing is downloaded")


def _one_thread_for_a_tiny(critic: "Critic") -> None:
    """Threads that wait for each other cost a tiny model more than they compute, most of all on a busy machine."""
    import torch

    parameters = sum(parameter.numel() for parameter in critic.backbone.parameters())
    if critic.device.type == "cpu" and parameters < TINY:
        torch.set_num_threads(1)


def find_critics(given: Sequence[str] | None, **loading: Any) -> Critics:
    """The critics of `-c`, else of the environment, else the bundled ones.

    Args:
        given: What `-c` named.
        loading: What `load_critic` takes beside the path.

    Raises:
        CriticProbeError: A `bundled:` name is unknown, or the same directory is given twice.
    """
    from_environment = os.environ.get("CRITIC_PROBE_CHECKPOINT")
    wanted = list(given or ([from_environment] if from_environment else []))
    names = (*TOYS, *ADAPTERS)
    paths: dict[str, Path] = {}
    for text in wanted or TOYS:
        if text.startswith(BUNDLED):
            if text not in names:
                raise CriticProbeError(f"'{text}' is not a bundled critic; choose from {', '.join(names)}")
            name, path = text, fixtures() / "critics" / text.removeprefix(BUNDLED)
        else:
            path = Path(text)
            name = _unique_name(path.resolve(), paths)
        if path.resolve() in {known.resolve() for known in paths.values()}:
            raise CriticProbeError(f"--checkpoint {text} is given twice; give each critic once")
        paths[name] = path
    return Critics(paths, not wanted, loading)


def _unique_name(path: Path, taken: dict[str, Path]) -> str:
    parts = [part for part in path.parts if part != path.anchor]
    names = ("/".join(parts[-length:]) for length in range(1, len(parts) + 1))
    return next((name for name in names if name not in taken), str(path))


def find_pairs(path: str | None, fields: "Fields", critics: Critics) -> "Pairs":
    """The pairs of a file, or the bundled ones where no file is given.

    Token ids belong to one tokenizer: for other critics than the bundled toys the bundled pairs are read as
    text. A file is read anew each time it is gone through.
    """
    from critic_probe.pairs import PairFile, as_text, read_pairs

    if path is not None:
        return PairFile(path, fields)
    pairs = read_pairs(fixtures() / "pairs.jsonl", fields)
    return pairs if set(critics.paths) <= set(TOYS) else [as_text(pair) for pair in pairs]


def find_scores(path: str | None, checkpoint: Sequence[str] | None) -> "RowFile | None":
    """A file whose rows carry scores, where no critic is asked for; None for pairs that are to be scored."""
    if path is None or path == "-" or checkpoint or os.environ.get("CRITIC_PROBE_CHECKPOINT"):
        return None
    from critic_probe.pairs import RowFile, holds_scores

    rows = RowFile(path)
    return rows if holds_scores(rows) else None


def settings(
    aggregations: Sequence[str] | None,
    eos: str,
    value_position: str,
    template: str,
    on_too_long: str,
    engine: str = "auto",
    no_cache: bool = True,
) -> "Settings":
    """Checks the options that say how text becomes a score.

    Raises:
        CriticProbeError: A value is not among the allowed ones.
    """
    from critic_probe.aggregation import parse
    from critic_probe.analysis import Settings
    from critic_probe.scoring import cache_path

    parsed = tuple(dict.fromkeys(parse(name) for name in aggregations or ("last", "mean")))
    return Settings(
        aggregations=parsed,
        eos=cast(Literal["exclude", "include"], choice("--eos", eos, "exclude", "include")),
        value_position=cast(Literal["at", "before"], choice("--value-position", value_position, "at", "before")),
        template=cast(Literal["auto", "chat", "raw"], choice("--template", template, "auto", "chat", "raw")),
        on_too_long=cast(Literal["error", "skip"], choice("--on-too-long", on_too_long, "error", "skip")),
        engine=cast(Literal["auto", "tree", "reference"], choice("--engine", engine, "auto", "tree", "reference")),
        cache=None if no_cache else cache_path(),
    )


def choice(option: str, value: str, *allowed: str) -> str:
    """The value of an option that takes one of a few words.

    Raises:
        CriticProbeError: It is none of them.
    """
    if value not in allowed:
        raise CriticProbeError(f"{option} '{value}' is unknown; choose from {', '.join(allowed)}")
    return value


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
            return Text(f"{task.speed:,.1f}/s" if task.speed else "")

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
        typer.echo(
            f"{row['critic']}: {row['pairs']:,} pairs, {row['responses']:,} responses, {row['tokens']:,} tokens, "
            f"{row['tokens_after_sharing']:,} after sharing ({row['saved']:.0%} saved, engine {row['engine']}); "
            f"about {row['seconds']:,.0f} s at {row['tokens_per_second']:,.0f} tokens/s, timed on the first pairs"
        )


def check_outputs(output: Sequence[str] | None) -> None:
    """Refuses a file that could not be written, before anything is scored.

    Raises:
        CriticProbeError: Its suffix is unknown or its place is not writable.
    """
    if output:
        from critic_probe.report.files import check_path

        for path in output:
            check_path(Path(path))


def with_defaults_told(result: Any, critics: Critics | None, default_pairs: bool) -> Any:
    """The result with a notice where critics or pairs are the bundled ones because none were named."""
    told = []
    if default_pairs:
        told.append(Notice("bundled-pairs", "no file given: the bundled pairs"))
    if critics is not None and critics.bundled:
        notice = "no --checkpoint given: these are the two bundled toy critics, not yours"
        told.append(Notice("bundled-critics", notice))
    return replace(result, notices=[*told, *result.notices])


def finish(
    command: str,
    result: Any,
    critics: Critics | None,
    *,
    default_pairs: bool,
    json: bool,
    output: Sequence[str] | None,
    show: "Callable[[Any, Console], None]",
) -> None:
    """Writes the files asked for, then prints the result as JSON or as tables."""
    from rich.console import Console

    from critic_probe.report.files import dump_json, write_result

    result = with_defaults_told(result, critics, default_pairs)
    for path in output or ():
        write_result(Path(path), command, result)
    if json:
        typer.echo(dump_json(command, result))
    else:
        show(result, Console())
