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
from parity.oracles import PROMPT, RESPONSES, by_cli, last_and_mean, stack

from critic_probe.aggregation import aggregate
from critic_probe.checkpoint import load_critic
from critic_probe.errors import CriticProbeError
from critic_probe.integrations.verl import discriminator_loss, engine_loss, engine_values, sequence_values
from critic_probe.objective import scheduled

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


def critic_of_0_7_1(kind: type, source: Path, monkeypatch, remove_padding: bool = False):
    """verl's own critic worker, never initialised for Ray; torch.autocast, which makes its numbers bfloat16, is off."""
    import contextlib

    from omegaconf import OmegaConf
    from verl.utils import npu_flash_attn_utils
    from verl.workers.critic import dp_critic

    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(dp_critic, "get_device_id", lambda: "cpu")
    for name in (
        "index_first_axis",
        "pad_input",
        "rearrange",
        "unpad_input",
    ):  # elsewhere flash-attn's, which needs CUDA
        monkeypatch.setattr(dp_critic, name, getattr(npu_flash_attn_utils, name), raising=False)
    critic = object.__new__(kind)
    critic.config = OmegaConf.create({"model": {"use_remove_padding": remove_padding}})
    critic.critic_module = transformers.AutoModelForTokenClassification.from_pretrained(source).eval()
    critic.device_name, critic.use_remove_padding, critic.ulysses_sequence_parallel_size = "cpu", remove_padding, 1
    return critic


def test_compute_values_of_0_7_1(source, agree, monkeypatch):
    """The real method."""
    stack(verl="0.7.1")
    from verl import DataProto
    from verl.workers.critic import dp_critic

    critic = critic_of_0_7_1(dp_critic.DataParallelPPOCritic, source, monkeypatch)
    batch = padded_batch()
    data = DataProto.from_dict({name: batch[name] for name in batch if name != "prompts"})
    data.meta_info = {"micro_batch_size": 2, "use_dynamic_bsz": False}
    values = critic.compute_values(data)
    theirs = torch.cat([row[mask.bool()] for row, mask in zip(values, batch["response_mask"], strict=True)])
    agree(theirs, torch.cat(before_each_token(source)), "verl")


@pytest.mark.parametrize("remove_padding", [False, True])
@pytest.mark.parametrize("aggregation", ["last", "mean", "progressive"])
def test_a_critic_of_0_7_1_adopts_a_read_out_by_one_call(source, agree, monkeypatch, remove_padding, aggregation):
    """As docs/verl.md shows; compute_values, its micro-batches and its masking are verl's."""
    stack(verl="0.7.1")
    from verl import DataProto
    from verl.workers.critic import dp_critic

    step, eos_ids = 377, sorted({RESPONSES[0][-1], RESPONSES[1][-1]})

    class Critic(dp_critic.DataParallelPPOCritic):
        def _forward_micro_batch(self, micro_batch):
            values = super()._forward_micro_batch(micro_batch)
            return sequence_values(
                values, micro_batch["responses"], micro_batch["response_mask"], eos_ids, aggregation, step
            )

    critic = critic_of_0_7_1(Critic, source, monkeypatch, remove_padding)
    batch = padded_batch()
    data = DataProto.from_dict({name: batch[name] for name in batch if name != "prompts"})
    data.meta_info = {"micro_batch_size": 2, "use_dynamic_bsz": False}
    scores = critic.compute_values(data).sum(dim=-1)
    ours = torch.stack(
        [
            aggregate(
                scheduled(aggregation, step),
                values[None],
                torch.ones(1, len(values)),
                eos=torch.tensor([[token in eos_ids for token in response]]),
            )[0]
            for values, response in zip(before_each_token(source), RESPONSES, strict=True)
        ]
    )
    agree(scores, ours, "verl")
    student, teacher = (
        critic._forward_micro_batch({name: part[rows] for name, part in batch.items()}) for rows in ([0], [1])
    )
    found, logged = discriminator_loss(student, teacher)
    found.backward()
    assert critic.critic_module.score.weight.grad.abs().sum() > 0
    assert logged["critic/score_diff"] == pytest.approx(float(scores[1] - scores[0]), abs=1e-5)


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
def one_process():
    """A process group of this process alone, which the engine asks for sums over all processes."""
    torch.distributed.init_process_group("gloo", rank=0, world_size=1, store=torch.distributed.HashStore())
    yield
    torch.distributed.destroy_process_group()


def engine_of_0_9_1(source: Path, monkeypatch):
    """verl's own value engine on a CPU, whose module is no FSDP one and which computes in float32."""
    from types import SimpleNamespace

    from verl.workers.engine.fsdp import transformer_impl

    for name in ("get_device_id", "get_device_name"):
        monkeypatch.setattr(transformer_impl, name, lambda: "cpu")
    engine = object.__new__(transformer_impl.FSDPEngineWithValueHead)
    engine.module = transformers.AutoModelForTokenClassification.from_pretrained(source).eval()
    engine.pad_to_length, engine.use_ulysses_sp, engine.ulysses_device_mesh = None, False, None
    engine.ulysses_sequence_parallel_size, engine._autocast_dtype = 1, torch.float32
    engine.engine_config = SimpleNamespace(use_no_sync_for_gradient_accumulation=False)
    return engine


def engine_batch(*, remove_padding: bool, nested: bool, micro: int, **more):
    """Student and teacher to one prompt in turn, twice, as the trainer hands them on."""
    from tensordict import TensorDict
    from verl.utils import tensordict_utils as tu
    from verl.workers.utils.padding import left_right_2_no_padding

    batch = {name: torch.cat([part[:2], part[1:3]]) for name, part in padded_batch().items()}
    data = TensorDict(batch, batch_size=4)
    tu.assign_non_tensor(data, use_remove_padding=remove_padding, temperature=1.0, pad_token_id=256, **more)
    tu.assign_non_tensor(data, use_dynamic_bsz=False, micro_batch_size_per_gpu=micro, force_group_size=2)
    data = left_right_2_no_padding(data)
    if nested:  # as verl's v1 trainer has them
        lengths = batch["response_mask"].sum(1)
        for name in ("responses", "response_mask"):
            rows = [row[:length] for row, length in zip(batch[name], lengths, strict=True)]
            data[name] = torch.nested.as_nested_tensor(rows, layout=torch.jagged)
        data["prompts"] = torch.nested.as_nested_tensor([torch.tensor(PROMPT)] * 4, layout=torch.jagged)
        data["loss_mask"] = data["response_mask"]
    return data


@pytest.mark.parametrize(
    ("remove_padding", "nested", "position"),
    [(True, False, "at"), (False, False, "at"), (True, True, "before")],
    ids=["padding removed", "padding kept", "nested, before"],
)
@pytest.mark.parametrize("aggregation", ["last", "mean", "progressive"])
def test_the_value_engine_of_0_9_1_adopts_a_read_out(
    source, agree, one_process, monkeypatch, remove_padding, nested, aggregation, position
):
    """As docs/verl.md shows; the engine's batches, forward passes and gradients are verl's."""
    stack(verl="0.9.1")
    from functools import partial

    step, eos_ids = 377, sorted({RESPONSES[0][-1], RESPONSES[1][-1]})
    how = {"eos_token_ids": eos_ids, "aggregation": aggregation, "value_position": position}
    engine = engine_of_0_9_1(source, monkeypatch)
    data = engine_batch(remove_padding=remove_padding, nested=nested, micro=2, global_steps=step)
    values = engine.forward_backward_batch(data, None, forward_only=True)["model_output"]["values"]
    scores = engine_values(values, data, **how).sum(dim=-1)
    critic, shift = load_critic(source, device="cpu"), position == "before"
    responses = [RESPONSES[row] for row in (0, 1, 1, 2)]
    ours = []
    for response in responses:
        own = critic.values(PROMPT + response)[len(PROMPT) - shift :][: len(response)]
        ended = torch.tensor([[token in eos_ids for token in response]])
        ours.append(aggregate(scheduled(aggregation, step), own[None], torch.ones(1, len(own)), eos=ended)[0])
    agree(scores, torch.stack(ours), "verl")

    gradients = []
    for micro in (2, 1):  # both pairs at once, and one by one
        engine.module.zero_grad()
        more = {"global_steps": step, "global_batch_size": 4}
        data = engine_batch(remove_padding=remove_padding, nested=nested, micro=micro, **more)
        output = engine.forward_backward_batch(data, partial(engine_loss, config=None, **how))
        gradients.append(torch.cat([part.grad.flatten() for part in engine.module.parameters()]))
    expected, logged = discriminator_loss(*(torch.stack(ours[side::2])[:, None] for side in (0, 1)))
    assert sum(output["loss"]) == pytest.approx(float(expected), abs=1e-5)
    mean_of = output["metrics"]["critic/score_diff"]
    assert sum(mean_of) / len(mean_of) == pytest.approx(logged["critic/score_diff"], abs=1e-4)
    assert float(gradients[0].abs().max()) > 0
    assert torch.allclose(*gradients, atol=1e-6)


def test_rows_that_are_no_pairs_are_refused_by_the_loss_of_0_9_1(source, one_process, monkeypatch):
    stack(verl="0.9.1")
    from functools import partial

    data = engine_batch(remove_padding=True, nested=False, micro=2)
    data["prompts"] = data["prompts"].clone()
    data["prompts"][1, -1] += 1
    loss = partial(engine_loss, config=None, eos_token_ids=[258])
    with pytest.raises(CriticProbeError, match="not student and teacher in turn"):
        engine_of_0_9_1(source, monkeypatch).forward_backward_batch(data, loss)


@pytest.fixture(scope="module")
def saved(source, tmp_path_factory) -> Path:
    """Every placement, saved by verl's checkpoint manager in gloo processes."""
    stack(verl="0.9.1")
    target = tmp_path_factory.mktemp("verl")
    script = Path(__file__).with_name("save_verl.py")
    subprocess.run([sys.executable, str(script), str(source), str(target)], check=True, timeout=900)
    return target


@pytest.mark.parametrize("mode", [*SHARDED, "one rank", "fsdp1 one rank"])
def test_checkpoint_manager(saved, source, agree, mode):
    critic = load_critic(saved / mode, device="cpu")
    config = json.loads((saved / mode / "global_step_20/critic/huggingface/config.json").read_text())
    assert (critic.layout.format, critic.layout.step) == ("verl-fsdp", 20)
    assert config["architectures"]
    model = transformers.AutoModelForTokenClassification.from_pretrained(source).eval()
    with torch.no_grad():
        agree(model(input_ids=torch.tensor([IDS])).logits[0, :, 0], critic.values(IDS), "verl")

    def theirs(ids):
        with torch.no_grad():
            return model(input_ids=torch.tensor([ids])).logits[0, :, 0]

    options = ("-a", "last", "-a", "mean", "--value-position", "before")
    agree(last_and_mean(theirs, source, before=True), by_cli(saved / mode, *options), "verl")


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
