"""Each kind of file that runs leave behind, read back as it was written."""

import json
import math
import random
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.logs import KINDS, speeds
from critic_probe.errors import CriticProbeError
from critic_probe.runs.names import LOGGED, METRICS
from critic_probe.runs.naming import Names
from critic_probe.runs.read import Records
from critic_probe.runs.readers import log
from critic_probe.runs.record import Figures, Sample
from tests.runs import write
from tests.runs.write import GAD, VERL, Block, Scored

ASKED = "第一行？\nsecond line"
LONG = "二\n\nTeacher says: #1\nText: 3\n样本 is a word"
BLOCKS = [
    Block(3, [(ASKED, Scored(LONG, -0.5625, [5, 6, 151645]), Scored("two", 2.5, [7, 8]))]),
    Block(3, [("q", Scored("🙂", 1.25), Scored("b", 1.25)), ("r", Scored("x", 0.0), Scored("y", -3.0))]),
    Block(4, [("s", Scored("c", 0.5, []), Scored("d", 7.0, [1]))]),
]


class Scalar(NamedTuple):
    """One logged figure."""

    step: int
    name: str
    value: float
    logged: str
    definition: str


def scalars_of(figures):
    """What was logged together, one by one."""
    values = iter(figures.values)
    return [
        Scalar(step, column.name, next(values), column.logged, column.definition)
        for step in figures.steps
        for column in figures.columns
    ]


def read(path):
    """Scalars, samples and the one source of a file."""
    records = Records([path])
    everything = list(records)
    (source,) = records.sources
    scalars = [scalar for r in everything if isinstance(r, Figures) for scalar in scalars_of(r)]
    return scalars, [r for r in everything if isinstance(r, Sample)], source


def by_name(scalars):
    return {(scalar.step, scalar.name): scalar.value for scalar in scalars}


def told(samples):
    return [
        (s.step, s.prompt, *((side.text, side.score, side.ids, side.length) for side in (s.student, s.teacher)))
        for s in samples
    ]


def written(blocks, *, tokens=True):
    def side(one):
        ids = tuple(one.ids) if tokens and one.ids is not None else None
        return one.text, one.score, ids, one.length

    return [(block.step, asked, *map(side, sides)) for block in blocks for asked, *sides in block.samples]


# Scoring details


@pytest.mark.parametrize("emoji", [True, False])
@pytest.mark.parametrize("tokens", [True, False])
def test_scoring_details_give_back_samples_and_statistics(tmp_path, emoji, tokens):
    path = tmp_path / "anything"
    path.write_text(write.scoring(BLOCKS, emoji=emoji, tokens=tokens), encoding="utf-8")
    scalars, samples, source = read(path)
    assert told(samples) == written(BLOCKS, tokens=tokens)
    assert source.format == "scoring details"
    assert not source.notes
    last = by_name(s for s in scalars if s.step == 4)
    assert last == {
        (4, "critic/student_mean"): 0.5,
        (4, "critic/teacher_mean"): 7.0,
        (4, "critic/gap"): 6.5,
        (4, "critic/d_acc"): 1.0,
        (4, "critic/score_min"): 0.5,
        (4, "critic/score_max"): 7.0,
        (4, "other/scoring/identical_answers"): 0.0,
    }
    ties = [s for s in scalars if s.step == 3 and s.name == "critic/d_acc"]
    assert [(s.value, s.definition) for s in ties] == [(1.0, "ties wrong, of a micro-batch"), (0.0, ties[0].definition)]


def test_processes_that_ray_names_are_told_apart(tmp_path):
    texts = [write.scoring([block]).splitlines() for block in BLOCKS[:2]]
    lines = []
    for number in range(max(map(len, texts))):
        for process, text in enumerate(texts):
            if number < len(text):
                lines.append(f"\x1b[36m(WorkerDict pid={process}, ip=10.0.0.{process})\x1b[0m {text[number]}")
    path = tmp_path / "driver.log"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    _, samples, source = read(path)
    assert sorted(told(samples)) == sorted(written(BLOCKS[:2]))
    assert not source.notes


def test_lines_of_processes_that_nobody_can_tell_apart_are_counted_and_give_no_sample(tmp_path):
    one, two = (write.scoring([block]).splitlines() for block in BLOCKS[:2])
    mixed = [line for both in zip(one, two, strict=False) for line in both] + two[len(one) :]
    path = tmp_path / "mixed.log"
    path.write_text("\n".join([*mixed, write.scoring(BLOCKS[2:])]), encoding="utf-8")
    scalars, samples, source = read(path)
    assert told(samples) == written(BLOCKS[2:])
    assert {s.step for s in scalars} == {4}
    assert "not complete before another begins" in source.notes[0]


def test_lines_of_processes_in_any_order_give_no_sample_that_none_of_them_wrote(tmp_path):
    path = tmp_path / "mixed.log"
    given = 0
    for seed in range(60):
        draw = random.Random(seed)
        runs = [
            [
                Block(step, [(f"q{of}{step}\nof {of}", scored(draw, f"s{of}{step}"), scored(draw, f"t{of}{step}"))] * 2)
                for step in range(1, 6)
            ]
            for of in range(draw.choice([2, 3]))
        ]
        lines = [write.scoring(blocks).splitlines() for blocks in runs]
        mixed = []
        while any(lines):
            of, count = draw.randrange(len(lines)), draw.choice([1, 3, 20, 60])
            mixed += lines[of][:count]
            del lines[of][:count]
        path.write_text("\n".join(mixed) + "\n", encoding="utf-8")
        found = told(read(path)[1])
        given += len(found)
        assert set(found) <= {sample for blocks in runs for sample in written(blocks)}, seed
    assert given


def scored(draw, text):
    return Scored(f"{text}\nx\ny", round(draw.gauss(0, 3), 4))


def test_a_sample_whose_difference_is_not_that_of_its_scores_is_left_out(tmp_path):
    text = write.scoring(BLOCKS[:1]).replace("Teacher - Student = 3.0625", "Teacher - Student = 9.0000")
    path = tmp_path / "s.log"
    path.write_text(text, encoding="utf-8")
    _, samples, source = read(path)
    assert not samples
    assert source.notes == ("1 sample left out: their difference is not that of their scores",)


def test_broken_utf8_and_a_file_that_is_still_written(tmp_path):
    data = write.scoring(BLOCKS).encode().replace("🙂".encode(), b"\xf0\x9f")
    path = tmp_path / "s.log"
    path.write_bytes(data[: data.rindex(b"Score:")])
    _, samples, source = read(path)
    assert [s.student.text for s in samples] == [LONG, "�", "x"]
    assert set(source.notes) == {
        "some texts are broken UTF-8; what is broken became U+FFFD",
        "its last line has no end and is left out: the file is still being written, or was cut",
        "1 sample left out: cut by the end of the file",
    }


# verl


def test_console_lines_among_other_output(tmp_path):
    figures = VERL | {"critic/d": math.nan, "n": np.float64(2.5), "flag": True, "text": "no"}
    lines = [
        "INFO starting; global_step:7 - nothing",
        write.console(1, figures, process="TaskRunner pid=12, ip=10.0.0.1"),
        "Training Progress:   1%|          | 1/100 [00:01<01:39]" + write.console(2, {"a/b": 1, "a/c": -2e-05}),
        write.console(3, {"a/b": 2}) + " [repeated 3x across cluster]",
        write.console(4, {"a/b": 3, "a/c": 0.12345}),
    ]
    path = tmp_path / "train.out"
    path.write_text("\n".join(lines), encoding="utf-8")
    scalars, _, source = read(path)
    values = by_name(scalars)
    assert values[1, "reward/score_mean"] == 0.5
    assert values[1, "critic/lr"] == 1e-5
    assert values[1, "other/n"] == 2.5
    assert values[1, "other/flag"] == 1.0
    assert math.isnan(values[1, "other/critic/d"])
    assert (values[2, "other/a/c"], values[3, "other/a/b"]) == (-2e-05, 2.0)
    assert {step for step, _ in values} == {1, 2, 3}  # what stands at the end may be cut
    assert source.framework == "verl"
    assert "no end" in source.notes[0]
    assert "1 figure left out" in source.notes[1]


def test_the_file_logger_writes_null_for_what_is_no_number(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_text(write.file_logger({1: VERL | {"critic/values/mean": math.nan}, 2: VERL}) + '{"step": 3, "da')
    scalars, _, source = read(path)
    values = by_name(scalars)
    assert math.isnan(values[1, "critic/value_mean"])
    assert values[2, "critic/value_mean"] == 0.3
    assert source.format == "verl's file logger"
    assert "no end" in source.notes[0]


def test_rollout_dumps_have_lost_eos_and_say_so(tmp_path):
    path = tmp_path / "12.jsonl"
    path.write_text(write.rollouts(12, [("user\nq", "a\nb", 0.5), ("r", "", -1.0)]))
    _, samples, source = read(path)
    assert [(s.step, s.prompt, s.student.text, s.student.score, s.teacher) for s in samples] == [
        (12, "user\nq", "a\nb", 0.5, None),
        (12, "r", "", -1.0, None),
    ]
    assert all(s.eos_lost and s.student.ids is None for s in samples)
    assert "whether a response ended in EOS is lost" in source.notes[0]


# Trainers


def test_trl_before_and_since_024(tmp_path):
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    train = {"epoch": 0.5, "grad_norm": 1.5, "learning_rate": 1e-5, "loss": 0.625, "step": 10}
    old.write_text(write.trainer_state([train, {"eval_accuracy": 0.75, "eval_loss": 0.5, "step": 10}]))
    now = {"accuracy": 0.7, "margin": 1.5, "min_reward": -2.0, "mean_reward": 0.25, "max_reward": 3.0}
    new.write_text(write.trainer_state([train | now, {f"eval_{k}": v for k, v in now.items()} | {"step": 10}]))
    scalars, _, source = read(old)
    assert (source.framework, source.version) == ("trl", "before 0.24")
    assert by_name(scalars)[10, "critic/loss"] == 0.625
    assert [s.definition for s in scalars if s.name == "critic/eval_acc"] == ["ties left out, or right in old versions"]
    scalars, _, source = read(new)
    values = by_name(scalars)
    assert (source.framework, source.version) == ("trl", "0.24 or later")
    assert values[10, "critic/d_acc"] == values[10, "critic/eval_acc"] == 0.7
    assert values[10, "critic/gap"] == 1.5
    assert values[10, "critic/score_max"] == 3.0
    assert {s.definition for s in scalars if s.name.endswith("acc")} == {"ties wrong, mean of batch means"}


def test_a_trainer_that_nothing_tells_of_is_no_critics(tmp_path):
    path = tmp_path / "trainer_state.json"
    path.write_text(write.trainer_state([{"loss": 2.0, "step": 1}]))
    scalars, _, _ = read(path)
    assert [s.name for s in scalars] == ["other/loss"]


def test_a_cut_trainer_state_gives_what_is_whole(tmp_path):
    path = tmp_path / "trainer_state.json"
    text = write.trainer_state([{"mean_reward": 1.0, "step": i} for i in range(1, 4)])
    path.write_text(text[: text.index('"step": 3')])
    scalars, _, source = read(path)
    assert [s.step for s in scalars] == [1, 2]
    assert "cut" in source.notes[0]


def test_our_own_metrics(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(write.metrics({5: {"critic/d_acc": 0.75, "critic/loss_at_1": 0.5, "val/d_acc": 0.7}}))
    scalars, _, source = read(path)
    assert source.framework == "critic-probe"
    assert {(s.name, s.definition) for s in scalars} == {
        ("critic/d_acc", "ties half"),
        ("critic/loss_at_1", ""),
        ("critic/eval_acc", "ties half"),
    }


# TensorBoard


@pytest.fixture(scope="module")
def event_file(tmp_path_factory):
    steps = {i: {k: v + i for k, v in (GAD | VERL).items()} for i in (0, 1, 2, 300, 70_000)}
    return write.events(tmp_path_factory.mktemp("events"), steps | {70_001: {"x" * 150: 1.5}})


def test_events_are_what_tensorboards_own_reader_gives(tmp_path):
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    steps = [0, 126, 127, 128, 129, 16384, 5, 3_000_000]  # of one to four bytes; and one that goes back
    path = write.events(tmp_path / "run", {step: GAD | {"critic/d_loss": 0.1 * step, "": 2.0} for step in steps})
    theirs = {}
    for event in LegacyEventFileLoader(str(path)).Load():
        for value in event.summary.value:
            theirs.setdefault(value.tag, []).append((event.step, value.simple_value))
    scalars, _, source = read(path)
    assert {tag: [(s.step, s.value) for s in scalars if s.logged == tag] for tag in theirs} == theirs
    assert len(scalars) == sum(map(len, theirs.values()))
    assert source.framework == "gad"


def test_events_of_tensors_and_negative_steps_are_read(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_scalar("a/float", 0.1, -1, new_style=True)
        writer.add_scalar("a/double", 0.1, 5, new_style=True, double_precision=True)
        writer.add_histogram("a/none", torch.ones(3), 5)
        writer.add_text("a/text", "none", 5)
    scalars, _, _ = read(next(tmp_path.iterdir()))
    assert [(s.step, s.logged, s.value) for s in scalars] == [
        (-1, "a/float", pytest.approx(0.1)),
        (5, "a/double", 0.1),
    ]


def test_damaged_and_cut_events_are_left_out(event_file, tmp_path):
    data = bytearray(event_file.read_bytes())
    at = data.index(b"critic/d_loss")
    data[at + len(b"critic/d_loss") + 3] ^= 1  # a bit of its value
    path = tmp_path / "damaged"
    path.write_bytes(data[:-3])
    scalars, _, source = read(path)
    assert (0, "critic/d_loss") not in by_name(scalars)
    assert (1, "critic/d_loss") in by_name(scalars)
    assert "x" * 150 not in {s.logged for s in scalars}
    assert source.notes == (
        "its last record is cut and left out: the file is still being written, or was cut",
        "1 record left out: its checksum is wrong",
    )


def test_events_without_the_package_are_a_clear_error(event_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    with pytest.raises(CriticProbeError, match=r"tensorboard is not installed; pip install 'critic-probe\[train\]'"):
        list(Records([event_file]))


def test_openrlhf_and_trl_as_tensorboard_has_them(tmp_path):
    openrlhf = {"train/loss": 9.0, "train/loss_mean": 0.5, "train/acc_mean": 0.75, "train/chosen_reward": 1.0}
    trl = {"train/loss": 0.5, "train/accuracy": 0.75, "train/mean_reward": 0.0, "eval/accuracy": 0.7}
    scalars, _, source = read(write.events(tmp_path / "o", {1: openrlhf}))
    assert source.framework == "openrlhf"
    assert by_name(scalars) == {
        (1, "other/train/loss"): 9.0,
        (1, "critic/loss"): 0.5,
        (1, "critic/d_acc"): 0.75,
        (1, "critic/teacher_mean"): 1.0,
    }
    scalars, _, source = read(write.events(tmp_path / "t", {1: trl}))
    assert (source.framework, source.version) == ("trl", "0.24 or later")
    assert {s.name for s in scalars} == {"critic/loss", "critic/d_acc", "critic/score_mean", "critic/eval_acc"}


# W&B, tables, evaluations, dumps


def test_an_offline_run_of_wandb(tmp_path):
    internal = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    records = []
    for step in range(2000):
        record = internal.Record()
        record.history.step.num = step
        for key, value in (("critic/d_acc", "0.5"), ("critic/ranking_loss", "NaN"), ("note", '"text"')):
            item = record.history.item.add()
            item.nested_key.append(key)
            item.value_json = value
        records.append(record.SerializeToString())
    path = tmp_path / "run-x.wandb"
    path.write_bytes(write.wandb_blocks(records)[:-3])
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "requirements.txt").write_text("torch==2.6\nverl==0.7.1\n")
    scalars, _, source = read(path)
    assert (source.framework, source.version) == ("gad", "0.7.1")
    assert [s.step for s in scalars if s.name == "critic/d_acc"] == list(range(1999))
    assert "cut" in source.notes[0]


def test_an_offline_run_without_the_package_is_a_clear_error(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb.proto.wandb_internal_pb2", None)
    path = tmp_path / "run-x.wandb"
    path.write_bytes(write.wandb_blocks([b""]))
    with pytest.raises(CriticProbeError, match="wandb is not installed"):
        list(Records([path]))


def test_histories_that_wandb_exports(tmp_path):
    rows = [{"Step": i, "mine - critic/d_acc": 0.5, "mine - critic/d_acc__MIN": 0.1} for i in (1, 2)]
    scalars, _, source = read(write.table(tmp_path / "a.csv", rows))
    assert source.format == "W&B history"
    assert [(s.step, s.name, s.value) for s in scalars] == [(1, "critic/d_acc", 0.5), (2, "critic/d_acc", 0.5)]
    several = [{"Step": 1, "one - critic/d_acc": 0.5, "two - critic/d_acc": 0.5}]
    with pytest.raises(CriticProbeError, match="holds the runs one, two; export one"):
        list(Records([write.table(tmp_path / "b.csv", several)]))
    history = [{"_step": 7, "_runtime": 3.5, "train/global_step": 2, "train/acc_mean": 0.5}]
    (tmp_path / "c.json").write_text(json.dumps(history))
    scalars, _, _ = read(tmp_path / "c.json")
    assert [(s.step, s.name) for s in scalars] == [(2, "critic/d_acc")]


def test_tables_and_results_of_evaluations(tmp_path):
    rows = [{"step": "10", "d_acc": 0.5, "loss": ""}, {"step": "20", "d_acc": "nan", "loss": 0.25}]
    path = write.table(tmp_path / "eval_history.csv", rows, delimiter=";")
    path.write_text(path.read_text() + "30;0.9;0.1")
    scalars, _, source = read(path)
    assert [(s.step, s.name) for s in scalars] == [
        (10, "critic/eval_acc"),
        (20, "critic/eval_acc"),
        (20, "critic/eval_loss"),
    ]
    assert "no end" in source.notes[0]
    results = {"accuracy": 0.4575, "details": "x", "pairs": [{"prompt": "p", "student": "a", "teacher": "b"}]}
    results["pairs"][0] |= {"student_score": 1.0, "teacher_score": 2.0}
    path = tmp_path / "eval_step_250_results.json"
    path.write_text(json.dumps(results, indent=2))
    scalars, samples, _ = read(path)
    assert [(s.step, s.name, s.value) for s in scalars] == [(250, "critic/eval_acc", 0.4575)]
    assert [(s.step, s.prompt, s.student.score, s.teacher.text) for s in samples] == [(250, "p", 1.0, "b")]


def test_dumps_of_responses_lose_their_padding_by_the_mask(tmp_path):
    path = tmp_path / "responses_step_30.pt"
    ids = torch.tensor([[5, 6, 0], [7, 8, 9]])
    dump = {"responses": ids, "response_mask": (ids > 0).long(), "scores": torch.tensor([0.5, -1.0])}
    torch.save(dump | {"teacher_scores": torch.tensor([1.5, 2.0]), "prompt_text": ["p", "q"]}, path)
    _, samples, source = read(path)
    assert [(s.step, s.prompt, s.student.ids, s.student.score, s.teacher.score) for s in samples] == [
        (30, "p", (5, 6), 0.5, 1.5),
        (30, "q", (7, 8, 9), -1.0, 2.0),
    ]
    assert source.notes == ("it has no ids of teachers",)
    torch.save({"responses": ids, "scores": torch.tensor([0.5, -1.0])}, path)
    with pytest.raises(CriticProbeError, match="nothing in it"):
        list(Records([path]))


def test_a_dump_that_would_run_something_is_refused(tmp_path):
    path = tmp_path / "responses_step_1.pt"
    torch.save({"responses": [print]}, path)
    with pytest.raises(CriticProbeError, match="it was not run"):
        list(Records([path]))


# Directories, and what is none


def test_a_directory_is_its_files_and_says_what_is_no_log(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "train").write_text(write.console(1, GAD) + "\n")
    (tmp_path / "metrics.jsonl").write_text(write.metrics({2: {"critic/loss_at_1": 0.5}}))
    header = json.dumps({f"layer.{i}": [] for i in range(9000)}).encode()  # longer than what a format is told by
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(64))
    (tmp_path / "config.json").write_text('{"hidden_size": 8}')
    (tmp_path / "README").write_text("nothing\n")
    (tmp_path / "empty.log").touch()
    (tmp_path / "bad.pt").write_bytes(b"PK\x03\x04/data.pkl responses")
    torch.save({"model.embed": torch.zeros(2, 2), "args": print}, tmp_path / "weights.pt")
    records = Records([tmp_path])
    assert {figures.steps for figures in records} == {(1,), (2,)}
    assert [source.path.name for source in records.sources] == ["train", "metrics.jsonl"]
    assert {path.name for path in records.unknown} == {
        *("model.safetensors", "config.json", "README", "empty.log", "weights.pt"),
    }
    assert "bad.pt" in records.refused[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty, nothing was logged yet"), (b"hello\n", "nothing in it that runs log"), (b"\0\1", "nothing in it")],
)
def test_a_file_named_outright_must_be_a_log(tmp_path, content, message):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(CriticProbeError, match=message):
        list(Records([path]))


def test_paths_that_are_not_there(tmp_path):
    with pytest.raises(CriticProbeError, match="no such file"):
        Records([tmp_path / "none"])
    with pytest.raises(CriticProbeError, match="a directory without files"):
        Records([tmp_path])


# Names


def test_names_are_known_and_a_framework_gives_each_figure_one_of_them():
    for row in LOGGED:
        assert row.name in METRICS, row
    for framework in {row.framework for row in LOGGED}:
        logged = {}
        for row in LOGGED:
            if row.framework == framework:
                logged.setdefault(row.logged, set()).add(row.name)
        assert all(len(names) == 1 for names in logged.values())


def test_two_names_of_one_figure_are_not_joined():
    figures = {"actor/entropy": 1.0, "actor/entropy_loss": 2.0, "critic/vf_loss": 1.0}  # verl 0.8 logs both
    assert [(s.name, s.logged) for s in scalars_of(Names().figures(1, figures))] == [
        ("actor/entropy", "actor/entropy"),
        ("other/actor/entropy_loss", "actor/entropy_loss"),
        ("critic/vf_loss", "critic/vf_loss"),
    ]


@pytest.mark.parametrize(
    ("beside", "definition"),
    [
        ({}, "mean over micro-batches"),
        ({"actor/entropy": 1.0}, "mean over micro-batches"),  # from 0.4.1 and before 0.6
        ({"response/aborted_ratio": 0.0}, ""),  # 0.6 or later, each with its own
        ({"response/aborted_ratio": 0.0, "agent_loop/compute_score/mean": 1.0}, ""),
        ({"response/aborted_ratio": 0.0, "training/off_policy/trajectory_staleness/mean": 1.0}, "over the global"),
    ],
)
def test_the_value_loss_has_a_definition_where_the_version_is_told(beside, definition):
    names = Names()
    scalars = {s.name: s for s in scalars_of(names.figures(1, VERL | beside))}
    assert scalars["critic/vf_loss"].definition.startswith(definition)
    assert bool(scalars["critic/vf_loss"].definition) == bool(definition)
    left_out = "left out" if "response/aborted_ratio" in beside else "counted"
    assert scalars["reward/score_mean"].definition == f"empty responses {left_out}"


def test_a_run_that_goes_on_under_another_version_is_told():
    names = Names()
    (old,) = [s for s in scalars_of(names.figures(1, VERL)) if s.name == "reward/score_mean"]
    (new,) = [s for s in scalars_of(names.figures(2, VERL | {"response/aborted_ratio": 0.0})) if s.name == old.name]
    assert (old.definition, new.definition) == ("empty responses counted", "empty responses left out")


def test_two_losses_of_a_fork_are_told_apart():
    both = {"critic/d_loss": 0.75, "critic/ranking_loss": 0.5, "critic/score_reg": 0.25}
    values = {s.name: s.value for s in scalars_of(Names().figures(1, both))}
    assert values == {"critic/loss": 0.75, "critic/d_loss": 0.5, "critic/score_reg": 0.25}


# Whatever is in a file


@pytest.fixture(scope="module")
def samples_of_all(tmp_path_factory, event_file):
    folder = tmp_path_factory.mktemp("all")
    torch.save({"responses": [[1, 2]], "step": 3}, folder / "d.pt")
    table = write.table(folder / "t.csv", [{"step": 1, "d_acc": 0.5}])
    return [
        write.scoring(BLOCKS).encode(),
        write.scoring(BLOCKS, emoji=False).encode(),
        (write.console(1, VERL, process="TaskRunner pid=1") + "\n").encode(),
        write.file_logger({1: VERL}).encode(),
        write.rollouts(1, [("a", "b", 0.5)]).encode(),
        write.trainer_state([{"loss": 0.5, "step": 1}]).encode(),
        b'[{"_step": 1, "a": 2}]',
        b'{"accuracy": 1, "step": 5}',
        event_file.read_bytes()[:600],
        write.wandb_blocks([b"\x08\x01"]),
        (folder / "d.pt").read_bytes(),
        table.read_bytes(),
    ]


FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("size", [1, 7, 100])
def test_where_a_file_is_cut_into_blocks_changes_nothing(tmp_path, monkeypatch, size):
    texts = [write.scoring([block]) for block in BLOCKS]
    lines = [line.encode() for text in texts for line in text.split("\n")]
    lines[20:20] = [write.console(7, GAD).encode(), b"\x1b[36m(W pid=1)\x1b[0m one\r"]
    path = tmp_path / "s.log"
    path.write_bytes(b"\n".join(lines))
    whole = read(path)
    monkeypatch.setattr(log, "_BLOCK", size)
    assert read(path) == whole
    assert told(whole[1])[1:] == written(BLOCKS)[1:]
    monkeypatch.setattr(log, "LONGEST", 90)
    assert "longer than" in " ".join(read(path)[2].notes)


@FEW
@given(
    parts=st.lists(
        st.text("ab/:. -\0\n1", max_size=6).map(lambda name: name.replace("\n", ""))
        | st.sampled_from(["a/b:1.5", "x:y:2", "n:nan", "flag:True", "z:np.float64(1)", "c: 3 ", "", "1", ":1"]),
        max_size=5,
    )
)
def test_a_part_that_cannot_be_read_changes_nothing_in_the_others(tmp_path, parts):
    values = []
    for name, line in (("a", parts), ("b", [*parts, "last:no"])):
        (tmp_path / name).write_text("INFO\n" * 200 + " - ".join(["step:1", "first:0.5", *line]) + "\n")
        values.append(str(by_name(read(tmp_path / name)[0])))
    assert values[0] == values[1]


def goes_through(path, content):
    path.write_bytes(content)
    with suppress(CriticProbeError):
        assert all(isinstance(record, Figures | Sample) for record in Records([path]))


@FEW
@given(content=st.binary(max_size=400))
def test_no_bytes_crash_a_reader(tmp_path, content):
    goes_through(tmp_path / "step_1", content)


@FEW
@given(data=st.data())
def test_no_damage_to_a_log_crashes_its_reader(tmp_path, samples_of_all, data):
    content = bytearray(data.draw(st.sampled_from(samples_of_all)))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        end = data.draw(st.integers(start, min(len(content), start + 30)))
        content[start:end] = data.draw(
            st.binary(max_size=12) | st.sampled_from([b"9" * 5000, b"\xff", b"\n", b"[" * 3000])
        )
    goes_through(tmp_path / "step_1", bytes(content))


@FEW
@given(
    text=st.text(st.characters(codec="utf-8", exclude_characters="\r\x1b"), max_size=30).map(str.rstrip),
    score=st.integers(-500_000, 500_000).map(lambda value: value / 10_000),
)
def test_any_text_is_given_back(tmp_path, text, score):
    blocks = [Block(1, [("p", Scored(text, score, [1]), Scored("t", 1.0))])]
    path = tmp_path / "s.log"
    path.write_text(write.scoring(blocks), encoding="utf-8", newline="")
    _, samples, _ = read(path)
    assert [s.student.text for s in samples] in ([text], [])


def test_the_page_has_the_table_of_names():
    docs = Path(__file__).parents[2] / "docs"
    done = subprocess.run(
        [sys.executable, docs / "runs.py"], capture_output=True, text=True, encoding="utf-8", check=True
    )
    assert done.stdout in (docs / "runs.md").read_text(encoding="utf-8"), "python docs/runs.py"


def test_the_benchmark_reads_what_it_writes():
    assert [kind for kind, _, speed in speeds(0.02, rounds=1) if speed > 0] == list(KINDS)
