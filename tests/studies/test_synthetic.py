import random
import re

import pytest

from critic_probe.pairs import read_pairs
from critic_probe.studies import synthetic
from critic_probe.studies.synthetic import concise, is_held_out, make_task


def tasks(*kinds, count=200, held_out=False):
    rng = random.Random(5)
    return rng, [make_task(rng, held_out=held_out, kinds=kinds or ("record", "list", "json")) for _ in range(count)]


def test_one_seed_gives_one_world():
    first, second = ([synthetic.training_pair(random.Random(3), held_out=False) for _ in range(20)] for _ in range(2))
    assert first == second


def test_training_and_held_out_prompts_never_meet():
    _, seen = tasks()
    _, held_out = tasks(held_out=True)
    assert not {task.prompt for task in seen} & {task.prompt for task in held_out}
    assert all(is_held_out(task.prompt) for task in held_out)


def test_the_teacher_states_every_fact_of_the_prompt():
    for task in tasks()[1]:
        for fact in task.facts:
            assert fact in concise(task)
            assert fact.replace('"', "") in task.prompt


def test_both_languages_and_all_kinds_occur():
    drawn = {(task.kind, task.language) for task in tasks()[1]}
    assert len(drawn) == 6


def test_a_wrong_fact_is_one_digit_or_an_item_that_the_prompt_does_not_name():
    rng, drawn = tasks()
    for task in drawn:
        wrong = synthetic.wrong_fact(rng, task)
        right = concise(task)
        if task.kind == "list":
            words = re.split(r"、|, |[。.]", wrong)
            assert sum(word not in task.prompt for word in words if word) == 1
        else:
            assert len(wrong) == len(right)
            changed = [(a, b) for a, b in zip(right, wrong, strict=True) if a != b]
            assert len(changed) == 1
            assert "".join(changed[0]).isdigit()


@pytest.mark.parametrize(
    ("edit", "removed", "added"),
    [(synthetic.final_comma, 1, 1), (synthetic.final_dropped, 1, 0), (synthetic.interior_swap, None, None)],
)
def test_edits_of_marks_change_nothing_but_marks(edit, removed, added):
    rng, drawn = tasks("record", "list")
    for task in drawn:
        edited, right = edit(rng, task), concise(task)
        assert re.sub(r"[，。、,. ]", "", edited) == re.sub(r"[，。、,. ]", "", right)
        assert edited != right
        if removed is not None:
            assert edited == right[:-removed] + edited[len(right) - removed :]
            assert len(edited) == len(right) - removed + added


def test_complete_answers_state_the_same_facts_at_greater_length():
    for task in tasks()[1]:
        text = synthetic.complete(task)
        assert all(fact in text for fact in task.facts)
        assert len(text) > len(concise(task))


def test_missing_and_off_topic_answers_lack_facts():
    rng, drawn = tasks()
    for task in drawn:
        short, other = synthetic.missing(rng, task), synthetic.off_topic(rng, task)
        assert sum(fact in short for fact in task.facts) == len(task.facts) - 1
        assert not any(fact in other for fact in task.facts)


def test_the_bundled_pairs_are_held_out(fixtures):
    pairs = read_pairs(fixtures / "pairs.jsonl")
    assert 60 <= len(pairs) <= 100
    assert all(is_held_out(pair.prompt) for pair in pairs)
    assert pairs[0].id == "case-1-comma"
    assert sum(pair.category == "identical-eos" for pair in pairs) >= 3
