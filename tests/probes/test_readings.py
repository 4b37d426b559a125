"""The readings of edits that the documentation counts."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

from critic_probe.probes import BUILT_IN

DOCS = Path(__file__).parents[2] / "docs"
READINGS = tomllib.loads((DOCS / "readings.toml").read_text(encoding="utf-8"))["readings"]


def test_the_table_is_that_of_the_readings():
    table = subprocess.run([sys.executable, DOCS / "readings.py"], capture_output=True, text=True, encoding="utf-8")
    assert table.stdout in (DOCS / "probes.md").read_text(encoding="utf-8"), "python docs/readings.py"


def test_every_family_of_text_was_read_and_keeps_to_two_in_a_hundred():
    made = {f.name for f in BUILT_IN.values() if f.group in ("punct", "layout", "completeness", "controls")}
    made -= {"paraphrase", "empty"}
    counts = {name: [0, 0] for name in made}
    for reading in READINGS:
        counts[reading["family"]][0] += reading["read"]
        counts[reading["family"]][1] += reading["faulty"]
    # No file has a case of these: neither full-width letters nor ligatures, and no answer that opens 不，可以.
    assert {name for name, (read, _) in counts.items() if not read} == {"unicode-compat", "negation-joined"}
    assert all(faulty <= 0.02 * read for read, faulty in counts.values())


def test_spans_are_answers_with_their_sentence(tmp_path):
    squad = tmp_path / "squad.json"
    question = {"question": "Who?", "answers": [{"text": "张三"}]}
    articles = [{"paragraphs": [{"context": "天冷。张三回家了。晚了。", "qas": [question]}]}]
    squad.write_text(json.dumps(articles), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, DOCS / "readings.py", "spans", squad], capture_output=True, text=True, encoding="utf-8"
    )
    assert done.stdout == '{"prompt": "Who?", "student": "张三", "teacher": "张三回家了。"}\n'
