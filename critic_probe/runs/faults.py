"""What may have been done to a conversation, its read-out and its score between a checkpoint and a run's log.

A factor acts at one stage; two of one stage exclude each other. Some have versions (a length, a number of tokens), of
which the search chooses one.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from critic_probe.aggregation import Aggregation, parse
from critic_probe.encoding import EncodedResponse, Encoder
from critic_probe.errors import CriticProbeError
from critic_probe.pairs import Message
from critic_probe.serving.expected import cut_lengths

Ids = tuple[int, ...]
Stage = Literal[
    "template", "start", "prompt", "ids", "eos", "end", "cut", "pad", "window", "read", "head", "map", "step"
]
EDITS: tuple[Stage, ...] = ("template", "start", "prompt", "ids", "eos", "end", "cut", "pad")  # in their order
THINK = "<think>\n\n</think>\n\n"
SHIFTS = 8  # tokens by which a window may have slid
_MOST_PADDED = 2048  # tokens to which prompts may have been padded


class Fault(NamedTuple):
    """Something that moves scores.

    Attributes:
        stage: Where it acts.
        what: It, in words.
        cure: What mends it.
    """

    stage: Stage
    what: str
    cure: str


_LENGTH = "raise the length limit, or leave out what is longer"
_SPAN = "read the response where its ids stand: behind template(prompt, add_generation_prompt)"
FAULTS = {
    "template-missing": Fault("template", "the prompt was fed without the chat template", "render it by the template"),
    "prompt-repr": Fault(
        "template",
        "the prompt was the Python text of a list of messages",
        "pass the messages themselves to the template; Parquet columns of messages are arrays, not text",
    ),
    "template-twice": Fault(
        "template", "the chat template was applied to a prompt that it had rendered", "render the prompt once"
    ),
    "generation-prompt-missing": Fault(
        "template", "the generation prompt is missing", "render with add_generation_prompt=True"
    ),
    "think-added": Fault("template", "an empty think block stands before the response", "render without it"),
    "think-missing": Fault(
        "template", "the empty think block before the response is missing", "render as training did (enable_thinking)"
    ),
    "bos-doubled": Fault("start", "BOS stands twice, or where training had none", "add_special_tokens=False"),
    "bos-missing": Fault("start", "BOS is missing", "let the tokenizer or the template write it"),
    "prompt-cut-start": Fault("prompt", "the start of the prompt was cut off", _LENGTH),
    "prompt-cut-end": Fault("prompt", "the end of the prompt was cut off", _LENGTH),
    "retokenised": Fault(
        "ids", "the response's text was tokenised anew in place of its own ids", "score the ids that were sampled"
    ),
    "eos-in": Fault("eos", "EOS is read as a token of the response", "leave EOS out on both sides, or close both"),
    "eos-out": Fault("eos", "EOS is not read", "close the response with EOS as training did"),
    "tail-read": Fault("end", "the template's tail is read as part of the response", "end the response before it"),
    "tail-sliced": Fault("end", "the last n tokens of the closed conversation were read: the window slid", _SPAN),
    "tail-lost": Fault("end", "what closes the response is lost", "close it as training did"),
    "response-cut-end": Fault("cut", "the end of the response was cut off", _LENGTH),
    "response-cut-start": Fault("cut", "the start of the response was cut off", _LENGTH),
    "cut-end": Fault("cut", "the end of prompt and response was cut off", _LENGTH),
    "cut-start": Fault("cut", "the start of prompt and response was cut off", _LENGTH),
    "padding-attended": Fault("pad", "padding before the prompt was attended to", "pass the attention mask"),
    "positions-shifted": Fault(
        "pad", "positions count the padding before the prompt", "pass position_ids that begin at the first real token"
    ),
    "token-before": Fault("window", "values were read one token earlier", "read at the token: values[:, -R:]"),
    "token-at": Fault("window", "values were read at the token, not before it", "read values[:, -R-1:-1]"),
    "prompt-read": Fault("window", "tokens of the prompt are read with the response", _SPAN),
    "window-shifted": Fault("window", "the window over the response slid", _SPAN),
    "read-out": Fault("read", "another read-out", "score and train under one read-out"),
    "other-head": Fault("head", "another head over the same states", "load the head of this checkpoint"),
    "divided-by-length": Fault("map", "the score was divided by the length once more", "divide once"),
    "divided-twice": Fault("map", "the score was divided by the length twice more", "do not divide"),
    "z-scored": Fault("map", "scores were centred and scaled by their own mean and SD", "log scores before that"),
    "sigmoid": Fault("map", "a sigmoid over the score", "log the score itself"),
    "not-normalised": Fault("map", "the score was not normalised", "apply the checkpoint's normalisation"),
    "scaled": Fault(
        "map",
        "the score was scaled or shifted",
        "divide by no temperature, and add nothing; a z-score over more samples than the log has is such a line too",
    ),
    "other-checkpoint": Fault("step", "another checkpoint scored", "compare with that checkpoint"),
}
"""Every factor but coarser types, by the name that results have for it."""

LOOSE = ("scaled", "other-head")  # what is fitted: tried where nothing that fits nothing explains the scores


class Fed(NamedTuple):
    """What a critic was fed, and which of it is read.

    Attributes:
        prompt: Before the response.
        response: Whose tokens are read.
        behind: What stands behind them.
        first: The position of the first token.
        slid: By how many tokens the window is off.
        gone: What was cut off behind, which no value before it depends on: one forward pass serves every cut.
    """

    prompt: Ids
    response: EncodedResponse
    behind: Ids = ()
    first: int = 0
    slid: int = 0
    gone: Ids = ()

    @property
    def ids(self) -> Ids:
        """All of it, with what was cut off behind."""
        return self.prompt + self.response.ids + self.behind + self.gone


class Told(NamedTuple):
    """A logged response as it should have been scored.

    Attributes:
        id: Where it stands in the log.
        side: student or teacher.
        step: Of the log.
        prompt: Equal for responses to one prompt.
        fed: What training fed.
        turns: The prompt as messages; None where it is known as ids alone.
        sampled: Whether its ids are the log's own.
        score: As logged.
    """

    id: str
    side: str
    step: int
    prompt: str
    fed: Fed
    turns: tuple[Message, ...] | None
    sampled: bool
    score: float


Version = tuple[str, list[Fed]]
"""A version of a factor by its name, and what was fed under it for every sample."""


class Edits:
    """The factors that act on what was fed.

    Args:
        tokenizer: The checkpoint's.
        encoder: The checkpoint's.
        eos_ids: What ends a response.
        samples: Whose they are.
    """

    def __init__(self, tokenizer: Any, encoder: Encoder, eos_ids: frozenset[int], samples: Sequence[Told]) -> None:
        self._tokenizer, self._encoder, self._eos_ids, self._samples = tokenizer, encoder, eos_ids, samples

    def versions(self, name: str, feds: Sequence[Fed]) -> list[Version]:
        """What was fed under a factor, in each of its versions; nothing changes where it does not apply.

        Args:
            name: The factor's.
            feds: What would be fed without it, a sample each.
        """
        match name:
            case "eos-in":
                closed = [self._with_eos(fed) for fed in feds]
                sides = [sample.side for sample in self._samples]
                either = [(f"on the {side}'s side", side) for side in ("student", "teacher") if len({*sides}) > 1]
                return [("", closed)] + [
                    (label, [c if side == own else fed for c, fed, own in zip(closed, feds, sides, strict=True)])
                    for label, side in either
                ]
            case "prompt-cut-start":
                return _cut(feds, lambda f: len(f.prompt), lambda f, k: f._replace(prompt=f.prompt[-k:]))
            case "prompt-cut-end":
                return _cut(feds, lambda f: len(f.prompt), lambda f, k: f._replace(prompt=f.prompt[:k]))
            case "response-cut-end":
                return _cut(feds, _own, lambda f, k: _cut_end(f, len(f.prompt) + k), every=True)
            case "response-cut-start":
                return _cut(feds, _own, lambda f, k: f._replace(response=_part(f.response, _own(f) - k, None)))
            case "cut-end":
                return _cut(feds, lambda f: len(f.ids), _cut_end, every=True)
            case "cut-start":
                return _cut(feds, lambda f: len(f.ids), _cut_start)
            case "padding-attended" | "positions-shifted":
                longest = max(len(fed.prompt) for fed in feds)
                lengths = [k for k in cut_lengths(_MOST_PADDED) if longest < k <= 4 * longest]
                padded = self._padded if name == "padding-attended" else _moved
                shown = [("to the longest prompt", longest), *((f"to {k} tokens", k) for k in lengths)]
                return [(label, [padded(fed, k) for fed in feds]) for label, k in shown]
        return [("", [self._edited(name, fed, sample) for fed, sample in zip(feds, self._samples, strict=True)])]

    def _edited(self, name: str, fed: Fed, sample: Told) -> Fed:
        match name:
            case "eos-out":
                return self._without_eos(fed)
            case "tail-read":
                return fed._replace(response=self._whole(fed.response, self._tail(fed.response)))
            case "tail-sliced":
                tail = self._tail(fed.response)
                return fed._replace(behind=fed.behind + tail, slid=fed.slid + len(tail))
            case "tail-lost":
                own = fed.response.own_ids
                return fed._replace(response=self._bare(own)) if own and fed.response.closing else fed
            case "retokenised":
                return self._retokenised(fed) if sample.sampled else fed
        prompt = self._prompt(name, fed.prompt, sample.turns)
        return fed if prompt is None else fed._replace(prompt=prompt)

    def _prompt(self, name: str, prompt: Ids, turns: tuple[Message, ...] | None) -> Ids | None:
        """Another prompt; None where the factor does not apply."""
        bos = self._tokenizer.bos_token_id
        match name:
            case "bos-doubled":
                return None if bos is None else (bos, *prompt)
            case "bos-missing":
                return prompt[1:] if bos is not None and prompt[:1] == (bos,) else None
            case "think-added":
                return None if self._text(prompt).endswith(THINK) else prompt + self._ids(THINK)
            case "think-missing":
                text = self._text(prompt)
                return self._ids(text.removesuffix(THINK)) if text.endswith(THINK) else None
            case "template-twice":
                return self._turn(self._text(prompt))
        if turns is None or not self._encoder.chat:
            return None
        try:
            match name:
                case "template-missing":
                    text = "\n".join(str(turn["content"]) for turn in turns)
                    return tuple(self._tokenizer(text)["input_ids"])
                case "prompt-repr":
                    plain = [{"role": turn["role"], "content": turn["content"]} for turn in turns]
                    return self._turn(repr(plain))
                case "generation-prompt-missing":
                    return self._ids(self._encoder.rendered(turns, opened=False) or "")
        except CriticProbeError:
            return None
        raise ValueError(name)

    def _turn(self, text: str) -> Ids | None:
        """A text as a user's turn."""
        rendered = self._encoder.rendered(({"role": "user", "content": text},), opened=True)
        return None if rendered is None else self._ids(rendered)

    def _with_eos(self, fed: Fed) -> Fed:
        response = fed.response
        eos = self._tokenizer.eos_token_id
        ended = bool(response.ids) and response.ids[-1] in self._eos_ids
        return fed._replace(response=self._whole(response, () if ended or eos is None else (eos,)))

    def _without_eos(self, fed: Fed) -> Fed:
        ids = fed.response.ids
        return fed._replace(response=self._bare(ids[:-1])) if len(ids) > 1 and ids[-1] in self._eos_ids else fed

    def _whole(self, response: EncodedResponse, more: Ids) -> EncodedResponse:
        """A response with more behind it, all of which is read."""
        ids = response.ids + more
        return EncodedResponse(ids, (False,) * len(ids), response.text)

    def _bare(self, ids: Ids) -> EncodedResponse:
        read = len(ids) - 1 if self._encoder.convention.reads != "read-outs" else None
        return EncodedResponse(ids, tuple(i in self._eos_ids for i in ids), self._text(ids), read=read)

    def _tail(self, response: EncodedResponse) -> Ids:
        """The ids of the template's tail that a response lacks."""
        tail = self._ids(self._encoder.tail) if self._encoder.tail and response.closing < 2 else ()
        return tail[1:] if tail[:1] == response.ids[-1:] else tail

    def _retokenised(self, fed: Fed) -> Fed:
        response = fed.response
        own = self._ids(self._text(response.own_ids))
        if own == response.own_ids or not own:
            return fed
        ids = own + response.closing_ids
        read = None if response.read is None else len(ids) - 1
        made = replace(response, ids=ids, eos=tuple(i in self._eos_ids for i in ids), read=read)
        return fed._replace(response=made)

    def _padded(self, fed: Fed, length: int) -> Fed:
        pad = self._tokenizer.pad_token_id
        pad = self._tokenizer.eos_token_id if pad is None else pad
        return fed if pad is None else fed._replace(prompt=(pad,) * (length - len(fed.prompt)) + fed.prompt)

    def _ids(self, text: str) -> Ids:
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _text(self, ids: Ids) -> str:
        return self._encoder.decode(ids)


def _moved(fed: Fed, length: int) -> Fed:
    return fed._replace(first=length - len(fed.prompt))


def _own(fed: Fed) -> int:
    return len(fed.response.ids)


def _part(response: EncodedResponse, start: int, stop: int | None) -> EncodedResponse:
    """Some of a response; what it closes with is what of it is left."""
    start = max(start, 0)
    ids = response.ids[start:stop]
    closes = response.closes[start:stop]
    read = None if response.read is None else len(ids) - 1
    return EncodedResponse(ids, response.eos[start:stop], response.text, sum(closes), read)


def _cut_end(fed: Fed, length: int) -> Fed:
    """Prompt and response to so many tokens; of a response that is all gone the token before it is read."""
    gone = fed.ids[length:]
    kept = length - len(fed.prompt)
    if kept > 0:
        behind = fed.behind[: max(0, kept - _own(fed))]
        slid = fed.slid - (len(fed.behind) - len(behind))  # the last n tokens are others then
        return fed._replace(response=_part(fed.response, 0, kept), behind=behind, slid=slid, gone=gone)
    read = EncodedResponse(fed.prompt[length - 1 : length], (False,), "")
    return Fed(fed.prompt[: length - 1], read, first=fed.first, gone=gone)


def _cut_start(fed: Fed, length: int) -> Fed:
    whole = len(fed.ids)
    gone = whole - length
    if gone < len(fed.prompt):
        return fed._replace(prompt=fed.prompt[gone:])
    return fed._replace(prompt=(), response=_part(fed.response, min(gone - len(fed.prompt), _own(fed) - 1), None))


def _cut(
    feds: Sequence[Fed], size: Callable[[Fed], int], cut: Callable[[Fed, int], Fed], *, every: bool = False
) -> list[Version]:
    """Versions by length.

    Args:
        feds: What is fed.
        size: What is limited.
        cut: What is left under a limit.
        every: Whether every length is tried, where that costs no forward pass.
    """
    sizes = [size(fed) for fed in feds]
    lengths = range(1, max(sizes)) if every else cut_lengths(max(sizes))
    return [
        (f"to {k} tokens", [cut(fed, k) if n > k else fed for fed, n in zip(feds, sizes, strict=True)]) for k in lengths
    ]


class Window(NamedTuple):
    """Which values are read.

    Attributes:
        label: The version's.
        slid: By how many tokens it is off.
        more: How many tokens of the prompt are read before the response; None for all.
    """

    label: str
    slid: int = 0
    more: int | None = 0


def windows(name: str | None) -> list[Window]:
    """The windows of a factor, in its versions; without one the response's own."""
    match name:
        case None:
            return [Window("")]
        case "token-before" | "token-at":
            return [Window("", -1 if name == "token-before" else 1)]
        case "prompt-read":
            parts = [Window(f"its last {k} tokens", 0, k) for k in range(1, SHIFTS + 1)]
            return [Window("all of it", 0, None), *parts]
    return [
        Window(f"by {abs(k)} tokens to the {'right' if k > 0 else 'left'}", k)
        for n in range(2, SHIFTS + 1)
        for k in (n, -n)
    ]


def read_outs(base: Aggregation) -> list[Aggregation]:
    """The read-outs that scores may have been read under in place of one."""
    tails = [f"tail:{k}" for k in (2, 4, 8, 16)]
    emas = [f"ema:{g}" for g in (0.5, 0.9, 0.99)]
    mixes = [f"mix:{n / 20:g}" for n in range(1, 20)]
    names = ("last", "mean", "sum", "min", "max", "median", *tails, *emas, *mixes)
    return [parse(name) for name in names if name != base.name]
