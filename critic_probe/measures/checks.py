"""The doctor's checks on values: whether they depend on the ids alone, and what scores look like."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Literal

import pandas as pd
import torch
from torch import Tensor

from critic_probe import tolerance
from critic_probe.aggregation import Aggregation, parse
from critic_probe.checkpoint import Check, Critic
from critic_probe.encoding import EncodedPair, EncodedResponse, Group
from critic_probe.errors import CriticProbeError, parameter
from critic_probe.measures.compare import score_pair, with_verdicts
from critic_probe.scoring.engine import Engine, tf32
from critic_probe.scoring.reference import padded_values
from critic_probe.workbench import SAMPLE, Bench

LONGEST = 512  # tokens of a sequence that is run alone, batched, padded and packed: what follows moves no prefix
_TIES, _OUTLIER, _FAR = 0.1, 8.0, 2.0


def value_checks(bench: Bench, pairs: Sequence[EncodedPair], values: Sequence[list[Tensor]]) -> Iterator[Check]:
    """Every check that needs values.

    Args:
        bench: Its critic is loaded.
        pairs: The first ones, at least one.
        values: Of each pair, (R,) of student and teacher.
    """
    yield _read_token(bench, pairs, values)
    yield from _function_of_ids(bench, pairs)
    yield from _score_checks(bench, pairs, values)


def _read_token(bench: Bench, pairs: Sequence[EncodedPair], values: Sequence[list[Tensor]]) -> Check:
    last = parse("last")
    special = set(bench.critic.tokenizer.all_special_ids)
    odd: list[tuple[str, str]] = []
    shown: list[str] = []
    for pair, both in zip(pairs, values, strict=True):
        for side, side_values in zip((pair.student, pair.teacher), both, strict=True):
            index = bench.token_read(side_values, side, last)
            assert index is not None
            pieces = bench.encoder.pieces(side.ids)
            before = pieces[index - 1].text if index else "the prompt's last token"
            if len(shown) < 4:
                shown.append(f"{pieces[index].text!r} (before: {before!r})")
            if side.read is not None:  # where the convention says that training read
                continue
            if side.ids[index] in special or any(side.eos[:index]) or "\n" in pieces[index].text:
                odd.append((pair.pair.id, pieces[index].text))
    first_side = pairs[0].teacher
    others = [
        f"{a.name} reads {_what_is_read(bench, first_side, values[0][1], a)}"
        for a in bench.settings.aggregations
        if a != last
    ]
    others_read = f"; in the first teacher's response {', '.join(others)}" if others else ""
    evidence = f"last reads at {', '.join(shown)} in the first pairs{others_read}"
    if not odd:
        return Check("read-token", "ok", evidence)
    [(first, token), *_] = odd
    return Check(
        "read-token",
        "warn",
        f"last reads a newline, a special token or one after EOS in {len(odd)} responses (pair {first}: {token!r})",
        "the responses carry a template's tail: store the ids or the text up to EOS",
    )


def _what_is_read(bench: Bench, side: EncodedResponse, values: Tensor, aggregation: Aggregation) -> str:
    index = bench.token_read(values, side, aggregation)
    if index is not None:
        return f"at {bench.encoder.pieces(side.ids)[index].text!r}"
    kept = len(side.ids) if aggregation.name.endswith("+eos") else side.without_eos.count(True)
    return f"{kept} of {len(side.ids)} tokens"


def _function_of_ids(bench: Bench, pairs: Sequence[EncodedPair]) -> Iterator[Check]:
    """Whether a value depends on anything but the ids before it; the largest differences are the noise floor."""
    critic = bench.critic
    sequences = [
        torch.tensor((pair.prompt_ids + side.ids)[:LONGEST])
        for pair in pairs[:SAMPLE]
        for side in (pair.student, pair.teacher)
    ]
    alone = [critic.batch_values(ids[None])[0] for ids in sequences]
    limit = tolerance.of_batches(critic.dtype, max(float(v.abs().max()) for v in alone), tf32=tf32())

    differences: list[float] = []

    def verdict(check: str, what: str, got: Sequence[Tensor], wanted: Sequence[Tensor], cure: str) -> Check:
        worst = max(float((a - b).abs().max()) for a, b in zip(got, wanted, strict=True))
        differences.append(worst)
        evidence = f"{what}: largest difference {worst:.2g}, expected at most {limit:.2g}"
        return Check(check, "ok", evidence) if worst <= limit else Check(check, "fail", evidence, cure)

    again = [critic.batch_values(ids[None])[0] for ids in sequences]
    random = "something random or stateful is in the model: look for dropout outside of nn.Dropout"
    yield verdict("same-ids", "the same ids twice", again, alone, random)
    length = min(map(len, sequences))
    rows = torch.stack([ids[:length] for ids in sequences])
    together = critic.batch_values(rows)
    starts = [v[:length] for v in alone]
    yield verdict(
        "batch-mates",
        f"{len(rows)} rows in one batch against each alone",
        list(together),
        starts,
        "the model mixes the rows of a batch (batch statistics?): no framework's scores can be reproduced",
    )
    turned = critic.batch_values(rows.flip(0)).flip(0)
    yield verdict(
        "batch-order",
        "the same batch in reverse order",
        list(turned),
        list(together),
        "a row's value depends on its place in the batch: score one sequence at a time",
    )
    spread = f"rows of {length} to {max(map(len, sequences))} tokens padded on the"

    def padded(side: Literal["left", "right"]) -> Check:
        return verdict(
            f"{side}-padding",
            f"{spread} {side}, with a mask",
            padded_values(critic, [ids.tolist() for ids in sequences], side),
            alone,
            f"scores of this model that were made with {side} padding are wrong by that much",
        )

    yield _guarded("right-padding", lambda: padded("right"))
    yield _guarded("left-padding", lambda: padded("left"))
    yield _guarded("packed", lambda: _packed(critic, sequences, alone, verdict))
    yield _dtype(critic, sequences, alone)
    first = pairs[:SAMPLE]
    engine = Engine(critic, bench.settings.engine)  # with no cache, which would give one answer twice
    straight = list(engine.values([p.group for p in first]))
    swapped = list(engine.values([Group(p.prompt_ids, p.group.responses[::-1]) for p in first]))
    yield verdict(
        "swapped-sides",
        "teacher scored first, student second",
        [v for group in swapped for v in group[::-1]],
        [v for group in straight for v in group],
        random,
    )
    largest = f"the largest of these differences is {max(differences):.2g}: a gap of values below it means nothing"
    yield Check("noise-floor", "ok", largest)


def _guarded(check: str, run: Callable[[], Check]) -> Check:
    try:
        return run()
    except (TypeError, ValueError) as error:  # an architecture that takes no mask or no position ids
        return Check(check, "not run", f"the model does not take such input ({' '.join(str(error).split())[:120]})")


def _packed(
    critic: Critic, sequences: Sequence[Tensor], alone: Sequence[Tensor], verdict: Callable[..., Check]
) -> Check:
    budget, packed = critic.context_length or 4096, list[Tensor]()
    for sequence in sequences:
        if sum(map(len, packed)) + len(sequence) <= budget:
            packed.append(sequence)
    if len(packed) < 2:
        return Check("packed", "not run", "no two sequences fit one row of the context's length")
    ids = torch.cat(packed)[None]
    positions = torch.cat([torch.arange(len(sequence)) for sequence in packed])[None]
    values = critic.batch_values(ids, position_ids=positions)[0].split(  # type: ignore[no-untyped-call]
        [len(sequence) for sequence in packed]
    )
    fits = [v for sequence, v in zip(sequences, alone, strict=True) if any(sequence is p for p in packed)]
    cure = "this model sees its neighbours in a packed row: a run that packed without flash attention trained on them"
    check = verdict("packed", f"{len(packed)} sequences in one row", values, fits, cure)
    return check if check.verdict == "ok" else check._replace(verdict="warn")


def _dtype(critic: Critic, sequences: Sequence[Tensor], alone: Sequence[Tensor]) -> Check:
    if critic.dtype == torch.float32:
        return Check("dtype", "ok", "computed in float32")
    exact = critic.in_float32()
    wanted = [exact.batch_values(ids[None])[0] for ids in sequences]
    difference = torch.cat(list(alone)) - torch.cat(wanted)
    sd = float(torch.cat(wanted).std())
    worst, bias = float(difference.abs().max()), float(difference.mean())
    name = str(critic.dtype).removeprefix("torch.")
    evidence = f"{name} against float32: largest difference {worst:.2g}, mean {bias:+.2g}, SD of the values {sd:.2g}"
    if worst <= 0.1 * sd:
        return Check("dtype", "ok", evidence)
    return Check(
        "dtype", "warn", evidence, f"gaps of that size mean nothing; score with {parameter('dtype', 'float32')}"
    )


def _score_checks(bench: Bench, pairs: Sequence[EncodedPair], values: Sequence[list[Tensor]]) -> Iterator[Check]:
    rows = [row for pair, both in zip(pairs, values, strict=True) for row in score_pair(bench, pair, both)]
    try:
        floors = bench.floors
    except CriticProbeError as error:
        what, _, cure = str(error).rpartition("; ")
        yield Check("noise-floor", "fail", what, cure)
        floors = {aggregation.name: 0.0 for aggregation in bench.settings.aggregations}
    scored = with_verdicts(pd.DataFrame(rows), floors)
    same = {p.pair.id for p in pairs if p.student.text == p.teacher.text}
    of_each = list(scored.groupby("aggregation", sort=False))

    def check(name: str, verdict: str, evidence: list[str], cure: str) -> Check:
        return Check(name, "ok" if not cure else verdict, "; ".join(evidence), cure)  # type: ignore[arg-type]

    evidence, bad = [], False
    for name, frame in of_each:
        apart = frame[~frame.id.isin(same)]
        ties = float((apart.verdict == "tie").mean()) if len(apart) else 0.0
        zeros = float((pd.concat([frame.student_score, frame.teacher_score]) == 0).mean())
        evidence.append(f"{name}: {ties:.0%} ties among texts that differ, {zeros:.0%} scores of exactly 0")
        bad |= ties > _TIES or zeros > _TIES
    yield check("ties", "warn", evidence, "look for truncation, pads or a read-out of nothing" if bad else "")

    evidence, flat, far = [], False, []
    for name, frame in of_each:
        scores = pd.concat([frame.student_score, frame.teacher_score])
        flat |= len(scores) > 2 and scores.std() <= 10 * _floor(bench, scores)
        evidence.append(f"{name}: SD {scores.std():.3g} around {scores.mean():.3g}")
        spread = 1.4826 * (scores - scores.median()).abs().median()
        beyond = frame[
            (frame[["student_score", "teacher_score"]] - scores.median()).abs().max(axis=1) > _OUTLIER * spread
        ]
        far += [f"{name}: {', '.join(beyond.id.head(3))}"] if spread > 0 and len(beyond) else []
    yield check(
        "collapsed", "fail", evidence, "every score is the same: nothing can be told from this critic" if flat else ""
    )
    yield check(
        "outliers",
        "warn",
        far or [f"no score lies more than {_OUTLIER:g} robust SD from the median"],
        "read these pairs; leave them out to see whether they carry the figures" if far else "",
    )

    evidence, bad = [], False
    for name, frame in of_each:
        gaps = frame[frame.id.isin(same)]
        bad |= bool((gaps.verdict != "tie").any())
        evidence += (
            [f"{name}: up to {gaps.gap.abs().max():.2g} ({gaps.gap_over_sd.abs().max():.2g} SD)"] if len(gaps) else []
        )
    evidence = [f"{len(same)} pairs of identical text, {t}" for t in evidence] or ["no pair of identical text"]
    yield check(
        "identical-text",
        "warn",
        evidence,
        "the ids differ: look for EOS on one side, or ids not of their text" if bad else "",
    )
    yield _eos_delta(bench, pairs[:SAMPLE], scored)


def _eos_delta(bench: Bench, pairs: Sequence[EncodedPair], scored: pd.DataFrame) -> Check:
    """score(ids + EOS) - score(ids): nothing for read-outs that leave EOS out, and told for those that keep it."""
    eos = bench.critic.tokenizer.eos_token_id
    if eos is None:
        return Check("eos-delta", "not run", "the tokenizer names no EOS")
    limit = bench.critic.context_length
    sides = [
        (pair.prompt_ids, side)
        for pair in pairs
        for side in (pair.student, pair.teacher)
        if not any(side.eos) and (limit is None or len(pair.prompt_ids) + len(side.ids) < limit)
    ]
    if not sides:
        return Check("eos-delta", "not run", "every response of the first pairs has EOS already")
    groups = [Group(prompt, (side.ids, (*side.ids, eos))) for prompt, side in sides]
    values = list(bench.values(groups))
    sd = float(scored.sd.iloc[0])
    medians, moved, far = [], False, False
    for aggregation in dict.fromkeys((*bench.settings.aggregations, parse("last+eos"), parse("mean+eos"))):
        gaps = []
        for (_, side), (plain, closed) in zip(sides, values, strict=True):
            longer = replace(side, ids=(*side.ids, eos), eos=(*side.eos, True), closing=side.closing + 1)
            gaps.append(bench.score(closed, longer, aggregation) - bench.score(plain, side, aggregation))
        median = float(pd.Series(gaps).abs().median())
        medians.append(f"{aggregation.name} {median:.2g}")
        if aggregation.name.endswith("+eos"):
            far |= aggregation.name == "last+eos" and median > _FAR * sd
        elif aggregation.kind in ("last", "mean"):
            moved |= median > _floor(bench, scored.student_score)
    evidence = f"median |score(ids + EOS) - score(ids)|: {', '.join(medians)} (SD of scores {sd:.2g})"
    if moved:
        return Check("eos-delta", "fail", evidence, "a later token moves earlier values: the model is not causal")
    if far:
        return Check(
            "eos-delta",
            "warn",
            evidence,
            "EOS alone moves last+eos by more than twice the SD of all scores: close both sides or neither",
        )
    return Check("eos-delta", "ok", evidence)


def _floor(bench: Bench, scores: pd.Series) -> float:
    return tolerance.of_scores(bench.critic.dtype, float(scores.abs().max()))
