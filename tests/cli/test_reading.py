"""How a critic is read, from the command line: conventions, templates, fields, bad rows, heads of several labels."""

import json
import math

import pytest
import torch
from encoding.templates import DATED, TOOLS, tokenizer_of
from safetensors.torch import load_file, save_file
from tiny import save_critic
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer
from typer.testing import CliRunner

from critic_probe.cli import app

ROWS = [
    {"id": f"p{i}", "prompt": f"What is {i} + {i}?", "student": f"It is {2 * i + 1},", "teacher": f"It is {2 * i}."}
    for i in range(1, 5)
]


@pytest.fixture(scope="module")
def token_critic(tmp_path_factory):
    path = save_critic(tmp_path_factory.mktemp("token"))
    tokenizer_of(TOOLS).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def reward_model(tmp_path_factory):
    return save_critic(tmp_path_factory.mktemp("sequence"), task="sequence")


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def compare(path, pairs, *options):
    arguments = ("compare", pairs, "-c", path, "--device", "cpu", "--no-cache", "--json")
    return json.loads(run(*arguments, *options).stdout)


def scores(result, read_out="last"):
    return {
        row["id"]: (row["student_score"], row["teacher_score"])
        for row in result["pairs"]
        if row["aggregation"] == read_out
    }


def conversation(row, side):
    return [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row[side]}]


def test_a_reward_model_is_read_as_its_class_pools_the_whole_chat(tmp_path, reward_model):
    result = compare(reward_model, write(tmp_path / "pairs.jsonl", ROWS))
    model = AutoModelForSequenceClassification.from_pretrained(reward_model).eval()
    tokenizer = AutoTokenizer.from_pretrained(reward_model)
    for row in ROWS:
        for got, side in zip(scores(result)[row["id"]], ("student", "teacher"), strict=True):
            ids = tokenizer.apply_chat_template(conversation(row, side), tokenize=True)["input_ids"]
            with torch.inference_mode():
                assert got == pytest.approx(model(torch.tensor([ids])).logits.item(), abs=1e-5)
    [critic] = result["signature"]["critics"]
    assert (critic["convention"], critic["value_position"]) == ("hf", "at")
    shown = run("compare", tmp_path / "pairs.jsonl", "-c", reward_model, "--device", "cpu").stdout
    assert "read as hf (a sequence-classification head" in shown.splitlines()[0]
    assert "mean read it otherwise" in " ".join(shown.split())[:400]


def test_a_convention_is_asked_for_and_reads_where_it_says(tmp_path, token_critic):
    pairs = write(tmp_path / "pairs.jsonl", ROWS)
    model = AutoModelForTokenClassification.from_pretrained(token_critic).eval()
    tokenizer = AutoTokenizer.from_pretrained(token_critic)

    def value(ids, index):
        with torch.inference_mode():
            return model(torch.tensor([ids])).logits[0, index, 0].item()

    ppo = scores(compare(token_critic, pairs, "--as", "verl-ppo"))
    for row in ROWS:
        prompt = tokenizer.apply_chat_template(
            conversation(row, "teacher")[:1], add_generation_prompt=True, tokenize=True
        )["input_ids"]
        answer = tokenizer(row["teacher"])["input_ids"]
        # The state before the answer's last token; EOS closes it, and is not the last token that counts.
        assert ppo[row["id"]][1] == pytest.approx(value(prompt + answer + [258], len(prompt + answer) - 2), abs=1e-5)
    at = scores(compare(token_critic, pairs, "--as", "verl-ppo", "--value-position", "at"))
    assert at != ppo


def test_an_edit_leaves_what_closes_an_answer_behind_it(tmp_path, reward_model):
    pairs = write(tmp_path / "pairs.jsonl", ROWS)
    arguments = ("perturb", pairs, "--family", "terminal-drop", "--side", "teacher", "-c", reward_model)
    result = json.loads(run(*arguments, "--device", "cpu", "--no-cache", "--json").stdout)
    model = AutoModelForSequenceClassification.from_pretrained(reward_model).eval()
    tokenizer = AutoTokenizer.from_pretrained(reward_model)
    rows = {row["id"]: row for row in ROWS}
    cases = [case for case in result["cases"] if case["aggregation"] == "last"]
    assert {case["id"] for case in cases} == set(rows)
    for case in cases:
        edited = rows[case["id"]] | {"teacher": rows[case["id"]]["teacher"].removesuffix(".")}
        ids = tokenizer.apply_chat_template(conversation(edited, "teacher"), tokenize=True)["input_ids"]
        with torch.inference_mode():
            assert case["variant_score"] == pytest.approx(model(torch.tensor([ids])).logits.item(), abs=1e-5)


def test_what_is_fed_is_shown_before_anything_is_loaded(tmp_path, token_critic):
    pairs = write(tmp_path / "pairs.jsonl", ROWS)
    (bare := tmp_path / "bare").mkdir()
    for file in token_critic.iterdir():
        (bare / file.name).write_bytes(file.read_bytes())
    weights = load_file(bare / "model.safetensors")
    save_file({k: v for k, v in weights.items() if "mlp" not in k}, bare / "model.safetensors", {"format": "pt"})
    shown = run("compare", pairs, "-c", bare, "--show-input", "p2").stdout  # it could not be loaded
    ids = AutoTokenizer.from_pretrained(token_critic).apply_chat_template(
        conversation(ROWS[1], "teacher")[:1], add_generation_prompt=True, tokenize=True
    )["input_ids"]
    assert f"<|im_start|>user\n{ROWS[1]['prompt']}<|im_end|>\n<|im_start|>assistant\n" in shown
    assert " ".join(map(str, ids)) in " ".join(shown.split())
    assert "no pair has that id" in run("compare", pairs, "-c", bare, "--show-input", "none", code=2).stderr
    told = compare(token_critic, pairs)["input"]
    assert (told["id"], told["teacher"]["answer"]) == ("p1", ROWS[0]["teacher"])
    assert (
        told["teacher"]["ids"][: told["teacher"]["response_start"]]
        == told["student"]["ids"][: told["student"]["response_start"]]
    )


def test_a_template_is_given_arguments_and_a_day(tmp_path, token_critic):
    pairs = write(tmp_path / "pairs.jsonl", ROWS)
    plain = compare(token_critic, pairs)
    switched = compare(token_critic, pairs, "--template-arg", "enable_thinking=false")
    assert "<think>\n\n</think>" in switched["input"]["teacher"]["prompt"]
    assert scores(plain) != scores(switched)
    assert plain["signature"]["critics"][0]["template"] != switched["signature"]["critics"][0]["template"]
    assert "not KEY=VALUE" in run("compare", pairs, "-c", token_critic, "--template-arg", "x", code=2).stderr
    dated = save_critic(tmp_path / "dated")
    tokenizer_of(DATED, bos_token="<|endoftext|>").save_pretrained(dated)
    first, second = (compare(dated, pairs), compare(dated, pairs, "--date", "1999-12-31"))
    assert "31 Dec 1999" in second["input"]["teacher"]["prompt"]
    assert first["input"]["teacher"]["ids"] == compare(dated, pairs)["input"]["teacher"]["ids"]
    assert scores(first) != scores(second)
    assert "is no day" in run("compare", pairs, "-c", dated, "--date", "today", code=2).stderr


def test_a_field_that_could_be_input_is_named_or_let_go(tmp_path, token_critic):
    pairs = write(tmp_path / "pairs.jsonl", [row | {"context": "Read this first."} for row in ROWS])
    error = run("compare", pairs, "-c", token_critic, code=2).stderr
    assert "'context'" in error
    assert "--ignore-field" in error
    let_go = compare(token_critic, pairs, "--ignore-field", "context")
    assert scores(let_go) == scores(compare(token_critic, write(tmp_path / "plain.jsonl", ROWS)))
    assert [n["message"] for n in let_go["warnings"] if n["code"] == "ignored-field"] == [
        "'context' was let go in 4 rows"
    ]


def test_bad_rows_are_refused_together_or_left_out_and_counted(tmp_path, token_critic):
    bad = [ROWS[0], ROWS[1] | {"teacher": ""}, {"id": "half", "prompt": "2+2?", "student": "4"}, *ROWS[2:]]
    pairs = write(tmp_path / "pairs.jsonl", bad)
    error = run("compare", pairs, "-c", token_critic, code=2).stderr
    assert "2 of 5 rows have a fault" in error
    assert "--on-bad-row skip" in error
    result = compare(token_critic, pairs, "--on-bad-row", "skip")
    assert set(scores(result)) == {"p1", "p3", "p4"}
    told = [n["message"] for n in result["warnings"] if n["code"] == "bad-rows"]
    assert sorted(told) == ["1 left out: empty side", "1 left out: missing side"]
    assert result["signature"]["critics"][0]["left_out"] == {"empty side": 1, "missing side": 1}


def test_a_value_that_is_no_number_is_never_a_verdict(tmp_path, make_critic):
    path = make_critic(seed=3)
    weights = load_file(path / "model.safetensors")
    ids = AutoTokenizer.from_pretrained(path)("é")["input_ids"]
    weights["model.embed_tokens.weight"][ids] = math.nan
    save_file(weights, path / "model.safetensors", {"format": "pt"})
    pairs = write(tmp_path / "pairs.jsonl", [*ROWS, ROWS[0] | {"id": "broken", "student": "It is é"}])
    error = run("compare", pairs, "-c", path, "--device", "cpu", "--no-cache", code=2).stderr
    assert "broken" in error
    assert "NaN" in error
    result = compare(path, pairs, "--on-bad-row", "skip")
    assert "broken" not in scores(result)
    assert result["summary"][0]["n"] == 4
    [left_out] = [n for n in result["warnings"] if n["message"].endswith("no finite value")]
    assert left_out["ids"] == ["broken"]
    assert result["signature"]["critics"][0]["left_out"] == {"no finite value": 1}
    checks = json.loads(run("doctor", pairs, "-c", path, "--json", code=1).stdout)["checks"]
    assert {check["check"]: check["verdict"] for check in checks}["weights-finite"] == "fail"


def test_a_head_of_two_labels_is_read_by_its_row(tmp_path, make_critic):
    path = make_critic(task="token", num_labels=2)
    pairs = write(tmp_path / "pairs.jsonl", ROWS)
    assert "--head-row" in run("compare", pairs, "-c", path, code=2).stderr
    model = AutoModelForTokenClassification.from_pretrained(path).eval()
    tokenizer = AutoTokenizer.from_pretrained(path)
    found = {row: scores(compare(path, pairs, "--head-row", row)) for row in ("1", "1-0")}
    for pair in ROWS:
        prompt = tokenizer.apply_chat_template(
            conversation(pair, "teacher")[:1], add_generation_prompt=True, tokenize=True
        )["input_ids"]
        with torch.inference_mode():
            ids = torch.tensor([prompt + tokenizer(pair["teacher"])["input_ids"]])
            logits = model(ids).logits[0, -1]
        assert found["1"][pair["id"]][1] == pytest.approx(logits[1].item(), abs=1e-5)
        assert found["1-0"][pair["id"]][1] == pytest.approx((logits[1] - logits[0]).item(), abs=1e-5)


def test_every_read_out_under_a_convention_has_its_tokens(tmp_path, reward_model):
    """`mix:1` is `last`, the convention's token; the others leave the tail out, also where it is all there is."""
    pairs = write(tmp_path / "pairs.jsonl", ROWS)
    names = ("last", "mix:1", "mean", "min", "max")
    options = [part for name in names for part in ("-a", name)]
    result = compare(reward_model, pairs, *options)
    assert scores(result, "mix:1") == scores(result, "last")
    model = AutoModelForSequenceClassification.from_pretrained(reward_model).eval()
    tokenizer = AutoTokenizer.from_pretrained(reward_model)
    row = ROWS[0]
    prompt = tokenizer.apply_chat_template(
        conversation(row, "teacher")[:1], add_generation_prompt=True, tokenize=True, return_dict=False
    )
    answer = tokenizer(row["teacher"])["input_ids"]
    with torch.inference_mode():
        states = model.model(torch.tensor([prompt + answer])).last_hidden_state
        own = model.score(states)[0, len(prompt) :, 0]
    assert scores(result, "mean")["p1"][1] == pytest.approx(own.mean().item(), abs=1e-5)
    assert scores(result, "min")["p1"][1] == pytest.approx(own.min().item(), abs=1e-5)
    arguments = ("perturb", pairs, "--family", "empty", "-c", reward_model, "--device", "cpu", "--no-cache", *options)
    emptied = json.loads(run(*arguments, "--json").stdout)["cases"]
    assert {case["aggregation"] for case in emptied} == set(names)


def test_the_doctor_calls_a_reward_model_sound_that_is_read_with_its_tail(tmp_path, make_critic):
    path = make_critic(task="sequence", eos_token_id=256)
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.eos_token = "<|endoftext|>"  # the template's tail is not EOS: ChatML over a base tokenizer
    tokenizer.save_pretrained(path)
    result = CliRunner().invoke(app, ["doctor", write(tmp_path / "pairs.jsonl", ROWS), "-c", str(path), "--json"])
    words = {check["check"]: check["verdict"] for check in json.loads(result.stdout)["checks"]}
    assert (words["template-tail"], words["values-finite"]) == ("ok", "ok")
    assert words["eos-delta"] != "fail"  # it may warn: EOS alone moves last+eos


def test_a_critic_is_read_as_its_own_warm_up_trained_it(tmp_path):
    pairs = write(tmp_path / "pairs.jsonl", [*ROWS, *(row | {"id": f"{row['id']}b"} for row in ROWS)])
    options = ("--steps", 1, "--batch-size", 4, "--held-out", 0, "--device", "cpu", "--value-position", "before")
    run("warmup", pairs, "--backbone", save_critic(tmp_path / "lm", task="causal"), "-o", tmp_path / "out", *options)
    result = compare(tmp_path / "out", pairs)
    assert result["signature"]["value_position"] == "before"
    assert "other-value-position" not in {notice["code"] for notice in result["warnings"]}
    told = compare(tmp_path / "out", pairs, "--value-position", "at")["warnings"]
    assert "other-value-position" in {notice["code"] for notice in told}


def test_what_is_left_out_is_said_by_check_and_doctor_too(tmp_path, token_critic):
    pairs = write(tmp_path / "pairs.jsonl", [*ROWS, ROWS[0] | {"id": "half", "student": ""}])
    gates = tmp_path / "gates.toml"
    gates.write_text('[[gates]]\nmetric = "compare.d_acc"\nmin = 0\nat = "value"\n')
    options = (pairs, "-c", token_critic, "--device", "cpu", "--on-bad-row", "skip")
    for command in (("check", *options, "--gates", gates), ("doctor", *options)):
        shown = CliRunner().invoke(app, [*map(str, command), "--full"], catch_exceptions=False).stdout
        data = json.loads(CliRunner().invoke(app, [*map(str, command), "--json"], catch_exceptions=False).stdout)
        assert "1 left out: empty side" in " ".join(shown.split())
        assert len([notice for notice in data["warnings"] if notice["code"] == "bad-rows"]) == 1
        assert data["input"]["id"] == "p1"


def test_a_report_shows_tokens_though_the_engine_changed_its_mind(tmp_path, make_critic, monkeypatch):
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10_000.0, "original_max_position_embeddings": 128}
    path = make_critic("llama", rope_parameters=rope, max_position_embeddings=1024)
    long = ROWS[0] | {"id": "long", "teacher": "It is two. " * 20}
    rows = [row | {"id": f"{row['id']}-{i}"} for i in range(17) for row in ROWS]
    pairs = write(tmp_path / "pairs.jsonl", [*rows, long])
    monkeypatch.chdir(tmp_path)
    run("report", pairs, "-c", path, "--device", "cpu", "--no-cache", "-o", "r.html", "--max-per-response", 1)
    assert (tmp_path / "r.html").stat().st_size > 10_000


def test_options_that_ask_a_critic_are_refused_beside_given_scores(tmp_path):
    file = tmp_path / "scores.csv"
    file.write_text("id,student_score,teacher_score\na,1,2\nb,2,3\n")
    assert "holds scores" in run("compare", file, "--as", "hf", code=2).stderr
    assert "holds scores" in run("compare", file, "--dry-run", code=2).stderr
    run("compare", file, "--rows", 1)


def test_three_texts_are_shown_as_they_are_fed(token_critic):
    texts = ("--prompt", "2+2?", "--student", "Five", "--teacher", "Four")
    shown = run("trace", *texts, "-c", token_critic, "--show-input", "first").stdout
    assert "Five" in shown
    assert "2+2?" in shown
