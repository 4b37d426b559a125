"""What depends on how long a text is: windows, chunks, rotary frequencies that follow the longest one."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from critic_probe.checkpoint import Critic, load_critic, weights_check
from critic_probe.encoding import Group
from critic_probe.errors import CriticProbeError
from critic_probe.scoring.cache import Cache
from critic_probe.scoring.engine import Engine
from critic_probe.scoring.reference import padded_values

ROOT = Path(__file__).parents[2]
Ids = tuple[int, ...]


def ids(length: int, seed: int = 0) -> Ids:
    return tuple(torch.randint(1, 250, (length,), generator=torch.Generator().manual_seed(seed)).tolist())


def plain(path: Path, sequence: Ids, attention: str) -> torch.Tensor:
    """The class's own values, from a model that has seen no other text."""
    kind = transformers.AutoModelForTokenClassification
    model = kind.from_pretrained(path, attn_implementation=attention).eval()
    with torch.no_grad():
        return model(input_ids=torch.tensor([sequence])).logits[0, :, 0]


def test_architectures_whose_attention_changes_with_length_agree_with_their_own_class():
    """Texts longer than every window, chunk and original context; eager and sdpa."""
    names = ["llama4_text", "qwen2_moe", "phimoe", "phi3", "gpt_oss"]
    command = [sys.executable, "-m", "benchmarks.architectures", *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")][1:]
    scored = {name: (engine, max(float(eager), float(sdpa))) for name, engine, eager, sdpa, *_ in rows}
    fallback = ["llama4_text", "qwen2_moe, window", "phimoe"]
    if int(transformers.__version__.partition(".")[0]) >= 5:  # before, rotary settings had another name
        fallback += ["phimoe, longrope", "phi3, longrope"]
    for name in fallback:
        assert scored[name][0] == "reference", name
    assert scored["phi3"][0] == "tree"
    for name in (*fallback, "qwen2_moe", "phi3"):
        assert scored[name][1] < 2e-5, name
    assert scored["gpt_oss"][0] == "reference"  # its attention has sinks, and its class no sdpa
    assert float(next(row for row in rows if row[0] == "gpt_oss")[2]) < 2e-5


ROTARY = {
    "longrope": {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "factor": 8.0,
        "short_factor": [1.0] * 4,
        "long_factor": [4.0] * 4,
        "original_max_position_embeddings": 64,
    },
    "dynamic": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0},
}


@pytest.fixture(params=ROTARY)
def stretched(request, make_critic) -> Path:
    rotary = ROTARY[request.param]
    lengths = {"max_position_embeddings": 64}
    if request.param == "longrope":
        lengths = {"max_position_embeddings": 512, "original_max_position_embeddings": 64}
    return make_critic(rope_parameters=rotary, rope_scaling=rotary, **lengths)


def test_a_long_text_late_in_a_run_ends_the_tree_and_no_wrong_value_was_kept(stretched, tmp_path):
    critic = load_critic(stretched, device="cpu")
    cache = Cache(tmp_path / "values.sqlite", "critic")
    short = [Group(ids(8, seed), (ids(5, seed + 500), ids(9, seed + 900))) for seed in range(64)]
    long = Group(ids(8), (ids(100, 1), ids(5, 2)))
    engine = Engine(critic, cache=cache)
    values = engine.values([*short, long, short[0]])
    first = next(values)
    assert engine.name == "tree"
    rest = list(values)
    assert engine.name == "reference"
    assert "differ from those of single sequences" in engine.notices[0]
    for group, of_group in zip([*short[:2], long, short[0]], [first, rest[0], *rest[-2:]], strict=True):
        for sequence, ours in zip(group.sequences, of_group, strict=True):
            for attention in ("eager", "sdpa"):
                theirs = plain(stretched, sequence, attention)[len(group.prompt_ids) - 1 :]
                torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    again = Engine(critic, cache=cache)
    assert all(
        torch.equal(a, b)
        for x, y in zip(again.values(short), [first, *rest], strict=False)
        for a, b in zip(x, y, strict=True)
    )
    assert again.stats.computed == 0


def test_a_text_leaves_nothing_behind_for_the_next(stretched):
    critic = load_critic(stretched, device="cpu")
    texts = [ids(70, 1), ids(300, 2), ids(90, 3), ids(10, 4)]
    expected = [plain(stretched, text, "sdpa") for text in texts]
    for text, theirs in zip(texts, expected, strict=True):
        torch.testing.assert_close(critic.values(text), theirs, rtol=0, atol=1e-5)


def test_a_batch_in_which_the_longest_text_moves_the_others_is_no_check_on_them(stretched):
    critic = load_critic(stretched, device="cpu")
    assert len(padded_values(critic, [ids(20), ids(40)])) == 2
    with pytest.raises(ValueError, match="above 64 tokens its rotary frequencies follow the longest"):
        padded_values(critic, [ids(20), ids(80)])


@pytest.fixture
def poisoned(critic_dir, tmp_path) -> Critic:
    """A critic in which one token's embedding is NaN."""
    path = Path(shutil.copytree(critic_dir, tmp_path / "c"))
    weights = load_file(path / "model.safetensors")
    weights["model.embed_tokens.weight"][77] = torch.nan
    save_file(weights, path / "model.safetensors", {"format": "pt"})
    return load_critic(path, device="cpu")


BAD = [
    Group((1, 2, 3), ((4, 5), (6, 7)), "first"),
    Group((1, 2, 3), ((4, 77), (6, 7)), "second"),
    Group((1, 77), ((4, 5),), "third"),
    Group((1, 2), ((9,),), "fourth"),
]


@pytest.mark.parametrize("mode", ["auto", "reference"])
def test_a_value_that_is_no_number_is_an_error_that_names_pair_dtype_and_tensor(poisoned, mode):
    with pytest.raises(CriticProbeError) as caught:
        list(Engine(poisoned, mode).values(BAD))
    assert "pair second: 1 of its 2 responses have values that are NaN or infinite in float32" in str(caught.value)
    assert "first in embed_tokens, whose weight is not finite" in str(caught.value)
    assert "on_bad_row='skip'" in str(caught.value)


@pytest.mark.parametrize("mode", ["auto", "reference"])
def test_such_groups_can_be_skipped_and_are_counted_and_never_kept(poisoned, critic_dir, tmp_path, mode):
    cache = Cache(tmp_path / "values.sqlite", "critic")
    engine = Engine(poisoned, mode, cache, on_bad="skip")
    got = list(engine.values(BAD))
    assert engine.bad == ["second", "third"]
    assert engine.name == ("tree" if mode == "auto" else "reference")
    for group, values in zip(BAD, got, strict=True):
        sound = [plain(critic_dir, s, "sdpa")[len(group.prompt_ids) - 1 :] for s in group.sequences]
        if group.id in engine.bad:
            assert values == []
            continue
        for ours, theirs in zip(values, sound, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    again = Engine(poisoned, mode, cache, on_bad="skip")
    assert [len(values) for values in again.values(BAD)] == [2, 0, 0, 1]
    # Every sequence but the two with the token; in a row of its own the one that two groups share is looked up once.
    assert again.stats.cached == (18 if mode == "auto" else 13)


def test_an_overflow_of_float16_is_told_with_its_layer(critic_dir, tmp_path):
    path = Path(shutil.copytree(critic_dir, tmp_path / "c"))
    weights = load_file(path / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"] *= 30000
    save_file(weights, path / "model.safetensors", {"format": "pt"})
    assert load_critic(path, device="cpu").values([1, 2, 3]).isfinite().all()
    with pytest.raises(CriticProbeError) as caught:
        load_critic(path, device="cpu", dtype="float16")
    assert "NaN or infinite in float16, first in layers.1.mlp.down_proj" in str(caught.value)
    assert "where float32 is finite (float16 overflows above 65,504); use dtype='float32'" in str(caught.value)


def test_doctor_reads_all_weights_and_not_the_heads_alone(poisoned, critic_dir):
    check = weights_check(poisoned.layout)
    assert check.verdict == "fail"
    assert (
        "1 of 26 tensors hold NaN or infinity, first model.embed_tokens.weight in model.safetensors" in check.evidence
    )
    sound = load_critic(critic_dir, device="cpu").layout
    assert weights_check(sound).verdict == "ok"
    name = "model.layers.0.mlp.up_proj.weight"
    large = replace(
        sound, tensors=sound.tensors | {name: replace(sound.tensors[name], read=lambda: torch.full((64, 32), 7e4))}
    )
    assert weights_check(large).verdict == weights_check(large, torch.bfloat16).verdict == "ok"
    assert f"overflow in float16, first {name}" in weights_check(large, torch.float16).evidence


def test_gemma_3n_has_a_width_for_every_layer(tmp_path, critic_dir):
    torch.manual_seed(0)
    config = transformers.Gemma3nTextConfig(
        vocab_size=259,
        vocab_size_per_layer_input=259,
        hidden_size=32,
        intermediate_size=[64, 64, 96],
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        hidden_size_per_layer_input=8,
        laurel_rank=8,
        altup_num_inputs=2,
        num_kv_shared_layers=0,
        sliding_window=8,
        layer_types=["sliding_attention", "sliding_attention", "full_attention"],
        activation_sparsity_pattern=[0.0] * 3,
        pad_token_id=0,
    )
    model = transformers.AutoModel.from_config(config).eval()
    model.save_pretrained(tmp_path)
    weights, head = load_file(tmp_path / "model.safetensors"), torch.randn(1, 32)
    save_file(weights | {"score.weight": head}, tmp_path / "model.safetensors", {"format": "pt"})
    for file in critic_dir.glob("tokenizer*"):
        shutil.copy(file, tmp_path)
    group = Group(ids(9), (ids(20, 1), ids(4, 2)))
    for sequence, ours in zip(
        group.sequences, next(Engine(load_critic(tmp_path, device="cpu")).values([group])), strict=True
    ):
        for attention in ("eager", "sdpa"):
            model = transformers.AutoModel.from_pretrained(tmp_path, attn_implementation=attention).eval()
            with torch.no_grad():
                theirs = model(input_ids=torch.tensor([sequence])).last_hidden_state[0] @ head[0]
            torch.testing.assert_close(ours, theirs[8:], rtol=0, atol=1e-5)
