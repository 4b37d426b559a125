"""The figures of a run's checkpoints that are followed, and that gates can bound as `track.NAME`."""

from critic_probe.errors import CriticProbeError, parameter
from critic_probe.gates.figures import TRACK
from critic_probe.gates.gate import Plan

FIGURES = {
    "d_acc": ("compare.d_acc", "", ""),
    "gap_over_sd": ("compare.gap_over_sd", "", ""),
    "strongest_harmless": ("perturb.strongest_harmless", "", ""),
    "controls_right": ("perturb.controls_right", "", ""),
    "complete_right": ("completeness.right_order", "to-complete", "whole"),
}
"""The figures that are followed -> metric, family and position of their gates."""
OF_TRAINING = ("train_d_acc", "excess")
"""Those that need pairs which were trained on."""
PLACES = ("best", "last")
"""The steps whose figures gates bound: the one that the rule takes, and the run's last."""


def check_gates(plan: Plan, trained: bool) -> None:
    """Refuses gates on what is no figure of a run.

    Args:
        plan: Gates on `track.NAME`.
        trained: Whether there are pairs that were trained on.

    Raises:
        CriticProbeError: A metric or position is unknown, needs pairs that are not given, or has a family.
    """
    known = {f"{TRACK}{name}": name for name in (*FIGURES, *OF_TRAINING)}
    for gate in plan.gates:
        if gate.metric not in known:
            raise CriticProbeError(f"{plan.source}: metric '{gate.metric}' is unknown; choose from {', '.join(known)}")
        if gate.position not in ("", *PLACES):
            raise CriticProbeError(
                f"{plan.source}: position '{gate.position}' of '{gate.metric}' is unknown; choose from "
                f"{', '.join(PLACES)}, or leave it out for both"
            )
        if gate.family or gate.category:
            raise CriticProbeError(
                f"{plan.source}: '{gate.metric}' has no families and no categories; leave out "
                f"'{gate.family or gate.category}'"
            )
        if known[gate.metric] in OF_TRAINING and not trained:
            raise CriticProbeError(
                f"{plan.source}: '{gate.metric}' needs pairs that were trained on; give {parameter('train', 'FILE')}"
            )
