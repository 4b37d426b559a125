"""Prints the record of a parity run as a Markdown table. Usage: table.py RECORD."""

import json
import sys
from pathlib import Path


def table(record: Path) -> str:
    """One line a comparison; the second of a test holds what the command line made of plain text."""
    lines = ["| comparison | versions | values | largest difference | largest value |", "|---|---|---|---|---|"]
    seen = set()
    for text in record.read_text(encoding="utf-8").splitlines():
        row = json.loads(text)
        name = row["what"].removeprefix("test_").replace("_", " ")
        versions = row["versions"].replace("+cpu", "")
        name += ", text in" if (name, versions) in seen else ""
        seen.add((name, versions))
        lines.append(f"| {name} | {versions} | {row['tokens']} | {row['worst']:.1e} | {row['largest']:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(Path(sys.argv[1])))
