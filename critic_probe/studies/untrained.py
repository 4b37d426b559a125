"""What the read-outs do under heads that learnt nothing: random heads on a critic's own hidden states.

Scores are linear in the head under `last` and `mean`, so the states of a response are computed once, read by the
read-out dimension by dimension, and multiplied with all heads together.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from critic_probe.checkpoint import Critic
from critic_probe.encoding import EncodedPair, EncodedResponse
from critic_probe.measures.tokens import SHORTEST
from critic_probe.measures.variants import Plan, variants_of
from critic_probe.probes import Family
from critic_probe.workbench import Bench, prompt_hash
from critic_probe.workbench.scores import scores_of

READ_OUTS = ("last", "mean")
HEADS = 200

Floats = NDArray[np.float64]


class Untrained(NamedTuple):
    """Scores under H random heads.

    Attributes:
        prompts: (P,) the prompt of each pair.
        scores: Per read-out (P, 2, H): student and teacher.
        edited_prompts: (E,) the prompt of each edit.
        deltas: Per read-out (E, H): the edited response's score minus the original's.
        tokens: (R,) tokens of the responses that are long enough to tell how their values depend on each other.
        sums: (R, H) of the values of each.
        squares: (R, H) of their squares.
    """

    prompts: list[str]
    scores: dict[str, Floats]
    edited_prompts: list[str]
    deltas: dict[str, Floats]
    tokens: Floats
    sums: Floats
    squares: Floats


def untrained(
    critic: Critic, bench: Bench, pairs: Sequence[EncodedPair], families: Sequence[Family], seed: int
) -> Untrained:
    """Scores pairs and edits of their responses under `HEADS` random heads.

    A head is a normal draw per dimension; its scale cancels in everything that is divided by an SD.

    Args:
        critic: Whose backbone gives the states.
        bench: How its pairs were encoded, and where values are read.
        pairs: At least one.
        families: The edits.
        seed: Of the heads.
    """
    width = critic.head.weights[0].shape[1]
    heads = torch.randn(width, HEADS, generator=torch.Generator().manual_seed(seed))
    scores: dict[str, list[Floats]] = {name: [] for name in READ_OUTS}
    deltas: dict[str, list[Floats]] = {name: [] for name in READ_OUTS}
    edited_prompts, tokens, sums, squares = [], [], [], []

    def scored(pair: EncodedPair, response: EncodedResponse) -> tuple[Tensor, dict[str, Floats]]:
        states = _states(critic, bench, pair.prompt_ids, response)
        # The read-out sees a row per dimension of the states, as if each were a value.
        read = {name: scores_of(name, states.T, response) for name in READ_OUTS}
        return states[torch.tensor(response.without_eos)], {
            name: (row @ heads).double().numpy() for name, row in read.items()
        }

    for pair in pairs:
        both = []
        for response in (pair.student, pair.teacher):
            states, of_heads = scored(pair, response)
            both.append(of_heads)
            values = (states @ heads).double().numpy()
            if len(values) >= SHORTEST:
                tokens.append(len(values))
                sums.append(values.sum(0))
                squares.append((values**2).sum(0))
        for name in READ_OUTS:
            scores[name].append(np.stack([of_heads[name] for of_heads in both]))
        for variant in variants_of(bench, pair, Plan(families), Counter()):
            _, edited = scored(pair, variant.edited)
            edited_prompts.append(prompt_hash(pair.pair))
            for name in READ_OUTS:
                deltas[name].append(edited[name] - both[variant.side][name])
    return Untrained(
        prompts=[prompt_hash(pair.pair) for pair in pairs],
        scores={name: np.stack(of_pairs) for name, of_pairs in scores.items()},
        edited_prompts=edited_prompts,
        deltas={name: np.reshape(of_edits, (len(of_edits), HEADS)) for name, of_edits in deltas.items()},
        tokens=np.array(tokens, float),
        sums=np.reshape(sums, (len(tokens), HEADS)),
        squares=np.reshape(squares, (len(tokens), HEADS)),
    )


@torch.inference_mode()
def _states(critic: Critic, bench: Bench, prompt: tuple[int, ...], response: EncodedResponse) -> Tensor:
    """The final-normed states (R, H) at the response's tokens, in fp32 on the CPU."""
    ids = torch.tensor([prompt + response.ids], device=critic.device)
    states: Tensor = critic.backbone(input_ids=ids, use_cache=False).last_hidden_state[0]
    return states[bench.window(len(prompt), len(response.ids))].float().cpu()
