"""A measurement is three files and no line elsewhere: those of docs/architecture.md, put into a copy of the package."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STEP = re.compile(r"^\d\. `(\S+/spread\.py)`.*?```python\n(.*?)```", re.S | re.M)


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("copy")
    for name in ("critic_probe", "fixtures"):
        shutil.copytree(ROOT / name, root / name)
    added = STEP.findall((ROOT / "docs/architecture.md").read_text(encoding="utf-8"))
    assert [file.partition("/")[0] for file, _ in added] == ["measures", "report", "cli"]
    for file, text in added:
        (root / "critic_probe" / file).write_text(re.sub("^   ", "", text, flags=re.M), encoding="utf-8")
    return root


def run(copy: Path, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(copy)}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_measurement_is_three_files(copy):
    assert "Show how far the values of a response lie apart." in run(copy, "-m", "critic_probe", "--help")
    shown = run(copy, "-m", "critic_probe", "spread", "-c", "bundled:last", "-o", "spread.json")
    assert "How far values lie apart" in shown
    written = json.loads((copy / "spread.json").read_text(encoding="utf-8"))
    assert written["schema"] == "critic-probe/spread/1"
    pairs = (copy / "fixtures/pairs.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(written["responses"]) == 2 * len(pairs)
    again = run(copy, "-c", "import critic_probe; print(critic_probe.read_result('spread.json'))")
    assert again.strip() in shown
