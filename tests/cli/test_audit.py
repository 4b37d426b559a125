"""The audit from the command line."""

import json

import pandas as pd
import pytest
from typer.testing import CliRunner

from critic_probe.cli import app
from critic_probe.studies.claims import CLAIMS


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    path = tmp_path_factory.mktemp("audit") / "claims.csv"
    result = CliRunner().invoke(app, ["audit", "-c", "bundled:mean", "--json", "-o", str(path)])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout), path


def test_every_claim_has_a_figure_a_verdict_and_a_command(audited):
    found, path = audited
    assert found["schema"] == "critic-probe/audit/1"
    assert [row["claim"] for row in found["claims"]] == list(CLAIMS)
    for row in found["claims"]:
        assert row["verdict"] in ("holds", "does not hold", "cannot tell")
        assert row["low"] <= row["figure"] <= row["high"]
        assert row["n"] > 0
        assert row["reproduce"].startswith("critic-probe ")
    assert pd.read_csv(path).claim.tolist() == list(CLAIMS)
    assert {row["claim"] for row in found["figures"]} <= set(CLAIMS)
    assert (found["signature"]["gradient_pairs"], found["signature"]["heads"]) == (32, 200)


def test_what_is_wrong_of_every_transformer_and_every_loss_of_differences_is_called_so(audited):
    rows = {row["claim"]: row for row in audited[0]["claims"]}
    for name in ("last-starves-tokens", "above-zero", "eos-excluded", "complete-not-penalised"):
        assert rows[name]["verdict"] == "does not hold"
        assert rows[name]["told"] == CLAIMS[name].instead
    assert rows["mean-spreads-evenly"]["verdict"] == rows["dilution"]["verdict"] == "holds"


def test_a_figure_is_what_its_own_command_prints(audited):
    rows = {row["claim"]: row for row in audited[0]["claims"]}

    def run(name):
        words = rows[name]["reproduce"].split()[1:]
        result = CliRunner().invoke(app, words if "--json" in words else [*words, "--json"])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    [dependence] = run("variance-over-n")["dependence"]
    worth = dependence["tokens"] / dependence["effective_tokens"]  # no longer variance_ratio: that is noise and signal
    assert rows["variance-over-n"]["figure"] == pytest.approx(worth)
    cases = [case["delta_over_sd"] for case in run("same-json")["cases"]]
    assert rows["same-json"]["figure"] == pytest.approx(pd.Series(cases).abs().median())
    assert rows["same-json"]["n"] == len(cases)
    [headline] = run("mean-reads-content")["headline"]
    assert rows["mean-reads-content"]["figure"] == pytest.approx(headline["controls_right"])
    edits = pd.DataFrame(run("punctuation-gap")["cases"]).assign(size=lambda t: t.delta_over_sd.abs())
    mean, last = (edits[edits.aggregation == name]["size"].mean() for name in ("mean", "last"))
    assert rows["punctuation-gap"]["figure"] == pytest.approx(mean - last)


def test_the_table_names_claims_critics_verdicts_and_commands(tmp_path, critic_dir):
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"ask {i}", "student": f"No idea, {i}", "teacher": f"It is {i}."} for i in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    asked = [str(path), "-c", str(critic_dir), "--eos", "include", "--seed", "3"]
    shown = CliRunner().invoke(app, ["audit", *asked, "--full"])
    assert shown.exit_code == 0, shown.output
    flat = " ".join(shown.stdout.split())
    for claim in CLAIMS.values():
        assert claim.says in flat
        assert f"{claim.measured}; holds if {claim.holds_if}" in flat
        words = f"{claim.reproduce} {path} --checkpoint {critic_dir} --eos-policy include"
        words += "" if claim.reproduce == "critic-probe tokens" else " --seed 3"
        assert "".join(f"$ {words}".split()) in "".join(flat.split())
    assert f"{critic_dir.name} does not hold 0 n = 3 -> does not hold: The loss sees differences alone" in flat
    assert f"{critic_dir.name} cannot tell" in flat


def test_bad_usage():
    for arguments, message in (
        (["audit", "--on-too-long", "cut"], "--on-too-long 'cut' is unknown"),
        (["audit", "-o", "claims.txt"], "claims.txt"),
        (["audit", "-c", "no/such/critic"], "no/such/critic"),
    ):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 2, result.output
        assert message in result.stderr
