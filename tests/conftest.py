"""Fixtures that every test may use."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from tiny import save_critic

settings.register_profile("any speed", deadline=None)  # a busy machine is no failure
settings.load_profile("any speed")
torch.set_num_threads(1)  # threads that wait for each other cost tiny models far more than they compute


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test begins without computed values."""
    monkeypatch.setenv("CRITIC_PROBE_CACHE", str(tmp_path_factory.mktemp("cache") / "values.sqlite"))


@pytest.fixture(scope="session")
def make_critic(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`make_critic(family, task, seed=, chat=, **config)` saves a tiny random model and returns its directory."""

    def make(family: str = "qwen3", task: str = "token", **options: object) -> Path:
        return save_critic(tmp_path_factory.mktemp(f"{family}-{task}"), family, task, **options)

    return make


@pytest.fixture(scope="session")
def critic_dir(make_critic: Callable[..., Path]) -> Path:
    """One tiny Qwen3 token-classification critic for tests that only read."""
    return make_critic()


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """The directory of the bundled pairs and critics."""
    return Path(__file__).parents[1] / "fixtures"
