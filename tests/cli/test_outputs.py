"""Where results go: never over what is read, whole or not at all, and no traceback where there is no room."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from formats import copy_of
from safetensors.torch import save_file
from tokenizers import Tokenizer, models
from typer.testing import CliRunner

from critic_probe.cli import app
from critic_probe.errors import CriticProbeError
from critic_probe.report.targets import refuse_inputs
from critic_probe.runs.board import Board
from critic_probe.runs.pairs import PairsFile
from critic_probe.runs.record import Sample, Side
from critic_probe.writing import alone, told, write_text, written

ROW = {"prompt": "p", "student": "s", "teacher": "t"}


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps([ROW]))
    return path


def named(path, way):
    """The same file by another name."""
    if way == "itself":
        return path
    other = path.with_name(f"{way}{path.suffix}")
    {"link": other.symlink_to, "hard link": other.hardlink_to}[way](path)
    return other


def refused(*arguments):
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.mark.parametrize("way", ["itself", "link", "hard link"])
@pytest.mark.parametrize(
    "command",
    [
        ("compare", "-o"),
        ("perturb", "--punct", "-o"),
        ("score", "-o"),
        ("check", "--junit"),
        ("check", "--save-baseline"),
        ("logs", "-o"),
        ("track", "--train", "-o"),
    ],
)
def test_the_pairs_are_never_written_over(pairs, way, command):
    before = pairs.read_bytes()
    name, *options = command
    read = [pairs.parent, *options[:-1], pairs] if name == "track" else [pairs, *options[:-1]]
    assert "is read, as" in refused(name, *read, options[-1], named(pairs, way))
    assert pairs.read_bytes() == before


def test_nor_is_any_other_file_that_is_read(critic_dir, tmp_path, pairs):
    for option in ("--gates", "--baseline"):
        file = tmp_path / "other.json"
        file.write_text("{}")
        assert "is read, as" in refused("check", pairs, option, file, "--markdown", file)
    critic = copy_of(critic_dir, tmp_path / "critic")
    assert "is read, as" in refused("compare", pairs, "-c", critic, "-o", critic / "config.json")
    shards = tmp_path / "shards"
    shards.mkdir()
    pq.write_table(pa.Table.from_pylist([ROW]), shards / "a.parquet")
    assert "is read, as" in refused("compare", shards, "-o", shards / "a.parquet")
    assert "written twice" in refused("compare", pairs, "-o", tmp_path / "x.json", "-o", tmp_path / "." / "x.json")
    logged = tmp_path / "run" / "checkpoint-1"
    logged.mkdir(parents=True)
    for name in ("trainer_state.json", "metrics.jsonl"):
        (logged / name).write_text("{}")
        with pytest.raises(CriticProbeError, match="is read, as"):
            refuse_inputs([logged / name], [[logged.parent]])
    (critic / "compare.json").write_text("{}")  # an earlier result
    refuse_inputs([[str(critic / "compare.json")], None], [[str(critic)], 3, "no file"])


def test_nor_what_training_begins_with(critic_dir, tmp_path):
    pairs = tmp_path / "metrics.jsonl"
    pairs.write_text(json.dumps(ROW))
    assert "is read, as" in refused("warmup", pairs, "--backbone", "tiny", "-o", tmp_path)
    critic = copy_of(critic_dir, tmp_path / "critic")
    assert "is read, as" in refused("warmup", pairs, "--backbone", critic, "-o", critic)


def test_nor_the_file_of_a_stream_or_of_the_cache(pairs, tmp_path, monkeypatch):
    """stdin as `-`; and what stdout goes to would be written by two."""
    for number, given, message in ((0, ["-"], "is read, as /dev/stdin"), (1, [], "is where stdout goes")):
        before, stream = os.dup(number), os.open(pairs, os.O_RDWR)
        os.dup2(stream, number)
        try:
            with pytest.raises(CriticProbeError, match=message):
                refuse_inputs([pairs], given)
        finally:
            os.dup2(before, number)
            os.close(before)
            os.close(stream)
    monkeypatch.setenv("CRITIC_PROBE_CACHE", str(pairs))
    assert "is read, as" in refused("compare", pairs)
    assert "written twice" in refused("compare", "-o", pairs)


def test_what_can_be_told_before_anything_is_scored_is(tmp_path):
    dangling = tmp_path / "out.json"
    dangling.symlink_to("no/such/out.json")
    assert "its directory does not exist" in refused("compare", "-o", dangling)
    (tmp_path / "pairs.jsonl").write_text(json.dumps(ROW))
    for words in (("score", "-o"), ("warmup", tmp_path / "pairs.jsonl", "--backbone", "tiny", "-o")):
        assert "its name is not UTF-8" in refused(*words, tmp_path / "\udcff.parquet")


def test_a_file_that_cannot_be_written_keeps_neither_the_others_nor_what_is_shown(tmp_path):
    scores, full, other = tmp_path / "scores.csv", tmp_path / "full.json", tmp_path / "other.json"
    scores.write_text("id,student_score,teacher_score\na,0.1,1.3\nb,0.7,0.2\n")
    full.symlink_to("/dev/full")
    result = CliRunner().invoke(app, ["compare", str(scores), "-o", str(full), "-o", str(other)])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert f"{full}: cannot be written (No space left on device); free the disk" in result.stderr
    assert "Teacher over student" in result.stdout
    assert json.loads(other.read_text())["schema"] == "critic-probe/compare/1"


def test_nor_does_a_page_of_a_run(tmp_path):
    log, full, other = tmp_path / "metrics.jsonl", tmp_path / "full.json", tmp_path / "other.json"
    log.write_text("".join(json.dumps({"step": i, "critic/d_loss": 0.6}) + "\n" for i in range(1, 4)))
    full.symlink_to("/dev/full")
    assert "No space left on device" in refused("logs", log, "-o", full, "-o", other)
    assert json.loads(other.read_text())["schema"].startswith("critic-probe/logs/")


def test_a_file_is_written_whole_or_not_at_all_through_a_link_too(tmp_path):
    (tmp_path / "there").mkdir()
    place, link = tmp_path / "there" / "out.txt", tmp_path / "link.txt"
    link.symlink_to(place)
    write_text(link, "first")
    with pytest.raises(ZeroDivisionError), written(link) as part:  # noqa: PT012
        part.write_text("half")
        raise ZeroDivisionError
    assert link.is_symlink()
    assert place.read_text() == "first"
    assert os.listdir(tmp_path / "there") == ["out.txt"]


def test_a_file_keeps_its_mode_and_may_have_the_longest_name(tmp_path):
    place = tmp_path / ("x" * 251 + ".txt")
    place.write_text("private")
    place.chmod(0o600)
    write_text(place, "anew")
    assert (place.read_text(), place.stat().st_mode & 0o777) == ("anew", 0o600)


def test_a_pipe_without_a_path_of_its_own_is_written():
    reader, writer = os.pipe()
    write_text(Path(f"/dev/fd/{writer}"), "text")
    assert os.read(reader, 9) == b"text"
    for end in (reader, writer):
        os.close(end)


def test_logged_pairs_go_through_a_link(tmp_path):
    place, link = tmp_path / "place.jsonl", tmp_path / "link.jsonl"
    place.write_text("old")
    link.symlink_to(place)
    with pytest.raises(CriticProbeError, match="no pairs to write"), PairsFile(link):
        pass
    assert place.read_text() == "old"
    with PairsFile(link) as file:
        file.add(Sample(1, "q?", None, Side("a", None, 1.0, None), Side("b", None, 2.0, None), "log line 3"))
    assert link.is_symlink()
    assert json.loads(place.read_text())["teacher"] == "b"
    assert sorted(os.listdir(tmp_path)) == ["link.jsonl", "place.jsonl"]


@pytest.mark.parametrize(
    "write",
    [
        lambda path: save_file({"x": torch.zeros(9)}, path),
        lambda path: Tokenizer(models.BPE()).save(str(path)),
        lambda path: path.write_text("text"),
    ],
)
def test_what_cannot_be_written_is_told_whichever_library_wrote(tmp_path, write):
    """Warm-up writes by all of them, and not all raise an `OSError`."""
    message = r"^run: cannot be written \(No such file or directory\)$"
    with pytest.raises(CriticProbeError, match=message), told(Path("run")):
        write(tmp_path / "no" / "such")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full device here")
def test_torch_tells_a_full_disk_in_words_of_its_own(tmp_path):
    with pytest.raises(CriticProbeError, match=r"\(No space left, or the device fails\)"), told(tmp_path):
        torch.save(torch.zeros(9), "/dev/full")


def test_events_that_cannot_be_written_are_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CriticProbeError, match=r"file/tb: cannot be written"):
        Board(tmp_path / "file" / "tb")


def test_one_process_at_a_time_trains_in_a_directory(pairs, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(ROW | {"prompt": str(i)}) + "\n" for i in range(9)))
    with alone(tmp_path / "run"):
        told = refused("warmup", rows, "--backbone", "tiny", "-o", tmp_path / "run", "--steps", "1", "--held-out", "0")
    assert "another process writes there" in told
    with alone(tmp_path / "run"):
        pass


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full device here")
def test_a_full_disk_is_told_and_a_device_stays_one(tmp_path):
    link = tmp_path / "out.json"
    link.symlink_to("/dev/full")
    with pytest.raises(CriticProbeError, match=r"out\.json: cannot be written \(No space left on device\)"):
        write_text(link, "text")
    assert not os.path.isfile("/dev/full")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full device here")
def test_no_room_for_what_is_printed_is_one_line():
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "critic_probe", "--help"]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 2
    assert result.stderr == ("critic-probe: error: stdout cannot be written (No space left on device); free the disk\n")


def test_a_bare_container_is_enough(critic_dir, tmp_path):
    """No home, no UTF-8, a terminal of twenty columns, and texts in Chinese."""
    pairs = tmp_path / "pairs.json"
    row = {"id": "行", "prompt": "二加二？", "student": "四，", "teacher": "等于四。"}
    pairs.write_text(json.dumps([row], ensure_ascii=False), encoding="utf-8")
    bare = {"PATH": os.environ["PATH"], "HOME": "/dev/null/none", "LC_ALL": "C", "PYTHONUTF8": "0", "COLUMNS": "20"}
    command = [sys.executable, "-m", "critic_probe", "compare", pairs, "-c", critic_dir, "--device", "cpu", "--full"]
    result = subprocess.run(command, env=bare, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    shown = "".join(result.stdout.split())
    assert "cannotbeused" in shown  # the cache
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_a_closed_stdout_is_no_fault(critic_dir):
    closed = ["bash", "-c", 'exec "$@" >&-', "-", sys.executable, "-m", "critic_probe", "inspect", str(critic_dir)]
    result = subprocess.run(closed, stderr=subprocess.PIPE, text=True)
    assert result.returncode in (0, 2), result.stderr
    assert "Traceback" not in result.stderr
