"""The checkpoints of a run: which there are, and when one is whole."""

import json
import shutil
from pathlib import Path

import pytest
from formats import FORMATS
from tiny import save_critic

from critic_probe.errors import CriticProbeError
from critic_probe.runs.checkpoints import checkpoints_of, stamp_of, whole


@pytest.fixture(scope="module")
def critic(tmp_path_factory) -> Path:
    return save_critic(tmp_path_factory.mktemp("critic"))


def lay(critic: Path, folder: Path) -> Path:
    shutil.copytree(critic, folder)
    return folder


def reason(checkpoint, **given) -> str:
    layout = whole(checkpoint, **given)
    return layout if isinstance(layout, str) else ""


def why(run: Path, **given) -> list[str]:
    return [reason(each, **given) for each in checkpoints_of(run)]


def test_steps_come_in_order_and_names_that_await_a_rename_are_none(critic, tmp_path):
    for name in ("checkpoint-100", "checkpoint-20", "tmp-checkpoint-120", "checkpoint-20.part", "logs"):
        lay(critic, tmp_path / name)
    (tmp_path / "checkpoint-7").write_text("a file")
    assert [(each.step, each.path.name) for each in checkpoints_of(tmp_path)] == [
        (20, "checkpoint-20"),
        (100, "checkpoint-100"),
    ]
    lay(critic, tmp_path / "global_step_20")
    with pytest.raises(CriticProbeError, match="step 20, as checkpoint-20 is; move one"):
        checkpoints_of(tmp_path)
    with pytest.raises(CriticProbeError, match="no such directory"):
        checkpoints_of(tmp_path / "none")


def test_a_checkpoint_of_verl_is_whole_when_verl_says_so(critic, tmp_path):
    for step in (10, 20):
        lay(critic, tmp_path / f"global_step_{step}" / "critic")
    said = tmp_path / "latest_checkpointed_iteration.txt"
    for text, wrong in (("10", [False, True]), ("20", [False, False]), ("", [True, True])):
        said.write_text(text)
        assert [bool(reason) for reason in why(tmp_path, before={})] == wrong
    said.write_text("10")
    assert "verl has not yet said" in why(tmp_path)[1]
    (tmp_path / "global_step_20" / "critic" / "model.safetensors").unlink()
    said.write_text("20")
    assert "config.json: not there" in why(tmp_path)[1]


def test_the_shards_of_every_rank_must_be_there(critic, tmp_path):
    FORMATS["verl one rank"](critic, tmp_path)
    [shard] = tmp_path.glob("global_step_7/critic/model_world_size_*.pt")
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("7")
    assert why(tmp_path, before={}) == [""]
    content = shard.read_bytes()
    shard.write_bytes(content[: len(content) // 2])
    assert shard.name in why(tmp_path)[0]
    shard.rename(shard.with_name("model_world_size_2_rank_0.pt"))
    assert "1 of 2 shards are missing" in why(tmp_path)[0]


def test_a_checkpoint_of_a_trainer_is_whole_when_its_state_is_written(critic, tmp_path):
    folder = lay(critic, tmp_path / "checkpoint-5")
    (folder / "optimizer.pt").write_bytes(b"")
    assert "Trainer is not yet done" in why(tmp_path)[0]
    (folder / "trainer_state.json").write_text('{"global_st')
    assert "Trainer is not yet done" in why(tmp_path)[0]
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 5}))
    assert why(tmp_path, before={}) == [""]


def test_without_a_word_of_its_writer_a_live_checkpoint_must_be_the_same_at_two_looks(critic, tmp_path):
    folder = lay(critic, tmp_path / "step_3")
    assert why(tmp_path) == [""]
    assert "has just been written to" in why(tmp_path, before={})[0]
    assert why(tmp_path, before={folder: stamp_of(folder)}) == [""]
    (folder / "more.txt").write_text("more")
    before = {folder: stamp_of(folder)}
    (folder / "more.txt").write_text("and more")
    assert "has just been written to" in why(tmp_path, before=before)[0]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_half_written_weights_are_not_whole(critic, tmp_path, share):
    folder = lay(critic, tmp_path / "checkpoint-1")
    content = (critic / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: int(len(content) * share)])
    assert "not a readable safetensors file" in why(tmp_path)[0]


def test_missing_shards_are_not_whole(critic, tmp_path):
    folder = lay(critic, tmp_path / "checkpoint-1")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    shards = {"score.weight": "model-00001-of-00002.safetensors", "x": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    assert "model-00002-of-00002.safetensors, which is not there" in why(tmp_path)[0]


def test_what_is_deleted_and_what_is_written_to_is_told(critic, tmp_path):
    folder = lay(critic, tmp_path / "checkpoint-1")
    [found] = checkpoints_of(tmp_path)
    assert (found.gone, found.changed) == (False, False)
    (folder / "config.json").write_text("{}")
    assert (found.gone, found.changed) == (False, True)
    shutil.rmtree(folder)
    assert (found.gone, found.changed) == (True, False)
    assert reason(found) == f"{folder}: was deleted before it was read"
