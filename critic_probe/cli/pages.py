"""Results that can be a page of curves."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from critic_probe.cli import options, session
from critic_probe.cli.verdicts import Verdicts
from critic_probe.report.targets import check_folder, check_path, require_pages

if TYPE_CHECKING:
    from critic_probe.report.curves import Curved


@dataclass(frozen=True, kw_only=True)
class Curves(options.Screen):
    """Where a result goes."""

    output: Annotated[
        list[str] | None,
        options.of_output(
            "Also write the result: .json, .csv, .parquet, or a page with the curves, .html; repeatable.",
            names=("--output", "-o"),
            metavar="FILE",
            writes=True,
        ),
    ] = None

    def check(self) -> None:
        """Refuses what could not be written.

        Raises:
            CriticProbeError: It could not.
        """
        for path in map(Path, self.output or ()):
            if path.suffix.lower() != ".html":
                check_path(path)
                continue
            require_pages(str(path))
            check_folder(path)

    def write(self, result: "Curved") -> None:
        """Writes the files that are asked for."""
        session.in_turn(*(partial(_save, path, result) for path in map(Path, self.output or ())))


def _save(path: Path, result: "Curved") -> None:
    if path.suffix.lower() != ".html":
        result.save(path)
        return
    from critic_probe.report.curves import write_curves

    write_curves(path, result)


def finish(result: "Curved", output: Curves, verdicts: Verdicts, gates: str) -> None:
    """Writes the files asked for, of verdicts too, and prints the result; exits with 1 where a check or gate fails.

    Args:
        result: Of a run.
        output: Where it goes.
        verdicts: Where what its gates say goes.
        gates: Where they come from.

    Raises:
        CriticProbeError: A file could not be written; all else was.
    """
    rest = replace(output, output=None)
    session.in_turn(
        lambda: output.write(result),
        lambda: verdicts.write(result.checked(gates)),
        lambda: session.finish(result, None, rest, default_pairs=False, show=output.show),
    )
    if result.failed:
        raise typer.Exit(1)
