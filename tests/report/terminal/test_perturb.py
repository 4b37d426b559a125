from dataclasses import replace

import pytest
from printing import line_of, printed

from critic_probe.report.terminal.pieces import interval, number
from critic_probe.text import neutralise


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_tables_say_what_the_result_says(perturb, width):
    shown = printed(perturb, width)
    row = perturb.headline.iloc[0]
    order = interval(row.fault_right, row.fault_right_low, row.fault_right_high)
    assert line_of(shown, "What that shows", "bundled:last", "last") == f"last {row.fault} {order} {row.controls_word}"
    control = perturb.summary[perturb.summary.family == "wrong-digit"].iloc[0]
    line = line_of(shown, "Controls: the answer gets worse", "wrong-digit", "bundled:last/last")
    raw = f"{control.median_abs_delta:.2f} " if width >= 100 else ""
    right = interval(control.figure, control.low, control.high)
    start = f"bundled:last/last {control.n} {raw}{control.mean_delta_over_sd:+.2f} {right} "
    assert line.startswith(start)
    controls = perturb.summary[perturb.summary.kind == "control"]
    more = f" {number(control.more_prompts or None, 0)}" if controls.more_prompts.any() else ""
    assert line.endswith(f"{number(control.detectable)}{more} {control.verdict}")
    assert ((controls.more_prompts > 0) <= (controls.verdict == "cannot tell")).all()
    assert line_of(shown, "Identities", "batch-mates", "bundled:last/last").endswith("pass")


def test_completeness_is_shown_under_its_own_heading(completeness):
    row = completeness.summary[completeness.summary.kind == "directional"].iloc[0]
    line = line_of(printed(completeness, 80), "Completeness: the same facts", row.family, "bundled:last/last")
    assert line.startswith(f"bundled:last/last {row.n} {row.mean_delta_over_sd:+.2f} ")


def test_the_worst_cases_come_first_with_their_edit(perturb):
    shown = printed(perturb, rows=1).split(f"Worst cases (1 of {len(perturb.cases)})")[1].split("Not measured")[0]
    case = perturb.cases.iloc[0]
    line = line_of(shown, f"{case.id}, {case.side}, {case.critic}/{case.aggregation}")
    assert f"{case.original_score:.2f} {case.variant_score:.2f} {case.delta:+.2f}" in line
    edit = (f"[-{case.removed}-]" if case.removed else "") + (f"{{+{case.added}+}}" if case.added else "")
    assert neutralise(edit) in "".join(shown.split())
    assert "Worst cases" not in printed(perturb, rows=0)


def test_what_was_not_measured_is_said_of_each_critic(perturb):
    shown = printed(perturb).split("Not measured")[1]
    skipped = perturb.not_measured[perturb.not_measured.critic == "bundled:mean"]
    first = skipped[skipped.family == "wrap-quotes"].iloc[0]
    line = line_of(shown, "bundled:last", "wrap-quotes", "bundled:mean", "wrap-quotes")
    assert line == f"wrap-quotes {first['count']} {first.reason}"
    one = perturb.not_measured[perturb.not_measured.critic == "bundled:last"]
    assert "bundled:last" not in printed(replace(perturb, not_measured=one)).split("Not measured")[1].split("How to")[0]
    assert "Not measured" not in printed(replace(perturb, not_measured=one[:0]))
