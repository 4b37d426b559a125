"""The prefix tree: the plain path's values from every distinct prefix once, or a fallback that says why."""

import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from critic_probe.checkpoint import Critic, load_critic
from critic_probe.encoding import Group
from critic_probe.errors import CriticProbeError
from critic_probe.scoring.engine import Engine
from critic_probe.scoring.reference import ReferenceScorer
from critic_probe.scoring.tree import TreeAttention
from critic_probe.scoring.trie import distinct, lay_out, pack

Ids = tuple[int, ...]


def prefixes(groups: list[Group]) -> int:
    """Distinct prefixes counted the plain way."""
    sequences = [g.prompt_ids + r for g in groups for r in g.responses]
    return len({sequence[:n] for sequence in sequences for n in range(1, len(sequence) + 1)})


def worst(critic: Critic, groups: list[Group], engine: Engine) -> float:
    expected = list(ReferenceScorer(critic).values(groups))
    got = list(engine.values(groups))
    assert [[len(v) for v in g] for g in got] == [[len(v) for v in g] for g in expected]
    return max(
        float((a - b).abs().max()) for x, y in zip(got, expected, strict=True) for a, b in zip(x, y, strict=True)
    )


class Draw:
    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)

    def ids(self, low: int, high: int | None = None) -> Ids:
        return tuple(self.random.randrange(1, 256) for _ in range(self.random.randint(low, high or low)))

    def edited(self, base: Ids) -> Ids:
        at = self.random.randrange(len(base))
        return (*base[:at], self.random.randrange(1, 256), *base[at + 1 :])


def pairs(draw: Draw, n: int = 12) -> list[Group]:
    return [Group(draw.ids(3, 40), (draw.ids(1, 30), draw.ids(1, 30))) for _ in range(n)]


def edits(draw: Draw, n: int = 4) -> list[Group]:
    groups = []
    for _ in range(n):
        base = draw.ids(20, 40)
        groups.append(Group(draw.ids(10, 30), (base, *(draw.edited(base) for _ in range(20)))))
    return groups


def few_shot(draw: Draw, n: int = 9) -> list[Group]:
    head = draw.ids(60)
    return [Group(head + draw.ids(2, 10), (draw.ids(4, 9), draw.ids(4, 9))) for _ in range(n)]


def awkward(draw: Draw) -> list[Group]:
    base = draw.ids(12)
    nested = tuple(base[:n] for n in range(1, 13))
    return [
        Group(draw.ids(1), (*nested, base, base)),
        Group(draw.ids(1), (draw.ids(1),)),
        Group(base, (base, base[:1])),
    ]


WORKLOADS: dict[str, Callable[[Draw], list[Group]]] = {
    "pairs": pairs,
    "edits": edits,
    "few-shot": few_shot,
    "awkward": awkward,
}


@pytest.fixture(scope="module")
def critic(critic_dir) -> Critic:
    return load_critic(critic_dir, device="cpu")


@pytest.mark.parametrize("workload", WORKLOADS)
def test_every_distinct_prefix_is_computed_once(critic, workload):
    groups = WORKLOADS[workload](Draw())
    engine = Engine(critic)
    assert worst(critic, groups, engine) < 2e-5
    assert engine.name == "tree"
    assert not engine.notices
    assert engine.stats.computed == prefixes(groups)
    assert engine.stats.given == sum(len(g.prompt_ids + r) for g in groups for r in g.responses)


@pytest.mark.parametrize("budget", [16, 50, 200])
@pytest.mark.parametrize("workload", WORKLOADS)
def test_small_rows_give_the_same_values_and_respect_the_budget(critic, workload, budget):
    groups = WORKLOADS[workload](Draw(1))
    engine = Engine(critic, budget=budget)
    longest = max(len(g.prompt_ids + r) for g in groups for r in g.responses)
    assert worst(critic, groups, engine) < 2e-5
    assert prefixes(groups) <= engine.stats.computed <= engine.stats.given
    assert engine.stats.computed <= engine.stats.rows * max(budget, longest)


def test_many_groups_stream_in_order(critic):
    groups = pairs(Draw(2), 150)
    engine = Engine(critic)
    values = engine.values(iter(groups))
    first = next(values)
    assert engine.stats.given < sum(len(g.prompt_ids + r) for g in groups for r in g.responses)
    rest = list(values)
    assert [[len(v) - 1 for v in g] for g in (first, *rest)] == [[len(r) for r in g.responses] for g in groups]


sequences = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=7).map(tuple), min_size=1, max_size=12)


@given(sequences)
@settings(max_examples=200)
def test_a_row_is_the_trie_of_its_sequences(rows):
    row = lay_out(rows)
    nodes = {sequence[:n] for sequence in rows for n in range(1, len(sequence) + 1)}
    assert len(row.ids) == distinct(rows) == len(nodes)
    for sequence, path in zip(rows, row.paths, strict=True):
        assert row.ids[path].tolist() == list(sequence)
        assert row.depths[path].tolist() == list(range(len(sequence)))
    above = {tuple(row.ids[chain.path].tolist()[: i + 1]) for chain in row.chains for i in range(len(chain.path))}
    assert above == nodes
    node = {int(path[n]): tuple(s[: n + 1]) for s, path in zip(rows, row.paths, strict=True) for n in range(len(s))}
    for q, k in ((q, k) for q in node for k in node):
        assert (k <= q < row.ends[k]) == (node[q][: len(node[k])] == node[k])


@given(sequences, st.integers(3, 12))
@settings(max_examples=200)
def test_packing_keeps_every_sequence_once_within_the_budget(rows, budget):
    ordered = sorted(rows)
    packed = list(pack(ordered, budget))
    assert [i for part in packed for i in part] == list(range(len(rows)))
    for part in packed:
        members = [ordered[i] for i in part]
        assert distinct(members) <= max(budget, max(map(len, members)))


def save_family(name: str, target: Path, tokenizer_from: Path) -> Path:
    """A tiny random critic of another architecture."""
    t = transformers
    shape = {"vocab_size": 259, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_labels": 1}
    shape |= {"intermediate_size": 64, "max_position_embeddings": 256, "initializer_range": 0.3}
    shape |= {"pad_token_id": 0, "bos_token_id": None, "eos_token_id": 258}
    kv = {"num_key_value_heads": 2, "head_dim": 8}
    moe = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
    configs: dict[str, Callable[[], transformers.PretrainedConfig]] = {
        "llama": lambda: t.LlamaConfig(**shape | kv),
        "qwen2": lambda: t.Qwen2Config(**shape | {"num_key_value_heads": 2}),
        "mistral": lambda: t.MistralConfig(**shape | kv, sliding_window=None),
        "mistral, window": lambda: t.MistralConfig(**shape | kv, sliding_window=8),
        "phi3": lambda: t.Phi3Config(**shape | {"num_key_value_heads": 2}),
        "qwen3 moe": lambda: t.Qwen3MoeConfig(**shape | kv | moe),
        "gpt neox": lambda: t.GPTNeoXConfig(**shape),
        "gpt2": lambda: t.GPT2Config(**shape | {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}),
        "gemma2": lambda: t.Gemma2Config(**shape | kv, attn_logit_softcapping=5.0, query_pre_attn_scalar=8),
        "falcon": lambda: t.FalconConfig(**shape),
        "bloom": lambda: t.BloomConfig(**shape | {"n_layer": 2, "n_head": 4}),
    }
    torch.manual_seed(0)
    transformers.AutoModelForSequenceClassification.from_config(configs[name]()).save_pretrained(target)
    for file in tokenizer_from.glob("tokenizer*"):
        shutil.copy(file, target)
    return target


TREE = ("llama", "qwen2", "mistral", "mistral, window", "phi3", "qwen3 moe", "gpt neox", "gpt2")
FALLBACK = {"gemma2": "softcap", "falcon": "layers", "bloom": "layers"}


@pytest.mark.parametrize("family", [*TREE, *FALLBACK])
def test_architectures_take_part_or_fall_back_with_the_reason(family, tmp_path, critic_dir):
    critic = load_critic(save_family(family, tmp_path, critic_dir), device="cpu")
    engine = Engine(critic)
    groups = edits(Draw(3), 2)
    assert worst(critic, groups, engine) < 2e-5 * max(1, *(float(v.abs().max()) for v in next(engine.values(groups))))
    if family in TREE:
        assert (engine.name, engine.notices) == ("tree", [])
        return
    assert engine.name == "reference"
    assert FALLBACK[family] in engine.notices[0]
    with pytest.raises(CriticProbeError, match=r"engine='tree': .*use engine='auto'"):
        list(Engine(critic, mode="tree").values(groups))


@pytest.mark.filterwarnings("ignore:.*flex_attention called without torch.compile")  # compiled on a GPU
@pytest.mark.parametrize("family", ["qwen2", "mistral, window"])
def test_flex_attention_gives_the_same_values(family, tmp_path, critic_dir):
    critic = load_critic(save_family(family, tmp_path, critic_dir), device="cpu")
    for groups in (edits(Draw(3), 2), few_shot(Draw(4), 4)):
        engine = Engine(critic, kernel="flex")
        assert worst(critic, groups, engine) < 2e-5
        assert (engine.name, engine.kernel, engine.notices) == ("tree", "flex", [])


def test_the_model_is_left_as_it_was(critic):
    before = critic.attention
    list(Engine(critic).values(pairs(Draw(4), 2)))
    assert critic.attention == before != "critic_probe_tree"


@pytest.mark.parametrize("poison", ["sees the next token", "misses the root", "sees a sibling"])
def test_a_poisoned_mask_is_caught_and_the_plain_path_taken(critic, monkeypatch, poison):
    right = TreeAttention._mask

    def wrong(self: TreeAttention, queries: int, keys: int, *place: object) -> torch.Tensor | None:
        mask = right(self, queries, keys, *place)
        if mask is None:
            return None
        mask = mask.clone()
        if poison == "misses the root":
            mask[:, 0] = -torch.inf
        elif poison == "sees the next token":
            mask[:-1].diagonal(keys - queries + 1).zero_()
        else:
            return torch.zeros_like(mask)
        return mask

    monkeypatch.setattr(TreeAttention, "_mask", wrong)
    engine = Engine(critic)
    groups = edits(Draw(5), 3)
    assert worst(critic, groups, engine) < 2e-5
    assert engine.name == "reference"
    assert "differ from those of single sequences" in engine.notices[0]


def test_half_precision_takes_part(critic_dir):
    critic = load_critic(critic_dir, device="cpu", dtype="bfloat16")
    engine = Engine(critic)
    list(engine.values(edits(Draw(6), 2)))
    assert engine.name == "tree"


@pytest.mark.parametrize("most", [80, 150])
def test_a_model_that_runs_out_of_memory_gets_halves_until_they_fit_and_loses_nothing(critic, most):
    groups = pairs(Draw(10), 30)
    expected = list(Engine(critic).values(groups))
    engine = Engine(critic)
    list(engine.values(groups[:1]))  # chosen before memory is short

    def refuse(_module: object, _args: object, inputs: dict[str, torch.Tensor]) -> None:
        if inputs["input_ids"].shape[1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    hook = critic.backbone.register_forward_pre_hook(refuse, with_kwargs=True)
    try:
        got = list(engine.values(groups))
    finally:
        hook.remove()
    assert "out of memory: rows are now at most" in engine.notices[0]
    for ours, theirs in zip(got, expected, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert float((a - b).abs().max()) < 2e-5


MEMORY = """
import resource, sys
import torch
torch.set_num_threads(1)
from test_engine import Draw, edits, pairs, worst
from critic_probe.checkpoint import load_critic
from critic_probe.scoring.engine import Engine
critic = load_critic(sys.argv[1], device="cpu")
groups = edits(Draw(7), 3) + pairs(Draw(8), 400)
small = Engine(critic, budget=256)
expected = list(small.values(groups))
engine = Engine(critic, budget=1 << 16)
list(engine.values(edits(Draw(9), 1)))  # chosen before memory is short
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + int(sys.argv[2]), -1))
got = list(engine.values(groups))
worst = max(float((a - b).abs().max()) for x, y in zip(got, expected) for a, b in zip(x, y))
print(worst, len(engine.notices), engine.notices[0])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits its own memory")
def test_memory_that_runs_out_halves_the_rows_and_loses_nothing(make_critic, tmp_path):
    path = make_critic(hidden_size=256, intermediate_size=4096)
    command = [sys.executable, "-c", MEMORY, str(path), str(100 << 20)]
    here = {"PYTHONPATH": f"{Path(__file__).parent}:{Path(__file__).parents[1]}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=here | {"PATH": "/usr/bin:/bin"})
    assert done.returncode == 0, done.stderr[-2000:]
    difference, notices, message = done.stdout.split(maxsplit=2)
    assert float(difference) < 2e-4
    assert int(notices) >= 1
    assert "out of memory: rows are now at most" in message
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY
