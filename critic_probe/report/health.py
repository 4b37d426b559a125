"""A checkpoint on a terminal: what it is (`inspect`) and what is wrong with it (`doctor`)."""

from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from critic_probe.measures.doctor import DoctorResult
from critic_probe.measures.verify import VerifyResult
from critic_probe.report.terminal import signature_line
from critic_probe.studies.selftest import SelftestResult
from critic_probe.text import neutralise

_STYLES = {"pass": "green", "ok": "green", "warn": "bold yellow", "fail": "bold red", "not run": "dim"}


def print_inspect(found: dict[str, Any], console: Console) -> None:
    """Prints what a checkpoint is, a fact a line.

    Args:
        found: The object of `critic_probe.checkpoint.inspect`.
        console: Where to print.
    """
    head, tokenizer = found["head"], found["tokenizer"]
    step = "" if found["step"] is None else f", step {found['step']}"
    special = ", ".join(f"{key.removesuffix('_token')} {value}" for key, value in tokenizer["special_tokens"].items())
    facts = {
        "checkpoint": found["path"],
        "format": f"{found['format']} ({found['framework']}{step}), {_count(found['files'], 'weight file')}",
        "base": found["base"],
        "model": f"{found['architecture']}, {found['parameters']:,} parameters, {found['dtype']}",
        "config says": ", ".join(found["architectures"] or ()) or "no architecture",
        "context": f"{found['context_length']} tokens" if found["context_length"] else "no limit",
        "head": f"{', '.join(head['tensors'])}, shape {head['shape']}, norm {head['norm']:.4g}, hash {head['hash']}",
        "untrained?": "looks like a fresh head" if head["looks_untrained"] else "does not look like a fresh head",
        "tokenizer": f"{tokenizer['class']}, {tokenizer['size']} tokens, hash {tokenizer['hash']}",
        "special": special or "none",
        "stop ids": ", ".join(map(str, found["stop_ids"])) or "none",
        "template": "chat template" if found["template"] else "none: prompts go in as plain text",
        "fingerprint": found["fingerprint"],
    }
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, fact in facts.items():
        if fact is not None:
            table.add_row(Text(name, style="bold"), Text(neutralise(str(fact), newlines=True), overflow="fold"))
    table.add_row(Text("read as", style="bold"), Text(neutralise("\n".join(found["reading"])), overflow="fold"))
    console.print(table)


def print_selftest(result: SelftestResult, console: Console) -> None:
    """Prints what was planted beside what the probes found.

    Args:
        result: What the selftest found.
        console: Where to print.
    """
    table = Table.grid("", "critic", "read-out", "found", padding=(0, 2, 0, 0))
    for row in result.checks.itertuples():
        found = Text(row.found, overflow="fold")
        if row.verdict == "fail":
            found.append(f"\n-> expected: {row.expected}", style="bold")
        table.add_row(Text(row.verdict, style=_STYLES[row.verdict]), Text(row.critic), Text(row.aggregation), found)
    console.print(table)
    failed = int((result.checks.verdict == "fail").sum())
    console.print()
    told = "the probes found every planted bias, and no other" if not failed else f"{failed} of these do not hold"
    console.print(Text(told, "bold"))


def print_verify(result: VerifyResult, console: Console) -> None:
    """Prints every check of a record with its evidence, and whether the record holds.

    Args:
        result: What was found.
        console: Where to print.
    """
    console.print(_checks(result.checks))
    console.print()
    drawn = f"{result.signature['sample']} pairs of each critic, seed {result.signature['sample_seed']}"
    console.print(Text(f"the record {'holds' if result.holds else 'does not hold'} (sample: {drawn})", "bold"))
    console.print()
    console.print(Text(signature_line(result.signature), style="dim", overflow="fold"))


def print_doctor(result: DoctorResult, console: Console) -> None:
    """Prints every check with its verdict and evidence, and the cure where there is one.

    Args:
        result: What the doctor found.
        console: Where to print.
    """
    console.print(_checks(result.checks))
    console.print()
    counts = result.checks.verdict.value_counts()
    console.print(Text(", ".join(f"{counts[verdict]} {verdict}" for verdict in _STYLES if verdict in counts), "bold"))
    for notice in result.notices:
        console.print(Text(f"{notice.code}: {notice.message}", style="dim", overflow="fold"))
    console.print()
    console.print(Text(signature_line(result.signature), style="dim", overflow="fold"))


def _checks(checks: pd.DataFrame) -> Table:
    """Verdict, check and evidence a row, and under the evidence the cure where there is one."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for row in checks.to_dict("records"):
        evidence = Text(neutralise(row["evidence"], newlines=True), overflow="fold")
        if row.get("cure"):
            evidence.append(f"\n-> {neutralise(row['cure'], newlines=True)}", style="bold")
        table.add_row(Text(row["verdict"], style=_STYLES[row["verdict"]]), Text(neutralise(row["check"])), evidence)
    return table


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
