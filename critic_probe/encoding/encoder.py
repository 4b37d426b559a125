"""Text to ids, as training fed them.

By default that is template(prompt, add_generation_prompt) + response ids: the prompt is tokenised once and the response
ids are appended to it, never re-tokenised with it, so the response span is exact by construction. A `Convention` says
otherwise where training did. Nothing is ever cut: what does not fit the context is an error or a listed skip.

One class, longer than others: every rule here decides which ids stand where, and each must be read beside the others.
"""

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import Any, Literal

from critic_probe.encoding.chat import DATE, ChatTemplate
from critic_probe.encoding.convention import GAD, Closing, Convention
from critic_probe.encoding.dumps import Dumps
from critic_probe.encoding.ids import Encoded, EncodedCandidates, EncodedPair, EncodedResponse, Piece
from critic_probe.errors import CriticProbeError, Notice, parameter
from critic_probe.pairs import (
    TOO_LONG,
    BadRowError,
    Candidates,
    Faults,
    Message,
    Pair,
    Prompt,
    Record,
    Response,
    TokenIds,
    Turns,
    as_turns,
)
from critic_probe.text import is_punctuation

EosPolicy = Literal["exclude", "include"]
TemplateMode = Literal["auto", "chat", "raw"]

Ids = tuple[int, ...]

# A character has at most four bytes, and a byte-level token may end one character and begin the next.
_LONGEST_GROUP = 8


class Encoder:
    """A tokenizer with the choices that turn prompts and responses into ids.

    Args:
        tokenizer: A transformers tokenizer.
        eos_ids: The ids that count as EOS.
        vocabulary: Rows of the critic's embedding; only ids that occur in an input must be below it.
        context_length: The longest sequence that the critic takes; None for no limit.
        template: `chat` applies the tokenizer's chat template, `raw` tokenises a plain prompt as it is, `auto` is
            `chat` where the tokenizer has a template and the convention does not take plain text as it is.
        eos: `include` closes every response with one EOS; `exclude` adds none beside the convention's. Ids from a file
            that are closed already stay as they are.
        convention: How training rendered conversations, closed responses and read them.
        arguments: What the chat template is given, such as `{"enable_thinking": False}`; a row's own come before them.
        date: The day that a template that reads the clock is told.
        pad_id: The padding token of the critic's config, for conventions that pool; None where it names none, and then
            they pool at the last token.

    Raises:
        CriticProbeError: `chat` without a chat template, an EOS to add without an EOS token, or an argument that the
            template does not read.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        eos_ids: frozenset[int],
        vocabulary: int,
        context_length: int | None,
        template: TemplateMode = "auto",
        eos: EosPolicy = "exclude",
        convention: Convention = GAD,
        arguments: Mapping[str, Any] | None = None,
        date: datetime.date = DATE,
        pad_id: int | None = None,
    ) -> None:
        has_template = bool(getattr(tokenizer, "chat_template", None))
        if template == "chat" and not has_template:
            raise CriticProbeError(
                f"{parameter('template', 'chat')}: the tokenizer has no chat template; use "
                f"{parameter('template', 'raw')} or auto"
            )
        if eos == "include" and tokenizer.eos_token_id is None:
            raise CriticProbeError(
                f"{parameter('eos', 'include')}: the tokenizer names no EOS token; use {parameter('eos', 'exclude')}"
            )
        closings = (convention.closing, convention.plain_closing)
        if tokenizer.eos_token_id is None and any("eos" in closing for closing in closings):
            raise CriticProbeError(
                f"{parameter('convention', convention.name)} closes responses with EOS, and the tokenizer names no EOS "
                "token; choose another convention"
            )
        self.chat = template == "chat" or (template == "auto" and has_template)
        self.eos = eos
        self.context_length = context_length
        self.convention = convention
        self._tokenizer = tokenizer
        self._eos_ids = eos_ids
        self._vocabulary = vocabulary
        self._pad_id = pad_id
        self._plain_is_text = not self.chat or (template == "auto" and convention.plain == "text")
        self._template = ChatTemplate(tokenizer, arguments or {}, date) if self.chat else None
        if arguments and not self.chat:
            raise CriticProbeError(
                f"{parameter('arguments')}: no chat template is in use; leave it out, or use "
                f"{parameter('template', 'chat')}"
            )
        self._prompt_ids = lru_cache(maxsize=4096)(self._encode_prompt_text)
        self._decode = lru_cache(maxsize=1 << 16)(self._decode_ids)

    @property
    def template_name(self) -> str:
        """`raw`, or `chat:` with a hash of the template and what else its renderings depend on."""
        return self._template.name if self._template else "raw"

    @property
    def notices(self) -> list[Notice]:
        """What is worth saying of every rendering."""
        return self._template.notices if self._template else []

    def prompt_text(self, prompt: Prompt, arguments: Mapping[str, Any] | None = None) -> str:
        """The prompt as the critic is fed it, before tokenisation.

        Args:
            prompt: Text or messages.
            arguments: What the row gives the template: `Pair.arguments`.

        Raises:
            BadRowError: The template refuses the messages or leaves one out, or there is none for them.
        """
        messages = self._messages(prompt)
        if isinstance(messages, str):
            return messages
        assert self._template
        self._template.check(messages, arguments or {})
        return self._template.render(messages, arguments or {}, whole=False)

    def prompt(self, prompt: Prompt, arguments: Mapping[str, Any] | None = None) -> Ids:
        """The prompt's ids, as they are before an answer that stands alone.

        Raises:
            BadRowError: The template refuses the prompt, or nothing is left of it.
        """
        plain = isinstance(self._messages(prompt), str)
        return self._filled_prompt(self._prompt_ids(self.prompt_text(prompt, arguments), plain))

    def response(self, response: str | TokenIds) -> EncodedResponse:
        """Encodes a response on its own, closed as the convention closes it.

        Raises:
            BadRowError: It has no tokens, an id is outside the vocabulary, or ids and text beside them disagree.
        """
        return self._alone(response, self.convention.closing if self.chat else self.convention.plain_closing)

    def pair(self, pair: Pair) -> EncodedPair:
        """Encodes both sides of a pair behind its prompt, as the convention says.

        Raises:
            BadRowError: It cannot be encoded.
        """
        pair, prompt_ids, (student, teacher), frame = self._encoded(pair)
        return EncodedPair(pair, prompt_ids, student, teacher, frame)

    def candidates(self, candidates: Candidates) -> EncodedCandidates:
        """Encodes responses behind their prompt, as the convention says.

        Raises:
            BadRowError: They cannot be encoded.
        """
        if candidates.decoded and self._dumps is not None and isinstance(candidates.prompt, str):
            candidates = candidates.answered(self._dumps.conversation(candidates.prompt), candidates.responses)
        candidates, prompt_ids, responses, _ = self._encoded(candidates)
        return EncodedCandidates(candidates, prompt_ids, responses)

    @cached_property
    def _dumps(self) -> Dumps | None:
        if self._template is None:
            return None
        return Dumps(self._template, lambda text: self._tokenizer.decode(self._ids(text), skip_special_tokens=True))

    def _encoded(self, record: Record) -> tuple[Record, Ids, tuple[EncodedResponse, ...], tuple[str, str] | None]:
        """The record as it was read, its prompt, its responses, and what frames them where all is one text."""
        if self.chat and not self._plain_is_text:
            record = as_turns(record)
        messages = self._messages(record.prompt)
        plain = isinstance(messages, str)
        if plain and (name := next((name for name in ("tools", "documents") if name in record.arguments), None)):
            raise BadRowError(
                "messages without a template",
                f"'{name}' is for a chat template, and the prompt is taken as plain text; use "
                f"{parameter('template', 'chat')}, or let it go with {parameter('fields.ignore')} {name}",
            )
        rendering = self.convention.plain_rendering if plain else self.convention.rendering
        if rendering == "whole" and all(isinstance(response, str) for response in record.responses):
            return self._whole(record, messages)
        if rendering == "whole" and not plain and any(isinstance(side, Turns) for side in record.responses):
            record = record.answered(record.prompt, [_as_turns(side) for side in record.responses])
        closing = self.convention.plain_closing if plain else self.convention.closing
        prompt_ids = self.prompt(record.prompt, record.arguments)
        responses = tuple(
            self._turns(record, side, closing) if isinstance(side, Turns) else self._alone(side, closing)
            for side in record.responses
        )
        return record, prompt_ids, responses, None

    def answer(self, pair: EncodedPair, text: str, like: EncodedResponse) -> EncodedResponse:
        """Another text as an answer to a pair's prompt, closed as one of the pair's responses is: for edits.

        Raises:
            BadRowError: No tokens are left, or the prompt's last token is another one before this text.
        """
        if pair.frame is None:
            return self._made((*(self._after_prompt(text) if text else ()), *like.closing_ids), text, like.closing)
        before, behind = pair.frame
        plain = isinstance(self._messages(pair.pair.prompt), str)
        text, ids, closing = self._one_text(before, text, behind, plain)
        if ids[: len(pair.prompt_ids)] != pair.prompt_ids:
            raise BadRowError("no token boundary", "the prompt's last token is another one before this text")
        return self._made(ids[len(pair.prompt_ids) :], text, closing)

    def exact(self, ids: Ids, text: str, *, closing: int = 0) -> EncodedResponse:
        """Ids of this tokenizer as a response, whatever the EOS policy.

        Args:
            ids: The response's.
            text: What they say without what closes them.
            closing: How many of them close it.

        Raises:
            BadRowError: An id is outside the vocabulary.
        """
        return self._made(ids, text, closing)

    def pieces(self, ids: Sequence[int]) -> list[Piece]:
        """For each token its character group: one character of several byte-level tokens is one piece.

        Tokens are joined until they decode without a replacement character, because a part of a character alone
        has no text.
        """
        pieces: list[Piece] = []
        while len(pieces) < len(ids):
            start = len(pieces)
            for end in range(start + 1, min(start + _LONGEST_GROUP, len(ids)) + 1):
                text = self._decode(tuple(ids[start:end]))
                if "\ufffd" not in text:
                    break
            else:  # broken bytes, or really that character: show the vocabulary's own name for the token
                end = start + 1
                text = str(self._tokenizer.convert_ids_to_tokens(ids[start]))
            pieces += [Piece(start, text)] * (end - start)
        return pieces

    def punctuation(self, response: EncodedResponse) -> tuple[bool, ...]:
        """Which tokens belong to a group of nothing but punctuation; EOS does not."""
        pieces = self.pieces(response.ids)
        return tuple(not eos and is_punctuation(piece.text) for eos, piece in zip(response.eos, pieces, strict=True))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens visible."""
        return self._decode_ids(tuple(ids))

    def read_back(self, text: str) -> str:
        """A text as its own ids say it: a tokenizer may normalise or drop characters."""
        return self._decode_ids(self._ids(text))

    def thinking(self, pair: Pair) -> tuple[str, str] | None:
        """A pair's prompt rendered with `enable_thinking` on and off; None where the template makes no difference."""
        messages = self._messages(as_turns(pair).prompt if self.chat and not self._plain_is_text else pair.prompt)
        if self._template is None or isinstance(messages, str):
            return None
        on, off = (
            self._template.render(messages, {**pair.arguments, "enable_thinking": switch}, whole=False)
            for switch in (True, False)
        )
        return None if on == off else (on, off)

    @property
    def tail(self) -> str:
        """What the template puts behind an answer; nothing without one."""
        return self._template.tail if self._template else ""

    def rendered(self, turns: Sequence[Message], *, opened: bool) -> str | None:
        """A conversation as the template writes it, whatever it holds; None without a template.

        Args:
            turns: In order.
            opened: Whether an answer is opened behind it.

        Raises:
            BadRowError: The template refuses it.
        """
        return None if self._template is None else self._template.render(turns, {}, whole=not opened)

    def turns_of(self, prompt: Prompt, *, decoded: bool = False) -> tuple[Message, ...] | None:
        """A prompt as messages; None where it stays text.

        Args:
            prompt: Text or messages.
            decoded: Whether a text may be a rendering that lost its special tokens; then it is read as one where the
                template writes such.
        """
        if decoded and isinstance(prompt, str) and self._dumps is not None:
            with suppress(BadRowError):
                return self._dumps.conversation(prompt)
        messages = self._messages(prompt)
        return None if isinstance(messages, str) else messages

    def _messages(self, prompt: Prompt) -> tuple[Message, ...] | str:
        """A prompt as the conversation that the template renders, or as the text that it stays."""
        if isinstance(prompt, str):
            return prompt if self._plain_is_text else ({"role": "user", "content": prompt},)
        if not self.chat:
            raise BadRowError(
                "messages without a template",
                "the prompt is a list of messages but no chat template is in use; "
                "use a tokenizer that has one, or write the prompt as text",
            )
        return prompt

    def _whole(
        self, record: Record, messages: tuple[Message, ...] | str
    ) -> tuple[Record, Ids, tuple[EncodedResponse, ...], tuple[str, str]]:
        """Prompt and answer as one text, tokenised together."""
        plain = isinstance(messages, str)
        texts = [str(response) for response in record.responses]
        if isinstance(messages, str):
            before, behind = messages, ""
        else:
            assert self._template
            self._template.check(messages, record.arguments)
            before, behind, texts = self._template.framed(messages, record.arguments, texts)
        encoded = [self._one_text(before, text, behind, plain) for text in texts]
        shared = min(_shared(self._tokens(before, plain), ids) for _, ids, _ in encoded)
        prompt_ids = self._filled_prompt(encoded[0][1][:shared])
        responses = tuple(self._made(ids[shared:], text, closing) for text, ids, closing in encoded)
        return record, prompt_ids, responses, (before, behind)

    def _one_text(self, before: str, text: str, behind: str, plain: bool) -> tuple[str, Ids, int]:
        """An answer's own text, the ids of the whole conversation, and how many of them close it."""
        text, closing = self._ended(text, behind, plain)
        ids = self._tokens(before + text + closing, plain)
        return text, ids, len(ids) - _shared(self._tokens(before + text, plain), ids)

    def _ended(self, text: str, behind: str, plain: bool) -> tuple[str, str]:
        """An answer and what closes it, as texts."""
        rule = self.convention.plain_closing if plain else self.convention.closing
        closing, eos = self._closing(rule, behind)
        if "blank" in rule and not closing:
            text = text.rstrip("\n")
        if eos is None or (text + closing).endswith(eos.strip()):
            return text, closing
        return text, closing + eos

    def _closing(self, rule: Closing, tail: str) -> tuple[str, str | None]:
        """The tail that closes an answer, and the EOS behind it where there is none; None for no EOS."""
        closing = tail if "tail" in rule else ""
        if "blank" in rule:
            return closing.rstrip("\n"), " " + self._tokenizer.eos_token
        return closing, self._tokenizer.eos_token if "eos" in rule or self.eos == "include" else None

    def _tokens(self, text: str, plain: bool) -> Ids:
        """The ids of a rendered conversation, or of a plain text, with the tokens that the tokenizer adds."""
        bos = self._tokenizer.bos_token
        adds = self.convention.plain_adds_special if plain else self.convention.adds_special
        twice = plain and bos is not None and text.startswith(bos)
        return tuple(self._tokenizer(text, add_special_tokens=adds and not twice)["input_ids"])

    def _turns(self, record: Pair | Candidates, response: Turns, closing: Closing) -> EncodedResponse:
        """An answer that only the template can write: the ids of prompt and answer without those of the prompt."""
        if self._template is None or isinstance(messages := self._messages(record.prompt), str):
            raise BadRowError(
                "messages without a template",
                "an answer holds tool calls, reasoning or several turns but no chat template is in use; "
                "use a tokenizer that has one, or write the answer as text",
            )
        turns = (*messages, *response.messages)
        self._template.check(turns, record.arguments, answer=len(response.messages))
        prompt = self._template.render(messages, record.arguments, whole=False)
        whole = self._template.render(turns, record.arguments, whole=True)
        tail = self._template.tail
        own = whole.removesuffix(tail) if tail else whole
        before, ids = self._ids(prompt), self._ids(own)
        if not own.startswith(prompt) or ids[: len(before)] != before:
            raise BadRowError(
                "answer apart from its prompt",
                f"the chat template ({self.template_name}) does not write prompt and answer as the prompt and what "
                "follows it; write the answer as text",
            )
        body = ids[len(before) :]
        while own == whole and body and body[-1] in self._eos_ids:  # another tail than a text's, such as <|eom_id|>
            body = body[:-1]
        return self._closed_ids(body, self._decode_ids(body), closing)

    def _alone(self, response: Response, closing: Closing) -> EncodedResponse:
        """An answer's own ids, as training tokenised it apart from its prompt."""
        if isinstance(response, TokenIds):
            return self._from_ids(response, closing)
        assert isinstance(response, str)
        return self._closed_ids(self._after_prompt(response), response, closing)

    def _after_prompt(self, text: str) -> Ids:
        """The ids of an answer.

        Where the tokenizer would begin a text alone with a blank of its own, those that follow the end of a rendered
        prompt, if they leave it as it is; else those of the text alone.
        """
        before, lead = self._before_answer
        joined = self._ids(before + lead + text) if before else ()
        anchor = self._ids(before) if before else ()
        return joined[len(anchor) :] if anchor and joined[: len(anchor)] == anchor else self._ids(text)

    @cached_property
    def _before_answer(self) -> tuple[str, str]:
        """The end of a rendered prompt and the blank that the template puts before an answer, where they are needed."""
        if not (self._adds_blank and self._template):
            return "", ""
        before = self._template.anchor
        lead = self._template.frame(({"role": "user", "content": "x"},), {})[0].rpartition(before)[2]
        return before, "" if lead.strip() else lead

    @cached_property
    def _adds_blank(self) -> bool:
        """Whether the tokenizer puts a blank before a text that it is given alone, as Llama 2's does."""
        first = self._tokenizer.convert_ids_to_tokens(list(self._ids("x")[:1]))
        return bool(first) and first[0].startswith("▁")

    def _ids(self, text: str) -> Ids:
        try:
            return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])
        except UnicodeEncodeError as error:
            raise BadRowError(
                "invalid Unicode", "the text holds a lone surrogate; store it as valid Unicode"
            ) from error

    def _from_ids(self, response: TokenIds, rule: Closing) -> EncodedResponse:
        """Ids from a file, which stay as they are where they are closed; else what is missing is put behind them."""
        ids = self._checked(response.ids)
        written = self._template.tail if self._template and "tail" in rule else ""
        tail, eos = self._closing(rule, written)
        if closing := _end(ids, [self._ended_ids(tokens, eos) for tokens in self._tail_ids(tail)]):
            made = self._made(ids, self._decode_ids(ids[: -len(closing)]), len(closing))
        else:
            tails = [*self._tail_ids(written), *self._tail_ids(tail)]
            sampled = [t[: next((i + 1 for i, token in enumerate(t) if token in self._eos_ids), 0)] for t in tails]
            body = ids[: len(ids) - len(_end(ids, [*tails, *sampled]))]
            made = self._closed_ids(body, self._decode_ids(body), rule)
        if response.text is not None and response.text.strip() != made.text.strip():
            raise BadRowError(
                "ids of another text",
                "its ids do not decode to the text beside them under this critic's tokenizer; "
                "they belong to another tokenizer: remove the ids to score the text",
            )
        return made

    def _tail_ids(self, tail: str) -> tuple[Ids, Ids]:
        """The ids of a tail alone, and behind an answer: a tokenizer's own blank makes them differ."""
        alone, letter, joined = self._ids(tail), self._ids("x"), self._ids("x" + tail)
        return alone, joined[len(letter) :] if joined[: len(letter)] == letter else alone

    def _ended_ids(self, body: Ids, eos: str | None) -> Ids:
        """Ids that end in EOS, where one is to close them."""
        if eos is None or (body and body[-1] in self._eos_ids):
            return body
        return (*body, *self._ids(eos.removesuffix(self._tokenizer.eos_token)), self._tokenizer.eos_token_id)

    def _closed_ids(self, body: Ids, text: str, rule: Closing) -> EncodedResponse:
        """An answer's ids with those that close it behind them."""
        own = len(body)
        if body and body[-1] in self._eos_ids:
            own -= 1
            text = text.removesuffix(str(self._tokenizer.convert_ids_to_tokens(body[-1])))
        tail, eos = self._closing(rule, self._template.tail if self._template else "")
        if tail:
            ids = self._ids(tail)
            body += ids[1:] if own < len(body) and ids[:1] == body[-1:] else ids
        body = self._ended_ids(body, eos)
        return self._made(body, text, len(body) - own)

    def _made(self, ids: Ids, text: str, closing: int) -> EncodedResponse:
        if not ids:
            raise BadRowError("empty side", "the response has no tokens, so it has no score; give it a text")
        made = EncodedResponse(self._checked(ids), tuple(i in self._eos_ids for i in ids), text, closing)
        if self.convention.reads == "read-outs":
            return made
        read = len(ids) - 1
        if self.convention.reads == "pooled" and self._pad_id is not None:
            read = next((i for i in range(read, -1, -1) if ids[i] != self._pad_id), 0)
        return replace(made, read=read)

    def _filled_prompt(self, ids: Ids) -> Ids:
        if not ids:
            raise BadRowError("empty prompt", "the prompt has no tokens; give a prompt")
        return self._checked(ids)

    def _checked(self, ids: Ids) -> Ids:
        outside = [i for i in ids if not 0 <= i < self._vocabulary]
        if outside:
            raise BadRowError(
                "id outside the vocabulary",
                f"token id {outside[0]} is outside the critic's vocabulary of {self._vocabulary}; "
                "the ids or the tokenizer belong to another critic",
                check="vocabulary",
            )
        return ids

    def _encode_prompt_text(self, text: str, plain: bool) -> Ids:
        ids, bare = self._tokens(text, plain), self._ids(text)
        closes_itself = len(ids) > len(bare) and ids[-1] in self._eos_ids and ids[-1:] != bare[-1:]
        return ids[:-1] if closes_itself else ids  # a BOS stays, an EOS before the response does not

    def _decode_ids(self, ids: Ids) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _shared(these: Ids, those: Ids) -> int:
    """How many ids two sequences begin with together."""
    shortest = min(len(these), len(those))
    return next((i for i in range(shortest) if these[i] != those[i]), shortest)


def _end(ids: Ids, ends: Iterable[Ids]) -> Ids:
    """The longest of the ends that the ids have; none is empty."""
    return max((end for end in ends if end and ids[-len(end) :] == end), key=len, default=())


def _as_turns(response: Response) -> Response:
    return Turns(({"role": "assistant", "content": response},)) if isinstance(response, str) else response


def encode(record: Pair | Candidates, encoder: Encoder) -> Encoded:
    """Encodes the responses of a record behind its prompt.

    Raises:
        BadRowError: It cannot be encoded; the message names file, row and id.
    """
    try:
        return encoder.pair(record) if isinstance(record, Pair) else encoder.candidates(record)
    except BadRowError as fault:
        raise fault.at(f"{record.source or 'pair'} (id {record.id})", record.id) from fault


def encode_pair(pair: Pair, encoder: Encoder) -> EncodedPair:
    """Encodes both sides of a pair behind its prompt: see `encode`."""
    encoded = encode(pair, encoder)
    assert isinstance(encoded, EncodedPair)
    return encoded


def encode_pairs(pairs: Iterable[Pair], encoder: Encoder, faults: Faults) -> Iterator[EncodedPair]:
    """The pairs that can be encoded and fit the context; the others go to `faults`, which the caller settles.

    Args:
        pairs: In order.
        encoder: The critic's.
        faults: Takes note of the rest, with the pair's id for a place.
    """
    limit = encoder.context_length
    for pair in pairs:
        try:
            encoded = encode_pair(pair, encoder)
            if limit is not None and encoded.length > limit:
                message = f"{encoded.length} tokens do not fit the context of {limit}; nothing is cut: shorten it"
                raise BadRowError(TOO_LONG, message, source=f"{pair.source or 'pair'} (id {pair.id})", where=pair.id)
        except BadRowError as fault:
            faults.add(fault)
            continue
        yield encoded
