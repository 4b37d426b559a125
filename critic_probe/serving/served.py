"""What a checkpoint gives under every factor: the hypotheses that scores from elsewhere are held against."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import combinations

import numpy as np

from critic_probe import tolerance
from critic_probe.checkpoint import Critic
from critic_probe.encoding import Encoder
from critic_probe.serving.expected import Expected, Level, cut_lengths, fitted, in_half, logit, sigmoid
from critic_probe.serving.factors import EDITS, FACTORS, Edits, Ids, Sample, Stage
from critic_probe.stats.explain import Bools, Floats, Hypothesis, Prediction


class Served(Expected[Sample]):
    """What a checkpoint gives under every factor.

    Args:
        critic: The checkpoint, in float32.
        samples: What was scored.
        encoder: The checkpoint's, whose chat template may have been applied once more.
        sent_bare: Whether texts are sent without the BOS that the server's tokenizer adds.
        dtype: What the scores should be computed in.
    """

    def __init__(
        self,
        critic: Critic,
        samples: Sequence[Sample],
        encoder: Encoder,
        sent_bare: bool,
        dtype: str,
    ) -> None:
        super().__init__(critic, samples, dtype)
        self._encoder = encoder
        self._edits = Edits(critic.tokenizer, encoder, critic.eos_ids, sent_bare)
        self._fed: dict[tuple[tuple[Stage, str], ...], list[tuple[str, list[Ids]]]] = {}

    def scores_by(self, critic: Critic) -> Floats:
        """The scores (N,) that a loaded form of the checkpoint gives with nothing done to them."""
        if critic is self.critic:
            return self.readings([s.ids for s in self.samples], [s.read for s in self.samples])
        return np.array([float(critic.values(s.ids)[s.read]) for s in self.samples])

    # Tiers

    def tiers(self, observed: Floats) -> Iterator[list[Hypothesis]]:
        """Hypotheses in rising order of how much they ask for, for `stats.explain`."""
        own, agreed = self.own, self.agreed
        yield [self.hypothesis((), own, observed)]
        fixed = [name for name in self.factors if name != "other-head"]
        heads = [("other-head",)] if self.can_fit_heads else []
        # A sigmoid is vLLM's default. Near 0 it is a straight line, as another head is.
        inside = observed.min() > 0 and observed.max() < 1
        maps = [(name, "sigmoid") for name in fixed if FACTORS[name].stage != "map"] if inside else []
        fitted_maps = [("other-head", "sigmoid")] if inside and heads else []
        levels = list(dict.fromkeys((own, agreed)))
        for level in levels:
            if level != own:
                yield [self.hypothesis((), level, observed)]
            yield [self.hypothesis((name,), level, observed) for name in fixed]
            yield [self.hypothesis(names, level, observed) for names in maps]
            yield [self.hypothesis(names, level, observed) for names in (*heads, *fitted_maps)]
        yield [self.in_type(level, scores) for level, scores in self.coarser]
        if self.fresh_head(observed):  # no pair explains it better
            return
        pairs = [
            pair
            for pair in combinations(self.factors, 2)
            if FACTORS[pair[0]].stage != FACTORS[pair[1]].stage and pair not in (*maps, *fitted_maps)
        ]
        for level in levels:
            yield from self._heads_last([(level, names) for names in pairs], observed)
        typed = [
            (level, (name, f"dtype-{level.dtype}"))
            for level, _ in self.coarser
            for name in self.factors
            if name != "softmax"  # over one number: that is 1 in any type
        ]
        yield from self._heads_last(typed, observed)

    def _heads_last(
        self, several: Sequence[tuple[Level, tuple[str, ...]]], observed: Floats
    ) -> Iterator[list[Hypothesis]]:
        """Two tiers: a head that is fitted asks for more than anything else."""
        for is_fitted in (False, True):
            yield [
                self.hypothesis(names, level, observed)
                for level, names in several
                if ("other-head" in names) == is_fitted
            ]

    @cached_property
    def factors(self) -> list[str]:
        """The factors that can act on these samples, without types."""
        edits = [
            name
            for name, factor in FACTORS.items()
            if factor.stage in EDITS and any(self._edits.edited(name, s.ids, s) != s.ids for s in self.samples)
        ]
        reads = ["token-before", "first-token", "mean-pooled"]
        if any(s.read != len(s.ids) - 1 for s in self.samples):
            reads.append("last-token")
        maps = ["sigmoid", "softmax"] + (["not-normalised"] if self.critic.head.normalisation else [])
        heads = ["hidden-unit", *(["other-head"] if self.can_fit_heads else [])]
        return [*edits, "cut-end", "cut-start", *reads, *heads, *maps]

    @property
    def can_fit_heads(self) -> bool:
        """Whether half of the samples settles a head: more than its weights and its bias."""
        return len(self.samples) > self.enough_for_heads

    def moves(self, name: str, level: Level, observed: Floats) -> bool:
        """Whether a factor moves any score by more than the floor, in each of its versions."""
        prediction = self.hypothesis((name,), self.own, observed).predict(np.ones(len(self.samples), dtype=bool))
        floors = prediction.floors if level == self.own else np.maximum(prediction.floors, level.floor)
        return bool((np.abs(prediction.values - self.expected) > floors).any(axis=1).all())

    def hypothesis(self, names: tuple[str, ...], level: Level, observed: Floats) -> Hypothesis:
        """What would have been given under some factors, of different stages.

        Args:
            names: The factors.
            level: How exactly it was computed.
            observed: The scores, of which a fitted head is shown those that it may look at.
        """
        by_stage = _by_stage(names)

        def predict(shown: Bools) -> Prediction:
            if not names:
                return Prediction(self.expected[None], np.full((1, len(self.samples)), level.floor))
            rows, scales, labels, typical = [], [], [], []
            for label, sequences in self._views(by_stage):
                more, values, floors, usual = self._headed(by_stage, sequences, level, observed, shown)
                rows.append(values)
                labels += [", ".join(part for part in (label, each) if part) for each in more]
                scales.append(floors + np.zeros_like(values))
                typical.append(usual)
            values, floors = np.concatenate(rows), np.concatenate(scales)
            return self._mapped(by_stage, values, floors, np.concatenate(typical), tolerance.eps(level.dtype), labels)

        return Hypothesis(names, predict)

    def fresh_head(
        self, observed: Floats, factors: tuple[str, ...] = (), label: str = "", rounding: float = 0.0
    ) -> str | None:
        """The initialisation whose heads give such scores; None where none does: see `drawn_head`.

        Args:
            observed: The scores (N,).
            factors: What was done to the ids and to the score.
            label: The version that was chosen.
            rounding: How far arithmetic moved a score, where it was more than float32 does.
        """
        by_stage = _by_stage(factors)
        dtype = next((name.removeprefix("dtype-") for name in factors if name.startswith("dtype-")), "float32")
        if by_stage.get("map") == "sigmoid":
            observed = logit(observed)
        fed = next(fed for version, fed in self._views(by_stage | {"head": "other-head"}) if version == label)
        return self.drawn_head(self._states(by_stage, fed, dtype), observed, rounding=rounding)

    # Stages

    def _views(self, by_stage: dict[Stage, str]) -> list[tuple[str, list[Ids]]]:
        """The ids that the critic was fed, in one or several versions."""
        acting = tuple(sorted(item for item in by_stage.items() if item[0] in (*EDITS, "cut", "read", "head")))
        if acting not in self._fed:
            self._fed[acting] = self._made(by_stage)
        return self._fed[acting]

    def _made(self, by_stage: dict[Stage, str]) -> list[tuple[str, list[Ids]]]:
        edited = []
        for sample in self.samples:
            ids = sample.ids
            for stage in EDITS:
                if stage in by_stage:
                    ids = self._edits.edited(by_stage[stage], ids, sample)
            edited.append(ids)
        cut = by_stage.get("cut")
        if cut is None or (cut == "cut-end" and "head" not in by_stage and "read" not in by_stage):
            return [("", edited)]
        lengths = cut_lengths(max(map(len, edited)))
        if cut == "cut-end":
            return [(f"to {k} tokens", [ids[:k] for ids in edited]) for k in lengths]
        return [(f"to {k} tokens", [ids[-k:] for ids in edited]) for k in lengths]

    def _states(self, by_stage: dict[Stage, str], sequences: Sequence[Ids], dtype: str) -> Floats:
        """The states (N, H) that a head is given."""
        ends = [end + 1 for end in self._ends(by_stage, sequences)]
        match by_stage.get("read"):
            case "first-token":
                ends = [1] * len(ends)
            case "token-before":
                ends = [max(end - 1, 1) for end in ends]
            case "last-token":
                ends = [len(ids) for ids in sequences]
        return np.stack([self.reading(ids[:end], dtype).state for ids, end in zip(sequences, ends, strict=True)])

    def _headed(
        self, by_stage: dict[Stage, str], sequences: Sequence[Ids], level: Level, observed: Floats, shown: Bools
    ) -> tuple[Sequence[str], Floats, Floats, Sequence[float]]:
        """Labels (C), scores (C, N), floors (C, N) or (C, 1), and what half of the residuals may be, before any map."""
        dtypes, head = (level.dtype, "float32"), by_stage.get("head")
        reach = np.ones((1, len(sequences)))
        labels: Sequence[str] = [""]
        if head == "hidden-unit":
            labels = [f"unit {j}" for j in range(self.width)]
            labels = [*labels, *(f"{label} of the state of length 1" for label in labels)]
            typed, exact = (_units(self._states(by_stage, sequences, dtype)) for dtype in dtypes)
        elif head == "other-head":
            scores = logit(observed) if by_stage.get("map") == "sigmoid" else observed
            ones = np.ones(len(sequences))
            designs = [np.column_stack([self._states(by_stage, sequences, dtype), ones]) for dtype in dtypes]
            typed, reach = fitted(designs[0], scores, shown)
            exact = (designs[1] @ np.linalg.pinv(designs[0][shown]) @ scores[shown])[None]
        elif by_stage.get("cut") == "cut-end" and "read" not in by_stage:
            typed, exact = (self._at_each_length(sequences, dtype) for dtype in dtypes)
            labels = [f"to {k} tokens" for k in range(1, len(typed) + 1)]
        else:
            ends = self._ends(by_stage, sequences)
            typed, exact = (self.readings(sequences, ends, by_stage.get("read"), dtype)[None] for dtype in dtypes)
        if level.dtype != "float32":
            floors, typical = in_half(typed, exact, level.dtype)
            return labels, typed, floors * reach, list(typical * float(np.median(reach)))
        share = level.floor / max(1.0, self.largest)
        if head == "hidden-unit":
            floors = share * np.abs(typed).max(axis=1, keepdims=True)
        elif head == "other-head":
            floors = share * max(1.0, float(np.abs(scores).max())) * reach
        else:
            floors = np.array([[level.floor]])
        return labels, typed, floors, [np.inf] * len(typed)

    def _at_each_length(self, sequences: Sequence[Ids], dtype: str) -> Floats:
        """The scores (C, N) of ids that are cut to 1, 2, ... tokens."""
        traces = [self.reading(ids, dtype).values for ids in sequences]
        return np.array([[trace[min(k, len(trace)) - 1] for trace in traces] for k in range(1, max(map(len, traces)))])

    def _mapped(
        self,
        by_stage: dict[Stage, str],
        values: Floats,
        floors: Floats,
        typical: Floats,
        eps: float,
        labels: Sequence[str],
    ) -> Prediction:
        name = by_stage.get("map")
        if name == "sigmoid":
            mapped = sigmoid(values)
            return Prediction(mapped, floors * mapped * (1 - mapped) + eps * mapped, labels)
        if name == "softmax" and by_stage.get("head") == "hidden-unit":
            parts = [np.exp(part - part.max(axis=0)) for part in np.split(values, len(values) // self.width)]
            mapped = np.concatenate([part / part.sum(axis=0) for part in parts])
            return Prediction(mapped, 2 * floors.max() * mapped * (1 - mapped) + eps * mapped, labels)
        if name == "softmax":
            return Prediction(np.ones((1, values.shape[1])), np.full((1, values.shape[1]), eps), ("",))
        if name == "not-normalised":
            assert self.critic.head.normalisation is not None
            mean, std = self.critic.head.normalisation
            return Prediction(values * std + mean, floors * std, labels, None, typical * std)
        return Prediction(values, floors, labels, None, typical)

    def readings(
        self, sequences: Sequence[Ids], ends: Sequence[int], read: str | None = None, dtype: str = "float32"
    ) -> Floats:
        """The checkpoint's scores (N,) of ids.

        Args:
            sequences: What is fed.
            ends: Index of the token that should be read.
            read: The factor by which another is read.
            dtype: What it is computed in.
        """
        scores = []
        for ids, end in zip(sequences, ends, strict=True):
            values = self.reading(ids, dtype).values
            match read:
                case "token-before":
                    scores.append(values[max(end - 1, 0)])
                case "first-token":
                    scores.append(values[0])
                case "mean-pooled":
                    scores.append(values.mean())
                case "last-token":
                    scores.append(values[-1])
                case _:
                    scores.append(values[end])
        return np.array(scores, dtype=np.float64)

    def _ends(self, by_stage: dict[Stage, str], sequences: Sequence[Ids]) -> list[int]:
        """Index of the token that should be read."""
        if {*EDITS, "cut"} & set(by_stage):
            return [self._last_read(ids) for ids in sequences]
        return [sample.read for sample in self.samples]

    def _last_read(self, ids: Ids) -> int:
        """Where a server reads ids that are not training's: at the end, or before padding where that is pooled."""
        pad = getattr(self.critic.backbone.config, "pad_token_id", None)
        if self._encoder.convention.reads == "pooled" and pad is not None:
            return next((i for i in range(len(ids) - 1, -1, -1) if ids[i] != pad), 0)
        return len(ids) - 1


def _by_stage(names: tuple[str, ...]) -> dict[Stage, str]:
    """Factors but types by the stage that each acts at."""
    return {FACTORS[name].stage: name for name in names if not name.startswith("dtype-")}


def _units(states: Floats) -> Floats:
    """The units (2 H, N) of states (N, H), as they are and scaled to length 1."""
    return np.concatenate([states.T, (states / np.linalg.norm(states, axis=1, keepdims=True)).T])
