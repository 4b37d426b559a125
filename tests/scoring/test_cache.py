"""One cache file among several users."""

import os
import pwd
import sqlite3
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier

import pytest
import torch

from critic_probe.checkpoint import gguf
from critic_probe.checkpoint.gguf import converted, portable_name
from critic_probe.errors import CriticProbeError
from critic_probe.scoring.cache import Cache, cache_path


def test_users_that_make_the_file_at_the_same_moment_all_get_it(tmp_path):
    users, rounds = 6, 40
    together = Barrier(users)

    def use(path: Path, value: float) -> list[str]:
        together.wait()
        cache = Cache(path, "critic")
        cache.put([(1, 2)], [0], f"engine {value}", [torch.tensor([value] * 2)])
        cache.close()
        return cache.notices

    with ThreadPoolExecutor(users) as pool:
        for turn in range(rounds):
            path = tmp_path / f"{turn}.sqlite"
            assert list(pool.map(use, [path] * users, range(users))) == [[]] * users
            cache = Cache(path, "critic")
            kept = [cache.get([(1, 2)], [0], f"engine {value}")[0] for value in range(users)]
            cache.close()
            assert [v.tolist() for v in kept] == [[value] * 2 for value in range(users)]


ROW = ([(1, 2, 3), (1, 2, 4)], [0, 1])


def values() -> list[torch.Tensor]:
    return [torch.tensor([0.5, 1.5, 2.5]), torch.tensor([3.5, 4.5])]


@pytest.fixture
def kept(tmp_path):
    """A cache's file that holds a row and a setting."""
    cache = Cache(tmp_path / "values.sqlite", "critic")
    cache.put(*ROW, "tree", values())
    assert cache.setting("row budget", "64") == "64"
    cache.close()
    return tmp_path / "values.sqlite"


DAMAGE = {
    "zeros": 'UPDATE "values" SET data = zeroblob(length(data)) WHERE length(data) = 8',
    "shorter": 'UPDATE "values" SET data = substr(data, 1, 4) WHERE length(data) = 8',
    "text": "UPDATE \"values\" SET data = 'abcdefgh' WHERE length(data) = 8",
    "no number": "UPDATE \"values\" SET crc = 'x' WHERE length(data) = 8",
    "of another text": 'UPDATE "values" SET (data, crc) = (SELECT data, crc FROM "values" WHERE length(data) = 12)',
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_value_that_is_not_what_was_kept_is_dropped_with_its_row(kept, damage):
    with sqlite3.connect(kept) as db:
        db.execute(DAMAGE[damage])
    db.close()
    cache = Cache(kept, "critic")
    assert cache.get(*ROW, "tree") == [None, None]
    assert cache.notices == ["1 kept value failed the check and was computed anew with its row"]
    cache.put(*ROW, "tree", values())
    assert all(map(torch.equal, cache.get(*ROW, "tree"), values()))
    cache.close()


@pytest.mark.parametrize("value", ["'much'", "-1", "NULLIF('', 'x')", "'65 1'", "1e99"])
def test_a_setting_that_is_not_what_was_kept_is_settled_anew(kept, value):
    with sqlite3.connect(kept) as db:
        db.execute(f"UPDATE settings SET value = {value}")
    db.close()
    for budget in ("32", "128"):
        cache = Cache(kept, "critic")
        assert cache.setting("row budget", budget) == "32"
        cache.close()


def test_a_file_that_fails_in_the_midst_is_done_without(kept):
    cache = Cache(kept, "critic")
    with sqlite3.connect(kept) as db:
        db.execute('DROP TABLE "values"')
    db.close()
    assert cache.get(*ROW, "tree") == [None, None]
    cache.put(*ROW, "tree", values())
    assert all(map(torch.equal, cache.get(*ROW, "tree"), values()))
    assert len(cache.notices) == 1
    assert "values are kept for this run alone" in cache.notices[0]
    cache.close()


@contextmanager
def nobody():
    """A user who may write nothing of root's, which root itself always may."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_file_that_may_only_be_read_is_done_without():
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "values.sqlite"
        Cache(path, "critic").close()
        path.chmod(0o444)
        path.parent.chmod(0o555)
        with nobody():
            cache = Cache(path, "critic")
            cache.put(*ROW, "tree", values())
            assert all(map(torch.equal, cache.get(*ROW, "tree"), values()))
            cache.close()
        path.parent.chmod(0o755)
        [notice] = cache.notices
        assert "cannot be used (attempt to write a readonly database)" in notice


def test_a_user_without_a_home_keeps_values_for_the_run_alone(monkeypatch, tmp_path):
    """In a container whose user has no entry, `~` is no directory, and none of that name is made here."""

    def unknown(_: int) -> None:
        raise KeyError

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "XDG_CACHE_HOME", "CRITIC_PROBE_CACHE"):
        monkeypatch.delenv(name, raising=False)
    cache = Cache(cache_path(), "critic")
    cache.put(*ROW, "tree", values())
    assert all(map(torch.equal, cache.get(*ROW, "tree"), values()))
    assert "there is no home directory" in cache.notices[0]
    cache.close()
    assert portable_name(tmp_path) == str(tmp_path)
    monkeypatch.setattr(gguf, "find_spec", lambda _: True)  # of packages that read one
    model = tmp_path / "model.gguf"
    model.write_bytes(b"GGUF")
    with pytest.raises(CriticProbeError, match="there is no home directory"):
        converted(model)
    assert list(tmp_path.iterdir()) == [model]
