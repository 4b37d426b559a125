import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    DistilBertConfig,
    DistilBertForTokenClassification,
    Gemma2Config,
    GPT2Config,
    GPT2ForTokenClassification,
)

from critic_probe.checkpoint import load_critic
from critic_probe.errors import CriticProbeError

IDS = [5, 17, 200, 31, 31, 90, 258]


def edited(source: Path, target: Path, *, config: dict | None = None, tensors=None) -> Path:
    """A copy of a checkpoint with entries of its config and tensors replaced; None removes one."""
    shutil.copytree(source, target)
    content = json.loads((target / "config.json").read_text())
    content.update(config or {})
    (target / "config.json").write_text(json.dumps({k: v for k, v in content.items() if v is not None}))
    if tensors:
        weights = load_file(target / "model.safetensors") | tensors
        save_file({k: v for k, v in weights.items() if v is not None}, target / "model.safetensors", {"format": "pt"})
    return target


def test_a_softcap_is_never_left_out(critic_dir, tmp_path):
    shape = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "head_dim": 8,
    }
    config = Gemma2Config(
        **shape, vocab_size=259, num_key_value_heads=2, num_labels=1, initializer_range=0.3, attn_logit_softcapping=0.5
    )
    torch.manual_seed(0)
    model = AutoModelForTokenClassification.from_config(config, attn_implementation="eager").eval()
    model.save_pretrained(tmp_path)
    for file in critic_dir.glob("tokenizer*"):
        shutil.copy(file, tmp_path)
    with torch.no_grad():
        expected = model(input_ids=torch.tensor([IDS])).logits[0, :, 0]
    torch.testing.assert_close(load_critic(tmp_path, device="cpu").values(IDS), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("family", ["qwen3", "llama"])
def test_values_equal_token_classification_logits(make_critic, family):
    path = make_critic(family)
    model = AutoModelForTokenClassification.from_pretrained(path).eval()
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([IDS])).logits[0, :, 0]
    values = load_critic(path, device="cpu").values(IDS)
    assert values.dtype == torch.float32
    assert logits.std() > 0.1
    torch.testing.assert_close(values, logits, rtol=0, atol=1e-6)


def test_the_last_value_equals_the_sequence_classification_logit(make_critic):
    path = make_critic("llama", "sequence")
    model = AutoModelForSequenceClassification.from_pretrained(path).eval()
    with torch.no_grad():
        pooled = model(input_ids=torch.tensor([IDS])).logits[0, 0]
    critic = load_critic(path, device="cpu")
    assert critic.head.biases == (None,)
    assert critic.values(IDS)[-1].item() == pytest.approx(pooled.item(), abs=1e-6)


def test_an_older_family_names_its_token_head_classifier(tmp_path, critic_dir):
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=259, n_embd=32, n_layer=2, n_head=4, n_positions=64, num_labels=1)
    config.bos_token_id, config.eos_token_id, config.pad_token_id = None, 258, 256
    model = GPT2ForTokenClassification(config).eval()
    model.save_pretrained(tmp_path)
    for file in critic_dir.glob("tokenizer*"):
        shutil.copy(file, tmp_path)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([IDS])).logits[0, :, 0]
    torch.testing.assert_close(load_critic(tmp_path, device="cpu").values(IDS), logits, rtol=0, atol=1e-6)


def test_architectures_decides_nothing(critic_dir, tmp_path):
    mislabelled = edited(critic_dir, tmp_path / "c", config={"architectures": ["Qwen3ForCausalLM"]})
    expected = load_critic(critic_dir, device="cpu").values(IDS)
    assert torch.equal(load_critic(mislabelled, device="cpu").values(IDS), expected)


def test_sharded_weights_give_the_same_values(critic_dir, tmp_path):
    model = AutoModelForTokenClassification.from_pretrained(critic_dir)
    model.save_pretrained(tmp_path, max_shard_size="40KB")
    for file in critic_dir.glob("tokenizer*"):
        shutil.copy(file, tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    expected = load_critic(critic_dir, device="cpu").values(IDS)
    assert torch.equal(load_critic(tmp_path, device="cpu").values(IDS), expected)
    next(tmp_path.glob("model-00001*")).unlink()
    with pytest.raises(CriticProbeError, match=r"names model-00001.* is not there"):
        load_critic(tmp_path, device="cpu")


def test_bfloat16_on_request_and_float32_by_default(critic_dir):
    exact, rounded = (load_critic(critic_dir, device="cpu", dtype=d) for d in ("auto", "bfloat16"))
    assert (exact.dtype, rounded.dtype) == (torch.float32, torch.bfloat16)
    assert 0 < (exact.values(IDS) - rounded.values(IDS)).abs().max() < 0.5


def test_a_causal_lm_without_a_head_is_refused(make_critic):
    with pytest.raises(CriticProbeError, match=r"no value head.*lm_head\.weight \[259, 32\].*none is made up"):
        load_critic(make_critic("llama", "causal"), device="cpu")


BROKEN = {
    "two labels": ({}, {"score.weight": torch.zeros(2, 32)}, r"score\.weight has shape \[2, 32\].*num_labels"),
    "another width": ({}, {"score.weight": torch.zeros(1, 16)}, r"shape \[1, 16\], expected \[1, 32\]"),
    "bias of two": ({}, {"score.bias": torch.zeros(2)}, r"score\.bias has shape \[2\]"),
    "nan in the head": ({}, {"score.weight": torch.full((1, 32), torch.nan)}, r"score\.weight holds NaN"),
    "two heads": ({}, {"classifier.weight": torch.zeros(1, 32)}, r"several heads.*classifier\.weight.*score\.weight"),
    "labels declared": ({"id2label": {"0": "a", "1": "b"}}, {}, r"declares 2 labels"),
    "a layer more": (
        {"num_hidden_layers": 3, "layer_types": ["full_attention"] * 3},
        {},
        r"11 tensors are in the config's model but not in the weights \(layers\.2\.",
    ),
    "a layer fewer": (
        {"num_hidden_layers": 1, "layer_types": ["full_attention"]},
        {},
        r"in the weights but not in the",
    ),
    "another ffn": ({"intermediate_size": 80}, {}, r"have another shape than config\.json asks for"),
    "a tensor lost": ({}, {"model.norm.weight": None}, r"1 tensors are in the config's model but not.*norm\.weight"),
    "unknown family": ({"model_type": "nonesuch"}, {}, r"nonesuch"),
    "nan in the backbone": ({}, {"model.norm.weight": torch.full((32,), torch.nan)}, r"values are NaN"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_checkpoint_is_refused_with_what_was_found(critic_dir, tmp_path, name):
    config, tensors, message = BROKEN[name]
    with pytest.raises(CriticProbeError, match=message) as caught:
        load_critic(edited(critic_dir, tmp_path / "c", config=config, tensors=tensors), device="cpu")
    assert "\n" not in str(caught.value)


def test_directories_that_are_no_checkpoint(critic_dir, tmp_path):
    for path, message in (
        (tmp_path / "absent", "no such checkpoint directory"),
        (tmp_path, r"config\.json: not there"),
        (critic_dir / "config.json", "a file, not a checkpoint directory"),
    ):
        with pytest.raises(CriticProbeError, match=message):
            load_critic(path)


def test_weights_of_another_format_truncated_weights_and_a_missing_tokenizer(critic_dir, tmp_path):
    copy = Path(shutil.copytree(critic_dir, tmp_path / "c"))
    weights = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(weights[:-100])
    with pytest.raises(CriticProbeError, match=r"model\.safetensors: not a readable safetensors"):
        load_critic(copy)
    (copy / "model.safetensors").rename(copy / "weights.pt")
    with pytest.raises(CriticProbeError, match=r"no model\.safetensors or pytorch_model\.bin.*\(found weights\.pt\)"):
        load_critic(copy)
    (copy / "weights.pt").unlink()
    (copy / "model.safetensors").write_bytes(weights)
    for file in copy.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(CriticProbeError, match="no tokenizer"):
        load_critic(copy)


def test_an_encoder_is_refused_although_it_has_a_head(critic_dir, tmp_path):
    torch.manual_seed(0)
    config = DistilBertConfig(vocab_size=259, dim=32, n_layers=2, n_heads=4, hidden_dim=64, num_labels=1)
    DistilBertForTokenClassification(config).save_pretrained(tmp_path)
    for file in critic_dir.glob("tokenizer*"):
        shutil.copy(file, tmp_path)
    with pytest.raises(CriticProbeError, match="not a decoder-only critic"):
        load_critic(tmp_path, device="cpu")


def test_the_fingerprint_follows_the_weights(critic_dir, make_critic, tmp_path):
    same = Path(shutil.copytree(critic_dir, tmp_path / "same"))
    first, copy, other = (load_critic(p, device="cpu") for p in (critic_dir, same, make_critic(seed=1)))
    assert first.fingerprint == copy.fingerprint != other.fingerprint
    assert first.head.hash == copy.head.hash != other.head.hash


def test_unknown_devices_are_refused():
    with pytest.raises(CriticProbeError, match="choose from auto, cpu, cuda"):
        load_critic("x", device="tpu")
    with pytest.raises(CriticProbeError, match="not available"):
        load_critic("x", device="cuda:99")
