"""How far arithmetic alone moves a score, measured on a run's own pairs."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from critic_probe import tolerance
from critic_probe.aggregation import Aggregation, parse
from critic_probe.encoding import Encoded
from critic_probe.errors import CriticProbeError, Notice, parameter
from critic_probe.scoring.engine import disagreement
from critic_probe.scoring.reference import padded_values, rows_of_a_batch

if TYPE_CHECKING:
    from critic_probe.workbench.loop import Bench

RESPONSES = 8  # on which noise is measured: what `tolerance.of_noise` reckons with
# In half precision a few responses are moved by ten times what most are; eight rarely hold one of them.
HALF_RESPONSES = 32


class Noise:
    """What arithmetic did to the scores of a sample's responses, by read-out.

    They are valued as the run values them, each alone, each with one more token behind it, and in one padded batch; in
    half precision also by the same critic in float32. A way whose values differ by more than rounding is no measure of
    it: it is left out and told.

    Args:
        bench: Its critic is loaded.
        sample: Some of its pairs, at least one.

    Attributes:
        spreads: By read-out, the largest difference of one response's scores among the ways of the critic's type, and
            with those of float32; the settings' read-outs, and others that were asked for.
        notices: What half precision does to scores, and ways that were left out.
        largest: The largest |value|.

    Raises:
        CriticProbeError: The run's values are not those of single sequences.
    """

    def __init__(self, bench: "Bench", sample: Sequence[Encoded]) -> None:
        self.notices: list[Notice] = []
        self.dtype = bench.critic.dtype
        self._bench = bench
        most = HALF_RESPONSES if self._is_half else RESPONSES
        sample = _holding(sample, most)
        both = zip(sample, bench.values(pair.group for pair in sample), strict=True)
        scored = [(pair, values) for pair, values in both if values]
        if not scored:
            raise CriticProbeError(f"{bench.name}: none of the first pairs has a finite value; run critic-probe doctor")
        sides = [(pair.prompt_ids, side) for pair, _ in scored for side in pair.responses]
        self._sides = sides[:most]
        self._ways = list(self._valued([v for _, values in scored for v in values][:most]))
        self.largest = max(float(v.abs().max()) for way in self._ways for v in way)
        self.spreads: dict[str, tuple[float, float]] = {}
        for aggregation in bench.settings.aggregations:
            self.floor(aggregation.name, self.largest)
        if self._is_half:
            self.notices.append(self._against_float32())

    def floor(self, read_out: str, largest: float) -> float:
        """The noise floor of a read-out; see `tolerance.of_noise`.

        Args:
            read_out: Any, by name.
            largest: The largest |value| that the run has met.
        """
        if read_out not in self.spreads:
            scores = self._scores(parse(read_out))
            own = scores[:-1] if self._is_half else scores
            self.spreads[read_out] = _spread(own), _spread(scores)
        return tolerance.of_noise(*self.spreads[read_out], max(self.largest, largest), self.dtype)

    @property
    def _is_half(self) -> bool:
        return self.dtype != torch.float32

    def _valued(self, ran: list[Tensor]) -> Iterator[list[Tensor]]:
        """Values (R,) of the sample's responses, way by way: the run's first, in half precision float32's last."""
        bench, critic = self._bench, self._bench.critic
        sequences = [prompt + side.ids for prompt, side in self._sides]

        def cut(values: Sequence[Tensor]) -> list[Tensor]:
            ways = zip(values, self._sides, strict=True)
            return [v[bench.window(len(prompt), len(side.ids))] for v, (prompt, side) in ways]

        alone = cut([critic.values(ids) for ids in sequences])
        if reason := disagreement(ran, alone, self.dtype, tolerance.of_batches):
            raise CriticProbeError(
                f"{critic.name}: {reason}, more than rounding can make; use {parameter('engine', 'reference')} and "
                f"{parameter('cache', False)}, and let doctor say what in the model does it"
            )
        yield from (ran, alone)
        longer = [(*ids, ids[-1]) if bench.fits(len(ids) + 1) else ids for ids in sequences]
        yield from self._if_steady("before one more token", cut([critic.values(ids) for ids in longer]), alone)
        # An architecture that takes no mask has no batches to differ by, nor has one whose batch memory does not hold.
        with suppress(TypeError, ValueError, torch.OutOfMemoryError):
            yield from self._if_steady("in a padded batch", cut(padded_values(critic, sequences)), alone)
        if self._is_half:
            exact = critic.in_float32()
            yield cut([exact.values(ids) for ids in sequences])

    def _if_steady(self, where: str, way: list[Tensor], alone: list[Tensor]) -> Iterator[list[Tensor]]:
        if reason := disagreement(way, alone, self.dtype, tolerance.of_batches):
            message = "more than rounding can make: what computes them so gives other scores than these"
            self.notices.append(Notice("unsteady-values", f"{self._bench.name}: {where} {reason}, {message}"))
        else:
            yield way

    def _scores(self, aggregation: Aggregation) -> Tensor:
        """Scores (ways, responses)."""
        return torch.tensor(
            [
                [self._bench.score(v, side, aggregation) for v, (_, side) in zip(way, self._sides, strict=True)]
                for way in self._ways
            ],
            dtype=torch.float64,
        )

    def _against_float32(self) -> Notice:
        moved = []
        for aggregation in self._bench.settings.aggregations:
            scores = self._scores(aggregation)
            apart = scores[0] - scores[-1]
            moved.append(f"{aggregation.name} {float(apart.mean()):+.2g} (at most {float(apart.abs().max()):.2g})")
        name = str(self.dtype).removeprefix("torch.")
        message = f"{name} moves the scores of {len(self._sides)} responses against float32 by {', '.join(moved)}"
        return Notice("half-precision", f"{self._bench.name}: {message}")


def padded_batch(sample: Sequence[Encoded], dtype: torch.dtype) -> tuple[int, int]:
    """Rows and tokens of each row, at most, of the padded batches that noise is measured in on a sample."""
    most = RESPONSES if dtype == torch.float32 else HALF_RESPONSES
    sequences = [s for pair in _holding(sample, most) for s in pair.group.sequences][:most]
    return min(len(sequences), rows_of_a_batch(sequences) + 1), max(map(len, sequences))


def _holding(sample: Sequence[Encoded], responses: int) -> Sequence[Encoded]:
    """As many of a sample's rows as it takes to have so many responses."""
    held = 0
    for count, row in enumerate(sample, start=1):
        held += len(row.responses)
        if held >= responses:
            return sample[:count]
    return sample


def _spread(scores: Tensor) -> float:
    """The largest difference of one response's scores (ways, responses)."""
    return float((scores.max(0).values - scores.min(0).values).max())
