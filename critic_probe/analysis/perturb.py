"""What edits of a response do to its score, and to the verdict of its pair."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from torch import Tensor

from critic_probe.analysis.compare import FEW, score_pairs
from critic_probe.analysis.measure import Measured, Progress, Reader, Settings, measure, signature
from critic_probe.analysis.results import PerturbResult
from critic_probe.analysis.statistics import numeric_floor, rate, verdict
from critic_probe.checkpoint import Critic
from critic_probe.encoding import EncodedResponse, Group
from critic_probe.errors import CriticProbeError, Notice
from critic_probe.pairs import Pair, TokenIds
from critic_probe.probes import Edit, Skip

CONTEXT = 12  # characters shown on either side of an edit
SIDES = ("student", "teacher")


@dataclass(frozen=True)
class _Variant:
    """One edit of one side of a pair, and the response that it makes."""

    pair: int  # index into the measured pairs
    side: int  # 0 student, 1 teacher
    edit: Edit
    response: EncodedResponse


def perturb(
    critics: Iterable[Critic],
    pairs: Sequence[Pair],
    settings: Settings,
    edits: Callable[[str], Sequence[Edit | Skip]],
    progress: Progress,
) -> PerturbResult:
    """Scores every edit of both responses of every pair, as variants in the pair's prompt group.

    Args:
        critics: Loaded one after the other, so that only one needs to be in memory.
        pairs: At least one.
        settings: How text becomes a score.
        edits: The edits of a text, and what was left alone and why.
        progress: Told of every group scored.

    Raises:
        CriticProbeError: A pair cannot be scored honestly, or no edit applies to any response.
    """
    frames, skips, notices, records = [], [], [], []
    for critic in critics:
        reader = Reader(critic, settings)
        measured = measure(reader, pairs, progress)
        variants, not_measured = _variants(measured, edits)
        if not variants:
            reasons = ", ".join(sorted({reason for _, reason in not_measured})) or "no punctuation found"
            raise CriticProbeError(f"{critic.name}: no edit applies to any response ({reasons}); give other pairs")
        frames.append(_cases(measured, variants, progress))
        skips.append(
            pd.DataFrame(
                [(critic.name, family, reason, count) for (family, reason), count in sorted(not_measured.items())],
                columns=["critic", "family", "reason", "count"],
            )
        )
        notices += [notice for notice in measured.notices if notice not in notices]
        records.append(reader.record())
        del critic, reader, measured, variants  # before the next critic is loaded
    cases = pd.concat(frames, ignore_index=True)
    summary = _summarise(cases)
    cases = cases.iloc[(-cases.delta_over_sd.abs()).argsort(kind="stable")].reset_index(drop=True)
    few = summary[summary.n < FEW]
    if len(few):
        families = sorted({f"{row.family} {row.position}" for row in few.itertuples()})
        notices.append(Notice("few-cases", f"fewer than {FEW} edits, too few to conclude from: {', '.join(families)}"))
    return PerturbResult(
        summary=summary,
        cases=cases.drop(columns="decided"),
        not_measured=pd.concat(skips, ignore_index=True),
        notices=notices,
        signature=signature(settings, pairs, records),
        reading=_reading(summary),
    )


def _variants(
    measured: Measured, edits: Callable[[str], Sequence[Edit | Skip]]
) -> tuple[list[_Variant], Counter[tuple[str, str]]]:
    variants: list[_Variant] = []
    skipped: Counter[tuple[str, str]] = Counter()
    reader = measured.reader
    for index, pair in enumerate(measured.pairs):
        for side, response in enumerate((pair.student, pair.teacher)):
            body = response.ids[:-1] if response.eos[-1] else response.ids
            canonical = _body_ids(reader, response.text) == body
            for edit in edits(response.text):
                if isinstance(edit, Skip):
                    made: EncodedResponse | str = edit.reason
                elif not canonical:
                    made = "ids are not the tokenisation of their text"
                else:
                    made = _apply(reader, len(pair.prompt_ids), response, edit)
                if isinstance(made, str):
                    skipped[edit.family, made] += 1
                else:
                    assert isinstance(edit, Edit)
                    variants.append(_Variant(index, side, edit, made))
    return variants, skipped


def _apply(reader: Reader, prompt_length: int, response: EncodedResponse, edit: Edit) -> EncodedResponse | str:
    """The edited response, its closing EOS kept; or the reason why it cannot be compared with the original."""
    closing = response.ids[-1:] if response.eos[-1] else ()
    ids = _body_ids(reader, edit.apply(response.text)) + closing
    if ids == response.ids:
        return "no token change"
    if ids == closing:
        return "nothing left"
    limit = reader.encoder.context_length
    if limit is not None and prompt_length + len(ids) > limit:
        return "too long"
    return reader.encoder.response(TokenIds(ids))


def _body_ids(reader: Reader, text: str) -> tuple[int, ...]:
    """The ids of a text without the EOS that the policy may add."""
    if not text:
        return ()
    encoded = reader.encoder.response(text)
    return encoded.ids[:-1] if reader.encoder.eos == "include" and encoded.eos[-1] else encoded.ids


def _cases(measured: Measured, variants: Sequence[_Variant], progress: Progress) -> pd.DataFrame:
    reader = measured.reader
    scored = score_pairs(measured)
    unedited = {name: frame.set_index("id") for name, frame in scored.groupby("aggregation", sort=False)}
    floors = {
        name: numeric_floor(reader.critic.dtype, pd.concat([frame.student_score, frame.teacher_score]))
        for name, frame in unedited.items()
    }
    by_pair: dict[int, list[_Variant]] = {}
    for variant in variants:
        by_pair.setdefault(variant.pair, []).append(variant)
    groups = [
        Group(measured.pairs[index].prompt_ids, tuple(v.response.ids for v in group))
        for index, group in by_pair.items()
    ]
    rows: list[dict[str, Any]] = []
    for group, values in zip(by_pair.values(), reader.values(groups, "edits", progress), strict=True):
        for variant, variant_values in zip(group, values, strict=True):
            rows += _rows(measured, variant, variant_values, unedited, floors)
    cases = pd.DataFrame(rows)
    sds = cases.aggregation.map({name: frame.sd.iloc[0] for name, frame in unedited.items()})
    cases.insert(cases.columns.get_loc("delta") + 1, "delta_over_sd", cases.delta / sds)
    return cases


def _rows(
    measured: Measured,
    variant: _Variant,
    values: Tensor,
    unedited: dict[str, pd.DataFrame],
    floors: dict[str, float],
) -> Iterator[dict[str, Any]]:
    reader, pair, edit = measured.reader, measured.pairs[variant.pair], variant.edit
    text = (pair.student, pair.teacher)[variant.side].text
    for aggregation in reader.settings.aggregations:
        before = unedited[aggregation.name].loc[pair.pair.id]
        scores = [before.student_score, before.teacher_score]
        original = scores[variant.side]
        scores[variant.side] = reader.score(values, variant.response, aggregation)
        after = verdict(scores[1] - scores[0], floors[aggregation.name])
        yield {
            "critic": reader.critic.name,
            "id": pair.pair.id,
            "side": SIDES[variant.side],
            "family": edit.family,
            "position": edit.position,
            "kind": edit.kind,
            "aggregation": aggregation.name,
            "original_score": original,
            "variant_score": scores[variant.side],
            "delta": scores[variant.side] - original,
            "flip": {before.verdict, after} == {"student", "teacher"},
            "decided": before.verdict != "tie",
            "left": text[max(0, edit.start - CONTEXT) : edit.start],
            "removed": text[edit.start : edit.end],
            "added": edit.replacement,
            "right": text[edit.end : edit.end + CONTEXT],
        }


def _summarise(cases: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for keys, frame in cases.groupby(["family", "position", "critic", "aggregation"], sort=False):
        raw, scaled = frame.delta.abs(), frame.delta_over_sd.abs()
        flipped = rate(int(frame.flip.sum()), int(frame.decided.sum()))
        family, position, critic, aggregation = keys
        rows.append(
            {
                "critic": critic,
                "aggregation": aggregation,
                "family": family,
                "position": position,
                "n": len(frame),
                "median_abs_delta": raw.median(),
                "p95_abs_delta": raw.quantile(0.95),
                "median_abs_delta_over_sd": scaled.median(),
                "p95_abs_delta_over_sd": scaled.quantile(0.95),
                "flips": int(frame.flip.sum()),
                "flip_rate": flipped.value,
                "flip_low": flipped.low,
                "flip_high": flipped.high,
            }
        )
    # The stable sort keeps critics and read-outs in the order in which they were asked for.
    return pd.DataFrame(rows).sort_values(["family", "position"], kind="stable").reset_index(drop=True)


def _reading(summary: pd.DataFrame) -> list[str]:
    sentences = [
        "|delta| is how far the score moves when only the punctuation does; /SD sets it against the spread of the "
        "unedited scores under the same critic and read-out, so those columns compare across read-outs.",
        "A flip is a pair whose verdict changes sides; pairs tied before the edit are left out of the rate.",
    ]
    if {"last", "mean"} <= set(summary.aggregation) and (summary.position == "terminal").any():
        sentences.append(
            "A closing mark's swap moves only the last value, so it moves the mean by the last value's change divided "
            "by N by construction: a small raw delta under mean is arithmetic, not a merit. Look at the SD columns."
        )
    return sentences
