"""verl's own saves, merge and value computations."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from formats import SHARDED
from parity.oracles import PROMPT, RESPONSES, stack

from critic_probe.checkpoint import load_critic
from critic_probe.errors import CriticProbeError

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("default")]
IDS = PROMPT + RESPONSES[2]


def padded_batch(pad: int = 256) -> dict[str, torch.Tensor]:
    """Prompts left-padded, responses right-padded, as verl keeps them."""
    prompts, responses = len(PROMPT) + 2, max(map(len, RESPONSES))
    rows = {"input_ids": [], "attention_mask": [], "responses": [], "response_mask": [], "prompts": []}
    for response in RESPONSES:
        left, right = prompts - len(PROMPT), responses - len(response)
        rows["input_ids"].append([pad] * left + PROMPT + response + [pad] * right)
        rows["attention_mask"].append([0] * left + [1] * len(PROMPT + response) + [0] * right)
        rows["responses"].append(response + [pad] * right)
        rows["response_mask"].append([1] * len(response) + [0] * right)
        rows["prompts"].append([pad] * left + PROMPT)
    batch = {name: torch.tensor(row) for name, row in rows.items()}
    batch["position_ids"] = (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)
    return batch


def before_each_token(path: Path) -> list[torch.Tensor]:
    critic = load_critic(path, device="cpu")
    return [critic.values(PROMPT + r)[len(PROMPT) - 1 : -1] for r in RESPONSES]


def test_compute_values_of_0_7_1(source, agree, monkeypatch):
    """The real method; torch.autocast, which makes its numbers bfloat16, is off."""
    stack(verl="0.7.1")
    import contextlib

    from omegaconf import OmegaConf
    from verl import DataProto
    from verl.workers.critic import dp_critic

    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(dp_critic, "get_device_id", lambda: "cpu")
    model = transformers.AutoModelForTokenClassification.from_pretrained(source).eval()
    critic = object.__new__(dp_critic.DataParallelPPOCritic)
    critic.config = OmegaConf.create({"model": {"use_remove_padding": False}})
    critic.critic_module, critic.device_name = model, "cpu"
    critic.use_remove_padding, critic.ulysses_sequence_parallel_size = False, 1
    batch = padded_batch()
    data = DataProto.from_dict({name: batch[name] for name in batch if name != "prompts"})
    data.meta_info = {"micro_batch_size": 2, "use_dynamic_bsz": False}
    values = critic.compute_values(data)
    theirs = torch.cat([row[mask.bool()] for row, mask in zip(values, batch["response_mask"], strict=True)])
    agree(theirs, torch.cat(before_each_token(source)), "verl")


@pytest.mark.parametrize("remove_padding", [True, False])
def test_value_engine_of_0_9_1(source, agree, remove_padding):
    """Its real preparation of inputs and outputs, on an engine that was never initialised for FSDP or Ray."""
    stack(verl="0.9.1")
    from tensordict import TensorDict
    from verl.utils import tensordict_utils as tu
    from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithValueHead
    from verl.workers.utils.padding import left_right_2_no_padding, no_padding_2_padding

    model = transformers.AutoModelForTokenClassification.from_pretrained(source).eval()
    engine = object.__new__(FSDPEngineWithValueHead)
    engine.module, engine.pad_to_length, engine.use_ulysses_sp = model, None, False
    engine.ulysses_sequence_parallel_size = 1
    batch = padded_batch()
    data = TensorDict(batch, batch_size=len(RESPONSES))
    tu.assign_non_tensor(data, use_remove_padding=remove_padding, temperature=1.0, pad_token_id=256)
    data = left_right_2_no_padding(data)
    inputs, output_args = engine.prepare_model_inputs(data)
    with torch.no_grad():
        output = model(**inputs, use_cache=False)  # as its forward step calls it
        values = engine.prepare_model_outputs(output, output_args, data, None)["values"]
    response_values = no_padding_2_padding(values, data)
    theirs = torch.cat([row[: len(r)] for row, r in zip(response_values, RESPONSES, strict=True)])
    agree(theirs, torch.cat(before_each_token(source)), "verl")


@pytest.fixture(scope="module")
def saved(source, tmp_path_factory) -> Path:
    """Every placement, saved by verl's checkpoint manager in gloo processes."""
    stack(verl="0.9.1")
    target = tmp_path_factory.mktemp("verl")
    script = Path(__file__).with_name("save_verl.py")
    subprocess.run([sys.executable, str(script), str(source), str(target)], check=True, timeout=900)
    return target


@pytest.mark.parametrize("mode", [*SHARDED, "one rank"])
def test_checkpoint_manager(saved, source, agree, mode):
    critic = load_critic(saved / mode, device="cpu")
    config = json.loads((saved / mode / "global_step_20/critic/huggingface/config.json").read_text())
    assert (critic.layout.format, critic.layout.step) == ("verl-fsdp", 20)
    assert config["architectures"]
    model = transformers.AutoModelForTokenClassification.from_pretrained(source).eval()
    with torch.no_grad():
        agree(model(input_ids=torch.tensor([IDS])).logits[0, :, 0], critic.values(IDS), "verl")


def test_model_merger(saved, source, tmp_path, agree):
    """It writes bfloat16, so it is compared with the source rounded to bfloat16."""
    critic = saved / "fsdp2" / "global_step_20" / "critic"
    target = tmp_path / "merged"
    command = [sys.executable, "-m", "verl.model_merger", "merge", "--backend", "fsdp"]
    subprocess.run([*command, "--local_dir", str(critic), "--target_dir", str(target)], check=True, timeout=600)
    merged = load_critic(target, device="cpu")
    model = transformers.AutoModelForTokenClassification.from_pretrained(source, dtype=torch.bfloat16).float().eval()
    with torch.no_grad():
        agree(model(input_ids=torch.tensor([IDS])).logits[0, :, 0], merged.values(IDS), "verl")


def test_a_missing_rank_is_refused(saved, tmp_path):
    copy = Path(shutil.copytree(saved / "hsdp", tmp_path / "c"))
    (copy / "global_step_20/critic/model_world_size_4_rank_3.pt").unlink()
    with pytest.raises(CriticProbeError, match="1 of 4 shards are missing"):
        load_critic(copy)
