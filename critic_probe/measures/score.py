"""Every response's score under every read-out, handed on one by one: only numbers are kept."""

import hashlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd
from torch import Tensor

from critic_probe.encoding import Encoded, EncodedPair, EncodedResponse
from critic_probe.errors import Notice, parameter
from critic_probe.measures.compare import read_text
from critic_probe.measures.result import Measured, Statement
from critic_probe.measures.steps import READ_OUTS, Steps
from critic_probe.measures.wording import statement
from critic_probe.stats.best_of import BestOf, best_of
from critic_probe.text import ends_in_terminal, listed
from critic_probe.workbench import Ask, Bench, CriticRecord, Run, Values, floor_sentence, prompt_hash

Kind = Literal["text", "number", "whole", "truth", "numbers"]
_FACTS: dict[str, Kind] = {
    "critic": "text",
    "id": "text",
    "response": "text",
    "rank": "number",
    "label": "number",
    "prompt_hash": "text",
    "response_hash": "text",
    "category": "text",
    "tokens": "whole",
    "characters": "whole",
    "terminal": "truth",
    "eos": "truth",
}
_QUANTILES = {"min": 0.0, "p5": 0.05, "median": 0.5, "p95": 0.95, "max": 1.0}
_ONE_TOKEN = ("last", "last+eos", "min", "max")


class Sink(Protocol):
    """What takes rows while they are scored, and more columns of them when all are."""

    def begin(self, columns: Mapping[str, Kind]) -> None:
        """A critic's rows begin."""

    def add(self, row: Mapping[str, Any]) -> None:
        """One more of them."""

    def end(self, columns: Mapping[str, Kind], values: Mapping[str, Any]) -> None:
        """They end; further columns, each one value or as many as there are rows."""


@dataclass(frozen=True, repr=False)
class ScoreResult(Measured):
    """How the scores of responses are distributed, and which response of each prompt is the best.

    Attributes:
        scores: One row per critic and aggregation: n responses to so many prompts; mean, sd, min, p5, median, p95 and
            max of their scores, and the noise floor.
        best_of: One row per critic and aggregation: of so many prompts, each with n candidates, those whose winner
            leads the next by no more than the floor (ties), those whose winner is not that of the critic's first
            aggregation (disagree), those of them where both lead by more (told), and the median lead, also over the SD.
        accuracy: With labels, one row per critic, aggregation and n of 1, 2, 4, ...: how good the best of n is, with
            its interval over prompts, under the read-outs, by length, and by the labels themselves.
        winners: One row per critic, aggregation and prompt: id and response of the winner, its score, lead and label.
    """

    command = "score"
    tables = ("scores", "best_of", "accuracy", "winners")
    main = "scores"

    scores: pd.DataFrame
    best_of: pd.DataFrame
    accuracy: pd.DataFrame
    winners: pd.DataFrame

    def answer(self) -> list[Statement]:
        """What was scored, how often read-outs choose otherwise, and what the best of N is worth."""
        row = self.scores.iloc[0].to_dict()
        said = [statement(f"{row['n']:,} responses to {row['prompts']:,} prompts are scored.", row, "n", "prompts")]
        for critic in self.best_of.critic.unique() if len(self.best_of) else ():
            said += _chosen(self.best_of[self.best_of.critic == critic])
        for critic in self.accuracy.critic.unique() if len(self.accuracy) else ():
            read = self.accuracy.aggregation.isin(self.scores.aggregation)
            said.append(_worth(self.accuracy[read & (self.accuracy.critic == critic)]))
        next_ = "Next: compare reads what -o writes, where one response is known to be better than another."
        return [*said, Statement(next_, {})]

    def read_aloud(self) -> list[str]:
        """Plain sentences on how to read it, from its own tables and signature."""
        return _reading(self.signature["critics"], self.best_of, self.accuracy)


class Score:
    """The measurement behind `score`.

    Args:
        sink: Takes a row a response; None where nobody wants them.
        values: Whether rows hold each token's value.
        steps: What marks the steps that a process reward model scores; None where there are none.
        candidates: Of how many responses to a prompt the best is asked for; None for none.
    """

    label = "responses"
    needs_floors = True

    def __init__(
        self,
        sink: Sink | None = None,
        *,
        values: bool = False,
        steps: Steps | None = None,
        candidates: int | None = None,
    ) -> None:
        self._sink, self._values, self._steps, self._candidates = sink, values, steps, candidates
        self._tables: list[pd.DataFrame] = []
        self._bests: list[BestOf] = []
        self._notices: list[Notice] = []

    def begin(self, bench: Bench) -> None:
        """A critic's turn begins."""
        self._read_outs = [a.name for a in bench.settings.aggregations] + list(READ_OUTS if self._steps else ())
        self._marks = self._steps.marks(bench) if self._steps else frozenset[int]()
        self._scored = _Scored(self._read_outs, [] if self._candidates else None)
        self._row: _Row | None = None
        self._most_steps = 0
        if self._sink is not None:
            self._sink.begin(self._columns(bench))

    def ask(self, bench: Bench, record: Encoded) -> Ask:
        """Every response, and nothing else."""

        def take(values: Values) -> None:
            identity, responses = _called(record)
            if self._row is None or self._row.id != identity:
                self._hand_on(bench)
                self._row = _Row(identity, prompt_hash(record.record), record.record.category)
            for name, facts, response in responses:
                if name not in self._row.responses:
                    scored = self._of_response(bench, record, response, values[response.ids])
                    self._row.responses[name] = facts | scored

        return Ask((), take)

    def end(self, bench: Bench) -> None:
        """Every response of a critic is scored."""
        self._hand_on(bench)
        floors = {name: self._floor(bench, name) for name in self._read_outs}
        columns: dict[str, Kind] = {f"{name}_floor": "number" for name in floors}
        more: dict[str, Any] = {f"{name}_floor": floor for name, floor in floors.items()}
        self._tables.append(self._scored.summary(bench.name, floors))
        if self._candidates:
            best = best_of(bench.name, self._scored.frame, self._scored.names or [], floors, self._candidates)
            self._bests.append(best)
            columns.update({f"{name}_wins": "truth" for name in best.wins})
            more.update({f"{name}_wins": wins for name, wins in best.wins.items()})
            if not len(best.table):
                message = f"{bench.name}: no prompt has {self._candidates} responses, so none is the best of so many"
                self._notices.append(Notice("no-candidates", message))
        if self._sink is not None:
            self._sink.end(columns, more)
        self._notices += self._told(bench.name)

    def result(self, done: Run) -> ScoreResult:
        """The tables over all critics."""
        best, accuracy, winners = (
            pd.concat([pd.DataFrame(), *(getattr(each, name) for each in self._bests)], ignore_index=True)
            for name in ("table", "accuracy", "winners")
        )
        return ScoreResult(
            scores=pd.concat(self._tables, ignore_index=True),
            best_of=best,
            accuracy=accuracy,
            winners=winners,
            notices=[*done.notices, *self._notices],
            signature=done.signature(),
            reading=_reading(done.records, best, accuracy),
            input=done.input,
        )

    def _columns(self, bench: Bench) -> dict[str, Kind]:
        """The columns that are known before anything is scored; see `_of_response`."""
        columns: dict[str, Kind] = dict(_FACTS)
        for aggregation in bench.settings.aggregations:
            columns[f"{aggregation.name}_score"] = "number"
            if bench.critic.head.normalisation is not None:
                columns[f"{aggregation.name}_raw_score"] = "number"
            if aggregation.kind in _ONE_TOKEN:
                columns[f"{aggregation.name}_token_read"] = "text"
        if self._steps:
            columns["steps"] = "numbers"
            columns.update({f"{name}_score": "number" for name in READ_OUTS})
        if self._values:
            columns["values"] = "numbers"
        return columns

    def _of_response(self, bench: Bench, record: Encoded, response: EncodedResponse, values: Tensor) -> dict[str, Any]:
        row: dict[str, Any] = {
            "response_hash": hashlib.sha256(response.text.encode(errors="replace")).hexdigest()[:12],
            "tokens": len(response.ids),
            "characters": len(response.text),
            "terminal": ends_in_terminal(response.text),
            "eos": response.eos[-1],
        }
        for aggregation in bench.settings.aggregations:
            row[f"{aggregation.name}_score"] = bench.score(values, response, aggregation)
            if (normalisation := bench.critic.head.normalisation) is not None:
                mean, std = normalisation
                row[f"{aggregation.name}_raw_score"] = bench.score(values * std + mean, response, aggregation)
            if aggregation.kind in _ONE_TOKEN:
                row[f"{aggregation.name}_token_read"] = read_text(bench, record, values, response, aggregation)
        if self._steps:
            steps, scores = self._steps.scores(values, self._steps.ends(bench, self._marks, response))
            self._most_steps = max(self._most_steps, len(steps))
            row |= {"steps": steps} | {f"{name}_score": score for name, score in scores.items()}
        return row | ({"values": values.tolist()} if self._values else {})

    def _hand_on(self, bench: Bench) -> None:
        """The responses of the row that is complete, in order, as rows of their own."""
        if self._row is None:
            return
        for row in self._row.rows(bench.name):
            self._scored.add(row)
            if self._sink is not None:
                self._sink.add(row)
        self._row = None

    def _floor(self, bench: Bench, name: str) -> float:
        if self._steps and name in READ_OUTS:
            return self._steps.floor(bench, name, self._most_steps)
        return bench.floor(name)

    def _told(self, critic: str) -> Iterator[Notice]:
        if not self._steps:
            return
        scores = self._scored.frame
        unmarked, lost = scores["step-last"].isna().sum(), scores["step-product"].isna().sum()
        if unmarked:
            yield Notice("no-steps", f"{critic}: {unmarked} responses hold no mark of a step, and have no step's score")
        if lost > unmarked:
            message = (
                f"{critic}: {lost - unmarked} responses have step values outside 0 to 1: they are no probabilities "
                f"and have no product; if they are logits, {parameter('step_sigmoid', True)}"
            )
            yield Notice("no-product", message)


@dataclass
class _Row:
    """A row of the file while its responses come in."""

    id: str
    prompt_hash: str
    category: str
    responses: dict[str, dict[str, Any]] = field(default_factory=dict)

    def rows(self, critic: str) -> Iterator[dict[str, Any]]:
        """Its responses by name; of ranked ones those of the best rank are the right ones."""
        best = min((each["rank"] for each in self.responses.values() if each["rank"] is not None), default=None)
        for name in sorted(self.responses, key=lambda name: (name.rstrip("0123456789"), len(name), name)):
            row = self.responses[name]
            label = row["label"] if best is None else float(row["rank"] == best)
            about = {"prompt_hash": self.prompt_hash, "category": self.category}
            yield {"critic": critic, "id": self.id, "response": name, **row, **about, "label": label}


def _called(record: Encoded) -> tuple[str, Iterator[tuple[str, dict[str, Any], EncodedResponse]]]:
    """A row's id, and its responses with what they are called within it and what is known of them."""
    if isinstance(record, EncodedPair):
        pair = record.pair
        ranks: Sequence[float | None] = pair.ranks or (None, None)
        known = zip(pair.called, ranks, (0.0, 1.0), record.responses, strict=True)
        return pair.row or pair.id, ((n, {"rank": r, "label": label}, e) for n, r, label, e in known)
    candidates = record.record
    labels: Sequence[float | None] = candidates.labels or [None] * len(candidates.names)
    each = zip(candidates.names, labels, record.responses, strict=True)
    return candidates.id, ((name, {"rank": None, "label": label}, e) for name, label, e in each)


class _Scored:
    """The numbers of every response, eight bytes each.

    Args:
        read_outs: Under which it is scored.
        names: Takes id and name of each; None where nobody asks for them.
    """

    def __init__(self, read_outs: Sequence[str], names: list[tuple[str, str]] | None) -> None:
        self._read_outs = list(read_outs)
        self.names = names
        self._prompts: dict[str, int] = {}
        self._columns = {name: array("d") for name in ("prompt", "label", "tokens", *read_outs)}

    def add(self, row: Mapping[str, Any]) -> None:
        """One more response."""
        prompt = self._prompts.setdefault(row["prompt_hash"], len(self._prompts))
        facts = {"prompt": prompt, "label": row["label"], "tokens": row["tokens"]}
        for name, value in (facts | {name: row[f"{name}_score"] for name in self._read_outs}).items():
            self._columns[name].append(np.nan if value is None else value)
        if self.names is not None:
            self.names.append((row["id"], row["response"]))

    @property
    def frame(self) -> pd.DataFrame:
        """One row a response: prompt (a number), label, tokens, and a column a read-out."""
        return pd.DataFrame({name: np.array(column) for name, column in self._columns.items()})

    def summary(self, critic: str, floors: Mapping[str, float]) -> pd.DataFrame:
        """See `ScoreResult.scores`."""
        frame, rows = self.frame, []
        for name in self._read_outs:
            known = frame[name].dropna()
            spread = {key: known.quantile(share) for key, share in _QUANTILES.items()}
            counts = {"n": len(known), "prompts": frame.prompt[known.index].nunique()}
            moments = {"mean": known.mean(), "sd": known.std()}
            rows.append({"critic": critic, "aggregation": name, **counts, **moments, **spread, "floor": floors[name]})
        return pd.DataFrame(rows)


def _chosen(best: pd.DataFrame) -> Iterator[Statement]:
    """How often the other read-outs of a critic choose otherwise than its first."""
    first, *others = best.to_dict("records")
    if others:
        each = [f"{row['disagree']} by {row['aggregation']} ({row['told']} beyond noise)" for row in others]
        text = (
            f"{first['critic']}: of {first['prompts']} prompts another response than by {first['aggregation']} is the "
            f"best of {first['n']} in {listed(each)}."
        )
        named = ("disagree", "told", "prompts")
        yield Statement(text, {f"{row['aggregation']}.{name}": row[name] for row in others for name in named})


def _worth(accuracy: pd.DataFrame) -> Statement:
    """What the best of N is worth under each read-out of a critic, and any one."""
    most = accuracy[accuracy.n == accuracy.n.max()].to_dict("records")
    each = [f"{row['accuracy']:.2f} [{row['low']:.2f}, {row['high']:.2f}] by {row['aggregation']}" for row in most]
    one = accuracy.accuracy[accuracy.n == 1].iloc[0]
    text = f"{most[0]['critic']}: by the labels the best of {most[0]['n']} is worth {listed(each)}, any one {one:.2f}."
    named = ("accuracy", "low", "high")
    return Statement(text, {f"{row['aggregation']}.{name}": row[name] for row in most for name in named})


def _reading(records: Sequence[CriticRecord], best: pd.DataFrame, accuracy: pd.DataFrame) -> list[str]:
    said = ["Scores are in the critic's own unit: what compares across critics and read-outs is over the SD."]
    if len(best):
        said.append("A winner that leads by no more than the noise floor is one that arithmetic alone could have made.")
    if len(accuracy):
        said.append(
            "Accuracy is how good the best of n is on average, of n drawn from each prompt's candidates; `best label` "
            "takes the best there is, `longest` the one of most tokens."
        )
    return [*said, floor_sentence(records)]
