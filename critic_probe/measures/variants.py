"""The edits of a pair's responses as ids: what `perturb` scores, and what shows an edit again later."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from critic_probe.encoding import EncodedPair, EncodedResponse
from critic_probe.pairs import BadRowError, asked
from critic_probe.probes import Case, Family, Skip, Subject, in_context, outcomes
from critic_probe.workbench import Bench, Ids

SIDES = ("student", "teacher")

Edit = tuple[str, ...]


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


def variants_of(bench: Bench, pair: EncodedPair, plan: Plan, skipped: Counter[tuple[str, str]]) -> list[Variant]:
    """The cases of a pair that can be scored; the others are counted with their reason."""
    others = bench.survey.answers.to_others(str(pair.pair.prompt))
    prompt, teacher = asked(pair.pair.prompt), pair.teacher.text
    variants: list[Variant] = []
    for side, response in enumerate((pair.student, pair.teacher)):
        if SIDES[side] not in plan.sides:
            continue
        subject = Subject(response.text, SIDES[side], others, pair.pair.meta, plan.seed, prompt, teacher)
        again = _answer(bench, pair, response.text, response)
        foreign = isinstance(again, str) or again.ids != response.ids
        for outcome in outcomes(plan.families, subject, plan.most):
            if isinstance(outcome, Skip):
                skipped[outcome.family, outcome.reason] += 1
                continue
            if foreign and outcome.scoring == "text" and outcome.original == response.text:
                skipped[outcome.family, "ids are not the tokenisation of their text"] += 1
                continue
            made = _made(bench, pair, side, outcome)
            if isinstance(made, str):
                skipped[outcome.family, made] += 1
            else:
                variants.append(made)
    return variants


def _made(bench: Bench, pair: EncodedPair, side: int, case: Case) -> Variant | str:
    """The case as responses, closed as the original is; or why it cannot be compared with the original."""
    response = (pair.student, pair.teacher)[side]
    if case.scoring in ("again", "batch"):
        return Variant(side, case, response, None, None)
    if case.scoring == "eos":
        return _toggled(bench, response, side, case)
    edited = _answer(bench, pair, case.text, response)
    base = None if case.original == response.text else _answer(bench, pair, case.original, response)
    restored = None if case.restored is None else _answer(bench, pair, case.restored, response)
    if isinstance(edited, str) or isinstance(base, str) or isinstance(restored, str):
        return next(made for made in (edited, base, restored) if isinstance(made, str))
    if edited.ids == (base or response).ids:
        return "no token change"
    return Variant(side, case, edited, base, restored)


def _toggled(bench: Bench, response: EncodedResponse, side: int, case: Case) -> Variant | str:
    """The response without the EOS that closes it, or with one."""
    if response.eos[-1]:
        ids, closing = response.ids[:-1], max(response.closing - 1, 0)
    elif any(response.eos[len(response.ids) - response.closing :]):
        return "the template's tail closes it"
    elif bench.eos_id is None:
        return "the tokenizer has no EOS"
    else:
        ids, closing = (*response.ids, bench.eos_id), response.closing + 1
    if not ids:
        return "nothing left"
    return Variant(side, case, bench.encoder.exact(ids, response.text, closing=closing), None, None)


def _answer(bench: Bench, pair: EncodedPair, text: str, like: EncodedResponse) -> EncodedResponse | str:
    """A text as an answer to the pair's prompt, closed as one of its responses is; or why it cannot be scored."""
    try:
        made = bench.encoder.answer(pair, text, like)
    except BadRowError as fault:
        if text or bench.eos_id is None:
            return "nothing left" if fault.kind == "empty side" else fault.kind
        made = bench.encoder.exact((bench.eos_id,), text, closing=1)  # what a framework sees where nothing is said
    return made if bench.fits(len(pair.prompt_ids) + len(made.ids)) else "too long"


def responses_of(variants: Iterable[Variant]) -> list[Ids]:
    """The ids that cases need beside those of their pair's two sides."""
    return [r.ids for v in variants for r in (v.edited, v.base, v.restored) if r is not None]


def compared_texts(bench: Bench, pair: EncodedPair, plan: Plan) -> dict[Edit, tuple[EncodedResponse, EncodedResponse]]:
    """What each case of a pair compares: the response and the edited one; cases that change no text are left out."""
    texts: dict[Edit, tuple[EncodedResponse, EncodedResponse]] = {}
    for variant in variants_of(bench, pair, plan, Counter()):
        case, own = variant.case, (pair.student, pair.teacher)[variant.side]
        if case.scoring == "text":
            row = {"side": SIDES[variant.side], "family": case.family, "position": case.position}
            texts[edit_of(row | in_context(case))] = (variant.base or own, variant.edited)
    return texts


def edit_of(row: Mapping[str, Any]) -> Edit:
    """What tells a case from the others of its pair, from its row; equal where a text repeats itself."""
    return tuple(str(row[name]) for name in ("side", "family", "position", "left", "removed", "added", "right"))
