from dataclasses import replace

import pytest
from printing import line_of, printed

from critic_probe.report.terminal.pieces import interval, number


@pytest.mark.parametrize("width", [80, 200])
def test_the_summary_says_what_its_table_says(compare, width):
    shown = printed(compare, width)
    for row in compare.summary.to_dict("records"):
        line = line_of(shown, "Teacher over student", row["critic"], row["aggregation"])
        gap, sd = number(row["mean_gap"], signed=True), number(row["sd"])
        d_acc = interval(row["d_acc"], row["d_acc_low"], row["d_acc_high"])
        assert line.startswith(f"{row['aggregation']} {d_acc} {row['ties']}/22 {gap} {sd} ")
    longer = compare.baselines.set_index("baseline").loc["longer wins"]
    accuracy = interval(longer.accuracy, longer.low, longer.high)
    assert line_of(shown, "baselines", "longer wins") == f"longer wins {accuracy} {longer.ties:.0f}/22"


def test_accuracies_and_baselines_stand_in_one_column(compare):
    lines = printed(compare, 80).split("By category")[0].splitlines()
    first = [*compare.summary.d_acc, *compare.baselines.accuracy]
    starts = {line.index(f"{x:.2f} [") for x in first for line in lines if f"{x:.2f} [" in line}
    assert len(starts) == 1


def test_categories_put_critics_and_read_outs_side_by_side(compare):
    shown = printed(compare).split("By category")[1]
    assert line_of(shown, "digit", "bundled:last/last", "bundled:last/mean", "bundled:mean/last", "bundled:mean/mean")
    assert line_of(shown, "[bold]x[/bold]", "bundled:last/last")


def test_the_most_disputed_pairs_come_first(compare):
    shown = printed(compare, rows=2).split("Most disputed pairs (2 of 22")[1].split("Statistics")[0]
    first, second, third = list(dict.fromkeys(compare.pairs.id))[:3]
    assert shown.index(first) < shown.index(second)
    assert third not in shown
    row = compare.pairs.iloc[0]
    start = f"{row.critic}/{row.aggregation} {row.student_score:.2f} {row.teacher_score:.2f} {row.gap:+.2f}"
    assert line_of(shown, first, f"{row.critic}/{row.aggregation}").startswith(start)


def test_ties_are_below_the_floor(compare):
    ties = compare.pairs[(compare.pairs.verdict == "tie") & (compare.pairs.aggregation == "mean")]
    shown = printed(replace(compare, pairs=ties)).split("Most disputed")[1]
    assert line_of(shown, ties.id.iloc[0], "bundled").count("< floor < floor tie") == 1
    assert "token read" not in shown


def test_statistics_lengths_and_contrasts_are_there(compare):
    shown = printed(compare, 80)
    assert line_of(shown, "Statistics (T = 5)", "bundled:last/last").split()[2] == number(
        compare.statistics.soft_d_acc[0]
    )
    assert line_of(shown, "Length", "bundled:last/last").split()[1] == number(
        compare.lengths.within_prompt_spearman[0], signed=True
    )
    assert "bundled:last/last - bundled:mean/last" in line_of(
        shown, "One against another", "bundled:last/last - bundled:m"
    )


def test_what_is_absent_takes_no_room(compare):
    bare = replace(compare, categories=compare.categories[:0], notices=[], reading=[], pairs=compare.pairs[:0])
    assert not {"By category", "Warnings", "How to read it", "Most disputed"} & {
        line.split("  ")[0] for line in printed(bare).splitlines()
    }
