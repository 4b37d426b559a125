"""What edits of a response do to its score, and to the verdict of its pair."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import pandas as pd

from critic_probe.analysis.compare import FEW
from critic_probe.analysis.measure import (
    Progress,
    Reader,
    Settings,
    floor_sentence,
    hash_of,
    measure_floors,
    signature,
    survey,
)
from critic_probe.analysis.results import PerturbResult
from critic_probe.analysis.statistics import rate, verdict
from critic_probe.checkpoint import Critic
from critic_probe.encoding import EncodedPair, EncodedResponse, Group
from critic_probe.errors import CriticProbeError, Notice
from critic_probe.pairs import Pairs, TokenIds
from critic_probe.probes import Edit, Skip

CONTEXT = 12  # characters shown on either side of an edit
SIDES = ("student", "teacher")


class _Variant(NamedTuple):
    """One edit of one side of a pair, and the response that it makes."""

    side: int  # 0 student, 1 teacher
    edit: Edit
    response: EncodedResponse


def perturb(
    critics: Iterable[Critic],
    pairs: Pairs,
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
    frames: list[pd.DataFrame] = []
    skips: list[pd.DataFrame] = []
    notices: list[Notice] = []
    records = []
    for critic in critics:
        reader = Reader(critic, settings)
        surveyed = survey(reader, pairs)
        floors, rounding = measure_floors(reader, surveyed.sample)
        skipped: Counter[tuple[str, str]] = Counter()
        frames.append(_cases(reader, pairs, edits, skipped, floors, progress(f"{critic.name}: edits", surveyed.pairs)))
        skips.append(
            pd.DataFrame(
                [(critic.name, family, reason, count) for (family, reason), count in sorted(skipped.items())],
                columns=["critic", "family", "reason", "count"],
            )
        )
        notices += [n for n in (*surveyed.notices, *rounding, *reader.notices()) if n not in notices]
        records.append(reader.record() | {"noise_floor": floors})
        reader.close()
        del critic, reader  # before the next critic is loaded
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
        signature=signature(settings, hash_of(pairs), records),
        reading=[*_reading(summary), floor_sentence(records)],
    )


def edited_responses(
    reader: Reader, pair: EncodedPair, edits: Callable[[str], Sequence[Edit | Skip]]
) -> list[tuple[int, ...]]:
    """Both responses of a pair and every edit of them that can be scored, as ids."""
    return [*pair.group.responses, *(v.response.ids for v in _variants(reader, pair, edits, Counter()))]


def _variants(
    reader: Reader,
    pair: EncodedPair,
    edits: Callable[[str], Sequence[Edit | Skip]],
    skipped: Counter[tuple[str, str]],
) -> list[_Variant]:
    """The edits of both sides that can be scored; the others are counted with their reason."""
    variants: list[_Variant] = []
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
                variants.append(_Variant(side, edit, made))
    return variants


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


def _cases(
    reader: Reader,
    pairs: Pairs,
    edits: Callable[[str], Sequence[Edit | Skip]],
    skipped: Counter[tuple[str, str]],
    floors: dict[str, float],
    step: Callable[[], None],
) -> pd.DataFrame:
    """One row per read-out and edit. Original and variants are one group: what they share is computed once."""

    def items() -> Iterator[tuple[Group, tuple[EncodedPair, list[_Variant]]]]:
        for pair in reader.encoded(pairs):
            variants = _variants(reader, pair, edits, skipped)
            responses = (*pair.group.responses, *(variant.response.ids for variant in variants))
            yield Group(pair.prompt_ids, responses), (pair, variants)

    scores: dict[str, list[float]] = {aggregation.name: [] for aggregation in reader.settings.aggregations}
    rows: list[dict[str, Any]] = []
    for (pair, variants), values in reader.scored(items()):
        step()
        for aggregation in reader.settings.aggregations:
            both = [
                reader.score(v, side, aggregation)
                for v, side in zip(values[:2], (pair.student, pair.teacher), strict=True)
            ]
            scores[aggregation.name] += both
            for variant, variant_values in zip(variants, values[2:], strict=True):
                edited = reader.score(variant_values, variant.response, aggregation)
                rows.append(_row(reader, pair, variant, aggregation.name, both, edited, floors[aggregation.name]))
    if not rows:
        reasons = ", ".join(sorted({reason for _, reason in skipped})) or "no punctuation found"
        raise CriticProbeError(f"{reader.critic.name}: no edit applies to any response ({reasons}); give other pairs")
    cases = pd.DataFrame(rows)
    sds = {name: pd.Series(of_all).std() for name, of_all in scores.items()}
    cases.insert(cases.columns.get_loc("delta") + 1, "delta_over_sd", cases.delta / cases.aggregation.map(sds))
    return cases


def _row(
    reader: Reader, pair: EncodedPair, variant: _Variant, name: str, both: Sequence[float], edited: float, floor: float
) -> dict[str, Any]:
    edit, original = variant.edit, both[variant.side]
    text = (pair.student, pair.teacher)[variant.side].text
    after = (edited, both[1]) if variant.side == 0 else (both[0], edited)
    verdicts = verdict(both[1] - both[0], floor), verdict(after[1] - after[0], floor)
    return {
        "critic": reader.critic.name,
        "id": pair.pair.id,
        "side": SIDES[variant.side],
        "family": edit.family,
        "position": edit.position,
        "kind": edit.kind,
        "aggregation": name,
        "original_score": original,
        "variant_score": edited,
        "delta": edited - original,
        "floor": floor,
        "flip": set(verdicts) == {"student", "teacher"},
        "decided": verdicts[0] != "tie",
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
