"""FlexAttention over the trie, as far as a CPU can try it: its mask, its compilation, its softcap."""

import shutil

import pytest
import torch
from torch._dynamo.utils import counters
from torch.nn.attention.flex_attention import create_block_mask
from transformers import AutoModelForTokenClassification, Gemma2Config

from benchmarks.workloads import FULL, Ids, make
from critic_probe.checkpoint import load_critic
from critic_probe.encoding import Group
from critic_probe.scoring import tree
from critic_probe.scoring.engine import Engine
from critic_probe.scoring.reference import ReferenceScorer
from critic_probe.scoring.tree import _TILE, TreeAttention, _flex_attention, block_mask
from critic_probe.scoring.trie import Row, lay_out

CPU = torch.device("cpu")


def rows() -> dict[str, list[Ids]]:
    """Rows of several tiles, of one, and of a chain alone."""
    found = {name: make(name, 0.001)[0].sequences for name in FULL}
    return found | {
        "two prompts": [s for group in make("W1", 0.01) for s in group.sequences],
        "short": [(1, 2, 3), (1, 2, 4, 5), (1, 6)],
        "one chain": [tuple(range(2 * _TILE))],
    }


def visible(row: Row, window: int | None) -> torch.Tensor:
    """(N, N), from the sequences themselves."""
    seen = torch.zeros(len(row.ids), len(row.ids), dtype=torch.bool)
    for path in row.paths:
        for depth, position in enumerate(path):
            seen[position, path[0 if window is None else max(0, depth - window + 1) : depth + 1]] = True
    return seen


@pytest.mark.parametrize("window", [None, 1, 100, 129, 10_000])
@pytest.mark.parametrize("name", rows())
def test_the_block_mask_is_the_trie(name, window):
    row = lay_out(rows()[name])
    length = len(row.ids)
    mask = block_mask(row, window, CPU)
    seen = torch.zeros(length, length, dtype=torch.bool)
    for counts, indices, all_of_it in (
        (mask.kv_num_blocks, mask.kv_indices, False),
        (mask.full_kv_num_blocks, mask.full_kv_indices, True),
    ):
        for tile, count in enumerate(counts[0, 0].tolist()):
            for other in indices[0, 0, tile, :count].tolist():
                q = torch.arange(tile * _TILE, min((tile + 1) * _TILE, length))[:, None]
                k = torch.arange(other * _TILE, min((other + 1) * _TILE, length))[None, :]
                assert not seen[q, k].any()  # no tile is computed twice
                seen[q, k] = True if all_of_it else mask.mask_mod(0, 0, q, k)
    assert torch.equal(seen, visible(row, window))
    if window is None:  # nor is one computed for nothing, or under a mask that hides nothing
        usual = create_block_mask(mask.mask_mod, None, None, length, length, device="cpu")
        for ours, theirs in zip(mask.as_tuple()[2:6], usual.as_tuple()[2:6], strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's compiler, by itself
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiles")
def test_rows_windows_and_softcaps_of_any_size_share_three_compilations(monkeypatch):
    torch._dynamo.reset()
    counters.clear()
    compiled = _flex_attention(True)
    monkeypatch.setattr(tree, "_flex_attention", lambda _on_a_gpu: compiled)
    generator = torch.Generator().manual_seed(0)
    first, second, third, fourth = make("W1", 0.02)
    with torch.inference_mode():
        for softcap in (None, 2.0, 0.5):
            for group in (first, fourth, second, third):
                row = lay_out(group.sequences)
                shapes = [(1, heads, len(row.ids), 16) for heads in (4, 2, 2)]
                query, key, value = (torch.randn(shape, generator=generator) for shape in shapes)
                plan = TreeAttention(row, "flex")
                for window in (None, 100, 130):
                    got = plan.attend(query, key, value, 0.25, window, softcap)
                    scores = query @ key.repeat_interleave(2, 1).mT * 0.25
                    if softcap is not None:
                        scores = softcap * torch.tanh(scores / softcap)
                    weights = scores.masked_fill(~visible(row, window), -torch.inf).softmax(-1)
                    expected = weights @ value.repeat_interleave(2, 1)
                    assert float((got.transpose(1, 2) - expected).abs().max()) < 5e-6
    # The first row's length alone, then any; with a softcap, any.
    assert counters["stats"]["unique_graphs"] == 3


def test_so_many_shapes_as_a_process_may_see_are_all_compiled():
    _flex_attention(True)
    assert torch._dynamo.config.recompile_limit >= 64


@pytest.mark.filterwarnings("ignore:.*flex_attention called without torch.compile")  # compiled on a GPU
def test_a_softcap_is_applied(tmp_path, critic_dir):
    config = Gemma2Config(
        vocab_size=259,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        query_pre_attn_scalar=8,
        attn_logit_softcapping=0.5,
        sliding_window=8,
        initializer_range=0.3,
        num_labels=1,
    )
    torch.manual_seed(0)
    AutoModelForTokenClassification.from_config(config).save_pretrained(tmp_path)
    for file in critic_dir.glob("tokenizer*"):
        shutil.copy(file, tmp_path)
    critic = load_critic(tmp_path, device="cpu")
    groups = [Group((1, 2, 3, 4, 5), ((6, 7), (6, 8, 9))), Group(tuple(range(1, 30)), ((7,), (8, 9, 10, 11)))]
    engine = Engine(critic, kernel="flex")
    got = list(engine.values(groups))
    assert (engine.name, engine.notices) == ("tree", [])
    for ours, theirs in zip(got, ReferenceScorer(critic).values(groups), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert float((a - b).abs().max()) < 2e-5 * max(1.0, float(b.abs().max()))
