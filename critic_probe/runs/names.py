"""One name for each figure that runs log, what it means, and under which names frameworks log it.

A figure keeps its name over frameworks and versions; where it was computed otherwise, its definition says so. The names
were read in the frameworks' own code: verl 0.2 to 0.9.1, TRL 0.9 to 1.16, OpenRLHF 0.11.
"""

from typing import NamedTuple

OTHER = "other"  # the network of names that nobody knows


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
    Logged("critic-probe", "critic/d_loss", "critic/d_loss", "range penalty included, where there is one"),
    Logged("critic-probe", "critic/saturated", "critic/saturated"),
    Logged("critic-probe", "critic/gradient_weight", "critic/gradient_weight"),
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

OF_SAMPLES = "scoring/"  # before what scoring-detail logs say of a micro-batch
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
