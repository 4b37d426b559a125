"""A critic with a file of pairs: what every measurement of the two shares, and the one loop that measurements run in.

A measurement says, pair by pair, which responses it needs and takes their values by their ids. However many of them are
asked for at once, a critic is loaded once, and its pairs are gone through twice: `survey` counts before anything is
scored, `run` scores.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from critic_probe.aggregation import Aggregation
from critic_probe.checkpoint import Anatomy, Critic
from critic_probe.encoding import Encoded, EncodedResponse, Group, encode
from critic_probe.errors import CriticProbeError, Notice, parameter
from critic_probe.pairs import TOO_LONG, BadRowError, Candidates, Pair, PairFile, Pairs
from critic_probe.scoring.cache import Cache
from critic_probe.scoring.engine import Engine, Stats
from critic_probe.scoring.replicas import RemoteCritic, Replicated
from critic_probe.text import listed
from critic_probe.workbench.noise import Noise
from critic_probe.workbench.reading import make_encoder, read_as, read_otherwise
from critic_probe.workbench.scores import last_read, scores_of
from critic_probe.workbench.signature import CriticRecord, Settings, identity
from critic_probe.workbench.survey import Survey, preflight, survey

Ids = tuple[int, ...]
Values = Mapping[Ids, Tensor]
"""Values (R,) at the chosen position, by the response's ids."""


Progress = Callable[[str, int, Stats], Callable[[], None]]
"""Called with a label, a total and the engine's count of tokens; returns what to call after each step."""


def silent(*_: Any) -> Callable[[], None]:
    """A `Progress` that tells nobody."""
    return lambda: None


_NOT_FINITE = "no finite value"
_OF_ROWS = ("bad-rows", "ignored-field", "answer-in-prompt", "too-long")


class Ask(NamedTuple):
    """What a measurement wants of a pair.

    Attributes:
        responses: Ids of responses to its prompt; those of student and teacher are computed anyway.
        take: Called with the values of both sides and of these.
    """

    responses: Sequence[Ids]
    take: Callable[[Values], None]


class Measure(Protocol):
    """What a measurement does while pairs go by; what it makes of them is its own business.

    Attributes:
        label: What the progress bar says.
        needs_floors: Whether it tells gaps from noise, which is then measured first.
    """

    label: str
    needs_floors: bool

    def begin(self, bench: "Bench", /) -> None:
        """A critic's turn begins; nothing is scored yet."""

    def ask(self, bench: "Bench", pair: Any, /) -> Ask | None:
        """What is needed of a pair, or of the candidates where a bench has those; None where it is nothing."""

    def end(self, bench: "Bench", /) -> None:
        """The critic has scored every pair, and is still loaded."""


class Bench:
    """One critic and one file: encodes its pairs, gets their values, reads their scores.

    It owns the encoder, the engine and the cache's connection, and gives the critic up when it is released; what was
    scored can still be had from the cache then.

    Args:
        critic: The loaded critic.
        pairs: At least one.
        settings: How text becomes a score.
        progress: Told of every pair scored.
    """

    def __init__(self, critic: Critic, pairs: Pairs, settings: Settings, progress: Progress = silent) -> None:
        self.name = critic.name
        self.critic = critic
        self.pairs = pairs
        self.settings = settings
        self.progress = progress
        self.eos_id: int | None = critic.tokenizer.eos_token_id
        anatomy = Anatomy(critic.layout, critic.backbone.config, critic.tokenizer, critic.head)
        self.convention, self.read_because = read_as(anatomy, settings)
        self.position = settings.value_position or self.convention.position
        self.encoder = make_encoder(
            critic.tokenizer,
            self.convention,
            settings,
            eos_ids=critic.eos_ids,
            vocabulary=critic.vocabulary,
            context_length=critic.context_length,
            pad_id=getattr(critic.backbone.config, "pad_token_id", None),
        )
        self.cache = None if settings.cache is None else Cache(settings.cache, identity(critic))
        on_bad = pairs.on_bad_row if isinstance(pairs, PairFile) else "error"
        self.engine = (
            Replicated(critic, settings.engine, self.cache, on_bad=on_bad)
            if isinstance(critic, RemoteCritic)
            else Engine(critic, settings.engine, self.cache, on_bad=on_bad)
        )
        self.stats = self.engine.stats
        self.released = False
        self._noise: Noise | None = None
        self._largest = 0.0  # |value| of both sides of the pairs that went by

    # Pairs

    @cached_property
    def _preflight(self) -> list[Notice]:
        read_with_tail = self.convention.reads != "read-outs"
        return [n for n in preflight(self.critic) if not (read_with_tail and n.code == "template-tail")]

    @cached_property
    def survey(self) -> Survey:
        """What a first pass over the pairs tells of them."""
        return survey(self)

    def admit(self) -> None:
        """Refuses a critic that `doctor` fails without a forward pass, and pairs that do not fit it.

        Raises:
            CriticProbeError: A check fails, a pair is too long without leave to skip it, or none is left.
        """
        _ = self._preflight
        self.survey.faults.settle("pairs", len(self.pairs))
        survey, limit = self.survey, self.encoder.context_length
        if survey.too_long and self.settings.on_too_long == "error":
            raise CriticProbeError(
                f"{len(survey.too_long)} of {len(self.pairs)} pairs are longer than the critic's context of {limit} "
                f"tokens (longest {survey.longest}): {listed(survey.too_long)}; nothing is cut: shorten them, or use "
                f"{parameter('on_too_long', 'skip')}",
                check="truncation",
            )
        if not survey.pairs:
            raise CriticProbeError(
                f"{self.name}: all {len(self.pairs)} pairs are longer than its context of {limit} tokens; "
                "shorten them or use a critic with a longer context"
            )

    def encoded(self, pairs: Iterable[Pair | Candidates]) -> Iterator[Any]:
        """Pairs, or candidates, that can be encoded and fit the context, in order; `admit` refuses the others."""
        for pair in pairs:
            try:
                encoded = encode(pair, self.encoder)
            except BadRowError:
                continue
            if self.fits(encoded.length):
                yield encoded

    def fits(self, length: int) -> bool:
        """Whether so many tokens fit the context."""
        return self.encoder.context_length is None or length <= self.encoder.context_length

    # Values

    def values(self, groups: Iterable[Group]) -> Iterator[list[Tensor]]:
        """Per group and response the values (R,) at the chosen position, in order."""
        for of_group in self.engine.values(groups):
            yield [self._at_position(values) for values in of_group]

    def again(self, group: Group) -> list[Tensor]:
        """The values (R,) of a group that was computed already; once the critic is released, those of the cache.

        Raises:
            CriticProbeError: They are gone.
        """
        if not self.released:
            return next(self.values([group]))
        firsts = [len(group.prompt_ids) - 1] * len(group.responses)
        known: list[Tensor | None] = [None] * len(firsts)
        for engine in ("tree", "reference"):  # a long text may have made the engine change its mind
            kept = known if self.cache is None else self.cache.get(group.sequences, firsts, engine)
            known = [new if old is None else old for old, new in zip(known, kept, strict=True)]
        if any(values is None for values in known):
            raise CriticProbeError(f"{self.name}: values of this run are gone from the cache; run it again")
        return [self._at_position(values) for values in known if values is not None]

    def _at_position(self, values: Tensor) -> Tensor:
        """Of the engine's values (1 + R,), which begin at the prompt's last token, those (R,) of the response."""
        return values[self.window(1, len(values) - 1)]

    def window(self, prompt: int, response: int) -> slice:
        """Where in a sequence the values of a response's tokens are read.

        Args:
            prompt: Tokens before the response.
            response: Tokens of the response.
        """
        start = prompt - (self.position == "before")
        return slice(start, start + response)

    def asked(self, measures: Sequence[Measure], pair: Encoded) -> tuple[Group, list[Ask]]:
        """What measurements ask of a pair, and one group of all the responses that they need."""
        asked = [ask for measure in measures if (ask := measure.ask(self, pair)) is not None]
        needed = [ids for ask in asked for ids in ask.responses]
        if not needed:
            return pair.group, asked
        return Group(pair.prompt_ids, tuple(dict.fromkeys((*pair.group.responses, *needed))), pair.record.id), asked

    def measure(self, measures: Sequence[Measure], pairs: Iterable[Pair | Candidates] | None = None) -> None:
        """Lets pairs go by, each computed once for all that ask for it; only what the engine has in hand is held.

        Args:
            measures: What is measured.
            pairs: Some of the file's; None for all.
        """
        if any(measure.needs_floors for measure in measures):
            _ = self.noise  # its values are kept, so that the same rows are computed whatever else is measured
        for measure in measures:
            measure.begin(self)
        labels = ", ".join(dict.fromkeys(measure.label for measure in measures))
        step = self.progress(f"{self.name}: {labels}", self.survey.pairs, self.stats)
        waiting: deque[tuple[Encoded, Group, list[Ask]]] = deque()

        def groups() -> Iterator[Group]:
            for pair in self.encoded(self.pairs if pairs is None else pairs):
                group, asked = self.asked(measures, pair)
                if asked:
                    waiting.append((pair, group, asked))
                    yield group
                else:
                    step()

        for values in self.values(groups()):
            pair, group, asked = waiting.popleft()
            if not values:  # one of them is NaN or infinite, and such pairs are left out
                step()
                continue
            by_ids = dict(zip(group.responses, values, strict=True))
            self._largest = max(self._largest, *(float(by_ids[ids].abs().max()) for ids in pair.group.responses))
            for ask in asked:
                ask.take(by_ids)
            step()
        for measure in measures:
            measure.end(self)

    # Scores

    def score(self, values: Tensor, response: EncodedResponse, aggregation: Aggregation) -> float:
        """The score of one response under one read-out."""
        return self.scores(values[None], response, aggregation).item()

    def scores(self, values: Tensor, response: EncodedResponse, aggregation: Aggregation) -> Tensor:
        """The scores (B,) of rows of values (B, R) of one response under one read-out; see `scores_of`."""
        marks = self.encoder.punctuation(response) if aggregation.reads_punctuation_mask else None
        return scores_of(aggregation, values, response, marks)

    def token_read(self, values: Tensor, response: EncodedResponse, aggregation: Aggregation) -> int | None:
        """Index of the one token whose value is the score; None for a read-out of many tokens."""
        if aggregation.kind == "last":
            return last_read(response)
        if aggregation.kind in ("min", "max"):
            score, taken = self.score(values, response, aggregation), response.without_eos
            return next(i for i, v in enumerate(values.tolist()) if v == score and taken[i])
        return len(response.ids) - 1 if aggregation.kind == "last+eos" else None

    @property
    def noise(self) -> Noise:
        """What arithmetic alone does to scores, measured when it is first asked for."""
        if self._noise is None:
            self._noise = Noise(self, self.survey.sample)
        return self._noise

    def floor(self, read_out: str) -> float:
        """The noise floor of any read-out; it follows the pairs that go by, and is final when a measurement ends."""
        return self.noise.floor(read_out, self._largest)

    @property
    def floors(self) -> dict[str, float]:
        """The noise floors of the settings' read-outs, and of those that were asked for beside them."""
        return {name: self.floor(name) for name in self.noise.spreads}

    # What is told

    def notices(self) -> list[Notice]:
        """What was found before scoring, and what happened while it went on."""
        kept = [Notice("cache", message) for message in (self.cache.notices if self.cache else ())]
        rounding = [] if self._noise is None else self._noise.notices
        happened = [Notice("engine", f"{self.name}: {message}") for message in self.engine.notices] + kept
        return [*self._preflight, *self.survey.notices, *self._lost(), *rounding, *happened, *read_otherwise(self)]

    @property
    def left_out(self) -> list[Notice]:
        """Of them what reading the pairs changed or left out."""
        return [*(n for n in self.survey.notices if n.code in _OF_ROWS), *self._lost()]

    def _lost(self) -> list[Notice]:
        lost = self._not_finite
        return [Notice("bad-rows", f"{self.name}: {len(lost)} left out: {_NOT_FINITE}", lost)] if lost else []

    @property
    def _not_finite(self) -> list[str]:
        return list(dict.fromkeys(self.engine.bad))

    def _reasons(self) -> dict[str, int]:
        """How many rows are left out, by reason."""
        read = self.pairs.skipped if isinstance(self.pairs, PairFile) else {}
        here = {TOO_LONG: len(self.survey.too_long), _NOT_FINITE: len(self._not_finite)}
        return dict(Counter(read) + Counter(self.survey.faults.skipped) + Counter(here))

    def record(self) -> CriticRecord:
        """What identifies this critic in a signature; floors and what is left out where a run found them."""
        critic = self.critic
        facts: CriticRecord = {
            "name": critic.name,
            "fingerprint": critic.fingerprint,
            "head": critic.head.hash,
            "tokenizer": critic.tokenizer_hash,
            "template": self.encoder.template_name,
            "convention": self.convention.signed,
            "convention_because": self.read_because,
            "value_position": self.position,
            "eos_ids": sorted(critic.eos_ids),
            "dtype": str(critic.dtype).removeprefix("torch."),
            "device": critic.device.type,
            "attention": critic.attention,
            "engine": self.engine.name,
            "format": critic.layout.format,
            "step": critic.layout.step,
            "normalisation": critic.head.normalisation,
        }
        if self._noise is not None:
            facts["noise_floor"] = self.floors
        if "survey" in vars(self) and (reasons := self._reasons()):  # `verify` samples pairs and needs no pass over all
            facts["left_out"] = reasons
        return facts

    def release(self) -> None:
        """Lets the critic go, whose memory the next one needs."""
        self.released = True
        del self.critic, self.engine

    def close(self) -> None:
        """Lets the cache's file go."""
        if self.cache is not None:
            self.cache.close()
