"""Prints the table of names in runs.md: under what each figure of a run is logged, and what it means there.

python docs/runs.py
"""

from collections.abc import Iterator

from critic_probe.runs.names import EVAL, LOGGED, METRICS, SCORING

_SHOWN = {"gad": "GAD forks", "trl": "TRL", "openrlhf": "OpenRLHF", "verl": "verl", "critic-probe": "warmup"}


def table() -> str:
    """A row a name that something logs."""
    lines = ["| name | what it is | logged as |", "|---|---|---|"]
    for metric in METRICS.values():
        if logged := "; ".join(_logged(metric.name)):
            says = metric.says.replace("|", "\\|")
            lines.append(f"| `{metric.name}` | {says} | {logged} |")
    return "\n".join(lines)


def _logged(name: str) -> Iterator[str]:
    by: dict[tuple[str, str], list[str]] = {}
    for row in LOGGED:
        if row.name == name:
            since = f"since {row.since}" if row.since else ""
            versions = " ".join(part for part in (since, f"before {row.before}" if row.before else "") if part)
            told = ": ".join(part for part in (versions, row.definition) if part)
            by.setdefault((_SHOWN[row.framework], row.logged), []).append(told)
    for (framework, logged), told in by.items():
        means = "; ".join(part for part in told if part)
        yield f"{framework} `{logged}`" + (f" ({means})" if means else "")
    if figures := [key for key, (metric, _) in SCORING.items() if metric == name]:
        yield f"scoring details ({SCORING[figures[0]][1]})"
    if figures := [f"`{key}`" for key, metric in EVAL.items() if f"critic/{metric}" == name]:
        yield f"evaluations {', '.join(figures)}"


if __name__ == "__main__":
    print(table())
