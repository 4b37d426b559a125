from printing import line_of, printed

from critic_probe.report.terminal.pieces import interval, p_value


def test_old_and_new_stand_side_by_side(diff):
    shown = printed(diff, 80)
    row = diff.pairs.iloc[0]
    margin = interval(row.margin, row.margin_low, row.margin_high)
    line = f"last {row.old_d_acc:.2f} -> {row.new_d_acc:.2f} {row.flips}/22 {p_value(row.p_holm)} {margin}"
    assert line_of(shown, "Verdicts (p: sign-flip test", "last") == line


def test_as_many_families_of_each_read_out_as_asked_for(diff):
    of_last = diff.families[diff.families.aggregation == "last"]
    shown = printed(diff, rows=2).split("What the score reacts to")[1].split("Pairs that flipped")[0]
    line = line_of(shown, "last", of_last.family.iloc[0], of_last.family.iloc[1])
    second = of_last.iloc[1]
    start = (
        f"{second.family} {second.old:.2f} -> {second.new:.2f} {interval(second.difference, second.low, second.high)}"
    )
    assert line.startswith(start)
    assert len([line for line in shown.splitlines() if "->" in line]) == 4


def test_pairs_that_flipped_are_named(diff):
    shown = printed(diff).split("Pairs that flipped")[1]
    row = diff.flipped.iloc[0]
    change = f"{row.old_gap_over_sd:+.2f} -> {row.new_gap_over_sd:+.2f}"
    assert line_of(shown, row.aggregation, row.id) == f"{row.id} {row.old_verdict} -> {row.new_verdict} {change}"
