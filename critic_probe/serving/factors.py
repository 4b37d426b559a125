"""What may have been done to a text and its score between a checkpoint and whoever is given the score.

A factor acts at one stage: the ids that the critic was fed, the token that was read, the head that read it, the map
over the score, the type that it was computed in. What would have been given under it is computed from the checkpoint
itself (`served`); `stats.explain` then names the factors that bring the scores together.
"""

from typing import Any, Literal, NamedTuple

from critic_probe.encoding import Encoder

Ids = tuple[int, ...]
Stage = Literal["end", "template", "eos", "start", "cut", "read", "head", "map"]

DTYPES = ("float32", "float16", "bfloat16")  # from fine to coarse
EDITS: tuple[Stage, ...] = ("end", "template", "eos", "start")  # of ids, in the order in which they happen


class Sample(NamedTuple):
    """A response behind its prompt, as it should have been scored.

    Attributes:
        id: The pair's.
        side: student or teacher.
        prompt: Equal for responses to one prompt.
        ids: Prompt, response and what closes it.
        closing: How many of the ids close the response.
        read: Index of the token whose value is the score.
        text: What is sent for it.
    """

    id: str
    side: str
    prompt: str
    ids: Ids
    closing: int
    read: int
    text: str


class Factor(NamedTuple):
    """Something that moves scores.

    Attributes:
        stage: Where it acts; two factors of one stage exclude each other.
        what: It, in words.
        cure: What mends it.
    """

    stage: Stage
    what: str
    cure: str


FACTORS = {
    "bos-doubled": Factor(
        "start",
        "BOS stands twice, or where training had none",
        "send the text without BOS, or add_special_tokens=false",
    ),
    "bos-missing": Factor("start", "BOS is missing", "send BOS, or let the tokenizer add it"),
    "template-twice": Factor(
        "template",
        "the chat template was applied to text that it had rendered",
        "send the rendered text as plain input",
    ),
    "template-twice-open": Factor(
        "template",
        "the chat template was applied to text that it had rendered, and an answer was opened",
        "send the rendered text as plain input, without add_generation_prompt",
    ),
    "tail-lost": Factor(
        "end", "the template's tail is lost", "send the whole conversation, closed as training closed it"
    ),
    "tail-stripped": Factor("end", "white space at the end is lost", "send the text as it is, without strip()"),
    "tail-added": Factor("end", "the template's tail was added", "send the text as training fed it, without a tail"),
    "eos-added": Factor("eos", "EOS was added", "send the text as training fed it, and let the server add nothing"),
    "eos-lost": Factor("eos", "EOS is lost", "close the response with EOS, as training did"),
    "cut-end": Factor("cut", "the end was cut off", "raise the server's longest length (max_model_len, max_len)"),
    "cut-start": Factor("cut", "the start was cut off", "raise the server's longest length (max_model_len, max_len)"),
    "token-before": Factor("read", "the token before was read", "pool the last token"),
    "last-token": Factor(
        "read", "the very last token was read", "pool as training did, before what closes the response"
    ),
    "first-token": Factor("read", "the first token was read", "pool the last token"),
    "mean-pooled": Factor("read", "the mean over all tokens was read", "pool the last token"),
    "hidden-unit": Factor(
        "head", "a hidden unit was read in place of a head", "serve the model as a classifier: its head was not loaded"
    ),
    "other-head": Factor(
        "head",
        "another head over the same states",
        "serve the head of this checkpoint: it was not loaded, or it is another step's",
    ),
    "sigmoid": Factor(
        "map", "a sigmoid over the score", 'ask vLLM with use_activation=false, or set problem_type to "regression"'
    ),
    "softmax": Factor("map", "a softmax over the numbers of an answer", "ask vLLM with use_activation=false"),
    "not-normalised": Factor("map", "the score was not normalised", "serve with the checkpoint's normalisation"),
    **{
        f"dtype-{name}": Factor("map", f"computed in {name}", f"serve in the checkpoint's own type, or accept {name}")
        for name in DTYPES[1:]
    },
}
"""Every factor, by the name that results have for it."""

RANDOM_HEAD = Factor("head", "a head drawn afresh over the same states", FACTORS["other-head"].cure)


class Edits:
    """The factors that act on ids: what a server was fed in place of what training was.

    Args:
        tokenizer: The checkpoint's.
        encoder: The checkpoint's, whose chat template may have been applied once more.
        eos_ids: What ends a response.
        sent_bare: Whether texts are sent without the BOS that the server's tokenizer adds.
    """

    def __init__(self, tokenizer: Any, encoder: Encoder, eos_ids: frozenset[int], sent_bare: bool) -> None:
        self._tokenizer, self._encoder = tokenizer, encoder
        self._eos_ids, self._sent_bare = eos_ids, sent_bare

    def edited(self, name: str, ids: Ids, sample: Sample) -> Ids:
        """The ids under a factor; the same where it does not apply.

        Args:
            name: The factor's.
            ids: A sample's, whatever was done to them before.
            sample: Whose they are.
        """
        bos, eos = self._tokenizer.bos_token_id, self._tokenizer.eos_token_id
        match name:
            case "bos-doubled":
                return ids if bos is None else (bos, *ids)
            case "bos-missing":
                return self._without_bos(ids)
            case "template-twice" | "template-twice-open":
                turns = ({"role": "user", "content": self.sent(ids)},)
                text = self._encoder.rendered(turns, opened=name == "template-twice-open")
                return ids if text is None else self._ids(text)
            case "tail-lost":
                return ids[: len(ids) - sample.closing]
            case "tail-stripped":
                text = self._encoder.decode(ids)
                return self._ids(text.rstrip()) if text[-1:].isspace() else ids
            case "tail-added":
                return ids if sample.closing else (*ids, *self._ids(self._encoder.tail))
            case "eos-added":
                return ids if eos is None else (*ids, eos)
            case "eos-lost":
                return ids[:-1] if ids[-1] in self._eos_ids else ids
        raise ValueError(name)

    def sent(self, ids: Ids) -> str:
        """The text that is sent for ids."""
        return self._encoder.decode(self._without_bos(ids) if self._sent_bare else ids)

    def _without_bos(self, ids: Ids) -> Ids:
        bos = self._tokenizer.bos_token_id
        return ids[1:] if bos is not None and ids[:1] == (bos,) else ids

    def _ids(self, text: str) -> Ids:
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])
