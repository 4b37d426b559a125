"""Long texts: no tensor of all pairs of tokens, the plain values, and what a dry run says of memory."""

import json
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
import transformers
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from typer.testing import CliRunner

from critic_probe.aggregation import parse
from critic_probe.bundled import find_critics
from critic_probe.checkpoint import Critic, blocks, load_critic
from critic_probe.cli import app
from critic_probe.encoding import Group
from critic_probe.pairs import Pair
from critic_probe.scoring import reference
from critic_probe.scoring.engine import Engine
from critic_probe.scoring.reference import padded_values
from critic_probe.workbench import Settings, benches

SHAPE = {"vocab_size": 259, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "head_dim": 8}
SHAPE |= {"num_key_value_heads": 1, "intermediate_size": 32, "max_position_embeddings": 4096, "num_labels": 1}
SHAPE |= {"initializer_range": 0.3, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": 258}
CONFIGS = {
    "full": lambda: transformers.LlamaConfig(**SHAPE),
    "window": lambda: transformers.MistralConfig(**SHAPE, sliding_window=40),
    "softcap": lambda: transformers.Gemma2Config(
        **SHAPE, attn_logit_softcapping=5.0, query_pre_attn_scalar=8, sliding_window=40
    ),
    "sinks": lambda: transformers.GptOssConfig(**SHAPE, num_local_experts=2, num_experts_per_tok=1, sliding_window=40),
}
LENGTH = 1200


class Largest(TorchDispatchMode):
    """The numbers of the largest tensor that any operation made."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            made = (t.untyped_storage().nbytes() // t.itemsize for t in tree_leaves(out) if isinstance(t, torch.Tensor))
            self.numel = max(self.numel, *made, 0)
        return out


def ids(length: int, seed: int = 0) -> tuple[int, ...]:
    return tuple(torch.randint(1, 250, (length,), generator=torch.Generator().manual_seed(seed)).tolist())


@pytest.fixture(scope="module", params=CONFIGS)
def critic(request, tmp_path_factory, critic_dir) -> Critic:
    path = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    transformers.AutoModelForSequenceClassification.from_config(CONFIGS[request.param]()).save_pretrained(path)
    for file in critic_dir.glob("tokenizer*"):
        (path / file.name).write_bytes(file.read_bytes())
    return load_critic(path, device="cpu")


@contextmanager
def always_in_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Largest]:
    with monkeypatch.context() as patch:
        patch.setattr(blocks, "AT_ONCE", 1 << 20)
        patch.setattr(blocks, "_BLOCK", 1 << 20)
        with Largest() as largest:
            yield largest


def test_a_long_text_has_the_plain_values_and_no_tensor_of_all_pairs_of_tokens(critic, monkeypatch):
    group = Group(ids(100), (ids(LENGTH - 100, 1), ids(LENGTH // 2, 2)))
    plain = [critic.values(sequence) for sequence in group.sequences]
    padded = padded_values(critic, group.sequences)
    with always_in_blocks(monkeypatch) as largest:
        of_engine = next(Engine(critic).values([group]))
        in_batch = padded_values(critic, group.sequences)
    assert critic.attention in ("sdpa", "eager")  # as it was
    assert largest.numel < LENGTH**2 * 2 / 3  # the tree's own mask has 512 rows
    for expected, whole, ours, theirs in zip(plain, padded, of_engine, in_batch, strict=True):
        assert torch.allclose(ours, expected[99:], atol=5e-6)
        assert torch.allclose(theirs, expected, atol=5e-6)
        assert torch.allclose(theirs, whole, atol=5e-6)


def test_all_pairs_would_be_there_otherwise(critic):
    """What the test above holds against is what transformers does."""
    with Largest() as largest:
        padded_values(critic, [ids(LENGTH), ids(LENGTH // 2)])
    assert largest.numel >= LENGTH**2


def test_a_model_with_an_attention_of_its_own_is_left_alone(tmp_path, critic_dir, monkeypatch):
    shape = {"vocab_size": 259, "hidden_size": 16, "n_layer": 2, "n_head": 2, "num_labels": 1, "pad_token_id": 0}
    torch.manual_seed(0)
    model = transformers.AutoModelForSequenceClassification.from_config(transformers.BloomConfig(**shape))
    model.save_pretrained(tmp_path)
    for file in critic_dir.glob("tokenizer*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    critic = load_critic(tmp_path, device="cpu")
    plain = critic.values(ids(400))
    with always_in_blocks(monkeypatch):
        assert torch.equal(critic.values(ids(400)), plain)


@pytest.mark.parametrize(("most", "batches"), [(10_000, [5]), (130, [2, 3]), (1, [2, 3])])
def test_padded_batches_are_cut_and_nobody_is_left_alone(critic, monkeypatch, most, batches):
    sequences = [ids(n, n) for n in (60, 20, 50, 10, 40)]
    expected = padded_values(critic, sequences)
    monkeypatch.setattr(reference, "PADDED_TOKENS", most)
    rows = []
    hook = critic.backbone.register_forward_pre_hook(
        lambda _module, _args, given: rows.append(len(given["input_ids"])), with_kwargs=True
    )
    got = padded_values(critic, sequences)
    hook.remove()
    assert rows == batches
    assert all(torch.allclose(a, b, atol=5e-6) for a, b in zip(got, expected, strict=True))


def test_a_critic_is_gone_before_the_next_is_loaded_and_those_of_a_run_share_a_tokenizer(make_critic):
    paths = [make_critic(seed=1), make_critic(seed=2), make_critic(chat=False)]
    backbones, tokenizers = [], []
    critics = find_critics([str(path) for path in paths], device="cpu")
    with benches(critics.load(), [Pair("a", "p", "s", "t")], Settings((parse("mean"),), template="raw")) as made:
        for bench in made:
            assert [backbone() for backbone in backbones] == [None] * len(backbones)
            backbones.append(weakref.ref(bench.critic.backbone))
            tokenizers.append(bench.critic.tokenizer)
    assert tokenizers[0] is tokenizers[1]
    assert tokenizers[2].chat_template is None


def test_a_dry_run_says_what_memory_the_longest_text_takes(critic_dir, tmp_path):
    def price(words: int, dtype: str = "float32") -> dict:
        path = tmp_path / "pairs.jsonl"
        text = "a " * words
        path.write_text(json.dumps({"prompt": "p", "student": text, "teacher": text + "b"}) + "\n")
        given = ["compare", path, "-c", critic_dir, "--device", "cpu", "--dtype", dtype, "--dry-run", "--json"]
        done = CliRunner().invoke(app, [str(word) for word in given])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)["price"][0]

    short, long = price(20), price(200)
    parts = [long[f"{part}_memory"] for part in ("program", "weights", "batch", "tables")]
    assert long["memory"] == sum(parts)
    assert min(parts) > 0
    assert long["batch_tokens"] > short["batch_tokens"] > 40
    assert long["batch_memory"] > 5 * short["batch_memory"]
    half = price(20, "bfloat16")
    assert half["weights_memory"] == short["weights_memory"] / 2
    assert half["batch_memory"] > 2 * half["weights_memory"]  # noise is measured against float32
