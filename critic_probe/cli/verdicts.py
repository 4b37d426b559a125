"""Files of what the gates on a run say."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from critic_probe.cli import options
from critic_probe.cli.session import in_turn
from critic_probe.errors import CriticProbeError, parameter
from critic_probe.report.targets import check_folder
from critic_probe.writing import write_text

if TYPE_CHECKING:
    from critic_probe.gates.measure import CheckResult


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """Where verdicts go."""

    junit: Annotated[
        Path | None, options.of_gates("Also write the gates as JUnit XML.", metavar="FILE", writes=True)
    ] = None
    markdown: Annotated[
        Path | None, options.of_gates("Also write the gates as Markdown.", metavar="FILE", writes=True)
    ] = None

    def check(self, gates: bool) -> None:
        """Refuses files that could not be written.

        Args:
            gates: Whether there are gates to write.

        Raises:
            CriticProbeError: One could not, or there are none.
        """
        for path in filter(None, (self.junit, self.markdown)):
            if not gates:
                raise CriticProbeError(f"{path}: there are no gates to write; give {parameter('gates', 'FILE')}")
            check_folder(path)

    def write(self, checked: "CheckResult") -> None:
        """Writes what the gates say."""
        from critic_probe.report import verdicts

        made = ((self.junit, verdicts.to_junit), (self.markdown, verdicts.to_markdown))
        in_turn(*(partial(write_text, path, of(checked)) for path, of in made if path is not None))
