"""Values of one response become scores: the one place that knows which of its tokens a read-out takes."""

import torch
from torch import Tensor

from critic_probe.aggregation import Aggregation, aggregate, last_index, parse
from critic_probe.encoding import EncodedResponse


def scores_of(
    read_out: str | Aggregation,
    values: Tensor,
    response: EncodedResponse,
    punctuation: tuple[bool, ...] | None = None,
) -> Tensor:
    """Scores (B,) of rows of values (B, R) of one response, differentiable.

    EOS and what else closes an answer are left out where EOS is. Where the convention says which token training read,
    that token is the last one.

    Args:
        read_out: A read-out or its name.
        values: Rows of values at the response's tokens.
        response: What the values are of.
        punctuation: Which tokens are nothing but punctuation, for the read-outs that ask.
    """
    aggregation = parse(read_out) if isinstance(read_out, str) else read_out
    if aggregation.kind == "last":
        return values[:, last_read(response)]
    if aggregation.kind == "mix":
        share = aggregation.parameter
        return (1 - share) * scores_of("mean", values, response) + share * values[:, last_read(response)]
    left_out = torch.tensor([response.left_out], device=values.device).expand(len(values), -1)
    marks = None if punctuation is None else torch.tensor([punctuation], device=values.device)
    return aggregate(aggregation, values, torch.ones_like(left_out), eos=left_out, punctuation=marks)


def last_read(response: EncodedResponse) -> int:
    """The token whose value `last` takes."""
    if response.read is not None:
        return response.read
    if response.closing > 1 and response.own_ids:
        return len(response.own_ids) - 1
    left_out = torch.tensor([response.left_out])
    return int(last_index(torch.ones_like(left_out), left_out))
