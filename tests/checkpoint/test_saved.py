"""Directories as training tools leave them: the values of transformers' own class, or one true sentence."""

import json
import os
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from formats import Weights, copy_of, head_of, peft_adapter, sharded_model, trl_v_head, verl_w1, with_head
from safetensors.torch import load_file, save_file
from tiny import byte_tokenizer

from critic_probe.checkpoint import audit, dissect, inspect, load_critic
from critic_probe.checkpoint.layout import fingerprint, read_layout
from critic_probe.errors import CriticProbeError

IDS = [5, 17, 200, 31, 31, 90, 258]
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # PEFT's own


@pytest.fixture(scope="module")
def expected(source) -> torch.Tensor:
    return own_values(source)


def own_values(path: Path, attention: str = "eager") -> torch.Tensor:
    """The values that transformers' own class gives: (T,), or (T, rows) for a head of several."""
    model = transformers.AutoModelForTokenClassification.from_pretrained(path, attn_implementation=attention).eval()
    with torch.no_grad():
        return model(input_ids=torch.tensor([IDS])).logits[0].squeeze(-1)


def states(path: Path, **changes: object) -> torch.Tensor:
    """The final states (T, H) of transformers' own backbone."""
    model = transformers.AutoModel.from_pretrained(path, attn_implementation="eager", **changes).eval()
    with torch.no_grad():
        return model(input_ids=torch.tensor([IDS])).last_hidden_state[0]


def values(path: Path, **options: object) -> torch.Tensor:
    return load_critic(path, device="cpu", **options).values(IDS)


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(CriticProbeError) as caught:
        load_critic(path, device="cpu", **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def change(file: Path, **entries: object) -> None:
    content = json.loads(file.read_text()) | entries
    file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


@pytest.fixture
def adapter(source, tmp_path) -> tuple[Path, Path, Path]:
    """An adapter with its head, its base (a language model), and PEFT's own merge of both."""
    made = peft_adapter(source, tmp_path / "peft")
    return made / "adapter", made / "base", made / "merged"


SETTINGS: dict[str, object] = {
    "rope_parameters": {"rope_type": "default", "rope_theta": 500.0},
    "rms_norm_eps": 0.1,
    "attention_bias": True,
    "normalize_reward": True,
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_fingerprint_follows_every_setting_of_the_config(source, tmp_path, setting):
    copy = copy_of(source, tmp_path / "c", **{setting: SETTINGS[setting]})
    assert fingerprint(read_layout(copy)) != fingerprint(read_layout(source))


@pytest.mark.parametrize("setting", [{"lora_alpha": 7}, {"use_rslora": True}, {"alpha_pattern": {"down_proj": 3}}])
def test_another_scale_of_an_adapter_is_another_critic(adapter, tmp_path, setting):
    path, base, _ = adapter
    other = Path(shutil.copytree(path, tmp_path / "other"))
    change(other / "adapter_config.json", **setting)
    first, second = (load_critic(p, base=base, device="cpu") for p in (path, other))
    assert (first.values(IDS) - second.values(IDS)).abs().max() > 1e-3
    assert first.fingerprint != second.fingerprint


def test_another_base_or_its_config_is_another_critic(adapter, tmp_path):
    path, base, _ = adapter
    for file in path.glob("tokenizer*"):
        file.unlink()
    known = fingerprint(read_layout(path, base=base))
    other = copy_of(base, tmp_path / "other", rms_norm_eps=0.1)
    assert fingerprint(read_layout(path, base=other)) != known
    weights = load_file(base / "model.safetensors")
    weights["model.norm.weight"] = weights["model.norm.weight"] * 2
    assert fingerprint(read_layout(path, base=copy_of(base, tmp_path / "third", weights))) != known


def test_another_scale_of_a_runs_own_lora_is_another_critic(source, tmp_path):
    run = verl_w1(source, tmp_path / "run")
    critic = run / "global_step_7" / "critic"
    state = load_file(source / "model.safetensors")
    name = "model.layers.0.self_attn.q_proj"
    state[f"{name}.base_layer.weight"] = state.pop(f"{name}.weight")
    state |= {f"{name}.lora_A.default.weight": torch.randn(4, 32), f"{name}.lora_B.default.weight": torch.randn(32, 4)}
    torch.save(state, critic / "model_world_size_1_rank_0.pt")
    found = []
    for alpha in (4, 8):
        (critic / "lora_train_meta.json").write_text(json.dumps({"r": 4, "lora_alpha": alpha}))
        found.append(fingerprint(read_layout(run)))
    assert found[0] != found[1]


def tiny(kind: type, path: Path, **shape: object) -> transformers.PretrainedConfig:
    """The config of a tiny random model, whose tokenizer is saved."""
    torch.manual_seed(0)
    byte_tokenizer().save_pretrained(path)
    return kind(vocab_size=259, hidden_size=32, **shape)


@pytest.mark.parametrize("cap", [50.0, 5.0])
def test_gemma_2_keeps_its_softcap(tmp_path, cap):
    config = tiny(
        transformers.Gemma2Config,
        tmp_path,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        query_pre_attn_scalar=8,
        initializer_range=0.6,
        attn_logit_softcapping=cap,
        num_labels=1,
        pad_token_id=0,
    )
    transformers.AutoModelForTokenClassification.from_config(config).save_pretrained(tmp_path)
    critic = load_critic(tmp_path, device="cpu")
    assert critic.attention == "eager"
    close(critic.values(IDS), own_values(tmp_path))


def test_an_activated_lora_is_no_lora(adapter):
    path, base, _ = adapter
    change(path / "adapter_config.json", alora_invocation_tokens=[5, 6])
    message = refusal(path, base=base)
    assert "an activated LoRA (aLoRA): it changes only the tokens behind its invocation [5, 6]" in message


@pytest.mark.parametrize("setting", [{"use_qalora": True}, {"arrow_config": {"top_k": 3}}, {"made_up_next_year": 1}])
def test_a_setting_that_is_not_plain_lora_is_refused_by_name(adapter, setting):
    path, base, _ = adapter
    change(path / "adapter_config.json", **setting)
    assert f"the adapter has the setting {next(iter(setting))}; merge it with PEFT first" in refusal(path, base=base)


def _one_gpu(_: int, source: Path, target: Path) -> None:
    import torch.distributed as dist
    from torch.distributed.fsdp import FullyShardedDataParallel, ShardedStateDictConfig, StateDictType

    warnings.simplefilter("ignore")
    os.environ |= {"RANK": "0", "WORLD_SIZE": "1"}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{target}/rendezvous", rank=0, world_size=1)
    model = sharded_model("fsdp1", 1, source)
    assert isinstance(model, FullyShardedDataParallel)
    with FullyShardedDataParallel.state_dict_type(
        model, StateDictType.SHARDED_STATE_DICT, ShardedStateDictConfig(offload_to_cpu=True)
    ):
        torch.save(model.state_dict(), target / "model_world_size_1_rank_0.pt")
    dist.destroy_process_group()


def test_fsdp1_on_one_gpu(source, expected, tmp_path):
    """Its state dict holds tensors with attributes of their own, so that its pickle names torch.Tensor."""
    critic = verl_w1(source, tmp_path / "run") / "global_step_7" / "critic"
    torch.multiprocessing.spawn(_one_gpu, (source, critic), nprocs=1)
    close(values(critic), expected)
    weights = load_file(source / "model.safetensors")
    for tensor in weights.values():
        tensor.flattened = False  # as FSDP1 marks what it did not flatten
    torch.save(weights, critic / "model_world_size_1_rank_0.pt")
    assert b"Tensor" in (critic / "model_world_size_1_rank_0.pt").read_bytes().partition(b"data.pkl")[2][:4000]
    close(values(critic), expected)


def head_beside(path: Path, file: str, head: Weights) -> None:
    """Takes the head out of an adapter and puts one beside it, as its framework does."""
    weights = load_file(path / "adapter_model.safetensors")
    save_file({k: v for k, v in weights.items() if ".score." not in k}, path / "adapter_model.safetensors")
    if file.endswith(".safetensors"):
        save_file(head, path / file)
    else:
        torch.save(head, path / file)


BESIDE: dict[str, tuple[str, Callable[[torch.Tensor, torch.Tensor], Weights]]] = {
    "TRL": ("pytorch_model.bin", lambda w, b: {"v_head.summary.weight": w, "v_head.summary.bias": b}),
    "LLaMA-Factory": ("value_head.safetensors", lambda w, b: {"v_head.summary.weight": w, "v_head.summary.bias": b}),
    "LLaVA-RLHF": ("reward_head", lambda w, b: {"weight": w, "bias": b}),
}


@pytest.mark.parametrize("tool", BESIDE)
@pytest.mark.parametrize("place", ["base", "adapter"])
def test_a_head_beside_the_adapter_and_a_tokenizer_without_config(source, adapter, tool, place):
    path, base, merged = adapter
    file, head = BESIDE[tool]
    head_beside(path, file, head(*head_of(source)))
    if place == "adapter":  # as transformers' Trainer writes it
        byte_tokenizer().save_pretrained(path)
    assert not (path / "config.json").exists()
    close(values(path, base=base), own_values(merged))
    assert audit(dissect(str(path), base=str(base)))


def test_the_directory_that_trainer_writes_for_a_peft_model_and_its_checkpoints(adapter, tmp_path):
    path, base, merged = adapter
    run = tmp_path / "run"
    for step in (3, 12):
        shutil.copytree(path, run / f"checkpoint-{step}")
        byte_tokenizer().save_pretrained(run / f"checkpoint-{step}")
    change(run / "checkpoint-3" / "adapter_config.json", lora_alpha=1)
    critic = load_critic(run, base=base, device="cpu")
    assert (critic.layout.step, critic.layout.home) == (12, run / "checkpoint-12")
    close(critic.values(IDS), own_values(merged))
    described = inspect(dissect(run, base=base))
    assert (described["format"], described["step"], described["base"]) == ("peft-adapter", 12, str(base))
    assert torch.equal(critic.in_float32().values(IDS), critic.values(IDS))


def test_zero_to_fp32_writes_weights_alone(source, expected, tmp_path):
    (tmp_path / "out").mkdir()
    weights = load_file(source / "model.safetensors")
    torch.save(weights, tmp_path / "out" / "pytorch_model.bin")
    assert "config.json: not there" in refusal(tmp_path / "out")
    close(values(tmp_path / "out", base=source), expected)


def test_opt_projects_its_states_before_the_head(tmp_path):
    config = tiny(
        transformers.OPTConfig,
        tmp_path,
        word_embed_proj_dim=16,
        ffn_dim=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        init_std=0.3,
        num_labels=1,
        do_layer_norm_before=False,
    )
    model = transformers.OPTForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        hidden = model.model(input_ids=torch.tensor([IDS])).last_hidden_state[0]
        assert hidden.shape == (len(IDS), 16)
        close(values(tmp_path), model.score(hidden)[:, 0])


def test_a_router_is_no_head(tmp_path):
    config = tiny(
        transformers.LongcatFlashConfig,
        tmp_path,
        ffn_hidden_size=64,
        expert_ffn_hidden_size=32,
        num_layers=2,
        num_attention_heads=4,
        q_lora_rank=16,
        kv_lora_rank=16,
        qk_rope_head_dim=8,
        qk_nope_head_dim=8,
        v_head_dim=8,
        head_dim=8,
        n_routed_experts=4,
        zero_expert_num=2,
        moe_topk=2,
        max_position_embeddings=128,
    )
    model = transformers.LongcatFlashModel(config).eval()
    model.save_pretrained(tmp_path)
    head = torch.randn(1, 32)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    assert any("router.classifier.weight" in name for name in weights)
    save_file(weights | {"score.weight": head}, file, {"format": "pt"})
    close(values(tmp_path), states(tmp_path) @ head[0])


@pytest.mark.parametrize("layers", [2, 8])  # the class divides the weights of deeper layers as it runs
def test_rwkv_with_trls_head(tmp_path, layers):
    shape = {"attention_hidden_size": 32, "num_hidden_layers": layers, "intermediate_size": 64}
    config = tiny(transformers.RwkvConfig, tmp_path, **shape)
    model = transformers.RwkvForCausalLM(config).eval()
    head = torch.randn(1, 32)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert "head.weight" in weights
    save_file(weights | {"v_head.summary.weight": head}, tmp_path / "model.safetensors", {"format": "pt"})
    config.save_pretrained(tmp_path)
    with torch.no_grad():
        close(values(tmp_path), model.rwkv(input_ids=torch.tensor([IDS])).last_hidden_state[0] @ head[0])


def test_what_transformers_would_take_is_read_and_the_rest_is_told(source, expected, tmp_path):
    path = copy_of(source, tmp_path / "c")
    stale = {"metadata": {}, "weight_map": {"score.weight": "model-00001-of-00001.safetensors"}}
    (path / "model.safetensors.index.json").write_text(json.dumps(stale))
    torch.save({"score.weight": torch.zeros(1, 32)}, path / "pytorch_model.bin")
    close(own_values(path), expected)
    close(values(path), expected)
    [check] = [check for check in audit(dissect(path)) if check.check == "weight-files"]
    assert check.verdict == "warn"
    assert check.evidence.startswith(
        "model.safetensors was read, as its framework does, and not model.safetensors.index"
    )
    assert "pytorch_model.bin" in check.evidence


def test_an_adapter_of_size_zero_and_tensors_without_elements(source, adapter, tmp_path):
    path, base, _ = adapter
    weights = load_file(path / "adapter_model.safetensors")
    save_file({name: torch.zeros(0) for name in weights}, path / "adapter_model.safetensors")
    message = refusal(path, base=base)
    assert re.search(r"\d+ of the adapter's \d+ tensors have no elements.*ZeRO-3.*zero_to_fp32", message)
    weights = load_file(source / "model.safetensors")
    weights["model.embed_tokens.weight"] = torch.zeros(0)
    message = refusal(copy_of(source, tmp_path / "c", weights))
    assert re.search(r"1 of \d+ tensors have no elements, first model\.embed_tokens\.weight \[0\]: .*ZeRO-3", message)


def lora_over_embeddings(source: Path, target: Path, rows: int) -> tuple[Path, Path, torch.Tensor]:
    """PEFT's own adapter over the embedding, of a base resized to so many rows, with the values of PEFT's model."""
    from peft import LoraConfig, get_peft_model

    base = copy_of(source, target / "base")
    model = transformers.AutoModelForTokenClassification.from_pretrained(base)
    model.resize_token_embeddings(rows, mean_resizing=False)
    peft = get_peft_model(model, LoraConfig(task_type="TOKEN_CLS", r=4, target_modules=["embed_tokens", "q_proj"]))
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in peft.named_parameters():
            if "lora_" in name:
                parameter.normal_(0, 0.2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it saves the embedding
        peft.save_pretrained(target / "adapter", save_embedding_layers=rows != 259 or "auto")
    peft.eval()
    with torch.no_grad():
        return target / "adapter", base, peft(input_ids=torch.tensor([IDS])).logits[0, :, 0]


@pytest.mark.parametrize("rows", [259, 272])
def test_lora_on_the_embedding_and_a_resized_one(source, tmp_path, rows):
    path, base, theirs = lora_over_embeddings(source, tmp_path, rows)
    critic = load_critic(path, base=base, device="cpu")
    close(critic.values(IDS), theirs)
    assert critic.vocabulary == rows


def test_an_embedding_of_another_size_than_the_config_says(source, tmp_path):
    message = refusal(copy_of(source, tmp_path / "c", vocab_size=272))
    assert "its embedding has 259 rows, config.json says vocab_size 272; set it to 259" in message


def safe_rlhf(source: Path, target: Path, **config: object) -> Path:
    weight, bias = head_of(source)
    head = {"score_head.weight": weight, "score_head.bias": bias}
    head |= {"normalizer.mean": torch.tensor([0.5]), "normalizer.var": torch.tensor([4.0])}
    head |= {"normalizer.count": torch.tensor([7])}
    return with_head(source, target, head, architectures=["LlamaModelForScore"], score_dim=1, **config)


@pytest.mark.parametrize(
    ("config", "right"),
    [
        ({"do_normalize": True, "score_type": "reward"}, lambda v: (v - 0.5) / 2),
        ({"do_normalize": True, "score_type": "cost"}, lambda v: v / 2),
        ({"do_normalize": True, "score_type": "critic"}, lambda v: v),
        ({"do_normalize": False, "score_type": "reward"}, lambda v: v),
    ],
)
def test_beaver_normalises_as_its_score_type_says(source, expected, tmp_path, config, right):
    path = safe_rlhf(source, tmp_path / "c", **config)
    close(values(path), right(expected))
    assert inspect(dissect(path))["framework"] == "Safe-RLHF"


@pytest.mark.parametrize("spelling", ["rwtransformer", "rwtranrsformer"])
def test_deepspeed_chat_names_its_backbone_as_it_spells_it(source, expected, tmp_path, spelling):
    weights = load_file(source / "model.safetensors")
    bare = {f"{spelling}.{k.removeprefix('model.')}": v for k, v in weights.items() if not k.startswith("score.")}
    path = copy_of(source, tmp_path / "c", id2label=None)
    (path / "model.safetensors").unlink()
    torch.save(bare | {"v_head.weight": weights["score.weight"]}, path / "pytorch_model.bin")
    close(values(path), expected - 0.7)


@pytest.mark.parametrize(("row", "right"), [("1", [1]), ("0", [0]), ("1-0", [1, 0])])
def test_a_row_of_a_head_with_two_labels(source, tmp_path, row, right):
    torch.manual_seed(1)
    weights = load_file(source / "model.safetensors")
    weights |= {"score.weight": torch.randn(2, 32), "score.bias": torch.randn(2)}
    labels = {"id2label": {"0": "wrong", "1": "right"}, "label2id": {"wrong": 0, "right": 1}}
    path = copy_of(source, tmp_path / "c", weights, **labels)
    logits = own_values(path)
    theirs = logits[:, right[0]] - (logits[:, right[1]] if len(right) > 1 else 0)
    critic = load_critic(path, device="cpu", head_row=row)
    close(critic.values(IDS), theirs)
    assert torch.equal(critic.in_float32().values(IDS), critic.values(IDS))
    assert inspect(dissect(path, head_row=row))["head"]["row"] == row
    message = refusal(path)
    assert (
        "its rows are 0 (wrong), 1 (right): read one with head_row='1', or their log-odds with head_row='1-0'"
        in message
    )
    assert "names no row of score.weight [2, 32]" in refusal(path, head_row="2")
    assert "names no row" in refusal(path, head_row="1-1")
    assert "names no row" in refusal(path, head_row="last")


def test_rows_differ_in_their_hash_and_a_head_of_one_needs_none(source, expected, tmp_path):
    weights = load_file(source / "model.safetensors") | {
        "score.weight": torch.randn(10, 32),
        "score.bias": torch.randn(10),
    }
    path = copy_of(source, tmp_path / "c", weights, id2label=None)
    assert (
        load_critic(path, device="cpu", head_row="3").head.hash
        != load_critic(path, device="cpu", head_row="4").head.hash
    )
    assert "10 values per token; its rows are 0, 1, 2" in refusal(path)
    close(values(source, head_row="0"), expected)
    assert "names no row of score.weight [1, 32]" in refusal(source, head_row="1")


def test_a_process_reward_model_of_two_layers(source, tmp_path):
    torch.manual_seed(1)
    first, last = torch.nn.Linear(32, 32), torch.nn.Linear(32, 2)
    head = {
        "score.0.weight": first.weight,
        "score.0.bias": first.bias,
        "score.2.weight": last.weight,
        "score.2.bias": last.bias,
    }
    path = with_head(source, tmp_path / "c", {k: v.detach() for k, v in head.items()})
    with torch.no_grad():
        theirs = last(torch.relu(first(states(source))))
    close(values(path, head_row="1-0"), theirs[:, 1] - theirs[:, 0])
    assert "process reward model with two labels" in refusal(path)


def test_a_reward_in_the_first_row_of_an_output_layer(source, expected, tmp_path):
    """NeMo's export of a reward model to transformers: a language model whose first logit is the reward."""
    output = torch.zeros(259, 32)
    output[0] = head_of(source)[0][0]
    path = with_head(source, tmp_path / "c", {"lm_head.weight": output}, id2label=None)
    close(values(path, head_row="0"), expected - 0.7)
    assert "no value head" in refusal(path)
    one_row = with_head(source, tmp_path / "d", {"lm_head.weight": head_of(source)[0]}, id2label=None)
    close(values(one_row), expected - 0.7)


def test_a_head_beside_trls_backbone_is_still_found(source, expected, tmp_path):
    close(values(trl_v_head(source, tmp_path / "c", "pretrained_model.")), expected)


def fp8(source: Path, target: Path, block: int | None) -> Path:
    """The linear layers in fp8 with one factor a block, or one a row."""
    weights = load_file(source / "model.safetensors")
    for name in [n for n in weights if "_proj.weight" in n]:
        rows, columns = weights[name].shape
        size = block or columns
        tiles = weights[name].unflatten(1, (columns // size, size))
        tiles = tiles.unflatten(0, (rows // block, block) if block else (rows, 1))
        scale = tiles.abs().amax((1, 3)) / 448
        weights[name] = (tiles / scale[:, None, :, None]).flatten(2).flatten(0, 1).to(torch.float8_e4m3fn)
        weights[f"{name}_scale_inv" if block else f"{name}_scale"] = scale
    settings = {"quant_method": "fp8", "weight_block_size": [block, block], "activation_scheme": "dynamic"}
    return copy_of(source, target, weights, **({"quantization_config": settings} if block else {}))


@pytest.mark.parametrize("block", [16, None])
def test_fp8_weights_are_multiplied_out(source, expected, tmp_path, block):
    path = fp8(source, tmp_path / "c", block)
    ours = values(path)
    assert 1e-3 < (ours - expected).abs().max() < 1
    if block and int(transformers.__version__.partition(".")[0]) >= 5:  # before, its class needed a GPU
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there is no GPU, so that it multiplies them out
            close(ours, own_values(path))
    assert load_critic(path, device="cpu", dtype="bfloat16").dtype == torch.bfloat16


def test_plain_weights_under_a_config_that_still_says_quantised(source, expected, tmp_path):
    settings = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    close(values(copy_of(source, tmp_path / "c", quantization_config=settings)), expected)


PACKED: dict[str, tuple[dict[str, object], str, str]] = {
    "bitsandbytes": ({"load_in_4bit": True}, "weight.absmax", r"in 4 bits by bitsandbytes; .*\.dequantize\(\)"),
    "gptq": ({"bits": 4}, "qweight", r"packed by gptq.*give the model that they were made from"),
    "awq": ({"bits": 4}, "qweight", r"packed by awq.*give the model that they were made from"),
    "mxfp4": ({}, "down_proj_blocks", r"in mxfp4; .*Mxfp4Config\(dequantize=True\)"),
    "compressed-tensors": ({}, "weight_packed", r"compressed-tensors; .*run_compressed=False"),
}


@pytest.mark.parametrize("method", PACKED)
def test_a_quantised_base_is_told_as_what_it_is(adapter, tmp_path, method):
    path, base, _ = adapter
    settings, end, message = PACKED[method]
    weights = load_file(base / "model.safetensors")
    weights[f"model.layers.0.mlp.down_proj.{end}"] = torch.zeros(8, dtype=torch.uint8)
    other = copy_of(base, tmp_path / "q", weights, quantization_config={"quant_method": method, **settings})
    assert re.search(message, refusal(path, base=other))
