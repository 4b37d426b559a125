"""Results that are a line a check: doctor, verify, inspect and check."""

import io
from dataclasses import replace

import pytest
from printing import line_of, printed
from rich.console import Console

from critic_probe.checkpoint import dissect, inspect
from critic_probe.gates.gate import Gate, Plan
from critic_probe.gates.measure import judge
from critic_probe.report.terminal.check import print_check
from critic_probe.report.terminal.inspect import print_inspect
from critic_probe.report.verdicts import sentences


def test_doctor_shows_every_check_with_its_cure_and_counts_them(doctor):
    shown = printed(doctor)
    wide = max(map(len, doctor.checks.verdict)) + 2
    for row in doctor.checks.itertuples():
        assert line_of(shown, row.verdict.ljust(wide) + row.check).startswith(f"{row.verdict} {row.check} ")
        if row.cure:
            assert f"-> {row.cure}" in shown
    counts = doctor.checks.verdict.value_counts()
    counted = f"{counts['ok']} ok, {counts['warn']} warn, {counts['not run']} not run"
    assert line_of(shown, f"{counts['ok']} ok") == counted


@pytest.mark.parametrize(("verdict", "word"), [("pass", "holds"), ("fail", "does not hold")])
def test_verify_says_whether_the_record_holds(verify, verdict, word):
    checks = verify.checks.assign(verdict=[verdict, *verify.checks.verdict[1:]])
    shown = printed(replace(verify, checks=checks))
    assert line_of(shown, verdict) == f"{verdict} figures {verify.checks.evidence[0]}"
    assert line_of(shown, "pass", "pass", "pass  bundled:mean: scores").startswith("pass bundled:mean: scores 4 rows")
    assert line_of(shown, "the record") == f"the record {word} (sample: 2 pairs of each critic, seed 0)"


def test_inspect_shows_a_fact_a_line(fixtures):
    found = inspect(dissect(fixtures / "critics" / "last")) | {"convention": "gad", "convention_because": "it was told"}
    console = Console(file=io.StringIO(), width=200)
    print_inspect(found, console)
    shown = console.file.getvalue()
    assert line_of(shown, "fingerprint") == f"fingerprint {found['fingerprint']}"
    assert line_of(shown, "context") == f"context {found['context_length']} tokens"
    assert line_of(shown, "read as") == f"read as {found['reading'][0]}"
    assert line_of(shown, "convention") == "convention gad (it was told); convention reads it otherwise"


def test_verdicts_show_what_fails_last_with_the_pairs_to_look_at(compare):
    gates = (
        Gate("compare.d_acc", min=0.99, at="value"),
        Gate("compare.d_acc", min=0.1, at="value"),
        Gate("compare.d_acc", min=0.1, at="value", category="none such", severity="warn"),
    )
    found = judge(Plan("mine", gates), {"compare": compare}, compare.signature, ["last", "mean"])
    console = Console(file=io.StringIO(), width=200)
    print_check(found, console)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    ends = [line.split("  ")[0] for line in lines if line.startswith(("pass ", "fail ", "warn"))]
    assert ends == ["pass"] * 4 + ["warn, cannot tell"] + ["fail"] * 4
    told = [line for line in sentences(found.gates) if line.startswith("fail: compare.d_acc bundled:last/last")]
    assert told[0].removeprefix("fail: ").split("; look at")[0] in "\n".join(lines)
    assert f"-> {told[0].split('; ')[1]}" in "\n".join(line.strip() for line in lines)
    [said] = found.answer()
    counted = "4 fail, 1 only warns and 4 hold"
    assert said.text == f"Failed (mine): of 9 bounded figures {counted}; exit code 1."
