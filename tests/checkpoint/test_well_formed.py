"""Damage that leaves every file well formed: refused, told, or read as the framework reads it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from formats import Weights, copy_of, head_of, merged_by_verl, peft_adapter, trl_v_head, with_head
from safetensors.torch import load_file, save_file
from tiny import byte_tokenizer

from critic_probe.checkpoint import audit, dissect, load_critic, weights_check
from critic_probe.checkpoint.layout import read_layout, tokenizer_hash
from critic_probe.checkpoint.likeness import weights_base
from critic_probe.errors import CriticProbeError
from critic_probe.workbench.signature import identity

IDS = [5, 17, 200, 31, 31, 90, 258]
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # PEFT's own


@pytest.fixture(scope="module")
def made(source, tmp_path_factory) -> Path:
    return peft_adapter(source, tmp_path_factory.mktemp("peft") / "made") / "adapter"


@pytest.fixture
def adapter(made, tmp_path) -> tuple[Path, Weights]:
    """An adapter with its head, to be changed, and its tensors."""
    path = Path(shutil.copytree(made, tmp_path / "adapter"))
    return path, load_file(path / "adapter_model.safetensors")


def values(path: Path, **options: object) -> torch.Tensor:
    return load_critic(path, device="cpu", **options).values(IDS)


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(CriticProbeError) as caught:
        values(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def change(file: Path, **entries: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))


def without(weights: Weights, part: str) -> Weights:
    return {name: tensor for name, tensor in weights.items() if part not in name}


Q = "base_model.model.model.layers.0.self_attn.q_proj.lora_A"
S = "base_model.model.score"
ADAPTERS: dict[str, tuple[Callable[[Weights], Weights], str]] = {
    "no head of its own": (
        lambda w: without(w, "score"),
        "names score, but the adapter holds no score.bias",
    ),
    "no bias of its own": (lambda w: without(w, "score.bias"), "holds no score.bias"),
    "a factor twice": (lambda w: w | {f"{Q}.default.weight": w[f"{Q}.weight"] * 5}, f"holds {Q}.weight twice"),
    "a head twice": (lambda w: w | {f"{S}.modules_to_save.weight": w[f"{S}.weight"] * 5}, "score.weight twice"),
}


@pytest.mark.parametrize("fault", ADAPTERS)
def test_an_adapter_that_is_not_what_its_settings_say_is_refused(source, adapter, fault):
    """Over a base with a head of its own, which would be read in its place."""
    path, weights = adapter
    damage, message = ADAPTERS[fault]
    save_file(damage(weights), path / "adapter_model.safetensors")
    assert message in refusal(path, base=source)


def test_factors_that_the_settings_do_not_name_are_refused_since_peft_drops_them(source, adapter):
    path, _ = adapter
    change(path / "adapter_config.json", target_modules=["q_proj"])
    assert "changes model.layers.0.mlp.down_proj, which 'target_modules' of its settings" in refusal(path, base=source)


def test_layers_without_their_factors_and_a_second_file_are_told(source, adapter):
    path, weights = adapter
    save_file(without(weights, "layers.1.mlp"), path / "adapter_model.safetensors")
    torch.save(weights, path / "adapter_model.bin")
    odd = read_layout(path, base=source).odd
    assert "adapter_model.safetensors was read, as its framework does, and not adapter_model.bin" in odd
    assert "its settings name model.layers.1.mlp.down_proj as changed, and the adapter holds no factors of it" in odd
    change(path / "adapter_config.json", layers_to_transform=[0])
    assert "no factors" not in read_layout(path, base=source).odd


def test_a_head_in_the_adapter_and_the_same_beside_it_are_refused(source, adapter):
    path, _ = adapter
    save_file({f"{S}.weight": torch.zeros(1, 32)}, path / "value_head.safetensors")
    assert f"tensor {S}.weight is also in adapter_model.safetensors" in refusal(path, base=source)


@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to True:UserWarning")  # PEFT's own, as it says which it notes
@pytest.mark.parametrize("targets", [["c_proj"], ["c_proj", "classifier"]])
def test_square_layers_of_gpt_2_are_merged_as_peft_does_whatever_it_noted(tmp_path, targets):
    """`fan_in_fan_out` is that of the last layer that PEFT changed, here false although all others have it true."""
    from peft import LoraConfig, get_peft_model

    shape = {"vocab_size": 259, "n_embd": 32, "n_layer": 1, "n_head": 4, "n_positions": 64, "num_labels": 1}
    torch.manual_seed(1)
    config = transformers.GPT2Config(**shape, initializer_range=0.3, bos_token_id=0, eos_token_id=258)
    model = transformers.GPT2ForTokenClassification(config)
    model.save_pretrained(tmp_path / "base")
    byte_tokenizer().save_pretrained(tmp_path / "base")
    peft = get_peft_model(model, LoraConfig(target_modules=targets, fan_in_fan_out=True)).eval()
    with torch.no_grad():
        for name, parameter in peft.named_parameters():
            if "lora_" in name:
                parameter.normal_(0, 0.2)
        theirs = peft(input_ids=torch.tensor([IDS])).logits[0, :, 0]
    peft.save_pretrained(tmp_path / "adapter")
    ours = values(tmp_path / "adapter", base=tmp_path / "base")
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_an_index_that_names_what_no_shard_holds_is_refused(source, tmp_path):
    """A head's bias alone: transformers would make it up."""
    weights = load_file(source / "model.safetensors")
    path = copy_of(source, tmp_path / "c")
    (path / "model.safetensors").rename(path / "shard.safetensors")
    save_file(without(weights, "score.bias"), path / "shard.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(weights, "shard.safetensors")}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "names score.bias, which none of them holds" in refusal(path)


def test_a_head_in_two_files_is_refused_and_a_second_head_file_is_told(source, tmp_path):
    weight, bias = head_of(source)
    path = trl_v_head(source, tmp_path / "c")
    head = {"v_head.summary.weight": 2 * weight, "v_head.summary.bias": bias}
    save_file(head, path / "value_head.safetensors")
    assert "tensor v_head.summary.bias is also in model.safetensors" in refusal(path)
    save_file(without(load_file(path / "model.safetensors"), "v_head"), path / "model.safetensors")
    torch.save(head, path / "value_head.bin")
    assert "and not value_head.bin, which lies beside it" in read_layout(path).odd


@pytest.mark.parametrize("bias", [0.7, [0.7], None])
def test_a_bias_that_is_no_tensor_is_not_left_out(source, tmp_path, bias):
    path = copy_of(source, tmp_path / "c")
    torch.save(load_file(path / "model.safetensors") | {"score.bias": bias}, path / "pytorch_model.bin")
    (path / "model.safetensors").unlink()
    assert "score.bias is no tensor but" in refusal(path)


def test_ranks_that_hold_other_copies_are_of_two_saves(source, tmp_path):
    critic = tmp_path / "critic"
    merged_by_verl(source, critic / "huggingface")
    (critic / "huggingface" / "model.safetensors").unlink()
    weights = load_file(source / "model.safetensors")
    torch.save(weights, critic / "model_world_size_2_rank_0.pt")
    torch.save(weights, critic / "model_world_size_2_rank_1.pt")
    torch.testing.assert_close(values(critic), values(source))
    weights["score.weight"] *= 1.1
    torch.save(weights, critic / "model_world_size_2_rank_1.pt")
    assert "score.weight is held by every rank, and has other values than in model_world_size_2_r" in refusal(critic)


BLOCKS = {"quant_method": "fp8", "weight_block_size": [16, 16]}
SCALES: dict[str, tuple[dict[str, object], dict[str, torch.Tensor], str]] = {
    "none": (BLOCKS, {}, "score.weight is stored in fp8 with 0 scales (none)"),
    "two": ({}, {"scale": torch.ones(1), "scale_inv": torch.ones(1)}, "score.weight is stored in fp8 with 2 scales"),
    "too many blocks": (
        BLOCKS,
        {"scale_inv": torch.ones(3, 7)},
        "[3, 7] of float32 is no scale of score.weight",
    ),
    "one for blocks": (BLOCKS, {"scale_inv": torch.tensor(1.0)}, "in blocks of [16, 16]"),
    "no size": ({"weight_block_size": [0, 16]}, {"scale": torch.ones(1)}, "its blocks in fp8 are of [0, 16], which"),
    "no list": ({"weight_block_size": "16"}, {"scale": torch.ones(1)}, "'weight_block_size' is '16', not a list"),
    "whole numbers": ({}, {"scale": torch.ones(1, dtype=torch.int32)}, "[1] of int32 is no scale"),
}


@pytest.mark.parametrize("fault", SCALES)
def test_fp8_without_the_one_scale_that_fits_is_refused(source, tmp_path, fault):
    settings, scales, message = SCALES[fault]
    weights = load_file(source / "model.safetensors")
    weights["score.weight"] = weights["score.weight"].to(torch.float8_e4m3fn)
    weights |= {f"score.weight_{end}": scale for end, scale in scales.items()}
    config = {"quantization_config": settings} if settings else {}
    assert message in refusal(copy_of(source, tmp_path / "c", weights, **config))


def test_a_normaliser_whose_buffers_were_lost_is_refused(source, tmp_path):
    weight, bias = head_of(source)
    head = {"score_head.weight": weight, "score_head.bias": bias, "normalizer.mean": torch.tensor([0.5])}
    path = with_head(source, tmp_path / "c", head, do_normalize=True, score_type="reward")
    assert "do_normalize is on, but the weights hold no normalizer.var" in refusal(path)


@pytest.mark.parametrize("name", ["special_tokens_map.json", "added_tokens.json"])
def test_every_file_that_changes_a_tokenizer_is_in_its_hash(source, tmp_path, name):
    path = copy_of(source, tmp_path / "c")
    before = tokenizer_hash(path)
    (path / name).write_text('{"eos_token": "<|endoftext|>"}')
    assert tokenizer_hash(path) != before


def test_two_templates_that_differ_are_told(source, tmp_path):
    """transformers takes the file of its own; versions that trained may have known the other one alone."""
    path = copy_of(source, tmp_path / "c")
    own = (path / "chat_template.jinja").read_text()
    for other, verdict in ((own, "ok"), (f"{own} ", "warn")):
        change(path / "tokenizer_config.json", chat_template=other)
        [seen] = [check for check in audit(dissect(path)) if check.check == "template"]
        assert (seen.verdict, "have different chat templates" in seen.evidence) == (verdict, verdict == "warn")


def test_a_template_whose_tokens_are_split_is_told(source, tmp_path):
    path = copy_of(source, tmp_path / "c")
    tokenizer = json.loads((path / "tokenizer.json").read_text())
    lost = [token for token in tokenizer["added_tokens"] if token["content"] != "<|im_start|>"]
    (path / "tokenizer.json").write_text(json.dumps(tokenizer | {"added_tokens": lost}))
    change(path / "tokenizer_config.json", extra_special_tokens=["<|im_end|>"])
    [seen] = [check for check in audit(dissect(path)) if check.check == "template"]
    assert (seen.verdict, "writes <|im_start|>, which the tokenizer splits into 12" in seen.evidence) == ("warn", True)


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning")  # that there is one process
def test_a_distributed_checkpoint_of_several_models_is_refused(source, tmp_path):
    import torch.distributed.checkpoint as distributed

    weights = load_file(source / "model.safetensors")
    path = copy_of(source, tmp_path / "c")
    (path / "model.safetensors").unlink()
    distributed.save({"model": weights, "ema": {k: 2 * v for k, v in weights.items()}}, checkpoint_id=path)
    assert "stands there of several models, one of them under" in refusal(path)


def test_a_tensor_with_its_prefix_and_without_is_refused(source, tmp_path):
    weights = load_file(source / "model.safetensors")
    twice = {"layers.0.mlp.up_proj.weight": 2 * weights["model.layers.0.mlp.up_proj.weight"]}
    message = refusal(copy_of(source, tmp_path / "c", weights | twice))
    assert "layers.0.mlp.up_proj.weight is also there as" in message


def test_a_parameter_without_a_usual_ending_is_no_integer_either(tmp_path):
    shape = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    shape |= {"num_key_value_heads": 2, "head_dim": 8, "num_local_experts": 2, "num_experts_per_tok": 1}
    ids = {"vocab_size": 259, "pad_token_id": 0, "eos_token_id": 258, "num_labels": 1}
    config = transformers.GptOssConfig(**shape, **ids)
    transformers.AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "c")
    byte_tokenizer().save_pretrained(tmp_path / "c")
    weights = load_file(tmp_path / "c" / "model.safetensors")
    name = "model.layers.0.self_attn.sinks"
    save_file(weights | {name: weights[name].int()}, tmp_path / "c" / "model.safetensors", {"format": "pt"})
    assert f"{name} is stored as int32, where numbers with fractions belong" in refusal(tmp_path / "c")


def test_whole_weights_beside_what_was_read_are_told(source, adapter, tmp_path):
    critic = merged_by_verl(source, tmp_path / "critic")
    torch.save(load_file(source / "model.safetensors"), critic / "model_world_size_1_rank_0.pt")
    assert read_layout(critic).odd == "the shards were read, and not model.safetensors, which lies beside it"
    shutil.copy(source / "model.safetensors", adapter[0])
    assert "the adapter was read, and not model.safetensors" in read_layout(adapter[0], base=source).odd


def test_a_matrix_that_a_copy_left_empty_fails(source, tmp_path):
    weights = load_file(source / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"].zero_()
    check = weights_check(read_layout(copy_of(source, tmp_path / "c", weights)))
    where = "first model.layers.1.mlp.down_proj.weight in model.safetensors"
    assert (check.verdict, check.evidence) == ("fail", f"1 matrices hold zeros alone, {where}")
    assert weights_check(read_layout(source)).verdict == "ok"


def test_values_are_not_kept_under_the_name_of_weights_that_a_sample_takes_for_the_same(source, tmp_path):
    """Trained norms in a block of a large file that its fingerprint passes over."""
    blocks = 90
    passed_over = min(set(range(blocks)) - {round(i * (blocks - 1) / 63) for i in range(64)})
    small = load_file(source / "model.safetensors")
    around = {"a.lm_head.weight": passed_over, "z.lm_head.weight": blocks - passed_over - 1}
    padding = {name: torch.zeros(n << 20, dtype=torch.uint8).view(torch.float32) for name, n in around.items()}
    path = copy_of(source, tmp_path / "c", small | padding)
    before = load_critic(path, device="cpu")
    small["model.norm.weight"] *= 2
    save_file(small | padding, path / "model.safetensors", {"format": "pt"})
    after = load_critic(path, device="cpu")
    assert before.fingerprint == after.fingerprint
    assert identity(before) != identity(after)


def test_a_newer_step_without_weights_is_told(source, tmp_path):
    for step in (3, 12):
        copy_of(source, tmp_path / "run" / f"checkpoint-{step}")
    assert read_layout(tmp_path / "run").odd == ""
    (tmp_path / "run" / "checkpoint-20").mkdir()
    odd = read_layout(tmp_path / "run").odd
    assert odd == "checkpoint-20 is newer and holds no weights of a critic: checkpoint-12 was read"
    assert read_layout(tmp_path / "run", step=3).odd == ""


PAIRED = [0, 4, 1, 5, 2, 6, 3, 7]  # of a head of 8: its rotary halves before they are put in order
UNLIKE: dict[str, tuple[str, Callable[[torch.Tensor], torch.Tensor]]] = {
    "transposed": ("model.layers.0.self_attn.o_proj.weight", lambda w: w.T),
    "another order": (
        "model.layers.0.self_attn.q_proj.weight",
        lambda w: w.unflatten(0, (4, 8))[:, PAIRED].flatten(0, 1),
    ),
    "cut short": ("model.layers.1.mlp.gate_proj.weight", lambda w: w * (torch.arange(64)[:, None] < 8)),
}


@pytest.mark.parametrize("fault", UNLIKE)
def test_a_matrix_that_is_not_the_bases_is_found_by_it(source, tmp_path, fault):
    name, damage = UNLIKE[fault]
    torch.manual_seed(0)
    weights = load_file(source / "model.safetensors")
    trained = {key: value + 0.03 * torch.randn_like(value) for key, value in weights.items()}
    path = copy_of(source, tmp_path / "c", trained, _name_or_path=str(source))
    assert weights_base(read_layout(path)).verdict == "ok"
    save_file(trained | {name: damage(trained[name]).contiguous()}, path / "model.safetensors")
    check = weights_base(read_layout(path))
    assert (check.verdict, f"1 of 15 matrices are not the base's, first {name}" in check.evidence) == ("fail", True)


def test_a_base_of_other_weights_is_told_and_without_one_nothing_is(source, make_critic, tmp_path):
    path = copy_of(source, tmp_path / "c", _name_or_path=str(make_critic(seed=7)))
    check = weights_base(read_layout(path))
    assert (check.verdict, "hardly trained from this one" in check.evidence) == ("warn", True)
    assert weights_base(read_layout(source)).verdict == "not run"
