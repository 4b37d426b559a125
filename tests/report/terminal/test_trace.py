from dataclasses import replace

from printing import line_of, printed


def test_a_terminal_gets_colour_unless_it_asks_for_none(trace, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "48;2;" in printed(trace, force_terminal=True, color_system="truecolor")
    monkeypatch.setenv("NO_COLOR", "1")
    plain = printed(trace, force_terminal=True, color_system="truecolor")
    assert "48;2;" not in plain
    assert "-████" in plain


def test_the_sides_are_aligned_where_there_is_room(trace):
    [first] = [line for line in printed(trace, 200).splitlines() if "'坏'" in line and " 168 " in line][:1]
    assert first.count("'好'") == 1
    row = trace.tokens.iloc[-1]
    line = line_of(printed(trace, 80), "Value of every token: bundled:mean", "teacher", f"{row['index']} ")
    assert line.startswith(f"{row['index']} '。' {row.token_id} {row.value:.2f} {row.running_mean:.2f} ")
    assert line.endswith(" last")


def test_a_character_of_several_tokens_is_shown_once(trace):
    shown = printed(trace, 80)
    assert shown.count("'坏'") == 2  # once a critic
    assert line_of(shown, "student", "1 ").startswith(f"1 · {trace.tokens.token_id[1]} ")


def test_scores_and_prompt(trace):
    shown = printed(trace)
    assert "\n\nPrompt\n<|im_start|>user\n问[bold]x[/bold] \\x1b[31mred \\u202eevil </script>" in shown
    [student, teacher] = trace.scores[
        (trace.scores.critic == "bundled:mean") & (trace.scores.aggregation == "mean")
    ].score
    assert line_of(shown, "Scores", "bundled:mean", "mean") == f"mean {student:.2f} {teacher:.2f}"
    assert "Scores" not in printed(replace(trace, scores=trace.scores[:0]))
    assert len(printed(replace(trace, prompt="长" * 10_000)).splitlines()) < 120
