import hashlib
import json
import random

import pytest
from transformers import AutoModelForTokenClassification

from critic_probe.aggregation import parse
from critic_probe.checkpoint import load_critic
from critic_probe.measures.compare import compare
from critic_probe.measures.perturb import Plan, perturb
from critic_probe.pairs import Pair, read_pairs
from critic_probe.probes import BUILT_IN
from critic_probe.studies import demo, synthetic
from critic_probe.studies.synthetic_pairs import write_pairs
from critic_probe.workbench import Settings


@pytest.fixture(scope="module")
def critics(fixtures):
    return {name: load_critic(fixtures / "critics" / name, name=name, device="cpu") for name in demo.AGGREGATIONS}


@pytest.fixture(scope="module")
def summary(critics, fixtures):
    settings = Settings(aggregations=(parse("last"), parse("mean")))
    return compare(critics.values(), read_pairs(fixtures / "pairs.jsonl"), settings, lambda *_: lambda: None)


@pytest.mark.parametrize("name", demo.AGGREGATIONS)
def test_the_bundled_critics_load_in_transformers_with_nothing_missing(fixtures, name):
    path = fixtures / "critics" / name
    _, info = AutoModelForTokenClassification.from_pretrained(path, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))


def test_the_bundled_critics_take_real_files_and_say_what_they_know(critics):
    for name, critic in critics.items():
        assert critic.context_length == 8192
        assert critic.training["aggregation"] == name
        assert critic.tokenizer.pad_token_id != critic.tokenizer.eos_token_id
        assert 30 < critic.training["max_trained_tokens"] < 200


def test_they_order_wrong_digits_and_items_below_the_right_ones(summary):
    wrong = summary.categories[summary.categories.category.isin(["digit", "item"])]
    own = wrong[wrong.critic == wrong.aggregation]
    assert (own.d_acc >= 0.75).all(), own


def test_a_final_comma_moves_the_last_critic_more_than_the_mean_critic(critics, fixtures):
    settings = Settings(aggregations=(parse("last"), parse("mean")))
    pairs = read_pairs(fixtures / "pairs.jsonl")
    result = perturb(critics.values(), pairs, settings, Plan([BUILT_IN["terminal-swap"]]), lambda *_: lambda: None)
    swaps = result.summary[(result.summary.family == "terminal-swap") & (result.summary.position == "terminal")]
    effect = swaps.set_index(["critic", "aggregation"]).median_abs_delta_over_sd
    assert effect["last", "last"] > 2 * effect["mean", "mean"]


def test_identical_texts_tie_although_one_side_carries_eos(summary):
    same = summary.pairs[summary.pairs.category.isin(["identical", "identical-eos"])]
    assert len(same) == 6 * 4
    assert set(same.verdict) == {"tie"}


def test_the_bundled_pairs_and_tokenizer_are_those_that_the_script_writes(fixtures, tmp_path):
    tokenizer = demo.build_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    for name in demo.AGGREGATIONS:
        bundled = fixtures / "critics" / name / "tokenizer.json"
        assert bundled.read_bytes() == (tmp_path / "tokenizer.json").read_bytes()
    write_pairs(tmp_path / "pairs.jsonl", tokenizer, demo.EOS)
    assert (fixtures / "pairs.jsonl").read_bytes() == (tmp_path / "pairs.jsonl").read_bytes()


def test_what_is_measured_is_what_compare_reports(critics, tmp_path):
    figures = demo.measure(critics["last"], "last", count=12)
    rng = random.Random(demo.MEASURE_SEED)
    drawn = [synthetic.training_pair(rng, held_out=True) for _ in range(12)]
    pairs = [Pair(str(i), task.prompt, student, synthetic.concise(task)) for i, (task, student) in enumerate(drawn)]
    reported = compare([critics["last"]], pairs, Settings((parse("last"),)), lambda *_: lambda: None).summary
    assert figures["d_acc"] == pytest.approx(reported.d_acc.item())


def test_every_base_sample_labels_each_fact_once(fixtures):
    tokenizer = demo.build_tokenizer()
    encoder, rng = demo.build_encoder(tokenizer), random.Random(0)
    for _ in range(100):
        sample = demo._sample(tokenizer, encoder, rng)
        judged = [label for label in sample.this_fact if label >= 0]
        assert 2 <= len(judged) <= 4
        assert sample.right == (1 not in judged)
        assert sample.so_far[-1] == max(judged)
        assert sample.so_far == sorted(sample.so_far)


def test_the_table_in_the_readme_is_the_one_that_was_measured(fixtures):
    found = json.loads((fixtures / "measured.json").read_text(encoding="utf-8"))
    assert len(found["seeds"]) >= 3
    for readme in (fixtures.parent / "README.md", fixtures / "README.md"):
        assert demo.format_table(found["measured"]) in readme.read_text(encoding="utf-8")
    assert demo.format_ratios(found["measured"]) in (fixtures.parent / "README.md").read_text(encoding="utf-8")


def test_the_weights_are_those_whose_checksums_are_written_down(fixtures):
    written = (fixtures / "README.md").read_text(encoding="utf-8")
    for name in demo.AGGREGATIONS:
        digest = hashlib.sha256((fixtures / "critics" / name / "model.safetensors").read_bytes()).hexdigest()
        assert f"{digest}  critics/{name}/model.safetensors" in written
