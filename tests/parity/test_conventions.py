"""Reading conventions against the frameworks' own data code: the same ids, and the same scores of the same model."""

import importlib.util
import sys
import types
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from encoding.templates import STRIPPED, THINKS, TOOLS, tokenizer_of
from parity.oracles import stack
from transformers import AutoModelForSequenceClassification

from critic_probe.checkpoint import dissect, load_critic
from critic_probe.encoding import CONVENTIONS, Encoder, encode_pair
from critic_probe.encoding.trained import trained_convention
from critic_probe.pairs import PairFile

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("default")]

TOOL = {"type": "function", "function": {"name": "oven", "parameters": {"type": "object", "properties": {}}}}
ANSWERS = [("A kettle.", "An oven."), ("Yes: 水壶。\n", "No"), ("a, b", "a, b,")]


def turns(*said):
    return [{"role": role, "content": text} for role, text in zip(("user", "assistant") * 3, said, strict=False)]


LLAMA3 = (
    "{% for m in messages %}{% if loop.first %}<|begin_of_text|>{% endif %}<|start_header_id|>{{ m.role }}"
    "<|end_header_id|>\n\n{{ m.content }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)


CONVERSATIONS = [
    {"prompt": turns("What boils water?"), "chosen": turns("", c)[1:], "rejected": turns("", r)[1:]} for c, r in ANSWERS
]
WHOLE = [{"chosen": turns("What?", c), "rejected": turns("What?", r)} for c, r in ANSWERS]
WITH_TOOLS = [row | {"tools": [TOOL]} for row in CONVERSATIONS]
PLAIN = [{"prompt": f"What {i}? ", "chosen": c, "rejected": r} for i, (c, r) in enumerate(ANSWERS)]
CASES = {
    "conversations": (TOOLS, CONVERSATIONS),
    "whole conversations": (THINKS, WHOLE),
    "contents stripped": (STRIPPED, CONVERSATIONS),
    "tools": (TOOLS, WITH_TOOLS),
    "plain": (TOOLS, PLAIN),
}


def encoded(tmp_path, rows, tokenizer, convention, pad=None):
    import pandas as pd

    pd.DataFrame(rows).to_json(tmp_path / "x.jsonl", orient="records", lines=True, force_ascii=False)
    coder = Encoder(
        tokenizer,
        eos_ids=frozenset({tokenizer.eos_token_id}),
        vocabulary=len(tokenizer),
        context_length=None,
        convention=CONVENTIONS[convention],
        pad_id=pad,
    )
    return [encode_pair(pair, coder) for pair in PairFile(tmp_path / "x.jsonl")]


def sides(pairs):
    return [(pair.prompt_ids + side.ids, len(pair.prompt_ids) + side.read) for pair in pairs
            for side in (pair.teacher, pair.student)]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_trl_reward_trainer(make_critic, agree, tmp_path, case):
    stack(trl="1.16")
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    template, rows = CASES[case]
    tokenizer = tokenizer_of(template, bos_token="<|endoftext|>")
    base = make_critic("qwen3", "sequence")
    trainer = RewardTrainer(
        model=str(base),
        args=RewardConfig(
            output_dir=str(tmp_path / "run"), use_cpu=True, report_to=[], bf16=False,
            model_init_kwargs={"dtype": "float32"}, max_length=None,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )  # fmt: skip
    theirs = [row[side] for row in trainer.train_dataset for side in ("chosen_ids", "rejected_ids")]
    ours = sides(encoded(tmp_path, rows, tokenizer, "trl", trainer.model.config.pad_token_id))
    assert [list(ids) for ids, _ in ours] == theirs
    collated = trainer.data_collator([trainer.train_dataset[i] for i in range(len(rows))])
    with torch.no_grad():
        scores = trainer.model.eval()(collated["input_ids"], collated["attention_mask"]).logits[:, 0]
    critic = load_critic(base, device="cpu")
    mine = [critic.values(ids)[read] for ids, read in ours]
    agree(scores, torch.stack([*mine[::2], *mine[1::2]]), "trl")
    trainer.save_model(str(tmp_path / "saved"))
    assert trained_convention(dissect(tmp_path / "saved")).convention.name == "trl"


@pytest.mark.parametrize("case", ["whole conversations", "plain"])
def test_trl_0_23_reward_trainer(make_critic, agree, tmp_path, case):
    """It knows no prompt of plain text: there the two texts that it takes are prompt and answer in one."""
    stack(trl="0.23")
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    template, rows = CASES[case]
    given = [
        {side: row["prompt"] + row[side] for side in ("chosen", "rejected")} if case == "plain" else row for row in rows
    ]
    tokenizer = tokenizer_of(template, bos_token="<|endoftext|>")
    base = make_critic("qwen3", "sequence")
    model = AutoModelForSequenceClassification.from_pretrained(base)
    trainer = RewardTrainer(
        model=model,
        args=RewardConfig(output_dir=str(tmp_path / "run"), use_cpu=True, report_to=[], bf16=False, max_length=999),
        train_dataset=Dataset.from_list(given),
        processing_class=tokenizer,
    )
    theirs = [row[f"input_ids_{side}"] for row in trainer.train_dataset for side in ("chosen", "rejected")]
    ours = sides(encoded(tmp_path, rows, tokenizer, "trl-0.23", model.config.pad_token_id))
    assert [list(ids) for ids, _ in ours] == theirs
    collated = trainer.data_collator([trainer.train_dataset[i] for i in range(len(rows))])
    with torch.no_grad():
        scores = [
            model.eval()(collated[f"input_ids_{side}"], collated[f"attention_mask_{side}"]).logits[:, 0]
            for side in ("chosen", "rejected")
        ]
    critic = load_critic(base, device="cpu")
    mine = [critic.values(ids)[read] for ids, read in ours]
    agree(torch.cat(scores), torch.stack([*mine[::2], *mine[1::2]]), "trl")


def reward_dataset(monkeypatch):
    """OpenRLHF's data module, without its package, which imports what a CPU has not."""
    folder = Path(importlib.util.find_spec("openrlhf").submodule_search_locations[0])
    for name, path in (("openrlhf", folder), ("openrlhf.datasets", folder / "datasets"),
                       ("openrlhf.utils", folder / "utils")):  # fmt: skip
        package = types.ModuleType(name)
        package.__path__ = [str(path)]
        monkeypatch.setitem(sys.modules, name, package)
    from openrlhf.datasets.reward_dataset import RewardDataset

    return RewardDataset


@pytest.mark.parametrize("case", ["conversations", "whole conversations", "contents stripped", "plain"])
def test_openrlhf_reward_dataset(make_critic, agree, tmp_path, monkeypatch, case):
    stack(openrlhf="0.11")
    from datasets import Dataset

    template, rows = CASES[case]
    tokenizer = tokenizer_of(template)
    data = SimpleNamespace(
        prompt_key="prompt" if "prompt" in rows[0] else None,
        chosen_key="chosen", rejected_key="rejected", apply_chat_template=case != "plain",
    )  # fmt: skip
    dataset = reward_dataset(monkeypatch)(
        Dataset.from_list(rows), tokenizer, 999, SimpleNamespace(args=SimpleNamespace(data=data)), num_processors=None
    )
    theirs = [ids[0].tolist() for row in dataset for ids in (row[0], row[2])]
    ours = sides(encoded(tmp_path, rows, tokenizer, "openrlhf"))
    assert [list(ids) for ids, _ in ours] == theirs
    base = make_critic("qwen3", "sequence")
    model = AutoModelForSequenceClassification.from_pretrained(base).eval()
    critic = load_critic(base, device="cpu")
    with torch.no_grad():  # rightmost token of the attention mask
        scores = [model.score(model.model(torch.tensor([ids])).last_hidden_state)[0, -1, 0] for ids in theirs]
    agree(torch.stack(scores), torch.stack([critic.values(ids)[read] for ids, read in ours]), "openrlhf")


@pytest.mark.parametrize("name", ["chatml", "llama3"])
def test_llamafactory_pairwise(tmp_path, monkeypatch, name):
    """Its templates and its processor of pairs, without its package, which imports what reads images and sound."""
    stack(llamafactory="0.9")
    from importlib.machinery import ModuleSpec

    folder = Path(importlib.util.find_spec("llamafactory").submodule_search_locations[0])
    sound = types.ModuleType("torchaudio")
    sound.__spec__ = ModuleSpec("torchaudio", None)
    monkeypatch.setitem(sys.modules, "torchaudio", sound)
    for package in ("llamafactory", "llamafactory.data", "llamafactory.data.processor"):
        module = types.ModuleType(package)
        module.__path__ = [str(folder.joinpath(*package.split(".")[1:]))]
        monkeypatch.setitem(sys.modules, package, module)
    from llamafactory.data.processor.pairwise import PairwiseDatasetProcessor
    from llamafactory.data.template import TEMPLATES

    tokenizer = tokenizer_of() if name == "chatml" else tokenizer_of(LLAMA3)
    if name == "llama3":
        tokenizer.add_special_tokens({"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"})
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|start_header_id|>", "<|end_header_id|>"]})
    arguments = SimpleNamespace(cutoff_len=999)
    processor = PairwiseDatasetProcessor(TEMPLATES[name], tokenizer, None, arguments)
    rows = [
        {"prompt": row["prompt"], **{k: row[k][0]["content"] for k in ("chosen", "rejected")}} for row in CONVERSATIONS
    ]
    theirs = []
    for row in rows:
        answers = [{"role": "assistant", "content": row[side]} for side in ("chosen", "rejected")]
        chosen, _, rejected, _ = processor._encode_data_example(row["prompt"], answers, None, None, [], [], [])
        theirs += [chosen, rejected]
    ours = sides(encoded(tmp_path, rows, tokenizer, "llamafactory"))
    assert [list(ids) for ids, _ in ours] == theirs
    assert all(read == len(ids) - 1 for ids, read in ours)
