"""The page, as a reader's browser shows it: from a disk, with no network."""

import json
import random
import re
import shutil
from dataclasses import replace
from itertools import islice

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import expect, sync_playwright
from typer.testing import CliRunner

from critic_probe import bundled
from critic_probe.aggregation import parse
from critic_probe.cli import app
from critic_probe.gates.figures import figures
from critic_probe.gates.gate import Gate, evaluate
from critic_probe.gates.gate import Plan as Gates
from critic_probe.measures.compare import Compare
from critic_probe.measures.perturb import Perturb
from critic_probe.measures.report import Keep, Traced, TracedSide, report
from critic_probe.measures.tokens import Tokens
from critic_probe.measures.variants import Plan
from critic_probe.pairs import Fields
from critic_probe.probes import all_families, choose
from critic_probe.report.html import page
from critic_probe.workbench import Settings, benches, run

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
BREAK = "</script><script>document.title='owned'</script>"
HOSTILE = f"{BREAK}<img src=x onerror=\"document.title='owned'\">\x1b[31m\u202eevil"
GATES = """
[[gates]]
metric = "compare.d_acc"
min = 0.5

[[gates]]
metric = "compare.median_abs_gap"
max = 0.01
"""
SINGLE = ("scores", "student-teacher", "length")  # one picture a critic and read-out
POOLED = ("positions", "reliability", "along")  # one a critic
WINDOW = {"width": 1200, "height": 800}


@pytest.fixture(scope="module")
def written(fixtures, tmp_path_factory):
    """The folder in which `report` left page.html and pictures/, and its options."""
    folder = tmp_path_factory.mktemp("report")
    lines = (fixtures / "pairs.jsonl").read_text(encoding="utf-8").splitlines()
    kept = [
        line
        for line in lines
        if json.loads(line)["category"] in ("final-comma", "verbose", "json-layout", "repeated", "final-dropped")
    ]
    worse, better = f"坏{HOSTILE}，", f"好{HOSTILE}。"
    hostile = {"id": HOSTILE, "prompt": f"问{HOSTILE}", "student": worse, "teacher": better, "category": HOSTILE}
    (folder / "pairs.jsonl").write_text("\n".join([*kept, json.dumps(hostile)]), encoding="utf-8")
    (folder / "gates.toml").write_text(GATES, encoding="utf-8")
    options = [str(folder / "pairs.jsonl"), "--max-per-response", "4", "--gates", str(folder / "gates.toml")]
    outputs = ["-o", str(folder / "page.html"), "-o", f"{folder}/pictures/"]
    environment = {"CRITIC_PROBE_CACHE": str(folder / "values.sqlite")}
    result = CliRunner().invoke(app, ["report", *options, *outputs], env=environment, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.fail("the page is tested in a browser: apt-get install -y chromium fonts-noto-cjk")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def opened(browser, written):
    """Opens the page from the disk; afterwards nothing may have been asked for, and nothing complained of."""
    contexts, asked, complaints = [], [], []

    def open_page(*folds, **options):
        context = browser.new_context(offline=True, **options)
        contexts.append(context)
        shown = context.new_page()
        shown.set_default_timeout(10_000)
        shown.on("request", lambda request: asked.append(request.url))
        shown.on("console", lambda message: complaints.append(message.text))
        shown.on("pageerror", lambda error: complaints.append(str(error)))
        shown.goto((written / "page.html").as_uri())
        shown.locator("html[data-ready]").wait_for()
        for fold in folds:
            shown.locator(f"#{fold} > summary").click()
        return shown

    yield open_page
    for context in contexts:
        context.close()
    assert {url.partition(":")[0] for url in asked} <= {"file", "blob"}
    assert complaints == []


def rows(shown, table="pairs"):
    return [row.split("\t") for row in shown.locator(f"#{table}-table tr.row").all_inner_texts()]


def open_trace(shown, name):
    button = shown.get_by_role("button", name=name, exact=True)
    button.click()
    shown.locator(".panel .tokens").wait_for()
    return button


def tip(shown):
    return shown.locator(".panel .tip").inner_text()


def test_the_first_window_holds_the_answer_the_profile_and_three_open_pairs(opened):
    shown = opened(viewport=WINDOW)
    assert shown.evaluate("document.querySelectorAll('.example .tokens').length") == 3
    sentences = shown.locator(".answer > ul > li")
    assert 2 <= sentences.count() <= 6
    texts = sentences.all_inner_texts()
    assert len(set(texts)) == len(texts)
    assert any("puts the teacher first" in text for text in texts)
    edits = shown.locator(".profile tbody tr")
    marked = shown.locator(".example .tok.alone")
    in_sight = [*sentences.all(), *(edits.nth(n) for n in range(8)), *shown.locator(".example").all(), marked.first]
    for node in in_sight:
        box = node.bounding_box()
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= WINDOW["height"], node
        assert box["x"] + box["width"] <= WINDOW["width"]
    clipped = "(node) => node.scrollHeight > node.clientHeight + 1 || node.scrollWidth > node.clientWidth + 1"
    assert not shown.locator("#examples").evaluate(clipped)
    assert shown.evaluate("scrollY") == 0
    assert len(set(shown.locator(".example h3 bdi").all_inner_texts())) == 3
    assert shown.locator("details.fold[open]").count() == 0


def test_the_profile_ranks_every_edit_as_the_figures_do(measured):
    result, _, verdicts = measured
    summary = result.perturb.summary
    shown = summary[summary.kind != "identity"]
    drawn = re.findall(
        r'title="([-\d.]+) \[([-\d.]+|–), ([-\d.]+|–)\] SD, n = (\d+)"', page(result, "a test", verdicts)
    )
    assert len(drawn) == len(shown)
    expected = shown.groupby(["family", "position", "kind"]).median_abs_delta_over_sd.max().sort_values(ascending=False)
    of_row = shown.critic.nunique() * shown.aggregation.nunique()
    best = [
        max(float(effect) for effect, *_ in drawn[start : start + of_row]) for start in range(0, len(drawn), of_row)
    ]
    assert best == pytest.approx(list(expected), abs=0.006)


def test_the_examples_are_the_largest_moves_of_the_strongest_harmless_edit(measured):
    result, _, _ = measured
    critic, aggregation = result.examples_under
    best = result.perturb.headline.set_index(["critic", "aggregation"]).strongest_harmless
    assert best.idxmax() == (critic, aggregation)
    cases = result.perturb.cases
    own = cases[(cases.critic == critic) & (cases.aggregation == aggregation) & (cases.family == "terminal-swap")]
    moves = own.delta_over_sd.abs().groupby(own.id).max().sort_values(ascending=False)
    edits = result.edits.set_index(["edit", "critic", "aggregation"]).sort_index()
    shown = [edits.loc[(edit, critic, aggregation)] for edit in result.examples]
    assert [abs(row.delta_over_sd) for row in shown] == pytest.approx(list(moves.head(3)))
    assert len({row.id for row in shown}) == 3


def test_the_answer_is_that_of_compare_and_perturb(measured):
    result, _, _ = measured
    texts = [each.text for each in result.answer()]
    both = [each.text for of in (result.perturb, result.compare) for each in of.answer()]
    assert sorted(texts) == sorted(text for text in both if not text.startswith("Next: "))
    assert len(texts) < len(both)
    assert all("harmless edit" in text or "puts the teacher first" in text for text in texts[:6])


def test_below_stand_gates_and_every_kind_of_picture_with_a_switch(opened):
    shown = opened("gates", "pictures", "figures", "about")
    assert "gates hold" in shown.locator("header").inner_text()
    assert "gates fail" in shown.locator("header").inner_text()
    assert "look at" in shown.locator("#gates").inner_text()
    assert "these are the two bundled toy critics, not yours" in shown.locator("#about").inner_text()
    assert "strongest harmless edit, in SD" in shown.locator("#figures").inner_text()
    for kind in SINGLE + POOLED:
        figure = shown.locator(f"#picture-{kind}")
        pictures = figure.locator(".chart > svg")
        assert pictures.count() == (4 if kind in SINGLE else 2), kind
        options = figure.locator(".choice option").all_inner_texts()
        for number, option in enumerate(options):
            figure.get_by_label("Of").select_option(option)
            assert [n for n, svg in enumerate(pictures.all()) if svg.is_visible()] == [number]
            assert pictures.nth(number).bounding_box()["height"] > 100
            assert figure.locator(".chart:not([hidden]) > p").inner_text() == option
    ids = shown.evaluate("[...document.querySelectorAll('[id]')].map((node) => node.id)")
    assert len(ids) == len(set(ids))


def test_the_contents_open_the_fold_that_they_lead_to(opened):
    shown = opened(viewport=WINDOW)
    links = shown.locator("nav a, header .lead a")
    assert links.count() == 7
    for link in links.all():
        fold = shown.locator(link.get_attribute("href"))
        link.click()
        expect(fold).to_be_visible()
        expect(fold).to_be_in_viewport()
        assert fold.evaluate("(node) => node.closest('details').open")


def test_hostile_text_is_shown_and_obeyed_by_nobody(opened, written):
    shown = opened("pairs")
    assert shown.title().startswith("critic-probe report: bundled:last")
    shown.get_by_role("searchbox").first.fill("</script>")
    [[identity, category, prompt, *_]] = rows(shown)
    for text in (identity, category, prompt):
        assert text.lstrip("▸問问\u00a0 ").startswith(BREAK[:40])
    shown.locator("#pairs-table button.open").click()
    shown.locator(".panel .tokens").wait_for()
    assert shown.locator("img, iframe, object").count() == 0
    assert "<img src=x" in shown.locator(".panel .prompt").text_content()
    assert "evil" in shown.locator(".panel .prompt").text_content()
    everything = shown.evaluate("document.documentElement.textContent")
    assert not {"\x1b", "\u202e"} & set(everything)
    assert shown.title().startswith("critic-probe report: bundled:last")
    source = (written / "page.html").read_text(encoding="utf-8")
    assert "script-src 'sha256-" in source
    assert not re.search(r"(?:src|href)=[\"'](?!#)|@import|@font-face", source.partition("<script type")[0])


def test_the_table_sorts_searches_and_filters(opened):
    shown = opened("pairs")
    everything = rows(shown)
    disputes = [float(row[-1]) for row in everything]
    assert disputes == sorted(disputes, reverse=True)
    header = shown.locator("#pairs-table").get_by_role("columnheader", name="bundled:last / last")
    for order, reverse in (("descending", True), ("ascending", False)):
        header.get_by_role("button").click()
        assert header.get_attribute("aria-sort") == order
        gaps = [float(row[3].split()[1]) for row in rows(shown)]
        assert gaps == sorted(gaps, reverse=reverse)
    shown.get_by_label("Search").first.fill("FINAL-comma-0")
    assert {row[1] for row in rows(shown)} == {"final-comma"}
    expect(shown.locator("#pairs-status")).to_contain_text(f"{len(everything)} in all")
    shown.get_by_label("Search").first.fill("")
    shown.locator("#pairs-tools [name=category]").select_option("verbose")
    assert {row[1] for row in rows(shown)} == {"verbose"}
    shown.locator("#pairs-tools [name=category]").select_option("")
    shown.locator("#pairs-tools [name=verdicts]").select_option(label="read-outs disagree")
    disagreeing = rows(shown)
    assert 0 < len(disagreeing) < len(everything)
    for row in disagreeing:
        marks = [cell[0] for cell in row[3:7]]
        assert {"✓", "✗"} in (set(marks[:2]), set(marks[2:]))


def test_a_trace_opens_by_keyboard_and_says_what_trace_says(opened, written):
    shown = opened("pairs")
    button = shown.get_by_role("button", name="final-comma-01", exact=True)
    button.focus()
    shown.keyboard.press("Enter")
    shown.locator(".panel .tokens").wait_for()
    assert button.get_attribute("aria-expanded") == "true"
    options = [str(written / "pairs.jsonl"), "--id", "final-comma-01", "-c", "bundled:last", "--json"]
    told = json.loads(CliRunner().invoke(app, ["trace", *options]).stdout)
    first = shown.locator(".panel .tokens .tok[tabindex='0']")
    assert first.count() == 1
    first.focus()
    for side, key in (("student", "ArrowRight"), ("teacher", "ArrowLeft")):
        expected = [token for token in told["tokens"] if token["side"] == side]
        for token in expected if side == "student" else reversed(expected):
            assert tip(shown).startswith(f"{side} #{token['index']} ")
            value, running = map(float, re.findall(r"(?:value|mean) ([+-][\d.]+)", tip(shown)))
            assert value == pytest.approx(token["value"], abs=0.006)
            assert running == pytest.approx(token["running_mean"], abs=0.06)
            assert ("read by last" in tip(shown)) == (token["read_by"] == "last")
            shown.keyboard.press(key)
        shown.keyboard.press("End")
        shown.keyboard.press("ArrowDown")
    assert shown.locator(".panel .tokens .tok.read").count() == 2
    shown.keyboard.press("Escape")
    assert shown.locator(".panel .tokens").count() == 0
    assert shown.evaluate("document.activeElement.textContent") == "final-comma-01"


def test_chinese_is_aligned_character_by_character(opened):
    shown = opened("pairs")
    open_trace(shown, "case-1-comma")
    cells = [cell.split("\n") for cell in shown.locator(".panel .tokens .cell").all_inner_texts()]
    assert "".join(top for top, *_ in cells[:3]).startswith("年龄")
    assert all(top == bottom for top, bottom in cells[:-1])
    assert [text[0] for text in cells[-1]] == ["，", "。"]
    alone = shown.locator(".panel .tokens .alone").all_inner_texts()
    assert [text[0] for text in alone] == ["，", "。"]
    shown.locator(".panel .tokens .tok").first.hover()
    assert tip(shown).startswith("student #0 “年龄”: value ")
    before = tip(shown)
    shown.locator(".panel").get_by_label("Critic").select_option("bundled:mean")
    shown.locator(".panel .tokens .tok").first.hover()
    assert tip(shown) != before


def test_an_edit_opens_original_against_edited(opened):
    shown = opened("pairs", "edits")
    shown.get_by_label("Search").last.fill("terminal-swap")
    family, kind, pair, *_ = rows(shown, "edits")[0]
    assert (family.lstrip("▸\u00a0"), kind) == ("terminal-swap, terminal", "invariance")
    shown.locator("#edits-table button.open").first.click()
    shown.locator(".panel .tokens").wait_for()
    marked = shown.locator(".panel .tokens .alone")
    assert marked.count() == 2
    marked.last.focus()
    assert tip(shown).startswith("edited #")
    shown.keyboard.press("Escape")
    identity = pair.rpartition(" (")[0]
    open_trace(shown, identity)
    assert "edit: terminal-swap" in shown.locator(".panel").get_by_label("Compare").inner_text()


@pytest.mark.parametrize("width", [340, 390, 1280])
def test_no_width_scrolls_the_page_sideways(opened, width):
    shown = opened("gates", "figures", "pictures", "pairs", "edits", "about", viewport={"width": width, "height": 800})
    shown.locator("#pairs-table button.open").first.click()
    shown.locator(".panel .tokens").wait_for()
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    panel = shown.locator(".panel").bounding_box()
    assert panel["x"] >= 0
    assert panel["x"] + panel["width"] <= width


def test_it_is_dark_where_the_reader_is_and_prints_every_fold_without_tools(opened):
    ground = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    light, dark = (max(opened(color_scheme=scheme).evaluate(ground)) for scheme in ("light", "dark"))
    assert dark < 60 < 240 < light
    shown = opened(viewport={"width": 794, "height": 1123})  # A4
    shown.emulate_media(media="print")
    assert shown.evaluate("document.documentElement.scrollWidth") <= 794
    assert not shown.locator("#pairs-tools").is_visible()
    expect(shown.locator("#pairs-table")).to_be_visible()
    assert all(svg.is_visible() for svg in shown.locator(".chart > svg").all())
    assert not shown.locator(".profile .scroll").evaluate("(node) => node.scrollHeight > node.clientHeight + 1")
    shown.emulate_media(media="screen")
    expect(shown.locator("#pairs-table")).to_be_hidden()
    shown.evaluate("dispatchEvent(new Event('beforeprint'))")  # what browsers without ::details-content go by
    assert shown.locator("details:not([open])").count() == 0
    shown.evaluate("dispatchEvent(new Event('afterprint'))")
    assert shown.locator("details.fold[open]").count() == 0


def test_the_pictures_are_files_that_stand_alone(written):
    names = {path.name for path in (written / "pictures").iterdir()}
    assert names == {
        f"{kind}-{n}.{suffix}"
        for count, kinds in ((2, ("profile", *POOLED)), (4, SINGLE))
        for kind in kinds
        for n in range(1, count + 1)
        for suffix in ("svg", "png")
    }
    for path in (written / "pictures").glob("*.svg"):
        svg = path.read_text(encoding="utf-8")
        assert not re.search(r"https?:|<script|@import|currentColor", re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg))
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (written / "pictures").glob("*.png"))


@pytest.fixture(scope="module")
def measured(fixtures, tmp_path_factory):
    """A small report's result and verdicts."""
    critics = bundled.find_critics(None, device="cpu")
    pairs = list(islice(bundled.find_pairs(str(fixtures / "pairs.jsonl"), Fields(), critics), 30))
    cache = tmp_path_factory.mktemp("values") / "values.sqlite"
    settings = Settings(tuple(map(parse, ("last", "mean"))), cache=cache)
    edits = Plan(choose(all_families(), [], ["terminal-swap", "wrong-digit"]))
    compared, perturbed, along, keep = Compare(), Perturb(edits), Tokens(), Keep()
    with benches(critics.load(), pairs, settings) as made:
        done = run(made, [compared, perturbed, along, keep])
        results = [measure.result(done) for measure in (compared, perturbed, along)]
        plan = Gates("a test", (Gate("compare.d_acc", min=0.5),))
        verdicts = evaluate(plan, figures({"compare": results[0]}), ["last", "mean"])
        few = report(done.benches, keep.pairs, *results, edits, traced=600)
        return report(done.benches, keep.pairs, *results, edits), few, verdicts


def test_what_is_left_out_is_said(measured):
    result, few, verdicts = measured
    whole = {trace.id for trace in result.traces if trace.edit is None}
    kept = {trace.id for trace in few.traces if trace.edit is None}
    assert len(whole) == 30
    assert kept < whole
    assert f"The {len(kept)} most disputed of 30 pairs have their tokens in this page" in page(few, "a test", verdicts)
    assert "most disputed of 30 pairs" not in page(result, "a test", verdicts)
    order = list(result.compare.pairs.id.unique())
    assert kept == set(order[: len(kept)])


def test_a_thousand_pairs_of_long_texts_stay_below_six_megabytes(measured):
    result, _, verdicts = measured
    rng = random.Random(0)
    one = result.compare.pairs[result.compare.pairs.id == result.compare.pairs.id.iloc[0]]
    frames, traces = [], []
    length = 300
    for number in range(1000):
        identity = f"pair-{number:04}"
        scores = [[rng.gauss(mean, 9) for _ in one.index] for mean in (0, 5)]
        frames.append(one.assign(id=identity, student_score=scores[0], teacher_score=scores[1]))
        texts = [[chr(0x4E00 + rng.randrange(3000)) for _ in range(length)] for _ in range(2)]
        prompt = "".join(chr(0x4E00 + rng.randrange(3000)) for _ in range(600))
        for critic in one.critic.unique():
            values = np.array([[rng.gauss(0, 9) for _ in range(length)] for _ in texts], dtype=np.float32)
            sides = tuple(
                TracedSide(text, [1] * length, of_side, {"last": length - 1}, {"last": 1.0})
                for text, of_side in zip(texts, values, strict=True)
            )
            traces.append(Traced(identity, critic, None, prompt, sides))
    pairs = pd.concat(frames, ignore_index=True)
    pairs["gap"] = pairs.teacher_score - pairs.student_score
    pairs["gap_over_sd"] = pairs.gap / 9
    prompts = {trace.id: trace.prompt for trace in traces}
    large = replace(
        result,
        traces=traces,
        prompts=prompts,
        edits=result.edits[:0],
        compare=replace(result.compare, pairs=pairs),
    )
    made = page(large, "a test", verdicts)
    assert 5.5e6 < len(made.encode()) < 6e6
    [kept] = re.findall(r"The (\d+) most disputed of 1000 pairs have their tokens in this page", made)
    assert 300 < int(kept) < 1000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "report.pdf"], "cannot make a report of '.pdf'; use .html, or a folder"),
        (["-o", "no/such/folder/report.html"], "its directory does not exist"),
        (["--profile", "nonesuch"], "profile 'nonesuch' is unknown"),
    ],
)
def test_bad_usage_ends_before_anything_is_scored(options, message):
    result = CliRunner().invoke(app, ["report", *options])
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_what_is_not_installed_is_named_with_its_cure(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "altair", None)  # as Python marks a module that cannot be imported
    result = CliRunner().invoke(app, ["report"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "altair is not installed; pip install 'critic-probe[report]'" in result.stderr
