"""What edits of a response do to its score, and to the verdict of its pair."""

import itertools
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd
from torch import Tensor

from critic_probe.bench import (
    Progress,
    Reader,
    Settings,
    Signature,
    floor_sentence,
    hash_of,
    measure_floors,
    prompt_hash,
    signature,
    survey,
)
from critic_probe.checkpoint import Critic
from critic_probe.encoding import EncodedPair, EncodedResponse, Group
from critic_probe.errors import CriticProbeError, Notice
from critic_probe.pairs import Pairs
from critic_probe.probes import Case, Family, Skip, Subject, outcomes
from critic_probe.scoring.reference import padded_values
from critic_probe.stats.edits import contrasts, headline, read_aloud, summarise
from critic_probe.stats.rates import FEW, verdict

CONTEXT = 12  # characters shown on either side of an edit
SIDES = ("student", "teacher")
OTHERS = 16  # answers to other prompts that are kept for the families that need one
TWICE = 8  # pairs whose responses are computed a second time, outside the tree and its cache

Edit = tuple[str, ...]


@dataclass(frozen=True)
class PerturbResult:
    """What edits of a response do to its score.

    Attributes:
        summary: One row per critic, aggregation, family, position and kind: n; median, p95 and max of |delta|, raw and
            over the SD of the unedited scores; the signed mean; how often the student/teacher verdict flips; the share
            below the noise floor; the rate of the right order, also with the closing mark restored; the ending's
            effect; and the verdict with its figure, interval, preset floor and smallest detectable effect.
        headline: One row per critic and aggregation: median |delta| of controls and invariances, raw and in SD, their
            ratio (signal to noise), punctuation over wrong facts, and the controls' rate of the right order.
        contrasts: Read-out against read-out and critic against critic, family by family: the difference of |delta| over
            SD with its interval, p and p_holm over all families; for controls and directions the exact McNemar p.
        cases: One row per critic, aggregation and edit, the largest |delta| over SD first.
        not_measured: Edits that were not scored: critic, family, reason, count.
        notices: Warnings that belong to the figures.
        signature: Everything that determined the figures.
        reading: Plain sentences on how to read them.
    """

    summary: pd.DataFrame
    headline: pd.DataFrame
    contrasts: pd.DataFrame
    cases: pd.DataFrame
    not_measured: pd.DataFrame
    notices: list[Notice]
    signature: Signature
    reading: list[str]


@dataclass(frozen=True)
class Plan:
    """Which edits are made.

    Attributes:
        families: Asked of every response, in order.
        sides: The sides that are edited.
        most: At most this many cases a response; None for all.
        seed: Decides what the families leave to chance.
    """

    families: Sequence[Family]
    sides: tuple[str, ...] = SIDES
    most: int | None = None
    seed: int = 0


class Variant(NamedTuple):
    """One case of one side of a pair, as responses: edited, what it is compared with, ending restored."""

    side: int  # 0 student, 1 teacher
    case: Case
    edited: EncodedResponse
    base: EncodedResponse | None  # None: the side's own response
    restored: EncodedResponse | None  # None: its closing mark is the original's already


def perturb(
    critics: Iterable[Critic], pairs: Pairs, settings: Settings, plan: Plan, progress: Progress
) -> PerturbResult:
    """Scores every edit of the responses of every pair, as variants in the pair's prompt group.

    Args:
        critics: Loaded one after the other, so that only one needs to be in memory.
        pairs: At least one.
        settings: How text becomes a score.
        plan: Which edits are made.
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
        step = progress(f"{critic.name}: edits", surveyed.pairs, reader.engine.stats)
        frames.append(_cases(reader, pairs, plan, skipped, floors, step))
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
    return judged(
        pd.concat(frames, ignore_index=True),
        pd.concat(skips, ignore_index=True),
        notices,
        signature(settings, hash_of(pairs), records) | _recorded(plan),
        floor_sentence(records),
    )


def judged(
    cases: pd.DataFrame, not_measured: pd.DataFrame, notices: list[Notice], signed: dict[str, Any], floor: str
) -> PerturbResult:
    """The figures and verdicts of scored cases."""
    summary, ratios = summarise(cases), headline(cases)
    few = summary[(summary.n < FEW) & (summary.kind != "identity")]
    if len(few):
        families = sorted({f"{row.family} {row.position}" for row in few.itertuples()})
        notices.append(Notice("few-cases", f"fewer than {FEW} edits, too few to conclude from: {', '.join(families)}"))
    worst_first = cases.iloc[(-cases.delta_over_sd.abs()).argsort(kind="stable")].reset_index(drop=True)
    return PerturbResult(
        summary=summary,
        headline=ratios,
        contrasts=contrasts(cases),
        cases=worst_first.drop(columns="decided"),
        not_measured=not_measured,
        notices=notices,
        signature=signed,
        reading=[*read_aloud(summary, ratios, cases), floor],
    )


def rescored(reader: Reader, pairs: Pairs, plan: Plan, floors: dict[str, float], ids: Container[str]) -> pd.DataFrame:
    """The cases of some pairs of a file, with the other answers that the whole file offers; SDs are theirs alone."""
    return _cases(reader, pairs, plan, Counter(), floors, lambda: None, ids)


def edit_of(row: Mapping[str, Any]) -> Edit:
    """What tells a case from the others of its pair, from its row; equal where a text repeats itself."""
    return tuple(str(row[name]) for name in ("side", "family", "position", "left", "removed", "added", "right"))


def compared_texts(
    reader: Reader, pairs: Pairs, plan: Plan
) -> Callable[[EncodedPair], dict[Edit, tuple[EncodedResponse, EncodedResponse]]]:
    """What each case of a pair compares: the response and the edited one; cases that change no text are left out."""
    kept = answers(reader, pairs)

    def of(pair: EncodedPair) -> dict[Edit, tuple[EncodedResponse, EncodedResponse]]:
        found: dict[Edit, tuple[EncodedResponse, EncodedResponse]] = {}
        for variant in variants_of(reader, pair, plan, _others(kept, pair), Counter()):
            case, own = variant.case, (pair.student, pair.teacher)[variant.side]
            if case.scoring == "text":
                row = {"side": SIDES[variant.side], "family": case.family, "position": case.position}
                found[edit_of(row | _in_context(case))] = (variant.base or own, variant.edited)
        return found

    return of


def edited_responses(plan: Plan, pairs: Pairs) -> Callable[[Reader, EncodedPair], list[tuple[int, ...]]]:
    """What a run computes of a pair, as ids: both responses and every edit of them that can be scored."""
    kept: dict[str, dict[str, str]] = {}

    def responses(reader: Reader, pair: EncodedPair) -> list[tuple[int, ...]]:
        if reader.critic.name not in kept:
            kept[reader.critic.name] = answers(reader, pairs)
        others = _others(kept[reader.critic.name], pair)
        return _ids(pair, variants_of(reader, pair, plan, others, Counter()))

    return responses


def answers(reader: Reader, pairs: Pairs) -> dict[str, str]:
    """The teacher's answers to the first prompts of a file, by prompt: for families that need another's answer."""
    found: dict[str, str] = {}
    for pair in itertools.islice(reader.encoded(pairs), 4 * OTHERS):
        found.setdefault(str(pair.pair.prompt), pair.teacher.text)
        if len(found) == OTHERS:
            break
    return found


def _others(kept: dict[str, str], pair: EncodedPair) -> list[str]:
    return [answer for prompt, answer in kept.items() if prompt != str(pair.pair.prompt)]


def _ids(pair: EncodedPair, variants: Sequence[Variant]) -> list[tuple[int, ...]]:
    """The distinct responses that a pair's cases need, the two sides first."""
    needed = (r.ids for v in variants for r in (v.edited, v.base, v.restored) if r is not None)
    return list(dict.fromkeys((*pair.group.responses, *needed)))


def variants_of(
    reader: Reader, pair: EncodedPair, plan: Plan, others: Sequence[str], skipped: Counter[tuple[str, str]]
) -> list[Variant]:
    """The cases of a pair that can be scored; the others are counted with their reason."""
    variants: list[Variant] = []
    for side, response in enumerate((pair.student, pair.teacher)):
        if SIDES[side] not in plan.sides:
            continue
        body = response.ids[:-1] if response.eos[-1] else response.ids
        canonical = _body_ids(reader, response.text) == body
        subject = Subject(response.text, SIDES[side], tuple(others), pair.pair.meta, plan.seed)
        for outcome in outcomes(plan.families, subject, plan.most):
            if isinstance(outcome, Skip):
                skipped[outcome.family, outcome.reason] += 1
                continue
            made = _made(reader, len(pair.prompt_ids), response, side, outcome, canonical)
            if isinstance(made, str):
                skipped[outcome.family, made] += 1
            else:
                variants.append(made)
    return variants


def _made(
    reader: Reader, prompt_length: int, response: EncodedResponse, side: int, case: Case, canonical: bool
) -> Variant | str:
    """The case as responses, the closing EOS kept; or why it cannot be compared with the original."""
    if case.scoring in ("again", "batch"):
        return Variant(side, case, response, None, None)
    closing = response.ids[-1:] if response.eos[-1] else ()
    if case.scoring == "eos":
        eos = reader.critic.tokenizer.eos_token_id
        if not closing and eos is None:
            return "the tokenizer has no EOS"
        ids = response.ids[:-1] if closing else (*response.ids, eos)
        return Variant(side, case, reader.encoder.exact(ids, response.text), None, None) if ids else "nothing left"
    if not canonical and case.original == response.text:
        return "ids are not the tokenisation of their text"

    def encoded(text: str) -> EncodedResponse | str:
        ids = _body_ids(reader, text) + closing
        if not ids:  # an answer of nothing is what a framework sees as a lone EOS
            eos = reader.critic.tokenizer.eos_token_id
            ids = () if eos is None else (eos,)
        limit = reader.encoder.context_length
        if limit is not None and prompt_length + len(ids) > limit:
            return "too long"
        return reader.encoder.exact(ids, text) if ids else "nothing left"

    edited = encoded(case.text)
    base = None if case.original == response.text else encoded(case.original)
    restored = None if case.restored is None else encoded(case.restored)
    if isinstance(edited, str) or isinstance(base, str) or isinstance(restored, str):
        return next(made for made in (edited, base, restored) if isinstance(made, str))
    if edited.ids == (base or response).ids:
        return "no token change"
    return Variant(side, case, edited, base, restored)


def _body_ids(reader: Reader, text: str) -> tuple[int, ...]:
    """The ids of a text without the EOS that the policy may add."""
    if not text:
        return ()
    encoded = reader.encoder.response(text)
    return encoded.ids[:-1] if reader.encoder.eos == "include" and encoded.eos[-1] else encoded.ids


def _cases(
    reader: Reader,
    pairs: Pairs,
    plan: Plan,
    skipped: Counter[tuple[str, str]],
    floors: dict[str, float],
    step: Callable[[], None],
    ids: Container[str] | None = None,
) -> pd.DataFrame:
    """One row per read-out and case. Original and variants are one group: what they share is computed once."""
    kept = answers(reader, pairs)

    def items() -> Iterator[tuple[Group, tuple[EncodedPair, list[Variant]]]]:
        for pair in reader.encoded(pairs if ids is None else (pair for pair in pairs if pair.id in ids)):
            variants = variants_of(reader, pair, plan, _others(kept, pair), skipped)
            yield Group(pair.prompt_ids, tuple(_ids(pair, variants))), (pair, variants)

    scores: dict[str, list[float]] = {aggregation.name: [] for aggregation in reader.settings.aggregations}
    rows: list[dict[str, Any]] = []
    for seen, ((pair, variants), values) in enumerate(reader.scored(items())):
        step()
        by_ids = dict(zip(_ids(pair, variants), values, strict=True))
        twice = _twice(reader, pair, variants) if seen < TWICE else {}
        for aggregation in reader.settings.aggregations:

            def score(
                response: EncodedResponse, values: Tensor | None = None, by_ids: Any = by_ids, agg: Any = aggregation
            ) -> float:
                return reader.score(by_ids[response.ids] if values is None else values, response, agg)

            both = [score(pair.student), score(pair.teacher)]
            scores[aggregation.name] += both
            for variant in variants:
                scoring = variant.case.scoring
                if scoring in ("again", "batch"):
                    if (again := twice.get((scoring, variant.side))) is None:
                        continue
                    edited = score(variant.edited, again)
                else:
                    edited = score(variant.edited)
                base = None if variant.base is None else score(variant.base)
                restored = None if variant.restored is None else score(variant.restored)
                kind = variant.case.kind
                if scoring == "eos" and aggregation.kind.endswith("+eos"):
                    kind = "invariance"  # a read-out that keeps EOS may move, and should not
                row = _row(reader, pair, variant, both, edited, base, restored, floors[aggregation.name])
                rows.append(row | {"kind": kind, "aggregation": aggregation.name})
    if not rows:
        reasons = ", ".join(sorted({reason for _, reason in skipped})) or "nothing in them that a family edits"
        raise CriticProbeError(f"{reader.critic.name}: no edit applies to any response ({reasons}); give other pairs")
    cases = pd.DataFrame(rows)
    sds = {name: pd.Series(of_all).std() for name, of_all in scores.items()}
    # A score that does not vary has no spread to set a delta against.
    sds = {name: sd if sd > floors[name] else float("nan") for name, sd in sds.items()}
    sd = cases.aggregation.map(sds)
    cases.insert(cases.columns.get_loc("delta") + 1, "delta_over_sd", cases.delta / sd)
    cases.insert(cases.columns.get_loc("ending_effect") + 1, "ending_effect_over_sd", cases.ending_effect / sd)
    return cases


def _twice(reader: Reader, pair: EncodedPair, variants: Sequence[Variant]) -> dict[tuple[str, int], Tensor]:
    """Values (R,) of the pair's responses computed outside the tree, by way and side; () where no family asks."""
    asked = {variant.case.scoring for variant in variants} & {"again", "batch"}
    if not asked:
        return {}
    prompt = pair.prompt_ids
    window = slice(1, None) if reader.settings.value_position == "at" else slice(None, -1)
    sides = [prompt + response.ids for response in (pair.student, pair.teacher)]
    found = {}
    if "again" in asked:
        for side, ids in enumerate(sides):
            found["again", side] = reader.critic.values(ids)[len(prompt) - 1 :][window]
    if "batch" in asked:
        mates = [*sides, prompt, *(prompt + v.edited.ids for v in variants[:4])]
        with suppress(TypeError, ValueError):  # an architecture that takes no mask has no batches to differ by
            padded = list(padded_values(reader.critic, mates))
            for side in (0, 1):
                found["batch", side] = padded[side][len(prompt) - 1 :][window]
    return found


def _row(
    reader: Reader,
    pair: EncodedPair,
    variant: Variant,
    both: Sequence[float],
    edited: float,
    base: float | None,
    restored: float | None,
    floor: float,
) -> dict[str, Any]:
    case, original = variant.case, both[variant.side] if base is None else base
    before = verdict(both[1] - both[0], floor)
    moved = (edited, both[1]) if variant.side == 0 else (both[0], edited)
    after = verdict(moved[1] - moved[0], floor)
    own = (pair.student, pair.teacher)[variant.side] if variant.base is None else variant.base
    return {
        "critic": reader.critic.name,
        "id": pair.pair.id,
        "prompt_hash": prompt_hash(pair.pair),
        "side": SIDES[variant.side],
        "family": case.family,
        "group": case.group,
        "position": case.position,
        "kind": case.kind,
        "sign": case.sign,
        "aggregation": "",
        "original_score": original,
        "variant_score": edited,
        "delta": edited - original,
        "floor": floor,
        "restored_score": restored,
        "ending_effect": None if restored is None else edited - restored,
        "tokens": len(own.ids),
        "token_change": len(variant.edited.ids) - len(own.ids),
        "only_last_token": own.ids[:-1] == variant.edited.ids[:-1] and not own.eos[-1],
        "flip": base is None and {before, after} == {"student", "teacher"},
        "decided": base is None and before != "tie",
        **_in_context(case),
    }


def _in_context(case: Case) -> dict[str, str]:
    start, end, added = _difference(case.original, case.text)
    return {
        "left": case.original[max(0, start - CONTEXT) : start],
        "removed": case.original[start:end],
        "added": added,
        "right": case.original[end : end + CONTEXT],
    }


def _difference(original: str, edited: str) -> tuple[int, int, str]:
    """The one span of the original that an edit replaces, and what takes its place."""
    shorter = min(len(original), len(edited))
    start = next((i for i in range(shorter) if original[i] != edited[i]), shorter)
    back = next((i for i in range(shorter - start) if original[-1 - i] != edited[-1 - i]), shorter - start)
    return start, len(original) - back, edited[start : len(edited) - back]


def _recorded(plan: Plan) -> dict[str, Any]:
    return {
        "families": [family.name for family in plan.families],
        "sides": list(plan.sides),
        "max_per_response": plan.most,
        "seed": plan.seed,
    }
