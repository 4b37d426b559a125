import pytest
import torch
import transformers
from parity.oracles import PROMPT, RESPONSES

from critic_probe.checkpoint import load_critic

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("default")]


@pytest.mark.parametrize("family", ["qwen3", "llama"])
def test_token_classification(make_critic, agree, family):
    path = make_critic(family)
    model = transformers.AutoModelForTokenClassification.from_pretrained(path).eval()
    ids = PROMPT + RESPONSES[2]
    with torch.no_grad():
        agree(model(input_ids=torch.tensor([ids])).logits[0, :, 0], load_critic(path, device="cpu").values(ids))


@pytest.mark.parametrize("family", ["qwen3", "llama"])
def test_sequence_classification(make_critic, agree, family):
    path = make_critic(family, "sequence")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(path).eval()
    critic = load_critic(path, device="cpu")
    with torch.no_grad():
        theirs = [model(input_ids=torch.tensor([PROMPT + r])).logits[0, 0] for r in RESPONSES]
    agree(torch.stack(theirs), torch.stack([critic.values(PROMPT + r)[-1] for r in RESPONSES]))
