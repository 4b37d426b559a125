"""A tokenizer's chat template: rendering with nothing lost and nothing that changes from day to day.

Templates are programs. Whether one leaves out a message, a tool or a call is found out by rendering the conversation
with marks in place of its contents and looking for the marks.
"""

import copy
import datetime
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

from critic_probe.errors import CriticProbeError, Notice, parameter
from critic_probe.pairs import RESERVED, BadRowError, Message, content_text

DATE = datetime.date(2024, 7, 26)
"""What a template that reads the clock is told: the day that Llama 3's templates name where there is no clock."""

_REASONING = ("reasoning_content", "reasoning", "thinking")
_MARK = "criticprobemark"
_CLOCK = re.compile(r"strftime_now\(\s*(?:\"([^\"]*)\"|'([^']*)')\s*\)")
_PYTHON = {"True": "true", "False": "false", "None": "null"}
_THINK = re.compile(r"<(\w*think\w*)>")


class ChatTemplate:
    """A tokenizer's chat template with its fixed date and the arguments of a run.

    Args:
        tokenizer: A transformers tokenizer that has a template.
        arguments: What every rendering is given, such as `enable_thinking`; a row's own come before them.
        date: The day that the template is told where it asks for the clock.

    Raises:
        CriticProbeError: The template reads no such argument, or it is not one of the template's own; or the template
            reads the clock in a way that cannot be fixed.
    """

    def __init__(self, tokenizer: Any, arguments: Mapping[str, Any], date: datetime.date) -> None:
        self._tokenizer = tokenizer
        self._arguments = _own(arguments)
        self._date = date
        self._checked: set[Any] = set()
        sources = (
            [tokenizer.chat_template]
            if isinstance(tokenizer.chat_template, str)
            else [*tokenizer.chat_template.values()]
        )
        self._reads_clock = any("strftime_now" in source for source in sources)
        for name in arguments:
            if not any(re.search(rf"\b{re.escape(name)}\b", source) for source in sources):
                raise CriticProbeError(
                    f"{parameter('arguments')} '{name}': the chat template reads no argument of that name"
                )

    @cached_property
    def name(self) -> str:
        """`chat:`, a hash of the template, and all else that its renderings depend on."""
        template = self._tokenizer.chat_template
        text = template if isinstance(template, str) else repr(sorted(template.items()))
        given = {"date": self._date.isoformat()} if self._reads_clock else {}
        given |= {key: repr(value) for key, value in sorted(self._arguments.items())}
        return " ".join(
            ["chat:" + hashlib.sha256(text.encode()).hexdigest()[:8], *(f"{key}={v}" for key, v in given.items())]
        )

    @cached_property
    def tail(self) -> str:
        """What the template puts behind an answer, such as `<|im_end|>` and a newline."""
        return self.frame(({"role": "user", "content": _MARK},), {})[1]

    @cached_property
    def anchor(self) -> str:
        """What the template puts between a prompt and where an answer begins."""
        opened = self.render(({"role": "user", "content": _MARK},), {}, whole=False)
        return opened.rpartition(_MARK)[2]

    @cached_property
    def own_tokens(self) -> tuple[str, ...]:
        """The special tokens that the template writes itself."""
        written = ""
        with suppress(BadRowError):
            written += self.render(({"role": "user", "content": _MARK},), {}, whole=False)
            written += self.tail
        return tuple(token for token in self._tokenizer.get_added_vocab() if token.strip() and token in written)

    @property
    def notices(self) -> list[Notice]:
        """What is worth saying of every rendering."""
        notices = []
        if self._reads_clock:
            day = f"it is told {self._date.isoformat()}; {parameter('date')} gives another"
            notices.append(Notice("template-date", f"the chat template names the day: {day}"))
        if opened := _THINK.search(self.anchor):
            state = "an empty" if f"</{opened[1]}>" in self.anchor else "an open"
            opening = (
                f"the chat template begins an answer with {state} <{opened[1]}> block, which belongs to the prompt"
            )
            notices.append(Notice("template-think", opening))
        return notices

    def render(self, messages: Sequence[Message], arguments: Mapping[str, Any], *, whole: bool) -> str:
        """The conversation as text.

        Args:
            messages: The turns.
            arguments: What the row gives the template.
            whole: As it stands, closed; otherwise up to where the next answer begins, which goes on from a last turn of
                the assistant's (`continue_final_message`).

        Raises:
            BadRowError: The template refuses it.
        """
        goes_on = not whole and messages[-1]["role"] == "assistant"
        given = {**self._arguments, **arguments}
        try:
            turns = [self._readable(message) for message in messages]
            if self._reads_clock:
                given["chat_template"] = self._without_clock(given.get("tools"))
            return str(
                self._tokenizer.apply_chat_template(
                    turns,
                    tokenize=False,
                    add_generation_prompt=not whole and not goes_on,
                    continue_final_message=goes_on,
                    **given,
                )
            )
        except CriticProbeError:
            raise
        except Exception as error:  # templates are programs and raise what they like
            raise BadRowError(
                "refused by the template",
                f"the chat template refuses the prompt's messages ({' '.join(str(error).split())[:200]}); "
                f"mend the roles, or use {parameter('template', 'raw')} with a text prompt",
            ) from error

    def frame(self, messages: Sequence[Message], arguments: Mapping[str, Any]) -> tuple[str, str]:
        """What the whole conversation says before and behind an answer to these messages.

        Raises:
            BadRowError: The template refuses it, or does not write an answer as it is given.
        """
        marked = self.render((*messages, {"role": "assistant", "content": _MARK}), arguments, whole=True)
        before, mark, behind = marked.rpartition(_MARK)
        if not mark:
            raise BadRowError("dropped by the template", f"the chat template ({self.name}) leaves out the answer")
        return before, behind

    def framed(
        self, messages: Sequence[Message], arguments: Mapping[str, Any], answers: Sequence[str]
    ) -> tuple[str, str, list[str]]:
        """What whole conversations say before and behind the answers, and the answers as the template writes them.

        A template may strip an answer, or move what it says of its thoughts; then the text between is the answer.

        Raises:
            BadRowError: The template refuses one, or writes something else around each answer.
        """
        before, behind = self.frame(messages, arguments)
        wholes = [
            self.render((*messages, {"role": "assistant", "content": answer}), arguments, whole=True)
            for answer in answers
        ]
        for start in (before, self.render(messages, arguments, whole=False)):
            if all(w.startswith(start) and w.endswith(behind) and len(w) >= len(start + behind) for w in wholes):
                return start, behind, [whole[len(start) : len(whole) - len(behind)] for whole in wholes]
        raise BadRowError(
            "answer apart from its prompt",
            f"the chat template ({self.name}) does not write prompt and answer as the prompt and what follows it",
        )

    def check(self, messages: Sequence[Message], arguments: Mapping[str, Any], *, answer: int = 0) -> None:
        """Refuses a conversation of which the template leaves something out.

        Args:
            messages: The turns.
            arguments: What the row gives the template.
            answer: How many of the turns are the answer, whose reasoning must be there too.

        Raises:
            BadRowError: It leaves out a message, a call, reasoning of the answer, tools or documents; or a message
                holds a special token that the template writes itself.
        """
        for message in messages[: len(messages) - answer]:
            if token := next((token for token in self.own_tokens if token in content_text(message)), None):
                raise BadRowError(
                    "template inside the prompt",
                    f"the prompt holds {token}, which the chat template puts around it; a prompt that is rendered "
                    f"already needs {parameter('template', 'raw')}",
                )
        shape = (tuple((m["role"], *sorted(m)) for m in messages), answer, *sorted(arguments))
        if shape in self._checked:
            return
        turns, given, what = self._marked(messages, arguments, answer)
        try:
            rendered = self.render(turns, given, whole=True)
        except BadRowError:  # it reads contents, and marks are none that it takes: what is there it renders or refuses
            return
        for mark, name in what.items():
            if mark not in rendered:
                cure = (
                    f"let them go with {parameter('fields.ignore')} {name}" if name in arguments else "remove the row"
                )
                raise BadRowError(
                    "dropped by the template",
                    f"the chat template ({self.name}) leaves out {name}; use a tokenizer whose template does "
                    f"not, or {cure}",
                )
        self._checked.add(shape)

    @staticmethod
    def _marked(
        messages: Sequence[Message], arguments: Mapping[str, Any], answer: int
    ) -> tuple[list[Message], dict[str, Any], dict[str, str]]:
        """The conversation with marks for contents, and what each mark stands for."""
        what: dict[str, str] = {}

        def mark(name: str) -> str:
            key = f"{_MARK}{len(what)}x"
            what[key] = name
            return key

        def renamed(value: Any, name: str, keys: tuple[str, ...]) -> Any:
            if isinstance(value, Mapping):
                return {
                    k: mark(name) if k in keys and isinstance(v, str) else renamed(v, name, keys)
                    for k, v in value.items()
                }
            return [renamed(item, name, keys) for item in value] if isinstance(value, list) else copy.deepcopy(value)

        turns: list[Message] = []
        for index, message in enumerate(messages):
            turn = dict(message)
            if message.get("content"):
                turn["content"] = mark(f"a message of role '{message['role']}'")
            if message.get("tool_calls"):
                turn["tool_calls"] = [
                    {**call, "function": {**call["function"], "name": mark("tool calls")}}
                    if isinstance(call.get("function"), Mapping)
                    else renamed(call, "tool calls", ("name",))
                    for call in message["tool_calls"]
                ]
            if message.get("function_call"):
                turn["function_call"] = renamed(message["function_call"], "a function_call", ("name",))
            for key in _REASONING if index >= len(messages) - answer else ():
                if message.get(key):
                    turn[key] = mark(f"an answer's {key}")
            turns.append(turn)
        given = dict(arguments)
        if given.get("tools"):
            given["tools"] = [_named(tool, mark("tools")) for tool in given["tools"]]
        if given.get("documents"):
            given["documents"] = [renamed(d, "documents", ("text", "content", "contents")) for d in given["documents"]]
        return turns, given, what

    def _without_clock(self, tools: Any) -> str:
        """The template with the date in place of the clock."""
        source = str(self._tokenizer.get_chat_template(None, tools))
        fixed = _CLOCK.sub(lambda match: f'"{self._date.strftime(match[1] or match[2])}"', source)
        if "strftime_now(" in fixed:
            raise CriticProbeError("the chat template reads the clock in a way that cannot be fixed; use another")
        return fixed

    def _readable(self, message: Message) -> dict[str, Any]:
        """A message whose parts are one text where the template does not read parts."""
        content = message.get("content")
        if isinstance(content, list) and not self._reads_parts:
            return {**message, "content": content_text(message)}
        return dict(message)

    @cached_property
    def _reads_parts(self) -> bool:
        parts = [{"role": "user", "content": [{"type": "text", "text": _MARK}]}]
        whole = [{"role": "user", "content": _MARK}]
        try:
            rendered = [self._tokenizer.apply_chat_template(m, tokenize=False) for m in (parts, whole)]
        except Exception:  # as above
            return False
        return bool(rendered[0] == rendered[1])


def template_arguments(given: Sequence[str]) -> dict[str, Any]:
    """Arguments of a template out of `KEY=VALUE` texts; a value is JSON where it is that, else text.

    Raises:
        CriticProbeError: One is not of that form, or is given to every template otherwise, such as `tools`.
    """
    arguments: dict[str, Any] = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not equals or not name.isidentifier():
            raise CriticProbeError(f"{parameter('arguments')} '{item}' is not KEY=VALUE, such as enable_thinking=false")
        try:
            arguments[name] = json.loads(_PYTHON.get(value, value))
        except ValueError:
            arguments[name] = value
    return _own(arguments)


def _own(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that are a template's own, as a copy."""
    for name in arguments:
        if name in RESERVED:
            raise CriticProbeError(
                f"{parameter('arguments')} '{name}': apply_chat_template takes it for itself; leave it out"
            )
        if name in ("tools", "documents"):
            raise CriticProbeError(
                f"{parameter('arguments')} '{name}': it belongs to a row; give it as the row's field '{name}'"
            )
    return dict(arguments)


def read_date(given: str) -> datetime.date:
    """A day as YYYY-MM-DD writes it.

    Raises:
        CriticProbeError: It is none.
    """
    try:
        return datetime.date.fromisoformat(given)
    except ValueError:
        raise CriticProbeError(f"{parameter('date')} '{given}' is no day; write it as 2024-07-26") from None


def _named(tool: Mapping[str, Any], name: str) -> dict[str, Any]:
    if isinstance(tool.get("function"), Mapping):
        return {**tool, "function": {**tool["function"], "name": name}}
    return {**tool, "name": name}
