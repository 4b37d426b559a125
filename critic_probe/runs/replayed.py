"""What a checkpoint gives for logged responses under every factor: what a run's scores are held against.

One class, longer than others: each factor is a path through feeding, reading, head and map, and all share what was
computed for the others.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from critic_probe import tolerance
from critic_probe.aggregation import Aggregation, aggregate
from critic_probe.checkpoint import Critic
from critic_probe.encoding import EncodedResponse, Encoder
from critic_probe.runs.faults import EDITS, FAULTS, LOOSE, Edits, Fed, Ids, Stage, Told, Version, Window, windows
from critic_probe.runs.faults import read_outs as other_read_outs
from critic_probe.serving.expected import Expected, Level, fitted, logit
from critic_probe.stats.explain import Bools, Floats, Hypothesis, Prediction
from critic_probe.workbench.scores import last_read

_GLANCE = 8  # samples by which versions are dropped that bring no half of them together
_LINEAR = ("last", "mean", "sum", "tail", "ema", "mix", "last+eos", "mean+eos")  # in the values


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


class Replayed(Expected[Told]):
    """What a checkpoint gives for logged responses under every factor.

    Args:
        critic: The checkpoint, in float32.
        samples: What was logged.
        encoder: The checkpoint's.
        read_out: How training read scores.
        position: `at` the token, or `before` it.
        dtype: What the scores should be computed in.
        rounding: (N,), how far writing a score down moved it at most.

    Attributes:
        others: Other checkpoints that may have scored the same, by name.
    """

    def __init__(
        self,
        critic: Critic,
        samples: Sequence[Told],
        encoder: Encoder,
        read_out: Aggregation,
        position: str,
        dtype: str,
        rounding: Floats,
    ) -> None:
        self.read_out, self._before = read_out, int(position == "before")
        super().__init__(critic, samples, dtype)
        self.rounding = rounding
        self.others: Mapping[str, Replayed] = {}
        self._edits = Edits(critic.tokenizer, encoder, critic.eos_ids, samples)
        self._fed: dict[tuple[tuple[Stage, str], ...], list[Version]] = {}
        self._ways_of: dict[tuple[tuple[Stage, str], ...], list[Way]] = {}
        self._glances: dict[tuple[tuple[tuple[Stage, str], ...], int], Floats] = {}
        self._scored: dict[tuple[tuple[tuple[Stage, str], ...], int], Floats] = {}

    def scores_by(self, critic: Critic) -> Floats:
        """The scores (N,) that a loaded form of the checkpoint gives with nothing done to them."""
        feds = [sample.fed for sample in self.samples]
        return self.scores_of(feds, None if critic is self.critic else critic)

    def scores_of(self, feds: Sequence[Fed], critic: Critic | None = None) -> Floats:
        """The scores of what is fed, by the checkpoint or another form of it."""
        values = [self._values(f) if critic is None else critic.values(f.ids).double().numpy() for f in feds]
        [scores] = self._read_by(feds, values, Window(""), [self.read_out])
        return np.asarray(scores)

    @property
    def limits(self) -> Floats:
        """(N,), how far a logged score may be from the checkpoint's."""
        return self.agreed.floor + self.rounding

    # Tiers

    def tiers(self, observed: Floats) -> Iterator[list[Hypothesis]]:
        """Hypotheses in rising order of how much they ask for, for `stats.explain`."""
        own, agreed = self.own, self.agreed
        exact = [name for name in self.factors if name not in LOOSE]
        loose = [name for name in self.factors if name in LOOSE]
        for level in dict.fromkeys((own, agreed)):
            yield [self.hypothesis((), level, observed)]
            yield [self.hypothesis((name,), level, observed) for name in exact]
            for name in loose:
                yield [self.hypothesis((name,), level, observed)]
        yield [self.in_type(level, scores, self.rounding) for level, scores in self.coarser]
        if self.fresh_head(observed):  # no pair explains it better
            return
        for level in dict.fromkeys((own, agreed)):
            yield [self.hypothesis(pair, level, observed) for pair in _apart(exact)]
            for name in loose:
                pairs = [(other, name) for other in exact if self._joins(other, name)]
                yield [self.hypothesis(pair, level, observed) for pair in pairs]
        yield [
            self.hypothesis((name, f"dtype-{level.dtype}"), level, observed)
            for level, _ in self.coarser
            for name in exact
        ]

    def _joins(self, name: str, loose: str) -> bool:
        """Whether a factor is tried with one that is fitted: a head only where the states are of one way of feeding."""
        stage = FAULTS[name].stage
        alone = loose != "other-head" or len(self._ways({stage: name})) == 1
        return alone and stage not in (FAULTS[loose].stage, "step")

    @cached_property
    def factors(self) -> list[str]:
        """The factors that can act on these samples, without types."""
        given = [sample.fed for sample in self.samples]
        edits = [
            name
            for name, fault in FAULTS.items()
            if fault.stage in EDITS and any(list(feds) != given for _, feds in self._edits.versions(name, given))
        ]
        reads = ["token-at" if self._before else "token-before", "window-shifted", "prompt-read", "read-out"]
        maps = ["divided-by-length", "divided-twice", "z-scored", "sigmoid"]
        maps += ["not-normalised"] if self.critic.head.normalisation else []
        heads = ["other-head"] if self.can_fit_heads else []
        return [*edits, *reads, *maps, *(["other-checkpoint"] if self.others else []), "scaled", *heads]

    @property
    def can_fit_heads(self) -> bool:
        """Whether half of the samples settles a head: more than its weights and its bias."""
        return self.read_out.kind in _LINEAR and len(self.samples) > 2 * (self.width + 2)

    def moves(self, name: str, level: Level, observed: Floats) -> bool:
        """Whether a factor moves any score by more than the floor, in one version; a few samples are asked first."""
        by_stage = {FAULTS[name].stage: name}
        ways = self._ways(by_stage)
        few = self._few(_GLANCE)
        for chosen in (few, np.arange(len(observed))):
            values_of = self._glanced if chosen is few else self._each
            shown = np.ones(len(chosen), dtype=bool)
            for way in ways:
                some = way._replace(feds=[way.feds[i] for i in chosen])
                rows = self._read_by(some.feds, values_of(some.feds), way.window, [way.read_out])
                mapped = self._mapped(by_stage.get("map"), [some], rows, level, observed[chosen], shown, chosen)
                if (np.abs(mapped.values - self.expected[chosen]) > mapped.floors).any():
                    return True
        return False

    def hypothesis(self, names: tuple[str, ...], level: Level, observed: Floats) -> Hypothesis:
        """What would have been logged under some factors, of different stages.

        Args:
            names: The factors.
            level: How exactly it was computed.
            observed: The scores.
        """
        by_stage = {FAULTS[name].stage: name for name in names if not name.startswith("dtype-")}
        hopeful: list[list[int]] = []  # settled once, whichever samples are shown

        def predict(shown: Bools) -> Prediction:
            if "step" in by_stage:
                rest = tuple(name for name in names if FAULTS[name].stage != "step")
                each = {n: o.hypothesis(rest, level, observed).predict(shown) for n, o in self.others.items()}
                return Prediction(
                    np.concatenate([p.values for p in each.values()]),
                    np.concatenate([np.broadcast_to(p.floors, p.values.shape) for p in each.values()]),
                    [", ".join(part for part in (n, label) if part) for n, p in each.items() for label in p.labels],
                )
            if "head" in by_stage:
                return self._with_head(by_stage, level, observed, shown)
            ways = self._ways(by_stage)
            if not hopeful:
                hopeful.append(self._hopeful(ways, by_stage, level, observed) if len(ways) * len(names) > 1 else [0])
            [kept] = hopeful
            if not kept:  # none comes near: nothing is computed for the other samples
                nowhere = np.full((1, len(observed)), np.nan)
                return Prediction(nowhere, np.zeros_like(nowhere))
            rows = np.stack([self._scores(ways, number, by_stage) for number in kept])
            return self._mapped(by_stage.get("map"), [ways[number] for number in kept], rows, level, observed, shown)

        return Hypothesis(names, predict)

    # Ways

    def _ways(self, by_stage: Mapping[Stage, str]) -> list[Way]:
        """Every way of feeding and reading under some factors."""
        key = _key(by_stage, (*EDITS, "window", "read"))
        if key not in self._ways_of:
            self._ways_of[key] = list(self._made(by_stage))
        return self._ways_of[key]

    def _made(self, by_stage: Mapping[Stage, str]) -> Iterator[Way]:
        read_outs = other_read_outs(self.read_out) if "read" in by_stage else [self.read_out]
        for label, feds in self._versions(by_stage):
            for window in windows(by_stage.get("window")):
                for read_out in read_outs:
                    parts = (label, window.label, read_out.name if "read" in by_stage else "")
                    yield Way(", ".join(part for part in parts if part), feds, window, read_out)

    def _versions(self, by_stage: Mapping[Stage, str]) -> list[Version]:
        """What the critic was fed, in one or several versions."""
        acting = _key(by_stage, EDITS)
        if acting not in self._fed:
            made: list[Version] = [("", [sample.fed for sample in self.samples])]
            for stage in EDITS:
                if stage in by_stage:
                    made = [
                        (", ".join(part for part in (label, more) if part), then)
                        for label, feds in made
                        for more, then in self._edits.versions(by_stage[stage], feds)
                    ]
            self._fed[acting] = made
        return self._fed[acting]

    def _hopeful(self, ways: Sequence[Way], by_stage: Mapping[Stage, str], level: Level, observed: Floats) -> list[int]:
        """The ways that bring half of a few samples together; of one factor at least the way that comes nearest."""
        name = by_stage.get("map")
        few = self._few(2 * _GLANCE if name == "z-scored" else _GLANCE)
        rows = self._glance(ways, few, by_stage)
        some = [way._replace(feds=[way.feds[i] for i in few]) for way in ways]
        if name == "z-scored":  # is a line over each side, whatever else it is over
            sides = np.array([self.samples[i].side for i in few])
            apart, within = np.empty_like(rows), np.empty(rows.shape, dtype=bool)
            for side in np.unique(sides):
                own = sides == side
                shown = np.ones(own.sum(), dtype=bool)
                line = self._mapped("scaled", some, rows[:, own], level, observed[few[own]], shown, few[own])
                apart[:, own] = np.abs(line.values - observed[few[own]])
                within[:, own] = apart[:, own] <= line.floors
        else:
            shown = np.ones(len(few), dtype=bool)
            prediction = self._mapped(name, some, rows, level, observed[few], shown, few)
            apart = np.abs(prediction.values - observed[few])
            within = apart <= prediction.floors
        versions = len(apart) // len(ways)  # a map may have several
        share = within.mean(axis=1).reshape(versions, -1).max(axis=0)
        if (share >= 0.5).any():
            return [int(i) for i in np.flatnonzero(share >= 0.5)]
        if len(by_stage) > 1:
            return []
        nearest = np.nan_to_num(np.median(apart, axis=1), nan=np.inf).reshape(versions, -1).min(axis=0)
        return [int(np.argmin(nearest))]

    def _glance(self, ways: Sequence[Way], few: NDArray[np.intp], by_stage: Mapping[Stage, str]) -> Floats:
        """The scores (C, n) of a few samples under each way, computed once."""
        key = (_key(by_stage, (*EDITS, "window", "read")), len(few))
        if key not in self._glances:
            rows = np.empty((len(ways), len(few)))
            together: dict[tuple[int, Window], list[int]] = {}
            for number, way in enumerate(ways):
                together.setdefault((id(way.feds), way.window), []).append(number)
            for numbers in together.values():
                first = ways[numbers[0]]
                feds = [first.feds[i] for i in few]
                read_outs = [ways[number].read_out for number in numbers]
                rows[numbers] = self._read_by(feds, self._glanced(feds), first.window, read_outs)
            self._glances[key] = rows
        return self._glances[key]

    def _few(self, count: int) -> NDArray[np.intp]:
        """Indices of a few samples, spread over all."""
        return np.linspace(0, len(self.samples) - 1, min(count, len(self.samples))).astype(np.intp)

    def _scores(self, ways: Sequence[Way], number: int, by_stage: Mapping[Stage, str]) -> Floats:
        """The scores (N,) under one way, computed once."""
        key = (_key(by_stage, (*EDITS, "window", "read")), number)
        if key not in self._scored:
            way = ways[number]
            values = [self._values(fed) for fed in way.feds]
            self._scored[key] = self._read_by(way.feds, values, way.window, [way.read_out])[0]
        return self._scored[key]

    def _values(self, fed: Fed) -> Floats:
        """The values (T,) of what is fed; a response's end costs nothing where a longer one was computed."""
        if fed.first:
            key = (fed.ids, fed.first)
            if key not in self._moved:
                ids = torch.tensor([fed.ids], dtype=torch.long)
                positions = torch.arange(fed.first, fed.first + ids.shape[1])[None]
                self._moved[key] = self.critic.batch_values(ids, position_ids=positions)[0].double().numpy()
            return self._moved[key]
        return self.reading(fed.ids).values

    def _each(self, feds: Sequence[Fed]) -> list[Floats]:
        return [self._values(fed) for fed in feds]

    def _glanced(self, feds: Sequence[Fed]) -> list[Floats]:
        """The values (T,) of a few, in one batch: what pads it stands behind, where no value sees it."""
        key = tuple((fed.ids, fed.first) for fed in feds)
        if key not in self._batches:
            longest = max(len(fed.ids) for fed in feds)
            ids = torch.tensor([fed.ids + (fed.ids[-1],) * (longest - len(fed.ids)) for fed in feds])
            moved = {}
            if any(fed.first for fed in feds):
                moved = {"position_ids": torch.stack([torch.arange(f.first, f.first + longest) for f in feds])}
            rows = self.critic.batch_values(ids, **moved).double().numpy()
            self._batches[key] = [row[: len(fed.ids)] for row, fed in zip(rows, feds, strict=True)]
        return self._batches[key]

    @cached_property
    def _batches(self) -> dict[tuple[tuple[Ids, int], ...], list[Floats]]:
        return {}

    @cached_property
    def _moved(self) -> dict[tuple[Ids, int], Floats]:
        return {}

    def _read_by(
        self, feds: Sequence[Fed], values: Sequence[Floats], window: Window, read_outs: Sequence[Aggregation]
    ) -> Floats:
        """The scores (C, N) of what is fed under read-outs; NaN where the window holds nothing."""
        rows, left_out, last = [], [], []
        for fed, row in zip(feds, values, strict=True):
            row = row[: len(row) - len(fed.gone)]
            own, response = len(fed.prompt), fed.response
            more = own if window.more is None else min(window.more, own)
            start = own - more + fed.slid + window.slid - self._before
            stop = own + len(response.ids) + fed.slid + window.slid - self._before
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

    # Maps

    def _mapped(
        self,
        name: str | None,
        ways: Sequence[Way],
        values: Floats,
        level: Level,
        observed: Floats,
        shown: Bools,
        which: NDArray[np.intp] | None = None,
    ) -> Prediction:
        """Scores (C, N) under a map, with its versions behind each other; the floors hold for what was written down.

        Args:
            name: The map.
            ways: C of them.
            values: Their scores before it.
            level: How exactly they were computed.
            observed: (N,), the scores.
            shown: (N,), which of them may be looked at.
            which: Of all samples the N; None for all.
        """
        which = np.arange(len(self.samples)) if which is None else which
        rounding = self.rounding[which]
        scale = np.maximum(1.0, np.nanmax(np.abs(values), axis=1, initial=0.0)) / max(1.0, self.largest)
        floors = level.floor * scale[:, None] + np.zeros_like(values)
        labels = [way.label for way in ways]

        def versions(*each: tuple[str, Floats, Floats]) -> Prediction:
            named = [", ".join(part for part in (label, more) if part) for more, _, _ in each for label in labels]
            rows, limits = (np.concatenate([part[i] for part in each]) for i in (1, 2))
            usual = level.typical * float(np.median(limits) / level.floor) + float(np.median(rounding))
            return Prediction(rows, limits + rounding, named, typical=usual)

        match name:
            case "divided-by-length" | "divided-twice":
                power = 2 if name == "divided-twice" else 1
                whole = np.array([[len(fed.response.ids) for fed in way.feds] for way in ways], dtype=float)
                read = np.array([[max(1, sum(fed.response.without_eos)) for fed in way.feds] for way in ways], float)
                of_closing = [("EOS counted", whole)] if (whole != read).any() else []
                each = [("", read), *of_closing]
                return versions(*((label, values / n**power, floors / n**power) for label, n in each))
            case "z-scored":
                return versions(*self._centred(values, floors, [self.samples[i] for i in which]))
            case "sigmoid":
                mapped = 1 / (1 + np.exp(-np.clip(values, -700, 700)))
                return versions(("", mapped, floors * mapped * (1 - mapped) + tolerance.eps(level.dtype) * mapped))
            case "not-normalised":
                assert self.critic.head.normalisation is not None
                mean, std = self.critic.head.normalisation
                return versions(("", values * std + mean, floors * std))
            case "scaled":
                known = np.nan_to_num(values)
                fits = [fitted(np.column_stack([row, np.ones(len(row))]), observed, shown) for row in known]
                size = [abs(scale_of(row[shown], observed[shown])[0]) for row in known]
                limits = np.concatenate(
                    [(a * f + rounding) * reach for a, f, (_, reach) in zip(size, floors, fits, strict=True)]
                )
                return Prediction(np.concatenate([fit for fit, _ in fits]), limits, labels)
        return versions(("", values, floors))

    def _centred(self, values: Floats, floors: Floats, samples: Sequence[Told]) -> Iterator[tuple[str, Floats, Floats]]:
        """Scores less their mean and over their SD, in each of the groups in which that is done."""
        sides = np.array([sample.side for sample in samples])
        steps = np.array([sample.step for sample in samples])
        prompts = np.array([sample.prompt for sample in samples])
        groupings = {
            "over all": [np.ones(len(sides), dtype=bool)],
            "a prompt": [prompts == p for p in np.unique(prompts)],
        }
        if len(np.unique(steps)) > 1:
            groupings["a step"] = [steps == step for step in np.unique(steps)]
        if len(np.unique(sides)) > 1:
            groupings["a side"] = [sides == side for side in np.unique(sides)]
            if len(np.unique(steps)) > 1:
                groupings["a side and step"] = [
                    (sides == side) & (steps == step) for side in np.unique(sides) for step in np.unique(steps)
                ]
        for label, groups in groupings.items():
            for ddof, kind in ((1, ""), (0, " (of the population)")):
                if any(group.sum() <= ddof for group in groups):
                    continue
                centred, limits = np.empty_like(values), np.empty_like(floors)
                for group in groups:
                    part = values[:, group]
                    with np.errstate(divide="ignore", invalid="ignore"):
                        sd = part.std(axis=1, ddof=ddof, keepdims=True)
                        centred[:, group] = (part - part.mean(axis=1, keepdims=True)) / sd
                        limits[:, group] = 2 * floors[:, group] / sd
                yield label + kind, centred, limits

    # Heads

    def _with_head(self, by_stage: Mapping[Stage, str], level: Level, observed: Floats, shown: Bools) -> Prediction:
        """The scores of the linear head that fits those that are shown."""
        scores = logit(observed) if by_stage.get("map") == "sigmoid" else observed
        values, floors, labels = [], [], []
        share = level.floor / max(1.0, self.largest) * max(1.0, float(np.abs(scores).max()))
        for way in self._ways(by_stage):
            if way.read_out.kind not in _LINEAR:
                continue
            states, ones = self.states(way)
            fit, reach = fitted(np.column_stack([states, ones]), scores, shown)
            values.append(fit)
            floors.append((share + self.rounding) * reach)
            labels.append(way.label)
        rows, limits = np.concatenate(values), np.concatenate(floors)
        if by_stage.get("map") == "sigmoid":
            rows = 1 / (1 + np.exp(-np.clip(rows, -700, 700)))
            limits = limits * rows * (1 - rows)
        return Prediction(rows, limits, labels)

    def states(self, way: Way) -> tuple[Floats, Floats]:
        """What a head is given where it is read by a linear read-out: states (N, H) and by what a bias enters (N,)."""
        key = tuple(fed.ids for fed in way.feds), way.window, way.read_out
        if key not in self._states:
            states, ones = [], []
            for fed in way.feds:
                values, hidden = self._hidden(fed.ids)
                weights = self._weights(fed, len(values), way)
                states.append(weights @ hidden)
                ones.append(weights.sum())
            self._states[key] = np.stack(states), np.array(ones)
        return self._states[key]

    @cached_property
    def _states(self) -> dict[tuple[tuple[Ids, ...], Window, Aggregation], tuple[Floats, Floats]]:
        return {}

    def fresh_head(self, observed: Floats) -> str | None:
        """The initialisation whose heads give such scores; None where none does: see `drawn_head`."""
        if self.read_out.kind not in _LINEAR or self.critic.head.normalisation is not None:
            return None
        states, ones = self._given
        return self.drawn_head(states, observed, ones, float(self.rounding.max()))

    def head_dropout(self, observed: Floats) -> float | None:
        """The share of the head's input that dropout may have taken away; None where differences are none of its.

        Dropout of p before a linear head moves a score sum_t w_t u'h_t by a mean of 0 and a variance of p / (1 - p) V
        with V = sum_t w_t^2 sum_j (u_j h_tj)^2, nearly normally. p is estimated on half of the responses; on the others
        the squares must then sum as the F distribution says and the values be normal (Kolmogorov-Smirnov), both at 1 %;
        and over all V must explain the differences better than one variance does.
        """
        from scipy import stats

        head = self.critic.head
        if self.read_out.kind not in _LINEAR or len(head.weights) > 1 or len(observed) < 2 * _GLANCE:
            return None
        [way] = self._ways({})
        weight = head.weights[0][0].double().numpy()
        expected = []
        for fed in way.feds:
            values, hidden = self._hidden(fed.ids)
            weights = self._weights(fed, len(values), way)
            expected.append((weights**2) @ ((hidden * weight) ** 2).sum(axis=1))
        scale = 1.0 if head.normalisation is None else head.normalisation[1] ** 2
        ratio = (observed - self.expected) ** 2 / (np.array(expected) / scale)
        chosen, held = ratio[::2], ratio[1::2]
        odds = float(chosen.mean())
        signed = np.sign(observed - self.expected)[1::2] * np.sqrt(held / odds)
        tail = float(stats.f.cdf(held.mean() / odds, len(held), len(chosen)))
        rest = (observed - self.expected) ** 2
        gain = np.log(rest.mean()) - np.log(np.array(expected)).mean() - np.log((rest / np.array(expected)).mean())
        if 2 * min(tail, 1 - tail) < 0.01 or stats.kstest(signed, "norm").pvalue < 0.01 or gain <= 0:
            return None
        odds = float(ratio.mean())
        return odds / (1 + odds)

    @cached_property
    def _given(self) -> tuple[Floats, Floats]:
        [way] = self._ways({})
        return self.states(way)

    def _hidden(self, ids: Ids) -> tuple[Floats, Floats]:
        """Values (T,) and states (T, H)."""
        with torch.inference_mode():
            values, states = self.critic.with_states(torch.tensor([ids], dtype=torch.long))
        return values[0].double().numpy(), states[0].double().cpu().numpy()

    def _weights(self, fed: Fed, length: int, way: Way) -> Floats:
        """By what each token's value (T,) enters the score under a linear read-out."""
        units = np.eye(length)
        [weights] = self._read_by([fed] * length, list(units), way.window, [way.read_out])
        return np.asarray(weights)


@lru_cache(maxsize=1 << 16)
def _last_read(response: EncodedResponse) -> int:
    return last_read(response)


def scale_of(values: Floats, observed: Floats) -> tuple[float, float]:
    """Slope and intercept of the least squares line from values to what was observed."""
    slope, intercept = np.polyfit(values, observed, 1) if np.ptp(values) else (0.0, float(observed.mean()))
    return float(slope), float(intercept)


def _key(by_stage: Mapping[Stage, str], stages: Sequence[Stage]) -> tuple[tuple[Stage, str], ...]:
    return tuple((stage, by_stage[stage]) for stage in stages if stage in by_stage)


def _apart(names: Sequence[str]) -> list[tuple[str, str]]:
    """Every two factors of different stages."""
    return [pair for pair in combinations(names, 2) if FAULTS[pair[0]].stage != FAULTS[pair[1]].stage]
