"""The command line, text in, against the frameworks' own reading of the same text."""

import pytest
import torch
import transformers
from formats import peft_adapter
from parity.oracles import by_cli, conversations, last_and_mean, stack

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("default")]
BOTH = ("-a", "last", "-a", "mean")


def token_values(path):
    """transformers' own values (T,) of a sequence."""
    model = transformers.AutoModelForTokenClassification.from_pretrained(path).eval()

    def values(ids):
        with torch.no_grad():
            return model(input_ids=torch.tensor([ids])).logits[0, :, 0]

    return values


@pytest.mark.parametrize("position", ["at", "before"])
def test_cli_token_classification(source, agree, position):
    theirs = last_and_mean(token_values(source), source, before=position == "before")
    agree(theirs, by_cli(source, *BOTH, "--value-position", position))


def test_cli_sequence_classification(make_critic, agree):
    path = make_critic("qwen3", "sequence")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(path).eval()
    with torch.no_grad():
        theirs = [model(input_ids=torch.tensor([ids])).logits[0, 0] for ids in conversations(path)]  # pooled by itself
    agree(torch.stack(theirs), by_cli(path, "-a", "last"))


def test_cli_lora_adapter(source, agree, tmp_path):
    stack(peft="0.")
    path = peft_adapter(source, tmp_path / "a")
    theirs = last_and_mean(token_values(path / "merged"), path / "base")
    agree(theirs, by_cli(path / "adapter", *BOTH, "--base", str(path / "base")), "peft")
