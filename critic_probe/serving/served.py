"""What a checkpoint gives under every factor: the hypotheses that scores from elsewhere are held against."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import combinations

import numpy as np

from critic_probe import tolerance
from critic_probe.checkpoint import Critic
from critic_probe.encoding import Encoder
from critic_probe.serving.expected import Expected, Level, cut_lengths, fitted, logit
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
        singles = self.factors
        yield [self.hypothesis((name,), own, observed) for name in singles]
        if agreed != own:
            yield [self.hypothesis((), agreed, observed)]
            yield [self.hypothesis((name,), agreed, observed) for name in singles]
        yield [self.in_type(level, scores) for level, scores in self.coarser]
        if self.fresh_head(observed):  # no pair explains it better
            return
        pairs = [pair for pair in combinations(singles, 2) if FACTORS[pair[0]].stage != FACTORS[pair[1]].stage]
        for level in dict.fromkeys((own, agreed)):
            yield [self.hypothesis(pair, level, observed) for pair in pairs]
        yield [
            self.hypothesis((name, f"dtype-{level.dtype}"), level, observed)
            for level, _ in self.coarser
            for name in singles
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
        prediction = self.hypothesis((name,), level, observed).predict(np.ones(len(self.samples), dtype=bool))
        return bool((np.abs(prediction.values - self.expected) > prediction.floors).any(axis=1).all())

    def hypothesis(self, names: tuple[str, ...], level: Level, observed: Floats) -> Hypothesis:
        """What would have been given under some factors, of different stages.

        Args:
            names: The factors.
            level: How exactly it was computed.
            observed: The scores, of which a fitted head is shown those that it may look at.
        """
        by_stage = {FACTORS[name].stage: name for name in names if not name.startswith("dtype-")}

        def predict(shown: Bools) -> Prediction:
            views = self._views(by_stage)
            rows, labels, scales = [], [], []
            for label, sequences in views:
                for more, values, floors in self._headed(by_stage, sequences, level, observed, shown):
                    rows.append(values)
                    labels += [", ".join(part for part in (label, each) if part) for each in more]
                    scales.append(floors)
            values, floors = np.concatenate(rows), np.concatenate(scales)
            return self._mapped(by_stage.get("map"), values, floors, tolerance.eps(level.dtype), labels)

        return Hypothesis(names, predict)

    def fresh_head(self, observed: Floats, factors: tuple[str, ...] = ()) -> str | None:
        """The initialisation whose heads give such scores; None where none does: see `drawn_head`.

        Args:
            observed: The scores (N,).
            factors: What was done to the ids and to the score; a cut or another token is not looked at.
        """
        by_stage = {FACTORS[name].stage: name for name in factors}
        if {"cut", "read"} & set(by_stage):
            return None
        if by_stage.get("map") == "sigmoid":
            observed = logit(observed)
        [(_, fed)] = self._views(by_stage)
        ends = [s.read + 1 for s in self.samples] if not {*EDITS} & set(by_stage) else map(len, fed)
        states = np.stack([self.reading(ids[:end]).state for ids, end in zip(fed, ends, strict=True)])
        return self.drawn_head(states, observed)

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

    def _headed(
        self, by_stage: dict[Stage, str], sequences: Sequence[Ids], level: Level, observed: Floats, shown: Bools
    ) -> Iterator[tuple[Sequence[str], Floats, Floats]]:
        """Labels (C), scores (C, N) and floors (C, N) before any map."""
        unedited = not {*EDITS, "cut"} & set(by_stage)
        floor = np.full((1, len(sequences)), level.floor)
        read, head = by_stage.get("read"), by_stage.get("head")
        if head is not None:
            ends = [
                ids[:-1] if read == "token-before" else ids[:1] if read == "first-token" else ids for ids in sequences
            ]
            states = np.stack([self.reading(ids).state for ids in ends])
            share = level.floor / max(1.0, self.largest)
            if head == "hidden-unit":
                normed = states / np.linalg.norm(states, axis=1, keepdims=True)
                values = np.concatenate([states.T, normed.T])
                labels = [f"unit {j}" for j in range(states.shape[1])]
                labels += [f"{label} of the state of length 1" for label in labels]
                yield labels, values, share * np.abs(values).max(axis=1, keepdims=True) + np.zeros_like(values)
            else:
                scores = logit(observed) if by_stage.get("map") == "sigmoid" else observed
                values, reach = fitted(np.column_stack([states, np.ones(len(states))]), scores, shown)
                yield [""], values, share * max(1.0, float(np.abs(scores).max())) * reach
            return
        if by_stage.get("cut") == "cut-end" and read is None:
            traces = [self.reading(ids).values for ids in sequences]
            lengths = range(1, max(map(len, traces)))
            rows = np.array([[trace[min(k, len(trace)) - 1] for trace in traces] for k in lengths])
            yield [f"to {k} tokens" for k in lengths], rows, floor + np.zeros_like(rows)
            return
        ends_at = [s.read for s in self.samples] if unedited else [self._last_read(ids) for ids in sequences]
        yield [""], self.readings(sequences, ends_at, read)[None], floor

    def _mapped(
        self, name: str | None, values: Floats, floors: Floats, eps: float, labels: Sequence[str]
    ) -> Prediction:
        if name == "sigmoid":
            mapped = 1 / (1 + np.exp(-np.clip(values, -700, 700)))
            return Prediction(mapped, floors * mapped * (1 - mapped) + eps * mapped, labels)
        if name == "softmax":
            return Prediction(np.ones((1, values.shape[1])), np.full((1, values.shape[1]), eps), ("",))
        if name == "not-normalised":
            assert self.critic.head.normalisation is not None
            mean, std = self.critic.head.normalisation
            return Prediction(values * std + mean, floors * std, labels)
        return Prediction(values, floors, labels)

    def readings(self, sequences: Sequence[Ids], ends: Sequence[int], read: str | None = None) -> Floats:
        """The checkpoint's scores (N,) of ids.

        Args:
            sequences: What is fed.
            ends: Index of the token that should be read.
            read: The factor by which another is read.
        """
        scores = []
        for ids, end in zip(sequences, ends, strict=True):
            values = self.reading(ids).values
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

    def _last_read(self, ids: Ids) -> int:
        """Where a server reads ids that are not training's: at the end, or before padding where that is pooled."""
        pad = getattr(self.critic.backbone.config, "pad_token_id", None)
        if self._encoder.convention.reads == "pooled" and pad is not None:
            return next((i for i in range(len(ids) - 1, -1, -1) if ids[i] != pad), 0)
        return len(ids) - 1
