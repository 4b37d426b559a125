"""Which name each logged one has, as far as the names of a log tell who wrote it and with which version."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from critic_probe.runs.names import EVAL, LOGGED, OTHER, Logged
from critic_probe.runs.record import Column, Figures

_LONGEST = 200  # characters of a name
_MOST = 10_000  # names of a file
_KINDS = 1000  # of records, by the names in them

# A name that one framework alone logs. Where several tell, the first framework of this order counts.
_TELLS = {
    "critic-probe": ("critic/loss_at_1", "critic/gradient_weight", "val/loss_at_1"),
    "gad": ("critic/d_acc", "critic/d_loss", "critic/ranking_loss", "critic/score_diff", "critic/teacher_score_mean"),
    "openrlhf": ("train/chosen_reward", "train/acc_mean", "eval/acc_mean", "train/critic_loss", "rollout/reward_mean"),
    "trl": ("mean_reward", "eval_mean_reward", "margin", "eval_margin", "objective/rlhf_reward", "loss/value_avg"),
    "verl": ("critic/score/mean", "critic/vf_loss", "actor/pg_loss", "critic/vf_explained_var", "training/global_step"),
}
_ORDER = tuple(_TELLS)
_TELLING = {name: framework for framework, names in _TELLS.items() for name in names}
_ALSO = {"gad": ("gad", "verl"), "critic-probe": ("critic-probe", "gad", "verl")}  # whose names each logs

# What a name says of the version that logs it: the first that does, or the first that no longer does.
_SINCE = {
    "perf/mfu/critic": "0.3",
    "actor/reward_kl_penalty": "0.4",
    "training/global_step": "0.4",
    "actor/entropy": "0.4.1",
    "num_turns/mean": "0.5",
    "response/aborted_ratio": "0.6",
    "perf/mfu/actor_infer": "0.7",
    "timing_s/update_weights": "0.7.1",
    "agent_loop/compute_score/mean": "0.8",
    "training/off_policy/trajectory_staleness/mean": "0.9",
    "mean_reward": "0.24",
    "eval_mean_reward": "0.24",
}
_BEFORE = {"mfu/critic": "0.3", "critic/kl": "0.4"}


class Names:
    """The names of one source, and what they tell of who wrote it.

    Args:
        framework: Who wrote it, where its format tells.

    Attributes:
        framework: Who wrote it, as far as names and format tell; "" where they do not.
        since: The first version that it can be.
        before: The first version that it cannot be.
        exact: The version, where the run says so itself.
        evaluation: Whether the figures are of held-out pairs, under names of their own.
        refused: How many figures had a name too long or too many beside it.
    """

    def __init__(self, framework: str = "") -> None:
        self.framework = framework
        self.since = ""
        self.before = ""
        self.exact = ""
        self.evaluation = False
        self.refused = 0
        self._known: dict[str, Column] = {}
        self._columns: dict[tuple[str, ...], tuple[Column, ...]] = {}
        self._ranking = False

    @property
    def version(self) -> str:
        """The versions that it can be: `0.6 or later`, `before 0.4`, `from 0.4 and before 0.6`."""
        if self.exact:
            return self.exact
        if self.since and self.before:
            return f"from {self.since} and before {self.before}"
        return f"{self.since} or later" if self.since else f"before {self.before}" if self.before else ""

    def learn(self, names: Iterable[str]) -> None:
        """Takes note of names that stand in one record, or near each other."""
        fresh = [name for name in names if name not in self._known]
        if not fresh:
            return
        before = (self.framework, self.since, self.before, self._ranking)
        plain = {_plain(name) for name in fresh}
        for name in plain:
            teller = _TELLING.get(name)
            if teller and (not self.framework or _ORDER.index(teller) < _ORDER.index(self.framework)):
                self.framework = teller
        since = max((_SINCE.get(name, "") for name in plain), key=_parts)
        ended = [_BEFORE[name] for name in plain if name in _BEFORE]
        if "critic/score/mean" in plain and "response/aborted_ratio" not in plain:
            ended.append("0.6")  # verl logs the two in one dictionary since
        self._narrow(since, min(ended, key=_parts, default=""))
        if "eval_accuracy" in plain and self.framework in ("", "trl") and not self.since:
            self.framework, self.before = "trl", "0.24"
        self._ranking |= "critic/ranking_loss" in plain
        if before != (self.framework, self.since, self.before, self._ranking):
            self._known.clear()
            self._columns.clear()

    def _narrow(self, since: str, before: str) -> None:
        """Takes what a record tells of its version; where that is another one, the run went on under another."""
        latest = max(self.since, since, key=_parts)
        earliest = min(filter(None, (self.before, before)), key=_parts, default="")
        if latest and earliest and _parts(latest) >= _parts(earliest):
            latest, earliest = since, before
        self.since, self.before = latest, earliest

    def figures(self, step: int, figures: Mapping[str, float]) -> Figures:
        """The figures of a record under their one name each."""
        columns = self._of(tuple(figures))
        if len(columns) < len(figures):
            self.refused += len(figures) - len(columns)
            figures = {column.logged: figures[column.logged] for column in columns}
        return Figures(columns, (step,), tuple(figures.values()))

    def series(self, logged: Mapping[str, tuple[Sequence[int], Sequence[float]]]) -> Iterator[Figures]:
        """Figures that each have steps of their own, and their values, under their one name each."""
        known = {column.logged: column for column in self._of(tuple(logged))}
        for name, (steps, values) in logged.items():
            if name not in known:
                self.refused += len(steps)
            elif len(steps):
                yield Figures(self._columns.setdefault((name,), (known[name],)), steps, values)

    def _of(self, logged: tuple[str, ...]) -> tuple[Column, ...]:
        return self._columns.get(logged) or self._columns_of(logged)

    def _columns_of(self, key: tuple[str, ...]) -> tuple[Column, ...]:
        """What records of these names say, which most of a log has; without names that are refused."""
        self.learn(key)
        for logged in key:
            if logged not in self._known and len(logged) <= _LONGEST and len(self._known) < _MOST:
                name, definition = self._named(logged)
                self._known[logged] = Column(name, logged, definition)
        if len(self._columns) == _KINDS:
            self._columns.clear()
        self._columns[key] = tuple(self._known[logged] for logged in key if logged in self._known)
        return self._columns[key]

    def _named(self, logged: str) -> tuple[str, str]:
        name = _plain(logged)
        if self._ranking and name in ("critic/ranking_loss", "critic/d_loss"):
            return ("critic/d_loss", "") if name == "critic/ranking_loss" else ("critic/loss", "score_reg included")
        for framework in _ALSO.get(self.framework, (self.framework,)):
            rows = _ROWS.get((framework, name)) or _ROWS.get((framework, logged)) or []
            if possible := [row for row in rows if self._can(row)]:
                sure = [row for row in possible if self._must(row)]
                return possible[0].name, sure[0].definition if sure else ""
        if self.evaluation and logged in EVAL:
            return f"critic/{EVAL[logged]}", ""
        return f"{OTHER}/{logged}", ""

    def _can(self, row: Logged) -> bool:
        """Whether a row can be of the version."""
        since, before = _parts(self.exact or self.since), _parts(self.before)
        late = bool(row.before and since >= _parts(row.before))
        early = _parts(self.exact) < _parts(row.since) if self.exact else before and before <= _parts(row.since)
        return not late and not (row.since and early)

    def _must(self, row: Logged) -> bool:
        """Whether a row is of the version, whichever of those that it can be."""
        if self.exact or not (row.since or row.before):
            return True
        late = _parts(self.since) >= _parts(row.since)
        return late and (not row.before or (bool(self.before) and _parts(self.before) <= _parts(row.before)))


_ROWS: dict[tuple[str, str], list[Logged]] = {}
for _row in LOGGED:
    _ROWS.setdefault((_row.framework, _row.logged), []).append(_row)


def _plain(logged: str) -> str:
    """A name as TRL gives it, without what transformers puts before it for TensorBoard and W&B."""
    bare = logged.removeprefix("train/")
    if logged.startswith("eval/"):
        bare = f"eval_{logged.removeprefix('eval/')}"
    return bare if bare in _OF_TRL and ("trl", logged) not in _ROWS else logged


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


_OF_TRL = frozenset(row.logged for row in LOGGED if row.framework == "trl")
