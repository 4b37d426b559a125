"""Which rule explains a score's moves, on scores that are a rule, or are none."""

from zlib import crc32

import numpy as np
import pandas as pd
import pytest

from critic_probe.stats.rules import change, simple_rules, traits
from critic_probe.text import ends_in_terminal

RNG = np.random.default_rng(0)
WORDS = ("egg", "Tea", "milk", "12", "7", "**rice**", "bread", "Sure", "\n", "苹果", "egg.")
FAMILIES = ("one", "two", "three")


def texts(n=60):
    """Prompts, originals and edited responses that differ in everything that a rule may see."""

    def text():
        return " ".join(RNG.choice(WORDS, RNG.integers(3, 9)))

    return [(f"p{i}", text(), text()) for i in range(n) for _ in range(4)]


def seen(text, eos=False):
    return traits(text, tuple(map(ord, text)), eos)


def moves(score, made=None):
    rows = [
        {
            "critic": "c",
            "aggregation": "last",
            "prompt_hash": prompt,
            "family": FAMILIES[i % 3],
            "delta": float(score(after)) - float(score(before)),
            "floor": 1e-9,
            "change": change(seen(before), seen(after)),
        }
        for i, (prompt, before, after) in enumerate(texts() if made is None else made)
    ]
    return pd.DataFrame(rows)


RULES = {
    "digits": ("more digits", lambda text: sum(map(str.isdigit, text))),
    "capitals": ("fewer capitals", lambda text: -sum(map(str.isupper, text))),
    "Markdown": ("more Markdown", lambda text: "*" in text),
    "newlines": ("more newlines", lambda text: text.count("\n")),
    "script": ("more Chinese, Japanese or Korean characters", lambda text: text.count("苹果") / max(len(text), 1)),
    "length": ("longer", len),
    "ending": ("ends in a closing mark", ends_in_terminal),
    "courtesy": ("no courtesy", lambda text: -float("Sure" in text)),
    "word": ("with the word 'milk'", lambda text: 2.0 * ("milk" in text)),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_score_that_is_a_rule_is_named(rule):
    says, score = RULES[rule]
    found = simple_rules(moves(score), moves(score))
    named = found[found.named]
    assert (named.rule.tolist(), named.says.tolist()) == ([rule], [says])
    [best] = named.itertuples()
    assert best.explained > 0.9
    assert best.preset < best.low <= best.explained <= best.high <= 1
    assert best.gaps > 0.9


def test_a_score_that_no_rule_makes_is_not_named():
    found = simple_rules(moves(lambda text: crc32(text.encode()) % 97), moves(len))
    assert not found.named.any()
    still = simple_rules(moves(lambda _: 1.0), moves(lambda _: 1.0))
    assert not still.named.any()


def test_half_a_rule_and_half_noise_is_told_as_half():
    found = simple_rules(moves(lambda text: 20 * text.count("7") + crc32(text.encode()) % 97), moves(len)).iloc[0]
    assert 0.05 < found.explained < 0.95
    assert found.low < found.explained < found.high


def test_few_prompts_name_nothing():
    made = [(f"p{i % 5}", before, after) for i, (_, before, after) in enumerate(texts())]
    assert not simple_rules(moves(len, made), moves(len)).named.any()


def test_a_feature_that_two_families_change_names_nothing():
    """All that `completeness` makes is a longer answer shorter, or the reverse."""
    frame = moves(len)
    two, three = frame[frame.family != "three"], frame
    assert simple_rules(two, two).families.max() == 2
    assert not simple_rules(two, two).named.any()
    assert simple_rules(three, three).named.any()


def test_eos_is_a_rule_of_its_own():
    frame = moves(lambda _: 0.0)
    toggled = frame.assign(delta=1.0, change=[change(seen("x"), seen("x", eos=True))] * len(frame))
    found = simple_rules(pd.concat([frame, toggled], ignore_index=True), frame)
    assert found[found.named].says.tolist() == ["ends in EOS"]


def test_a_word_that_one_family_brings_is_no_rule():
    """What an edit adds is what it does, not what a score reads."""
    made = [(prompt, before, f"{before} asdf") for prompt, before, _ in texts()]
    frame = moves(lambda text: 5.0 * ("asdf" in text), made).assign(family="gibberish")
    assert not simple_rules(frame, frame).says.str.contains("asdf").any()
