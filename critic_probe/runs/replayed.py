"""What a checkpoint gives for logged responses under every factor: what a run's scores are held against.

One class, longer than others: exact and half-precision scores, glances and heads share what was computed for each.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray

from critic_probe.aggregation import Aggregation
from critic_probe.checkpoint import Critic
from critic_probe.encoding import Encoder
from critic_probe.runs.faults import EDITS, FAULTS, LOOSE, Edits, Fed, Ids, Told, Window
from critic_probe.runs.maps import Logged, mapped
from critic_probe.runs.ways import LINEAR, ByStage, Key, Way, Ways, ways_key
from critic_probe.serving.expected import Expected, Level, fitted, logit, sigmoid
from critic_probe.stats.explain import Bools, Floats, Hypothesis, Prediction

_GLANCE = 8  # samples by which versions are dropped that bring no half of them together


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
        self.read_out = read_out
        self._edits = Edits(critic.tokenizer, encoder, critic.eos_ids, samples)
        self._ways = Ways(self._edits, [sample.fed for sample in samples], read_out, int(position == "before"))
        self._values_of: dict[tuple[str, Ids, int], Floats] = {}
        self._batches: dict[tuple[tuple[Ids, int], ...], list[Floats]] = {}
        self._glances: dict[tuple[Key, int], Floats] = {}
        self._scored: dict[tuple[Key, int, str], Floats] = {}
        self._states: dict[tuple[tuple[Ids, ...], Window, Aggregation], tuple[Floats, Floats]] = {}
        super().__init__(critic, samples, dtype)
        self.rounding = rounding
        self.others: Mapping[str, Replayed] = {}

    def scores_by(self, critic: Critic) -> Floats:
        """The scores (N,) that a loaded form of the checkpoint gives with nothing done to them."""
        feds = [sample.fed for sample in self.samples]
        if critic is self.critic:
            return self.scores_of(feds)
        return self._as_trained(feds, [critic.values(fed.ids).double().numpy() for fed in feds])

    def scores_of(self, feds: Sequence[Fed]) -> Floats:
        """The scores of what is fed, by the checkpoint."""
        return self._as_trained(feds, [self._values(fed) for fed in feds])

    def _as_trained(self, feds: Sequence[Fed], values: Sequence[Floats]) -> Floats:
        [scores] = self._ways.read(feds, values, Window(""), [self.read_out])
        return np.asarray(scores)

    @property
    def limits(self) -> Floats:
        """(N,), how far a logged score may be from the checkpoint's."""
        return self.agreed.floor + self.rounding

    # Tiers

    def tiers(self, observed: Floats) -> Iterator[list[Hypothesis]]:
        """Hypotheses in rising order of how much they ask for, for `stats.explain`."""
        exact = [name for name in self.factors if name not in LOOSE]
        for level in self.levels:
            yield [self.hypothesis((), level, observed)]
            yield [self.hypothesis((name,), level, observed) for name in exact]
            for name in self._loose(level):
                yield [self.hypothesis((name,), level, observed)]
        yield [self.hypothesis((f"dtype-{level.dtype}",), level, observed) for level in self.coarser_here]
        yield [self.in_type(level, scores, self.rounding) for level, scores in self.coarser]
        if self.fresh_head(observed):  # no pair explains it better
            return
        for level in self.levels:
            yield [self.hypothesis(pair, level, observed) for pair in _apart(exact)]
            for name in self._loose(level):
                pairs = [(other, name) for other in exact if self._joins(other, name)]
                yield [self.hypothesis(pair, level, observed) for pair in pairs]
        for level in (*self.coarser_here, *(level for level, _ in self.coarser)):
            yield [self.hypothesis((name, f"dtype-{level.dtype}"), level, observed) for name in exact]

    @cached_property
    def levels(self) -> list[Level]:
        """How exactly the scores may have been computed, from the sharpest on."""
        if self.agreed == self.own:
            return [self.own]
        return [self.own, self._here(self.agreed.dtype), self.agreed]

    @cached_property
    def coarser_here(self) -> list[Level]:
        """Types that are coarser than the agreed one, as they are computed here."""
        return [self._here(level.dtype) for level, scores in self.coarser if np.isfinite(scores).all()]

    def _here(self, dtype: str) -> Level:
        return Level(dtype, self.own.floor, here=True)

    def _loose(self, level: Level) -> list[str]:
        """The factors that are fitted; a head to exact states alone."""
        return [name for name in self.factors if name in LOOSE and not (level.here and name == "other-head")]

    def _joins(self, name: str, loose: str) -> bool:
        """Whether a factor is tried with one that is fitted: a head only where the states are of one way of feeding."""
        stage = FAULTS[name].stage
        alone = loose != "other-head" or len(self._ways.under({stage: name})) == 1
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
        reads = ["token-at" if self._ways.before else "token-before", "window-shifted", "prompt-read", "read-out"]
        maps = ["divided-by-length", "divided-twice", "z-scored", "sigmoid"]
        maps += ["not-normalised"] if self.critic.head.normalisation else []
        heads = ["other-head"] if self.can_fit_heads else []
        return [*edits, *reads, *maps, *(["other-checkpoint"] if self.others else []), "scaled", *heads]

    @property
    def can_fit_heads(self) -> bool:
        """Whether half of the samples settles a head: more than its weights and its bias."""
        return self.read_out.kind in LINEAR and len(self.samples) > self.enough_for_heads

    def moves(self, name: str, level: Level, observed: Floats) -> bool:
        """Whether a factor moves any score by more than the floor, in one version; a few samples are asked first."""
        by_stage = {FAULTS[name].stage: name}
        few, every = self._few(_GLANCE), np.arange(len(observed))
        for chosen, values_of in ((few, self._glanced), (every, self._each)):
            logged = self._logged(observed).some(chosen)
            for way in self._ways.under(by_stage):
                some = way._replace(feds=[way.feds[i] for i in chosen])
                rows = self._ways.read(some.feds, values_of(some.feds), way.window, [way.read_out])
                prediction = self._mapped(by_stage, [some], rows, logged, level)
                if (np.abs(prediction.values - self.expected[chosen]) > prediction.floors).any():
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
            ways = self._ways.under(by_stage)
            if not hopeful:
                hopeful.append(self._hopeful(ways, by_stage, level, observed) if len(ways) * len(names) > 1 else [0])
            [kept] = hopeful
            if not kept:  # none comes near: nothing is computed for the other samples
                nowhere = np.full((1, len(observed)), np.nan)
                return Prediction(nowhere, np.zeros_like(nowhere))
            logged = self._logged(observed)._replace(shown=shown)
            some = [ways[number] for number in kept]
            dtype = level.dtype if level.here else "float32"
            rows = np.stack([self._scores(ways, number, by_stage, dtype) for number in kept])
            prediction = self._mapped(by_stage, some, rows, logged, level)
            if not level.here:
                return prediction
            said = [
                ", ".join(part for part in (label, f"as {dtype} computes here") if part) for label in prediction.labels
            ]
            prediction = prediction._replace(labels=said)
            if f"dtype-{dtype}" in names:
                return prediction
            rows = np.stack([self._scores(ways, number, by_stage) for number in kept])
            exact = self._mapped(by_stage, some, rows, logged._replace(rounding=0 * self.rounding), self.own)
            moved = np.abs(exact.values - self.expected) > exact.floors  # and not by how a half type rounds alone
            return prediction._replace(seen=np.where(moved, 0.0, np.inf))

        return Hypothesis(names, predict)

    def _logged(self, observed: Floats) -> Logged:
        return Logged(self.samples, observed, self.rounding, np.ones(len(observed), dtype=bool))

    def _mapped(self, by_stage: ByStage, ways: Sequence[Way], rows: Floats, logged: Logged, level: Level) -> Prediction:
        return mapped(by_stage.get("map"), ways, rows, logged, level, self.largest, self.critic.head.normalisation)

    def _hopeful(self, ways: Sequence[Way], by_stage: ByStage, level: Level, observed: Floats) -> list[int]:
        """The ways that bring half of a few samples together; of one factor at least the way that comes nearest.

        In half precision too the few are scored exactly: half of them are then within twice what half of all are.
        """
        if level.here:
            exact = (self.agreed, *(each for each, _ in self.coarser))
            level = next((each for each in exact if each.dtype == level.dtype), self.agreed)
        z_scored = by_stage.get("map") == "z-scored"
        few = self._few(2 * _GLANCE if z_scored else _GLANCE)
        rows = self._glance(ways, few, by_stage)
        some = [way._replace(feds=[way.feds[i] for i in few]) for way in ways]
        logged = self._logged(observed).some(few)

        def held(by_stage: ByStage, rows: Floats, logged: Logged) -> tuple[Floats, Bools]:
            prediction = self._mapped(by_stage, some, rows, logged, level)
            apart = np.abs(prediction.values - logged.scores)
            return apart, apart <= np.minimum(prediction.floors, 2 * prediction.typical)

        if z_scored:  # is a line over each side, whatever else it is over
            sides = np.array([sample.side for sample in logged.samples])
            apart, within = np.empty_like(rows), np.empty(rows.shape, dtype=bool)
            for side in np.unique(sides):
                own = np.flatnonzero(sides == side)
                apart[:, own], within[:, own] = held({"map": "scaled"}, rows[:, own], logged.some(own))
        else:
            apart, within = held(by_stage, rows, logged)
        versions = len(apart) // len(ways)  # a map may have several
        share = within.mean(axis=1).reshape(versions, -1).max(axis=0)
        if (share >= 0.5).any():
            return [int(i) for i in np.flatnonzero(share >= 0.5)]
        if len(by_stage) > 1:
            return []
        nearest = np.nan_to_num(np.median(apart, axis=1), nan=np.inf).reshape(versions, -1).min(axis=0)
        return [int(np.argmin(nearest))]

    def _glance(self, ways: Sequence[Way], few: NDArray[np.intp], by_stage: ByStage) -> Floats:
        """The scores (C, n) of a few samples under each way, computed once."""
        key = (ways_key(by_stage), len(few))
        if key not in self._glances:
            rows = np.empty((len(ways), len(few)))
            together: dict[tuple[int, Window], list[int]] = {}
            for number, way in enumerate(ways):
                together.setdefault((id(way.feds), way.window), []).append(number)
            for numbers in together.values():
                first = ways[numbers[0]]
                feds = [first.feds[i] for i in few]
                read_outs = [ways[number].read_out for number in numbers]
                rows[numbers] = self._ways.read(feds, self._glanced(feds), first.window, read_outs)
            self._glances[key] = rows
        return self._glances[key]

    def _few(self, count: int) -> NDArray[np.intp]:
        """Indices of a few samples, spread over all."""
        return np.linspace(0, len(self.samples) - 1, min(count, len(self.samples))).astype(np.intp)

    def _scores(self, ways: Sequence[Way], number: int, by_stage: ByStage, dtype: str = "float32") -> Floats:
        """The scores (N,) under one way, computed once in each type."""
        key = (ways_key(by_stage), number, dtype)
        if key not in self._scored:
            way = ways[number]
            feds = way.feds if dtype == "float32" else [fed._replace(gone=()) for fed in way.feds]
            values = [self._values(fed, dtype) for fed in feds]
            self._scored[key] = self._ways.read(feds, values, way.window, [way.read_out])[0]
        return self._scored[key]

    def _values(self, fed: Fed, dtype: str = "float32") -> Floats:
        """The values (T,) of what is fed; a response's end costs nothing where a longer one was computed."""
        if not fed.first:
            return self.reading(fed.ids, dtype).values
        key = (dtype, fed.ids, fed.first)
        if key not in self._values_of:
            ids = torch.tensor([fed.ids], dtype=torch.long)
            positions = torch.arange(fed.first, fed.first + ids.shape[1])[None]
            values = self.critic_in(dtype).batch_values(ids, position_ids=positions)
            self._values_of[key] = values[0].double().numpy()
        return self._values_of[key]

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

    # Heads

    def _with_head(self, by_stage: ByStage, level: Level, observed: Floats, shown: Bools) -> Prediction:
        """The scores of the linear head that fits those that are shown."""
        scores = logit(observed) if by_stage.get("map") == "sigmoid" else observed
        values, floors, labels = [], [], []
        share = level.floor / max(1.0, self.largest) * max(1.0, float(np.abs(scores).max()))
        for way in self._ways.under(by_stage):
            if way.read_out.kind not in LINEAR:
                continue
            states, ones = self.states(way)
            fit, reach = fitted(np.column_stack([states, ones]), scores, shown)
            values.append(fit)
            floors.append((share + self.rounding) * reach)
            labels.append(way.label)
        rows, limits = np.concatenate(values), np.concatenate(floors)
        if by_stage.get("map") == "sigmoid":
            rows = sigmoid(rows)
            limits = limits * rows * (1 - rows)
        return Prediction(rows, limits, labels)

    def states(self, way: Way) -> tuple[Floats, Floats]:
        """What a head is given where it is read by a linear read-out: states (N, H) and by what a bias enters (N,)."""
        key = tuple(fed.ids for fed in way.feds), way.window, way.read_out
        if key not in self._states:
            states, ones = [], []
            for fed in way.feds:
                values, hidden = self._hidden(fed.ids)
                weights = self._ways.weights(fed, len(values), way)
                states.append(weights @ hidden)
                ones.append(weights.sum())
            self._states[key] = np.stack(states), np.array(ones)
        return self._states[key]

    def fresh_head(self, observed: Floats) -> str | None:
        """The initialisation whose heads give such scores; None where none does: see `drawn_head`."""
        if self.read_out.kind not in LINEAR or self.critic.head.normalisation is not None:
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
        if self.read_out.kind not in LINEAR or len(head.weights) > 1 or len(observed) < 2 * _GLANCE:
            return None
        [way] = self._ways.under({})
        weight = head.weights[0][0].double().numpy()
        expected = []
        for fed in way.feds:
            values, hidden = self._hidden(fed.ids)
            weights = self._ways.weights(fed, len(values), way)
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
        [way] = self._ways.under({})
        return self.states(way)

    def _hidden(self, ids: Ids) -> tuple[Floats, Floats]:
        """Values (T,) and states (T, H)."""
        with torch.inference_mode():
            values, states = self.critic.with_states(torch.tensor([ids], dtype=torch.long))
        return values[0].double().numpy(), states[0].double().cpu().numpy()


def _apart(names: Sequence[str]) -> list[tuple[str, str]]:
    """Every two factors of different stages."""
    return [pair for pair in combinations(names, 2) if FAULTS[pair[0]].stage != FAULTS[pair[1]].stage]
