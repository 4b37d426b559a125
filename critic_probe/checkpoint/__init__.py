"""From a directory of weights to a loaded critic; a critic is its tensors, and nothing is ever initialised."""

from critic_probe.checkpoint.audit import Anatomy, Check, audit, dissect, inspect, weights_check
from critic_probe.checkpoint.critic import Critic, Start, load_critic, load_start

__all__ = [
    "Anatomy",
    "Check",
    "Critic",
    "Start",
    "audit",
    "dissect",
    "inspect",
    "load_critic",
    "load_start",
    "weights_check",
]
