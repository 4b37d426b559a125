"""THE loop over critics: each is loaded once and let go before the next, whatever is measured."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from critic_probe.checkpoint import Critic
from critic_probe.encoding import shown_input
from critic_probe.errors import Notice
from critic_probe.pairs import Pairs
from critic_probe.workbench.loop import Bench, Measure, Progress, silent
from critic_probe.workbench.signature import CriticRecord, Settings, Signature, hash_of, signature


@contextmanager
def benches(
    critics: Iterable[Critic], pairs: Pairs, settings: Settings, progress: Progress = silent
) -> Iterator[Iterator[Bench]]:
    """A bench for each critic in turn, which is released before the next critic is loaded; all are closed at the end.

    Args:
        critics: Loaded one after the other, so that only one needs to be in memory.
        pairs: At least one.
        settings: How text becomes a score.
        progress: Told of every pair scored.
    """
    made: list[Bench] = []

    def each() -> Iterator[Bench]:
        for critic in critics:
            bench = Bench(critic, pairs, settings, progress)
            del critic
            made.append(bench)
            yield bench
            bench.release()

    try:
        yield each()
    finally:
        for bench in made:
            bench.close()


@dataclass
class Run:
    """What a run leaves beside what its measurements took.

    Attributes:
        settings: How text became a score.
        benches: One a critic, in order; released where their critic was.
        data: The pairs' hash.
        records: What identifies each critic.
        of_each: The notices of each critic, in order.
        input: The first pair exactly as the first critic is fed it; see `encoding.shown_input`.
    """

    settings: Settings
    benches: list[Bench]
    data: str
    records: list[CriticRecord]
    of_each: list[list[Notice]]
    input: dict[str, Any]

    @property
    def notices(self) -> list[Notice]:
        """What was told of each critic in turn, each once."""
        return list({(n.code, n.message, *n.ids): n for notices in self.of_each for n in notices}.values())

    def signature(self, **more: Any) -> Signature:
        """Everything that determined the figures; see `signature`."""
        return cast(Signature, {**signature(self.settings, self.data, self.records), **more})


def run(benches: Iterable[Bench], measures: Sequence[Measure]) -> Run:
    """THE loop: each critic scores what all measurements ask of each pair.

    Args:
        benches: One a critic, on the same pairs with the same settings.
        measures: Told of every pair; what they found is theirs to give.

    Raises:
        CriticProbeError: A pair cannot be scored honestly.
    """
    gone: list[Bench] = []
    records, notices = [], []
    for bench in benches:
        bench.admit()
        bench.measure(measures)
        records.append(bench.record())
        notices.append(bench.notices())
        gone.append(bench)
    first = gone[0]
    shown = shown_input(first.survey.sample[0], first.encoder)
    return Run(first.settings, gone, hash_of(first.pairs), records, notices, shown)
