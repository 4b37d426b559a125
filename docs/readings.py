"""Prints the table of readings in probes.md from readings.toml, or makes the pairs of spans that some were drawn from.

python docs/readings.py                             # the table
python docs/readings.py spans cmrc2018_dev.json     # SQuAD layout -> pairs as JSONL: an answer and its sentence
"""

import json
import re
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

READINGS = Path(__file__).with_suffix(".toml")


def table(text: str) -> str:
    """A row per family: edits read and faulty ones, by language; then of families that were mended since."""
    found = tomllib.loads(text)
    lines = []
    for name, head in (("readings", "family"), ("mended", "before it was mended")):
        lines += ["", f"| {head} | 中文: faulty of read | English: faulty of read |", "|---|---|---|"]
        counts: dict[str, dict[str, list[int]]] = defaultdict(lambda: {"zh": [0, 0], "en": [0, 0]})
        for reading in found[name]:
            cell = counts[reading["family"]][reading["language"]]
            cell[0] += reading["read"]
            cell[1] += reading["faulty"]
        for family, cells in counts.items():
            shown = (f"{faulty} of {read}" if read else "" for read, faulty in (cells["zh"], cells["en"]))
            lines.append(f"| `{family}` | {' | '.join(shown)} |")
    return "\n".join(lines[1:])


def spans(path: str) -> None:
    """Every answer of a SQuAD file with the sentence that holds it."""
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    articles = content["data"] if isinstance(content, dict) else content
    for article in articles:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                answer = question["answers"][0]["text"]
                holding = [s for s in re.findall(r"[^。！？]+[。！？]?", paragraph["context"]) if answer in s]
                if holding and holding[0].strip() != answer:
                    row = {"prompt": question["question"], "student": answer, "teacher": holding[0].strip()}
                    print(json.dumps(row, ensure_ascii=False))


if __name__ == "__main__":
    if sys.argv[1:2] == ["spans"]:
        spans(sys.argv[2])
    else:
        print(table(READINGS.read_text(encoding="utf-8")))
