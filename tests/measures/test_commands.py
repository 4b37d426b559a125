"""The three results, on real tiny critics, against figures computed by hand from the same values."""

from collections import Counter

import numpy as np
import pytest
import torch
from tiny import byte_tokenizer

from critic_probe.aggregation import parse
from critic_probe.checkpoint import load_critic
from critic_probe.errors import CriticProbeError
from critic_probe.measures.compare import compare
from critic_probe.measures.perturb import Plan, perturb
from critic_probe.measures.trace import trace
from critic_probe.measures.variants import variants_of
from critic_probe.pairs import Pair, TokenIds
from critic_probe.probes import BUILT_IN, drawn
from critic_probe.probes.answers import KEPT
from critic_probe.workbench import Bench, Settings

EOS = 258
PUNCTUATION = Plan([family for family in BUILT_IN.values() if family.group == "punct"])
PAIRS = [
    Pair("a", "问", "好，是的，", "好，是的。", "comma"),
    Pair("b", "ask", "No idea", "Four, of course.", "fact"),
    Pair("c", "ask", "Because it is so. Really.", "It is.", "fact"),
]


def settings(*names, **options):
    return Settings(aggregations=tuple(parse(name) for name in names or ("last", "mean")), **options)


def quiet(label, total, stats):
    return lambda: None


@pytest.fixture(scope="module")
def critic(critic_dir):
    return load_critic(critic_dir, name="tiny", device="cpu")


def values_of(critic, prompt, response_ids):
    """Response values as training would compute them: template, then the response's ids."""
    tokenizer = byte_tokenizer()
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return critic.values([*ids, *response_ids])[len(ids) :]


def ids_of(text):
    return byte_tokenizer()(text)["input_ids"]


def test_compare_tabulates_the_scores_of_the_values(critic):
    result = compare([critic], PAIRS, settings(), quiet)
    expected = {
        (pair.id, name): (
            read(values_of(critic, pair.prompt, ids_of(pair.student))),
            read(values_of(critic, pair.prompt, ids_of(pair.teacher))),
        )
        for pair in PAIRS
        for name, read in (("last", lambda v: v[-1].item()), ("mean", lambda v: v.mean().item()))
    }
    found = {(r.id, r.aggregation): (r.student_score, r.teacher_score) for r in result.pairs.itertuples()}
    assert found.keys() == expected.keys()
    for key, scores in expected.items():
        assert found[key] == pytest.approx(scores, abs=1e-5)
    for row in result.summary.itertuples():
        scores = np.array([expected[pair.id, row.aggregation] for pair in PAIRS])
        gaps = scores[:, 1] - scores[:, 0]
        assert row.n == 3
        assert row.d_acc == pytest.approx((gaps > 0).mean())
        assert row.mean_gap == pytest.approx(gaps.mean(), abs=1e-5)
        assert row.sd == pytest.approx(scores.std(ddof=1), abs=1e-5)
        assert row.gap_over_sd == pytest.approx(gaps.mean() / scores.std(ddof=1), abs=1e-4)
    assert list(result.categories.category.unique()) == ["comma", "fact"]


def test_every_pair_keeps_its_rows_together_with_the_most_disputed_first(critic, make_critic):
    other = load_critic(make_critic(seed=3), name="other", device="cpu")
    result = compare([critic, other], PAIRS, settings(), quiet)
    order = list(dict.fromkeys(result.pairs.id))
    spread = result.pairs.groupby("id").gap_over_sd.agg(lambda gaps: gaps.max() - gaps.min())
    assert order == list(spread.sort_values(ascending=False).index)
    assert list(result.pairs.id) == [key for key in order for _ in range(4)]


def test_value_position_before_reads_one_token_earlier(critic):
    at = compare([critic], PAIRS, settings("last"), quiet).pairs.set_index("id")
    before = compare([critic], PAIRS, settings("last", value_position="before"), quiet).pairs.set_index("id")
    for pair in PAIRS:
        values = values_of(critic, pair.prompt, ids_of(pair.teacher))
        assert at.teacher_score[pair.id] == pytest.approx(values[-1].item(), abs=1e-5)
        assert before.teacher_score[pair.id] == pytest.approx(values[-2].item(), abs=1e-5)
    assert (at.teacher_token_read["b"], before.teacher_token_read["b"]) == (".", "e")


def test_identical_text_scores_the_same_until_eos_is_read(critic):
    closed = TokenIds((*ids_of("Same."), EOS), "Same.")
    pairs = [Pair("same", "ask", closed, "Same."), *PAIRS]
    result = compare([critic], pairs, settings("last", "mean", "last+eos", "mean+eos"), quiet)
    same = result.pairs[result.pairs.id == "same"].set_index("aggregation")
    assert list(same.verdict[["last", "mean"]]) == ["tie", "tie"]
    values = values_of(critic, "ask", closed.ids)
    assert same.gap["last+eos"] == pytest.approx((values[-2] - values[-1]).item(), abs=1e-5)
    codes = [notice.code for notice in result.notices]
    assert codes.count("identical-text-apart") == 2
    assert "eos-one-side" in codes


def test_ids_are_scored_as_they_are_and_not_retokenised(make_critic):
    critic = load_critic(make_critic(), device="cpu")
    ids = (*ids_of("ab"), 256, *ids_of("c"))
    result = compare([critic], [Pair("x", "ask", TokenIds(ids, None), "abc")], settings("last"), quiet)
    assert result.pairs.student_score[0] == pytest.approx(values_of(critic, "ask", ids)[-1].item(), abs=1e-6)


def test_baselines_know_nothing_but_length_and_the_closing_mark(critic):
    table = compare([critic], PAIRS, settings(), quiet).baselines.set_index("baseline")
    assert table.accuracy["longer wins"] == pytest.approx((0.5 + 1 + 0) / 3)
    assert table.accuracy["shorter wins"] == pytest.approx((0.5 + 0 + 1) / 3)
    assert table.accuracy["ends in terminal punctuation wins"] == pytest.approx((1 + 1 + 0.5) / 3)


def test_perturb_scores_each_edit_against_its_own_original(critic):
    result = perturb([critic], PAIRS, settings(), PUNCTUATION, quiet)
    case = result.cases[
        (result.cases.id == "b") & (result.cases.family == "terminal-drop") & (result.cases.aggregation == "last")
    ].iloc[0]
    original = values_of(critic, "ask", ids_of("Four, of course."))[-1].item()
    dropped = values_of(critic, "ask", ids_of("Four, of course"))[-1].item()
    assert (case.side, case.removed, case.added) == ("teacher", ".", "")
    assert (case.original_score, case.variant_score) == pytest.approx((original, dropped), abs=1e-5)
    assert case.delta == pytest.approx(dropped - original, abs=1e-5)
    sd = compare([critic], PAIRS, settings(), quiet).summary.set_index("aggregation").sd["last"]
    assert case.delta_over_sd == pytest.approx(case.delta / sd, abs=1e-4)


def test_perturb_flips_are_verdicts_of_the_edited_pair(critic):
    result = perturb([critic], PAIRS, settings("last"), PUNCTUATION, quiet)
    compared = compare([critic], PAIRS, settings("last"), quiet).pairs.set_index("id")
    for case in result.cases.itertuples():
        row = compared.loc[case.id]
        gap = row.gap + (case.delta if case.side == "teacher" else -case.delta)
        assert case.flip == (np.sign(gap) == -np.sign(row.gap) and abs(gap) > 1e-4)
    for row in result.summary.itertuples():
        cases = result.cases[(result.cases.family == row.family) & (result.cases.position == row.position)]
        assert row.n == len(cases)
        assert row.flips == cases.flip.sum()
        assert row.median_abs_delta == pytest.approx(cases.delta.abs().median())


def test_perturb_keeps_the_closing_eos_of_ids(critic):
    closed = TokenIds((*ids_of("Yes, it is."), EOS), None)
    result = perturb([critic], [Pair("x", "ask", closed, "No.")], settings("last+eos"), PUNCTUATION, quiet)
    case = result.cases[(result.cases.side == "student") & (result.cases.family == "terminal-drop")].iloc[0]
    expected = values_of(critic, "ask", [*ids_of("Yes, it is"), EOS])[-1].item()
    assert case.variant_score == pytest.approx(expected, abs=1e-5)


def test_perturb_leaves_ids_alone_that_their_text_would_not_give(critic):
    unusual = TokenIds((*ids_of("中")[:2], *ids_of(" is.")), None)  # half a character
    result = perturb([critic], [Pair("x", "ask", unusual, "No.")], settings("last"), PUNCTUATION, quiet)
    assert set(result.cases.side) == {"teacher"}


def test_perturb_finds_another_answer_of_like_language_and_length_late_in_the_file(critic):
    english = [Pair(f"e{i}", f"ask {i}", "No.", f"It is {i} of course.") for i in range(20)]
    chinese = [Pair("z1", "问", "否", "天冷，我们回家吧。"), Pair("z2", "再问", "否", "他们都去了北方。")]
    result = perturb([critic], [*english, *chinese], settings("last"), Plan([BUILT_IN["other-answer"]]), quiet)
    added = {row.id: row.left + row.added + row.right for row in result.cases.itertuples()}
    assert "北方" in added["z1"]
    assert "回家" in added["z2"]


def test_perturb_tells_families_what_is_asked_and_what_the_teacher_says(critic):
    asked = ({"role": "user", "content": "Is it cold?"},)
    pairs = [Pair("x", asked, "No.", "Yes."), Pair("y", asked, "Yes, it is.", "Yes, so it is.")]
    result = perturb([critic], pairs, settings("last"), Plan([BUILT_IN["wrong-option"]]), quiet)
    assert {(row.id, row.side) for row in result.cases.itertuples()} == {
        ("x", "teacher"),
        ("y", "student"),
        ("y", "teacher"),
    }


def test_perturb_without_any_edit_is_an_error(critic):
    with pytest.raises(CriticProbeError, match="no edit applies to any response"):
        perturb([critic], [Pair("x", "ask", "`code`", "`more`")], settings(), PUNCTUATION, quiet)


def test_trace_lists_every_value_once_and_which_read_out_takes_it(critic):
    result = trace([critic], PAIRS[1], settings("last", "mean", "max"))
    teacher = result.tokens[result.tokens.side == "teacher"]
    values = values_of(critic, "ask", ids_of("Four, of course."))
    torch.testing.assert_close(torch.tensor(teacher.value.to_numpy()).float(), values, rtol=0, atol=1e-5)
    assert "".join(teacher.text) == "Four, of course."
    assert teacher.running_mean.iloc[-1] == pytest.approx(values.mean().item(), abs=1e-5)
    assert "last" in teacher.read_by.iloc[-1]
    assert "max" in teacher.read_by.iloc[int(values.argmax())]
    scores = result.scores.set_index(["side", "aggregation"]).score
    assert scores["teacher", "mean"] == pytest.approx(values.mean().item(), abs=1e-5)


def test_a_constant_critic_is_named_not_divided_by(make_critic, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    path = tmp_path / "flat"
    shutil.copytree(make_critic(), path)
    weights = load_file(path / "model.safetensors")
    weights["score.weight"].zero_()
    save_file(weights, path / "model.safetensors", {"format": "pt"})
    critic = load_critic(path, device="cpu")
    result = compare([critic], PAIRS, settings(), quiet)
    assert set(result.pairs.verdict) == {"tie"}
    assert "constant" in {notice.code for notice in result.notices}
    assert list(result.summary.d_acc) == [0.5, 0.5]
    perturb([critic], PAIRS, settings(), PUNCTUATION, quiet)


def test_the_signature_changes_with_everything_that_changes_a_score(critic, make_critic):
    def sign(critic=critic, pairs=PAIRS, **options):
        return compare([critic], pairs, settings(**options), quiet).signature

    first = sign()
    assert sign() == first
    other = load_critic(make_critic(seed=9), name="tiny", device="cpu")
    raw = [Pair(p.id, p.prompt, p.student, p.teacher, p.category) for p in PAIRS]
    assert sign(pairs=raw) == first
    for changed in (
        sign(critic=other),
        sign(pairs=PAIRS[:2]),
        sign(eos="include"),
        sign(value_position="before"),
        sign(template="raw"),
    ):
        assert changed != first


def test_an_edit_that_is_shown_without_a_critic_is_the_one_that_is_scored(critic):
    pairs = [Pair(f"p{i}", f"Ask {i}", "No.", f"It is number {i}, I think.") for i in range(100, 140)]
    family = BUILT_IN["other-answer"]
    bench = Bench(critic, pairs, settings("last"))
    encoded = {pair.pair.id: pair for pair in bench.encoded(pairs)}
    shown = list(drawn(family, pairs, ("teacher",), seed=3))
    assert len(shown) == 40
    for edit in shown:
        [scored] = variants_of(bench, encoded[edit.id], Plan([family], ("teacher",), seed=3), Counter())
        assert edit.case.text == scored.case.text
    assert len({edit.case.text for edit in shown}) <= KEPT
