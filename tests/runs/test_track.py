"""A run's checkpoints beside each other: figures, the best step, the cache, and a run that is still writing."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from tiny import save_critic
from typer.testing import CliRunner

import critic_probe as cp
from critic_probe import checkpoint, read_result
from critic_probe.checkpoint import critic
from critic_probe.cli import app
from critic_probe.runs import checkpoints

WRITER = Path(__file__).with_name("writing.py")
TRAIN = ("-a", "mean", "--train")
GATES = """
[[gates]]
metric = "compare.d_acc"
min = 0.99
[[gates]]
metric = "compare.sd"
min = 0.0
at = "value"
"""


def pairs(count: int, first: int = 0) -> list[dict[str, str]]:
    return [
        {
            "id": f"p{number}",
            "prompt": f"What comes after {number}?",
            "student": f"It is {number + 2}",
            "teacher": f"It is {number + 1}.",
        }
        | ({} if first else {"concise": f"{number + 1}", "complete": f"After {number} comes {number + 1}."})
        for number in range(first, first + count)
    ]


def write(path: Path, rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def laid(tmp_path_factory) -> Path:
    """A run of two checkpoints with held-out and training pairs, gates, and a cache of its own, in one directory."""
    root = tmp_path_factory.mktemp("laid")
    for step in (10, 20):
        save_critic(root / "run" / f"checkpoint-{step}", seed=step)
    write(root / "held-out.jsonl", pairs(12))
    write(root / "train.jsonl", pairs(12, first=100))
    (root / "gates.toml").write_text(GATES, encoding="utf-8")
    return root


def track(root: Path, *more: str, run: str = "run"):
    own = [str(root / run), str(root / "held-out.jsonl"), "--gates", str(root / "gates.toml")]
    arguments = ["track", *own, "--max-per-response", "1", "--device", "cpu", *more]
    return CliRunner().invoke(app, arguments, env={"CRITIC_PROBE_CACHE": str(root / "cache.sqlite")})


@pytest.fixture(scope="module")
def tracked(laid):
    """What the run with its training pairs gives, and its files."""
    files = [laid / f"out.{suffix}" for suffix in ("json", "csv", "html")]
    outputs = [word for file in files for word in ("-o", str(file))]
    board = ("--tensorboard", str(laid / "board"))
    result = track(laid, *TRAIN, str(laid / "train.jsonl"), *outputs, *board)
    assert result.exit_code == 0, result.output
    return result.stdout, json.loads(files[0].read_text(encoding="utf-8"))


def copied(laid: Path, root: Path, *steps: int) -> Path:
    """Some of the run's steps elsewhere, with half of the pairs."""
    (root / "run").mkdir()
    for step in steps:
        shutil.copytree(laid / f"run/checkpoint-{step}", root / f"run/checkpoint-{step}")
    shutil.copy(laid / "gates.toml", root)
    write(root / "held-out.jsonl", pairs(10, first=50))  # with no terse text
    return root


def test_figures_are_those_of_the_commands(laid, tracked):
    _, made = tracked
    assert [(row["step"], row["aggregation"]) for row in made["steps"]] == [(10, "mean"), (20, "mean")]
    own = [
        str(laid / "held-out.jsonl"),
        "-c",
        str(laid / "run/checkpoint-20"),
        "-a",
        "mean",
        "--device",
        "cpu",
        "--json",
    ]
    compared = json.loads(CliRunner().invoke(app, ["compare", *own]).stdout)
    edits = ["--punct", "--controls", "--max-per-response", "1"]
    perturbed = json.loads(CliRunner().invoke(app, ["perturb", *own, *edits]).stdout)
    completed = json.loads(CliRunner().invoke(app, ["completeness", *own]).stdout)["summary"]
    completed = [each for each in completed if each["family"] == "to-complete"]
    for row in (row for row in made["steps"] if row["step"] == 20):
        [summary] = [each for each in compared["summary"] if each["aggregation"] == row["aggregation"]]
        [headline] = [each for each in perturbed["headline"] if each["aggregation"] == row["aggregation"]]
        for name in ("d_acc", "d_acc_low", "d_acc_high", "n", "prompts"):
            assert row[name] == pytest.approx(summary[name])
        for name in ("strongest_harmless", "strongest_harmless_low", "controls_right", "controls_right_high"):
            assert row[name] == pytest.approx(headline[name], nan_ok=True)
        assert row["strongest"] == headline["strongest"]
        [complete] = [each for each in completed if each["aggregation"] == row["aggregation"]]
        assert (row["complete_right"], row["complete_right_low"]) == pytest.approx(
            (complete["right_order"], complete["low"])
        )
        floors = compared["signature"]["critics"][0]["noise_floor"]
        assert row["floor"] == pytest.approx(floors[row["aggregation"]], rel=0.5)  # follows the values that go by
    gates = {(row["step"], row["gate"], row["aggregation"]): row["verdict"] for row in made["gates"]}
    assert len(gates) == 2 * 2
    assert gates[10, "compare.sd", "mean"] == "pass"


def test_training_pairs_stand_beside_those_held_out(laid, tracked):
    _, made = tracked
    own = [str(laid / "train.jsonl"), "-c", str(laid / "run/checkpoint-10"), "-a", "mean", "--device", "cpu", "--json"]
    compared = json.loads(CliRunner().invoke(app, ["compare", *own]).stdout)
    for row, summary in zip(made["steps"][:1], compared["summary"], strict=True):
        assert row["train_d_acc"] == summary["d_acc"]
        assert row["excess"] == pytest.approx(summary["d_acc"] - row["d_acc"])
        assert row["excess_low"] <= row["excess"] <= row["excess_high"]
    assert any("training pairs minus that of held-out pairs" in each["text"] for each in made["answer"])
    write(laid / "both.jsonl", [*pairs(2), *pairs(3, first=200)])
    refused = track(laid, "--train", str(laid / "both.jsonl"))
    assert refused.exit_code == 2
    assert "2 of 12 prompts were trained on too, and are not held out: p0, p1" in refused.stderr


def test_the_files_are_those_of_the_result(laid, tracked):
    shown, made = tracked
    again = read_result(laid / "out.json")
    assert str(again).replace("full=True", "--full") in shown
    assert pd.read_csv(laid / "out.csv").d_acc.tolist() == pytest.approx([row["d_acc"] for row in made["steps"]])
    page = (laid / "out.html").read_text(encoding="utf-8")
    assert page.count("<svg") == page.count("<figure") >= 4
    assert "<script" not in page
    assert "d_acc, training pairs" in page
    full = track(laid, *TRAIN, str(laid / "train.jsonl"), "--full").stdout
    assert "From step to step, on the same pairs" in full
    assert "Gates that do not hold" in full


def test_tensorboard_has_every_step(laid, tracked):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(laid / "board"))
    events.Reload()
    written = {event.step: event.value for event in events.Scalars("track/mean/d_acc")}
    _, made = tracked
    assert written == pytest.approx(
        {row["step"]: row["d_acc"] for row in made["steps"] if row["aggregation"] == "mean"}
    )
    assert {"track/mean/train_d_acc", "track/mean/d_acc_low"} <= set(events.Tags()["scalars"])


def test_a_second_run_costs_only_the_new_steps(laid, tracked, tmp_path, monkeypatch):
    loaded, forward, read = [], [], []
    load, states = checkpoint.load_critic, checkpoint.Critic.with_states
    for module in (checkpoints, critic):
        found = module.read_layout
        monkeypatch.setattr(
            module, "read_layout", lambda path, found=found, **how: read.append(path.name) or found(path, **how)
        )
    monkeypatch.setattr(checkpoint, "load_critic", lambda path, **how: loaded.append(path.name) or load(path, **how))
    monkeypatch.setattr(checkpoint.Critic, "with_states", lambda *a, **k: forward.append(1) or states(*a, **k))
    again = track(laid, *TRAIN, str(laid / "train.jsonl"))
    assert again.stdout == tracked[0]
    assert (loaded, forward, read) == ([], [], ["checkpoint-10", "checkpoint-20"])
    root = shutil.copytree(laid, tmp_path / "copy")  # its cache too
    save_critic(root / "run/checkpoint-30", seed=30)
    # what figures depend on beside the weights is asked anew
    (root / "run/checkpoint-10/generation_config.json").write_text('{"eos_token_id": [258, 256]}')
    more = json.loads(track(root, *TRAIN, str(root / "train.jsonl"), "--json").stdout)
    assert loaded == ["checkpoint-10", "checkpoint-30"]
    assert read[2:] == ["checkpoint-10", "checkpoint-20", "checkpoint-30"]  # headers once, whatever asks for them
    assert forward
    assert [row["d_acc"] for row in more["steps"][:2]] == [row["d_acc"] for row in tracked[1]["steps"]]


OF_RUN = """
[[gates]]
metric = "track.d_acc"
position = "best"
min = 1.5
at = "value"
[[gates]]
metric = "track.gap_over_sd"
position = "last"
max = 1e9
at = "value"
[[gates]]
metric = "track.excess"
min = -1.0
max = 1.0
at = "value"
severity = "warn"
"""


@pytest.fixture
def gated(laid, tracked, tmp_path):
    """`gated(text, *options)`: what `track` says under more gates."""

    def run(text: str, *options: str):
        path = tmp_path / "gates.toml"
        path.write_text(GATES + text, encoding="utf-8")
        return track(laid, "--gates", str(path), "-a", "mean", *options)

    return run


def test_gates_on_the_run_bound_the_best_step_and_the_last(laid, tracked, gated, tmp_path):
    train = ("--train", str(laid / "train.jsonl"))
    files = ("--junit", str(tmp_path / "x.xml"), "--markdown", str(tmp_path / "x.md"))
    result = gated(OF_RUN, *train, *files, "--json")
    assert result.exit_code == 1
    made = json.loads(result.stdout)
    of_run = [row for row in made["gates"] if row["metric"].startswith("track.")]
    best, steps = made["best"][0]["best"], {row["step"]: row for row in made["steps"]}
    for row in of_run:
        assert row["critic"] == f"step {row['step']}"
        assert row["step"] == {"best": best, "last": 20}[row["position"]]
        name = row["metric"].removeprefix("track.")
        assert [row[end] for end in ("value", "low", "high")] == [
            steps[row["step"]][f"{name}{end}"] for end in ("", "_low", "_high")
        ]
    assert [(row["metric"], row["position"], row["verdict"]) for row in of_run] == [
        ("track.d_acc", "best", "fail"),
        ("track.gap_over_sd", "last", "pass"),
        ("track.excess", "best", "pass"),
        ("track.excess", "last", "pass"),
    ]
    # gates on steps are counted, and fail no run
    assert {row["gates_failed"] + row["gates_unclear"] for row in made["steps"]} == {1}
    assert [(tmp_path / name).read_text("utf-8").count("track.d_acc") for name in ("x.xml", "x.md")] == [2, 1]
    assert any(
        each["text"].startswith("Gates on the run: 1 fails and 3 hold; first track.d_acc best")
        for each in made["answer"]
    )
    warned = gated(OF_RUN.replace("max = 1.0", "max = -0.9").replace("min = 1.5", "min = 0.0"), *train)
    assert warned.exit_code == 0
    assert "Gates on the run: 2 only warn and 2 hold; first track.excess best" in " ".join(warned.stdout.split())
    held = gated(OF_RUN.replace("min = 1.5", "min = 0.0"), *train)
    assert held.exit_code == 0, held.output
    assert "Gates on the run: 4 hold." in " ".join(held.stdout.split())


def test_a_last_step_that_could_not_be_scored_is_not_told_by_the_one_before(laid, tracked, tmp_path):
    copied(laid, tmp_path, 10, 20)
    (tmp_path / "run/checkpoint-20/model.safetensors").write_bytes(b"")
    text = '[[gates]]\nmetric = "track.d_acc"\nposition = "last"\nmin = 0.0\nat = "value"\n'
    (tmp_path / "gates.toml").write_text(text, encoding="utf-8")
    result = track(tmp_path, "-a", "mean", "--json")
    assert result.exit_code == 1
    [row] = json.loads(result.stdout)["gates"]
    assert (row["step"], row["verdict"], row["note"]) == (20, "cannot tell", "nothing was measured")


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ('metric = "track.accuracy"', "metric 'track.accuracy' is unknown; choose from track.d_acc"),
        ('metric = "track.d_acc"\nposition = "first"', "position 'first' of 'track.d_acc' is unknown"),
        ('metric = "track.d_acc"\nfamily = "terminal-swap"', "has no families and no categories"),
        ('metric = "track.excess"', "'track.excess' needs pairs that were trained on; give --train FILE"),
    ],
)
def test_what_is_no_figure_of_a_run_is_refused(gated, gate, message):
    refused = gated(f"[[gates]]\n{gate}\nmin = 0.0\n")
    assert refused.exit_code == 2
    assert message in refused.stderr


def test_verdicts_need_gates_on_the_run_and_check_takes_none(laid, gated, tmp_path):
    refused = gated("", "--junit", str(tmp_path / "x.xml"))
    assert refused.exit_code == 2
    assert "there are no gates to write" in refused.stderr
    (tmp_path / "run.toml").write_text(OF_RUN, encoding="utf-8")
    refused = CliRunner().invoke(app, ["check", str(laid / "held-out.jsonl"), "--gates", str(tmp_path / "run.toml")])
    assert refused.exit_code == 2
    assert "'track.d_acc' is a figure of a run's checkpoints; keep such gates in a file of their own" in refused.stderr


def test_python_gives_what_the_command_gives(laid, tracked, tmp_path, monkeypatch):
    monkeypatch.setenv("CRITIC_PROBE_CACHE", str(laid / "cache.sqlite"))
    monkeypatch.setattr(checkpoint, "load_critic", None)  # both keep steps under the same keys
    made = cp.track(
        laid / "run",
        laid / "held-out.jsonl",
        ["mean"],
        train=laid / "train.jsonl",
        gates=laid / "gates.toml",
        most=1,
        device="cpu",
    )
    made.save(tmp_path / "made.json")
    assert (tmp_path / "made.json").read_text("utf-8") == (laid / "out.json").read_text("utf-8")
    assert not made.failed
    with pytest.raises(cp.CriticProbeError, match="no such directory"):
        cp.track(laid / "none")
    with pytest.raises(cp.CriticProbeError, match="'devise' is unknown"):
        cp.track(laid / "run", laid / "held-out.jsonl", devise="cpu")


def test_a_live_run_is_followed_to_a_signal(laid, tmp_path):
    """A process writes checkpoint after checkpoint slowly, deletes old ones, and ends the watch in the midst of one."""
    copied(laid, tmp_path)
    seen = tmp_path / "seen.json"
    writer = subprocess.Popen([sys.executable, str(WRITER), str(laid / "run"), str(tmp_path / "run"), str(seen)])
    board = ("--tensorboard", str(tmp_path / "board"))
    result = track(tmp_path, "-a", "mean", "--watch", "--every", "0.05", "-o", str(seen), *board, "--json")
    assert writer.wait(20) == 0
    assert result.exit_code == 0, result.output
    assert result.stderr.count("d_acc mean") == 2  # once a step, and never a half-written one
    assert "ended by a signal" in result.stderr
    made = json.loads(result.stdout)
    assert [(row["step"], row["there"]) for row in made["steps"]] == [(10, False), (20, True)]
    assert [row["step"] for row in made["left_out"]] == [30]
    assert list((tmp_path / "board").iterdir())
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_deleted_checkpoint_was_read_or_is_left_out_as_one_that_cannot_be_read_is(laid, tmp_path, monkeypatch):
    copied(laid, tmp_path, 10, 20)
    whole, part = tmp_path / "run/checkpoint-20", tmp_path / "run/checkpoint-30"
    shutil.copytree(whole, part)
    (part / "model.safetensors").write_bytes((whole / "model.safetensors").read_bytes()[:1000])
    load = checkpoint.load_critic

    def deleting(path, **how):
        critic = load(path, **how)
        shutil.rmtree(path)  # its weights are in memory by now
        shutil.rmtree(whole)  # and this one was not looked at yet
        return critic

    monkeypatch.setattr(checkpoint, "load_critic", deleting)
    result = track(tmp_path)
    assert result.exit_code == 0, result.output
    shown = " ".join(result.stdout.split())
    for read_out in ("last", "mean"):  # what is said of one is said of each
        assert f"- {read_out}: step 10 alone was scored, so nothing is chosen" in shown
    assert "which is deleted by now" in shown
    assert "Left out: step 20, 30" in shown
    refused = track(tmp_path, "-a", "mean")  # of the whole ones none is there any more
    assert refused.exit_code == 2
    assert "not a readable safetensors file" in refused.stderr


def test_bad_usage(laid, tmp_path):
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        ({"run": "none"}, "no such directory"),
        ({"run": str(tmp_path / "empty")}, "no checkpoint in it"),
    ):
        refused = track(laid, **arguments)
        assert refused.exit_code == 2
        assert message in refused.stderr
    assert "cannot tell the format" in track(laid, "-o", "track.txt").stderr
