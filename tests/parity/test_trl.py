import json

import pytest
import torch
import transformers
from parity.oracles import PROMPT, RESPONSES, TEXTS, by_cli, last_and_mean, stack
from safetensors.torch import load_file

from critic_probe.checkpoint import load_critic

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("default")]


def test_reward_trainer_after_real_steps(make_critic, agree, tmp_path):
    stack(trl="1.16")
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    base = make_critic("qwen3", "sequence", classifier_dropout=None)
    rows = [{"chosen": f"Q{i}? It is {i}.", "rejected": f"Q{i}? No, {i}"} for i in range(8)]
    trainer = RewardTrainer(
        model=str(base),
        args=RewardConfig(
            output_dir=str(tmp_path / "run"),
            max_steps=3,
            learning_rate=1e-2,
            per_device_train_batch_size=4,
            use_cpu=True,
            report_to=[],
            bf16=False,
            model_init_kwargs={"dtype": "float32"},
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=transformers.AutoTokenizer.from_pretrained(base),
    )
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    assert not torch.equal(
        load_file(tmp_path / "saved" / "model.safetensors")["score.weight"],
        load_file(base / "model.safetensors")["score.weight"],
    )
    critic = load_critic(tmp_path / "saved", device="cpu")
    model = trainer.model.eval().float()
    with torch.no_grad():
        theirs = [model(input_ids=torch.tensor([PROMPT + r])).logits[0, 0] for r in RESPONSES]
    agree(torch.stack(theirs), torch.stack([critic.values(PROMPT + r)[-1] for r in RESPONSES]), "trl")
    again = RewardTrainer(
        model=str(tmp_path / "saved"),
        args=RewardConfig(output_dir=str(tmp_path / "again"), use_cpu=True, report_to=[], bf16=False),
        train_dataset=Dataset.from_list(
            [{"prompt": t["prompt"], "chosen": t["teacher"], "rejected": t["student"]} for t in TEXTS]
        ),
        processing_class=transformers.AutoTokenizer.from_pretrained(base),
    )
    rendered = [row[side] for row in again.train_dataset for side in ("rejected_ids", "chosen_ids")]
    with torch.no_grad():
        theirs = [model(input_ids=torch.tensor([ids])).logits[0, 0] for ids in rendered]
    agree(torch.stack(theirs), by_cli(tmp_path / "saved", "-a", "last"), "trl")  # its own arguments name the convention


def test_value_head(make_critic, agree, tmp_path):
    stack(trl="0.27")
    from trl import AutoModelForCausalLMWithValueHead

    base = make_critic("qwen3", "causal", tie_word_embeddings=False)
    model = AutoModelForCausalLMWithValueHead.from_pretrained(str(base)).eval()
    torch.nn.init.normal_(model.v_head.summary.weight)
    torch.nn.init.constant_(model.v_head.summary.bias, 0.4)
    model.save_pretrained(tmp_path / "saved")
    transformers.AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["architectures"] == ["Qwen3ForCausalLM"]
    ids = PROMPT + RESPONSES[2]
    with torch.no_grad():
        values = model(input_ids=torch.tensor([ids]))[2][0]
    agree(values, load_critic(tmp_path / "saved", device="cpu").values(ids), "trl")

    def theirs(ids):
        with torch.no_grad():
            return model(input_ids=torch.tensor([ids]))[2][0]

    agree(last_and_mean(theirs, base), by_cli(tmp_path / "saved", "-a", "last", "-a", "mean"), "trl")


def test_value_head_over_peft(make_critic, agree, tmp_path):
    """TRL keeps the head in pytorch_model.bin beside the adapter."""
    stack(trl="0.27")
    from peft import LoraConfig
    from trl import AutoModelForCausalLMWithValueHead

    base = make_critic("qwen3", "causal", tie_word_embeddings=False)
    lora = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj"], init_lora_weights=False)
    model = AutoModelForCausalLMWithValueHead.from_pretrained(str(base), peft_config=lora).eval()
    torch.nn.init.normal_(model.v_head.summary.weight)
    (tmp_path / "saved").mkdir()  # TRL 0.27.2 writes the head before it makes the directory
    model.save_pretrained(tmp_path / "saved")
    assert (tmp_path / "saved" / "pytorch_model.bin").exists()
    ids = PROMPT + RESPONSES[2]
    with torch.no_grad():
        values = model(input_ids=torch.tensor([ids]))[2][0]
    agree(values, load_critic(tmp_path / "saved", base=base, device="cpu").values(ids), "trl", "peft")
