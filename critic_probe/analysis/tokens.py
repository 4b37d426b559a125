"""Values along a response: when the verdict is known, how independent tokens are, what kinds of token carry it."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from critic_probe.analysis import pairwise
from critic_probe.analysis.measure import (
    Progress,
    Reader,
    Settings,
    hash_of,
    measure_floors,
    prompt_hash,
    signature,
    survey,
)
from critic_probe.analysis.results import TokensResult
from critic_probe.analysis.statistics import verdict
from critic_probe.checkpoint import Critic
from critic_probe.encoding import EncodedPair, EncodedResponse
from critic_probe.errors import Notice
from critic_probe.pairs import Pairs

SHARES = (0.25, 0.5, 0.75, 1.0)
CLASSES = ("content", "digit", "punctuation", "EOS")
SHORTEST = 10  # tokens below which autocorrelation cannot be told

Floats = NDArray[np.float64]


def tokens(critics: Iterable[Critic], pairs: Pairs, settings: Settings, progress: Progress) -> TokensResult:
    """Tabulates accuracy by position, autocorrelation and values by token class for each critic.

    Args:
        critics: Loaded one after the other, so that only one needs to be in memory.
        pairs: At least one.
        settings: How text becomes values; the read-outs are `last` and `mean` up to a position.
        progress: Told of every pair scored.

    Raises:
        CriticProbeError: A pair cannot be scored honestly.
    """
    positions: list[dict[str, Any]] = []
    dependence: list[dict[str, Any]] = []
    classes: list[dict[str, Any]] = []
    notices: list[Notice] = []
    records = []
    for critic in critics:
        reader = Reader(critic, settings)
        surveyed = survey(reader, pairs)
        floors, rounding = measure_floors(reader, surveyed.sample)
        step = progress(f"{critic.name}: pairs", surveyed.pairs)
        read: list[dict[str, Any]] = []
        responses: list[Floats] = []
        kinds: list[tuple[str, str, float, float]] = []
        for pair, values in reader.scored((pair.group, pair) for pair in reader.encoded(pairs)):
            step()
            sides = [v.double().numpy() for v in values]
            bodies = [
                v[~np.array(r.eos)] if not all(r.eos) else v
                for v, r in zip(sides, (pair.student, pair.teacher), strict=True)
            ]
            read += _read_early(pair, bodies, floors)
            responses += bodies
            for name, response, side in zip(("student", "teacher"), (pair.student, pair.teacher), sides, strict=True):
                kinds += _by_class(reader, name, response, side)
        positions += _accuracy(critic.name, pd.DataFrame(read))
        dependence.append({"critic": critic.name, **_dependence(responses)})
        classes += _class_rows(critic.name, kinds)
        notices += [n for n in (*surveyed.notices, *rounding, *reader.notices()) if n not in notices]
        records.append(reader.record() | {"noise_floor": floors})
        reader.close()
        del critic, reader  # before the next critic is loaded
    table = pd.DataFrame(dependence)
    return TokensResult(
        positions=pd.DataFrame(positions),
        dependence=table,
        classes=pd.DataFrame(classes),
        notices=notices,
        signature=signature(settings, hash_of(pairs), records),
        reading=_reading(table),
    )


def _read_early(pair: EncodedPair, bodies: list[Floats], floors: dict[str, float]) -> Iterator[dict[str, Any]]:
    """Verdicts of the pair when each side is read after a share of its tokens, EOS not counted."""
    for share in SHARES:
        cut = [body[: math.ceil(share * len(body))] for body in bodies]
        for name, scores in (("last", [c[-1] for c in cut]), ("mean", [c.mean() for c in cut])):
            word = verdict(float(scores[1] - scores[0]), floors[name])
            yield {"share": share, "aggregation": name, "verdict": word, "prompt_hash": prompt_hash(pair.pair)}


def _accuracy(critic: str, read: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for (aggregation, share), frame in read.groupby(["aggregation", "share"], sort=False):
        found = pairwise.d_acc(frame)
        yield {
            "critic": critic,
            "aggregation": aggregation,
            "share": share,
            "n": len(frame),
            "d_acc": found.value,
            "d_acc_low": found.low,
            "d_acc_high": found.high,
        }


def _dependence(responses: list[Floats]) -> dict[str, Any]:
    long = [values for values in responses if len(values) >= SHORTEST and values.std() > 0]
    means = np.array([values.mean() for values in long])
    # What Var(mean) would be if the tokens of a response were independent draws around its mean's expectation.
    spread = np.var(np.concatenate(long), ddof=1) if long else np.nan
    expected = float(np.mean([spread / len(values) for values in long])) if long else np.nan
    return {
        "responses": len(responses),
        "too_short": len(responses) - len(long),
        "tokens": float(np.mean([len(values) for values in long])) if long else np.nan,
        "lag1": float(np.mean([autocorrelation(values)[1] for values in long])) if long else np.nan,
        "effective_tokens": float(np.mean([effective_tokens(values) for values in long])) if long else np.nan,
        "variance_of_mean": float(means.var(ddof=1)) if len(long) > 1 else np.nan,
        "variance_if_independent": expected,
        "variance_ratio": float(means.var(ddof=1)) / expected if len(long) > 1 else np.nan,
    }


def autocorrelation(values: Floats) -> Floats:
    """Autocorrelation (N,) of a series (N,) at lags 0 to N-1, the biased estimator (Box and Jenkins 1970)."""
    centred = values - values.mean()
    full = np.correlate(centred, centred, mode="full")[len(values) - 1 :]
    found: Floats = full / full[0]
    return found


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


def _by_class(
    reader: Reader, side: str, response: EncodedResponse, values: Floats
) -> Iterator[tuple[str, str, float, float]]:
    """Per token: side, class, value, and value in SD from the response's own mean."""
    centre, spread = values.mean(), values.std()
    marks = reader.encoder.punctuation(response)
    for value, piece, eos, mark in zip(values, reader.encoder.pieces(response.ids), response.eos, marks, strict=True):
        if eos:
            name = "EOS"
        elif mark:
            name = "punctuation"
        else:
            name = "digit" if any(char.isdecimal() for char in piece.text) else "content"
        yield side, name, float(value), float((value - centre) / spread) if spread else math.nan


def _class_rows(critic: str, kinds: list[tuple[str, str, float, float]]) -> Iterator[dict[str, Any]]:
    frame = pd.DataFrame(kinds, columns=["side", "token_class", "value", "standardised"])
    for name in CLASSES:
        for side, part in frame[frame.token_class == name].groupby("side", sort=True):
            yield {
                "critic": critic,
                "token_class": name,
                "side": side,
                "n": len(part),
                "mean": part.value.mean(),
                "sd": part.value.std(),
                "mean_over_response_sd": part.standardised.mean(),
            }


def _reading(table: pd.DataFrame) -> list[str]:
    sentences = [
        "Accuracy after a share of the tokens says when the verdict is known; a prefix is scored as it stands, without "
        "what follows it.",
        "Effective tokens are how many independent ones a response is worth; Var(mean) against sigma^2/N is that "
        "claim's test: a ratio of 1 would mean independent tokens.",
    ]
    for row in table.itertuples():
        if row.too_short == row.responses:
            sentences.append(f"{row.critic}: no response has {SHORTEST} tokens or more: dependence cannot be told.")
        elif row.variance_ratio > 2:
            sentences.append(
                f"{row.critic}: the mean of {row.tokens:.0f} tokens varies {row.variance_ratio:.1f} times as much as "
                f"{row.tokens:.0f} independent ones would: Var(mean) is not sigma^2/N here."
            )
    return sentences
