"""What a directory tells of how its critic was trained."""

import json
import shutil
import sys
import types

import pytest
import torch
from formats import FORMATS, UNBIASED

from critic_probe.checkpoint import dissect
from critic_probe.encoding.trained import trained_convention


class RewardArguments:
    """Stands for trl's RewardConfig: what counts is the module that its pickle names."""


RewardArguments.__module__ = "trl.trainer.reward_config"
RewardArguments.__qualname__ = RewardArguments.__name__ = "RewardConfig"


def told(path):
    found = trained_convention(dissect(path))
    return found.convention.name, found.known


@pytest.fixture
def classifier(make_critic, tmp_path):
    return shutil.copytree(make_critic("qwen3", "sequence"), tmp_path / "run" / "saved")


def test_a_head_alone_decides_where_nothing_else_tells(critic_dir, classifier):
    assert told(critic_dir) == ("gad", False)
    assert told(classifier) == ("hf", False)


@pytest.mark.parametrize(
    ("card", "convention"),
    [(None, "trl"), ("- TRL: 1.16.0\n", "trl"), ("- TRL: 0.24.0\n", "trl"), ("- TRL: 0.23.1\n", "trl-0.23")],
)
@pytest.mark.parametrize("beside", [True, False])
def test_trl_is_told_by_the_trainers_arguments_and_its_card(classifier, monkeypatch, card, convention, beside):
    for name in ("trl", "trl.trainer", "trl.trainer.reward_config"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["trl.trainer.reward_config"].RewardConfig = RewardArguments
    torch.save(RewardArguments(), classifier / "training_args.bin")
    if card:
        place = classifier if beside else classifier.parent
        (place / "README.md").write_text(f"### Framework versions\n\n{card}- Transformers: 5.23.0\n")
    assert told(classifier) == (convention, True)


def test_other_arguments_of_a_trainer_tell_nothing(classifier):
    torch.save({"learning_rate": 1e-5}, classifier / "training_args.bin")
    assert told(classifier) == ("hf", False)


@pytest.mark.parametrize(
    ("form", "convention"), [("OpenRLHF", "openrlhf"), ("LLaMA-Factory", "llamafactory"), ("ROLL", "llamafactory")]
)
def test_frameworks_by_their_files(make_critic, tmp_path, form, convention):
    source = make_critic()
    assert told((UNBIASED | FORMATS)[form](source, tmp_path / "made")) == (convention, True)


def test_openrlhfs_ppo_critic_is_read_before_the_token(make_critic, tmp_path):
    made = UNBIASED["OpenRLHF"](make_critic(), tmp_path / "made")
    config = json.loads((made / "config.json").read_text())
    (made / "config.json").write_text(json.dumps(config | {"architectures": ["CriticModel"]}))
    assert told(made) == ("verl-ppo", True)


def test_our_own_warm_up(critic_dir, tmp_path):
    own = shutil.copytree(critic_dir, tmp_path / "own")
    (own / "critic_probe.json").write_text("{}")
    assert told(own) == ("gad", True)
