import runpy

import pytest


def test_the_tables_of_the_findings_are_those_that_were_measured(fixtures, capsys: pytest.CaptureFixture[str]):
    docs = fixtures.parent / "docs"
    runpy.run_path(str(docs / "findings" / "tables.py"), run_name="__main__")
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(rows) > 50
    written = (docs / "findings.md").read_text(encoding="utf-8").splitlines()
    assert [row for row in rows if row not in written] == []
