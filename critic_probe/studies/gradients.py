"""What a read-out sends back through a critic: its gradient by position and depth, and over all parameters."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from critic_probe.checkpoint import Critic
from critic_probe.encoding import EncodedPair, EncodedResponse
from critic_probe.errors import CriticProbeError
from critic_probe.objective import TEMPERATURE, loss
from critic_probe.workbench import Bench, prompt_hash
from critic_probe.workbench.scores import last_read, scores_of

READ_OUTS = ("last", "mean")
LEVELS = ("values", "top output", "top input", "embeddings")
SIDES = ("student", "teacher")
_HIDDEN = (
    "the critic's backbone does not give the hidden states that its layers compute with, so gradients by depth cannot "
    "be measured; use transformers' own model"
)


class Gradients(NamedTuple):
    """What was measured.

    Attributes:
        sides: One row per pair, side and read-out: id, prompt_hash, side, aggregation, tokens, and per level the
            share of the gradient's norm that lies on response tokens before the last one (NaN where there is none, or
            no gradient at all); `closed_form_error`, the largest |d loss / d value - closed form| over |g / N|.
        pairs: One row per pair and read-out: id, prompt_hash, aggregation, gap, `norm` of d gap / d parameters,
            `loss_norm` of the loss's, and `reached`, the share of the parameters whose gradient is not zero.
    """

    sides: pd.DataFrame
    pairs: pd.DataFrame


def gradients(critic: Critic, bench: Bench, pairs: Sequence[EncodedPair]) -> Gradients:
    """Backward passes of single pairs under `last` and `mean`; nothing is changed in the critic.

    A pair's loss is softplus(-d / T) of its gap d = s_T - s_S, so its gradient is d's times -sigmoid(-d / T) / T,
    and one backward pass of d serves both. Parameters give up their gradients as soon as they are counted: the pass
    needs the memory of activations, not of another copy of the weights.

    Args:
        critic: Computes in float32.
        bench: How its pairs were encoded, and where values are read.
        pairs: Few; each takes two forward and two backward passes.

    Raises:
        CriticProbeError: The backbone hides what its layers compute.
    """
    sides: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    with torch.enable_grad(), _counting(critic) as count:
        for pair in pairs:
            named = {"id": pair.pair.id, "prompt_hash": prompt_hash(pair.pair)}
            responses = (pair.student, pair.teacher)
            runs = [_Run.of(critic, bench, pair.prompt_ids, response) for response in responses]
            for read_out in READ_OUTS:
                student, teacher = (
                    _score(run.values, response, read_out) for run, response in zip(runs, responses, strict=True)
                )
                count.clear()
                gap = teacher - student
                gap.sum().backward(retain_graph=True)  # type: ignore[no-untyped-call]
                d, norm = gap.item(), count.square_norm**0.5
                left = torch.sigmoid(torch.tensor(-d / TEMPERATURE, dtype=torch.float64)).item() / TEMPERATURE
                rows.append(
                    {
                        **named,
                        "aggregation": read_out,
                        "gap": d,
                        "norm": norm,
                        "loss_norm": left * norm,
                        "reached": count.reached / count.parameters,
                    }
                )
                errors = _closed_form_errors(runs, responses, read_out)
                for name, run, response, error in zip(SIDES, runs, responses, errors, strict=True):
                    shares = dict(zip(LEVELS, run.taken_shares(last_read(response)), strict=True))
                    row = {"side": name, "aggregation": read_out, "tokens": len(response.ids), **shares}
                    sides.append({**named, **row, "closed_form_error": error})
    return Gradients(pd.DataFrame(sides), pd.DataFrame(rows))


class _Run(NamedTuple):
    """One response's forward pass, its graph kept."""

    values: Tensor  # (R,) raw values at the response's tokens, as the head gives them
    levels: tuple[Tensor, ...]  # `LEVELS`: (1, T) values, then (1, T, H) states
    window: slice  # of the sequence: where the response's values are read

    @classmethod
    def of(cls, critic: Critic, bench: Bench, prompt: tuple[int, ...], response: EncodedResponse) -> "_Run":
        ids = torch.tensor([prompt + response.ids], device=critic.device)
        output = critic.backbone(input_ids=ids, use_cache=False, output_hidden_states=True)
        states = output.hidden_states
        if not states or len(states) < 2 or not states[0].requires_grad:
            raise CriticProbeError(_HIDDEN)
        values = critic.head.values(output.last_hidden_state)
        levels = (values, output.last_hidden_state, states[-2], states[0])
        for level in levels:
            level.retain_grad()
        window = bench.window(len(prompt), len(response.ids))
        return cls(values[0, window], levels, window)

    def taken_shares(self, end: int) -> list[float]:
        """Per level the share of the gradient's norm on response tokens before `end`; the gradient is then cleared."""
        grads = [level.grad for level in self.levels]
        for level in self.levels:  # in a model of one layer two levels are one tensor
            level.grad = None
        shares = []
        for gradient in grads:
            if gradient is None:
                raise CriticProbeError(_HIDDEN)
            norms = gradient[0, self.window].reshape(len(self.values), -1).norm(dim=1)[: end + 1].cpu().double()
            total = norms.sum()
            shares.append(float(norms[:-1].sum() / total) if end and total > 0 else float("nan"))
        return shares


def _score(values: Tensor, response: EncodedResponse, read_out: str) -> Tensor:
    return scores_of(read_out, values[None], response)


def _closed_form_errors(runs: Sequence[_Run], responses: Sequence[EncodedResponse], read_out: str) -> list[float]:
    """Per side how far d loss / d value is from g / N on the tokens that are read and 0 on the others.

    g = d loss / d score is -sigmoid(-d / T) / T for the teacher and its negative for the student; N is 1 under `last`.
    """
    values = [run.values.detach().requires_grad_() for run in runs]
    student, teacher = (_score(v, response, read_out) for v, response in zip(values, responses, strict=True))
    loss(student, teacher)[0].backward()  # type: ignore[no-untyped-call]
    g = torch.sigmoid((student - teacher).detach().cpu().double() / TEMPERATURE) / TEMPERATURE  # (1,)
    errors = []
    for sign, v, response in zip((1, -1), values, responses, strict=True):
        at_last = torch.arange(len(response.ids)) == last_read(response)
        read = at_last if read_out == "last" else torch.tensor(response.without_eos)
        wanted = sign * g / read.sum() * read
        assert v.grad is not None
        errors.append(float((v.grad.cpu().double() - wanted).abs().max() / wanted.abs().max()))
    return errors


class _Count:
    """What a backward pass brought to the parameters."""

    def __init__(self, parameters: int) -> None:
        self.parameters = parameters
        self.clear()

    def clear(self) -> None:
        self.square_norm = 0.0
        self.reached = 0

    def take(self, parameter: Tensor) -> None:
        assert parameter.grad is not None
        self.square_norm += torch.linalg.vector_norm(parameter.grad).item() ** 2
        self.reached += int(parameter.grad.count_nonzero())
        parameter.grad = None


@contextmanager
def _counting(critic: Critic) -> Iterator[_Count]:
    """Lets every parameter of backbone and head take part in backward passes, for the time of the block."""
    tensors = (*critic.backbone.parameters(), *critic.head.weights, *critic.head.biases)
    leaves = [tensor for tensor in tensors if tensor is not None and tensor.is_floating_point()]
    before = [leaf.requires_grad for leaf in leaves]
    count = _Count(sum(leaf.numel() for leaf in leaves))
    hooks = []
    try:
        for leaf in leaves:
            leaf.requires_grad_(True)
            hook = leaf.register_post_accumulate_grad_hook(count.take)  # type: ignore[no-untyped-call]
            hooks.append(hook)
        yield count
    finally:
        for hook in hooks:
            hook.remove()
        for leaf, wanted in zip(leaves, before, strict=True):
            leaf.requires_grad_(wanted)
