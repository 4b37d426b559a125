import subprocess
import sys

from golden.holding import same_signature, text_differences


def test_what_the_python_page_shows_is_what_its_code_prints(fixtures, tmp_path):
    docs = fixtures.parent / "docs"
    subprocess.run([sys.executable, docs / "python.py", tmp_path / "python.md"], check=True)
    page, now = (path.read_text(encoding="utf-8") for path in (docs / "python.md", tmp_path / "python.md"))
    assert text_differences(same_signature(page), same_signature(now)) == [], "run python docs/python.py"
