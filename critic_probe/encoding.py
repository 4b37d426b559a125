"""Text to ids, as training fed them: template(prompt, add_generation_prompt) + response ids.

The prompt is tokenised once and the response ids are appended to it, never re-tokenised with it, so the response span
is exact by construction. Nothing is ever cut: what does not fit the context is an error or a listed skip.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from critic_probe.errors import CriticProbeError
from critic_probe.pairs import Pair, Prompt, Response, TokenIds
from critic_probe.text import is_punctuation

EosPolicy = Literal["exclude", "include"]
TemplateMode = Literal["auto", "chat", "raw"]

# A character has at most four bytes, and a byte-level token may end one character and begin the next.
_LONGEST_GROUP = 8


@dataclass(frozen=True)
class Group:
    """The unit of scoring: one prompt and any number of responses to it, as ids.

    Attributes:
        prompt_ids: The prompt.
        responses: Each without the prompt.
        id: Of the pair that it was made from, for messages.
    """

    prompt_ids: tuple[int, ...]
    responses: tuple[tuple[int, ...], ...]
    id: str = field(default="", compare=False)

    @property
    def sequences(self) -> list[tuple[int, ...]]:
        """Each response behind the prompt, as the critic is fed it."""
        return [self.prompt_ids + response for response in self.responses]


@dataclass(frozen=True)
class EncodedResponse:
    """A response as the critic sees it.

    Attributes:
        ids: The response ids; an EOS is among them only if the file or the policy put it there.
        eos: Which of them are EOS.
        text: The response's text, decoded where the file carried only ids; a closing EOS is not part of it.
    """

    ids: tuple[int, ...]
    eos: tuple[bool, ...]
    text: str

    @property
    def without_eos(self) -> tuple[bool, ...]:
        """The tokens that are not EOS; all of them where there is nothing else."""
        return self.eos if all(self.eos) else tuple(not eos for eos in self.eos)


class Piece(NamedTuple):
    """The readable text around one token: the whole characters that it and its neighbours form together."""

    start: int  # index of the first token of the group
    text: str


@dataclass(frozen=True)
class EncodedPair:
    """A pair with both responses encoded behind the same prompt ids."""

    pair: Pair
    prompt_ids: tuple[int, ...]
    student: EncodedResponse
    teacher: EncodedResponse

    @property
    def length(self) -> int:
        """Tokens of the longer side with its prompt."""
        return len(self.prompt_ids) + max(len(self.student.ids), len(self.teacher.ids))

    @property
    def group(self) -> Group:
        """The pair as a prompt group: student first."""
        return Group(self.prompt_ids, (self.student.ids, self.teacher.ids), self.pair.id)


class Encoder:
    """A tokenizer with the choices that turn prompts and responses into ids.

    Args:
        tokenizer: A transformers tokenizer.
        eos_ids: The ids that count as EOS.
        vocabulary: Rows of the critic's embedding.
        context_length: The longest sequence that the critic takes; None for no limit.
        template: `chat` applies the tokenizer's chat template, `raw` tokenises a plain prompt as it is, `auto` is
            `chat` where the tokenizer has a template.
        eos: `include` closes every response with one EOS; `exclude` adds none. Ids from a file stay as they are.

    Raises:
        CriticProbeError: `chat` without a chat template, or `include` without an EOS token.
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
    ) -> None:
        has_template = bool(getattr(tokenizer, "chat_template", None))
        if template == "chat" and not has_template:
            raise CriticProbeError("--template chat: the tokenizer has no chat template; use --template raw or auto")
        if eos == "include" and tokenizer.eos_token_id is None:
            raise CriticProbeError("--eos include: the tokenizer names no EOS token; use --eos exclude")
        self.chat = template == "chat" or (template == "auto" and has_template)
        self.eos = eos
        self.context_length = context_length
        self._tokenizer = tokenizer
        self._eos_ids = eos_ids
        self._vocabulary = vocabulary
        self._prompt_ids = lru_cache(maxsize=4096)(self._encode_prompt_text)
        self._decode = lru_cache(maxsize=1 << 16)(self._decode_ids)

    @property
    def template_name(self) -> str:
        """`raw`, or `chat:` with a hash of the template."""
        if not self.chat:
            return "raw"
        template = self._tokenizer.chat_template
        text = template if isinstance(template, str) else repr(sorted(template.items()))
        return "chat:" + hashlib.sha256(text.encode()).hexdigest()[:8]

    def prompt_text(self, prompt: Prompt) -> str:
        """The prompt as the critic is fed it, before tokenisation.

        Raises:
            CriticProbeError: The template refuses the messages, or there is none for them.
        """
        if not self.chat:
            if not isinstance(prompt, str):
                raise CriticProbeError(
                    "the prompt is a list of messages but no chat template is in use; "
                    "use a tokenizer that has one, or write the prompt as text"
                )
            return prompt
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [dict(m) for m in prompt]
        try:
            return str(self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        except Exception as error:  # templates are programs and raise what they like
            raise CriticProbeError(
                f"the chat template refuses the prompt's messages ({' '.join(str(error).split())[:200]}); "
                "mend the roles, or use --template raw with a text prompt"
            ) from error

    def prompt(self, prompt: Prompt) -> tuple[int, ...]:
        """The prompt's ids.

        Raises:
            CriticProbeError: The template refuses the prompt, or nothing is left of it.
        """
        ids: tuple[int, ...] = self._prompt_ids(self.prompt_text(prompt))
        if not ids:
            raise CriticProbeError("the prompt has no tokens; give a prompt")
        return self._checked(ids)

    def response(self, response: Response) -> EncodedResponse:
        """Encodes a response on its own, as training did.

        Raises:
            CriticProbeError: It has no tokens, an id is outside the vocabulary, or ids and text beside them disagree.
        """
        if isinstance(response, TokenIds):
            return self._from_ids(response)
        try:
            ids = self._tokenizer(response, add_special_tokens=False)["input_ids"]
        except UnicodeEncodeError as error:
            raise CriticProbeError("the text holds a lone surrogate; store it as valid Unicode") from error
        return self._close(tuple(ids), response)

    def exact(self, ids: tuple[int, ...], text: str) -> EncodedResponse:
        """Ids of this tokenizer as a response, whatever the EOS policy; `text` is what they say without EOS.

        Raises:
            CriticProbeError: An id is outside the vocabulary.
        """
        return EncodedResponse(self._checked(ids), tuple(i in self._eos_ids for i in ids), text)

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

    def _from_ids(self, response: TokenIds) -> EncodedResponse:
        ids = self._checked(response.ids)
        text = self._decode_ids(ids[:-1] if ids and ids[-1] in self._eos_ids else ids)
        if response.text is not None and response.text.strip() != text.strip():
            raise CriticProbeError(
                "its ids do not decode to the text beside them under this critic's tokenizer; "
                "they belong to another tokenizer: remove the ids to score the text"
            )
        return self._close(ids, text)

    def _close(self, ids: tuple[int, ...], text: str) -> EncodedResponse:
        ids = self._checked(ids)
        if self.eos == "include" and (not ids or ids[-1] not in self._eos_ids):
            ids = (*ids, self._tokenizer.eos_token_id)
        if not ids:
            raise CriticProbeError("the response has no tokens, so it has no score; give it a text")
        return EncodedResponse(ids, tuple(i in self._eos_ids for i in ids), text)

    def _checked(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        outside = [i for i in ids if not 0 <= i < self._vocabulary]
        if outside:
            raise CriticProbeError(
                f"token id {outside[0]} is outside the critic's vocabulary of {self._vocabulary}; "
                "the ids or the tokenizer belong to another critic",
                check="vocabulary",
            )
        return ids

    def _encode_prompt_text(self, text: str) -> tuple[int, ...]:
        if self.chat:  # the template has written its special tokens itself
            return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])
        ids = tuple(self._tokenizer(text)["input_ids"])
        bare = tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])
        closes_itself = len(ids) > len(bare) and ids[-1] in self._eos_ids and ids[-1:] != bare[-1:]
        return ids[:-1] if closes_itself else ids  # a BOS stays, an EOS before the response does not

    def _decode_ids(self, ids: tuple[int, ...]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


def encode_pair(pair: Pair, encoder: Encoder) -> EncodedPair:
    """Encodes both sides of a pair behind its prompt.

    Raises:
        CriticProbeError: It cannot be encoded; the message names file, row and id.
    """
    try:
        return EncodedPair(
            pair, encoder.prompt(pair.prompt), encoder.response(pair.student), encoder.response(pair.teacher)
        )
    except CriticProbeError as error:
        raise CriticProbeError(f"{pair.source or 'pair'} (id {pair.id}): {error}", check=error.check) from error
