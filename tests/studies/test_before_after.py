import random

import numpy as np
import pytest
from tiny import save_critic
from typer.testing import CliRunner

from critic_probe.aggregation import parse
from critic_probe.checkpoint import load_critic
from critic_probe.cli import app
from critic_probe.measures.compare import compare
from critic_probe.pairs import Pair
from critic_probe.studies.before_after import EXPECTATIONS, before_after
from critic_probe.training.options import Options
from critic_probe.workbench import Settings

WORDS = "red blue green black white small large round".split()  # noqa: SIM905


def pairs(count, seed=0):
    rng = random.Random(seed)
    answers = [" ".join(rng.choices(WORDS, k=3)) for _ in range(count)]
    return [
        Pair(f"{seed}-{i}", f"Say {a} ({i})", f"{a},", f"{a}.", category="final-comma") for i, a in enumerate(answers)
    ]


def silent(*_):
    return lambda: None


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    backbone = save_critic(work / "lm", task="causal")
    options = Options(steps=6, batch_size=4, learning_rate=1e-2, device="cpu", rising_steps=1)
    test = pairs(24, seed=9)

    def run(seeds):
        return before_after(lambda s: pairs(24, s), test, backbone, options, seeds, work, Settings(()), silent)[0]

    return work, test, run, run((0, 1))


def test_every_expectation_is_measured_under_every_training(measured):
    table = measured[3]
    assert set(table.name) == {expected.name for expected in EXPECTATIONS}
    assert set(zip(table.trained, table["read"], strict=True)) == {
        (trained, read) for trained in ("last", "mean", "progressive") for read in ("last", "mean")
    }
    assert (table.seeds == 2).all()


@pytest.mark.parametrize("read", ["last", "mean"])
def test_figures_are_those_that_compare_gives_over_the_seeds(measured, read):
    work, test, _, table = measured
    gaps, accuracies = [], []
    for seed in (0, 1):
        critic = load_critic(work / f"mean-{seed}", device="cpu")
        found = compare([critic], test, Settings((parse(read),)), silent)
        gaps.append(found.summary.mean_gap[0])
        accuracies.append(found.summary.d_acc[0])
    rows = table[(table.trained == "mean") & (table["read"] == read)].set_index("name")
    for name in ("gap", "case 1"):  # all pairs are of case 1
        assert rows.loc[name, ["figure", "low", "high"]].tolist() == pytest.approx(
            [np.mean(gaps), min(gaps), max(gaps)], rel=1e-4
        )
    assert rows.figure["d_acc"] == pytest.approx(np.mean(accuracies))
    inside = [abs(gap) <= 0.3 for gap in gaps]
    expected = "holds" if all(inside) else "does not hold" if min(gaps) > 0.3 or max(gaps) < -0.3 else "cannot tell"
    assert rows.verdict["case 1"] == expected
    assert rows.verdict["case 2"] == "cannot tell"  # no pair of its kind was given


def test_critics_that_are_there_are_not_trained_again(measured):
    work, _, run, table = measured
    before = {path: path.stat().st_mtime_ns for path in work.glob("*/model.safetensors")}
    again = run((0, 1))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert again.equals(table)


def test_one_seed_has_the_interval_over_its_prompts(measured):
    row = measured[2]((0,)).set_index(["name", "trained", "read"]).loc[("gap", "last", "last")]
    assert row.low < row.figure < row.high


def test_the_command_needs_a_place_to_keep_what_it_trains():
    done = CliRunner().invoke(app, ["audit", "--train", "tiny"])
    assert done.exit_code == 2
    assert "--work DIR" in done.stderr


def test_of_few_pairs_nothing_can_be_told_however_many_seeds(measured):
    work, test, *_ = measured
    few = before_after(lambda s: pairs(24, s), test[:9], None, Options(), (0, 1), work, Settings(()), silent)[0]
    assert set(few.verdict) == {"cannot tell"}
    assert (few.prompts <= 9).all()
    assert (measured[3].verdict != "cannot tell").any()
