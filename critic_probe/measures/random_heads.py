"""Scores of edits under random heads on a critic's own hidden states, for the comparison in `stats/chance`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from critic_probe import tolerance
from critic_probe.checkpoint import Critic
from critic_probe.encoding import EncodedPair, Group
from critic_probe.measures.variants import Variant, responses_of
from critic_probe.scoring.engine import Engine
from critic_probe.workbench import Bench

HEADS = 200

Floats = NDArray[np.float64]


class Edited(NamedTuple):
    """A pair with the edits of it that are scored."""

    pair: EncodedPair
    variants: list[Variant]


def with_random_heads(critic: Critic, seed: int) -> Critic:
    """The critic with `HEADS` heads in place of its own: its values get a dimension more, that of the heads.

    A head is a normal draw per dimension of the states; its scale cancels in an order.
    """
    width = critic.head.weights[0].shape[1]
    drawn = torch.randn(HEADS, width, generator=torch.Generator().manual_seed(seed))
    head = replace(critic.head, layers=critic.head.layers[-1:], weights=(drawn,), biases=(None,), normalisation=None)
    return replace(critic, head=head)


def deltas_of_heads(bench: Bench, edited: Sequence[Edited], seed: int) -> tuple[dict[str, Floats], float]:
    """How far each edit moves the score under each head, by read-out (E, H), and below what that is rounding.

    States are not kept between runs, so they are computed, whatever the cache holds.

    Args:
        bench: Whose critic gives the states; it is still loaded.
        edited: What is scored, in order.
        seed: Of the heads.
    """
    engine = Engine(with_random_heads(bench.critic, seed), bench.settings.engine)
    step = bench.progress(f"{bench.name}: random heads", len(edited), engine.stats)
    deltas: dict[str, list[Floats]] = {aggregation.name: [] for aggregation in bench.settings.aggregations}
    largest = 0.0
    for pair, variants in edited:
        responses = tuple(dict.fromkeys((*pair.group.responses, *responses_of(variants))))
        # One group at a time: its values under all heads are `HEADS` times those of the critic.
        [values] = engine.values([Group(pair.prompt_ids, responses, pair.pair.id)])
        by_ids = {ids: v[bench.window(1, len(v) - 1)].T for ids, v in zip(responses, values, strict=True)}
        largest = max(largest, *(float(v.abs().max()) for v in by_ids.values()))
        for aggregation in bench.settings.aggregations:
            for variant in variants:
                base = variant.base or (pair.student, pair.teacher)[variant.side]
                after, before = (bench.scores(by_ids[r.ids], r, aggregation) for r in (variant.edited, base))
                deltas[aggregation.name].append((after - before).double().numpy())
        step()
    return (
        {name: np.reshape(found, (len(found), HEADS)) for name, found in deltas.items()},
        tolerance.of_scores(bench.critic.dtype, largest),
    )
