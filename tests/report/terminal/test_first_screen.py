"""What a command begins with: the answer and what it rests on, on one screen of 40 lines and 80 columns."""

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from rich.cells import cell_len
from rich.console import Console

from critic_probe.aggregation import parse
from critic_probe.gates.gate import load_gates
from critic_probe.gates.measure import judge
from critic_probe.measures import compare as comparing
from critic_probe.measures import perturb as perturbing
from critic_probe.measures import tokens as reading
from critic_probe.probes import all_families, choose
from critic_probe.report.files import read_result, to_json
from critic_probe.report.terminal import SCREEN, show
from critic_probe.workbench import Settings

EIGHT = ("compare", "perturb", "completeness", "audit", "tokens", "doctor", "diff", "check")
# What the first screen leaves out and the rest prints, by command.
LEFT_OUT = {
    "compare": ("By category", "One against another", "How to read it"),
    "perturb": ("Invariances: the meaning stays", "Not measured", "How to read it"),
    "completeness": ("Completeness: the same facts", "How to read it"),
    "audit": ("What was claimed, and what was measured", "What else was measured"),
    "tokens": ("Value by kind of token", "How to read it"),
    "doctor": (" ok, ",),
    "diff": ("Pairs that flipped", "How to read it"),
    "check": ("pass ",),
}


def quiet(*_):
    return lambda: None


def shown(result, *, full=False):
    console = Console(file=io.StringIO(), width=80)
    show(result, console, full=full)
    return console.file.getvalue()


def words(text):
    return " ".join(text.split())


@pytest.fixture(scope="session")
def check(compare, perturb, tokens, doctor):
    results = {"compare": compare, "perturb": perturb, "tokens": tokens, "doctor": [("bundled:last", doctor)]}
    plan = load_gates("default", None, all_families())
    kept = tuple(gate for gate in plan.gates if gate.metric.partition(".")[0] in results)
    return judge(replace(plan, gates=kept), results, compare.signature, ["last", "mean"])


@pytest.fixture(scope="session")
def alone(critics, pairs):
    """Of one critic under both read-outs, by command."""
    given = (critics[:1], pairs, Settings((parse("last"), parse("mean"))))
    groups = {"perturb": ["punct", "controls"], "completeness": ["completeness"]}
    plans = {name: perturbing.Plan(choose(all_families(), of, []), most=3) for name, of in groups.items()}
    return {
        "compare": comparing.compare(*given, quiet),
        "tokens": reading.tokens(*given, quiet),
        **{name: replace(perturbing.perturb(*given, plan, quiet), command=name) for name, plan in plans.items()},
    }


@pytest.mark.parametrize("command", EIGHT)
def test_a_first_screen_has_room_on_a_screen_and_full_prints_the_rest(request, command):
    result = request.getfixturevalue(command)
    lines, full = shown(result).splitlines(), words(shown(result, full=True))
    assert len(lines) <= SCREEN
    assert max(map(cell_len, lines)) <= 80
    for title in LEFT_OUT[command]:
        assert title in full
    assert [title for title in LEFT_OUT[command] if title not in words("\n".join(lines))]
    assert len(full) > len(words("\n".join(lines)))


@pytest.mark.parametrize("command", ["compare", "perturb", "completeness", "tokens"])
def test_that_of_one_critic_leaves_no_sentence_out(alone, command):
    first = shown(alone[command])
    assert len(first.splitlines()) <= SCREEN
    for said in alone[command].answer():
        assert words(said.text) in words(first)


def test_a_category_that_stands_out_is_shown_alone_and_none_else(alone, compare):
    for result in (alone["compare"], compare):
        alike = result.categories.assign(p=0.5, p_holm=1.0)
        unlike = alike.assign(p_holm=alike.p_holm.mask(alike.category == "digit", 0.001))
        first = shown(replace(result, categories=unlike))
        assert len(first.splitlines()) <= SCREEN
        assert "category digit stands out" in words(first)
        assert "stands out" not in words(shown(replace(result, categories=alike)))
        assert "By category" not in shown(replace(result, categories=alike))
    table = shown(replace(alone["compare"], categories=alone["compare"].categories.assign(p=0.5, p_holm=0.001)))
    first = table.split("By category")[1].split("\n\n")[0]
    assert len([name for name in alone["compare"].categories.category.unique() if name in first]) == 1


def test_that_of_many_critics_says_how_many_sentences_it_leaves_out(perturb):
    """Sentences make room for the table; the last one, on what to run next, stays."""
    critics = [f"critic-{number}" for number in range(9)]
    headline = pd.concat([perturb.headline.assign(critic=critic) for critic in critics], ignore_index=True)
    lines = shown(replace(perturb, headline=headline)).splitlines()
    assert any(line.startswith("- ... and ") and line.rstrip().endswith(" more: full=True") for line in lines)
    assert any(line.startswith("- Next: ") for line in lines)


@pytest.mark.parametrize("command", EIGHT)
def test_every_renderer_begins_with_the_same_sentences(request, command):
    """JSON has them under `answer`, and the first of them stands on the first screen."""
    result = request.getfixturevalue(command)
    full = words(shown(result, full=True).replace("\n- ", "\n").replace("\n  ", "\n"))
    answer = to_json(result)["answer"]
    assert [said["text"] for said in answer] == [said.text for said in result.answer()]
    for said in answer:
        assert words(said["text"]) in full
    assert words(answer[0]["text"]) in words(shown(result).replace("\n  ", "\n"))


@pytest.mark.parametrize("command", [name for name in EIGHT if name != "check"])
def test_a_result_that_is_read_back_answers_the_same(request, command, tmp_path):
    result = request.getfixturevalue(command)
    result.save(tmp_path / "result.json")
    assert to_json(read_result(tmp_path / "result.json"))["answer"] == to_json(result)["answer"]


@pytest.mark.parametrize("command", ["compare", "perturb", "completeness", "tokens", "diff"])
def test_the_figures_of_an_answer_are_cells_of_its_tables(request, command):
    result = request.getfixturevalue(command)
    cells = {
        float(cell)
        for name in result.tables
        for column in getattr(result, name).select_dtypes("number")
        for cell in getattr(result, name)[column].dropna()
    }
    figures = [value for said in result.answer() for value in said.figures.values()]
    numbers = [value for value in figures if isinstance(value, float | int | np.number)]
    assert len(numbers) > 4
    assert {float(value) for value in numbers if not pd.isna(value)} <= cells
