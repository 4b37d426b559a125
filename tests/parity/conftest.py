"""Shared by the comparisons: a tiny critic, and the record of what agreed how well."""

import json
import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from formats import copy_of
from safetensors.torch import load_file
from torch import Tensor


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def source(make_critic: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen3 token-classification critic whose bias matters."""
    path = make_critic(classifier_dropout=0.0)
    weights = load_file(path / "model.safetensors")
    weights["score.bias"] = torch.tensor([0.7])
    return copy_of(path, tmp_path_factory.mktemp("parity") / "critic", weights)


@pytest.fixture
def agree(request: pytest.FixtureRequest) -> Callable[..., None]:
    """`agree(theirs, ours, *packages)`: the same values in fp32 to 2e-5 * max(1, max|v|); keeps a record."""

    def compare(theirs: Tensor, ours: Tensor, *packages: str) -> None:
        theirs, ours = theirs.detach().float().flatten(), ours.float().flatten()
        assert theirs.shape == ours.shape
        worst, largest = float((theirs - ours).abs().max()), float(theirs.abs().max())
        if file := os.environ.get("PARITY_RECORD"):
            versions = ", ".join(f"{package} {version(package)}" for package in ("torch", "transformers", *packages))
            row = {
                "what": request.node.name,
                "versions": versions,
                "tokens": theirs.numel(),
                "worst": worst,
                "largest": largest,
            }
            with open(file, "a", encoding="utf-8") as record:
                record.write(json.dumps(row) + "\n")
        assert worst <= 2e-5 * max(1.0, largest)
        assert float(theirs.std()) > 1e-3 or theirs.numel() == 1

    return compare
