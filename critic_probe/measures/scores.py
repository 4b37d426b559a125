"""`compare` without a critic: every statistic of scores that were computed elsewhere."""

from collections.abc import Sequence

import pandas as pd
import torch

from critic_probe import tolerance
from critic_probe.errors import CriticProbeError, Notice
from critic_probe.measures.blind import Texts
from critic_probe.measures.compare import GIVEN, GIVEN_SCORES, CompareResult, tabulated, with_verdicts
from critic_probe.objective import TEMPERATURE
from critic_probe.pairs import ScoredPair, Told, scores_hash
from critic_probe.stats.pairs import credit
from critic_probe.stats.rates import verdict
from critic_probe.text import ends_in_terminal, reader
from critic_probe.version import __version__
from critic_probe.workbench import CriticRecord, Signature


def compare_scores(
    pairs: Sequence[ScoredPair], source: str, temperature: float = TEMPERATURE, tie_within: float = 0.0
) -> CompareResult:
    """Tabulates given scores as `compare` does its own.

    Nothing is known of the arithmetic behind the scores, so a pair is a tie where its gap is at most sixteen rounding
    steps of float32 at its own larger |score|, or at most the floor that its row gives. Scores that were rounded to
    bfloat16 are ordered where they differ; how many are one of its steps apart is told.

    Args:
        pairs: At least one.
        source: The file, the critic's name where rows name none.
        temperature: See `compare`.
        tie_within: Gaps up to it are ties too, in the unit of the scores.

    Raises:
        CriticProbeError: There are no pairs, or a critic's read-outs are not of the same ones.
    """
    if not pairs:
        raise CriticProbeError(f"{source}: no rows, the file is empty; give at least one pair")
    frame = pd.DataFrame(pairs, columns=ScoredPair._fields)
    frame["critic"] = frame.critic.where(frame.critic != "", source)
    numbers = ["student_tokens", "teacher_tokens", "floor"]
    frame[numbers] = frame[numbers].astype(float)
    frames, notices = [], []
    records: list[CriticRecord] = []
    for critic, of_critic in frame.groupby("critic", sort=False):
        of_critic = _in_one_order(str(critic), of_critic)
        own = of_critic.floor.fillna(tolerance.of_given_scores("float32", _larger(of_critic)))
        scored = with_verdicts(of_critic.drop(columns=["student", "teacher", "floor"]), own.clip(lower=tie_within))
        for aggregation, read in of_critic.groupby("aggregation", sort=False):
            verdicts = scored[scored.aggregation == aggregation].verdict.set_axis(read.index)
            notices.append(_on_ties(reader(critic, aggregation), read, verdicts, tie_within))
        frames.append(scored)
        records.append({"name": str(critic), "fingerprint": GIVEN_SCORES})
    texts = {
        pair.id: _texts(_told_of(pair.student), _told_of(pair.teacher))
        for pair in pairs
        if pair.student is not None and pair.teacher is not None
    }
    signed: Signature = {
        "version": __version__,
        "critics": records,
        "aggregations": list(dict.fromkeys(frame.aggregation)),
        "data": scores_hash(list(pairs)),
        "temperature": temperature,
    }
    if tie_within:
        signed["tie_within"] = tie_within
    return tabulated(pd.concat(frames, ignore_index=True), texts, notices, signed, GIVEN, temperature)


def _in_one_order(critic: str, scored: pd.DataFrame) -> pd.DataFrame:
    """A critic's rows with the pairs of every read-out in the order of the first one's: they are compared in pairs."""
    ids = {name: read.id for name, read in scored.groupby("aggregation", sort=False)}
    first, whole = next(iter(ids.items()))
    for name, own in ids.items():
        if apart := sorted({*whole} ^ {*own}):
            raise CriticProbeError(
                f"{critic}: {len(apart)} pairs have a score under one of {first} and {name} alone, first "
                f"'{apart[0]:.80}'; give every pair both, or a file of one read-out"
            )
    places = {identity: place for place, identity in enumerate(whole)}
    return scored.iloc[scored.id.map(places).argsort(kind="stable")]


def _told_of(text: str | Told) -> Told:
    return Told(len(text), ends_in_terminal(text), False, text) if isinstance(text, str) else text


def _texts(student: Told, teacher: Told) -> Texts:
    lengths, closed = (student.characters, teacher.characters), (student.terminal, teacher.terminal)
    return Texts(lengths, closed, (student.eos, teacher.eos), student.hash == teacher.hash)


def _on_ties(name: str, scored: pd.DataFrame, verdicts: pd.Series, tie_within: float) -> Notice:
    """Where the ties of a critic's read-out come from, and what the closest pairs make of d_acc either way."""
    gap = scored.teacher_score - scored.student_score
    whence = "come from a file: what arithmetic made of them is unknown"
    if scored.floor.notna().any():
        step, words = scored.floor.fillna(0.0), "the floor that the file gives"
    elif _rounded(scored):
        step, words = tolerance.of_given_scores("bfloat16", _larger(scored)), "one bfloat16 step of their own"
        whence = "are all bfloat16 numbers, ordered where they differ"
    else:
        step = tolerance.of_given_scores("float32", _larger(scored))
        words = f"{tolerance.STEPS} float32 steps of their own"
    close = (gap != 0) & (gap.abs() <= step)
    message = f"{name}: the scores {whence}; {int(close.sum()) or 'no'} pairs lie within {words}"
    if close.any():
        ties, ordered = (credit(verdicts.mask(close, as_what)).mean() for as_what in ("tie", _ordered(gap)))
        message += f" (d_acc {ties:.4f} if they are ties, {ordered:.4f} if ordered)"
    if tie_within:
        message += f"; gaps within {tie_within:g} are ties too"
    return Notice("given-scores", message, list(scored.id[close]))


def _ordered(gap: pd.Series) -> pd.Series:
    return gap.map(lambda each: verdict(each, 0.0))


def _larger(scored: pd.DataFrame) -> pd.Series:
    """The larger |score| of each pair."""
    return scored[["student_score", "teacher_score"]].abs().max(axis=1)


def _rounded(scored: pd.DataFrame) -> bool:
    """Whether the scores look rounded to bfloat16; whole numbers are ratings."""
    scores = torch.tensor(scored[["student_score", "teacher_score"]].to_numpy())
    return bool((scores.to(torch.bfloat16).double() == scores).all()) and not bool((scores == scores.round()).all())
