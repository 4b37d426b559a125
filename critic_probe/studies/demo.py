"""Builds and measures the two bundled critics, from nothing, on one thread.

    python -m critic_probe.studies.demo build --work DIR               # writes fixtures/: pairs, critics, checksums
    python -m critic_probe.studies.demo table --work DIR --seeds 1 2   # trains per seed, prints the measured table
    python -m critic_probe.studies.demo base DIR                       # the backbone alone, for `critic-probe warmup`
    python -m critic_probe.studies.demo pairs FILE                     # pairs of the same world to train on

A tiny Qwen3 learns in three steps. (1) Copying: random tokens, repeated. (2) The synthetic world: the next token of
right answers, and at every answer token two verdicts as tokens of the vocabulary, "this fact is wrong" and "some fact
so far was wrong", so that its hidden states carry the mismatch between prompt and answer. (3) The critic: what
`critic-probe warmup` does, pure Bradley-Terry under the last-token or the mean read-out.

So the base was taught to mark wrong facts. The critics show how a read-out carries or dilutes what the backbone knows,
not that either read-out makes a critic find content.

What it writes must come out the same byte for byte.
"""

import argparse
import hashlib
import json
import math
import random
import shutil
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Qwen3ForCausalLM
from transformers.utils import logging

from critic_probe.aggregation import parse
from critic_probe.checkpoint import Critic, load_critic
from critic_probe.encoding import Encoder, Group, encode_pair
from critic_probe.pairs import Pair
from critic_probe.scoring.reference import pad_rows
from critic_probe.studies import synthetic
from critic_probe.studies.synthetic import Task, complete, concise, make_task
from critic_probe.studies.synthetic_pairs import as_row, held_out_pairs, training_pairs, write_pairs
from critic_probe.training.model import byte_bpe, tiny_model
from critic_probe.training.options import Options
from critic_probe.training.warmup import warmup
from critic_probe.workbench import Bench, Settings

AGGREGATIONS = ("last", "mean")
COPY_STEPS, BASE_STEPS, CRITIC_STEPS = 300, 1500, 250
BUILD_SEED, MEASURE_SEED = 0, 30_000

PAD, EOS = 0, 2  # of `byte_bpe`
SO_FAR = (3, 4)  # the tokens "every fact so far is right", "some fact so far is wrong"
THIS_FACT = (5, 6)  # the tokens "this fact is right", "this fact is wrong"
VERDICTS = ["<|ok|>", "<|bad|>", "<|right|>", "<|wrong|>"]  # ids 3 to 6


class Sample(NamedTuple):
    """One training sequence of the base, split where the answer begins."""

    prompt: list[int]
    answer: list[int]
    this_fact: list[int]  # per answer token: 1 wrong, 0 right, -100 where no fact ends
    so_far: list[int]  # per answer token: 1 once some fact was wrong
    right: bool


def build_tokenizer() -> Any:
    """A byte-level BPE that keeps marks, items and numbers up to 99 apart from what stands beside them."""
    rng = random.Random(1)
    tasks = [make_task(rng, held_out=False) for _ in range(6000)]
    texts = [text for task in tasks for text in (task.prompt, concise(task), complete(task))]
    chinese, english = ("|".join(synthetic.ITEMS[language]) for language in ("zh", "en"))
    apart = [rf"\d{{1,2}}|[\p{{P}}\p{{S}}]|{chinese}| ?(?:{english})\b", r" ?[a-zA-Z]+|\s+"]
    return byte_bpe(texts, apart, 1024, VERDICTS)


def build_encoder(tokenizer: Any) -> Encoder:
    """The encoder that scoring uses too, so that both see the same ids."""
    return Encoder(tokenizer, eos_ids=frozenset({EOS}), vocabulary=len(tokenizer), context_length=None)


def train_base(tokenizer: Any, seed: int) -> Any:
    """Steps (1) and (2): a backbone that copies facts and marks wrong ones; its head stays untrained."""
    model = tiny_model(len(tokenizer), seed, pad=PAD, eos=EOS)
    rng = random.Random(1000 + seed)
    encoder = build_encoder(tokenizer)
    tasks = (make_task(random.Random(k), held_out=False) for k in range(400))
    fact_ids = sorted({i for task in tasks for i in encoder.response(concise(task)).ids})
    _fit(model, ((2e-3 * _warm(step, 50), _copy_loss(model, fact_ids, rng)) for step in range(COPY_STEPS)))
    _fit(
        model,
        (
            (
                2e-3 * _warm(step, 50) * _cosine(step, BASE_STEPS),
                _base_loss(model, _samples(tokenizer, encoder, rng, 32)),
            )
            for step in range(BASE_STEPS)
        ),
    )
    return model


def _fit(model: nn.Module, steps: Iterator[tuple[float, Tensor]]) -> None:
    """Runs AdamW over (learning rate, loss) steps."""
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.01)
    for rate, loss in steps:
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def _warm(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / steps)


def _cosine(step: int, steps: int) -> float:
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps))


def _hidden(model: Any, ids: Tensor) -> Tensor:
    hidden: Tensor = model.model(input_ids=ids, use_cache=False).last_hidden_state
    return hidden


def _next_token_loss(model: Any, hidden: Tensor, targets: Tensor) -> Tensor:
    chosen = targets != -100
    return F.cross_entropy(hidden[chosen] @ model.model.embed_tokens.weight.T, targets[chosen])


def _verdict_loss(model: Any, hidden: Tensor, targets: Tensor, tokens: tuple[int, int]) -> Tensor:
    chosen = targets != -100
    return F.cross_entropy(hidden[chosen] @ model.model.embed_tokens.weight[list(tokens)].T, targets[chosen])


def _copy_loss(model: Any, fact_ids: Sequence[int], rng: random.Random) -> Tensor:
    length = rng.randint(6, 16)
    rows = []
    for _ in range(48):
        repeated = rng.choices(fact_ids, k=length)
        rows.append(repeated + rng.choices(fact_ids, k=4) + repeated)
    ids = torch.tensor(rows)
    targets = torch.full_like(ids, -100)
    targets[:, length + 4 : -1] = ids[:, length + 5 :]
    return _next_token_loss(model, _hidden(model, ids), targets)


def _samples(tokenizer: Any, encoder: Encoder, rng: random.Random, count: int) -> list[Sample]:
    return [_sample(tokenizer, encoder, rng) for _ in range(count)]


def _sample(tokenizer: Any, encoder: Encoder, rng: random.Random) -> Sample:
    """An answer with no, one or several wrong facts, and what to say of them at every token."""
    task = make_task(rng, held_out=False)
    places = range(len(task.facts))
    draw = rng.random()
    wrong = {i for i in places if rng.random() < 0.5} if draw < 0.35 else {rng.choice(places)} if draw < 0.6 else set()
    answered = synthetic.with_wrong_facts(rng, task, sorted(wrong))
    text = complete(answered) if rng.random() < 0.2 else concise(answered)
    coded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    this_fact = [-100] * len(coded["input_ids"])
    begin = 0
    for index, fact in enumerate(answered.facts):
        begin = text.index(fact, begin)
        end = begin + len(fact)
        for token, (start, stop) in enumerate(coded["offset_mapping"]):
            tells = task.kind == "list" or text[start:stop].strip().isdigit()
            if begin < stop <= end and tells:
                this_fact[token] = int(index in wrong)
        begin = end
    so_far = [int(1 in this_fact[: token + 1]) for token in range(len(this_fact))]
    return Sample(list(encoder.prompt(task.prompt)), coded["input_ids"], this_fact, so_far, not wrong)


def _base_loss(model: Any, samples: Sequence[Sample]) -> Tensor:
    ids, _, _ = pad_rows([s.prompt + s.answer for s in samples], PAD)
    following, this_fact, so_far = (torch.full_like(ids, -100) for _ in range(3))
    for row, sample in enumerate(samples):
        begin, end = len(sample.prompt), len(sample.prompt) + len(sample.answer)
        this_fact[row, begin:end] = torch.tensor(sample.this_fact)
        so_far[row, begin:end] = torch.tensor(sample.so_far)
        if sample.right:
            following[row, begin - 1 : end] = torch.tensor([*sample.answer, EOS])
    hidden = _hidden(model, ids)
    return (
        _next_token_loss(model, hidden, following)
        + 2 * _verdict_loss(model, hidden, so_far, SO_FAR)
        + 2 * _verdict_loss(model, hidden, this_fact, THIS_FACT)
    )


def write_base(path: Path, seed: int) -> None:
    """Trains a backbone and writes it as a language model's directory."""
    tokenizer = build_tokenizer()
    base = train_base(tokenizer, seed)
    model = Qwen3ForCausalLM(base.config)
    model.model.load_state_dict(base.model.state_dict())
    model.config.name_or_path = ""
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)


def train_critic(base: Path, out: Path, aggregation: str, seed: int) -> None:
    """Step (3), by `warmup`: Bradley-Terry under one read-out; responses carry no EOS on either side."""
    options = Options(
        aggregation=aggregation,
        steps=CRITIC_STEPS,
        learning_rate=5e-4,
        head_learning_rate=2e-3,
        keep_order=True,
        save_dtype="float16",
        seed=seed,
    )
    warmup(training_pairs(seed, CRITIC_STEPS * options.batch_size), 0.0, base, out, options)


def measure(critic: Critic, aggregation: str, count: int = 300) -> dict[str, float]:
    """What a critic reacts to under one read-out, on held-out prompts of a seed that chose nothing.

    Effects are mean |teacher - edited| over the SD of all scores of `count` held-out pairs, except
    `concise - complete`, which keeps its sign.
    """
    read_out = parse(aggregation)
    bench = Bench(critic, [], Settings((read_out,)))
    rng = random.Random(MEASURE_SEED)

    def score(rows: Sequence[tuple[Task, str]]) -> Tensor:
        pairs = [encode_pair(Pair("", task.prompt, text, text), bench.encoder) for task, text in rows]
        values = bench.values(Group(pair.prompt_ids, (pair.student.ids,)) for pair in pairs)
        return torch.tensor([bench.score(v, p.student, read_out) for p, [v] in zip(pairs, values, strict=True)])

    def gaps(edit: Callable[[random.Random, Task], str], *kinds: str) -> Tensor:
        tasks = [make_task(rng, held_out=True, kinds=kinds) for _ in range(count)]
        return score([(t, concise(t)) for t in tasks]) - score([(t, edit(rng, t)) for t in tasks])

    def wrong_at(index: int) -> Callable[[random.Random, Task], str]:
        return lambda rng, task: concise(synthetic.with_wrong_facts(rng, task, [index % len(task.facts)]))

    pairs = [synthetic.training_pair(rng, held_out=True) for _ in range(count)]
    teacher, student = score([(task, concise(task)) for task, _ in pairs]), score(pairs)
    sd = torch.cat([teacher, student]).std().item()
    text = ("record", "list")
    final = gaps(synthetic.final_comma, *text).abs().mean().item()
    digit, item = gaps(synthetic.wrong_fact, "record", "json"), gaps(synthetic.wrong_fact, "list")
    return {
        "d_acc": ((teacher > student).float() + 0.5 * (teacher == student).float()).mean().item(),
        "final mark to comma": final / sd,
        "final mark dropped": gaps(synthetic.final_dropped, *text).abs().mean().item() / sd,
        "interior swap": gaps(synthetic.interior_swap, *text).abs().mean().item() / sd,
        "concise - complete": gaps(synthetic.other_form, *text).mean().item() / sd,
        "wrong digit below": (digit > 0).float().mean().item(),
        "wrong item below": (item > 0).float().mean().item(),
        "wrong first number": gaps(wrong_at(0), "record").mean().item() / sd,
        "wrong last number": gaps(wrong_at(-1), "record").mean().item() / sd,
        "final mark to comma, raw": final,
    }


def build(out: Path, work: Path) -> None:
    """Rebuilds everything that is committed under `fixtures/`, and prints the checksums of the weights."""
    base = _base(work, BUILD_SEED)
    for aggregation in AGGREGATIONS:
        critic = _critic(work, base, aggregation, BUILD_SEED)
        target = out / "critics" / aggregation
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(critic, target, ignore=shutil.ignore_patterns("metrics.jsonl", "warmup.json", "events.*"))
        weights = (target / "model.safetensors").read_bytes()
        print(f"{hashlib.sha256(weights).hexdigest()}  critics/{aggregation}/model.safetensors")
    write_pairs(out / "pairs.jsonl", build_tokenizer(), EOS)


def table(seeds: Sequence[int], work: Path, file: Path | None) -> None:
    """Trains base and critics afresh per seed and prints what they react to: mean over seeds, least to most."""
    measured: dict[str, list[dict[str, float]]] = {}
    for seed in seeds:
        base = _base(work, seed)
        for trained in AGGREGATIONS:
            critic = load_critic(_critic(work, base, trained, seed), device="cpu", dtype="float32")
            for read in AGGREGATIONS:
                measured.setdefault(f"{trained} / {read}", []).append(measure(critic, read))
    if file is not None:
        file.write_text(json.dumps({"seeds": list(seeds), "measured": measured}, indent=1) + "\n", encoding="utf-8")
    print(format_table(measured))


def _base(work: Path, seed: int) -> Path:
    """The base of a seed: trained where `work` does not hold it yet."""
    path = work / f"base-{seed}"
    if not (path / "tokenizer.json").exists():  # written last
        write_base(path, seed)
    return path


def _critic(work: Path, base: Path, aggregation: str, seed: int) -> Path:
    path = work / f"{aggregation}-{seed}"
    if not (path / "critic_probe.json").exists():  # written last
        train_critic(base, path, aggregation, seed)
    return path


def format_table(measured: dict[str, list[dict[str, float]]]) -> str:
    """A Markdown table of measurements: one column per critic / read-out, `mean (least to most)` over seeds."""
    columns = list(measured)
    lines = ["| trained / read | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for figure in next(iter(measured.values()))[0]:
        cells = []
        for column in columns:
            values = [of_seed[figure] for of_seed in measured[column]]
            cells.append(f"{statistics.fmean(values):.2f} ({min(values):.2f} to {max(values):.2f})")
        lines.append(f"| {figure} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def format_ratios(measured: dict[str, list[dict[str, float]]]) -> str:
    """A Markdown table of ratios within each seed, `mean (least to most)`: over last / last, late over early errors."""
    columns = list(measured)
    lines = ["| ratio in each seed | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for name, top, bottom, under in (
        *((f"{figure}, over last / last", figure, figure, "last / last") for figure in _AGAINST_LAST),
        ("wrong last number over wrong first", "wrong last number", "wrong first number", ""),
    ):
        cells = []
        for column in columns:
            below = measured[under or column]
            ratios = [a[top] / b[bottom] for a, b in zip(measured[column], below, strict=True)]
            cells.append(f"{statistics.fmean(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


_AGAINST_LAST = ("final mark to comma", "final mark dropped", "concise - complete", "final mark to comma, raw")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m critic_probe.studies.demo", description=(__doc__ or "").split("\n")[0]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    builder = commands.add_parser("build", help="rebuild what is committed")
    builder.add_argument("--out", type=Path, default=Path("fixtures"))
    tabler = commands.add_parser("table", help="train afresh per seed and print the measured table")
    tabler.add_argument("--seeds", type=int, nargs="+", required=True)
    tabler.add_argument("--json", type=Path, default=None, help="also write every figure of every seed")
    for command in (builder, tabler):
        command.add_argument(
            "--work", type=Path, required=True, help="where bases and critics are kept, and found again"
        )
    shower = commands.add_parser("show", help="print the table of a file that `table --json` wrote")
    shower.add_argument("file", type=Path)
    baser = commands.add_parser("base", help="train a backbone and write it as a language model")
    baser.add_argument("out", type=Path)
    pairer = commands.add_parser("pairs", help="write pairs to train on as JSONL; their prompts are in no bundled pair")
    pairer.add_argument("out", type=Path)
    pairer.add_argument("--count", type=int, default=4000)
    pairer.add_argument("--held-out", action="store_true", help="of prompts that training never draws, by category")
    pairer.add_argument("--language", choices=("zh", "en"), action="append", help="default: both")
    for command in (baser, pairer):
        command.add_argument("--seed", type=int, default=BUILD_SEED)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # sums in one order, so that one seed gives one result
    torch.use_deterministic_algorithms(True)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    if arguments.command == "build":
        build(arguments.out, arguments.work)
    elif arguments.command == "table":
        table(arguments.seeds, arguments.work, arguments.json)
    elif arguments.command == "show":
        measured = json.loads(arguments.file.read_text(encoding="utf-8"))["measured"]
        print(f"{format_table(measured)}\n\n{format_ratios(measured)}")
    elif arguments.command == "base":
        write_base(arguments.out, arguments.seed)
    else:
        asked = (arguments.seed, arguments.count, arguments.language or ("zh", "en"))
        rows: Iterable[dict[str, Any]] = (
            held_out_pairs(*asked) if arguments.held_out else map(as_row, training_pairs(*asked))
        )
        arguments.out.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
