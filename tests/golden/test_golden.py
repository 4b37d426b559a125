"""What every command shows, held against what it showed before.

All runs share one file of computed values. The pairs are bundled ones: the first of every category, and MORE.
"""

import base64
import csv
import gzip
import json
import random
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
import typer
from golden.holding import Stored, differences, in_order
from typer.testing import CliRunner

from critic_probe.bundled import find_critics
from critic_probe.cli import app
from critic_probe.pairs import read_pairs
from critic_probe.report.terminal import SCREEN
from critic_probe.studies import logged, selftest
from tests.runs import write

STORED = Path(__file__).with_name("stored")
MORE = "final-dropped-02 verbose-02 digit-02 item-02 missing-02 truncated-02 json-layout-02".split()  # noqa: SIM905
ALONE = "-c bundled:mean --device cpu"
BOTH = "-c bundled:last -c bundled:mean --device cpu"
GATES = """
[[gates]]
metric = "compare.d_acc"
min = 0.85
[[gates]]
metric = "compare.separation"
aggregation = "mean"
min = 0.1
severity = "warn"
[[gates]]
metric = "tokens.d_acc"
min = 0.5
[[gates]]
metric = "completeness.right_order"
family = "to-complete"
min = 0.5
[[gates]]
metric = "perturb.median_abs_delta_over_sd"
family = "terminal-swap"
max = 0.5
[[gates]]
metric = "doctor.fails"
max = 0
at = "value"
"""
SCORES = """id,prompt,student,teacher,student_score,teacher_score,student_mean_score,teacher_mean_score
a,2+2?,Five,Four.,0.1,1.3,1.5,2.25
b,3+3?,"Six, or so",Six.,0.7,0.2,0.3,0.9
c,1+1?,Two,Two.,-0.4,0.6,0.1,0.1
"""
CANDIDATES = [
    {"id": prompt, "prompt": prompt, "responses": responses, "labels": labels}
    for prompt, responses, labels in (
        ("2+2?", ["Four.", "Five", "2+2\nis four.", "Four"], [1, 0, 1, 1]),
        ("3+3?", ["Six, or so", "Six.", "Seven!", "3+3\nis seven"], [1, 1, 0, 0]),
        ("1+1?", ["One", "Two", "Two.", "Three"], [0, 1, 1, 0]),
    )
]
# Of these the answer and what it rests on have room on one screen.
SCREENS = {
    *("compare", "perturb", "perturb-punct", "completeness", "tokens", "audit"),
    *("diff", "doctor", "check", "check-gates", "score"),
}
# name: (arguments, exit code); each is held as it shows at 80 columns, and with --json as plain values
COMMANDS = {
    "compare": (f"compare pairs.jsonl {BOTH}", 0),
    "compare-read-outs": (
        f"compare pairs.jsonl {ALONE} -a mean -a last+eos -a tail:3 --temperature 1 --rows 2",
        0,
    ),
    "compare-before": (f"compare pairs.jsonl {ALONE} --value-position before --eos include --template raw --rows 0", 0),
    "compare-scores": ("compare scores.csv", 0),
    "score": (f"score pairs.jsonl {BOTH}", 0),
    "score-best-of": (f"score candidates.jsonl {ALONE} --best-of 4 --step-separator \\n --rows 1", 0),
    "perturb": (f"perturb pairs.jsonl --all --max-per-response 2 --seed 3 {ALONE}", 0),
    "perturb-punct": (f"perturb pairs.jsonl --punct --side teacher --max-per-response 1 {BOTH}", 0),
    "completeness": (f"completeness pairs.jsonl --side student {ALONE}", 0),
    "tokens": (f"tokens pairs.jsonl {BOTH}", 0),
    "audit": (f"audit pairs.jsonl {ALONE} --engine reference", 0),
    "diff": ("diff bundled:last bundled:mean pairs.jsonl --device cpu --rows 2", 0),
    "trace": (f"trace pairs.jsonl --id case-1-comma {BOTH}", 0),
    "trace-eos": (f"trace pairs.jsonl --id identical-eos-01 {ALONE} -a last+eos", 0),
    "inspect": ("inspect bundled:mean", 0),
    "doctor": ("doctor pairs.jsonl -c bundled:last --device cpu", 0),
    "check": (f"check pairs.jsonl {BOTH}", 1),
    "check-gates": (f"check pairs.jsonl --gates gates.toml --on-unclear pass {ALONE}", 1),
    "verify": (f"verify compared.json pairs.jsonl {ALONE} --seed 1 --sample 5", 0),
    "verify-changed": (f"verify changed.json pairs.jsonl {ALONE} --seed 1 --sample 5", 1),
    "perturb-list": ("perturb --list", 0),
}
# held as they show alone
SHOWN = {
    "perturb-whole": (f"perturb pairs.jsonl --punct --layout --completeness --controls {BOTH}", 0),
    "perturb-defaults": ("perturb --eos --max-per-response 1 --rows 1 --device cpu --engine reference", 0),
    "trace-line": (f"trace pairs.jsonl --id case-3-json {BOTH} --view line", 0),
    "profiles-list": ("profiles list", 0),
    "profiles-default": ("profiles show default", 0),
    "profiles-strict": ("profiles show strict", 0),
    "profiles-unknown": ("profiles show nonesuch", 2),
    "no-such-pair": ("trace pairs.jsonl --id nonesuch", 2),
    "no-such-critic": ("compare pairs.jsonl -c no/such/critic", 2),
    "no-family": ("perturb pairs.jsonl", 2),
}


@pytest.fixture(scope="session")
def stored(pytestconfig: pytest.Config) -> Stored:
    return Stored(STORED, pytestconfig.getoption("golden_update", False))


@pytest.fixture(scope="session")
def run(fixtures, tmp_path_factory) -> Callable[..., str]:
    """`run(arguments, exit code)` runs a command among the files of this session; stdout, then stderr if there is any.

    `run.folder` holds the files.
    """
    folder = tmp_path_factory.mktemp("golden")
    rows = [json.loads(line) for line in (fixtures / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]
    first = {row["category"]: row["id"] for row in reversed(rows)}
    kept = [row for row in rows if row["id"] in (*first.values(), *MORE)]
    trained = [{key: row[key] for key in ("id", "prompt", "student", "teacher")} for row in rows]
    for name, table in (("pairs.jsonl", kept), ("training.jsonl", trained)):
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in table)
        (folder / name).write_text("".join(lines), encoding="utf-8")
    (folder / "gates.toml").write_text(GATES, encoding="utf-8")
    (folder / "scores.csv").write_text(SCORES, encoding="utf-8")
    (folder / "candidates.jsonl").write_text("".join(json.dumps(row) + "\n" for row in CANDIDATES), encoding="utf-8")

    def run(arguments: str, code: int = 0) -> str:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            for name in ("CRITIC_PROBE_CHECKPOINT", "FORCE_COLOR", "GITHUB_STEP_SUMMARY", "TTY_COMPATIBLE"):
                patch.delenv(name, raising=False)
            for name, value in {"COLUMNS": "80", "NO_COLOR": "1", "CRITIC_PROBE_CACHE": "values.sqlite"}.items():
                patch.setenv(name, value)
            result = CliRunner().invoke(app, arguments.split(), catch_exceptions=False)
        assert result.exit_code == code, result.output
        text = result.stdout + (f"stderr:\n{result.stderr}" if result.stderr else "")
        return re.sub(rf"{re.escape(str(fixtures.parent))}([^\s\"]*) *", r"REPOSITORY\1", text)

    run.folder = folder
    run(f"compare pairs.jsonl {ALONE} -o compared.json -o compared.csv")
    record = json.loads((folder / "compared.json").read_text(encoding="utf-8"))
    record["pairs"][0]["teacher_score"] += 1
    (folder / "changed.json").write_text(json.dumps(record), encoding="utf-8")
    return run


@pytest.mark.parametrize("name", [*COMMANDS, *SHOWN])
def test_at_80_columns(run, stored, name):
    shown = run(*(COMMANDS | SHOWN)[name])
    assert name not in SCREENS or len(shown.splitlines()) <= SCREEN
    stored.holds(f"{name}.txt", shown)


@pytest.mark.parametrize("name", COMMANDS)
def test_as_plain_values(run, stored, name):
    arguments, code = COMMANDS[name]
    stored.holds(f"{name}.json", json.loads(run(f"{arguments} --json", code)))


@pytest.mark.long
def test_planted_rules(run, stored, monkeypatch):
    """The probes find every one and no other; both ways to show it are of one run."""
    runs, whole = [], selftest.selftest
    monkeypatch.setattr(selftest, "selftest", lambda *given: runs[0] if runs else runs.append(whole(*given)) or runs[0])
    stored.holds("selftest.json", json.loads(run("selftest --json")))
    stored.holds("selftest.txt", run("selftest"))


def test_planted_rules_of_one_architecture(run, monkeypatch):
    monkeypatch.setattr(selftest, "ARCHITECTURES", ["Qwen3"])
    whole = json.loads((STORED / "selftest.json").read_text(encoding="utf-8"))["checks"]
    found = in_order(json.loads(run("selftest --json"))["checks"])
    assert differences([row for row in whole if row["critic"].startswith("Qwen3")], found) == []


def test_a_dry_run(run, stored):
    prices = [
        json.loads(run(f"{command} --dry-run --json"))
        for command in (f"compare pairs.jsonl {BOTH}", f"perturb pairs.jsonl --punct {ALONE}")
    ]
    for price in prices:
        for row in price["price"]:
            assert row.pop("seconds") > 0
            assert row.pop("tokens_per_second") > 0
            assert row.pop("memory") > row.pop("program_memory") > 0
    stored.holds("dry-run.json", prices)
    shown = run(f"compare pairs.jsonl {ALONE} --dry-run")
    shown = re.sub(r"about [\d,]+ s at [\d,]+ tokens/s", "about TIME s at SPEED tokens/s", shown)
    shown = re.sub(r"up to [\d,]+ MB of memory: program [\d,]*\d", "up to SIZE MB of memory: program SIZE", shown)
    stored.holds("dry-run.txt", shown)


def test_files_for_a_build(run, stored):
    options = f"--gates gates.toml {ALONE} --markdown found.md --junit found.xml"
    run(f"check pairs.jsonl {options}", 1)
    stored.holds("check.md", (run.folder / "found.md").read_text(encoding="utf-8"))
    stored.holds("check.junit.xml", (run.folder / "found.xml").read_text(encoding="utf-8"))


def test_a_baseline_and_what_moved(run, stored):
    options = "check pairs.jsonl --gates gates.toml --device cpu"
    run(f"{options} -c bundled:last --save-baseline baseline.json", 1)
    stored.holds("baseline.json", json.loads((run.folder / "baseline.json").read_text(encoding="utf-8")))
    moved = f"{options} -c bundled:mean --baseline baseline.json --markdown moved.md --junit moved.xml"
    stored.holds("moved.txt", run(moved, 1))
    stored.holds("moved.json", json.loads(run(f"{moved} --json", 1)))
    stored.holds("moved.md", (run.folder / "moved.md").read_text(encoding="utf-8"))
    stored.holds("moved.junit.xml", (run.folder / "moved.xml").read_text(encoding="utf-8"))


def test_files_of_a_result(run, stored):
    with (run.folder / "compared.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    stored.holds("compared.csv.json", [{key: plain(cell) for key, cell in row.items()} for row in rows[:4]])


def plain(cell: str) -> str | float:
    return float(cell) if re.fullmatch(r"-?\d+\.\d+(e-?\d+)?", cell) else cell


def test_pictures_of_a_trace(run, stored):
    run(f"trace pairs.jsonl --id case-1-comma {ALONE} --view line --export trace.svg --export trace.html")
    svg = (run.folder / "trace.svg").read_text(encoding="utf-8")
    assert re.search(r"<svg.*</svg>", (run.folder / "trace.html").read_text(encoding="utf-8"), re.DOTALL)
    stored.holds("trace.svg.txt", drawn(svg))


def drawn(svg: str) -> str:
    """The coloured grounds and the texts of a picture up to its signature, a line each."""
    styles = dict(re.findall(r"\.[\w-]+-(r\d+) \{ ([^}]*) \}", svg))
    lines = []
    for element in ElementTree.fromstring(svg).iter():
        kind, text = element.tag.rpartition("}")[2], " ".join("".join(element.itertext()).split())
        if kind == "rect" and element.get("fill", "").startswith("#"):
            lines.append(" ".join(element.get(name, "") for name in ("fill", "x", "y", "width")))
        elif kind == "text" and re.match(r"critic-probe \d", text):
            break
        elif kind == "text" and text:
            style = styles.get(element.get("class", "").rpartition("-")[2], "")
            lines.append(f"{style} | {element.get('x')} | {text}")
    return "\n".join(lines) + "\n"


class Page(HTMLParser):
    """The words of a page, its pictures and scripts left out, and its data."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.data: list[str] = []
        self._inside: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag in ("svg", "style", "script"):
            self._inside.append("data" if dict(attrs).get("type") == "text/plain" else tag)
        elif not self._inside and tag in ("h1", "h2", "h3", "p", "li", "tr", "caption", "summary", "select"):
            self.words.append("\n")

    def handle_endtag(self, tag):
        if tag in ("svg", "style", "script"):
            self._inside.pop()

    def handle_data(self, data):
        if not self._inside:
            self.words.append(" ".join(data.split()) + " ")
        elif self._inside[-1] == "data":
            self.data.append(data)

    @property
    def text(self) -> str:
        lines = (" ".join(line.split()) for line in "".join(self.words).split("\n"))
        return "\n".join(filter(None, lines)) + "\n"


def test_a_report(run, stored):
    shown = run(f"report pairs.jsonl --gates gates.toml --max-per-response 2 {BOTH} -o page.html -o pictures/")
    assert re.fullmatch(r"page.html: 20 pairs, [\d.]+ MB\npictures: \d+ pictures\n", shown)
    page = Page()
    page.feed((run.folder / "page.html").read_text(encoding="utf-8"))
    stored.holds("report.txt", page.text)
    pictures = sorted(path.name for path in (run.folder / "pictures").iterdir())
    tables, *chunks = (json.loads(gzip.decompress(base64.b64decode(data))) for data in page.data)
    traces = [trace for chunk in chunks for trace in chunk]
    found = {"pictures": pictures, **tables, "traces": [len(traces), traces[0], traces[-1]]}
    stored.holds("report.json", found)


def test_a_warm_up(run, stored):
    options = "--steps 4 --batch-size 4 --rising-steps 1 --eval-every 2 --device cpu"
    shown = run(f"warmup training.jsonl --backbone tiny -o trained {options} --json")
    found = json.loads(shown.partition("stderr:")[0])
    lines = (run.folder / "trained" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    files = sorted(path.name for path in (run.folder / "trained").iterdir() if not path.name.startswith("events."))
    stored.holds("warmup.json", found | {"metrics": list(map(json.loads, lines)), "files": files})
    stored.holds("warmup.txt", run(f"warmup training.jsonl --backbone tiny -o again {options} -a last"))


@pytest.fixture(scope="session")
def left_behind(run) -> None:
    """What two runs leave behind: a console's lines, scores of a window that is shifted, and two checkpoints."""
    draw = random.Random(0)
    rising = [{"critic/d_acc": 0.5 + 0.3 * i / (i + 40), "critic/d_loss": 0.7 - 0.001 * i} for i in range(300)]
    lines = [write.console(i, {k: v + draw.gauss(0, 0.01) for k, v in row.items()}) for i, row in enumerate(rising)]
    lines[200:] = [line.replace("d_loss:0", "d_loss:9") for line in lines[200:]]
    (run.folder / "train.log").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    few = (run.folder / "pairs.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)[:10]
    (run.folder / "few.jsonl").write_text("".join(few), encoding="utf-8")
    critics = find_critics(["bundled:mean", "bundled:last"]).paths
    scorer = logged.Scorer(critics["bundled:mean"], "mean")
    rows = [scorer.row(pair.prompt, pair.student, pair.teacher) for pair in read_pairs(run.folder / "few.jsonl")]
    scores = scorer.scores(rows, {"window-shifted": "-2"})
    (run.folder / "scoring.log").write_text(logged.scoring_log(scorer, rows, scores, 1), encoding="utf-8")
    for step, critic in ((10, "bundled:last"), (20, "bundled:mean")):
        shutil.copytree(critics[critic], run.folder / "run" / f"checkpoint-{step}")


LEFT_BEHIND = {
    "logs": ("logs train.log", 1),
    "replay": ("replay scoring.log -c bundled:mean --device cpu", 1),
    "track": ("track run few.jsonl -a mean --max-per-response 1 --device cpu", 0),
}


@pytest.mark.usefixtures("left_behind")
@pytest.mark.parametrize("name", LEFT_BEHIND)
def test_what_runs_leave_behind(run, stored, name):
    arguments, code = LEFT_BEHIND[name]
    stored.holds(f"{name}.txt", run(arguments, code))
    stored.holds(f"{name}.json", json.loads(run(f"{arguments} --json", code)))


def test_options(stored):
    """Every option of every command: its names, whether it repeats, its default, and what is said of it."""

    def told(command, path):
        if hasattr(command, "commands"):
            return {k: v for name, sub in command.commands.items() for k, v in told(sub, f"{path} {name}").items()}
        parameters = {
            " ".join(parameter.opts) or parameter.name: [
                "repeatable" if parameter.multiple else "required" if parameter.required else "",
                parameter.default if isinstance(parameter.default, str | int | float | None) else "",
                parameter.help,
            ]
            for parameter in command.params
        }
        return {path.strip(): {"": command.help, **parameters}}

    stored.holds("options.json", told(typer.main.get_command(app), ""))


def test_every_stored_file_is_held():
    source = Path(__file__).read_text(encoding="utf-8")
    named = set(re.findall(r'"([\w.-]+\.(?:txt|json|md|xml))"', source))
    both = COMMANDS | LEFT_BEHIND
    known = {f"{name}.txt" for name in both | SHOWN} | {f"{name}.json" for name in both} | named
    assert {path.name for path in STORED.iterdir()} <= known
