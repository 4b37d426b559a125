import json
import pickle
import re
import shutil
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from formats import (
    FORMATS,
    SHARDED,
    UNBIASED,
    copy_of,
    dcp,
    head_of,
    mlp_as_linear,
    peft_adapter,
    save_shards,
    trl_v_head,
    verl_w1,
    with_head,
    zero2,
)
from safetensors.torch import load_file, save_file

from critic_probe.checkpoint import Critic, load_critic
from critic_probe.errors import CriticProbeError

IDS = [5, 17, 200, 31, 31, 90, 258]


@pytest.fixture(scope="module")
def expected(source):
    return load_critic(source, device="cpu").values(IDS)


@pytest.fixture(scope="module")
def shards(source, tmp_path_factory) -> Path:
    return save_shards(source, tmp_path_factory.mktemp("shards"))


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(CriticProbeError) as caught:
        load_critic(path, device="cpu", **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def critic_in(run: Path) -> Path:
    return run / "global_step_20" / "critic"


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_critics_values(source, expected, tmp_path, name):
    values = load_critic(FORMATS[name](source, tmp_path / "c"), device="cpu").values(IDS)
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", UNBIASED)
def test_formats_without_a_bias_lie_below_by_it(source, expected, tmp_path, name):
    values = load_critic(UNBIASED[name](source, tmp_path / "c"), device="cpu").values(IDS)
    torch.testing.assert_close(values, expected - 0.7, rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", SHARDED)
def test_shards_written_by_real_ranks_give_the_critics_values(shards, expected, mode):
    critic = load_critic(shards / mode, device="cpu")
    assert (critic.layout.format, critic.layout.step) == ("verl-fsdp", 20)
    assert torch.equal(critic.values(IDS), expected)


def test_shards_need_no_fsdp_config_but_must_agree_with_it(shards, tmp_path):
    critic = Path(shutil.copytree(critic_in(shards / "fsdp2"), tmp_path / "c"))
    (critic / "fsdp_config.json").write_text(json.dumps({"FSDP_version": 2, "world_size": 4}))
    assert "says world size 4, the shards are of 2" in refusal(critic)
    (critic / "fsdp_config.json").write_text(json.dumps({"FSDP_version": 2, "world_size": 2}))
    assert load_critic(critic, device="cpu").layout.step is None


def test_the_newest_step_of_a_run_or_the_one_asked_for(source, tmp_path):
    run = verl_w1(source, tmp_path / "run")
    newer = run / "global_step_12"
    shutil.copytree(run / "global_step_7", newer)
    (run / "latest_checkpointed_iteration.txt").write_text("12")
    for path, step in ((run, 12), (newer, 12), (newer / "critic", 12), (run / "global_step_7", 7)):
        assert load_critic(path, device="cpu").layout.step == step
    assert load_critic(run, step=7, device="cpu").layout.step == 7
    assert "no step 9; it has 7, 12" in refusal(run, step=9)
    assert "this is one checkpoint" in refusal(newer / "critic", step=7)


BROKEN_SHARDS = {
    "missing": (lambda c: (c / "model_world_size_2_rank_1.pt").unlink(), r"1 of 2 shards are missing \(.*rank_1\.pt\)"),
    "mixed world sizes": (
        lambda c: shutil.copy(c / "model_world_size_2_rank_0.pt", c / "model_world_size_4_rank_0.pt"),
        "world sizes 2, 4",
    ),
    "truncated": (
        lambda c: (c / "model_world_size_2_rank_1.pt").write_bytes(
            (c / "model_world_size_2_rank_1.pt").read_bytes()[:-900]
        ),
        r"rank_1\.pt: cut short or damaged",
    ),
    "empty": (
        lambda c: (c / "model_world_size_2_rank_1.pt").write_bytes(b""),
        r"rank_1\.pt: not a file of torch\.save",
    ),
    "the same rank twice": (
        lambda c: shutil.copy(c / "model_world_size_2_rank_0.pt", c / "model_world_size_2_rank_1.pt"),
        r"the parts of .* do not fill its shape",
    ),
    "no tokenizer": (lambda c: (c / "huggingface" / "tokenizer.json").unlink(), "huggingface: no tokenizer"),
    "no config": (lambda c: (c / "huggingface" / "config.json").unlink(), r"huggingface/config\.json .*with base$"),
}


@pytest.mark.parametrize("fault", BROKEN_SHARDS)
def test_broken_shards_are_refused_by_file(shards, tmp_path, fault):
    critic = Path(shutil.copytree(critic_in(shards / "fsdp1-no-mesh"), tmp_path / "c"))
    broken, message = BROKEN_SHARDS[fault]
    broken(critic)
    assert re.search(message, refusal(critic))


def test_shards_of_another_model_or_a_lost_tensor_are_refused(source, tmp_path):
    run = verl_w1(source, tmp_path / "run")
    file = run / "global_step_7" / "critic" / "model_world_size_1_rank_0.pt"
    weights = load_file(source / "model.safetensors")
    torch.save({k: v for k, v in weights.items() if k != "model.norm.weight"}, file)
    assert re.search(r"1 tensors are in the config's model but not in the weights \(norm\.weight\)", refusal(run))
    torch.save({k: v for k, v in weights.items() if not k.startswith("score")}, file)
    assert "no value head" in refusal(run)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # PEFT's own
def test_an_adapter_is_merged_with_its_ranks_and_scales(source, tmp_path):
    adapter = peft_adapter(source, tmp_path / "a")
    base = adapter / "base"
    merged = load_critic(adapter / "merged", device="cpu").values(IDS)
    critic = load_critic(adapter / "adapter", base=base, device="cpu")
    assert critic.layout.format == "peft-adapter"
    torch.testing.assert_close(critic.values(IDS), merged, rtol=0, atol=2e-6)
    assert (merged - load_critic(source, device="cpu").values(IDS)).abs().max() > 0.1

    assert re.search(
        "adapter over an/absent-model, which is not on this machine.*with base$", refusal(adapter / "adapter")
    )
    file = adapter / "adapter" / "adapter_model.safetensors"
    weights = load_file(file)
    save_file({k: v for k, v in weights.items() if "score" not in k}, file)
    assert re.search("adapter without a head.*never saved.*modules_to_save", refusal(adapter / "adapter", base=base))
    save_file(weights | {"base_model.model.score.lora_A.weight": torch.zeros(4, 32)}, file)
    assert "only one of the two factors of score" in refusal(adapter / "adapter", base=base)
    settings = json.loads((adapter / "adapter" / "adapter_config.json").read_text())
    for change, message in (
        ({"use_dora": True}, "the adapter has DoRA; merge it with PEFT first"),
        ({"peft_type": "IA3"}, "an adapter of type IA3"),
        ({"init_lora_weights": "pissa"}, "'pissa', which changes the base"),
    ):
        (adapter / "adapter" / "adapter_config.json").write_text(json.dumps(settings | change))
        assert message in refusal(adapter / "adapter", base=base)


def test_unmerged_lora_in_a_runs_own_state(source, tmp_path):
    run = verl_w1(source, tmp_path / "run")
    critic = run / "global_step_7" / "critic"
    weights = load_file(source / "model.safetensors")
    torch.manual_seed(1)
    a, b = torch.randn(4, 32) * 0.2, torch.randn(32, 4) * 0.2
    name = "model.layers.0.self_attn.q_proj"
    state = {f"base_model.model.{k}": v for k, v in weights.items()}
    state[f"base_model.model.{name}.base_layer.weight"] = state.pop(f"base_model.model.{name}.weight")
    state |= {f"base_model.model.{name}.lora_{f}.default.weight": t for f, t in (("A", a), ("B", b))}
    state["base_model.model.score.original_module.weight"] = torch.zeros(1, 32)
    state["base_model.model.score.modules_to_save.default.weight"] = state.pop("base_model.model.score.weight")
    torch.save(state, critic / "model_world_size_1_rank_0.pt")
    assert "unmerged LoRA factors but no lora_train_meta.json" in refusal(run)
    (critic / "lora_train_meta.json").write_text(json.dumps({"r": 4, "lora_alpha": 8, "task_type": "TOKEN_CLS"}))
    weights[f"{name}.weight"] = weights[f"{name}.weight"] + 2 * b @ a
    expected = load_critic(copy_of(source, tmp_path / "m", weights), device="cpu").values(IDS)
    torch.testing.assert_close(load_critic(run, device="cpu").values(IDS), expected, rtol=0, atol=2e-6)


def test_openrlhf_scores_are_normalised_by_the_config(source, expected, tmp_path):
    plain = {"points.weight": head_of(source)[0]}
    config = {"value_head_prefix": "points", "normalize_reward": True, "mean": 0.5, "std": 2.0}
    critic = load_critic(with_head(source, tmp_path / "c", plain, **config), device="cpu")
    assert critic.head.normalisation == (0.5, 2.0)
    torch.testing.assert_close(critic.values(IDS), (expected - 0.7 - 0.5) / 2, rtol=0, atol=1e-6)
    off = load_critic(with_head(source, tmp_path / "d", plain, **config | {"normalize_reward": False}), device="cpu")
    torch.testing.assert_close(off.values(IDS), expected - 0.7, rtol=0, atol=1e-6)
    broken = with_head(source, tmp_path / "e", plain, **config | {"std": 0.0})
    assert "mean is 0.5 and std is 0.0" in refusal(broken)


REFUSED = {
    "ArmoRM": ({"regression_layer.weight": torch.zeros(19, 32), "gating.0.weight": torch.zeros(8, 32)}, "ArmoRM"),
    "process reward model": (
        {"score.0.weight": torch.zeros(32, 32), "score.2.weight": torch.zeros(2, 32)},
        "process reward model with two labels",
    ),
    "two labels": ({"score.weight": torch.zeros(2, 32)}, "num_labels was left at its default of 2"),
    "five labels": ({"score.weight": torch.zeros(5, 32)}, "5 values per token"),
    "reshaped": ({"score.weight": torch.zeros(8, 4)}, "saved reshaped"),
    "ZeRO-3 remains": ({"score.weight": torch.zeros(0)}, "zero_to_fp32"),
    "three layers": (
        {f"score.{i}.weight": torch.zeros(32, 32) for i in (0, 2)} | {"score.4.weight": torch.zeros(1, 32)},
        "layers 0, 2, 4; only a linear layer, or two",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_heads_that_are_no_scalar_head_are_refused_by_name(source, tmp_path, name):
    head, message = REFUSED[name]
    assert message in refusal(with_head(source, tmp_path / "c", head))


def test_an_mlp_head_is_not_a_linear_one(source, expected, tmp_path):
    head = mlp_as_linear(*head_of(source), "score")
    head["score.2.weight"] = torch.tensor([[1.0, 0.5]])  # relu(x) + relu(-x) / 2
    values = load_critic(with_head(source, tmp_path / "c", head), device="cpu").values(IDS)
    torch.testing.assert_close(values, expected.clamp(min=0) + (-expected).clamp(min=0) / 2, rtol=0, atol=1e-6)


def test_deepspeed_and_megatron_are_refused_with_the_command_that_converts(source, tmp_path):
    z3 = zero2(source, tmp_path / "z3")
    (z3 / "global_step7" / "mp_rank_00_model_states.pt").rename(
        z3 / "global_step7" / "zero_pp_rank_0_mp_rank_00_model_states.pt"
    )
    assert re.search(r"ZeRO-3.*`python \S+/z3/zero_to_fp32\.py \S+/z3 OUT_DIR`", refusal(z3))
    megatron = tmp_path / "megatron"
    (megatron / "dist_ckpt").mkdir(parents=True)
    assert re.search(r"Megatron dist_ckpt.*verl\.model_merger merge --backend megatron", refusal(megatron))
    other = dcp(source, tmp_path / "mcore")
    torch.save({}, other / "common.pt")
    assert "Megatron dist_ckpt (common.pt" in refusal(other)


def test_a_distributed_checkpoint_takes_its_config_from_base(source, expected, tmp_path):
    path = dcp(source, tmp_path / "dcp")
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (path / name).unlink()
    assert refusal(path).endswith("with base")
    assert torch.equal(load_critic(path, base=source, device="cpu").values(IDS), expected)
    [part] = path.glob("*.distcp")
    part.write_bytes(part.read_bytes()[:-5000])
    assert "cut short" in refusal(path, base=source)
    part.unlink()
    assert re.search(r"\.distcp: not there, but \.metadata names it", refusal(path, base=source))


class Reduces:
    """Pickles as a call."""

    def __init__(self, call, *args):
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


def malicious(marker: Path) -> dict[str, object]:
    import os

    command = f"touch {marker}"
    return {
        "posix.system": Reduces(os.system, command),
        "builtins.eval": Reduces(eval, f"open({str(marker)!r}, 'w')"),
        "builtins.exec": Reduces(exec, f"open({str(marker)!r}, 'w')"),
        "(_?io|builtins).open": Reduces(open, str(marker), "w"),
        "(posix|os).popen": Reduces(os.popen, command),
        "getattr": Reduces(getattr, "text", "join"),
        "posix.system ": {"nested": [Reduces(dict, {"deep": Reduces(os.system, command)})]},
        "torch.hub": Reduces(torch.hub.load, str(marker), "x", "local"),
        "torch(.serialization)?.load": Reduces(torch.load, str(marker)),
    }


@pytest.mark.parametrize("place", ["shard", "bin", "value head", "deepspeed", "dcp"])
@pytest.mark.parametrize("name", malicious(Path("x")))
def test_a_pickle_that_asks_for_more_is_refused_and_nothing_runs(source, tmp_path, place, name):
    marker = tmp_path / "ran"
    bad = {"score.weight": torch.zeros(1, 32), "payload": malicious(marker)[name]}
    if place == "dcp":
        path = dcp(source, tmp_path / "c")
        (path / ".metadata").write_bytes(pickle.dumps(bad["payload"]))
    else:
        path, file = {
            "shard": lambda: (
                p := verl_w1(source, tmp_path / "c"),
                p / "global_step_7/critic/model_world_size_1_rank_0.pt",
            ),
            "bin": lambda: (p := FORMATS["pytorch_model.bin"](source, tmp_path / "c"), p / "pytorch_model.bin"),
            "value head": lambda: (p := FORMATS["ROLL"](source, tmp_path / "c"), p / "value_head.bin"),
            "deepspeed": lambda: (p := zero2(source, tmp_path / "c"), p / "global_step7/mp_rank_00_model_states.pt"),
        }[place]()
        torch.save(bad, file)
    message = refusal(path)
    assert re.search(f"its pickle asks for ({name.strip()})", message), message
    assert not marker.exists()


def test_a_damaged_or_old_pickle_is_refused(source, tmp_path):
    path = FORMATS["pytorch_model.bin"](source, tmp_path / "c")
    file = path / "pytorch_model.bin"
    weights = load_file(source / "model.safetensors")
    torch.save(weights, file, _use_new_zipfile_serialization=False)
    assert "torch's old format" in refusal(path)
    torch.save(weights, file)
    with zipfile.ZipFile(file) as archive:
        [entry] = [i for i in archive.infolist() if i.filename.endswith("data.pkl")]
    raw = bytearray(file.read_bytes())
    start = (
        entry.header_offset + 30 + sum(struct.unpack("<HH", raw[entry.header_offset + 26 : entry.header_offset + 30]))
    )
    raw[start + 200 : start + 260] = b"\xff" * 60
    file.write_bytes(raw)
    assert re.search(r"pytorch_model\.bin: (its pickle is damaged|cut short or damaged)", refusal(path))


def test_remote_code_whose_model_carries_its_own_head(source, expected, tmp_path):
    """InternLM2's AutoModel is the reward model itself; the backbone inside it is what is read."""
    weights = load_file(source / "model.safetensors")
    weights = {k: v for k, v in weights.items() if not k.startswith("score")} | {"v_head.weight": head_of(source)[0]}
    path = copy_of(
        source,
        tmp_path / "c",
        weights,
        model_type="homemade",
        id2label=None,
        auto_map={"AutoConfig": "homemade.HomemadeConfig", "AutoModel": "homemade.HomemadeRewardModel"},
    )
    (path / "homemade.py").write_text(
        "import torch\n"
        "from transformers import Qwen3Config, Qwen3Model\n"
        "from transformers.models.qwen3.modeling_qwen3 import Qwen3PreTrainedModel\n"
        "class HomemadeConfig(Qwen3Config):\n"
        "    model_type = 'homemade'\n"
        "class HomemadeRewardModel(Qwen3PreTrainedModel):\n"
        "    config_class = HomemadeConfig\n"
        "    def __init__(self, config):\n"
        "        super().__init__(config)\n"
        "        self.model = Qwen3Model(config)\n"
        "        self.v_head = torch.nn.Linear(config.hidden_size, 1, bias=False)\n"
        "        self.post_init()\n"
    )
    assert "trust_remote_code=True" in refusal(path)
    values = load_critic(path, device="cpu", trust_remote_code=True).values(IDS)
    torch.testing.assert_close(values, expected - 0.7, rtol=0, atol=1e-6)


def test_device_map_and_dtype_reach_every_format(source, expected, tmp_path):
    run = verl_w1(source, tmp_path / "run")
    spread: Critic = load_critic(run, device="cpu", device_map="auto")
    torch.testing.assert_close(spread.values(IDS), expected, rtol=0, atol=1e-6)
    rounded = load_critic(trl_v_head(source, tmp_path / "v"), device="cpu", dtype="bfloat16")
    assert rounded.dtype == torch.bfloat16
    assert 0 < (rounded.values(IDS) - expected).abs().max() < 0.5
