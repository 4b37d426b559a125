"""A result held against its checkpoint."""

import gc
import json
import weakref

import pytest
import torch
from tiny import CHATML, byte_tokenizer
from typer.testing import CliRunner

from critic_probe.aggregation import parse
from critic_probe.bundled import find_critics
from critic_probe.checkpoint import load_critic
from critic_probe.cli import app
from critic_probe.measures.variants import Plan
from critic_probe.measures.verify import verify
from critic_probe.pairs import PairFile
from critic_probe.workbench import Bench, Settings

ROWS = [
    {"id": f"p{i}", "prompt": f"What is {i}?", "student": f"It is {i}, a number", "teacher": f"{i} is a number."}
    for i in range(30)
]


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    return path


def recorded(tmp_path, pairs, critic, *command):
    path = tmp_path / "result.json"
    result = CliRunner().invoke(app, [*command, str(pairs), "-c", str(critic), "-o", str(path)])
    assert result.exit_code == 0, result.output
    return path


def checks(path, pairs, critic, *options):
    result = CliRunner().invoke(app, ["verify", str(path), str(pairs), "-c", str(critic), "--json", *options])
    assert result.exit_code in (0, 1), result.output
    found = json.loads(result.stdout)
    assert found["holds"] == (result.exit_code == 0)
    return {row["check"].rpartition(": ")[2]: row["verdict"] for row in found["checks"]}


@pytest.mark.parametrize(
    "command", [("compare", "--value-position", "before"), ("perturb", "--all", "--max-per-response", "5")]
)
def test_what_was_written_holds(tmp_path, pairs, critic_dir, command):
    path = recorded(tmp_path, pairs, critic_dir, *command)
    assert set(checks(path, pairs, critic_dir).values()) == {"pass"}


def test_last_digits_that_another_row_moves_are_no_difference(tmp_path, fixtures):
    """Beside edits of other prompts some bundled answers get scores that are off by more than the noise floor."""
    lines = (fixtures / "pairs.jsonl").read_text("utf-8").splitlines(True)
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(line for line in lines if '"interior-swap-0' in line), encoding="utf-8")
    path = recorded(tmp_path, pairs, "bundled:mean", "compare")
    record = json.loads(path.read_text(encoding="utf-8"))
    assert max(record["signature"]["critics"][0]["noise_floor"].values()) < 2e-4
    for off, verdict in ((2e-4, "pass"), (9e-3, "fail")):
        record["pairs"][0]["teacher_score"] += off
        path.write_text(json.dumps(record), encoding="utf-8")
        assert checks(path, pairs, "bundled:mean")["scores"] == verdict


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        (lambda record: record["summary"][0].update(d_acc=0.999), "figures"),
        (lambda record: record["summary"].pop(), "figures"),
        (lambda record: [row.update(student_score=row["student_score"] + 0.01) for row in record["pairs"]], "scores"),
        (lambda record: record["signature"]["critics"][0].update(tokenizer="0" * 8), "tokenizer"),
        (lambda record: record["signature"]["critics"][0].update(eos_ids=[0]), "settings"),
        (lambda record: record["pairs"][3].update(verdict="teacher", gap=1.5), "tables"),
        (lambda record: record["statistics"][1].update(auc=0.99), "tables"),
        (lambda record: record["baselines"].pop(), "tables"),
        (lambda record: record.update(lengths=0.5), "tables"),
        (lambda record: record["answer"][0].update(text="It is perfect."), "tables"),
    ],
)
def test_a_changed_record_does_not_hold(tmp_path, pairs, critic_dir, change, failing):
    path = recorded(tmp_path, pairs, critic_dir, "compare")
    record = json.loads(path.read_text(encoding="utf-8"))
    change(record)
    path.write_text(json.dumps(record), encoding="utf-8")
    found = checks(path, pairs, critic_dir)
    assert found[failing] == "fail"


@pytest.mark.parametrize(
    ("command", "parts"),
    [
        (("compare",), ["input", "warnings"]),
        (("perturb", "--punct"), ["answer", "contrasts", "faults", "headline", "input", "not_measured", "rules"]),
    ],
)
def test_what_no_check_covers_is_named(tmp_path, pairs, critic_dir, command, parts):
    path = recorded(tmp_path, pairs, critic_dir, *command)
    arguments = ["verify", str(path), str(pairs), "-c", str(critic_dir), "--sample", "1"]
    told = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)["left_out"]
    assert told[: len(parts)] == parts
    shown = " ".join(CliRunner().invoke(app, arguments).stdout.split())
    assert f"not covered by any check: {', '.join(parts)}" in shown


def test_one_wrong_row_is_found_when_all_are_scored_again(tmp_path, pairs, critic_dir):
    path = recorded(tmp_path, pairs, critic_dir, "perturb", "--punct")
    record = json.loads(path.read_text(encoding="utf-8"))
    smallest = record["cases"][-1]
    for name in ("original_score", "variant_score"):  # their difference still is what the record says
        smallest[name] += 0.01
    path.write_text(json.dumps(record), encoding="utf-8")
    found = checks(path, pairs, critic_dir, "--sample", "30")
    assert (found["figures"], found["scores"]) == ("pass", "fail")


def test_the_sample_is_counted_as_it_was_drawn(tmp_path, pairs, critic_dir):
    path = recorded(tmp_path, pairs, critic_dir, "compare")
    for sample, told in (("50", "30 pairs of each critic"), ("1", "1 pair of each critic")):
        command = ["verify", str(path), str(pairs), "-c", str(critic_dir), "--sample", sample]
        shown = " ".join(CliRunner().invoke(app, command).stdout.split())
        assert f"the record holds (sample: {told}, seed" in shown


def test_another_critic_and_other_data_are_told(tmp_path, pairs, critic_dir):
    path = recorded(tmp_path, pairs, "bundled:last", "compare")
    found = checks(path, pairs, "bundled:mean")
    assert (found["weights"], found["tokenizer"], found["scores"]) == ("fail", "pass", "not run")
    pairs.write_text("\n".join(map(json.dumps, ROWS[:-1])), encoding="utf-8")
    found = checks(path, pairs, "bundled:last")
    assert (found["data"], found["weights"], found["scores"]) == ("fail", "pass", "not run")


def test_what_cannot_be_verified_is_refused(tmp_path, pairs):
    def refused(text, *options):
        path = tmp_path / "x.json"
        path.write_text(text, encoding="utf-8")
        result = CliRunner().invoke(app, ["verify", str(path), str(pairs), *options])
        assert result.exit_code == 2, result.output
        return result.stderr

    whole = json.loads(recorded(tmp_path, pairs, "bundled:last", "compare").read_text(encoding="utf-8"))
    assert "not valid JSON" in refused("{")
    assert "schema 'critic-probe/trace/1' cannot be verified" in refused('{"schema": "critic-probe/trace/1"}')
    assert "cannot be verified" in refused('{"schema": []}')
    assert "'signature.critics[0].noise_floor' is null, not an object" in refused(
        json.dumps(whole).replace('"noise_floor": {', '"noise_floor": null, "x": {', 1)
    )
    assert "has no 'pairs'" in refused(json.dumps({k: v for k, v in whole.items() if k != "pairs"}))
    both = ("-c", "bundled:last", "-c", "bundled:mean")
    assert "was computed with bundled:last" in refused(json.dumps(whole), *both)


@pytest.fixture
def dated_dir(make_critic):
    """A critic whose chat template reads the clock and an argument."""
    path = make_critic()
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = "{{ strftime_now('%Y-%m-%d') }}{% if formal %}Be formal.{% endif %}" + CHATML
    tokenizer.save_pretrained(path)
    return path


@pytest.mark.parametrize(
    "options",
    [
        ("--as", "trl"),
        ("--as", "trl", "--template", "chat"),
        ("--as", "hf", "--template", "raw"),
        ("--as", "verl-ppo", "--value-position", "at"),
        ("--template-arg", "formal=true", "--date", "2025-01-02"),
    ],
    ids=" ".join,
)
def test_a_result_is_scored_again_as_it_was_scored(tmp_path, pairs, dated_dir, options):
    path = recorded(tmp_path, pairs, dated_dir, "compare", *options)
    assert set(checks(path, pairs, dated_dir).values()) == {"pass"}


def test_critics_that_are_read_differently_hold_in_one_go(tmp_path, pairs, critic_dir, make_critic):
    ppo = make_critic(seed=1)
    config = json.loads((ppo / "config.json").read_text(encoding="utf-8"))
    (ppo / "config.json").write_text(json.dumps(config | {"architectures": ["CriticModel"]}), encoding="utf-8")
    path = recorded(tmp_path, pairs, critic_dir, "compare", "-c", str(ppo))
    signature = json.loads(path.read_text(encoding="utf-8"))["signature"]
    assert [critic["convention"] for critic in signature["critics"]] == ["verl-ppo", "gad"]
    assert signature["value_position"] == "before, at"
    result = CliRunner().invoke(app, ["verify", str(path), str(pairs), "-c", str(ppo), "-c", str(critic_dir)])
    assert result.exit_code == 0, result.output


def test_a_convention_from_a_file_is_given_again(tmp_path, pairs, critic_dir):
    own, other = tmp_path / "ours.toml", tmp_path / "theirs.toml"
    own.write_text('closing = "eos"\nplain_closing = "eos"\nreads = "last"\n', encoding="utf-8")
    other.write_text('closing = "eos"\n', encoding="utf-8")
    path = recorded(tmp_path, pairs, critic_dir, "compare", "--as", str(own))

    def refused(path, *options):
        result = CliRunner().invoke(app, ["verify", str(path), str(pairs), "-c", str(critic_dir), *options])
        assert result.exit_code == 2, result.output
        return result.stderr

    assert "a convention from a file; give it with --as" in refused(path)
    assert "give --as the file that it was read by" in refused(path, "--as", str(other))
    assert set(checks(path, pairs, critic_dir, "--as", str(own)).values()) == {"pass"}
    assert "leave out --as" in refused(recorded(tmp_path, pairs, critic_dir, "compare"), "--as", str(own))


def test_a_record_that_names_no_convention_was_read_as_gad(tmp_path, pairs, make_critic):
    critic = make_critic(task="sequence")  # else read as hf
    path = recorded(tmp_path, pairs, critic, "compare", "--as", "gad", "--value-position", "before")
    record = json.loads(path.read_text(encoding="utf-8"))
    for key in ("convention", "convention_because", "value_position"):
        del record["signature"]["critics"][0][key]
    path.write_text(json.dumps(record), encoding="utf-8")
    assert set(checks(path, pairs, critic).values()) == {"pass"}


@pytest.mark.parametrize("rows", [30, 29], ids=["scored again", "other data"])
def test_a_critic_is_let_go_before_the_next_is_loaded(tmp_path, pairs, rows):
    record = json.loads(recorded(tmp_path, pairs, "bundled:last", "compare", "-c", "bundled:mean").read_text("utf-8"))
    pairs.write_text("\n".join(map(json.dumps, ROWS[:rows])), encoding="utf-8")
    loaded = []

    def one_after_the_other():
        for name in ("bundled:last", "bundled:mean"):
            assert [critic().name for critic in loaded if critic() is not None] == []
            [critic] = find_critics([name], device="cpu").load()
            loaded.append(weakref.ref(critic))
            yield critic
            del critic

    settings = dict.fromkeys(("bundled:last", "bundled:mean"), Settings((parse("last"), parse("mean"))))
    gc.disable()
    try:
        verify(record, one_after_the_other(), PairFile(pairs), settings, Plan([]), 5, 0)
    finally:
        gc.enable()
    assert len(loaded) == 2


def test_values_of_another_float32_precision_are_not_those_kept(tmp_path, pairs, critic_dir):
    settings = Settings((parse("last"),), cache=tmp_path / "values.sqlite")
    critic = load_critic(critic_dir, device="cpu")

    def computed(precision):
        torch.set_float32_matmul_precision(precision)
        bench = Bench(critic, PairFile(pairs), settings)
        list(bench.values(pair.group for pair in bench.encoded(bench.pairs)))
        bench.close()
        return bench.stats.computed > 0

    try:
        assert [computed(name) for name in ("highest", "high", "highest", "high")] == [True, True, False, False]
    finally:
        torch.set_float32_matmul_precision("highest")
