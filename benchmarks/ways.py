"""Ways to get the value of every response token of groups: ours, and those that users have."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from critic_probe.checkpoint import Critic
from critic_probe.encoding import Group
from critic_probe.scoring.engine import Engine
from critic_probe.scoring.reference import ReferenceScorer, padded_values

Values = list[list[Tensor]]
BATCH, BUDGET = 8, 8192


_ENGINES: dict[int, Engine] = {}


def ours(critic: Critic, groups: list[Group]) -> Values:
    """The prefix tree. Its self-check, once per run on six short sequences, is paid before the clock starts."""
    engine = _ENGINES.setdefault(id(critic), Engine(critic, mode="tree"))
    return list(engine.values(groups))


def one_at_a_time(critic: Critic, groups: list[Group]) -> Values:
    """A sequence alone, no padding."""
    return list(ReferenceScorer(critic).values(groups))


def _batched(
    critic: Critic, groups: list[Group], batches: Callable[[list[tuple[int, ...]]], list[list[int]]]
) -> Values:
    sequences = [sequence for group in groups for sequence in group.sequences]
    found: dict[int, Tensor] = {}
    for batch in batches(sequences):
        found |= dict(zip(batch, padded_values(critic, [sequences[i] for i in batch]), strict=True))
    values, at = [], 0
    for group in groups:
        first = len(group.prompt_ids) - 1
        values.append([found[at + i][first:] for i in range(len(group.responses))])
        at += len(group.responses)
    return values


def padded(critic: Critic, groups: list[Group]) -> Values:
    """Padded batches of eight in file order: verl's and TRL's way, and RewardBench's loop."""
    return _batched(critic, groups, lambda s: [list(range(len(s)))[i : i + BATCH] for i in range(0, len(s), BATCH)])


def sorted_budget(critic: Critic, groups: list[Group]) -> Values:
    """Padded batches of like lengths, as many as a token budget holds."""

    def batches(sequences: list[tuple[int, ...]]) -> list[list[int]]:
        made: list[list[int]] = [[]]
        for i in sorted(range(len(sequences)), key=lambda i: len(sequences[i])):
            if made[-1] and (len(made[-1]) + 1) * len(sequences[i]) > BUDGET:
                made.append([])
            made[-1].append(i)
        return made

    return _batched(critic, groups, batches)


@torch.inference_mode()
def prompt_reuse(critic: Critic, groups: list[Group]) -> Values:
    """The prompt once, its keys and values kept for each response."""
    values = []
    for group in groups:
        prompt = torch.tensor([group.prompt_ids], device=critic.device)
        first = critic.backbone(input_ids=prompt, use_cache=True)
        head = critic.head.values(first.last_hidden_state[:, -1:])[0].cpu()
        of_group = []
        for response in group.responses:
            past = copy.deepcopy(first.past_key_values)
            ids = torch.tensor([response], device=critic.device)
            hidden = critic.backbone(input_ids=ids, past_key_values=past, use_cache=True).last_hidden_state
            of_group.append(torch.cat([head, critic.head.values(hidden)[0].cpu()]))
        values.append(of_group)
    return values


WAYS = {
    "ours": ours,
    "padded batch of 8": padded,
    "one at a time": one_at_a_time,
    "prompt KV reuse": prompt_reuse,
    "sorted, token budget": sorted_budget,
}
