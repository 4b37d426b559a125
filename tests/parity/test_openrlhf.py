"""OpenRLHF's models are classes made on the spot; flash_attn, which it imports and packing alone uses, is a stub."""

import json
import sys
import types
from pathlib import Path

import pytest
import torch
import transformers
from parity.oracles import PROMPT, RESPONSES, TEXTS, by_cli, stack

from critic_probe.checkpoint import load_critic

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("default")]


@pytest.fixture
def factory(monkeypatch):
    stack(openrlhf="0.11")
    for name in ("flash_attn", "flash_attn.bert_padding", "flash_attn.utils", "flash_attn.utils.distributed"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    for name in ("index_first_axis", "pad_input", "rearrange", "unpad_input"):
        setattr(sys.modules["flash_attn.bert_padding"], name, None)
    sys.modules["flash_attn.utils.distributed"].all_gather = None
    import importlib.util

    folder = Path(importlib.util.find_spec("openrlhf").submodule_search_locations[0])
    for name, path in (
        ("openrlhf", folder),
        ("openrlhf.models", folder / "models"),
        ("openrlhf.utils", folder / "utils"),
    ):
        package = types.ModuleType(name)
        package.__path__ = [str(path)]
        monkeypatch.setitem(sys.modules, name, package)
    from openrlhf.models.model import get_llm_for_sequence_regression

    return get_llm_for_sequence_regression


def save(factory, base: Path, kind: str, target: Path):
    model = factory(
        str(base), kind, init_value_head=True, value_head_prefix="points", attn_implementation="eager", device_map=None
    )
    model = model.float().eval()
    torch.nn.init.normal_(model.points.weight)
    model.config.value_head_prefix = "points"
    model.save_pretrained(target)
    transformers.AutoTokenizer.from_pretrained(base).save_pretrained(target)
    return model


def test_reward_model(factory, make_critic, agree, tmp_path):
    model = save(factory, make_critic("qwen3", "causal", num_labels=2), "reward", tmp_path / "rm")
    critic = load_critic(tmp_path / "rm", device="cpu")
    with torch.no_grad():
        theirs = [
            model(input_ids=torch.tensor([PROMPT + r]), attention_mask=torch.ones(1, len(PROMPT + r)).long())
            for r in RESPONSES
        ]
    agree(torch.cat(theirs), torch.stack([critic.values(PROMPT + r)[-1] for r in RESPONSES]), "openrlhf")
    with torch.no_grad():
        theirs = [
            model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)).long())
            for ids in plain(tmp_path / "rm")
        ]
    agree(torch.cat(theirs), by_cli(tmp_path / "rm", "-a", "last"), "openrlhf")


def plain(home: Path) -> list[list[int]]:
    """The ids of `TEXTS` as its RewardDataset closes plain rows; `test_conventions` holds those against it."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(home)
    texts = (row["prompt"] + row[side] for row in TEXTS for side in ("student", "teacher"))
    return [tokenizer(f"{text} {tokenizer.eos_token}", add_special_tokens=False)["input_ids"] for text in texts]


def test_normalised_reward_model(factory, make_critic, agree, tmp_path):
    model = save(factory, make_critic("qwen3", "causal", num_labels=2), "reward", tmp_path / "rm")
    file = tmp_path / "rm" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"normalize_reward": True, "mean": 1.5, "std": 3.0}))
    model.normalize_reward, model.mean[0], model.std[0] = True, 1.5, 3.0
    critic = load_critic(tmp_path / "rm", device="cpu")
    with torch.no_grad():
        theirs = [
            model(input_ids=torch.tensor([PROMPT + r]), attention_mask=torch.ones(1, len(PROMPT + r)).long())
            for r in RESPONSES
        ]
    agree(torch.cat(theirs), torch.stack([critic.values(PROMPT + r)[-1] for r in RESPONSES]), "openrlhf")


def test_critic_model(factory, make_critic, agree, tmp_path):
    """Its action values are those before each token: ours of the states, one earlier."""
    model = save(factory, make_critic("qwen3", "causal", num_labels=2), "critic", tmp_path / "critic")
    critic = load_critic(tmp_path / "critic", device="cpu")
    response = RESPONSES[2]
    ids = torch.tensor([PROMPT + response])
    with torch.no_grad():
        theirs = model(input_ids=ids, action_mask=torch.ones(1, len(response)), attention_mask=torch.ones_like(ids))
    agree(theirs, critic.values(PROMPT + response)[len(PROMPT) - 1 : -1], "openrlhf")
