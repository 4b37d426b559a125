"""Whether the weights fit their config: does their own language get better under other settings?

The loss of a critic's backbone as a language model says little by itself, since training may have taken it apart: sound
critics that were trained whole predict text worse than a unigram model does. But what is left of it still fits best
under the settings that it was trained with; that comparison needs no base, and no bound on the loss.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from critic_probe.checkpoint import Check, Critic
from critic_probe.checkpoint.settings import output_embedding, reconfigured, variants
from critic_probe.encoding import EncodedPair
from critic_probe.errors import parameter

TEXTS, TOKENS, FEWEST = 8, 64, 4  # prompts with an answer, tokens of each, and how few of them can tell
# Nats a token by which another setting must fit better: several times what it does in sound critics.
MARGIN = {"norm": 0.1, "activation": 0.1, "window": 0.3, "rotary": 0.5}
_SURE = 3.0  # standard errors of the mean over texts
_LEFT = 0.05  # by which more next tokens must be right than the commonest token alone has


class Language(NamedTuple):
    """How a backbone predicts texts.

    Attributes:
        losses: (texts,), nats a token.
        right: Share of tokens that it puts first.
    """

    losses: NDArray[np.float64]
    right: float


def config_fit(critic: Critic, pairs: Sequence[EncodedPair]) -> Check:
    """The doctor's check `config-fit`.

    Args:
        critic: Loaded.
        pairs: The first ones; prompts and teachers' answers are what is predicted.
    """
    texts = {pair.prompt_ids: (*pair.prompt_ids, *pair.teacher.ids)[:TOKENS] for pair in pairs[: 4 * TEXTS]}
    sequences = list(texts.values())[:TEXTS]
    if critic.loading.get("ranks", 1) > 1:
        return _not_run("its layers are split over processes")
    output = output_embedding(critic)
    if output is None:
        return _not_run("the critic's output layer was not kept, so that its language cannot be asked")
    if len(sequences) < FEWEST:
        return _not_run(f"{len(sequences)} prompts; at least {FEWEST} are needed")
    output = output.float()
    config: Any = critic.backbone.config
    try:
        own = language(critic.backbone, output, sequences)
        others = [
            (variant, language(reconfigured(critic.backbone, variant.config), output, sequences))
            for variant in variants(config)
        ]
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:  # a model of another build
        return _not_run(f"the model cannot be built anew ({' '.join(str(error).split())[:120]})")
    tokens = Counter(token for sequence in sequences for token in sequence[1:])
    commonest = max(tokens.values()) / tokens.total()
    right = max(each.right for each in (own, *(other for _, other in others)))
    if right < commonest + _LEFT:
        shares = f"{right:.0%} of next tokens are right, the commonest alone is {commonest:.0%}"
        return _not_run(f"the backbone predicts no text any more: {shares}")
    better = sorted(
        (
            (float((own.losses - other.losses).mean()), variant)
            for variant, other in others
            if _fits(variant, own, other)
        ),
        key=lambda item: -item[0],
    )
    if better:
        gain, variant = better[0]
        return Check(
            "config-fit",
            "fail",
            f"the weights fit {variant.says} better: predicting {len(sequences)} texts, {own.losses.mean():.2f} nats a "
            f"token become {own.losses.mean() - gain:.2f}",
            f"give the config.json of training; {parameter('base')} compares every field with its base's",
        )
    evidence = f"no usual setting fits the weights better ({len(others)} tried, {own.losses.mean():.2f} nats a token)"
    return Check("config-fit", "ok", evidence)


def _fits(variant: Any, own: Language, other: Language) -> bool:
    gains = own.losses - other.losses
    error = gains.std(ddof=1) / np.sqrt(len(gains))
    return bool(gains.mean() > max(MARGIN[variant.kind], _SURE * error))


@torch.inference_mode()
def language(backbone: nn.Module, output: Tensor, sequences: Sequence[Sequence[int]]) -> Language:
    """Next-token losses of a backbone whose states an output layer turns into logits.

    Args:
        backbone: Gives states (1, T, H) after its final norm.
        output: (V, H), in float32.
        sequences: Token ids.
    """
    config: Any = backbone.config
    text = config.get_text_config()
    scale = getattr(text, "logit_scale", 1.0) / getattr(text, "logits_scaling", 1.0)
    cap = getattr(text, "final_logit_softcapping", None)
    losses, right = [], []
    for sequence in sequences:
        ids = torch.tensor([sequence], device=output.device)
        states = backbone(input_ids=ids, use_cache=False).last_hidden_state[0, :-1]
        logits = scale * (states.float() @ output.T)
        logits = cap * torch.tanh(logits / cap) if cap else logits
        wanted = ids[0, 1:]
        losses.append(float(nn.functional.cross_entropy(logits, wanted)))
        right.append(float((logits.argmax(-1) == wanted).float().mean()))
    return Language(np.array(losses), float(np.mean(right)))


def _not_run(why: str) -> Check:
    return Check("config-fit", "not run", why)
