import pytest
from formats import peft_adapter
from parity.oracles import PROMPT, RESPONSES, stack

from critic_probe.checkpoint import load_critic

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("default")]


def test_lora_adapter_with_its_head(source, agree, tmp_path):
    """The reference is PEFT's own merge, saved and read as a plain critic."""
    stack(peft="0.")
    path = peft_adapter(source, tmp_path / "a")
    ids = PROMPT + RESPONSES[2]
    merged = load_critic(path / "merged", device="cpu").values(ids)
    agree(merged, load_critic(path / "adapter", base=path / "base", device="cpu").values(ids), "peft")
