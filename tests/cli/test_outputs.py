"""Where results go: never over what is read, whole or not at all, and no traceback where there is no room."""

import json
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from formats import copy_of
from typer.testing import CliRunner

from critic_probe.cli import app
from critic_probe.errors import CriticProbeError
from critic_probe.report.targets import refuse_inputs
from critic_probe.writing import write_text, written

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
    ],
)
def test_the_pairs_are_never_written_over(pairs, way, command):
    before = pairs.read_bytes()
    name, *options = command
    assert "is read, as" in refused(name, pairs, *options, named(pairs, way))
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
    (critic / "compare.json").write_text("{}")  # an earlier result
    refuse_inputs([[str(critic / "compare.json")], None], [[str(critic)], 3, "no file"])


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
