"""Edits drawn from a file of pairs, for a person to read."""

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from critic_probe.pairs import Pair, Response, TokenIds, asked
from critic_probe.probes.answers import Answers
from critic_probe.probes.case import Case, Family, Subject
from critic_probe.probes.suite import outcomes


class Drawn(NamedTuple):
    """An edit of one side of a pair."""

    id: str
    side: str
    case: Case


def drawn(family: Family, pairs: Iterable[Pair], sides: Sequence[str], seed: int) -> Iterator[Drawn]:
    """One edit a pair, from pairs in an order that the seed decides.

    Args:
        family: Asked of every response that is text; identities edit none.
        pairs: Kept in memory.
        sides: `student`, `teacher` or both: of which responses.
        seed: Decides the order of the pairs, which edit of a pair is drawn, and what the family leaves to chance.

    Raises:
        CriticProbeError: The family failed on a response.
    """
    kept = list(pairs)
    answers = Answers()
    for pair in kept:
        if (text := _text(pair.teacher)) is not None:
            answers.add(str(pair.prompt), text)
    rng = random.Random(f"{seed}|{family.name}")
    for pair in rng.sample(kept, len(kept)):
        others = answers.to_others(str(pair.prompt))
        prompt, teacher = asked(pair.prompt), _text(pair.teacher) or ""
        texts = {side: text for side in sides if (text := _text(getattr(pair, side))) is not None}
        cases = [
            Drawn(pair.id, side, outcome)
            for side, text in texts.items()
            for outcome in outcomes([family], Subject(text, side, others, pair.meta, seed, prompt, teacher))
            if isinstance(outcome, Case) and outcome.scoring == "text"
        ]
        if cases:
            yield rng.choice(cases)


def _text(response: Response) -> str | None:
    if isinstance(response, TokenIds):
        return response.text
    return response if isinstance(response, str) else None
