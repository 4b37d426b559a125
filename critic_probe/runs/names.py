"""One name for each figure that runs log, and what it means."""

from typing import NamedTuple


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
        Metric("critic/returns_mean", "mean return"),
        Metric("critic/eval_acc", "d_acc on held-out pairs"),
        Metric("critic/eval_loss", "loss on held-out pairs"),
        Metric("critic/eval_gap", "gap on held-out pairs"),
        Metric("reward/score_mean", "mean score that the policy was given"),
        Metric("reward/score_max", "highest score that the policy was given"),
        Metric("reward/score_min", "lowest score that the policy was given"),
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
