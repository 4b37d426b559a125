"""What is said of a run: a part of `python -m benchmarks.health`, and the rules that findings keep to."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.health import alarms, checks_table, main
from benchmarks.runs import FAILURES, failed, sound
from critic_probe.errors import CriticProbeError
from critic_probe.gates.figures import LOGS
from critic_probe.gates.gate import load_gates
from critic_probe.gates.measure import measure
from critic_probe.gates.shipped import profile_names, profile_text
from critic_probe.runs.health import CHECKS, columns, exit_code, findings, gated, trends
from critic_probe.runs.names import METRICS
from critic_probe.runs.profile import load_profile
from critic_probe.runs.record import Column, Figures
from critic_probe.runs.table import Collected, run_table

ROOT = Path(__file__).parents[2]


def table(steps=200, first=1, changed=None, **figures):
    """A run with a column a figure: a level or (n,) values; `changed` is the step of another definition."""
    series = {}
    for name, values in figures.items():
        rows = pd.DataFrame({"step": first + np.arange(steps), "value": np.broadcast_to(values, steps).astype(float)})
        new = rows.step >= (changed or np.inf)
        for definition, own in (("", rows[~new]), ("new", rows[new])):
            series |= {Column(f"critic/{name}", name, definition): own} if len(own) else {}
    return run_table(series)


def noisy(level, steps=200, sd=0.02):
    return level + sd * np.random.default_rng(steps).standard_normal(steps)


def verdicts(run, scores=None, profile=None):
    return {f.check: f.verdict for f in findings(run, scores, profile) if f.verdict in ("fail", "warn")}


@pytest.mark.parametrize("name", list(FAILURES)[::3])
def test_a_failure_is_named(name):
    made = failed(name, 1, most=300)
    said = [finding for finding in alarms(made) if finding.check in FAILURES[name].checks]
    assert said
    assert all(
        finding.step is not None and finding.causes and finding.confirm for finding in said if finding.check != "steps"
    )


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_said_of_a_sound_run(seed):
    assert alarms(sound(seed)) == []


def test_a_high_accuracy_at_a_loss_of_ln_2_is_a_contradiction_where_the_gap_says_so():
    steps = 30  # fewer than anything else is concluded from
    run = {"d_acc": noisy(0.97, steps, 0.001), "d_loss": noisy(math.log(2), steps, 0.002)}
    [said] = [f for f in findings(table(steps, gap=3.0, temperature=5.0, **run)) if f.verdict == "fail"]
    assert said.check == "contradiction-loss"
    assert said.step == 1
    assert "d_acc is 0.97" in said.evidence
    assert "0.437" in said.evidence  # softplus(-3 / 5)
    assert "divided by length twice" in said.causes[0]
    young = table(steps, gap=0.1, temperature=5.0, **run)  # such a gap gives such a loss
    assert verdicts(young) == {}
    lasting = table(gap=0.1, temperature=5.0, d_acc=noisy(0.97), d_loss=noisy(0.69, sd=0.002))
    assert verdicts(lasting)["contradiction-loss"] == "warn"


@pytest.mark.parametrize("factor", [80.0, 1 / 80.0])
def test_a_gap_that_is_off_by_the_length_is_a_contradiction(factor):
    scores = {"teacher_mean": noisy(2.0), "student_mean": noisy(1.0), "gap": noisy(1.0) / factor}
    run = table(**scores)
    run.values["data/student_length_mean"] = 85.0
    assert verdicts(run)["contradiction-gap"] == "fail"
    run.values["data/student_length_mean"] = 400.0
    assert "contradiction-gap" not in verdicts(run)


def test_nothing_else_is_concluded_from_a_short_run():
    said = findings(table(59, d_acc=noisy(0.1, 59), d_loss=noisy(5.0, 59), grad_norm=0.0))
    assert not [f for f in said if f.verdict in ("fail", "warn")]
    assert {f.evidence for f in said if f.check == "reversed"} == {"nothing is concluded from fewer than 60 steps"}
    assert verdicts(table(59, d_loss=[math.nan] * 59))["not-finite"] == "fail"


def test_a_check_that_lacks_its_figure_is_skipped_and_names_it():
    said = {f.check: f for f in findings(table(d_loss=noisy(0.5)))}
    assert said["gradient"].verdict == "skipped"
    assert said["gradient"].evidence == "not logged: critic/grad_norm"
    assert said["length"].evidence == "not logged: scores"
    assert said["explained-variance"].evidence == "not logged: critic/explained_variance"
    assert findings(run_table({})) == []


def test_a_new_definition_is_no_finding():
    jumped = noisy(np.where(np.arange(200) < 120, 0.9, 0.6), sd=0.01)
    assert verdicts(table(d_acc=jumped)) == {"shift": "warn"}
    assert verdicts(table(d_acc=jumped, changed=121)) == {}


def test_figures_of_another_network_say_nothing_of_the_critic():
    run = table(grad_norm=noisy(1.0))
    run.values["actor/grad_norm"] = np.where(np.arange(200) < 100, 1.0, 500.0)
    assert verdicts(run) == {}
    both = table(grad_norm=np.where(np.arange(200) < 100, 1.0, 500.0))
    assert verdicts(both) == {"gradient": "fail"}


def test_of_a_run_that_goes_on_only_time_tells_that_nothing_is_learnt():
    """A critic that learns late looks like one that does not; one at a learning rate of 0 does not."""

    def said(steps, rise=0.0, rate=1e-5, going_on=True):
        d_acc = noisy(0.5 + rise * np.arange(steps), steps)
        run = table(steps, d_acc=d_acc, d_loss=noisy(math.log(2), steps, 0.01), lr=rate)
        return {f.check for f in findings(run, going_on=going_on) if f.verdict == "warn"}

    assert said(300, going_on=False) == {"no-learning"}
    assert said(300) == set()
    assert said(300, rate=0.0) == {"no-learning"}
    assert said(450) == {"no-learning"}
    assert said(450, rise=1e-4) == set()
    assert said(450, rise=1e-4, going_on=False) == {"no-learning"}


def test_of_a_run_that_goes_on_one_epoch_is_not_told_to_be_learnt_by_heart():
    def said(epochs, going_on=True):
        epoch = np.arange(80 * epochs) / 80
        run = table(80 * epochs, d_loss=noisy(0.6 - 0.2 * np.floor(epoch), 80 * epochs))
        run.values["run/epoch"] = epoch
        return {f.check for f in findings(run, going_on=going_on) if f.verdict == "warn"}

    assert said(2) == set()
    assert "epochs" in said(2, going_on=False)
    assert "epochs" in said(3)


def test_of_a_run_that_goes_on_held_out_pairs_are_worse_at_two_evaluations():
    def said(*last):
        run = table(400, d_loss=noisy(0.4, 400))
        evaluated = np.concatenate([noisy(0.4, 40 - len(last), 0.01), last])
        run.values.loc[10::10, "critic/eval_loss"] = evaluated
        return {f.check for f in findings(run, going_on=True) if f.verdict == "warn"}

    assert said(0.7, 0.7) == set()
    assert said(0.7, 0.7, 0.7) == {"held-out"}


def test_a_fall_to_chance_is_told_from_the_noise_of_small_batches():
    """Means of 20 steps of 8 pairs lie further than 0.05 from a d_acc that is 0.54."""
    rng = np.random.default_rng(1)
    falls = rng.binomial(8, np.where(np.arange(240) < 120, 0.87, 0.54)) / 8
    [said] = [f for f in findings(table(240, d_acc=falls)) if f.verdict == "fail"]
    assert said.check == "collapse"
    assert abs(said.step - 121) <= 3
    slow = rng.binomial(8, np.linspace(0.87, 0.54, 240)) / 8  # a student that catches up
    assert "collapse" not in verdicts(table(240, d_acc=slow))


def test_explained_variance_far_below_0_is_a_failure():
    [said] = [f for f in findings(table(explained_variance=noisy(-72.0, sd=5))) if f.verdict == "fail"]
    assert said.check == "explained-variance"
    assert "a constant explains more" in said.evidence


def test_the_gradient_that_is_left_is_told_with_saturation():
    run = table(saturated=noisy(0.9), gradient_weight=noisy(0.004, sd=1e-6), d_loss=noisy(0.01, sd=0.001))
    [said] = [f for f in findings(run) if f.check == "saturation"]
    assert "the gradient weight that is left is 0.004" in said.evidence
    [said] = [f for f in findings(table(d_loss=noisy(0.01, sd=1e-6))) if f.check == "saturation"]
    assert "is left is at most 0.00995, by the loss" in said.evidence
    assert verdicts(table(saturated=noisy(0.6), gradient_weight=noisy(0.1))) == {}  # hard pairs still teach


def test_scales_that_drift_apart_are_told_and_no_alarm():
    steps = np.arange(400)
    run = table(400, teacher_std=np.exp(steps / 450) * noisy(1.0, 400), student_std=1.0)
    [said] = [f for f in findings(run) if f.check == "scale"]
    assert said.verdict == "info"
    assert "changes 2.1" in said.evidence
    told = trends(table(400, d_acc=noisy(0.5 + 0.001 * steps, 400), loss=noisy(0.5, 400))).set_index("name")
    assert told.p["critic/d_acc"] < 0.001
    assert told.per_100_steps["critic/d_acc"] == pytest.approx(0.1, rel=0.2)
    assert told.low["critic/d_acc"] < 0.1 < told.high["critic/d_acc"]
    assert told.n.tolist() == [200, 200]
    assert told.p["critic/loss"] > 0.05
    spread = table(400, teacher_std=np.where(steps < 200, 1.0, 5.0) * noisy(1.0, 400), student_std=1.0)
    assert [(f.verdict, f.step) for f in findings(spread) if f.check == "scale"] == [("warn", 201)]


def test_length_is_bounded_by_phase():
    rng = np.random.default_rng(0)

    def scores(first, share):
        length = rng.integers(20, 400, 800)
        score = np.sqrt(share) * (length - length.mean()) / length.std() + np.sqrt(1 - share) * rng.standard_normal(800)
        steps = np.repeat(np.arange(first, first + 200), 4)
        return pd.DataFrame({"step": steps, "side": ["student", "teacher"] * 400, "length": length, "score": score})

    early, late = table(first=1, loss=0.5), table(first=600, loss=0.5)
    barely = scores(600, 0.0775)
    assert verdicts(late, barely)["length"] == "warn"
    assert [f for f in findings(late, barely, going_on=True) if f.verdict == "warn"] == []  # over all looks so far
    assert "length" not in verdicts(early, scores(1, 0.1))
    assert verdicts(late, scores(600, 0.1))["length"] == "warn"
    assert verdicts(early, scores(1, 0.6))["length"] == "fail"


def test_the_profile_of_the_seed_has_its_bounds():
    run = table(d_acc=noisy(0.95, sd=0.005), gap=noisy(5.0))
    said = {f.evidence.split()[0] for f in findings(run, None, load_profile("seed")) if f.check == "level"}
    assert said == {"critic/d_acc", "critic/gap"}
    assert verdicts(run) == {}
    assert profile_names("runs") == ["default", "seed"]


_LENGTH = "fail = [0.5]\ngrades = 10\nsamples = 60"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[gradients]\nexploded = 3", r"own.toml: \[gradients\] is no check; choose from general, .*gradient"),
        ("[gradient]\nexploded = 3", r"\[gradient\] needs vanished, exploded, points, and nothing else"),
        ("[truncation]\nwarn = 'x'\nfail = 1", "warn is 'x', not a number above 0"),
        ("[truncation]\nwarn = true\nfail = 1", "warn is true, not a number above 0"),
        ("[truncation]\nwarn = nan\nfail = 1", "warn is nan, not a number above 0"),
        ("[truncation]\nwarn = 0.1\nfail = 0", "fail is 0, not a number above 0"),
        ("[general]\nsteps = 60\npoints = 0\nsmooth = 9", "points is 0, not a whole number from 1 to"),
        ("[general]\nsteps = 60\npoints = 2.5\nsmooth = 9", "points is 2.5, not a whole number"),
        (f"[length]\nsteps = [0, 9]\nwarn = [0.3]\n{_LENGTH}", "its lists are not of one length"),
        (
            f"[length]\nsteps = []\nwarn = []\n{_LENGTH.replace('0.5', '')}",
            "steps is an empty list, not a list of whole numbers",
        ),
        ("level = 3", "level is 3, not a table of figures"),
        ("[level.'critic/d_acc']\nmin = inf", "min is inf, not a number"),
        ("[level.'critic/d_acc']\nmost = 1", "needs min or max, and nothing else"),
        ("[gradient", "not valid TOML"),
    ],
)
def test_a_profile_that_is_wrong_is_named_with_what_is(tmp_path, text, message):
    file = tmp_path / "own.toml"
    file.write_text(text)
    with pytest.raises(CriticProbeError, match=message):
        load_profile(file)


def test_a_profile_of_ones_own_makes_only_its_checks(tmp_path):
    file = tmp_path / "own.toml"
    file.write_text("[truncation]\nwarn = 0.01\nfail = 0.9\n")
    run = table(d_acc=noisy(0.1))
    run.values["data/truncated"] = 0.1
    assert verdicts(run, None, load_profile(file)) == {"truncation": "warn"}
    with pytest.raises(CriticProbeError, match="no such file or profile; choose from default, seed"):
        load_profile("nonesuch")
    with pytest.raises(CriticProbeError, match="profile 'nonesuch' is unknown"):
        profile_text("nonesuch", "runs")


def test_gates_bound_what_a_run_logged(tmp_path):
    file = tmp_path / "gates.toml"
    bounds = [("logs.fails", "max = 0"), ("logs.critic/d_acc", "min = 0.8"), ("logs.critic/gap", "min = 1")]
    file.write_text("".join(f"[[gates]]\nmetric = '{name}'\n{bound}\nat = 'value'\n" for name, bound in bounds))
    run = table(d_acc=noisy(0.9), d_loss=noisy(0.5))
    plan = load_gates(None, file, ())
    said = gated(plan, findings(run), run)
    assert said.verdict.tolist() == ["pass", "pass", "cannot tell"]
    with pytest.raises(CriticProbeError, match=r"'logs.fails' is a figure of a run's log; .* critic-probe logs"):
        measure(plan, [])
    file.write_text("[[gates]]\nmetric = 'compare.d_acc'\nmin = 1")
    with pytest.raises(CriticProbeError, match=r"'compare.d_acc' is a figure of a critic; .* critic-probe check"):
        gated(load_gates(None, file, ()), [], run)
    file.write_text("[[gates]]\nmetric = 'logs.accuracy'\nmin = 1")
    with pytest.raises(CriticProbeError, match=r"metric 'logs.accuracy' is unknown; choose from .*logs.fails"):
        gated(load_gates(None, file, ()), [], run)


def test_a_rule_s_rewards_are_not_judged_as_scores():
    steps = np.repeat(np.arange(1, 201), 4)
    right = (np.random.default_rng(0).random(800) < 0.5).astype(float)
    scores = pd.DataFrame({"step": steps, "side": "student", "length": 50 + 200 * right, "score": right})
    said = {f.check: f for f in findings(table(loss=noisy(0.5)), scores) if f.verdict != "skipped"}
    assert said["equal-scores"].verdict == "info"
    assert "take 2 values" in said["equal-scores"].evidence
    assert "length" not in said
    assert verdicts(table(loss=noisy(0.5)), scores.assign(score=0.0))["equal-scores"] == "fail"
    assert verdicts(run_table({}), scores.assign(score=0.0)) == {"equal-scores": "fail"}  # samples alone
    assert verdicts(table(loss=noisy(0.5)), scores.assign(length=None)) == {}


@pytest.mark.parametrize("seed", range(6))
def test_no_table_is_too_odd_to_be_judged(seed):
    rng = np.random.default_rng(seed)
    n = (1, 2, 9, 70, 200, 200)[seed]
    values = (np.zeros(n), np.full(n, math.nan), np.full(n, 1e30), -np.arange(n) * 1e5, rng.integers(0, 2, n))
    collected = Collected()
    for name in rng.choice(list(METRICS), 12, replace=False):
        for step, value in zip(rng.integers(-5, 300, n), values[rng.integers(len(values))], strict=True):
            column = Column(name, "tag", str(rng.integers(2)) if seed % 2 else "")
            collected.add(Figures((column,), (int(step),), (float(value),)))
    scores = pd.DataFrame({"step": 5, "side": "student", "length": None, "score": [1.0, math.inf, None] * n})
    odd = run_table(collected.series())
    assert {f.verdict for f in findings(odd, scores)} <= {"fail", "warn", "info", "skipped"}
    assert set(trends(odd)["name"]) <= set(odd.values)


def test_only_a_failure_ends_in_1():
    assert exit_code(findings(table(d_acc=noisy(0.1)))) == 1
    jumped = findings(table(d_acc=noisy(np.where(np.arange(200) < 120, 0.9, 0.6), sd=0.01)))
    assert exit_code(jumped) == 0
    assert columns(jumped).columns.tolist() == ["check", "verdict", "step", "evidence", "causes", "confirm"]
    assert columns([]).empty


def test_checks_look_at_figures_that_have_a_name():
    assert {name for check in CHECKS.values() for name in check.names} <= METRICS.keys()
    assert LOGS == "logs."
    commands = {path.stem for path in (ROOT / "critic_probe" / "cli").glob("*.py")} | {"replay", "track"}
    assert {check.confirm.split()[1] for check in CHECKS.values() if check.confirm} <= commands
    assert set(load_profile()) == {"general", *CHECKS} - {"level"}


def test_the_page_shows_checks_and_figures_as_they_are():
    page = (ROOT / "docs" / "health.md").read_text(encoding="utf-8")
    assert checks_table() in page
    shown = (ROOT / "benchmarks" / "health.txt").read_text(encoding="utf-8")
    assert shown.strip() in page
    named = next(line for line in shown.splitlines() if line.startswith("Named"))
    assert float(named.split("(")[1].split("%")[0]) >= 95
    assert float(named.split("error ")[1].split()[0]) <= 2
    assert int(next(line for line in shown.splitlines() if line.startswith("Sound")).split(": ")[1].split()[0]) <= 1


def test_the_benchmark_prints_what_it_is_asked_for(capsys):
    main(["--seeds", "1", "--sound", "1", "--only", "0.0", "--from", "1"])
    shown = capsys.readouterr().out
    assert "| scores of 0.0 | a quarter of them | `equal-scores` | 1/1 | " in shown
    assert "Sound runs with a warning or failure: 0 of 1." in shown
