"""Training runs as they log, sound and with a failure planted at a known step.

Scores of a batch are drawn step by step and logged figures computed from them, so that they agree with each other as a
framework's do. The world drifts by autocorrelated noise, learns at its own speed, and logs under the names of its kind.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.signal import lfilter

from critic_probe.runs.record import Column

Floats = NDArray[np.float64]
Rng = np.random.Generator


class Made(NamedTuple):
    """A run: what each column logged, single scores (step, side, length, score), and where its failure begins."""

    kind: str
    series: dict[Column, pd.DataFrame]
    scores: pd.DataFrame
    onset: int | None


@dataclass
class World:
    """A run before it is logged; every array has a value a step.

    Attributes:
        steps: From the first, in order.
        order: What the critic knows: mean gap over the scores' SD.
        held_out: Times it, the same on held-out pairs.
        scale: SD of scores.
        teacher_scale: Times it, the teacher's.
        offset: Where scores lie.
        gain: Times the gap, what the loss is computed of.
        logged_gap: Times the gap, what is logged as one.
        temperature: T.
        rate: The learning rate.
        epoch: Epochs done.
        by_length: Share of a score's variance that its length makes.
        zeros, clipped: Shares of scores that are 0, and that are cut to one value.
        gradient: Times the gradient norm.
        truncated: Share of responses.
        explained, returns: Of a value critic: explained variance, and the variance of returns.
        after: Changes of logged columns.
        logged: Which steps are logged at all.
        batch, every, evaluate, tokens: Pairs a batch, steps between logs and evaluations, response length.
    """

    steps: NDArray[np.int64]
    order: Floats
    held_out: Floats
    scale: Floats
    teacher_scale: Floats
    offset: Floats
    gain: Floats
    logged_gap: Floats
    temperature: float
    rate: Floats
    epoch: Floats
    by_length: Floats
    zeros: Floats
    clipped: Floats
    gradient: Floats
    truncated: Floats
    explained: Floats
    returns: Floats
    batch: int
    every: int
    evaluate: int
    tokens: float
    after: list[Callable[[dict[str, Floats]], None]] = field(default_factory=list)


def drift(rng: Rng, n: int, correlation: float | None = None) -> Floats:
    """(n,) standard noise of a first-order autoregression, with heavier tails than a normal distribution's."""
    r = rng.uniform(0.3, 0.9) if correlation is None else correlation
    shocks = rng.standard_t(5, n + 100) * math.sqrt(3 / 5) * math.sqrt(1 - r * r)
    return np.asarray(lfilter([1.0], [1.0, -r], shocks))[100:]


def world(rng: Rng, n: int, first: int = 1) -> World:
    """A sound world of n steps that has learnt nothing yet, unless it is resumed."""
    steps = np.arange(first, first + n)
    speed, most = n * rng.choice([0.02, 0.1, 0.2, 0.3]) + 5, rng.uniform(0.8, 2.2)
    waits = rng.choice([0.0, 0.0, 0.2]) * n
    learnt = 1 / (1 + np.exp(-(np.arange(n) - waits - 2 * speed) / (speed / 2)))
    if first > 1:
        learnt = 0.8 + 0.2 * (1 - np.exp(-np.arange(n) / n))
    order = most * learnt * (1 + 0.08 * drift(rng, n))
    warm = max(int(n * 0.05), 3)
    rising = np.minimum(np.arange(1, n + 1) / warm, 1) if first == 1 else np.ones(n)
    cosine = 0.5 * (1 + np.cos(np.pi * np.arange(n) / n))
    again = 0.5 * (1 + np.cos(np.pi * (np.arange(n) % max(n // 3, 1)) / max(n // 3, 1)))
    schedule = [np.ones(n), cosine, 1 - np.arange(n) / n, again][rng.integers(4)]
    begins, ends = rng.uniform(0.05, 0.5), rng.uniform(0.8, 4)
    one, nothing = np.ones(n), np.zeros(n)
    epochs = rng.choice([0.6, 1.0, 3.0])
    return World(
        steps=steps,
        order=order,
        held_out=one * rng.uniform(0.8, 1.0),
        scale=(begins + (ends - begins) * learnt) * np.exp(0.05 * drift(rng, n)),
        teacher_scale=one * rng.uniform(0.7, 1.4),
        offset=rng.normal(0, 1.5) + np.cumsum(rng.normal(0, 2 / n, n)) + 0.1 * drift(rng, n),
        gain=one.copy(),
        logged_gap=one.copy(),
        temperature=float(rng.choice([1.0, 2.0, 5.0])),
        rate=1e-5 * rising * np.maximum(schedule, 0.01),
        epoch=epochs * (steps - 1) / steps[-1],
        by_length=one * rng.uniform(0, 0.004),
        zeros=nothing.copy(),
        clipped=nothing.copy(),
        gradient=one.copy(),
        truncated=np.clip(rng.uniform(0, 0.08) + 0.01 * drift(rng, n), 0, 1),
        explained=rng.uniform(0.2, 0.8) * (1 - np.exp(-np.arange(n) / (5 + n * rng.uniform(0.02, 0.1))))
        - rng.uniform(0, 4) * np.exp(-np.arange(n) / 8)
        + 0.05 * drift(rng, n)
        - 0.6 * (rng.random(n) < 0.02),
        returns=np.linspace(1, rng.uniform(0.5, 3), n) * np.exp(0.15 * drift(rng, n)),
        batch=int(rng.choice([8, 16, 64, 256])),
        every=1,
        evaluate=int(rng.choice([10, 25, 50])),
        tokens=float(rng.uniform(60, 600)),
    )


def logged(rng: Rng, made: World, kind: str) -> tuple[dict[str, Floats], pd.DataFrame]:
    """What a world logs, NaN where it logs nothing: by name, (n,); and single scores."""
    if kind == "value":
        columns, scores = _values(rng, made), pd.DataFrame(columns=["step", "side", "length", "score"])
    else:
        columns, scores = _pairs(rng, made, kind)
    for change in made.after:
        change(columns)
    kept = (made.steps - made.steps[0]) % made.every == 0
    for name, column in columns.items():
        if "/eval_" not in name:
            column[~kept] = np.nan
    return columns, scores


def _pairs(rng: Rng, w: World, kind: str) -> tuple[dict[str, Floats], pd.DataFrame]:
    n = len(w.steps)
    student, teacher, lengths = _scores(rng, w, w.order, w.batch)
    gap = teacher - student
    spread = [student.std(axis=1, ddof=1), teacher.std(axis=1, ddof=1)]
    pull = 1 / (1 + np.exp(np.clip(w.gain[:, None] * gap / w.temperature, -60, 60)))
    columns = {
        "critic/d_loss": np.logaddexp(0, -w.gain[:, None] * gap / w.temperature).mean(axis=1),
        "critic/d_acc": (gap > 0).mean(axis=1),
        "critic/lr": w.rate.copy(),
        "critic/grad_norm": _gradient(rng, w, pull.mean(axis=1) * spread[0] + 0.05),
    }
    if kind != "openrlhf":
        columns["critic/gap"] = gap.mean(axis=1) * w.logged_gap
    if kind in ("gad", "game", "openrlhf"):
        columns |= {"critic/student_mean": student.mean(axis=1), "critic/teacher_mean": teacher.mean(axis=1)}
    if kind in ("gad", "game"):
        columns |= {
            "critic/student_std": spread[0],
            "critic/teacher_std": spread[1],
            "critic/separation": gap.mean(axis=1) / (spread[0] + spread[1]),
            "critic/temperature": np.full(n, w.temperature),
            "critic/saturated": (np.abs(w.gain[:, None] * gap) / w.temperature > 4).mean(axis=1),
            "critic/gradient_weight": pull.mean(axis=1),
            "data/student_length_mean": lengths[0].mean(axis=1),
            "data/teacher_length_mean": lengths[1].mean(axis=1),
            "data/truncated": w.truncated.copy(),
        }
    else:
        both = np.concatenate([student, teacher], axis=1)
        columns |= {"run/epoch": w.epoch.copy(), "critic/score_mean": both.mean(axis=1)}
        columns |= {"critic/score_min": both.min(axis=1), "critic/score_max": both.max(axis=1)}
        held = _scores(rng, w, w.order * w.held_out, 128)
        apart = held[1] - held[0]
        evaluated = (w.steps % w.evaluate == 0) | (w.steps == w.steps[-1])
        columns["critic/eval_acc"] = np.where(evaluated, (apart > 0).mean(axis=1), np.nan)
        columns["critic/eval_loss"] = np.where(evaluated, np.logaddexp(0, -apart / w.temperature).mean(axis=1), np.nan)
    shown = [
        pd.DataFrame(
            {
                "step": np.repeat(w.steps, 2),
                "side": side,
                "length": own[:, :2].ravel().round(),
                "score": _bf16(score[:, :2].ravel()),
            }
        )
        for side, score, own in (("student", student, lengths[0]), ("teacher", teacher, lengths[1]))
    ]
    return columns, pd.concat(shown).sort_values("step", kind="stable", ignore_index=True)


def _scores(rng: Rng, w: World, order: Floats, batch: int) -> tuple[Floats, Floats, Sequence[Floats]]:
    """Student and teacher scores (n, batch), and their lengths."""
    n = len(w.steps)
    hard = rng.standard_normal((n, batch))
    sides, lengths = [], []
    for sign, scale in ((-0.5, np.ones(n)), (0.5, w.teacher_scale)):
        spread = rng.standard_normal((n, batch))
        length = np.maximum(w.tokens * np.exp(0.5 * spread), 1)
        own = rng.standard_normal((n, batch))
        share = np.sqrt(w.by_length)[:, None]
        own = np.sqrt(1 - w.by_length)[:, None] * (0.6 * hard + 0.8 * own) + share * spread
        score = w.offset[:, None] + w.scale[:, None] * (sign * order[:, None] + scale[:, None] * own)
        score = np.where(rng.random((n, batch)) < w.zeros[:, None], 0.0, score)
        score = np.where(rng.random((n, batch)) < w.clipped[:, None], 5.0, score)
        sides.append(score)
        lengths.append(length)
    return sides[0], sides[1], lengths


def _values(rng: Rng, w: World) -> dict[str, Floats]:
    n = len(w.steps)
    loss = 0.5 * w.returns * np.maximum(1 - w.explained, 0.05) * np.exp(0.1 * drift(rng, n))
    mean = np.cumsum(rng.normal(0.5 / n, 0.01, n))
    return {
        "critic/vf_loss": loss,
        "critic/vf_clipfrac": np.clip(0.1 + 0.05 * drift(rng, n), 0, 1),
        "critic/explained_variance": w.explained.copy(),
        "critic/value_mean": mean + 0.1 * drift(rng, n),
        "critic/returns_mean": mean + 0.2 * drift(rng, n),
        "critic/grad_norm": _gradient(rng, w, np.sqrt(loss)),
        "critic/lr": w.rate.copy(),
        "reward/score_mean": mean + 0.1 * drift(rng, n),
        "actor/grad_norm": 0.3 * np.exp(0.3 * drift(rng, n)),
        "data/response_length_mean": w.tokens * np.exp(0.05 * drift(rng, n)),
        "data/truncated": w.truncated.copy(),
    }


def _gradient(rng: Rng, w: World, base: Floats) -> Floats:
    spikes = np.where(rng.random(len(base)) < 0.01, rng.uniform(3, 30, len(base)), 1)
    return np.asarray(rng.uniform(0.3, 8) * base * np.exp(0.25 * drift(rng, len(base))) * spikes * w.gradient)


def _bf16(scores: Floats) -> Floats:
    quantum = 2.0 ** (np.floor(np.log2(np.maximum(np.abs(scores), 1e-30))) - 7)
    return np.asarray(np.round(scores / quantum) * quantum)


def series_of(columns: dict[str, Floats], steps: NDArray[np.int64]) -> dict[Column, pd.DataFrame]:
    """What a logger writes of columns: what is NaN from the start of a row's absence is not written."""
    series = {}
    for name, column in columns.items():
        missing = column_missing(column)
        if not missing.all():
            series[Column(name, name, "")] = pd.DataFrame({"step": steps[~missing], "value": column[~missing]})
    return series


NAN = -1e300  # in a column: NaN was logged, where NaN itself says that nothing was


def column_missing(column: Floats) -> NDArray[np.bool_]:
    """Where nothing was logged; what was logged as NaN becomes NaN."""
    missing = np.isnan(column)
    column[column == NAN] = np.nan
    return missing


# --- sound runs ---


def length_of(rng: Rng) -> int:
    """Steps of a run: 80 to 2000, short ones more often."""
    return int(np.exp(rng.uniform(math.log(80), math.log(2000))))


def base(rng: Rng, kind: str, n: int | None = None, first: int = 1) -> World:
    """A sound world of a kind: gad, game, trl, openrlhf or value."""
    made = world(rng, n or (int(rng.integers(300, 2000)) if kind == "game" else length_of(rng)), first)
    if kind == "gad":
        made.temperature = 5.0
    if kind == "game":  # the student catches up
        known = np.linspace(rng.uniform(1, 1.6), rng.uniform(0, 0.4), len(made.steps))
        made.order = known * (1 + 0.08 * drift(rng, len(made.steps)))
        made.scale = np.exp(0.05 * drift(rng, len(made.steps))) * rng.uniform(0.5, 3) * (0.3 + 0.7 * known / known[0])
    if kind == "trl":
        made.every = int(rng.choice([1, 5, 10])) if len(made.steps) > 600 else 1
    return made


def sound(seed: int) -> Made:
    """A sound run; every fourth has something about it that is odd and no fault."""
    rng = np.random.default_rng(seed)
    kind = ("gad", "game", "trl", "openrlhf", "value")[seed % 5]
    first = int(rng.integers(100, 900)) if rng.random() < 0.2 else 1
    made = base(rng, kind, first=first)
    odd = ODD[seed // 5 % len(ODD)] if rng.random() < 0.7 else "none"
    n = len(made.steps)
    if odd == "progressive" and kind == "gad":  # from mean to last: scores grow over a part of the run
        grows = np.clip((np.arange(n) - 0.3 * n) / (0.4 * n), 0, 1)
        made.scale *= 1 + 3 * grows
    if odd == "quick" and kind != "value" and first == 1:
        made.order = np.maximum(made.order, 2.2 * (1 - np.exp(-np.arange(n) / 12.0)))
    if odd == "noisy":
        made.batch = 4
        made.explained += 0.1 * drift(rng, n)
    if odd == "epochs":  # a little better where pairs come again
        made.epoch = 3.0 * (made.steps - 1) / made.steps[-1]
        made.order *= 1 + 0.04 * np.floor(made.epoch)
    if odd == "actor" and kind == "value":
        made.after.append(lambda columns: columns["actor/grad_norm"].__setitem__(slice(n // 2, None), 80.0))
    if odd == "reward" and kind == "value":
        made.after.append(lambda columns: columns["reward/score_mean"].__setitem__(n // 2, NAN))
    columns, scores = logged(rng, made, kind)
    series = series_of(columns, made.steps)
    if odd == "version":
        at = int(made.steps[int(0.6 * n)])
        for name, factor, plus in (
            ("critic/vf_loss", 12.0, 0.0),
            ("critic/d_acc", 0.5, 0.25),
            ("critic/gap", 0.3, 0.0),
        ):
            if (rows := series.get(Column(name, name, ""))) is not None:
                later = rows[rows.step >= at]
                series[Column(name, name, "")] = rows[rows.step < at]
                series[Column(name, name, "new")] = later.assign(value=later.value * factor + plus)
    if odd == "restart":
        at = int(made.steps[int(0.6 * n)])
        ended = int(made.steps[min(int(0.7 * n), n - 1)])
        for column, rows in series.items():
            wrong = rows[(rows.step >= at) & (rows.step <= ended)]
            wrong = wrong.assign(value=wrong.value * 1.1 + 0.01)
            series[column] = pd.concat([rows[rows.step < at], wrong, rows[rows.step >= at]], ignore_index=True)
    return Made(f"{kind} {odd}", series, scores, None)


ODD = ("progressive", "quick", "noisy", "epochs", "actor", "reward", "version", "restart")


# --- failures ---


class Failure(NamedTuple):
    """A failure as it is planted.

    Attributes:
        says: What happens, as a table says it.
        kinds: Of runs that can have it.
        checks: Any of them names it.
        plant: Changes a world from an index on, 0 where it is there from the start; returns it where it is another.
        start: Whether it is there from the first step.
    """

    says: str
    kinds: tuple[str, ...]
    checks: tuple[str, ...]
    plant: Callable[[World, Rng, int], int | None]
    start: bool = False


def _ramp(w: World, at: int, width: float) -> Floats:
    """(n,) 0 before the index, rising by 1 per `width` steps from it."""
    return np.maximum(np.arange(len(w.steps)) - at + 1, 0) / width


def _since(w: World, at: int) -> NDArray[np.bool_]:
    return np.arange(len(w.steps)) >= at


def _column(name: str, at: int, value: Callable[[Floats], Floats]) -> Callable[[dict[str, Floats]], None]:
    def change(columns: dict[str, Floats]) -> None:
        if name in columns:
            columns[name][at:] = value(columns[name][at:])

    return change


def _diverges(w: World, rng: Rng, at: int) -> None:
    ramp = np.minimum(_ramp(w, at, 10), 6)
    w.scale, w.order = w.scale * np.exp(0.8 * ramp), w.order * np.exp(-ramp)


def _breaks(w: World, rng: Rng, at: int) -> None:
    since = _since(w, at)
    w.scale, w.order = np.where(since, 12 * w.temperature, w.scale), np.where(since, 0.0, w.order)


def _vf_diverges(w: World, rng: Rng, at: int) -> None:
    w.returns = w.returns * np.exp(np.minimum(_ramp(w, at, 8), 5))


def _nan(w: World, rng: Rng, at: int) -> None:
    def change(columns: dict[str, Floats]) -> None:
        for name in columns:
            if name.startswith("critic/") and name != "critic/lr":
                columns[name][at:] = np.where(np.isnan(columns[name][at:]), np.nan, NAN)

    w.after.append(change)


def _nan_bursts(w: World, rng: Rng, at: int) -> None:
    def change(columns: dict[str, Floats]) -> None:
        hit = np.flatnonzero(rng.random(len(w.steps) - at) < 0.15) + at
        loss = "critic/vf_loss" if "critic/vf_loss" in columns else "critic/d_loss"
        for name in (loss, "critic/grad_norm"):
            columns[name][[at, *hit]] = NAN

    w.after.append(change)


def _forgets(w: World, rng: Rng, at: int) -> None:
    w.order = np.maximum(w.order, 1.0)
    w.order = np.where(_since(w, at), w.order * np.exp(-3 * _ramp(w, at, 3)), w.order)


def _one_score(w: World, rng: Rng, at: int) -> None:
    w.scale = w.scale * np.maximum(np.exp(-_ramp(w, at, 2)), 0.01)


def _vanishes(w: World, rng: Rng, at: int) -> None:
    w.gradient = np.where(_since(w, at), 1e-5, w.gradient)


def _explodes(w: World, rng: Rng, at: int) -> None:
    w.gradient = w.gradient * np.exp(np.minimum(_ramp(w, at, 5), 5))


def _saturates(w: World, rng: Rng, at: int) -> None:
    ramp = np.minimum(_ramp(w, at, 10), 1)
    w.order = w.order + (4 - w.order) * ramp
    w.scale = w.scale + (8 * w.temperature - w.scale) * ramp


def _eos_from_start(w: World, rng: Rng, at: int) -> None:
    w.order = w.order + 4


def _eos_later(w: World, rng: Rng, at: int) -> None:
    w.order = np.minimum(w.order, 1.2) + 4 * _since(w, at)


def _divided_in_loss(w: World, rng: Rng, at: int) -> None:
    w.order, w.scale = w.order + 2 * _since(w, at), np.where(_since(w, at), 2.0, w.scale)
    w.gain = np.where(_since(w, at), 1 / w.tokens, w.gain)


def _divided_everywhere(w: World, rng: Rng, at: int) -> None:
    w.order = w.order + 2.5
    w.scale, w.offset = w.scale / w.tokens, w.offset / w.tokens


def _gap_divided(w: World, rng: Rng, at: int) -> None:
    w.logged_gap = np.full(len(w.steps), 1 / w.tokens)


def _zeros(w: World, rng: Rng, at: int) -> None:
    w.zeros = np.where(_since(w, at), 0.25, 0.0)


def _clips(w: World, rng: Rng, at: int) -> None:
    w.clipped = np.where(_since(w, at), 0.5, 0.0)


def _length(w: World, rng: Rng, at: int) -> None:
    w.by_length = np.where(_since(w, at), 0.5, w.by_length)


def _one_side_spreads(w: World, rng: Rng, at: int) -> None:
    w.teacher_scale = w.teacher_scale * np.exp(np.minimum(_ramp(w, at, 10), math.log(8)))


def _offset(w: World, rng: Rng, at: int) -> None:
    w.offset = w.offset + 80 * w.scale.max() * np.minimum(_ramp(w, at, 30), 1)


def _explains_less(w: World, rng: Rng, at: int) -> None:
    w.explained = np.where(_since(w, at), -rng.uniform(1, 72) * np.exp(0.3 * drift(rng, len(w.steps))), w.explained)


def _explains_nothing(w: World, rng: Rng, at: int) -> None:
    w.explained = np.where(_since(w, at), 0.004 * drift(rng, len(w.steps)), w.explained)


def _by_heart(w: World, rng: Rng, at: int) -> int:
    w.epoch = 3.0 * (w.steps - w.steps[0]) / len(w.steps)
    before = np.maximum(w.order, 0.8)
    w.temperature, w.scale = 1.0, np.maximum(w.scale, 1.0)
    w.order = before + 1.2 * np.floor(w.epoch)
    w.held_out = w.held_out * before / w.order
    return int(np.flatnonzero(w.epoch >= 1)[0])


def _held_out_is_chance(w: World, rng: Rng, at: int) -> None:
    w.order = 1.05 * (1 - np.exp(-np.arange(len(w.steps)) / 25)) * (1 + 0.05 * drift(rng, len(w.steps)))
    w.held_out = np.where(_since(w, at), -0.15 / np.maximum(w.order, 0.1), 1.0)


def _overfits(w: World, rng: Rng, at: int) -> None:
    w.temperature = 1.0
    w.scale, ramp = np.ones(len(w.steps)), _ramp(w, at, len(w.steps) / 2)
    w.order = 1.2 + 2 * ramp
    w.held_out = (1.1 - 2 * ramp) / w.order


def _cut(w: World, rng: Rng, at: int) -> None:
    w.truncated = np.clip(w.truncated + np.minimum(_ramp(w, at, 5), 1) * 0.6, 0, 1)


def _lost(w: World, rng: Rng, at: int) -> None:
    until = at + max(8 * w.every, int(0.1 * len(w.steps)))

    def change(columns: dict[str, Floats]) -> None:
        for name in columns:
            columns[name][at:until] = np.nan

    w.after.append(change)


def _ends(w: World, rng: Rng, at: int) -> None:
    for name in ("critic/d_acc", "critic/vf_loss", "critic/grad_norm"):
        w.after.append(_column(name, at, lambda column: np.full(len(column), np.nan)))


def _swapped(w: World, rng: Rng, at: int) -> None:
    w.order = -np.maximum(np.abs(w.order), 1.0)


def _swapped_later(w: World, rng: Rng, at: int) -> None:
    w.order = np.where(_since(w, at), -np.maximum(np.abs(w.order), 1.0), w.order)


def _learns_nothing(w: World, rng: Rng, at: int) -> None:
    n = len(w.steps)
    w.order, w.rate = np.zeros(n), np.zeros(n)
    w.scale = np.full(n, 0.2)


def _frozen(w: World, rng: Rng, at: int) -> None:
    rate = w.rate
    _learns_nothing(w, rng, at)
    w.rate = rate


def _spikes(w: World, rng: Rng, at: int) -> None:
    hit = at + w.every * np.cumsum(rng.integers(4, 10, 12))
    places = [at, *hit[hit < len(w.steps)]]
    for name in ("critic/d_loss", "critic/vf_loss"):
        w.after.append(
            lambda columns, name=name: (
                name in columns
                and columns[name].__setitem__(places, columns[name][places] + 10 * np.nanmax(columns[name][:at]))
            )
        )


def _other_data(w: World, rng: Rng, at: int) -> None:
    w.order = np.where(_since(w, at), 0.1 * w.order, np.maximum(w.order, 1.5))


_PAIRS = ("gad", "game", "trl", "openrlhf")
_GAD = ("gad", "game")
FAILURES = {
    "loss diverges": Failure("order is lost and scores grow over tens of steps", _PAIRS, ("divergence",), _diverges),
    "loss breaks": Failure(
        "scores become large and random at once", _PAIRS, ("divergence", "collapse", "shift"), _breaks
    ),
    "value loss diverges": Failure("the value loss grows 150 times", ("value",), ("divergence",), _vf_diverges),
    "NaN from a step on": Failure("every figure of the critic", (*_PAIRS, "value"), ("not-finite",), _nan),
    "NaN now and then": Failure("loss and gradient at 15 % of steps", (*_PAIRS, "value"), ("not-finite",), _nan_bursts),
    "order is lost": Failure("d_acc falls to chance in three steps", ("gad", "trl"), ("collapse", "shift"), _forgets),
    "one score for all": Failure("scores shrink to 1 % in ten steps", _GAD, ("collapse",), _one_score),
    "gradient vanishes": Failure("to 1e-5 of it", (*_PAIRS, "value"), ("gradient",), _vanishes),
    "gradient explodes": Failure(
        "150 times in 25 steps, the loss not yet", (*_PAIRS, "value"), ("gradient",), _explodes
    ),
    "saturation": Failure("gaps become tens of T in ten steps", _GAD, ("saturation", "shift"), _saturates),
    "EOS on one side": Failure("told apart from the first step on", _PAIRS, ("early",), _eos_from_start, True),
    "EOS on one side, later": Failure("from a step on, 4 SD", _PAIRS, ("shift", "saturation"), _eos_later),
    "divided twice in the loss": Failure(
        "its gap is one over the length", ("gad", "game"), ("contradiction-loss",), _divided_in_loss
    ),
    "divided twice, all of it": Failure(
        "scores too, from the start", ("gad", "openrlhf"), ("contradiction-loss",), _divided_everywhere, True
    ),
    "gap divided by length": Failure(
        "the logged gap alone, from the start", _GAD, ("contradiction-gap",), _gap_divided, True
    ),
    "scores of 0.0": Failure("a quarter of them", _GAD, ("equal-scores",), _zeros),
    "clipped scores": Failure("half of them at one value", _GAD, ("equal-scores",), _clips),
    "length earns score": Failure("half of the variance", _GAD, ("length",), _length),
    "one side spreads": Failure("teacher scores, 8 times in 20 steps", _GAD, ("scale",), _one_side_spreads),
    "offset runs away": Failure("80 SD in 30 steps", _GAD, ("scale", "shift"), _offset),
    "worse than a constant": Failure(
        "explained variance of -1 to -72", ("value",), ("explained-variance",), _explains_less
    ),
    "values explain nothing": Failure(
        "explained variance of 0", ("value",), ("explained-variance",), _explains_nothing
    ),
    "learnt by heart": Failure(
        "the loss falls where pairs come again", ("trl", "openrlhf"), ("epochs", "held-out"), _by_heart, True
    ),
    "held-out at chance": Failure(
        "0.77 in training, 0.46 on held-out pairs", ("trl", "openrlhf"), ("held-out",), _held_out_is_chance
    ),
    "held-out gets worse": Failure("while training gets better", ("trl", "openrlhf"), ("held-out",), _overfits),
    "answers are cut": Failure("60 % more of them", (*_GAD, "value"), ("truncation",), _cut),
    "log lost": Failure("a tenth of the steps", (*_PAIRS, "value"), ("steps",), _lost),
    "a figure ends": Failure("d_acc, value loss, gradient", (*_PAIRS, "value"), ("steps",), _ends),
    "sides swapped": Failure("from the start", _PAIRS, ("reversed",), _swapped, True),
    "sides swapped, later": Failure("from a step on", _PAIRS, ("reversed", "shift", "divergence"), _swapped_later),
    "nothing is learnt": Failure("a learning rate of 0", _PAIRS, ("no-learning",), _learns_nothing, True),
    "nothing reaches the critic": Failure(
        "it is frozen, at a sound learning rate", _PAIRS, ("no-learning",), _frozen, True
    ),
    "loss spikes": Failure("ten times the loss, every few steps", (*_PAIRS, "value"), ("spikes",), _spikes),
    "other data": Failure("nine tenths of the gap is gone at once", _PAIRS, ("shift", "collapse"), _other_data),
}


def failed(name: str, seed: int, most: int = 2000) -> Made:
    """A run with a failure, of one of its kinds and of 250 to `most` steps."""
    rng = np.random.default_rng([seed, sum(name.encode())])
    failure = FAILURES[name]
    kind = failure.kinds[seed % len(failure.kinds)]
    made = base(rng, kind, n=int(np.exp(rng.uniform(math.log(250), math.log(most)))))
    n = len(made.steps)
    at = 0 if failure.start else int(rng.integers(int(max(70, 0.3 * n)), int(0.75 * n)))
    at -= at % made.every
    planted = failure.plant(made, rng, at)
    at = at if planted is None else planted
    columns, scores = logged(rng, made, kind)
    return Made(kind, series_of(columns, made.steps), scores, int(made.steps[at]))
