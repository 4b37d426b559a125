"""The pytest plugin, as a team's own tests use it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTED = re.search(r"## pytest\n.*?```python\n(.*?)```", (ROOT / "docs/ci.md").read_text(encoding="utf-8"), re.S)


def own_tests(folder, text, *options):
    (folder / "test_critic.py").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "test_critic.py"]
    return subprocess.run([*command, *map(str, options)], capture_output=True, text=True, encoding="utf-8", cwd=folder)


def test_the_documented_example_passes_with_the_mean_critic_and_fails_with_the_last_one(tmp_path):
    shutil.copy(ROOT / "fixtures/pairs.jsonl", tmp_path)
    example = DOCUMENTED.group(1)
    assert len([line for line in example.splitlines() if line.strip()]) <= 10
    passed = own_tests(tmp_path, example, "--critic-checkpoint", "bundled:mean")
    assert passed.returncode == 0, passed.stdout
    assert "2 passed" in passed.stdout
    failed = own_tests(tmp_path, example, "--critic-checkpoint", "bundled:last")
    assert failed.returncode == 1
    assert "1 failed, 1 passed" in failed.stdout
    assert re.search(r"terminal-swap .*bundled:last/mean: 0\.\d+ \[.*must be <= 0\.5; look at ", failed.stdout)
    assert "Traceback" not in failed.stdout


def test_the_critic_gives_one_value_a_token(tmp_path, critic_dir):
    text = "def test_values(critic):\n    assert critic.values((1, 2, 3)).shape == (3,)\n"
    assert own_tests(tmp_path, text, "--critic-checkpoint", critic_dir).returncode == 0


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("def test(critic): pass", (), "no critic: give --critic-checkpoint DIR"),
        ("def test(critic): pass", ("--critic-checkpoint", "bundled:men"), "'bundled:men' is not a bundled critic"),
        (
            "def test(critic_gate): critic_gate('compare.d_ac', min=0)",
            ("--critic-checkpoint", "bundled:mean"),
            "metric 'compare.d_ac' is unknown; choose from",
        ),
        (
            "def test(critic_scores): critic_scores('nonesuch.jsonl')",
            ("--critic-checkpoint", "bundled:mean"),
            "nonesuch.jsonl",
        ),
    ],
)
def test_what_is_wrong_is_said_without_a_traceback(tmp_path, monkeypatch, text, options, message):
    monkeypatch.delenv("CRITIC_PROBE_CHECKPOINT", raising=False)
    result = own_tests(tmp_path, text, *options)
    assert result.returncode == 1
    assert message in result.stdout
    assert "Traceback" not in result.stdout


def test_a_run_that_asks_for_no_critic_pays_nothing(tmp_path):
    text = "import sys\ndef test(): assert not {'torch', 'transformers', 'pandas', 'typer'} & set(sys.modules)\n"
    assert own_tests(tmp_path, text).returncode == 0
