"""How fast, against what users have and against the card's own matrix rate; where time and memory go."""

import inspect
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.critics import critic_of, peak, random_model, release, shape
from benchmarks.gpu.right import Record, Step, errors, plain_limit
from benchmarks.ways import WAYS, Values
from benchmarks.workloads import FULL, arithmetic, cut, make
from critic_probe.checkpoint import Critic
from critic_probe.encoding import Group
from critic_probe.scoring.engine import MERGED_TOKENS, Engine, Stats, token_bytes
from critic_probe.scoring.tree import Kernel, TreeAttention, block_mask
from critic_probe.scoring.trie import Row, lay_out

PART = {"W1": 0.25, "W2": 0.1, "W3": 0.1}  # of each workload: 50, 2 and 5 prompts


def steps(device: torch.device, tiny: bool) -> Iterator[Step]:
    """What to time, the most important first."""
    rate: list[float] = []

    def matrices() -> Record:
        rate.append(matrix_rate(device, tiny))
        return {"TFLOP/s": rate[0] / 1e12}

    yield "matrix rate in bfloat16", matrices
    for name in ("Qwen3 8B", "Qwen3 0.6B", "Qwen3 4B", "mixture of experts"):
        critic = critic_of(random_model(shape(name, tiny=tiny), device, torch.bfloat16), name)
        for workload in FULL:
            groups = part(workload, tiny)
            yield f"{name}, {workload}", lambda c=critic, g=groups: timed(c, g, rate[0])
        if name in ("Qwen3 8B", "Qwen3 0.6B"):
            groups = part("W1", tiny)
            yield f"{name}, kernels", lambda c=critic, g=groups: kernels(c, g)
            yield f"{name}, memory of a row", lambda c=critic, g=groups: memory(c, g)
            yield f"{name}, profile", lambda c=critic, g=groups: where_time_goes(c, g)
        if name == "Qwen3 8B":
            yield "attention of one layer", lambda: one_layer(device, tiny, ("flex", "chains"))
            if device.type == "cuda":
                yield "attention of one layer, trials", lambda: one_layer(device, tiny, ("flex at once", "varlen"))
        del critic
        release(device)


def part(workload: str, tiny: bool) -> list[Group]:
    """Enough of a workload to time."""
    groups = make(workload, PART[workload])
    return cut(groups[:2]) if tiny else groups


def matrix_rate(device: torch.device, tiny: bool) -> float:
    """FLOP/s of square products in bfloat16, the best of five rounds."""
    n = 256 if tiny else 8192
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = min(seconds(device, lambda: [a @ b for _ in range(4)]) for _ in range(6))
    return 4 * 2 * n**3 / best


def seconds(device: torch.device, run: Callable[[], object]) -> float:
    """Of one call, until the device has done it."""
    wait(device)
    begun = time.perf_counter()
    run()
    wait(device)
    return time.perf_counter() - begun


def wait(device: torch.device) -> None:
    """Until the device has nothing left to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(critic: Critic, groups: list[Group], rate: float) -> Record:
    """Every way over the groups: pairs (two responses) a second, and whether values agree with ours."""
    engine = Engine(critic)
    device = critic.device
    first = seconds(device, lambda: list(engine.values(groups)))  # with the engine's check, and what is compiled
    engine.stats = Stats()
    expected = list(engine.values(groups))
    ours = min(seconds(device, lambda: list(engine.values(groups))) for _ in range(2))
    pairs = sum(len(group.responses) for group in groups) / 2
    tokens = {"tokens": engine.stats.given // 3, "computed": engine.stats.computed // 3, "rows": engine.stats.rows // 3}
    found: Record = {
        "engine": engine.name,
        "kernel": engine.kernel,
        **tokens,
        "first pass, seconds": first,
        "ours, seconds": ours,
        "ours, pairs/s": pairs / ours,
        "share of matrix rate": arithmetic(critic, groups, tokens["computed"]) / ours / rate,
        "wrong": list(engine.notices),
    }
    for name, way in WAYS.items():
        if name == "ours":
            continue
        way(critic, groups[:1])
        got: Values = []
        taken = seconds(device, lambda way=way, got=got: got.extend(way(critic, groups)))
        off, allowed = errors(got, expected), plain_limit("bfloat16", expected)
        found[name] = {"seconds": taken, "pairs/s": pairs / taken, "times ours": taken / ours, "off": off["worst"]}
        if not off["worst"] <= allowed:
            found["wrong"].append(f"{name} differs from ours by {off['worst']:.2g}, allowed {allowed:.2g}")
    return found


def kernels(critic: Critic, groups: list[Group]) -> Record:
    """Seconds a row of FlexAttention and of chains, and of shorter rows: what the engine chooses between."""
    found: Record = {}
    ways: dict[str, tuple[Kernel, int | None, bool]] = {
        "flex": ("flex", None, True),
        "chains": ("chains", None, True),
        "chains, no cuDNN": ("chains", None, False),
        "flex, rows of 2048": ("flex", MERGED_TOKENS, True),
    }
    for name, (kernel, budget, cudnn) in ways.items():
        engine = Engine(critic, mode="tree", kernel=kernel, budget=budget, name="tree")
        with cudnn_attention(cudnn):
            list(engine.values(groups))
            engine.stats = Stats()
            taken = seconds(critic.device, lambda e=engine: list(e.values(groups)))
        found[name] = {"seconds": taken, "rows": engine.stats.rows, "seconds a row": taken / engine.stats.rows}
    return found


@contextmanager
def cudnn_attention(on: bool) -> Iterator[None]:
    """Whether scaled dot-product attention may be cuDNN's, which plans anew for every shape."""
    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(on and before)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)


def memory(critic: Critic, groups: list[Group]) -> Record:
    """What the widest row takes, against what the row budget is made from."""
    if critic.device.type != "cuda":
        return {"not measured": "only a GPU counts it"}
    engine = Engine(critic)
    list(engine.values(groups))
    taken = peak(critic.device, lambda: list(engine.values(groups)))
    assert engine.budget is not None
    foreseen = engine.budget * token_bytes(critic)
    wrong = [f"a row takes {taken / foreseen:.1f} times what was foreseen"] if taken > foreseen else []
    return {"budget, tokens": engine.budget, "foreseen, bytes": foreseen, "taken, bytes": taken, "wrong": wrong}


def where_time_goes(critic: Critic, groups: list[Group]) -> Record:
    """The kernels of one pass over the groups, by their time on the device."""
    engine = Engine(critic)
    list(engine.values(groups))
    cuda = critic.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities) as recorded:
        taken = seconds(critic.device, lambda: list(engine.values(groups)))
    counted = [
        (event.key, (event.self_device_time_total if cuda else event.self_cpu_time_total) / 1e6)
        for event in recorded.key_averages()
        if not cuda or str(event.device_type).endswith("CUDA")
    ]
    counted.sort(key=lambda item: -item[1])
    busy = sum(time for _, time in counted)
    return {
        "seconds": taken,
        "busy": busy / taken,
        "kernels": [{"name": name[:80], "seconds": time, "share": time / busy} for name, time in counted[:12]],
    }


def one_layer(device: torch.device, tiny: bool, names: tuple[str, ...]) -> Record:
    """Milliseconds of one layer's attention over a row of 8B's shape, and seconds of the first call, which compiles."""
    config: Any = shape("Qwen3 8B", tiny=tiny)
    found: Record = {"wrong": []}
    for workload in FULL:
        row = lay_out([sequence for group in part(workload, tiny)[:16] for sequence in group.sequences])
        heads = (config.num_attention_heads, config.num_key_value_heads, config.num_key_value_heads)
        shapes = [(1, count, len(row.ids), config.head_dim) for count in heads]
        query, key, value = (torch.randn(s, device=device, dtype=torch.bfloat16) for s in shapes)
        expected = attention_by("chains", row, query, key, value)().float()
        found[workload] = {"tokens": len(row.ids), "chains": len(row.chains)}
        for name in names:
            way = attention_by(name, row, query, key, value)
            first = seconds(device, way)
            taken = min(seconds(device, way) for _ in range(1 if tiny else 5))
            off = float((way().float() - expected).abs().max())
            found[workload][name] = {"milliseconds": 1000 * taken, "first call, seconds": first, "off": off}
            if not off < 0.05:
                found["wrong"].append(f"{workload}: {name} is off by {off:.2g}")
    return found


def attention_by(name: str, row: Row, query: Tensor, key: Tensor, value: Tensor) -> Callable[[], Tensor]:
    """One layer's attention by a kernel of the tree, or by one that is on trial."""
    scale = query.shape[-1] ** -0.5
    if name == "varlen":
        return varlen(row, query, key, value)
    if name == "flex at once":  # compiled for every length from the first row on
        mask = block_mask(row, None, query.device)
        return lambda: _flex_at_once()(query, key, value, block_mask=mask, scale=scale, enable_gqa=True).transpose(1, 2)
    plan = TreeAttention(row, "flex" if name == "flex" else "chains")
    return lambda: plan.attend(query, key, value, scale, None, None)


@cache
def _flex_at_once() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True)


def varlen(row: Row, query: Tensor, key: Tensor, value: Tensor) -> Callable[[], Tensor]:
    """Each chain's queries against its path's keys, gathered; flash attention sets the triangle at the lower right."""
    from torch.nn.attention.varlen import varlen_attn

    paths = torch.cat([chain.path for chain in row.chains]).to(query.device)
    lengths = [torch.tensor([of(chain) for chain in row.chains]) for of in (lambda c: c.length, lambda c: len(c.path))]
    ends = [F.pad(of.cumsum(0, dtype=torch.int32), (1, 0)).to(query.device) for of in lengths]
    most = [int(of.max()) for of in lengths]
    shared = query.shape[1] // key.shape[1]
    named = inspect.signature(varlen_attn).parameters  # of torch 2.10: is_causal
    causal: dict[str, Any] = {"window_size": (-1, 0)} if "window_size" in named else {"is_causal": True}

    def run() -> Tensor:
        q = query[0].transpose(0, 1)
        k, v = (t[0].transpose(0, 1)[paths].repeat_interleave(shared, 1) for t in (key, value))
        return varlen_attn(q, k, v, *ends, *most, **causal)[None]

    return run
