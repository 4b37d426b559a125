"""Replicas on real Ray clusters of this machine: the same floats as here, and nothing lost when one of them goes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from typer.testing import CliRunner

from critic_probe.aggregation import parse
from critic_probe.bundled import find_critics, fixtures
from critic_probe.cli import app
from critic_probe.errors import CriticProbeError
from critic_probe.measures.compare import Compare
from critic_probe.pairs import as_text, read_pairs
from critic_probe.scoring.cache import cache_info, cache_path
from critic_probe.scoring.replicas import Cluster
from critic_probe.workbench import Settings, benches, run
from critic_probe.workbench.loop import silent

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("default")]
LIMIT = 600  # seconds: replicas that starve wait without a word
CRITIC = {"bundled:mean": fixtures() / "critics" / "mean"}


@pytest.fixture(autouse=True)
def _limited() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError(f"not done after {LIMIT} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def nodes() -> Iterator[Any]:
    """Two nodes with two CPUs each."""
    from ray.cluster_utils import Cluster as Nodes

    cluster = Nodes(initialize_head=True, head_node_args={"num_cpus": 2})
    cluster.add_node(num_cpus=2)
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()


def on(nodes: Any, fewest: int = 2, most: int = 2, **changes: Any) -> Cluster:
    return Cluster(nodes.address, fewest, most, **{"cpus": 1.0, **changes})


def cli(*words: str) -> str:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code in (0, 1), done.output  # 1 is a gate that fails
    return done.stdout


def load_bundled() -> Any:
    return find_critics(["bundled:mean"]).load()


def rows_of(pairs: list[Any]) -> list[dict[str, Any]]:
    return [{"id": p.id, "prompt": p.prompt, "student": p.student, "teacher": p.teacher} for p in pairs]


def at_step(number: int, happens: Any) -> Any:
    """A progress that lets something happen when so many pairs are scored."""
    done = 0

    def start(*_: Any) -> Any:
        def step() -> None:
            nonlocal done
            done += 1
            if done == number:
                happens()

        return step

    return start


def many(copies: int = 4) -> list[Any]:
    """Pairs enough for some rows to be under way when something happens."""
    own = [as_text(pair) for pair in read_pairs(fixtures() / "pairs.jsonl")]
    texts = [pair for pair in own if isinstance(pair.prompt, str)]
    return [replace(p, id=f"{p.id}-{copy}", prompt=f"{copy}. {p.prompt}") for copy in range(copies) for p in texts]


def compared(critics: Any, progress: Any = silent) -> Any:
    """The scores of many pairs, and what there is to say of them."""
    measure = Compare(5.0)
    with benches(critics, many(), Settings((parse("last"), parse("mean"))), progress) as made:
        return measure.result(run(made, [measure]))


@pytest.mark.parametrize(
    "command",
    [
        ["compare", "-c", "bundled:last", "-c", "bundled:mean"],
        ["perturb", "--punct", "-c", "bundled:mean"],
        ["check", "-c", "bundled:mean"],
        ["score", str(fixtures() / "pairs.jsonl"), "-c", "bundled:mean", "--values"],
    ],
    ids=lambda command: command[0],
)
def test_a_cluster_of_two_nodes_gives_the_bytes_that_this_process_gives(command, nodes):
    here = cli(*command, "--no-cache", "--json")
    there = cli(*command, "--no-cache", "--json", "--engine", "ray", "--replicas", "2", "--ray-address", nodes.address)
    assert json.loads(there) == json.loads(here)
    assert there == here


def process_of(replica: Any) -> int:
    import ray

    return int(ray.get(replica.__ray_call__.remote(lambda _: os.getpid())))


def test_a_replica_that_is_killed_takes_nothing_with_it(nodes):
    expected = compared(load_bundled())
    for critic in on(nodes).critics(CRITIC, {}):
        victim = process_of(next(iter(critic.pool._busy)))
        result = compared([critic], at_step(30, partial(os.kill, victim, signal.SIGKILL)))
    pd.testing.assert_frame_equal(result.pairs, expected.pairs, check_exact=True)
    assert any("a replica was lost" in notice.message for notice in result.notices)


def test_a_node_that_goes_takes_nothing_with_it(nodes):
    expected = compared(load_bundled())
    [worker] = nodes.worker_nodes
    spread = on(nodes, 3, 3, cpus=0.7)  # more than one node has room for, less than what is left cannot hold two
    for critic in spread.critics(CRITIC, {}):
        result = compared([critic], at_step(30, lambda: nodes.remove_node(worker, allow_graceful=False)))
    pd.testing.assert_frame_equal(result.pairs, expected.pairs, check_exact=True)
    assert any("a replica was lost" in notice.message for notice in result.notices)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows_of(many())), encoding="utf-8")
    return file


RAY = ["--engine", "ray", "--replicas", "2", "--cpus-per-replica", "0.5"]


def begun(command: list[str]) -> subprocess.Popen[str]:
    """A run that has kept some values."""
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while cache_info(cache_path())["responses"] < 100:
        assert run.poll() is None, "done before anything could happen to it"
        time.sleep(0.05)
    return run


def test_a_run_that_is_killed_goes_on_where_it_stopped(pairs, tmp_path):
    command = [sys.executable, "-m", "critic_probe", "compare", str(pairs), "-c", "bundled:mean", "--json"]
    killed = begun([*command, *RAY])
    killed.kill()
    killed.communicate()
    kept = cache_info(cache_path())["responses"]
    again = subprocess.run([*command, *RAY], capture_output=True, text=True, check=True)
    assert kept < cache_info(cache_path())["responses"]
    elsewhere = os.environ | {"CRITIC_PROBE_CACHE": str(tmp_path / "here.sqlite")}
    here = subprocess.run(command, capture_output=True, text=True, check=True, env=elsewhere)
    assert again.stdout == here.stdout


def test_ctrl_c_lets_replicas_go_and_keeps_what_was_scored(pairs):
    run = begun([sys.executable, "-m", "critic_probe", "compare", str(pairs), "-c", "bundled:mean", *RAY])
    started = psutil.Process(run.pid).children(recursive=True)
    assert started
    run.send_signal(signal.SIGINT)
    _, told = run.communicate()
    assert run.returncode == 130
    assert "critic-probe: interrupted" in told
    assert "what was scored is kept, run the same command again to go on" in told
    assert psutil.wait_procs(started, timeout=60)[1] == []


def test_a_bad_row_is_named_and_can_be_left_out(nodes, tmp_path):
    rows = rows_of(many(1))
    del rows[3]["teacher"]
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    words = ["compare", str(file), "-c", "bundled:mean", "--engine", "ray", "--ray-address", nodes.address]
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 2
    assert "row 4" in refused.stderr
    done = json.loads(cli(*words, "--on-bad-row", "skip", "--json"))
    assert {row["id"] for row in done["pairs"]} == {row["id"] for row in rows} - {rows[3]["id"]}


def test_a_row_that_kills_every_replica_ends_the_run(nodes):
    for critic in on(nodes).critics(CRITIC, {}):
        with pytest.raises(CriticProbeError, match=r"3 replicas died over the same row.*what was scored is kept"):
            critic.pool.call("__ray_call__", lambda _: os._exit(1))


def test_replicas_that_find_no_room_are_told_of(nodes):
    with pytest.raises(CriticProbeError, match=r"4 of 9 replicas found room within 20 s; each wants 1 CPUs.*0 CPUs"):
        next(on(nodes, 9, 9, patience=20.0).critics(CRITIC, {}))


def test_more_replicas_than_there_is_room_for_are_no_reason_to_wait(nodes):
    for critic in on(nodes, 1, 9).critics(CRITIC, {}):
        assert compared([critic]).pairs["id"].nunique() == len(many())


def test_what_replicas_cannot_load_is_told_as_it_is_here(nodes, tmp_path):
    shutil.copytree(CRITIC["bundled:mean"], tmp_path / "critic")
    config = tmp_path / "critic" / "config.json"
    config.write_text(config.read_text().replace('"num_hidden_layers": ', '"num_hidden_layers": 1'))
    words = ["compare", "-c", str(tmp_path / "critic")]
    here = CliRunner().invoke(app, words)
    there = CliRunner().invoke(app, [*words, "--engine", "ray", "--ray-address", nodes.address])
    assert there.exit_code == here.exit_code == 2
    assert there.stderr == here.stderr


def test_an_address_where_nothing_answers_is_an_error():
    words = ["compare", "--engine", "ray", "--ray-address", "127.0.0.1:1"]
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 2
    assert "no Ray there" in refused.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--engine", "ray", "--replicas", "3:2"], "--replicas 3:2: give N, or MIN:MAX"),
        (["--engine", "ray", "--replicas", "many"], "--replicas many: give N, or MIN:MAX"),
        (["--replicas", "2"], "replicas are of --engine ray"),
    ],
)
def test_a_count_that_is_none_is_an_error(words, message):
    refused = CliRunner().invoke(app, ["compare", *words])
    assert refused.exit_code == 2
    assert message in refused.stderr
