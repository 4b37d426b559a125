"""One name for each figure that runs log, what it means, and under which names frameworks log it.

A figure keeps its name over frameworks and versions; where it was computed otherwise, its definition says so. The names
were read in the frameworks' own code: verl 0.2 to 0.9.1, TRL 0.9 to 1.16, OpenRLHF 0.11.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from critic_probe.runs.record import Scalar

OTHER = "other"  # the network of names that nobody knows
_LONGEST = 200  # characters of a name
_MOST = 10_000  # names of a file


class Metric(NamedTuple):
    """A figure of a run.

    Attributes:
        name: network/figure. Networks: `critic` (the one with the scalar head that is trained), `actor`, `reward` (what
            the policy is given), `data` (lengths and counts), `run` (epoch and time).
        says: What it is, in a table's words.
    """

    name: str
    says: str


METRICS = {
    metric.name: metric
    for metric in (
        Metric("critic/d_acc", "share of pairs whose teacher scores higher"),
        Metric("critic/d_acc_soft", "mean sigmoid of the gap"),
        Metric("critic/d_loss", "mean softplus(-gap / T)"),
        Metric("critic/loss", "the critic's whole loss, regularisers included"),
        Metric("critic/loss_at_1", "mean softplus(-gap), at T = 1"),
        Metric("critic/gap", "mean teacher score minus mean student score"),
        Metric("critic/separation", "gap over the sum of both sides' SD"),
        Metric("critic/teacher_mean", "mean teacher score"),
        Metric("critic/student_mean", "mean student score"),
        Metric("critic/teacher_std", "SD of teacher scores"),
        Metric("critic/student_std", "SD of student scores"),
        Metric("critic/score_min", "lowest score"),
        Metric("critic/score_max", "highest score"),
        Metric("critic/score_mean", "mean score, sides together"),
        Metric("critic/score_std", "SD of scores, sides together"),
        Metric("critic/score_reg", "range penalty on scores"),
        Metric("critic/temperature", "T of the loss"),
        Metric("critic/saturated", "share of |gap| / T above 4"),
        Metric("critic/gradient_weight", "mean sigmoid(-gap / T), the gradient that is left"),
        Metric("critic/hard_samples", "share of |gap| below 0.1"),
        Metric("critic/overlap", "share of scores beyond the other side's mean"),
        Metric("critic/length_ratio", "mean teacher length over student length"),
        Metric("critic/grad_norm", "the critic's gradient norm"),
        Metric("critic/lr", "the critic's learning rate"),
        Metric("critic/vf_loss", "the value loss"),
        Metric("critic/vf_clipfrac", "share of clipped values"),
        Metric("critic/explained_variance", "1 - Var(returns - values) / Var(returns)"),
        Metric("critic/value_mean", "mean value"),
        Metric("critic/vpred_mean", "mean value while it is trained"),
        Metric("critic/returns_mean", "mean return"),
        Metric("critic/eval_acc", "d_acc on held-out pairs"),
        Metric("critic/eval_loss", "loss on held-out pairs"),
        Metric("critic/eval_gap", "gap on held-out pairs"),
        Metric("critic/eval_score_mean", "mean score on held-out pairs"),
        Metric("critic/eval_score_std", "SD of scores on held-out pairs"),
        Metric("reward/score_mean", "mean score that the policy was given"),
        Metric("reward/score_max", "highest score that the policy was given"),
        Metric("reward/score_min", "lowest score that the policy was given"),
        Metric("reward/score_std", "SD of scores that the policy was given"),
        Metric("reward/reward_mean", "mean reward, penalties included"),
        Metric("actor/grad_norm", "the policy's gradient norm"),
        Metric("actor/lr", "the policy's learning rate"),
        Metric("actor/entropy", "the policy's entropy"),
        Metric("actor/kl", "the policy's divergence from its reference"),
        Metric("data/response_length_mean", "mean response length in tokens"),
        Metric("data/student_length_mean", "mean student length in tokens"),
        Metric("data/teacher_length_mean", "mean teacher length in tokens"),
        Metric("data/truncated", "share of responses that were cut"),
        Metric("run/epoch", "the epoch"),
    )
}


class Logged(NamedTuple):
    """How a framework logs a figure.

    Attributes:
        framework: verl, gad (forks of verl for adversarial distillation), trl, openrlhf or critic-probe.
        logged: Its name in the log.
        name: The one of `METRICS`.
        definition: What tells it from other figures of that name; "" where nothing does.
        since: The first version that logs it so; "" for any.
        before: The first version that no longer does.
    """

    framework: str
    logged: str
    name: str
    definition: str = ""
    since: str = ""
    before: str = ""


_TIES_WRONG = "ties wrong"
_TIES_WRONG_MEANS = "ties wrong, mean of batch means"
_D_ACC_OF_FORKS = "ties wrong, ties right or mean sigmoid of the gap, by fork"

LOGGED = (
    # The reward's figures, which verl logs under `critic/` too.
    Logged("verl", "critic/score/mean", "reward/score_mean", "empty responses counted", before="0.6"),
    Logged("verl", "critic/score/mean", "reward/score_mean", "empty responses left out", since="0.6"),
    Logged("verl", "critic/score/max", "reward/score_max"),
    Logged("verl", "critic/score/min", "reward/score_min"),
    Logged("verl", "critic/rewards/mean", "reward/reward_mean", "empty responses counted", before="0.6"),
    Logged("verl", "critic/rewards/mean", "reward/reward_mean", "empty responses left out", since="0.6"),
    # The value network's.
    Logged("verl", "critic/vf_loss", "critic/vf_loss", "mean over micro-batches", before="0.6"),
    Logged("verl", "critic/vf_loss", "critic/vf_loss", "divided by the micro-batches once more", "0.6", "0.7"),
    Logged("verl", "critic/vf_loss", "critic/vf_loss", "summed over mini-batches and epochs (FSDP)", "0.7", "0.8"),
    Logged("verl", "critic/vf_loss", "critic/vf_loss", "mean over micro-batches", "0.8", "0.9"),
    Logged("verl", "critic/vf_loss", "critic/vf_loss", "over the global mini-batch", since="0.9"),
    Logged("verl", "critic/vf_clipfrac", "critic/vf_clipfrac"),
    Logged("verl", "critic/vf_explained_var", "critic/explained_variance", "over tokens, Var(returns) + 1e-5"),
    Logged("verl", "critic/values/mean", "critic/value_mean", "before the update"),
    Logged("verl", "critic/vpred_mean", "critic/vpred_mean"),
    Logged("verl", "critic/returns/mean", "critic/returns_mean"),
    Logged("verl", "critic/grad_norm", "critic/grad_norm"),
    Logged("verl", "critic/lr", "critic/lr"),
    Logged("verl", "actor/grad_norm", "actor/grad_norm"),
    Logged("verl", "actor/lr", "actor/lr"),
    Logged("verl", "actor/entropy_loss", "actor/entropy", before="0.4.1"),
    Logged("verl", "actor/entropy", "actor/entropy", since="0.4.1"),
    Logged("verl", "critic/kl", "actor/kl", "of the reward's penalty", before="0.4"),
    Logged("verl", "actor/reward_kl_penalty", "actor/kl", "of the reward's penalty", since="0.4"),
    Logged("verl", "response_length/mean", "data/response_length_mean"),
    Logged("verl", "response_length/clip_ratio", "data/truncated"),
    Logged("verl", "training/epoch", "run/epoch"),
    # Discriminators in forks of verl.
    Logged("gad", "critic/d_acc", "critic/d_acc", _D_ACC_OF_FORKS),
    Logged("gad", "critic/d_loss", "critic/d_loss"),
    Logged("gad", "critic/soft_d_acc", "critic/d_acc_soft"),
    Logged("gad", "critic/score_reg", "critic/score_reg"),
    Logged("gad", "critic/score_diff", "critic/gap"),
    Logged("gad", "critic/score_separation", "critic/separation"),
    Logged("gad", "critic/teacher_score_mean", "critic/teacher_mean"),
    Logged("gad", "critic/student_score_mean", "critic/student_mean"),
    Logged("gad", "critic/teacher_score_std", "critic/teacher_std"),
    Logged("gad", "critic/student_score_std", "critic/student_std"),
    Logged("gad", "critic/temperature", "critic/temperature"),
    Logged("gad", "critic/hard_samples_ratio", "critic/hard_samples"),
    Logged("gad", "critic/score_overlap", "critic/overlap"),
    Logged("gad", "critic/length_ratio", "critic/length_ratio"),
    # `critic-probe warmup`.
    Logged("critic-probe", "critic/d_acc", "critic/d_acc", "ties half"),
    Logged("critic-probe", "critic/saturated", "critic/saturated"),
    Logged("critic-probe", "critic/loss_at_1", "critic/loss_at_1"),
    Logged("critic-probe", "val/d_acc", "critic/eval_acc", "ties half"),
    Logged("critic-probe", "val/loss_at_1", "critic/eval_loss", "at T = 1"),
    Logged("critic-probe", "val/score_diff", "critic/eval_gap"),
    # TRL's RewardTrainer.
    Logged("trl", "loss", "critic/loss"),
    Logged("trl", "accuracy", "critic/d_acc", _TIES_WRONG_MEANS),
    Logged("trl", "margin", "critic/gap"),
    Logged("trl", "min_reward", "critic/score_min", "mean of batch minima"),
    Logged("trl", "mean_reward", "critic/score_mean"),
    Logged("trl", "max_reward", "critic/score_max", "mean of batch maxima"),
    Logged("trl", "grad_norm", "critic/grad_norm"),
    Logged("trl", "learning_rate", "critic/lr"),
    Logged("trl", "eval_loss", "critic/eval_loss"),
    Logged("trl", "eval_accuracy", "critic/eval_acc", "ties left out, or right in old versions", before="0.24"),
    Logged("trl", "eval_accuracy", "critic/eval_acc", _TIES_WRONG_MEANS, since="0.24"),
    Logged("trl", "eval_margin", "critic/eval_gap"),
    Logged("trl", "eval_mean_reward", "critic/eval_score_mean"),
    Logged("trl", "epoch", "run/epoch"),
    # TRL's PPOTrainer.
    Logged("trl", "loss/value_avg", "critic/vf_loss", "mean over micro-batches"),
    Logged("trl", "val/clipfrac_avg", "critic/vf_clipfrac"),
    Logged("trl", "objective/scores", "reward/score_mean"),
    Logged("trl", "objective/rlhf_reward", "reward/reward_mean"),
    Logged("trl", "objective/kl", "actor/kl"),
    Logged("trl", "policy/entropy_avg", "actor/entropy"),
    Logged("trl", "lr", "actor/lr"),
    # OpenRLHF: reward models, then PPO.
    Logged("openrlhf", "train/loss_mean", "critic/loss"),
    Logged("openrlhf", "train/acc_mean", "critic/d_acc", _TIES_WRONG_MEANS),
    Logged("openrlhf", "train/chosen_reward", "critic/teacher_mean", "of the last micro-batch"),
    Logged("openrlhf", "train/reject_reward", "critic/student_mean", "of the last micro-batch"),
    Logged("openrlhf", "train/lr", "critic/lr"),
    Logged("openrlhf", "train/grad_norm", "critic/grad_norm"),
    Logged("openrlhf", "eval/eval_loss", "critic/eval_loss"),
    Logged("openrlhf", "eval/acc_mean", "critic/eval_acc", _TIES_WRONG_MEANS),
    Logged("openrlhf", "eval/reward_mean", "critic/eval_score_mean"),
    Logged("openrlhf", "eval/reward_std", "critic/eval_score_std"),
    Logged("openrlhf", "train/critic_loss", "critic/vf_loss", "mean over micro-batches"),
    Logged("openrlhf", "train/values", "critic/value_mean", "while it is trained"),
    Logged("openrlhf", "train/critic_lr", "critic/lr"),
    Logged("openrlhf", "train/critic_grad_norm", "critic/grad_norm"),
    Logged("openrlhf", "train/actor_lr", "actor/lr"),
    Logged("openrlhf", "train/actor_grad_norm", "actor/grad_norm"),
    Logged("openrlhf", "train/kl", "actor/kl"),
    Logged("openrlhf", "rollout/reward_mean", "reward/score_mean"),
    Logged("openrlhf", "rollout/reward_std", "reward/score_std"),
    Logged("openrlhf", "rollout/response_length_mean", "data/response_length_mean"),
    Logged("openrlhf", "rollout/truncated_rate", "data/truncated"),
)

SCORING = {
    "student_mean": ("critic/student_mean", "of a micro-batch"),
    "teacher_mean": ("critic/teacher_mean", "of a micro-batch"),
    "gap": ("critic/gap", "of a micro-batch"),
    "above": ("critic/d_acc", f"{_TIES_WRONG}, of a micro-batch"),
    "score_min": ("critic/score_min", "of a micro-batch"),
    "score_max": ("critic/score_max", "of a micro-batch"),
}
"""Batch statistics of scoring-detail logs: by what the reader calls them, name and definition."""

EVAL = {
    **dict.fromkeys(("d_acc", "acc", "accuracy", "eval_acc", "eval_d_acc", "eval_accuracy", "val_d_acc"), "eval_acc"),
    **dict.fromkeys(("loss", "d_loss", "eval_loss", "eval_d_loss", "val_loss"), "eval_loss"),
    **dict.fromkeys(("score_diff", "gap", "score_gap", "mean_gap", "eval_score_diff", "eval_gap"), "eval_gap"),
}
"""Names in files of evaluations, `eval_history.csv` and `eval_step_N_results.json`: by name, the critic's figure."""

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
        evaluation: Whether the figures are of held-out pairs, under names of their own.
        refused: How many figures had a name too long or too many beside it.
    """

    def __init__(self, framework: str = "") -> None:
        self.framework = framework
        self.since = ""
        self.before = ""
        self.evaluation = False
        self.refused = 0
        self._known: dict[str, tuple[str, str]] = {}
        self._ranking = False

    @property
    def version(self) -> str:
        """The versions that it can be: `0.6 or later`, `before 0.4`, `from 0.4 and before 0.6`."""
        if self.since and self.since == self.before:
            return self.since
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

    def _narrow(self, since: str, before: str) -> None:
        """Takes what a record tells of its version; where that is another one, the run went on under another."""
        latest = max(self.since, since, key=_parts)
        earliest = min(filter(None, (self.before, before)), key=_parts, default="")
        if latest and earliest and _parts(latest) >= _parts(earliest):
            latest, earliest = since, before
        self.since, self.before = latest, earliest

    def scalars(self, step: int, figures: Mapping[str, float], place: str) -> Iterator[Scalar]:
        """The figures of a record under their one name each."""
        known = self._known
        if not known.keys() >= figures.keys():
            self.learn(figures)
        for logged, value in figures.items():
            named = known.get(logged)
            if named is None:
                if len(logged) > _LONGEST or len(known) >= _MOST:
                    self.refused += 1
                    continue
                named = known[logged] = self._named(logged)
            yield Scalar(step, named[0], value, logged, named[1], place)

    def _named(self, logged: str) -> tuple[str, str]:
        name = _plain(logged)
        if self._ranking and name in ("critic/ranking_loss", "critic/d_loss"):
            return ("critic/d_loss", "") if name == "critic/ranking_loss" else ("critic/loss", "score_reg included")
        for framework in _ALSO.get(self.framework, (self.framework,)):
            rows = _ROWS.get((framework, name)) or _ROWS.get((framework, logged))
            if rows:
                sure = [row for row in rows if self._holds(row)]
                return rows[0].name, sure[0].definition if sure else ""
        if self.evaluation and logged in EVAL:
            return f"critic/{EVAL[logged]}", ""
        return f"{OTHER}/{logged}", ""

    def _holds(self, row: Logged) -> bool:
        """Whether a row is of the version, as far as that is known."""
        if row.framework == "verl" and self.framework not in ("verl", "gad"):
            return not (row.since or row.before)
        late = not row.since or bool(self.since and _parts(self.since) >= _parts(row.since))
        early = not row.before or bool(self.before and _parts(self.before) <= _parts(row.before))
        return late and early


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
