"""Every way in which responses may have been fed and read, and the scores of what was."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from critic_probe.aggregation import Aggregation, aggregate
from critic_probe.encoding import EncodedResponse
from critic_probe.runs.faults import EDITS, Edits, Fed, Stage, Version, Window, windows
from critic_probe.runs.faults import read_outs as other_read_outs
from critic_probe.stats.explain import Floats
from critic_probe.workbench.scores import last_read

LINEAR = ("last", "mean", "sum", "tail", "ema", "mix", "last+eos", "mean+eos")
"""The read-outs that are linear in the values."""

ByStage = Mapping[Stage, str]
"""Factors by the stage that each acts at."""

Key = tuple[tuple[Stage, str], ...]


class Way(NamedTuple):
    """One way of feeding and reading all samples.

    Attributes:
        label: Of its versions.
        feds: What is fed, a sample each.
        window: Which values are read.
        read_out: How.
    """

    label: str
    feds: Sequence[Fed]
    window: Window
    read_out: Aggregation


class Ways:
    """Every way of feeding and reading samples.

    Args:
        edits: What may have been done to what was fed.
        given: What training fed, a sample each.
        read_out: How training read it.
        before: How many tokens before its own a value is read.
    """

    def __init__(self, edits: Edits, given: Sequence[Fed], read_out: Aggregation, before: int) -> None:
        self.edits, self.given, self.read_out, self.before = edits, given, read_out, before
        self._fed: dict[Key, list[Version]] = {}
        self._ways: dict[Key, list[Way]] = {}

    def under(self, by_stage: ByStage) -> list[Way]:
        """Every way under some factors."""
        key = ways_key(by_stage)
        if key not in self._ways:
            self._ways[key] = list(self._made(by_stage))
        return self._ways[key]

    def _made(self, by_stage: ByStage) -> Iterator[Way]:
        read_outs = other_read_outs(self.read_out) if "read" in by_stage else [self.read_out]
        for label, feds in self._versions(by_stage):
            for window in windows(by_stage.get("window")):
                for read_out in read_outs:
                    parts = (label, window.label, read_out.name if "read" in by_stage else "")
                    yield Way(", ".join(part for part in parts if part), feds, window, read_out)

    def _versions(self, by_stage: ByStage) -> list[Version]:
        """What the critic was fed, in one or several versions."""
        acting = _key(by_stage, EDITS)
        if acting not in self._fed:
            made = self._edited(acting)
            if by_stage.get("cut") in ("cut-end", "cut-start") and "pad" in by_stage:  # padding may count as well
                made += self._edited(_key(by_stage, (*EDITS[:-2], "pad", "cut")))
            self._fed[acting] = made
        return self._fed[acting]

    def _edited(self, names: Key) -> list[Version]:
        """What factors make of what was given, one after another."""
        made: list[Version] = [("", list(self.given))]
        for _, name in names:
            made = [
                (", ".join(part for part in (label, more) if part), then)
                for label, feds in made
                for more, then in self.edits.versions(name, feds)
            ]
        return made

    def read(
        self, feds: Sequence[Fed], values: Sequence[Floats], window: Window, read_outs: Sequence[Aggregation]
    ) -> Floats:
        """The scores (C, N) of what is fed under read-outs; NaN where the window holds nothing."""
        rows, left_out, last = [], [], []
        for fed, row in zip(feds, values, strict=True):
            row = row[: len(row) - len(fed.gone)]
            own, response = len(fed.prompt), fed.response
            more = own if window.more is None else min(window.more, own)
            start = own - more + fed.slid + window.slid - self.before
            stop = own + len(response.ids) + fed.slid + window.slid - self.before
            before = max(0, -start)
            taken = row[max(0, start) : max(0, stop)]
            flags = ((False,) * more + response.left_out)[before : before + len(taken)]
            rows.append(torch.from_numpy(taken.astype(np.float64)))
            left_out.append(torch.tensor(flags, dtype=torch.bool))
            last.append(min(max(_last_read(response) + more - before, 0), len(taken) - 1))
        empty = np.array([not len(row) for row in rows])
        rows = [row if len(row) else torch.zeros(1, dtype=torch.float64) for row in rows]
        left_out = [flags if len(flags) else torch.zeros(1, dtype=torch.bool) for flags in left_out]
        pad = torch.nn.utils.rnn.pad_sequence
        padded, out = pad(rows, batch_first=True), pad(left_out, batch_first=True)
        mask = pad([torch.ones(len(row)) for row in rows], batch_first=True)
        at_last = padded.gather(1, torch.tensor(last).clamp(min=0)[:, None])[:, 0]
        scores = []
        for read_out in read_outs:
            if read_out.kind == "last":
                score = at_last
            elif read_out.kind == "mix":
                share = read_out.parameter
                score = (1 - share) * aggregate("mean", padded, mask, eos=out) + share * at_last
            else:
                score = aggregate(read_out, padded, mask, eos=out)
            scores.append(np.where(empty, np.nan, score.numpy()))
        return np.stack(scores)

    def weights(self, fed: Fed, length: int, way: Way) -> Floats:
        """By what each token's value (T,) enters the score under a linear read-out."""
        units = np.eye(length)
        [weights] = self.read([fed] * length, list(units), way.window, [way.read_out])
        return np.asarray(weights)


@lru_cache(maxsize=1 << 16)
def _last_read(response: EncodedResponse) -> int:
    return last_read(response)


def ways_key(by_stage: ByStage) -> Key:
    """Equal for factors under which the same is fed and read."""
    return _key(by_stage, (*EDITS, "window", "read"))


def _key(by_stage: ByStage, stages: Sequence[Stage]) -> Key:
    return tuple((stage, by_stage[stage]) for stage in stages if stage in by_stage)
