from printing import line_of, printed

from critic_probe.report.terminal.pieces import interval


def test_accuracy_by_position_dependence_and_kinds_of_token(tokens):
    shown = printed(tokens, 80)
    half = tokens.positions[(tokens.positions.critic == "bundled:mean") & (tokens.positions.share == 0.5)]
    cells = " ".join(interval(row.d_acc, row.d_acc_low, row.d_acc_high) for row in half.itertuples())
    assert line_of(shown, "d_acc when read after", "bundled:mean", "50%") == f"50% {cells}"
    row = tokens.dependence.iloc[0]
    told = f"{row.tokens:.1f} {row.lag1:.1f} {row.effective_tokens:.1f} {row.variance_ratio:.1f}"
    least = f"{row.too_short + row.constant}/{row.responses}"
    assert line_of(shown, "How dependent", "bundled:last") == f"bundled:last {told} {least}"
    digit = tokens.classes[tokens.classes.token_class == "digit"].iloc[0]
    line = line_of(shown, "Value by kind of token", "bundled:last", "digit")
    start = f"digit student {digit.n} {digit['mean']:.2f} {digit.sd:.2f} {digit.mean_over_response_sd:+.2f}"
    assert line == start
