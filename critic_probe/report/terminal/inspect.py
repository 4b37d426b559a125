"""What a checkpoint is, on a terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from critic_probe.errors import parameter
from critic_probe.report.terminal.pieces import safe
from critic_probe.text import neutralise


def print_inspect(critic: dict[str, Any], console: Console) -> None:
    """Prints what a checkpoint is, a fact a line.

    Args:
        critic: The object of `critic_probe.checkpoint.inspect`, with `convention` and `convention_because`.
        console: Where to print.
    """
    head, tokenizer = critic["head"], critic["tokenizer"]
    step = "" if critic["step"] is None else f", step {critic['step']}"
    special = ", ".join(f"{key.removesuffix('_token')} {value}" for key, value in tokenizer["special_tokens"].items())
    trained = f"{critic['convention']} ({critic['convention_because']})"
    facts = {
        "checkpoint": critic["path"],
        "format": f"{critic['format']} ({critic['framework']}{step}), {_count(critic['files'], 'weight file')}",
        "base": critic["base"],
        "model": f"{critic['architecture']}, {critic['parameters']:,} parameters, {critic['dtype']}",
        "config says": ", ".join(critic["architectures"] or ()) or "no architecture",
        "context": f"{critic['context_length']} tokens" if critic["context_length"] else "no limit",
        "head": f"{', '.join(head['tensors'])}, shape {head['shape']}, norm {head['norm']:.4g}, hash {head['hash']}",
        "untrained?": "looks like a fresh head" if head["looks_untrained"] else "does not look like a fresh head",
        "tokenizer": f"{tokenizer['class']}, {tokenizer['size']} tokens, hash {tokenizer['hash']}",
        "special": special or "none",
        "stop ids": ", ".join(map(str, critic["stop_ids"])) or "none",
        "template": "chat template" if critic["template"] else "none: prompts go in as plain text",
        "fingerprint": critic["fingerprint"],
        "convention": f"{trained}; {parameter('convention')} reads it otherwise",
    }
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, fact in facts.items():
        if fact is not None:
            table.add_row(Text(name, style="bold"), Text(safe(fact), overflow="fold"))
    table.add_row(Text("read as", style="bold"), Text(neutralise("\n".join(critic["reading"])), overflow="fold"))
    console.print(table)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
