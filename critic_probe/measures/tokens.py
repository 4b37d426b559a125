"""Values along a response: when the verdict is known, how independent tokens are, what kinds of token carry it."""

import math
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from critic_probe.checkpoint import Critic
from critic_probe.encoding import EncodedPair, EncodedResponse
from critic_probe.measures.result import Measured, Statement
from critic_probe.measures.variants import SIDES
from critic_probe.measures.wording import percent, statement
from critic_probe.pairs import Pairs
from critic_probe.stats import pairs as pairwise
from critic_probe.stats.intervals import Totals, by_prompt
from critic_probe.stats.rates import verdict
from critic_probe.workbench import (
    Ask,
    Bench,
    Progress,
    Run,
    Settings,
    Values,
    benches,
    prompt_hash,
    run,
    silent,
)

SHARES = (0.25, 0.5, 0.75, 1.0)
CLASSES = ("content", "digit", "punctuation", "EOS")
SHORTEST = 10  # tokens below which autocorrelation cannot be told

Floats = NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class TokensResult(Measured):
    """Values along a response.

    Attributes:
        positions: One row per critic, aggregation and share of the response read: d_acc with its interval.
        dependence: One row per critic: lag1 autocorrelation and effective_tokens (means over responses) beside the mean
            number of tokens, the variance of responses' means against sigma^2/N, and how many responses were too_short
            or constant to tell.
        classes: One row per critic, token class and side: n, mean, sd, and the mean in SD from the response's own.
    """

    command = "tokens"
    tables = ("positions", "dependence", "classes")
    main = "positions"

    positions: pd.DataFrame
    dependence: pd.DataFrame
    classes: pd.DataFrame

    def answer(self) -> list[Statement]:
        """From which share of a response on the verdict stands, and how far its values depend on each other."""
        early = self.positions[self.positions.share < 1].share.max()
        statements = []
        for critic, frame in self.positions.groupby("critic", sort=False):
            statements.append(_late(str(critic), *(frame[frame.share == at].to_dict("records") for at in (early, 1.0))))
        statements += [_dependent(row) for row in self.dependence.to_dict("records")]
        return [*statements, Statement("Next: trace shows the values of one pair, token by token.", {})]

    def read_aloud(self) -> list[str]:
        """Plain sentences on how to read it, from its own tables."""
        return _reading(self.dependence)


def tokens(critics: Iterable[Critic], pairs: Pairs, settings: Settings, progress: Progress = silent) -> TokensResult:
    """Tabulates accuracy by position, autocorrelation and values by token class for each critic.

    Args:
        critics: Loaded one after the other, so that only one needs to be in memory.
        pairs: At least one.
        settings: How text becomes values; the read-outs are `last` and `mean` up to a position.
        progress: Told of every pair scored.

    Raises:
        CriticProbeError: A pair cannot be scored honestly.
    """
    measure = Tokens()
    with benches(critics, pairs, settings, progress) as made:
        return measure.result(run(made, [measure]))


class Tokens:
    """The measurement behind `tokens`, for a loop that it shares with others."""

    label = "pairs"
    needs_floors = True

    def __init__(self) -> None:
        self._positions: list[dict[str, Any]] = []
        self._dependence: list[dict[str, Any]] = []
        self._classes: list[dict[str, Any]] = []

    def begin(self, _: Bench) -> None:
        """A critic's turn begins."""
        self._read: list[dict[str, Any]] = []
        self._dependent = _Dependence()
        self._kinds: dict[tuple[str, str], _Class] = {}

    def ask(self, bench: Bench, pair: EncodedPair) -> Ask:
        """Both sides, and nothing else."""

        def take(values: Values) -> None:
            responses = dict(zip(SIDES, (pair.student, pair.teacher), strict=True))
            bodies = []
            for name, response in responses.items():
                side = values[response.ids].double().numpy()
                body = side[np.array(response.without_eos)]
                bodies.append(body)
                self._dependent.add(body)
                for token_class, chosen in _by_class(bench, response):
                    self._kinds.setdefault((token_class, name), _Class()).add(side, chosen)
            self._read += _read_early(pair, bodies)

        return Ask((), take)

    def end(self, bench: Bench) -> None:
        """Every pair of a critic is scored."""
        read = pd.DataFrame(self._read)
        floors = read.aggregation.map({name: bench.floor(name) for name in ("last", "mean")})
        read["verdict"] = [verdict(gap, floor) for gap, floor in zip(read.gap, floors, strict=True)]
        self._positions += _accuracy(bench.name, read)
        self._dependence.append({"critic": bench.name, **self._dependent.row()})
        self._classes += (
            {"critic": bench.name, "token_class": token_class, "side": side, **self._kinds[token_class, side].row()}
            for token_class in CLASSES
            for side in SIDES
            if (token_class, side) in self._kinds
        )

    def result(self, done: Run) -> TokensResult:
        """The tables over all critics."""
        dependence = pd.DataFrame(self._dependence)
        return TokensResult(
            positions=pd.DataFrame(self._positions),
            dependence=dependence,
            classes=pd.DataFrame(self._classes),
            notices=done.notices,
            signature=done.signature(),
            reading=_reading(dependence),
            input=done.input,
        )


def _read_early(pair: EncodedPair, bodies: list[Floats]) -> Iterator[dict[str, Any]]:
    """Gaps of the pair when each side is read after a share of its tokens, EOS not counted."""
    for share in SHARES:
        cut = [body[: math.ceil(share * len(body))] for body in bodies]
        for name, scores in (("last", [c[-1] for c in cut]), ("mean", [c.mean() for c in cut])):
            gap = float(scores[1] - scores[0])
            yield {"share": share, "aggregation": name, "gap": gap, "prompt_hash": prompt_hash(pair.pair)}


def _accuracy(critic: str, read: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for (aggregation, share), frame in read.groupby(["aggregation", "share"], sort=False):
        interval = pairwise.d_acc(frame)
        yield {
            "critic": critic,
            "aggregation": aggregation,
            "share": share,
            "n": len(frame),
            "prompts": frame.prompt_hash.nunique(),
            "d_acc": interval.value,
            "d_acc_low": interval.low,
            "d_acc_high": interval.high,
        }


class _Moments:
    """Mean and variance of values that come in parts and are not kept (Chan, Golub and LeVeque 1983)."""

    def __init__(self) -> None:
        self.n = 0
        self.mean = math.nan
        self._squares = 0.0

    def add(self, values: Floats) -> None:
        n, mean = len(values), float(values.mean())
        if not self.n:
            self.n, self.mean, self._squares = n, mean, float(((values - mean) ** 2).sum())
            return
        apart, total = mean - self.mean, self.n + n
        self._squares += float(((values - mean) ** 2).sum()) + apart**2 * self.n * n / total
        self.mean += apart * n / total
        self.n = total

    @property
    def variance(self) -> float:
        """Unbiased; NaN of fewer than two values."""
        return self._squares / (self.n - 1) if self.n > 1 else math.nan


class _Dependence:
    """How far the values of a response depend on each other, gathered response by response."""

    def __init__(self) -> None:
        self._short = self._constant = 0
        self._values = _Moments()
        self._means = _Moments()
        self._sums = np.zeros(4)  # over the responses that can tell: tokens, 1 / tokens, lag 1, effective tokens

    def add(self, values: Floats) -> None:
        if len(values) < SHORTEST:
            self._short += 1
        elif values.std() == 0:
            self._constant += 1
        else:
            self._values.add(values)
            self._means.add(np.array([values.mean()]))
            length = len(values)
            self._sums += (length, 1 / length, autocorrelation(values)[1], effective_tokens(values))

    def row(self) -> dict[str, Any]:
        n = self._means.n
        length, inverse, lag1, effective = self._sums / n if n else np.full(4, np.nan)
        # What Var(mean) would be if the tokens of a response were independent draws around its mean's expectation.
        expected = self._values.variance * inverse
        return {
            "responses": n + self._short + self._constant,
            "too_short": self._short,
            "constant": self._constant,
            "tokens": float(length),
            "lag1": float(lag1),
            "effective_tokens": float(effective),
            "variance_of_mean": self._means.variance,
            "variance_if_independent": float(expected),
            "variance_ratio": float(self._means.variance / expected),
        }


def autocorrelation(values: Floats) -> Floats:
    """Autocorrelation (N,) of a series (N,) at lags 0 to N-1, the biased estimator (Box and Jenkins 1970)."""
    centred = values - values.mean()
    full = np.correlate(centred, centred, mode="full")[len(values) - 1 :]
    correlations: Floats = full / full[0]
    return correlations


def effective_tokens(values: Floats) -> float:
    """N / (1 + 2 * sum of autocorrelations): how many independent tokens the series (N,) is worth.

    The sum stops where two neighbouring autocorrelations are together no longer positive (the initial positive
    sequence, Geyer 1992). At least 1 and at most N.
    """
    rho = autocorrelation(values)
    time = -1.0
    for lag in range(0, len(rho) - 1, 2):
        pair = rho[lag] + rho[lag + 1]
        if pair <= 0:
            break
        time += 2 * pair
    return float(np.clip(len(values) / time, 1, len(values))) if time > 0 else float(len(values))


def variance_terms(prompts: Sequence[Hashable], tokens: Floats, sums: Floats, squares: Floats) -> Totals:
    """What `variance_ratio` needs of the responses, by prompt.

    Args:
        prompts: (R,) of each response.
        tokens: (R,) of each.
        sums: (R,) of their values.
        squares: (R,) of their values' squares.
    """
    means = sums / tokens
    columns = (np.ones(len(tokens)), tokens, sums, squares, means, means**2, 1 / tokens)
    return by_prompt(prompts, np.stack(columns, axis=1))


def variance_ratio(terms: Floats) -> Floats:
    """Variance of responses' means over sigma^2 / N: 1 if the values of a response were independent draws.

    NaN where the values do not vary. sigma^2 is the variance of all token values together, 1 / N the mean over
    responses, as in `dependence`.

    Args:
        terms: (..., 7) summed rows of `variance_terms`.
    """
    responses, tokens, sums, squares, means, means_squared, inverse = np.moveaxis(terms, -1, 0)
    sigma = (squares - sums**2 / tokens) / (tokens - 1)
    of_means = (means_squared - means**2 / responses) / (responses - 1)
    expected = sigma * inverse / responses
    ratios: Floats = np.divide(of_means, expected, out=np.full_like(expected, np.nan), where=expected > 0)
    return ratios


class _Class:
    """The values of one kind of token on one side, gathered response by response."""

    def __init__(self) -> None:
        self._values = _Moments()
        self._standardised = _Moments()

    def add(self, values: Floats, chosen: NDArray[np.bool_]) -> None:
        """Those of a response (R,) that are of this kind, also in SD from the response's own mean where it has one."""
        self._values.add(values[chosen])
        if values.std():
            self._standardised.add(((values - values.mean()) / values.std())[chosen])

    def row(self) -> dict[str, Any]:
        return {
            "n": self._values.n,
            "mean": self._values.mean,
            "sd": math.sqrt(self._values.variance),
            "mean_over_response_sd": self._standardised.mean,
        }


def _by_class(bench: Bench, response: EncodedResponse) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """The kinds of token that a response has, each with its mask (R,)."""
    classes = []
    marks = bench.encoder.punctuation(response)
    for piece, eos, mark in zip(bench.encoder.pieces(response.ids), response.eos, marks, strict=True):
        if eos:
            classes.append("EOS")
        elif mark:
            classes.append("punctuation")
        else:
            classes.append("digit" if any(char.isdecimal() for char in piece.text) else "content")
    names = np.array(classes)
    yield from ((name, names == name) for name in dict.fromkeys(classes))


def _late(critic: str, early: list[dict[str, Any]], whole: list[dict[str, Any]]) -> Statement:
    """Whether the last tokens decide, of a critic's rows under each read-out."""
    parts: list[str] = []
    figures: dict[str, Any] = {}
    for before, after in zip(early, whole, strict=True):
        name = before["aggregation"]
        shares = (percent(row["d_acc"], row["d_acc_low"], row["d_acc_high"]) for row in (before, after))
        decides = ", so that the end decides" if before["d_acc_high"] < after["d_acc_low"] else ""
        parts.append(f"{' and '.join(shares)} read as {name}{decides}")
        figures |= {f"{name}.before": before["d_acc"], f"{name}.before_high": before["d_acc_high"]}
        figures |= {f"{name}.whole": after["d_acc"], f"{name}.whole_low": after["d_acc_low"]}
    text = f"{critic} is right after {early[0]['share']:.0%} of a response and at its end in {'; '.join(parts)}."
    return Statement(text, {"critic": critic, **figures})


def _dependent(row: dict[str, Any]) -> Statement:
    """How many independent tokens a response is worth."""
    worth = f"are worth {row['effective_tokens']:.0f} independent ones"
    text = f"{row['critic']}: the {row['tokens']:.0f} tokens of a response {worth}"
    if row["too_short"] + row["constant"] == row["responses"]:
        text = f"{row['critic']}: no response is long enough to tell how far its values depend on each other"
    return statement(text + ".", row, "tokens", "effective_tokens", "responses")


def _reading(table: pd.DataFrame) -> list[str]:
    sentences = [
        "Accuracy after a share of the tokens says when the verdict is known; a prefix is scored as it stands, without "
        "what follows it.",
        "Effective tokens are how many independent ones a response is worth; Var(mean) against sigma^2/N is that "
        "claim's test: a ratio of 1 would mean independent tokens.",
    ]
    for row in table.itertuples():
        if row.too_short + row.constant == row.responses:
            short = f"{row.too_short} of {row.responses} responses have fewer than {SHORTEST} tokens"
            short += f", {row.constant} have one value throughout" if row.constant else ""
            sentences.append(f"{row.critic}: {short}: dependence cannot be told.")
            continue
        if row.effective_tokens < row.tokens / 2:
            sentences.append(
                f"{row.critic}: a response of {row.tokens:.0f} tokens is worth {row.effective_tokens:.0f} independent "
                "ones: its mean is that much less steady than the count of its tokens suggests."
            )
        if row.variance_ratio > 2:
            sentences.append(
                f"{row.critic}: the mean of {row.tokens:.0f} tokens varies {row.variance_ratio:.1f} times as much as "
                f"{row.tokens:.0f} independent ones would: Var(mean) is not sigma^2/N here."
            )
    return sentences
