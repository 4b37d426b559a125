"""Every line of the doctor fails on the fault it is there for, and no other line does."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from formats import FORMATS, SHARDED, UNBIASED, copy_of, save_shards
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer
from typer.testing import CliRunner

from benchmarks.fresh_head import head as benchmark_head
from critic_probe.bundled import fixtures
from critic_probe.checkpoint.head import looks_untrained
from critic_probe.cli import app
from critic_probe.measures.doctor import CHECKS

TEXTS = ["The sum is 12.", "It is twelve", "Blue, green and red.", "a long answer that says the same thing twice", "42"]
PAIRS = [
    {"id": f"p{i}", "prompt": f"question {i}", "student": TEXTS[i], "teacher": TEXTS[(i + 1) % 5] + " Indeed."}
    for i in range(5)
]


@pytest.fixture(scope="module")
def healthy(make_critic, tmp_path_factory) -> Path:
    """A critic in which nothing is wrong: its head is visibly no fresh draw."""
    path = make_critic(seed=3, chat=True)
    weights = load_file(path / "model.safetensors")
    weights["score.weight"] = torch.where(torch.arange(32) < 28, weights["score.weight"] * 0.1, 2.0)
    weights["score.bias"] = torch.tensor([0.3])
    return copy_of(path, tmp_path_factory.mktemp("healthy") / "critic", weights)


def write_pairs(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def doctor(critic: Path, pairs: Path, *options: str) -> tuple[dict[str, str], dict[str, dict], int]:
    result = CliRunner().invoke(app, ["doctor", str(pairs), "-c", str(critic), "--device", "cpu", "--json", *options])
    assert result.exit_code in (0, 1), result.output
    checks = {check["check"]: check for check in json.loads(result.stdout)["checks"]}
    assert list(checks) == list(CHECKS)
    assert (result.exit_code == 1) == any(check["verdict"] == "fail" for check in checks.values())
    return {name: check["verdict"] for name, check in checks.items()}, checks, result.exit_code


def bad(verdicts: dict[str, str]) -> dict[str, str]:
    return {name: verdict for name, verdict in verdicts.items() if verdict not in ("ok", "not run")}


def test_a_healthy_critic_on_sound_pairs(healthy, tmp_path):
    verdicts, checks, code = doctor(healthy, write_pairs(tmp_path / "p.jsonl", PAIRS))
    unasked = {"config-base", "weights-base", "config-fit"}  # it has no base, and random weights predict no text
    assert {name for name, verdict in verdicts.items() if verdict != "ok"} == unasked, verdicts
    assert code == 0
    assert all(check["evidence"] and not check["cure"] for name, check in checks.items() if name not in unasked)
    assert "in the first teacher's response mean reads" in checks["read-token"]["evidence"]


def weights_of(critic: Path, **tensors: torch.Tensor | None) -> None:
    weights = load_file(critic / "model.safetensors") | {k.replace("__", "."): v for k, v in tensors.items()}
    save_file({k: v for k, v in weights.items() if v is not None}, critic / "model.safetensors", {"format": "pt"})


def config_of(critic: Path, **changes: object) -> None:
    content = json.loads((critic / "config.json").read_text()) | changes
    (critic / "config.json").write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def tokenizer_of(critic: Path, **changes: object) -> None:
    path = critic / "tokenizer_config.json"
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def more_tokens(critic: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(critic)
    tokenizer.add_tokens(["<more>", "<and more>"])
    tokenizer.save_pretrained(critic)


def normalising(critic: Path) -> None:
    from tokenizers.normalizers import NFKC
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(critic)
    tokenizer.backend_tokenizer.normalizer = NFKC()
    tokenizer.save_pretrained(critic)


def fresh_head(critic: Path) -> None:
    torch.manual_seed(5)
    weights_of(critic, score__weight=torch.randn(1, 32) * 0.02, score__bias=torch.zeros(1))


def with_code(change: str) -> Callable[[Path], None]:
    """A backbone whose code is wrong in one way; `hidden` and `input_ids`, `seen` are what `change` may use."""

    def apply(critic: Path) -> None:
        config_of(
            critic,
            model_type="faulty",
            auto_map={"AutoConfig": "faulty.FaultyConfig", "AutoModel": "faulty.FaultyModel"},
        )
        (critic / "faulty.py").write_text(
            "import torch\n"
            "from transformers import Qwen3Config, Qwen3Model\n"
            "class FaultyConfig(Qwen3Config):\n"
            "    model_type = 'faulty'\n"
            "class FaultyModel(Qwen3Model):\n"
            "    config_class = FaultyConfig\n"
            "    def forward(self, input_ids=None, attention_mask=None, position_ids=None, **kw):\n"
            "        out = super().forward(input_ids=input_ids, attention_mask=attention_mask,\n"
            "                              position_ids=position_ids, **kw)\n"
            "        hidden = out.last_hidden_state\n"
            f"        {change}\n"
            "        out.last_hidden_state = hidden\n"
            "        return out\n"
        )

    return apply


TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}\n%s{{ m.content }}<|im_end|>\n{% endfor %}"
GENERATION = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
THINKS = TEMPLATE.replace("%s", "{% if m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}") + GENERATION

CRITIC_FAULTS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "weights": ("fail", lambda c: weights_of(c, model__norm__weight=None)),
    "head-present": ("fail", lambda c: weights_of(c, score__weight=None, score__bias=None)),
    "head-shape": ("fail", lambda c: weights_of(c, score__weight=torch.zeros(2, 32), score__bias=torch.zeros(2))),
    "head-config": ("fail", lambda c: config_of(c, id2label={"0": "a", "1": "b"}, label2id={"a": 0, "b": 1})),
    "head-finite": ("fail", lambda c: weights_of(c, score__bias=torch.tensor([torch.inf]))),
    "head-untrained": ("warn", fresh_head),
    "dropout": ("fail", lambda c: config_of(c, classifier_dropout=None, hidden_dropout="0")),
    "causal": ("fail", with_code("hidden = hidden + input_ids.float().mean(1)[:, None, None]")),
    "pad-token": ("warn", lambda c: tokenizer_of(c, pad_token="<|im_end|>")),
    "stop-ids": ("warn", lambda c: (c / "generation_config.json").write_text('{"eos_token_id": [258, 256]}')),
    "vocabulary": ("fail", more_tokens),
    "template": ("warn", lambda c: (c / "chat_template.jinja").unlink()),
    "template-tail": ("warn", lambda c: (c / "chat_template.jinja").write_text(THINKS)),
    "same-ids": (
        "fail",
        with_code(
            "self.calls = getattr(self, 'calls', 0) + 1; "
            "hidden = hidden * (1 + 0.01 * (self.calls % 7) * (input_ids.shape[1] > 8))"
        ),
    ),
    "batch-mates": ("fail", with_code("hidden = hidden + 0.01 * (len(hidden) > 1) * (attention_mask is None)")),
    "batch-order": (
        "fail",
        with_code("hidden = hidden + 1e-5 * torch.arange(len(hidden))[:, None, None] * (attention_mask is None)"),
    ),
    "right-padding": (
        "fail",
        with_code("hidden = hidden + 0.1 * (attention_mask is not None and bool((attention_mask[:, 0] == 1).all()))"),
    ),
    "left-padding": (
        "fail",
        with_code("hidden = hidden + 0.1 * (attention_mask is not None and bool((attention_mask[:, -1] == 1).all()))"),
    ),
    "packed": ("warn", with_code("hidden = hidden + 0.1 * (position_ids is not None and attention_mask is None)")),
    "collapsed": ("fail", lambda c: weights_of(c, score__weight=torch.tensor([[1e-9] * 31 + [3e-9]]))),
    "eos-delta": (
        "warn",
        with_code("hidden = hidden + 30 * (input_ids == 258)[..., None] * torch.ones(32) * (input_ids.shape[1] > 1)"),
    ),
}
REMOTE = {"causal", "same-ids", "batch-mates", "batch-order", "right-padding", "left-padding", "packed", "eos-delta"}
TOGETHER = {  # what the same fault must also move
    "same-ids": {
        "swapped-sides",
        "batch-mates",
        "batch-order",
        "right-padding",
        "left-padding",
        "packed",
        "noise-floor",
        "eos-delta",
    },
    "batch-order": {"batch-mates"},
    "ties": {"read-token"},
    "collapsed": {"ties"},
}


@pytest.mark.parametrize("check", CRITIC_FAULTS)
def test_a_fault_of_the_critic_fails_its_line_and_no_other(healthy, tmp_path, check):
    verdict, break_it = CRITIC_FAULTS[check]
    critic = Path(shutil.copytree(healthy, tmp_path / "c"))
    break_it(critic)
    options = ["--trust-remote-code"] if check in REMOTE else []
    verdicts, checks, _ = doctor(critic, write_pairs(tmp_path / "p.jsonl", PAIRS), *options)
    assert verdicts[check] == verdict, checks[check]
    assert checks[check]["cure"]
    assert set(bad(verdicts)) - TOGETHER.get(check, set()) == {check}, bad(verdicts)


def ids(text: str, *more: int) -> list[int]:
    from tiny import byte_tokenizer

    return [*byte_tokenizer()(text, add_special_tokens=False)["input_ids"], *more]


PAIR_FAULTS: dict[str, tuple[str, list[dict]]] = {
    "pairs": ("fail", [{"id": "a", "prompt": "p", "student": "s"}]),
    "prompt-repr": ("fail", [PAIRS[0] | {"prompt": "[{'role': 'user', 'content': 'p'}]"}]),
    "truncation": ("fail", [*PAIRS, {"id": "long", "prompt": "p", "student": "s" * 600, "teacher": "t"}]),
    "eos-one-side": (
        "warn",
        [*PAIRS, {"id": "e", "prompt": "p", "student_ids": ids("yes.", 258), "teacher_ids": ids("no, no.")}],
    ),
    "read-token": (
        "warn",
        [*PAIRS, {"id": "t", "prompt": "p", "student_ids": ids("yes.", 258, *ids("\n")), "teacher_ids": ids("no\n")}],
    ),
    "ties": (
        "warn",
        [*PAIRS, {"id": "z", "prompt": "p", "student_ids": ids("same", 258, 258), "teacher_ids": ids("same", 258)}],
    ),
    "identical-text": (
        "warn",
        [
            *PAIRS,
            {
                "id": "i",
                "prompt": "p",
                "student_ids": ids("a", 257, *ids("b")),
                "teacher_ids": [i for char in "a<|im_start|>b" for i in ids(char)],
            },
        ],
    ),
}


@pytest.mark.parametrize("check", PAIR_FAULTS)
def test_a_fault_of_the_pairs_fails_its_line_and_no_other(healthy, tmp_path, check):
    verdict, rows = PAIR_FAULTS[check]
    verdicts, checks, _ = doctor(healthy, write_pairs(tmp_path / "p.jsonl", rows))
    assert verdicts[check] == verdict, checks[check]
    assert checks[check]["cure"]
    assert set(bad(verdicts)) - TOGETHER.get(check, set()) == {check}, bad(verdicts)


BUNDLED = fixtures() / "critics" / "last"
MISFITS = {
    "rope_theta": ({"rope_parameters": {"rope_type": "default", "rope_theta": 100.0}}, "rope_theta"),
    "rope_type": (
        {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e6}},
        "rope_type=default",
    ),
    "sliding_window": (
        {
            "sliding_window": 4,
            "use_sliding_window": True,
            "max_window_layers": 0,
            "layer_types": ["sliding_attention"] * 4,
        },
        "no sliding window",
    ),
}


@pytest.fixture(scope="module")
def some_pairs(tmp_path_factory) -> Path:
    lines = (fixtures() / "pairs.jsonl").read_text(encoding="utf-8").splitlines()[:12]
    path = tmp_path_factory.mktemp("some") / "pairs.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("field", MISFITS)
def test_settings_that_fit_any_weights_are_found_by_what_is_left_of_its_language(some_pairs, tmp_path, field):
    changes, fits_better = MISFITS[field]
    critic = Path(shutil.copytree(BUNDLED, tmp_path / "c"))
    config_of(critic, **changes)
    verdicts, checks, _ = doctor(critic, some_pairs)
    assert verdicts["config-fit"] == "fail"
    assert f"the weights fit {fits_better}" in checks["config-fit"]["evidence"]
    verdicts, checks, _ = doctor(critic, some_pairs, "--base", str(BUNDLED))
    assert verdicts["config-base"] == "warn"
    assert field in checks["config-base"]["evidence"]


def test_a_config_is_held_against_the_base_that_it_names(some_pairs, tmp_path):
    critic = Path(shutil.copytree(BUNDLED, tmp_path / "c"))
    config_of(critic, _name_or_path=str(BUNDLED), rms_norm_eps=0.01, num_labels=1)
    verdicts, checks, _ = doctor(critic, some_pairs)
    assert bad(verdicts) == {"config-base": "warn", "config-fit": "fail"}
    assert "rms_norm_eps is 0.01, the base has 1e-06" in checks["config-base"]["evidence"]
    config_of(critic, rms_norm_eps=1e-6)
    verdicts, _, _ = doctor(critic, some_pairs)
    assert (verdicts["config-base"], verdicts["config-fit"]) == ("ok", "ok")


def test_an_output_layer_that_was_not_kept_tells_nothing(some_pairs, tmp_path):
    critic = Path(shutil.copytree(BUNDLED, tmp_path / "c"))
    config_of(critic, tie_word_embeddings=False)
    _, checks, _ = doctor(critic, some_pairs)
    assert checks["config-fit"]["verdict"] == "not run"
    assert "output layer was not kept" in checks["config-fit"]["evidence"]


def test_an_outlier_is_named(healthy, tmp_path):
    critic = Path(shutil.copytree(healthy, tmp_path / "c"))
    with_code(f"hidden = hidden + 90 * (input_ids == {ids('Z')[0]})[..., None]")(critic)
    rows = [*PAIRS, PAIRS[0] | {"id": "far", "student": "Z"}]
    verdicts, checks, _ = doctor(critic, write_pairs(tmp_path / "p.jsonl", rows), "--trust-remote-code")
    assert bad(verdicts) == {"outliers": "warn"}
    assert checks["outliers"]["evidence"].count("far") == 2


def test_rounding_that_drowns_the_scores(healthy, tmp_path):
    critic = Path(shutil.copytree(healthy, tmp_path / "c"))
    weights_of(critic, score__bias=torch.tensor([3000.0]))
    pairs = write_pairs(tmp_path / "p.jsonl", PAIRS)
    verdicts, checks, _ = doctor(critic, pairs, "--dtype", "bfloat16")
    assert verdicts["dtype"] == "warn"
    assert "bfloat16 against float32: largest difference" in checks["dtype"]["evidence"]
    assert set(bad(verdicts)) <= {"dtype", "ties", "collapsed"}  # what such rounding also does
    assert doctor(healthy, pairs, "--dtype", "bfloat16")[0]["dtype"] == "ok"


@pytest.mark.parametrize("name", [*FORMATS, *UNBIASED])
def test_inspect_and_doctor_work_on_every_format(healthy, tmp_path, name):
    path = (FORMATS | UNBIASED)[name](healthy, tmp_path / "c")
    examine(path, tmp_path, healthy)


@pytest.fixture(scope="module")
def shards(healthy, tmp_path_factory) -> Path:
    return save_shards(healthy, tmp_path_factory.mktemp("shards"))


@pytest.mark.parametrize("mode", SHARDED)
def test_inspect_and_doctor_work_on_real_shards(shards, healthy, tmp_path, mode):
    found = examine(shards / mode, tmp_path, healthy)
    assert (found["format"], found["framework"], found["step"]) == ("verl-fsdp", "verl", 20)


@pytest.mark.parametrize(("uniform", "changed"), [(False, 0.005), (True, 5e-5)])
def test_a_head_that_training_changed_little_cannot_be_told_from_a_fresh_one(uniform, changed):
    heads = [benchmark_head(896, uniform, changed, seed) for seed in range(40)]
    found = [fresh for head in heads if (fresh := looks_untrained(head, 0.02)) is not None]
    assert len(found) > 20  # what training did is not seen in most draws
    unseen = found[0].unseen
    assert unseen > changed  # and that is said
    clear = [looks_untrained(benchmark_head(896, uniform, 1.2 * unseen, seed), 0.02) for seed in range(40)]
    assert sum(fresh is not None for fresh in clear) <= 6


def test_a_head_that_looks_fresh_is_not_called_untrained(healthy, tmp_path):
    critic = shutil.copytree(healthy, tmp_path / "critic")
    fresh_head(critic)
    _, rows, _ = doctor(critic, write_pairs(tmp_path / "p.jsonl", PAIRS))
    evidence = rows["head-untrained"]["evidence"]
    assert evidence.startswith("cannot tell whether it was trained")


def examine(path: Path, tmp_path: Path, healthy: Path) -> dict:
    result = CliRunner().invoke(app, ["inspect", str(path), "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["head"]["shape"][0] == 1
    assert found["head"]["looks_untrained"] is False
    assert found["stop_ids"] == [258]
    assert found["context_length"] == 512
    verdicts, _, code = doctor(path, write_pairs(tmp_path / "p.jsonl", PAIRS))
    assert code == 0
    assert set(bad(verdicts)) <= {"template-tail"}  # a head without bias may be a reward model of whole chats
    return found


def test_inspect_in_words(healthy, tmp_path):
    shown = CliRunner().invoke(app, ["inspect", str(FORMATS["verl one rank"](healthy, tmp_path / "run"))]).stdout
    for part in ("verl-fsdp (verl, step 7)", "score.weight, score.bias", "--as verl-ppo", "Qwen3ForCausalLM"):
        assert part in " ".join(shown.split())


def test_doctor_wants_one_critic_that_is_there(tmp_path):
    for arguments, part in (
        (["doctor"], "no critic is named"),
        (["inspect"], "no critic is named"),
        (["doctor", "bundled:last", "pairs.jsonl", "-c", "bundled:mean"], "a critic is named with -c too"),
        (["inspect", "bundled:last", "-c", "bundled:mean"], "a critic is named with -c too"),
        (["inspect", "-c", "bundled:last", "-c", "bundled:mean"], "one critic at a time"),
        (["doctor", "-c", "bundled:last", "-c", "bundled:mean"], "one critic at a time"),
        (["doctor", "-c", str(tmp_path / "absent")], "no such checkpoint directory"),
        (["inspect", str(tmp_path / "absent")], "no such checkpoint directory"),
    ):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 2
        assert part in result.stderr


def test_inspect_and_doctor_take_a_critic_as_an_argument_or_by_its_option(healthy, tmp_path, monkeypatch):
    critic, pairs = str(healthy), str(write_pairs(tmp_path / "p.jsonl", PAIRS))
    ways = (("doctor", critic, pairs), ("doctor", "-c", critic, pairs), ("doctor", pairs))
    monkeypatch.setenv("CRITIC_PROBE_CHECKPOINT", critic)
    shown = [CliRunner().invoke(app, [*way, "--device", "cpu", "--full"]).stdout for way in ways]
    assert f"{len(PAIRS)} pairs" in shown[0]
    assert shown[0] == shown[1] == shown[2]
    inspected = [CliRunner().invoke(app, ["inspect", *way]).stdout for way in ((critic,), ("-c", critic), ())]
    assert inspected[0] == inspected[1] == inspected[2]
    assert "⏎" not in inspected[0]


def test_a_tokenizer_that_normalises_text(healthy, tmp_path):
    critic = Path(shutil.copytree(healthy, tmp_path / "c"))
    normalising(critic)
    full_width = [PAIRS[0] | {"student": "是的！"}, *PAIRS[1:]]
    verdicts, checks, _ = doctor(critic, write_pairs(tmp_path / "p.jsonl", full_width))
    assert bad(verdicts) == {"round-trip": "warn"}
    assert "p0" in checks["round-trip"]["evidence"]
    assert bad(doctor(healthy, write_pairs(tmp_path / "p.jsonl", full_width))[0]) == {}


def test_special_ids_beyond_the_embedding_matter_only_where_they_occur(healthy, tmp_path):
    """Gemma 3 1B's image token has no row; an ordinary token that has none is another tokenizer's."""
    critic = Path(shutil.copytree(healthy, tmp_path / "c"))
    tokenizer = AutoTokenizer.from_pretrained(critic)
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    tokenizer.save_pretrained(critic)
    verdicts, checks, _ = doctor(critic, write_pairs(tmp_path / "p.jsonl", PAIRS))
    assert verdicts["vocabulary"] == "ok"
    assert "1 special ones beyond them" in checks["vocabulary"]["evidence"]
