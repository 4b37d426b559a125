"""From a directory of weights to a loaded critic; a critic is its tensors, and nothing is ever initialised."""

from critic_probe.checkpoint.critic import Critic, load_critic

__all__ = ["Critic", "load_critic"]
