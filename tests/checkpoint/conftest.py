"""The critic that the formats here hold."""

from pathlib import Path

import pytest
import torch
from formats import copy_of
from safetensors.torch import load_file


@pytest.fixture(scope="module")
def source(make_critic, tmp_path_factory) -> Path:
    """A token-classification critic whose bias matters."""
    path = make_critic(classifier_dropout=None)
    weights = load_file(path / "model.safetensors")
    weights["score.bias"] = torch.tensor([0.7])
    return copy_of(path, tmp_path_factory.mktemp("source") / "critic", weights)
