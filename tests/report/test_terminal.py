import io
from dataclasses import replace

import pandas as pd
import pytest
from rich.cells import cell_len
from rich.console import Console

from critic_probe.report.terminal import print_compare, print_perturb, print_trace, signature_line

WIDTHS = (80, 100, 120, 200)


def printed(result, width=200, rows=10, **options):
    console = Console(file=io.StringIO(), width=width, **options)
    if hasattr(result, "pairs"):
        print_compare(result, console, rows)
    elif hasattr(result, "cases"):
        print_perturb(result, console, rows)
    else:
        print_trace(result, console)
    return console.file.getvalue()


@pytest.fixture(params=["compare", "perturb", "trace"])
def result(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(params=WIDTHS)
def width(request):
    return request.param


def test_no_line_is_wider_than_the_console(result, width):
    assert max(cell_len(line) for line in printed(result, width).splitlines()) <= width


def test_hostile_text_is_shown_literally_and_controls_nothing(result, width):
    shown = printed(result, width)
    assert not {"\x1b", "\u202e"} & set(shown)
    assert "[bold]" in shown
    assert "</script>" in printed(result)


def test_no_number_is_cut_short(result, width):
    """rich marks what it truncates with an ellipsis; the texts of these results hold one only in an edit's context."""
    assert printed(result, width).replace("…已确诊", "").replace("[red]后文…", "").count("…") == 0


def test_a_terminal_gets_colour_unless_it_asks_for_none(trace, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "48;2;" in printed(trace, force_terminal=True, color_system="truecolor")
    monkeypatch.setenv("NO_COLOR", "1")
    plain = printed(trace, force_terminal=True, color_system="truecolor")
    assert "48;2;" not in plain
    assert "+████" in plain
    assert "-██" in plain


def test_warnings_name_five_pairs_and_count_the_rest(result):
    shown = printed(result)
    assert "eos-one-side: Only students" in shown
    assert "(pair-0, pair-1, pair-2, pair-3, pair-4, ... and 7 more)" in shown
    assert "too-few: Eight pairs are too few.\n" in "\n".join(line.rstrip() for line in shown.splitlines()) + "\n"


def test_what_is_absent_takes_no_room(compare, perturb, trace):
    bare = replace(compare, categories=compare.categories[:0], notices=[], reading=[], pairs=compare.pairs[:0])
    assert not {"By category", "Warnings", "How to read it", "Most disputed"} & {
        line.split("  ")[0] for line in printed(bare).splitlines()
    }
    assert "Worst cases" not in printed(perturb, rows=0)
    assert "Not measured" not in printed(replace(perturb, not_measured=perturb.not_measured[:0]))
    assert "Scores" not in printed(replace(trace, scores=trace.scores[:0]))
    means = compare.pairs[compare.pairs["aggregation"] == "mean"]
    assert "token read" not in printed(replace(compare, pairs=means))


def test_an_empty_result_still_prints_its_signature(result):
    frames = {name: value[:0] for name, value in vars(result).items() if isinstance(value, pd.DataFrame)}
    assert "critic-probe 0.1.0" in printed(replace(result, **frames))


def line_of(shown, *starts):
    """The first line with `starts[-1]` after the lines with the other ones, its blanks made single."""
    lines = iter(shown.splitlines())
    found = ""
    for start in starts:
        found = next(line for line in lines if line.strip().startswith(start))
    return " ".join(found.split())


@pytest.mark.parametrize("width", WIDTHS)
def test_compare_summary(compare, width):
    shown = printed(compare, width)
    assert line_of(shown, "tiny-last", "last") == "last 0.89 [0.80, 0.94] 3/80 +3.06 2.42 +1.27 +0.87 –"
    assert line_of(shown, "tiny-last", "mean") == "mean 0.51 [0.40, 0.62] 0/80 -0.04 0.50 -0.09 -0.31 12 (p = 0.003)"
    assert line_of(shown, "mix:0.25") == "mix:0.25 0.60 [0.50, 0.70] 1/80 +0.70 0.90 +0.77 +0.20 31 (p < 0.001)"
    assert line_of(shown, "baselines", "longer wins") == "longer wins 0.55 [0.44, 0.66] 2/80"
    assert "0.81 [0.71, 0.88]" in shown


def test_accuracies_and_baselines_stand_in_one_column(compare):
    lines = printed(compare, 80).split("By category")[0].splitlines()
    starts = {line.index(figure) for line in lines for figure in ("0.89 [", "0.55 [", "0.81 [") if figure in line}
    assert len(starts) == 1


def test_compare_categories_put_read_outs_side_by_side(compare):
    shown = printed(compare).split("By category")[1]
    assert line_of(shown, "标点", "last") == "last 0.75 [0.60, 0.86] 1/40 +2.50 +1.03 +████"
    assert line_of(shown, "标点", "last", "mean", "[bold]", "last")


def test_compare_pairs(compare):
    shown = printed(compare, rows=2).split("Most disputed pairs (2 of 3")[1]
    assert line_of(shown, "病例-017, 标点", "last").startswith("last -0.56 2.50 +3.06 +1.27 teacher '，' | '。")
    assert shown.index("病例-017") < shown.index("[bold]x[/bold]")
    assert "plain" not in shown


def test_a_sign_that_decides_a_verdict_survives_rounding(compare):
    assert line_of(printed(compare), "病例-017", "mean") == "mean 0.12 0.12 -0.00 -0.00 student"


def test_a_difference_that_arithmetic_makes_is_below_the_floor(compare, perturb):
    shown = printed(replace(compare, pairs=compare.pairs.assign(floor=1e-5)))
    assert line_of(shown, "病例-017", "mean") == "mean 0.12 0.12 < floor < floor student"
    assert "< floor" in printed(replace(perturb, cases=perturb.cases.assign(floor=1.0)))
    assert "< floor" not in printed(perturb)


def test_critics_are_named_only_where_there_are_several(compare):
    other = compare.pairs.assign(critic="tiny-mean")
    both = replace(compare, pairs=pd.concat([compare.pairs, other]))
    assert "tiny-last/last" not in printed(replace(compare, contrasts=compare.contrasts[:0]))
    shown = printed(both)
    assert line_of(shown, "病例-017", "tiny-last/last", "tiny-last/mean", "tiny-mean/last")


@pytest.mark.parametrize("width", WIDTHS)
def test_perturb(perturb, width):
    shown = printed(perturb, width)
    assert line_of(shown, "signal to noise", "last") == "last 9.87 [4.00, 15.00] 0.20 [0.10, 0.40] 0.80 [0.65, 0.90]"
    wide, flips = ("0.62 0.10 ", "0.15 ") if width >= 100 else ("", "")
    line = line_of(shown, "punctuation, terminal", "last")
    assert line == f"last 40 0.31 0.13 [0.07, 0.29] 0.51 {wide}0.15 0.05 cannot tell"
    raw = "0.31 " if width >= 100 else ""
    assert line_of(shown, "truncated", "mean") == f"mean 40 {raw}-0.08 0.80 [0.65, 0.90] 0.55 {wide}{flips}0.10 pass"
    assert line_of(shown, "Worst", "病例-017, teacher, last").endswith("last 2.50 -0.56 -3.06 -1.27 yes")
    assert "…已确诊[-。-]{+，+}" in shown
    assert "[bold]x[/bold]" in shown
    assert line_of(shown, "Not measured", "punctuation").startswith("punctuation 7 the response has no full stop")
    assert "tiny-last" not in shown.split("Not measured")[1].split("How to read it")[0]


def test_perturb_says_whose_cases_were_not_measured(perturb):
    both = pd.concat([perturb.not_measured, perturb.not_measured.assign(critic="tiny-mean", count=9)])
    shown = printed(replace(perturb, not_measured=both)).split("Not measured")[1]
    assert line_of(shown, "tiny-last", "punctuation", "tiny-mean", "punctuation").startswith("punctuation 9 ")


def test_perturb_shows_the_worst_first(perturb):
    shown = printed(perturb, rows=1)
    assert "Worst cases (1 of 2)" in shown
    assert "已确诊" in shown
    assert "后文" not in shown


def test_trace_aligns_the_sides_where_there_is_room(trace):
    lines = printed(trace, 200).splitlines()
    first = next(line for line in lines if "'已'" in line)
    assert " ".join(first.split()) == "0 '已' 150000 -4.00 -2.00 -████ 0 '已' 150000 -4.00 -2.00 -████"
    shown = printed(trace, 80)
    assert line_of(shown, "student", "5") == "5 '，' 150005 0.00 0.00 last"
    assert line_of(shown, "teacher", "0") == "0 '已' 150000 -4.00 -2.00 -████"


def test_trace_shows_a_character_of_several_tokens_once(trace):
    shown = printed(trace, 80)
    assert shown.count("'癌'") == 2  # once a critic
    assert line_of(shown, "1", "2") == "2 · 150002 1.50 0.75 +█▌"


def test_trace_scores_and_prompt(trace):
    shown = printed(trace)
    assert shown.startswith("Prompt\n患者的诊断是什么？\n")
    assert line_of(shown, "Scores", "tiny-mean", "mean") == "mean -0.50 2.88"
    assert len(printed(replace(trace, prompt="长" * 10_000)).splitlines()) < 60


def test_small_scores_keep_three_digits_and_huge_ones_their_columns(compare):
    summary = compare.summary.assign(mean_gap=0.00123, sd=0.0456)
    assert "+0.0012 0.0456" in line_of(printed(replace(compare, summary=summary)), "last")
    summary = compare.summary.assign(mean_gap=-12345.678, sd=99.5)
    assert "-12346 100 " in line_of(printed(replace(compare, summary=summary)), "last")
    summary = compare.summary.assign(mean_gap=-1.5e9, sd=float("inf"))
    assert "-1.50e+09 inf" in line_of(printed(replace(compare, summary=summary)), "last")


def test_signature_line(compare):
    assert signature_line(compare.signature) == (
        "critic-probe 0.1.0 | critic tiny-last@ab12ab12ab12 head:cd34cd34cd34 | read-outs last,mean"
        " | eos exclude (151643,151645) | at"
        " | tokenizer ef56ef56ef56 | template chat:1a2b3c | float32 | cpu | sdpa | engine reference | torch 2.13.0"
        " | transformers 5.23.0 | data 009900990099"
    )
    critic = compare.signature["critics"][0]
    two = signature_line({"critics": [critic, {**critic, "name": "b", "dtype": "bfloat16"}], "seed": 7})
    assert two.startswith("critics tiny-last@ab12ab12ab12 head:cd34cd34cd34, b@ab12ab12ab12 head:cd34cd34cd34 | ")
    assert " | float32,bfloat16 | " in two
    assert two.endswith(" | seed 7")
    assert signature_line({}) == ""
