"""Results that can be a page of curves."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from critic_probe.cli import options
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
        for path in map(Path, self.output or ()):
            if path.suffix.lower() != ".html":
                result.save(path)
                continue
            from critic_probe.report.curves import write_curves

            write_curves(path, result)
