"""How much of what a score does a rule explains that reads no content: more digits, a word, longer, an ending mark.

A rule counts something in a response. Over all edits, how the count changes is held against how the score does; what
a score that read this alone would leave unexplained is nothing, and what one that reads content leaves is most.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from critic_probe.stats.intervals import NOTHING, Totals, by_prompt, estimate
from critic_probe.stats.rates import FEW, too_few
from critic_probe.text import TERMINAL_MARKS, ends_in_terminal, is_cjk

EXPLAINED = 0.5  # half of the moves' squares
_COURTESY = re.compile(
    r"好的|当然|没问题|希望.{0,8}帮|谢谢|不客气|很高兴"
    r"|\b(?:sure|certainly|of course|happy to|glad to|thanks?|please|i hope|let me know)\b",
    re.IGNORECASE,
)
_MARKDOWN = frozenset("*#`|~_>")
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\d_\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+|[^\w\s]|_"
)
_FAMILIES = 3  # what fewer families change is what those families do, not what a score reads
_ALONE = frozenset({"EOS"})  # no part of a text, so that one family alone can change it

Floats = NDArray[np.float64]

# What a rule says of a score that rises with it, and of one that falls.
SAYS = {
    "digits": ("more digits", "fewer digits"),
    "capitals": ("more capitals", "fewer capitals"),
    "Markdown": ("more Markdown", "less Markdown"),
    "newlines": ("more newlines", "fewer newlines"),
    "blanks": ("more blanks", "fewer blanks"),
    "punctuation": ("more punctuation", "less punctuation"),
    "script": ("more Chinese, Japanese or Korean characters", "fewer Chinese, Japanese or Korean characters"),
    "repetition": ("more repetition", "less repetition"),
    "length": ("longer", "shorter"),
    "ending": ("ends in a closing mark", "ends in no closing mark"),
    "EOS": ("ends in EOS", "ends in no EOS"),
    "courtesy": ("a courtesy", "no courtesy"),
}
_FORMS = ("count", "presence", "share of tokens", "at the end")
_CLASSES = tuple(SAYS)[:7]
FEATURES: tuple[tuple[str, str], ...] = (
    *((name, form) for name in _CLASSES for form in _FORMS),
    ("repetition", "count"),
    ("repetition", "share of tokens"),
    ("length", "tokens"),
    ("length", "log of tokens"),
    ("ending", "presence"),
    ("ending", "at the end"),
    ("EOS", "presence"),
    ("courtesy", "count"),
    ("courtesy", "presence"),
)


class Traits(NamedTuple):
    """What rules can see of a response: a figure per feature, and its words."""

    features: tuple[float, ...]
    words: Counter[str]


class Change(NamedTuple):
    """What an edit changes of it: a figure per feature, and of each word that comes or goes its count and presence."""

    features: tuple[float, ...]
    words: dict[str, tuple[int, int]]


@lru_cache(maxsize=4096)
def _classes(char: str) -> tuple[bool, ...]:
    return (
        char.isdigit(),
        char.isupper(),
        char in _MARKDOWN,
        char == "\n",
        char.isspace() and char != "\n",
        unicodedata.category(char)[0] == "P",
        is_cjk(char),
    )


@lru_cache(maxsize=1024)
def traits(text: str, ids: tuple[int, ...], eos: bool) -> Traits:
    """What rules can see of a response.

    Args:
        text: Its own text.
        ids: (N,) of that text, without what closes it.
        eos: Whether EOS closes it.
    """
    counts = np.zeros(len(_CLASSES))
    for char, times in Counter(text).items():
        counts += times * np.array(_classes(char), float)
    end = text.rstrip()[-1:]
    at_end = _classes(end) if end else (False,) * len(_CLASSES)
    n = max(len(ids), 1)
    repeated = len(ids) - len(set(ids))
    features: list[float] = []
    for count, last in zip(counts.tolist(), at_end, strict=True):
        features += (count, float(count > 0), count / n, float(last))
    features += (repeated, repeated / n, len(ids), float(np.log1p(len(ids))))
    features += (float(ends_in_terminal(text)), float(end in TERMINAL_MARKS and end != ""), float(eos))
    courtesies = len(_COURTESY.findall(text))
    features += (courtesies, float(courtesies > 0))
    return Traits(tuple(features), Counter(word.casefold() for word in _WORD.findall(text)))


def change(before: Traits, after: Traits) -> Change:
    """What differs between two responses."""
    words = {
        word: (new - old, (new > 0) - (old > 0))
        for word in before.words.keys() | after.words.keys()
        if (new := after.words[word]) != (old := before.words[word])
    }
    return Change(tuple(b - a for a, b in zip(before.features, after.features, strict=True)), words)


class Fit(NamedTuple):
    """What one rule explains; the columns of `simple_rules` behind critic and read-out."""

    rule: str
    says: str
    feature: str
    n: int
    prompts: int
    families: int
    explained: float
    low: float
    high: float
    gaps: float


COLUMNS = ["critic", "aggregation", *Fit._fields, "preset", "named"]


def simple_rules(moves: pd.DataFrame, gaps: pd.DataFrame) -> pd.DataFrame:
    """What rules that read no content explain of a score: one row per critic, read-out and rule, the best first.

    With f the change of a rule's feature and d the score's, the share is that of the squares of d that b f reproduces
    with one b, (sum f d)^2 / (sum f^2 sum d^2): 1 for a score that is that feature, and 0 for one that does not move
    with it. A rule has several features (a count, its presence, its share of the tokens, whether the last character
    is one); the best is taken. The interval is over prompts. A rule is named where it explains the most, all of its
    interval lies above `EXPLAINED`, and edits of three families change its feature: EOS aside, what fewer change is
    what those edits are.

    Args:
        moves: One row per critic, read-out and edit: critic, aggregation, prompt_hash, family, delta, floor, change.
        gaps: The same of teacher against student, `delta` their gap.

    Returns:
        critic, aggregation, rule, says (which way the score follows it), feature, n (edits that change it), prompts,
        families, explained with low and high, gaps (of the pairs' gaps, 1 - sum (d - b f)^2 / sum d^2 with the b of
        the edits, at least 0), preset and named.
    """
    rows: list[tuple[object, ...]] = []
    of_pairs = dict(list(gaps.groupby(["critic", "aggregation"], sort=False)))
    for key, frame in moves.groupby(["critic", "aggregation"], sort=False):
        fits = sorted(_fits(frame, of_pairs[key]), key=lambda fit: -np.nan_to_num(fit.explained))
        for place, fit in enumerate(fits):
            enough = not too_few(fit.n, fit.prompts) and (fit.families >= _FAMILIES or fit.rule in _ALONE)
            named = place == 0 and enough and fit.low > EXPLAINED
            rows.append((*key, *fit, EXPLAINED, named))
    return pd.DataFrame(rows, columns=COLUMNS)


def _fits(frame: pd.DataFrame, pairs: pd.DataFrame) -> Iterator[Fit]:
    changes, d = list(frame.change), frame.delta.where(frame.delta.abs() > frame.floor, 0.0).to_numpy(float)
    words = _words(changes, list(frame.family))
    f, of_gaps = _features(changes, words), _features(list(pairs.change), words)
    gap = pairs.delta.to_numpy(float)
    prompts = frame.prompt_hash.to_numpy(object)
    fd, ff, dd = (by_prompt(prompts, values) for values in (f * d[:, None], f**2, d**2))
    share = _share(*(each.rows.sum(0) for each in (fd, ff, dd)))
    names = [*FEATURES, *((f"the word '{word}'", form) for word in words for form in ("count", "presence"))]
    for rule in (*SAYS, "word"):
        members = [i for i, (name, _) in enumerate(names) if name == rule or (rule == "word" and i >= len(FEATURES))]
        if not members:
            continue
        best = max(members, key=lambda i: np.nan_to_num(share[i], nan=-1.0))
        touched = f[:, best] != 0
        sums = Totals(dd.prompts, np.stack([fd.rows[:, best], ff.rows[:, best], dd.rows], axis=1))
        interval = estimate(_explained, sums).interval if share[best] > 0 else NOTHING
        low, high = max(interval.low, 0.0), min(interval.high, 1.0)
        b = sums.rows[:, 0].sum() / sums.rows[:, 1].sum() if touched.any() else 0.0
        left = ((gap - b * of_gaps[:, best]) ** 2).sum()
        name, form = names[best]
        says = f"{'with' if b > 0 else 'without'} {name}" if rule == "word" else SAYS[rule][int(b < 0)]
        explains = max(0.0, 1 - float(left / (gap**2).sum())) if gap.any() else np.nan
        yield Fit(
            rule,
            says,
            form,
            int(touched.sum()),
            frame.prompt_hash[touched].nunique(),
            frame.family[touched].nunique(),
            min(float(share[best]), 1.0),
            low,
            high,
            explains,
        )


def _features(changes: Sequence[Change], words: Sequence[str]) -> Floats:
    """Of n changes (n, F + 2 W): the features, then each word's count and presence."""
    own = np.array([each.features for each in changes], float)
    of_words = np.array([[each.words.get(word, (0, 0)) for word in words] for each in changes], float)
    return np.concatenate([own, of_words.reshape(len(changes), -1)], axis=1)


def _explained(sums: Floats) -> Floats:
    """The share, of sums over prompts (..., 3) of f d, f^2 and d^2."""
    return _share(sums[..., 0], sums[..., 1], sums[..., 2])


def _share(fd: Floats, ff: Floats, dd: Floats) -> Floats:
    below = ff * dd
    share: Floats = np.divide(fd**2, below, out=np.full(below.shape, np.nan), where=below > 0)
    return share


def _words(changes: Sequence[Change], families: Sequence[str]) -> list[str]:
    """Words that come or go in `FEW` edits, of several families."""
    seen: dict[str, Counter[str]] = {}
    for each, family in zip(changes, families, strict=True):
        for word in each.words:
            seen.setdefault(word, Counter())[family] += 1
    return sorted(word for word, by in seen.items() if len(by) >= _FAMILIES and by.total() >= FEW)
