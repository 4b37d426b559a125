import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from parity.oracles import PROMPT, RESPONSES, by_cli, last_and_mean, stack

from critic_probe.checkpoint import load_critic
from critic_probe.errors import CriticProbeError

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def saved(source, tmp_path_factory) -> Path:
    stack(deepspeed="0.19")
    target = tmp_path_factory.mktemp("deepspeed")
    script = Path(__file__).with_name("save_deepspeed.py")
    subprocess.run([sys.executable, str(script), str(source), str(target)], check=True, timeout=900)
    return target


def test_zero2_save(saved, source, agree):
    ids = PROMPT + RESPONSES[2]
    critic = load_critic(saved / "2", base=source, device="cpu")
    assert critic.layout.format == "deepspeed-zero2"
    model = transformers.AutoModelForTokenClassification.from_pretrained(source).eval()
    with torch.no_grad():
        agree(model(input_ids=torch.tensor([ids])).logits[0, :, 0], critic.values(ids), "deepspeed")

    def theirs(ids):
        with torch.no_grad():
            return model(input_ids=torch.tensor([ids])).logits[0, :, 0]

    options = ("-a", "last", "-a", "mean", "--base", str(source))
    agree(last_and_mean(theirs, source), by_cli(saved / "2", *options), "deepspeed")


def test_zero3_save_is_refused_and_the_command_converts_it(saved, source, agree, tmp_path):
    with pytest.raises(CriticProbeError, match=r"ZeRO-3.*`python \S+zero_to_fp32\.py \S+ OUT_DIR`"):
        load_critic(saved / "3", base=source, device="cpu")
    subprocess.run([sys.executable, str(saved / "3" / "zero_to_fp32.py"), str(saved / "3"), str(tmp_path)], check=True)
    ids = PROMPT + RESPONSES[2]
    model = transformers.AutoModelForTokenClassification.from_pretrained(source).eval()
    with torch.no_grad():
        ours = load_critic(tmp_path, base=source, device="cpu").values(ids)
        agree(model(input_ids=torch.tensor([ids])).logits[0, :, 0], ours, "deepspeed")
