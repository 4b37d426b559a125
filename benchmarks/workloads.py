"""What the benchmarks score: random ids with the shapes that users have."""

import random
from typing import Any

from critic_probe.checkpoint import Critic
from critic_probe.encoding import Group

Ids = tuple[int, ...]


def _ids(draw: random.Random, low: int, high: int) -> Ids:
    """Skewed towards the short end, as answers are."""
    length = low + int((high - low) * draw.random() ** 2)
    return tuple(draw.randrange(10, 250) for _ in range(length))


def pairs(prompts: int) -> list[Group]:
    """W1: two responses a prompt, prompts of 64 to 512 tokens, responses of 16 to 256."""
    draw = random.Random(1)
    return [Group(_ids(draw, 64, 512), (_ids(draw, 16, 256), _ids(draw, 16, 256))) for _ in range(prompts)]


def edits(prompts: int) -> list[Group]:
    """W2: a response and 40 edits of one token, anywhere in it."""
    draw = random.Random(2)
    groups = []
    for _ in range(prompts):
        base = _ids(draw, 16, 256)
        places = [draw.randrange(len(base)) for _ in range(40)]
        variants = ((*base[:at], draw.randrange(10, 250), *base[at + 1 :]) for at in places)
        groups.append(Group(_ids(draw, 64, 512), (base, *variants)))
    return groups


def candidates(prompts: int) -> list[Group]:
    """W3: eight responses to a prompt of 1,024 tokens."""
    draw = random.Random(3)
    return [Group(_ids(draw, 1024, 1024), tuple(_ids(draw, 16, 256) for _ in range(8))) for _ in range(prompts)]


FULL = {"W1": (pairs, 200), "W2": (edits, 20), "W3": (candidates, 50)}
"""Workload by name, with its number of prompts at full scale."""


def make(name: str, scale: float) -> list[Group]:
    """A workload at a fraction of its size."""
    build, prompts = FULL[name]
    return build(max(1, round(prompts * scale)))


def cut(groups: list[Group]) -> list[Group]:
    """Four responses each, to prompts of at most 90 tokens: what a CPU does in no time."""
    return [Group(group.prompt_ids[:90], group.responses[:4]) for group in groups]


def depths(groups: list[Group]) -> list[int]:
    """The depth of every node of the sequences' trie, counted the plain way: one node a distinct prefix."""
    children: dict[tuple[int, int], int] = {}
    found = []
    for group in groups:
        for response in group.responses:
            node = 0
            for depth, token in enumerate(group.prompt_ids + response, start=1):
                if (node, token) not in children:
                    children[node, token] = len(children) + 1
                    found.append(depth)
                node = children[node, token]
    return found


def arithmetic(critic: Critic, groups: list[Group], computed: int) -> int:
    """FLOP of a pass over so many tokens: linear layers, of experts those that a token takes, and attention."""
    config: Any = critic.backbone.config
    chosen = getattr(config, "num_experts_per_tok", 1) / getattr(config, "num_experts", 1)
    linear = sum(
        p.numel() * (chosen if p.dim() == 3 else 1)
        for n, p in critic.backbone.named_parameters()
        if p.dim() >= 2 and "embed" not in n
    )
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    attention = 4 * head * config.num_attention_heads * config.num_hidden_layers * sum(depths(groups))
    return int(2 * linear * computed + attention)
