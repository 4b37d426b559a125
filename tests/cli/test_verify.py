"""A result held against its checkpoint."""

import copy
import gc
import json
import weakref

import pytest
import torch
from formats import with_head
from safetensors.torch import load_file
from tiny import CHATML, byte_tokenizer, save_critic
from typer.testing import CliRunner

import critic_probe as cp
from critic_probe.aggregation import parse
from critic_probe.bundled import find_critics
from critic_probe.checkpoint import load_critic
from critic_probe.cli import app
from critic_probe.measures.variants import Plan
from critic_probe.measures.verify import verify
from critic_probe.pairs import PairFile
from critic_probe.probes import all_families, choose
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
    "command", [("compare", "--value-position", "before"), ("perturb", "--all", "--max-per-response", "3")]
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


def dropped(record, table, **row):
    """A record without the rows of a table that say so; None says that they are there."""
    kept = [each for each in record[table] if any(each[name] != value for name, value in row.items())]
    assert 0 < len(kept) < len(record[table])
    record[table] = kept


def first_critic(record):
    return record["signature"]["critics"][0]


OF_COMPARE = [
    (lambda record: record["summary"][0].update(d_acc=0.999), "figures"),
    (lambda record: record["summary"].pop(), "figures"),
    (lambda record: record["summary"].reverse(), "figures"),
    (lambda record: [row.update(student_score=row["student_score"] + 0.01) for row in record["pairs"]], "scores"),
    (lambda record: record["pairs"][3].update(verdict="teacher", gap=1.5), "tables"),
    (lambda record: record["pairs"][3].update(prompt_hash="0" * 12), "tables"),
    (lambda record: [row.update(category="easy") for row in record["pairs"]], "tables"),
    (lambda record: record["pairs"][0].update(teacher_token_read="never"), "tables"),
    (lambda record: record["statistics"][1].update(auc=0.99), "tables"),
    (lambda record: record["statistics"][1].update(quality=0.99), "tables"),
    (lambda record: record["baselines"].pop(), "tables"),
    (lambda record: record.update(lengths=0.5), "tables"),
    (lambda record: record.update(quality=0.99), "tables"),
    (lambda record: record["answer"][0].update(text="It is perfect."), "tables"),
    (lambda record: record["answer"][0]["figures"].update({"last.d_acc": 0.99}), "tables"),
    (lambda record: record["input"]["student"].update(answer="It is 1"), "tables"),
    (lambda record: record.pop("input"), "tables"),
    (
        lambda record: dropped(record, "pairs", id=record["pairs"][3]["id"]),
        "scores",
    ),  # it can be scored, and should be there
]
OF_PERTURB = [
    (lambda record: record["headline"][0].update(strongest_harmless=0.01), "tables"),
    (lambda record: record["headline"][0].update(strongest=["terminal-swap terminal"]), "tables"),
    (lambda record: record["headline"][1].update(controls_word="above chance"), "tables"),
    (lambda record: record["rules"][0].update(explained=0.01), "tables"),
    (lambda record: record["faults"].pop(), "tables"),
    (lambda record: record["contrasts"][0].update(p_holm=1.0), "tables"),
    (
        lambda record: record["not_measured"].append({"critic": "critic", "family": "x", "reason": "y", "count": 1}),
        "tables",
    ),
    (lambda record: record["summary"][-1].update(verdict="pass", low=0.8), "tables"),
    (lambda record: record["summary"][0].update(flips=9), "figures"),
    (lambda record: record["answer"].pop(0), "tables"),
    (lambda record: record["cases"][0].update(flip=not record["cases"][0]["flip"]), "figures"),
    (lambda record: record["cases"][0].update(delta_over_sd=0.0), "figures"),
    (lambda record: record["cases"][0].update(sign=7), "tables"),
    (lambda record: record["cases"][0].update(token_change=9), "tables"),
    (lambda record: record["cases"][0].update(right="somewhere else"), "tables"),
    (lambda record: record["cases"].insert(0, record["cases"].pop()), "tables"),
    (lambda record: [dropped(record, name, family="wrong-digit") for name in ("cases", "summary")], "tables"),
    (lambda record: record["pairs"][0].update(teacher_score=9.0), "tables"),
    (lambda record: record["pairs"].pop(), "tables"),
]
OF_BOTH = [
    (lambda record: first_critic(record).update(tokenizer="0" * 8), "tokenizer"),
    (lambda record: first_critic(record).update(eos_ids=[0]), "settings"),
    (lambda record: first_critic(record).update(trusted=True), "settings"),
    (lambda record: first_critic(record).update(left_out={"no finite value": 3}), "settings"),
    (lambda record: first_critic(record).update(noise_floor={"last": 9.0, "mean": 9.0}), "settings"),
    (lambda record: record["signature"].update(value_position="before"), "signature"),
    (lambda record: record["signature"].update(tie_within=1.0), "signature"),
    (lambda record: record["warnings"].pop(), "warnings"),
    (lambda record: record["warnings"][-1].update(message="all is well"), "warnings"),
    (lambda record: record["warnings"].append({"code": "sound", "message": "sound", "ids": []}), "warnings"),
    (lambda record: record.pop("warnings"), "warnings"),
]


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    """Of `compare` and `perturb` a record, and what holds one against its critic: verdict by check."""
    folder = tmp_path_factory.mktemp("held")
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, ROWS[8:14])), encoding="utf-8")
    critic = load_critic(save_critic(folder / "critic"), device="cpu")
    bench = cp.bench(critic, folder / "pairs.jsonl", cache=False)
    plan = Plan(choose(all_families(), [], ["terminal-swap", "wrong-digit", "batch-mates"]))
    made = {"compare": bench.compare(), "perturb": bench.perturb([family.name for family in plan.families])}

    def judged(record):
        settings = {critic.name: Settings((parse("last"), parse("mean")), on_too_long="skip")}
        result = verify(record, [critic], PairFile(folder / "pairs.jsonl"), settings, plan, 1, 0)
        return {row["check"].rpartition(": ")[2]: row for row in result.checks.to_dict("records")}

    return {name: result.as_json() for name, result in made.items()}, judged


@pytest.mark.parametrize(
    ("command", "change", "failing"),
    [
        *(("compare", *each) for each in (*OF_COMPARE, *OF_BOTH[::2])),
        *(("perturb", *each) for each in (*OF_PERTURB, *OF_BOTH[1::2])),
    ],
)
def test_a_changed_record_does_not_hold(held, command, change, failing):
    records, judged = held
    record = copy.deepcopy(records[command])
    change(record)
    found = judged(record)
    assert found[failing]["verdict"] == "fail", found
    assert len(found[failing]["evidence"]) < 400


@pytest.mark.parametrize("command", ["compare", "perturb"])
def test_what_no_check_covers_may_differ_and_is_named(held, tmp_path, critic_dir, pairs, command):
    records, judged = held
    record = copy.deepcopy(records[command])
    first_critic(record).update(engine="reference", convention_because="asked for")
    record["signature"]["torch"] = "2.0.0"
    record["warnings"].append({"code": "cache", "message": "it was read-only", "ids": []})
    assert {row["verdict"] for row in judged(record).values()} == {"pass"}
    path = recorded(tmp_path, pairs, critic_dir, *(("compare",) if command == "compare" else ("perturb", "--punct")))
    arguments = ["verify", str(path), str(pairs), "-c", str(critic_dir), "--sample", "1"]
    told = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)["left_out"]
    assert {"signature.critics.engine", "signature.torch", "warnings.cache"} <= set(told)
    assert {name.partition(".")[0] for name in told} == {"signature", "warnings"}
    shown = " ".join(CliRunner().invoke(app, arguments).stdout.split())
    assert "not covered by any check: signature.critics: attention, convention_because, device" in shown


def test_raw_scores_and_what_values_choose(tmp_path, pairs, critic_dir):
    """Raw scores follow from normalised ones; which token `min` reads only values tell, so that it is named."""
    head = {"points.weight": load_file(critic_dir / "model.safetensors")["score.weight"]}
    config = {"value_head_prefix": "points", "normalize_reward": True, "mean": 0.5, "std": 2.0}
    critic = with_head(critic_dir, tmp_path / "critic", head, **config)
    path = recorded(tmp_path, pairs, critic, "compare", "-a", "mean", "-a", "min")
    assert set(checks(path, pairs, critic).values()) == {"pass"}
    record = json.loads(path.read_text(encoding="utf-8"))
    for name, value, verdict in (("student_token_read", "?", "pass"), ("student_raw_score", 0.01, "fail")):
        row = next(row for row in record["pairs"] if row["aggregation"] == "min")
        row[name] = value
        path.write_text(json.dumps(record), encoding="utf-8")
        assert checks(path, pairs, critic)["tables"] == verdict
    command = ["verify", str(path), str(pairs), "-c", str(critic), "--json"]
    assert "pairs.student_token_read" in json.loads(CliRunner().invoke(app, command).stdout)["left_out"]


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
