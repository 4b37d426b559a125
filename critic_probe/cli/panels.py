"""The headings of `critic-probe --help`, and how a command shows its examples.

The file of a command names its heading in `PANEL` and in `EXAMPLES` lines that work when they are pasted.
"""

LOOK = "Look at a critic"
COMPARE = "Hold it against another, or against a record"
GATES = "Gates, for CI"
TRAIN = "Train"
RUNS = "Training runs"
TOOL = "The tool itself"

PANELS = (LOOK, COMPARE, RUNS, GATES, TRAIN, TOOL)
"""In the order of the help."""


def epilog(*lines: str) -> str:
    """Examples as they stand below the options, a line each."""
    return "\n\n".join(("Examples:" if len(lines) > 1 else "Example:", *lines))
