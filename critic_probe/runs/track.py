"""A run's checkpoints beside each other: what changed from step to step, and which one is best by a stated rule."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, cast

import numpy as np
import pandas as pd

from critic_probe.errors import Notice
from critic_probe.gates.baseline import FIGURE, ONLY, name_of
from critic_probe.gates.figures import TRACK
from critic_probe.gates.gate import Plan
from critic_probe.gates.measure import CheckResult, of_run
from critic_probe.measures.result import Measured, Statement
from critic_probe.measures.wording import beside, counted, in_sd, percent
from critic_probe.runs.figures import FIGURES
from critic_probe.runs.gated import gated
from critic_probe.runs.steps import Step
from critic_probe.stats.best import best_of_steps
from critic_probe.stats.intervals import NOTHING, Interval, apart, mean_interval, would_tell
from critic_probe.stats.paired import paired_p
from critic_probe.stats.rates import ALPHA, CREDIT, holm, too_few
from critic_probe.text import listed
from critic_probe.workbench import Signature

SAYS = {
    "d_acc": "d_acc",
    "gap_over_sd": "gap/SD",
    "strongest_harmless": "strongest harmless edit",
    "controls_right": "controls right",
    "complete_right": "complete above terse",
    "train_d_acc": "d_acc, training pairs",
}
"""What a figure is called in a sentence."""
RULE = (
    "The rule: of the steps that are not told to be worse than another one, the earliest. A step is told to be worse "
    "where random signs over prompts, on the same pairs and over all comparisons of two steps at once, give p of at "
    f"most {ALPHA:g}. A later step that is no better for certain has only had more time to learn what is in no pair."
)


@dataclass(frozen=True, repr=False)
class TrackResult(Measured):
    """A run's checkpoints beside each other, on the same pairs.

    Attributes:
        run: The run's directory, as it was given.
        best: One row per read-out: how many steps; the step that the rule takes; that with the highest d_acc; those
            that are not told to be worse than another one (`alike`); whether any is (`told`); and n pairs of so many
            prompts that every step has scored.
        steps: One row per step and read-out: the checkpoint's directory, and whether it is still there; n pairs of so
            many prompts; each of `FIGURES` with its interval; the names of the strongest harmless edits; the noise
            floor; how many gates fail and cannot be told; p of being worse than another step, over all comparisons; and
            where training pairs were given, their d_acc, by how much it is above that of the others (`excess`), with p
            and Holm's p over the table.
        changes: One row per figure, read-out and two steps that follow each other: the mean change on the same pairs or
            edits with its interval, p (sign-flip test over prompts) and Holm's p over the table.
        gates: What `check` says of each step; and, with a metric of `track.`, what the gates on the run say, at the
            step that the figure is of.
        left_out: Directories of steps that could not be scored, and why.
    """

    command: ClassVar[str] = "track"  # type: ignore[misc]
    facts: ClassVar[tuple[str, ...]] = ("run",)
    tables: ClassVar[tuple[str, ...]] = ("best", "steps", "changes", "gates", "left_out")
    main: ClassVar[str] = "steps"

    run: str
    best: pd.DataFrame
    steps: pd.DataFrame
    changes: pd.DataFrame
    gates: pd.DataFrame
    left_out: pd.DataFrame

    @property
    def failed(self) -> bool:
        """Whether a gate on the run fails."""
        return not self.checked("").passed

    def checked(self, source: str) -> CheckResult:
        """What the gates on the run say, as every medium shows verdicts.

        Args:
            source: Where the gates come from.
        """
        return of_run(source, self._of_run, self)

    @property
    def _of_run(self) -> pd.DataFrame:
        if self.gates.empty:
            return self.gates
        return self.gates[self.gates.metric.str.startswith(TRACK)].drop(columns="step")

    def answer(self) -> list[Statement]:
        """Which step the rule takes and what cannot be told from it, what that step is like, and what changed."""
        rows = [row for _, row in _records(self.best)]
        said = [Statement(_best(row, self._row(row["aggregation"], row["highest"])), row) for row in rows]
        taken = [self._row(row["aggregation"], row["best"]) for row in rows]
        said += [*_memorised(taken), *([_changed(self.changes)] if len(self.changes) else [])]
        said += [Statement(_like(at), {"aggregation": at["aggregation"], "step": at["step"]}) for at in taken]
        said += _gated(self._of_run)
        if len(self.left_out):
            steps = listed(self.left_out.step)
            said.append(Statement(f"Left out: step {steps}; see the warnings.", {"left_out": list(self.left_out.step)}))
        directory = f"{self.run}/{taken[0]['directory']}"
        said.append(
            Statement(f"Next: trace PAIRS -c {directory} shows where in an answer that step's score arises.", {})
        )
        return said

    def read_aloud(self) -> list[str]:
        """Plain sentences on how to read it."""
        highest = (
            "A d_acc that was the highest of several is too high by the choice: measure the step that you take on "
            "other pairs."
        )
        edits = (
            "The strongest harmless edit is chosen anew at each step, and its change is shown where both steps choose "
            "alike."
        )
        trained = (
            "train - held out: d_acc of pairs that were trained on minus that of these. What it shows is memory only "
            "as far as both files are equally hard: hold it against an early step's."
        )
        return [RULE, highest, edits, *([trained] if "train_d_acc" in self.steps else [])]

    def _row(self, aggregation: str, step: int) -> dict[str, Any]:
        rows = self.steps[(self.steps.aggregation == aggregation) & (self.steps.step == step)]
        return next(row for _, row in _records(rows))


def track(
    run: str,
    steps: Iterable[Step],
    left_out: Mapping[int, str],
    there: Collection[int],
    gates: Plan,
    unnamed: Collection[str],
) -> TrackResult:
    """Puts a run's steps beside each other.

    Args:
        run: The run's directory, as it was given.
        steps: At least one, all asked the same.
        left_out: Step -> why it could not be scored.
        there: The steps whose directories are still there.
        gates: Those on the run.
        unnamed: The read-outs that a gate bounds which names none.
    """
    ordered = sorted(steps, key=lambda step: step.step)
    read_outs = list(ordered[0].signature["aggregations"])
    best, p = _chosen(ordered, read_outs)
    rows = pd.DataFrame(
        row | {"there": step.step in there, "worse_p": p[row["aggregation"]][step.step]}
        for step in ordered
        for row in rows_of(step)
    )
    if "excess_p" in rows:
        rows["excess_p_holm"] = holm(rows.excess_p)
    of_steps = ({"step": step.step} | gate for step in ordered for gate in step.gates)
    signed = ordered[0].signature | {"critics": [c for step in ordered for c in step.signature["critics"]]}
    reasons = [Notice("left-out", f"step {step}: {why}") for step, why in sorted(left_out.items())]
    result = TrackResult(
        run=run,
        best=best,
        steps=rows,
        changes=_changes(ordered, read_outs),
        gates=pd.DataFrame([*of_steps, *gated(gates, unnamed, ordered, rows, best, max(left_out, default=-1))]),
        left_out=pd.DataFrame(sorted(left_out.items()), columns=["step", "reason"]),
        notices=[*reasons, *_notices(ordered)],
        signature=cast(Signature, signed),
        input=ordered[0].input,
    )
    result.reading.extend(result.read_aloud())
    return result


def _chosen(steps: Sequence[Step], read_outs: Sequence[str]) -> tuple[pd.DataFrame, dict[str, dict[int, float]]]:
    """The table `best`, and by read-out and step the p of being worse than another step."""
    numbers = [step.step for step in steps]
    scores = [pd.DataFrame(step.measured["scores"]).assign(step=step.step) for step in steps]
    prompts = pd.DataFrame([row for step in steps for row in step.measured["pairs"]])
    prompts = prompts.drop_duplicates("id").set_index("id").prompt_hash
    verdicts = pd.concat(scores)
    rows, p = [], {}
    for name in read_outs:
        own = verdicts[verdicts.aggregation == name]
        right = own.pivot(index="id", columns="step", values="verdict")[numbers].dropna()
        clusters = list(prompts[right.index])
        found = best_of_steps(right.apply(lambda column: column.map(CREDIT)).to_numpy(float), clusters)
        p[name] = dict(zip(numbers, found.p.tolist(), strict=True))
        rows.append(
            {
                "aggregation": name,
                "steps": len(numbers),
                "best": numbers[found.earliest],
                "highest": numbers[found.highest],
                "alike": [number for number, alike in zip(numbers, found.alike, strict=True) if alike],
                "told": not found.alike.all(),
                "n": len(right),
                "prompts": len(set(clusters)),
            }
        )
    return pd.DataFrame(rows), p


def rows_of(step: Step) -> list[dict[str, Any]]:
    """A step's rows of the table `steps`, a read-out each, but for what the other steps decide."""
    return [_figures(step, name) for name in step.signature["aggregations"]]


def _figures(step: Step, aggregation: str) -> dict[str, Any]:
    known = step.figures_of(aggregation)
    right = known["compare.d_acc", ""]
    scored = {row["id"] for row in step.measured["scores"]}
    prompts = len({row["prompt_hash"] for row in step.measured["pairs"] if row["id"] in scored})
    row: dict[str, Any] = {
        "step": step.step,
        "directory": step.directory,
        "aggregation": aggregation,
        "n": right["n"],
        "prompts": prompts,
    }
    for name, (metric, family, _) in FIGURES.items():
        figure = known.get((metric, family), {})
        ends = (figure.get(key) for key in ("value", "low", "high"))
        row |= _columns(name, Interval(*(np.nan if end is None else float(end) for end in ends)))
    row["strongest"] = step.strongest[aggregation]
    row["floor"] = step.measured["noise_floor"][ONLY][aggregation]
    gates = [gate for gate in step.gates if gate["aggregation"] in ("", aggregation) and gate["severity"] == "fail"]
    for column, word in (("gates_failed", "fail"), ("gates_unclear", "cannot tell")):
        row[column] = sum(gate["verdict"] == word for gate in gates)
    for train in step.train:
        if train["aggregation"] == aggregation:
            of_train, held_out = (
                Interval(*(part[name] for name in ("d_acc", "d_acc_low", "d_acc_high"))) for part in (train, row)
            )
            fewer = min(train["prompts"], prompts)
            difference, p = apart(of_train, held_out, fewer)
            few = too_few(min(train["n"], row["n"]), fewer)
            row |= {"train_n": train["n"], "train_prompts": train["prompts"], **_columns("train_d_acc", of_train)}
            row |= {**_columns("excess", difference), "excess_p": np.nan if few else p}
    return row


def _columns(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _changes(steps: Sequence[Step], read_outs: Sequence[str]) -> pd.DataFrame:
    names = {
        name_of(dict(zip(FIGURE, (metric, ONLY, aggregation, family, position, ""), strict=True)), FIGURE): key
        for aggregation in read_outs
        for figure, (metric, family, position) in FIGURES.items()
        for key in [(aggregation, figure)]
    }
    rows = []
    for old, new in pairwise(steps):
        changed = new.since(old, names)
        for name in (name for name in names if name in changed):
            moved = changed[name]
            prompts = list(moved.index)
            sizes = moved.count(), moved.dropna().groupby(level=0).ngroups
            tested = *mean_interval(moved, prompts), paired_p(moved, prompts)
            rows.append((*names[name], old.step, new.step, *sizes, *tested))
    columns = ["aggregation", "figure", "from_step", "to_step", "n", "prompts", "change", "low", "high", "p"]
    table = pd.DataFrame(rows, columns=columns).astype({"p": float})
    table["p_holm"] = holm(table.p)
    return table


def _notices(steps: Sequence[Step]) -> Iterator[Notice]:
    """What is told of steps, once where it is the same of several."""
    same: dict[tuple[str, str, tuple[str, ...]], list[int]] = {}
    for step in steps:
        for notice in step.notices:
            message = notice.message.removeprefix(f"step {step.step}: ").replace(f"step {step.step}/", "")
            same.setdefault((notice.code, message, tuple(notice.ids)), []).append(step.step)
    for (code, message, ids), numbers in same.items():
        of = "" if len(numbers) == len(steps) else f"step {listed(numbers)}: "
        yield Notice(code, f"{of}{message}", list(ids))


def _records(table: pd.DataFrame) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, row in enumerate(table.to_dict("records")):
        yield number, {str(key): value for key, value in row.items()}


def _d_acc(at: Mapping[str, Any]) -> str:
    return percent(*(at[name] for name in ("d_acc", "d_acc_low", "d_acc_high")))


def _best(row: Mapping[str, Any], top: Mapping[str, Any]) -> str:
    """Which step the rule takes under a read-out, and what is not known of that."""
    name, count, step = row["aggregation"], row["steps"], row["best"]
    highest = f"the highest d_acc is {_d_acc(top)}, at step {row['highest']}"
    if count == 1:
        return f"{name}: step {step} alone was scored, so nothing is chosen (d_acc {_d_acc(top)})."
    if why := too_few(row["n"], row["prompts"]):
        more = beside([would_tell(NOTHING, 0.0, row["n"], row["prompts"])])
        return f"{name}: no step can be told from another, of {why}{more}; {highest}."
    if not row["told"]:
        return (
            f"{name}: the {count} steps cannot be told apart on {row['prompts']} prompts, so which is best is not "
            f"known; {highest}, and the rule takes the earliest, step {step}."
        )
    worse = count - len(row["alike"])
    if len(row["alike"]) == 1:
        return f"{name}: step {step} is best; every other one is told to be worse ({highest})."
    return (
        f"{name}: the rule takes step {step}, the earliest of {len(row['alike'])} steps that cannot be told apart "
        f"({listed(row['alike'])}); {worse} of {count} {'is' if worse == 1 else 'are'} told to be worse; {highest}."
    )


def _like(at: Mapping[str, Any]) -> str:
    """What a step reacts to."""
    edit = listed(at["strongest"]) or "none could be judged"
    parts = []
    if not np.isnan(at["strongest_harmless"]):
        moved = in_sd(*(at[f"strongest_harmless{end}"] for end in ("", "_low", "_high")))
        parts.append(f"the strongest harmless edit ({edit}) moves {moved}")
    for name, says in (
        ("controls_right", "worse answers score lower in"),
        ("complete_right", "complete ones higher in"),
    ):
        if not np.isnan(at[name]):
            parts.append(f"{says} {percent(*(at[f'{name}{end}'] for end in ('', '_low', '_high')))}")
    gates = [f"{at[column]} {word}" for column, word in (("gates_failed", "fail"), ("gates_unclear", "cannot be told"))]
    parts.append(f"gates: {', '.join(gates)}")
    gone = "" if at["there"] else ", which is deleted by now"
    return f"Step {at['step']} read as {at['aggregation']}{gone}: {'; '.join(parts)}."


def _memorised(rows: Sequence[Mapping[str, Any]]) -> Iterator[Statement]:
    for at in rows:
        if "excess" not in at:
            continue
        low, high = at["excess_low"], at["excess_high"]
        figures = {name: at[name] for name in ("aggregation", "step", "excess", "excess_low", "excess_high")}
        by = f"{100 * at['excess']:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"
        said = f"d_acc of training pairs minus that of held-out pairs is {by}"
        sizes = min(at["n"], at["train_n"]), min(at["prompts"], at["train_prompts"])
        if np.isnan(at["excess_p_holm"]):
            word = f"; {too_few(*sizes)} to tell"
        elif at["excess_p_holm"] > ALPHA:
            more = would_tell(Interval(at["excess"], low, high), 0.0, *sizes)
            word = f", which over all steps together is not told from 0{beside([more])}"
        else:
            word = ": memorised, unless the training pairs are easier" if low > 0 else ": the training pairs are harder"
        yield Statement(f"Step {at['step']} read as {at['aggregation']}: {said}{word}.", figures)


def _gated(verdicts: pd.DataFrame) -> Iterator[Statement]:
    """How many gates on the run hold, and the first that does not."""
    if verdicts.empty:
        return
    word = verdicts.verdict.where((verdicts.severity == "fail") | (verdicts.verdict == "pass"), "warn")
    verbs = {
        "fail": ("fails", "fail"),
        "cannot tell": ("cannot be told", "cannot be told"),
        "warn": ("only warns", "only warn"),
        "pass": ("holds", "hold"),
    }
    counts = {each: int((word == each).sum()) for each in verbs}
    said = counted((count, *verbs[each]) for each, count in counts.items())
    worst = verdicts[word == next(each for each, count in counts.items() if count)]
    worst = worst[worst.verdict != "pass"]
    for _, row in _records(worst.head(1)):
        at = f"{row['metric']} {row['position']} ({row['critic']} read as {row['aggregation']})"
        said += f"; first {at}: {row['value']:.3g}, must be {row['bound']}{beside([row['note']])}"
    yield Statement(f"Gates on the run: {said}.", counts)


def _changed(table: pd.DataFrame) -> Statement:
    """What changed from one step to the next, the largest d_acc first."""
    told = table[table.p_holm < ALPHA]
    if told.empty:
        return Statement("No figure can be told to change from one step to the next.", {"changes": 0})
    of_figures = []
    for (figure, aggregation), part in told.groupby(["figure", "aggregation"], sort=False):
        row = part.iloc[part.p_holm.argmin()]
        clearest = f" (the clearest of {len(part)})" if len(part) > 1 else ""
        change = f"{row.change:+.2f} from step {row.from_step} to {row.to_step}{clearest}"
        of_figures.append(f"{SAYS[str(figure)]} read as {aggregation} by {change}")
    more = [f"{len(of_figures) - 3} more figures"] if len(of_figures) > 3 else []
    return Statement(f"Changed on the same pairs: {'; '.join([*of_figures[:3], *more])}.", {"changes": len(told)})
