"""How far arithmetic alone moves a score, measured on a run's own pairs."""

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from critic_probe.encoding import EncodedPair
from critic_probe.errors import CriticProbeError, Notice
from critic_probe.scoring.reference import padded_values

if TYPE_CHECKING:
    from critic_probe.workbench.loop import Bench


def measure_floors(bench: "Bench", sample: Sequence[EncodedPair]) -> tuple[dict[str, float], list[Notice]]:
    """The noise floor of each read-out: how far arithmetic alone moves a score.

    The sample's responses are scored as the run scores them, each alone, and in one padded batch; in half precision
    also by the same critic in float32. The floor is twice the largest difference of a response's scores, since a gap
    has two ends, and at least sixteen rounding steps of the largest score.

    Returns:
        The floor by read-out, and in half precision what it does to scores.
    """
    critic = bench.critic
    scored = [both for both in zip(sample, bench.values(pair.group for pair in sample), strict=True) if both[1]]
    if not scored:
        raise CriticProbeError(f"{critic.name}: none of the first pairs has a finite value; run critic-probe doctor")
    sample = [pair for pair, _ in scored]
    sides = [(pair.prompt_ids, side) for pair in sample for side in (pair.student, pair.teacher)]
    sequences = [prompt + side.ids for prompt, side in sides]

    def cut(values: Sequence[Tensor]) -> list[Tensor]:
        return [v[bench.window(len(prompt), len(r.ids))] for v, (prompt, r) in zip(values, sides, strict=True)]

    ways = [[v for _, values in scored for v in values]]
    ways.append(cut([critic.values(ids) for ids in sequences]))
    # An architecture that takes no mask has no batches to differ by, nor has one whose batch memory does not hold.
    with suppress(TypeError, ValueError, torch.OutOfMemoryError):
        ways.append(cut(padded_values(critic, sequences)))
    if critic.dtype != torch.float32:
        exact = critic.in_float32()
        ways.append(cut([exact.values(ids) for ids in sequences]))
        del exact
    floors, biases = {}, []
    for aggregation in bench.settings.aggregations:
        scores = torch.tensor(
            [[bench.score(v, side, aggregation) for v, (_, side) in zip(way, sides, strict=True)] for way in ways],
            dtype=torch.float64,
        )
        spread = float((scores.max(0).values - scores.min(0).values).max())
        steps = 16 * torch.finfo(torch.float32).eps * max(1.0, float(scores.abs().max()))
        floors[aggregation.name] = max(2 * spread, steps)
        if critic.dtype != torch.float32:
            moved = scores[0] - scores[-1]
            biases.append(f"{aggregation.name} {float(moved.mean()):+.2g} (at most {float(moved.abs().max()):.2g})")
    told = ", ".join(biases)
    name = str(critic.dtype).removeprefix("torch.")
    message = f"{critic.name}: {name} moves the scores of {len(sides)} responses against float32 by {told}"
    return floors, [Notice("half-precision", message)] if biases else []
