"""Whether values, gradients and noise floors on the device are those of float32 on a CPU."""

import json
import math
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.critics import copied, critic_of, peak, random_model, release, rounded, save, shape
from benchmarks.ways import Values
from benchmarks.workloads import FULL, cut, make
from critic_probe.aggregation import parse
from critic_probe.checkpoint import Critic, blocks, load_critic
from critic_probe.checkpoint.blocks import attention_bytes
from critic_probe.encoding import EncodedPair, EncodedResponse, Group
from critic_probe.objective import loss
from critic_probe.pairs import Pair
from critic_probe.scoring.engine import Engine, disagreement, token_bytes
from critic_probe.scoring.reference import ReferenceScorer
from critic_probe.scoring.tree import Kernel, TreeAttention, tree_attention
from critic_probe.scoring.trie import lay_out
from critic_probe.training.model import backbone_of, token_values
from critic_probe.training.warmup import Options, warmup
from critic_probe.workbench import Bench, Settings
from critic_probe.workbench.noise import Noise
from critic_probe.workbench.survey import NOISE_SAMPLE

Record = dict[str, Any]
Step = tuple[str, Callable[[], Record]]
CPU = torch.device("cpu")
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32, "TF32": torch.float32, "float16": torch.float16}
# Of the largest |value|, at least 1: what a plain pass may be off by. Half precision: 16 rounding steps.
PLAIN = {"bfloat16": 16 * 2**-7, "float16": 16 * 2**-10, "TF32": 16 * 2**-10, "float32": 2e-5}


def steps(device: torch.device, tiny: bool) -> Iterator[Step]:
    """What to check, the most important first."""
    yield from values_of("Qwen3 0.6B", device, tiny, tuple(DTYPES))
    yield from on_its_own(device, tiny)
    yield from values_of("sliding window", device, tiny, ("bfloat16", "float32"))
    yield from values_of("softcap", device, tiny, ("bfloat16", "float32"))
    yield from in_blocks(device, tiny)
    # In half precision rounding sends tokens to other experts.
    yield from values_of("mixture of experts", device, tiny, ("float32",), num_hidden_layers=2, num_experts=16)


def workloads(tiny: bool) -> dict[str, list[Group]]:
    """Some of W1, W2 and W3, and a row of less than a tile."""
    groups = {name: make(name, 0.02 if name == "W1" else 0.001) for name in FULL}
    if tiny:
        groups = {name: cut(of[:1]) for name, of in groups.items()}
    return groups | {"short": [Group((5, 6, 7), ((8,), (9, 10)))]}


def pairs_of(scale: float, tiny: bool) -> list[Group]:
    """A part of W1."""
    return cut(make("W1", scale / 8)) if tiny else make("W1", scale)


def values_of(
    name: str, device: torch.device, tiny: bool, precisions: tuple[str, ...], **changes: int
) -> Iterator[Step]:
    """Every kernel in every precision against the plain pass in float32 on a CPU, token by token."""
    changes = {"num_hidden_layers": 4} | changes
    model = rounded(random_model(shape(name, tiny=tiny, **changes), CPU, torch.float32))
    groups = workloads(tiny)
    expected: dict[str, Values] = {}
    plain: dict[tuple[str, str], Record] = {}

    def reference() -> Record:
        critic = critic_of(model, name)
        expected.update({w: list(ReferenceScorer(critic).values(groups[w])) for w in groups})
        return {"largest value": {w: largest(values) for w, values in expected.items()}, "wrong": []}

    yield f"{name}: the plain pass in float32 on the CPU", reference
    for precision in precisions:
        critic = critic_of(copied(model, device, DTYPES[precision]), name)
        for kernel in ("reference", "flex") if name == "softcap" else ("reference", "flex", "chains"):

            def check(critic: Critic = critic, precision: str = precision, kernel: str = kernel) -> Record:
                found: Record = {"wrong": []}
                for w, of in groups.items():
                    with matrix_precision("high" if precision == "TF32" else "highest"):
                        off = errors(values_by(critic, of, kernel), expected[w])
                    allowed = plain_limit(precision, expected[w])
                    if kernel == "reference":
                        plain[precision, w] = off
                    else:  # a kernel may be off by twice what the plain pass is off by in the same precision
                        least = allowed if precision == "float32" else 0.1 * allowed
                        own = plain.get((precision, w))
                        allowed = max(2 * own["worst"], least) if own else allowed
                    found[w] = off | {"allowed": allowed}
                    if not off["worst"] <= allowed:
                        found["wrong"].append(f"{w}: off by {off['worst']:.2g}, allowed {allowed:.2g}")
                return found

            yield f"{name}, {precision}, {kernel}", check
        if name == "Qwen3 0.6B" and precision == "bfloat16":
            yield "a mask that shows siblings is seen to be wrong", lambda c=critic: control(c, groups, expected)
        del critic, check
        release(device)


def values_by(critic: Critic, groups: list[Group], kernel: str) -> Values:
    """Values by the plain pass or by a kernel of the tree, without the engine's own check: the one here is stricter."""
    if kernel == "reference":
        return list(ReferenceScorer(critic).values(groups))
    chosen: Kernel = "flex" if kernel == "flex" else "chains"
    return list(Engine(critic, mode="tree", kernel=chosen, name="tree").values(groups))


def control(critic: Critic, groups: Mapping[str, list[Group]], expected: Mapping[str, Values]) -> Record:
    """FlexAttention with siblings in sight: an error that the limits above would let pass makes them worthless."""
    group = groups["W2"][0]
    row = lay_out(group.sequences)
    blind = replace(row, ends=torch.full_like(row.ends, len(row.ids)))
    plan = TreeAttention(blind, "flex")
    with tree_attention(critic.backbone):
        values = critic.batch_values(row.ids[None], position_ids=row.depths[None], critic_probe_tree=plan)[0]
    got = [values[path][len(group.prompt_ids) - 1 :] for path in row.paths]
    off, allowed = errors([got], expected["W2"][:1]), plain_limit("bfloat16", expected["W2"])
    wrong = [f"off by {off['worst']:.2g} only, allowed {allowed:.2g}"] if off["worst"] <= allowed else []
    return off | {"allowed": allowed, "wrong": wrong}


def on_its_own(device: torch.device, tiny: bool) -> Iterator[Step]:
    """A written directory, the noise floor, memory that runs out, gradients, a training."""
    with tempfile.TemporaryDirectory() as folder:
        model = random_model(shape("Qwen3 0.6B", tiny=tiny), device, torch.bfloat16)
        path = save(model, Path(folder) / "critic")
        yield "a written directory gives the values that were written", lambda m=model: loaded(m, path, device, tiny)
        yield "memory that a dry run tells", lambda: told(path, Path(folder), device)
        yield "processes of torchrun, a GPU each", lambda: split(path, Path(folder), device)
        yield "the noise floor that is printed, against the true one", lambda: noise(path, device, tiny)
        yield "memory that runs out", lambda m=model: out_of_memory(critic_of(m, "0.6B"), tiny)
        del model
        release(device)
        yield "gradients of a warm-up", lambda: gradients_agree(device, tiny)
        yield "a warm-up of four steps", lambda: trainings_agree(Path(folder), device)


def loaded(model: Any, path: Path, device: torch.device, tiny: bool) -> Record:
    """`load_critic` against the model in memory, by the engine as users get it."""
    groups = pairs_of(0.08, tiny)
    critic = load_critic(path, device=str(device), dtype="bfloat16")
    engine = Engine(critic)
    wrong = disagreement(
        [v for of in engine.values(groups) for v in of],
        [v for of in ReferenceScorer(critic_of(model, "0.6B")).values(groups) for v in of],
        critic.dtype,
    )
    found = {
        "engine": engine.name,
        "kernel": engine.kernel,
        "notices": engine.notices,
        "wrong": [wrong] if wrong else [],
    }
    if engine.name != "tree" or engine.notices:
        found["wrong"] += [f"engine {engine.name}", *engine.notices]
    return found


COMMAND = """
import json, sys
import torch
from critic_probe.cli import main

try:
    main()
finally:
    print(json.dumps({"allocated": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}),
          file=sys.stderr)
"""


def written_pairs(folder: Path, longest: int) -> Path:
    """Thirty pairs of which one is long, in a file."""
    draw = random.Random(0)
    path = folder / "pairs.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(30):
            length = longest if number == 7 else 200
            student, teacher = ("".join(draw.choices("abcdefgh ", k=size)) for size in (length, length - length // 10))
            row = {"id": f"p{number}", "prompt": f"Say {number}.", "student": student, "teacher": teacher}
            file.write(json.dumps(row) + "\n")
    return path


def ran(*command: str) -> subprocess.CompletedProcess[str]:
    """A command of this Python, in the checkout."""
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=Path(__file__).parents[2])


def told(path: Path, folder: Path, device: torch.device) -> Record:
    """What `compare` takes of the card, in bfloat16 with the critic in float32 for its floor, against `--dry-run`."""
    if device.type != "cuda":
        return {"not measured": "only a GPU counts it"}
    words = ["compare", str(written_pairs(folder, 6000)), "-c", str(path), "--device", str(device), "--no-cache"]
    words += ["--dtype", "bfloat16"]
    dry = ran("-c", COMMAND, *words, "--dry-run", "--json")
    run = ran("-c", COMMAND, *words, "-o", str(folder / "m.json"))
    if dry.returncode or run.returncode:
        return {"wrong": [(dry.stderr + run.stderr)[-2000:]]}
    [row] = json.loads(dry.stdout)["price"]
    taken = json.loads(run.stderr.splitlines()[-1])
    wrong = [] if taken["reserved"] <= row["memory"] else [f"{taken} are taken, {row['memory']} were told"]
    return {"foreseen, bytes": row["memory"], "taken, bytes": taken["reserved"], **taken, "wrong": wrong}


def split(path: Path, folder: Path, device: torch.device) -> Record:
    """A critic split over two processes gives the scores of one; on a single GPU they are refused in a sentence."""
    if device.type != "cuda":
        return {"not measured": "pytest -m cluster does it on CPUs"}
    words = ["-m", "critic_probe", "compare", str(written_pairs(folder, 400)), "-c", str(path), "--no-cache"]
    words += ["--dtype", "float32"]
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2"]
    done = ran(*torchrun, *words, "--engine", "torchrun", "-o", str(folder / "two.json"))
    if torch.cuda.device_count() == 1:
        return {"wrong": [] if "each needs a GPU of its own, and there is 1" in done.stderr else [done.stderr[-2000:]]}
    alone = ran(*words, "--device", str(device), "-o", str(folder / "one.json"))
    if done.returncode or alone.returncode:
        return {"wrong": [(done.stderr + alone.stderr)[-2000:]]}
    gaps = [
        torch.tensor([row["gap"] for row in json.loads((folder / name).read_text())["pairs"]])
        for name in ("two.json", "one.json")
    ]
    off, allowed = float((gaps[0] - gaps[1]).abs().max()), PLAIN["float32"] * max(1.0, float(gaps[1].abs().max()))
    return {"off": off, "allowed": allowed, "wrong": [] if off <= allowed else [f"{off:.2g}, allowed {allowed:.2g}"]}


def in_blocks(device: torch.device, tiny: bool) -> Iterator[Step]:
    """A long text whose pairs of tokens are taken some queries at a time, against all at once."""
    for name in ("Qwen3 0.6B", "sliding window", "softcap"):
        for precision in ("bfloat16", "float32"):
            more = {} if tiny else {"num_hidden_layers": 4, "max_position_embeddings": 32768}
            critic = critic_of(random_model(shape(name, tiny=tiny, **more), device, DTYPES[precision]), name)
            length = 600 if tiny else 6000 if name == "softcap" else 20_000
            yield f"{name} in blocks, {precision}", lambda c=critic, n=length: blocked(c, n)
            del critic
            release(device)


def blocked(critic: Critic, length: int) -> Record:
    """Values of one text and memory both ways."""
    ids = [5 + (7 * i + i * i) % 251 for i in range(length)]
    values, taken = {}, {}
    for way, bound in (("at once", 1 << 60), ("blocks", 1 << 20)):
        with bound_of_blocks(bound):
            values[way] = critic.values(ids)
            if critic.device.type == "cuda":
                taken[way] = peak(critic.device, lambda: critic.values(ids))
            foreseen = attention_bytes(critic.backbone, 1, length) + length * token_bytes(critic)
    wrong = disagreement([values["blocks"]], [values["at once"]], critic.dtype)
    found: Record = {"taken, bytes": taken, "foreseen for blocks, bytes": foreseen, "wrong": [wrong] if wrong else []}
    found["off"] = {"worst": float((values["blocks"] - values["at once"]).abs().max())}
    if taken and taken["blocks"] > foreseen:
        found["wrong"].append(f"blocks take {taken['blocks'] / foreseen:.1f} times what was foreseen")
    return found


@contextmanager
def bound_of_blocks(size: int) -> Iterator[None]:
    """Bytes that all pairs of tokens may take."""
    before, blocks.AT_ONCE = blocks.AT_ONCE, size
    try:
        yield
    finally:
        blocks.AT_ONCE = before


def noise(path: Path, device: torch.device, tiny: bool) -> Record:
    """The floor from the first pairs, against how far bf16 moves the gaps of many pairs."""
    names = ("last", "mean")
    settings = Settings(tuple(map(parse, names)))
    bench = Bench(load_critic(path, device=str(device), dtype="bfloat16"), [], settings)
    pairs = [encoded(group) for group in pairs_of(0.3, tiny)]
    noise = Noise(bench, pairs[:NOISE_SAMPLE])
    exact = bench.critic.in_float32()
    groups = [pair.group for pair in pairs]
    ways = [list(bench.engine.values(groups)), list(ReferenceScorer(exact).values(groups))]
    found: Record = {"pairs": len(pairs), "float32 on": str(exact.device), "wrong": []}
    for aggregation in bench.settings.aggregations:
        gaps = torch.tensor(
            [
                [
                    bench.score(v[1][1:], pair.teacher, aggregation) - bench.score(v[0][1:], pair.student, aggregation)
                    for v, pair in zip(way, pairs, strict=True)
                ]
                for way in ways
            ]
        )
        moved = (gaps[0] - gaps[1]).abs()
        floor = noise.floor(aggregation.name, noise.largest)
        found[aggregation.name] = {
            "printed": floor,
            "true, largest": float(moved.max()),
            "true, 95th percentile": float(moved.quantile(0.95)),
            "beyond": float((moved > floor).double().mean()),
            "gaps, standard deviation": float(gaps[1].std()),
        }
        if float(moved.quantile(0.95)) > floor:
            found["wrong"].append(f"{aggregation.name}: more than 5 % of the gaps move beyond the floor")
    return found


def encoded(group: Group) -> EncodedPair:
    """A group of two responses as a pair."""
    student, teacher = (EncodedResponse(ids, (False,) * len(ids), "") for ids in group.responses)
    return EncodedPair(Pair("", "", "", ""), group.prompt_ids, student, teacher)


def out_of_memory(critic: Critic, tiny: bool) -> Record:
    """Rows that the memory left to them does not hold are halved, and their values stay."""
    groups = pairs_of(0.3, tiny)
    whole = Engine(critic, budget=1024 if tiny else 8192, mode="tree")
    expected = [v for of in whole.values(groups) for v in of]
    halved = Engine(critic, budget=whole.budget, mode="tree", kernel=whole.kernel, name="tree")
    with shortage(critic, lambda: list(whole.values(groups))):
        got = [v for of in halved.values(groups) for v in of]
    wrong = disagreement(got, expected, critic.dtype)
    found = {"rows": [whole.budget, halved.budget], "notices": halved.notices, "wrong": [wrong] if wrong else []}
    if not any("out of memory" in notice for notice in halved.notices):
        found["wrong"].append("memory did not run out")
    return found


@contextmanager
def shortage(critic: Critic, run: Callable[[], object]) -> Iterator[None]:
    """Memory for six tenths of what `run` takes; where no allocator can be told so, its error, raised in the model."""
    device = critic.device
    if device.type != "cuda":

        def refuse(_module: Any, _args: Any, inputs: dict[str, Any]) -> None:
            if inputs["input_ids"].shape[1] > 600:
                raise torch.OutOfMemoryError("planted: out of memory")

        hook = critic.backbone.register_forward_pre_hook(refuse, with_kwargs=True)
        try:
            yield
        finally:
            hook.remove()
        return
    release(device)
    torch.cuda.reset_peak_memory_stats(device)
    held = torch.cuda.memory_reserved(device)
    run()
    taken = torch.cuda.max_memory_reserved(device) - held
    release(device)
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction((held + 0.6 * taken) / total, device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


def gradients_agree(device: torch.device, tiny: bool) -> Record:
    """Through the tree on the device, against padded rows in float32 on a CPU."""
    model = rounded(random_model(shape("Qwen3 0.6B", tiny=tiny, num_hidden_layers=4), CPU, torch.float32))
    groups = pairs_of(0.02, tiny)
    expected = gradients(model, groups, tree=False, half=False)
    other = copied(model, device, torch.float32)
    off = {
        name: apart(gradients(other, groups, tree=tree, half=half), expected)
        for name, tree, half in (
            ("tree, float32", True, False),
            ("padded, float32", False, False),
            ("tree, bfloat16", True, True),
            ("padded, bfloat16", False, True),
        )
    }
    allowed = {"tree, float32": 1e-4, "tree, bfloat16": 2 * off["padded, bfloat16"]}
    wrong = [f"{name}: {off[name]:.2g}, allowed {most:.2g}" for name, most in allowed.items() if not off[name] <= most]
    return {"relative error": off, "wrong": wrong}


def gradients(model: Any, groups: list[Group], *, tree: bool, half: bool) -> dict[str, Tensor]:
    """Of Bradley-Terry's loss under the mean, by parameter, on the CPU."""
    device = next(model.parameters()).device
    model.zero_grad()
    sequences = [sequence for group in groups for sequence in group.sequences]
    firsts = [len(group.prompt_ids) for group in groups for _ in group.responses]
    with tree_attention(backbone_of(model)) if tree else nullcontext():
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            values = token_values(model, sequences, firsts, tree=tree, pad=0)
        scores = torch.stack([v.mean() for v in values])
        loss(scores[0::2], scores[1::2])[0].backward()
    return {name: p.grad.float().cpu() for name, p in model.named_parameters() if p.grad is not None}


def apart(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> float:
    """|difference| / |expected| of all gradients together."""
    off = sum(float((found[name] - expected[name]).double().square().sum()) for name in expected)
    return math.sqrt(off / sum(float(g.double().square().sum()) for g in expected.values()))


def trainings_agree(folder: Path, device: torch.device) -> Record:
    """`warmup` on the device against `warmup` on the CPU: the loss of every step."""
    start = save(random_model(shape("Qwen3 0.6B", tiny=True), CPU, torch.float32), folder / "start")
    texts = [f"{word} {number}" for word in ("red", "blue", "green", "white") for number in range(4)]
    pairs = [Pair(text, f"Say {text}", f"{text},", f"{text}.") for text in texts]
    options = Options(steps=4, batch_size=4, learning_rate=1e-4, rising_steps=1, keep_order=True, engine="tree")
    on_device = replace(options, device="auto" if device.type == "cuda" else "cpu")
    runs = {
        "CPU, float32": replace(options, device="cpu"),
        "device, float32": on_device,
        "device, bfloat16": replace(on_device, bf16=True),
    }
    losses = {}
    for name, of in runs.items():
        out = warmup(pairs, 0.0, start, folder / name, of).path
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        losses[name] = [line["critic/d_loss"] for line in lines if "critic/d_loss" in line]
    expected = torch.tensor(losses["CPU, float32"])
    wrong = []
    for name, allowed in (("device, float32", 1e-4), ("device, bfloat16", 2e-2)):
        off = float((torch.tensor(losses[name]) - expected).abs().max())
        if not off <= allowed:
            wrong.append(f"{name}: loss off by {off:.2g}, allowed {allowed:g}")
    return {"losses": losses, "wrong": wrong}


@contextmanager
def matrix_precision(name: str) -> Iterator[None]:
    """How float32 is multiplied: `highest`, or `high` for TF32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def errors(found: Values, expected: Values) -> Record:
    """The largest and the root-mean-square difference over all tokens."""
    off = torch.cat([(a - b).abs() for x, y in zip(found, expected, strict=True) for a, b in zip(x, y, strict=True)])
    return {"worst": float(off.max()), "rms": float(off.double().square().mean().sqrt()), "tokens": len(off)}


def plain_limit(precision: str, expected: Values) -> float:
    """What rounding explains of a plain pass's error."""
    return PLAIN[precision] * max(1.0, largest(expected))


def largest(values: Values) -> float:
    """The largest |value|."""
    return max(float(v.abs().max()) for of in values for v in of)
