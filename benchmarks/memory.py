"""Peak memory of `critic-probe compare` where something is long or many, against what `--dry-run` says of it.

    python benchmarks/memory.py [--json FILE] [CASE ...]
    python benchmarks/memory.py --show benchmarks/memory.json

Runs the command as users do, without a cache, on one thread. Critics are random Llama and Gemma 2 shapes with a token a
byte: one layer and one head where a text is long, so that 100,000 tokens take minutes. Starting Python and torch is in
all figures.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForTokenClassification,
    Gemma2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
)

SHAPE = {"vocab_size": 257, "hidden_size": 64, "intermediate_size": 128, "num_labels": 1, "num_hidden_layers": 1}
SHAPE |= {"num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 64, "initializer_range": 0.3}
SHAPE |= {"pad_token_id": 256, "bos_token_id": None, "eos_token_id": None, "max_position_embeddings": 1 << 18}
WIDE = SHAPE | {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4}  # 17 MB
CONFIGS: dict[str, Callable[[], Any]] = {
    "full attention": lambda: LlamaConfig(**SHAPE),
    "full attention, a head of 8 units": lambda: LlamaConfig(**SHAPE | {"head_dim": 8}),
    "full attention, 17 MB": lambda: LlamaConfig(**WIDE),
    "a window of 512": lambda: MistralConfig(**SHAPE, sliding_window=512),
    "eager, a softcap": lambda: Gemma2Config(**SHAPE, layer_types=["full_attention"]),
}
Pair = tuple[str, str, str]


def critic(config: str, path: Path, seed: int = 0) -> Path:
    """Saves a random critic."""
    torch.manual_seed(seed)
    AutoModelForTokenClassification.from_config(CONFIGS[config]()).save_pretrained(path)
    tokens = Tokenizer(
        models.BPE(vocab={c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, merges=[])
    )
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    PreTrainedTokenizerFast(tokenizer_object=tokens, pad_token="<pad>").save_pretrained(path)
    return path


def text(draw: random.Random, length: int) -> str:
    """So many random letters."""
    return "".join(draw.choices("abcdefgh ", k=length))


def long_pair(length: int) -> Iterator[Pair]:
    """One pair, of which one side is a tenth shorter, so that a padded batch of both has a mask."""
    draw = random.Random(0)
    yield text(draw, 50), text(draw, length), text(draw, length - length // 10)


def one_prompt(responses: int) -> Iterator[Pair]:
    """Pairs of responses to one prompt of 1,000 tokens."""
    draw = random.Random(0)
    prompt = text(draw, 1000)
    for _ in range(responses // 2):
        yield prompt, text(draw, 40), text(draw, 45)


def many(pairs: int) -> Iterator[Pair]:
    """Pairs of short texts."""
    draw = random.Random(0)
    for _ in range(pairs):
        yield text(draw, 10), text(draw, 10), text(draw, 12)


CASES: dict[str, tuple[str, int, Callable[[], Iterator[Pair]]]] = {
    "a pair of short texts": ("full attention", 1, lambda: many(1)),
    "a response of 20,000 tokens, plain": ("full attention", 1, lambda: long_pair(20_000)),
    "a response of 100,000 tokens, plain": ("full attention, a head of 8 units", 1, lambda: long_pair(100_000)),
    "a response of 20,000 tokens, windowed": ("a window of 512", 1, lambda: long_pair(20_000)),
    "a response of 100,000 tokens, windowed": ("a window of 512", 1, lambda: long_pair(100_000)),
    "a response of 20,000 tokens, eager": ("eager, a softcap", 1, lambda: long_pair(20_000)),
    "a prompt shared by 5,000 responses": ("full attention", 1, lambda: one_prompt(5_000)),
    "10,000 pairs": ("full attention", 1, lambda: many(10_000)),
    "100,000 pairs": ("full attention", 1, lambda: many(100_000)),
    "1 critic": ("full attention, 17 MB", 1, lambda: many(50)),
    "30 critics": ("full attention, 17 MB", 30, lambda: many(50)),
}


def peak(command: Sequence[str]) -> tuple[float, str]:
    """Peak resident MB of a command, and what it printed."""
    with tempfile.TemporaryFile("w+") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", "critic_probe", *command],
            stdout=out,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        _, status, usage = os.wait4(child.pid, 0)
        assert status == 0, command
        out.seek(0)
        return usage.ru_maxrss * 1024 / 1e6, out.read()


def measure(name: str) -> dict[str, Any]:
    """What a dry run says of a case, and what the run then takes."""
    config, critics, pairs = CASES[name]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.jsonl"
        with path.open("w", encoding="utf-8") as file:
            for i, (prompt, student, teacher) in enumerate(pairs()):
                row = {"id": f"r{i}", "prompt": prompt, "student": student, "teacher": teacher}
                file.write(json.dumps(row) + "\n")
        directories = [critic(config, Path(folder) / f"c{i}", i) for i in range(critics)]
        command = ["compare", str(path), *(word for d in directories for word in ("-c", str(d)))]
        command += ["-a", "mean", "--no-cache", "--device", "cpu"]
        _, told = peak([*command, "--dry-run", "--json"])
        measured, _ = peak([*command, "--rows", "0"])
    foreseen = max(row["memory"] for row in json.loads(told)["price"]) / 1e6
    return {"case": name, "critic": config, "foreseen_mb": foreseen, "peak_mb": measured}


def table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A Markdown table."""
    yield "| `compare` with | the critic's attention | peak memory, MB | `--dry-run` says up to | of that |"
    yield "|---|---|---|---|---|"
    for row in rows:
        ratio = row["peak_mb"] / row["foreseen_mb"]
        yield f"| {row['case']} | {row['critic']} | {row['peak_mb']:,.0f} | {row['foreseen_mb']:,.0f} | {ratio:.2f} |"


def main() -> None:
    """Prints a table, measured or read."""
    parser = argparse.ArgumentParser(prog="python benchmarks/memory.py", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("cases", nargs="*", default=list(CASES), metavar="CASE", help="by how its name begins")
    parser.add_argument("--json", type=Path, help="also write what was measured, beside what the file has already")
    parser.add_argument("--show", type=Path, help="print what --json wrote, and measure nothing")
    options = parser.parse_args()
    source = options.show or options.json
    known = json.loads(source.read_text()) if source and source.exists() else []
    rows = {row["case"]: row for row in known}
    if not options.show:
        for name in CASES:
            if name.startswith(tuple(options.cases)):
                rows[name] = measure(name)
                print(*table([rows[name]]), sep="\n", flush=True)
                if options.json:
                    ordered = [rows[case] for case in CASES if case in rows]
                    options.json.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
    print("\n".join(table([rows[case] for case in CASES if case in rows])))


if __name__ == "__main__":
    main()
