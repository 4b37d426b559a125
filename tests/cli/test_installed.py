"""Commands as a user runs them, with the bundled critics and with a tiny one; the installed one where that matters."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from critic_probe.cli import app

COMMAND = Path(sys.executable).parent / "critic-probe"
FIXTURES = Path(__file__).parents[2] / "fixtures"

PAIRS = [
    {"id": "a", "prompt": "问", "student": "好，是的，", "teacher": "好，是的。", "category": "comma"},
    {"id": "b", "prompt": "ask", "student": "No idea", "teacher": "Four, of course.", "category": "fact"},
    {"id": "c", "prompt": "ask", "student": "Same text.", "teacher": "Same text."},
]


def run(*arguments: object):
    return CliRunner().invoke(app, [*map(str, arguments)])


def installed(*arguments: object, stdin: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(COMMAND), *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={k: v for k, v in os.environ.items() if k != "CRITIC_PROBE_CHECKPOINT"} | environment,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def pairs_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in PAIRS), encoding="utf-8")
    return path


def test_what_computes_nothing_imports_nothing_heavy(tmp_path):
    code = (
        "import sys\n"
        "import critic_probe\n"
        "light = set(sys.modules)\n"
        "from critic_probe.cli import app\n"
        "from typer.main import get_command\n"
        "def run(*arguments):\n"
        "    try:\n        app(arguments)\n    except SystemExit as stop:\n        assert not stop.code, arguments\n"
        "run('--help')\nrun('--version')\n"
        "for name in get_command(app).commands:\n    run(name, '--help')\n"
        "run('profiles', 'list')\nrun('profiles', 'show', 'default')\nrun('perturb', '--list')\n"
        "run('cache', 'info')\nrun('cache', 'clear')\n"
        "heavy = {'torch', 'transformers', 'pandas', 'statsmodels', 'scipy', 'pyarrow', 'numpy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert 'typer' not in light"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for text in ("critic-probe ", "--punct", "strict", "[[gates]]", "terminal-swap", "0 responses of 0 critics"):
        assert text in done.stdout


def test_the_readmes_main_command():
    result = installed("compare", FIXTURES / "pairs.jsonl")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    for text in ("bundled:last", "bundled:mean", "d_acc", "puts the teacher first", "bundled-critics", "critic-probe "):
        assert text in result.stdout
    assert "\x1b" not in result.stdout


def test_compare_json_is_one_object_with_flat_records(pairs_file, critic_dir):
    result = run("compare", pairs_file, "-c", critic_dir, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    assert found["schema"] == "critic-probe/compare/1"
    columns = {"critic", "aggregation", "n", "d_acc", "d_acc_low", "d_acc_high", "ties", "mean_gap", "sd"}
    assert columns | {"gap_over_sd", "separation"} <= set(found["summary"][0])
    assert [(row["aggregation"], row["n"], row["ties"]) for row in found["summary"]] == [("last", 3, 1), ("mean", 3, 1)]
    assert len(found["pairs"]) == 6
    row = next(r for r in found["pairs"] if r["id"] == "a" and r["aggregation"] == "last")
    assert (row["student_token_read"], row["teacher_token_read"]) == ("，", "。")
    assert row["gap"] == pytest.approx(row["teacher_score"] - row["student_score"])
    assert {w["code"] for w in found["warnings"]} == {"few-pairs", "head-untrained"}
    assert found["signature"]["critics"][0]["dtype"] == "float32"


def test_pairs_come_from_stdin_and_the_checkpoint_from_the_environment(critic_dir):
    rows = "".join(json.dumps(row) + "\n" for row in PAIRS)
    result = installed("compare", "-", "--json", stdin=rows, CRITIC_PROBE_CHECKPOINT=str(critic_dir))
    assert result.returncode == 0, result.stderr
    assert {row["critic"] for row in json.loads(result.stdout)["summary"]} == {critic_dir.name}


def test_results_are_written_to_files_by_suffix(pairs_file, critic_dir, tmp_path):
    files = [tmp_path / f"out.{suffix}" for suffix in ("json", "csv", "parquet")]
    result = run("compare", pairs_file, "-c", critic_dir, *(part for file in files for part in ("-o", file)))
    assert result.exit_code == 0, result.stderr
    records = json.loads(files[0].read_text())["pairs"]
    for frame in (pd.read_csv(files[1]), pd.read_parquet(files[2])):
        assert list(frame.gap) == pytest.approx([row["gap"] for row in records])


def test_perturb_on_the_fixtures():
    result = run("perturb", "--punct", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    columns = {"critic", "id", "family", "position", "kind", "aggregation", "original_score", "variant_score", "delta"}
    assert columns | {"delta_over_sd", "flip"} <= set(found["cases"][0])
    assert {row["kind"] for row in found["cases"]} == {"invariance"}
    summary = {(r["critic"], r["aggregation"], r["family"], r["position"]): r for r in found["summary"]}
    last = summary["bundled:last", "last", "terminal-swap", "terminal"]
    mean = summary["bundled:mean", "mean", "terminal-swap", "terminal"]
    assert last["median_abs_delta_over_sd"] > 3 * mean["median_abs_delta_over_sd"]


def test_a_terminal_swap_moves_the_mean_by_the_last_value_over_n(pairs_file, critic_dir):
    found = json.loads(run("perturb", "--punct", pairs_file, "-c", critic_dir, "--json").stdout)
    swaps = {
        (row["id"], row["side"], row["aggregation"]): row["delta"]
        for row in found["cases"]
        if row["family"] == "terminal-swap" and row["position"] == "terminal" and row["id"] == "b"
    }
    n = len("Four, of course.")  # the tiny tokenizer has one token a byte
    assert swaps["b", "teacher", "mean"] == pytest.approx(swaps["b", "teacher", "last"] / n, abs=1e-5)


def test_trace_shows_the_first_fixture():
    first = json.loads((FIXTURES / "pairs.jsonl").read_text(encoding="utf-8").splitlines()[0])["id"]
    shown = run("trace", FIXTURES / "pairs.jsonl", "--id", first)
    assert shown.exit_code == 0, shown.stderr
    assert "\ufffd" not in shown.stdout
    found = json.loads(run("trace", FIXTURES / "pairs.jsonl", "--id", first, "--json").stdout)
    assert {"critic", "id", "side", "index", "token_id", "text", "value"} <= set(found["tokens"][0])


def test_trace_groups_the_bytes_of_a_character(critic_dir):
    arguments = ["--prompt", "问", "--student", "好,", "--teacher", "好。", "-c", critic_dir]
    found = json.loads(run("trace", *arguments, "--json").stdout)
    teacher = [row for row in found["tokens"] if row["side"] == "teacher"]
    assert [row["text"] for row in teacher] == ["好"] * 3 + ["。"] * 3
    assert [row["index"] for row in teacher if "last" in row["read_by"]] == [5]
    assert teacher[-1]["running_mean"] == pytest.approx(sum(row["value"] for row in teacher) / 6, abs=1e-6)
    assert "\ufffd" not in run("trace", *arguments).stdout


def test_too_long_is_an_error_and_skipped_only_on_request(pairs_file, make_critic):
    short = make_critic(max_position_embeddings=35)
    refused = run("compare", pairs_file, "-c", short)
    assert refused.exit_code == 2
    assert "2 of 3 pairs are longer than the critic's context of 35 tokens" in refused.stderr
    skipped = run("compare", pairs_file, "-c", short, "--on-too-long", "skip", "--json")
    found = json.loads(skipped.stdout)
    assert found["summary"][0]["n"] == 1
    assert next(w for w in found["warnings"] if w["code"] == "too-long")["ids"] == ["a", "b"]
    assert found["signature"]["critics"][0]["left_out"] == {"too long": 2}


def test_a_causal_lm_without_a_head_is_refused(pairs_file, make_critic):
    result = run("compare", pairs_file, "-c", make_critic("llama", "causal"))
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "no value head" in result.stderr
    assert result.stdout == ""


def test_python_dash_m_is_the_same_command():
    done = subprocess.run(
        [sys.executable, "-m", "critic_probe", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == run("--version").stdout
