"""Factors that may explain scores, the nearest ones, on a terminal."""

import pandas as pd
from rich.console import RenderableType
from rich.table import Column

from critic_probe.report.terminal.pieces import block, part_of, plain, rows_of, table_of

NEAREST = 12  # that a full print shows


def factors_table(factors: pd.DataFrame, responses: int, most: int = NEAREST) -> RenderableType | None:
    """The factors that were named, then those that come nearest; None where none was tried.

    Args:
        factors: Rows of `Explanation.row`.
        responses: How many were scored.
        most: Rows at most.
    """
    table = table_of("median", "worst", "within", "moved", "agree", Column("version"), label="factor")
    nearest = sorted(rows_of(factors), key=lambda row: (not row["named"], row["residual"]))[:most]
    for row in nearest:
        table.add_row(
            plain(row["factors"]),
            f"{row['residual']:.2g}",
            f"{row['worst']:.2g}",
            part_of(row["within"], responses),
            f"{row['moved']}",
            f"{row['agrees']}",
            plain(row["version"]),
        )
    return block(f"Residual under each factor ({len(factors)} tried)", table) if nearest else None
