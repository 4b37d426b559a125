import ast
import json
import re
import subprocess
import sys
from textwrap import dedent

import pytest
from golden.holding import same_signature, text_differences

import critic_probe as cp
from critic_probe.workbench import run


def test_what_the_python_page_shows_is_what_its_code_prints(fixtures, tmp_path):
    docs = fixtures.parent / "docs"
    subprocess.run([sys.executable, docs / "python.py", tmp_path / "python.md"], check=True)
    page, now = (path.read_text(encoding="utf-8") for path in (docs / "python.md", tmp_path / "python.md"))
    assert text_differences(same_signature(page), same_signature(now)) == [], "run python docs/python.py"


def test_the_measurement_that_the_architecture_adds_measures(fixtures):
    page = (fixtures.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    names = {"__name__": "critic_probe.measures.spread"}
    exec(dedent(re.search(r"^   ```python\n(.*?)^   ```$", page, re.MULTILINE | re.DOTALL)[1]), names)
    critic = cp.load("bundled:mean", device="cpu")
    bench = cp.bench(critic, [{"prompt": "Name both.", "rejected": "rice", "chosen": "rice, fish"}])
    measure = names["Spread"]()
    result = measure.result(run([bench], [measure]))
    values = bench.trace("row-1").tokens.query("side == 'teacher'").value
    assert result.responses.set_index("side").sd["teacher"] == pytest.approx(values.std(ddof=0))


def test_the_notebook_shows_the_cells_of_its_script(fixtures):
    docs = fixtures.parent / "docs"
    tree = ast.parse((docs / "notebook.py").read_text(encoding="utf-8"))
    [cells] = [node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "CELLS"]
    notebook = json.loads((docs / "notebook.ipynb").read_text(encoding="utf-8"))
    written = ["".join(cell["source"]) for cell in notebook["cells"]]
    assert written == [dedent(cell).strip() for cell in ast.literal_eval(cells)], "run python docs/notebook.py"
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    assert outputs
    assert all("text/html" in output.get("data", {}) for output in outputs)  # no error, and no talk
