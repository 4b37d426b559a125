"""Conversations in a file's cells: the layouts of messages, the roles by every name in use, and what a text may be."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from critic_probe.pairs.faults import BadRowError
from critic_probe.pairs.pair import Message, Prompt
from critic_probe.text import neutralise

ROLES = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "tool": "tool",
    "observation": "tool",
    "tool_response": "tool",
    "function": "function",
    "ipython": "ipython",
    "function_call": "call",
    "tool_call": "call",
}
"""A role in a file, in small letters, and the one that templates know; `call` is an assistant's turn of tool calls."""

_CALLS = ("tool_calls", "function_call")
_REASONING = ("reasoning_content", "reasoning", "thinking")
BEYOND_TEXT = (*_CALLS, *_REASONING)
"""Keys by which an answer is more than a text."""

_SAID = ("role", "content", "name", "tool_call_id", *BEYOND_TEXT)
_MAY_BE_EMPTY = ("system", "developer", "tool", "function", "ipython")
_PRINTED = re.compile(
    r"""\s*(?:
        (?:array\()? \[ \s* \{ \s* '(?:role|content|from)' \s* :
        | \{ \s* '(?:role|from)' \s* : \s* '(?:system|user|assistant|human|gpt|bot)'
    )""",
    re.VERBOSE,
)


class Written(float):
    """A number of a JSON file that keeps the digits it is written with: `3.50` is not `3.5` where it is an answer."""

    def __init__(self, text: str) -> None:
        self.text = text


def messages(value: Any, name: str) -> tuple[Message, ...]:
    """The messages of a conversational cell, () where it is none.

    Args:
        value: A message, a list of them, or a dictionary of lists (`{role: [...], content: [...]}`).
        name: The field, for errors.

    Raises:
        BadRowError: A message has no role or content, an unknown role, or content that is no text.
    """
    items = _unzipped(value)
    if not isinstance(items, list) or not items or not isinstance(items[0], Mapping):
        return ()
    return tuple(_message(item, name) for item in items)


def _unzipped(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    columns = {key: column for key, column in value.items() if isinstance(column, list)}
    if not isinstance(_role_and_content(value)[0], list):
        return [value]
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=False)]


def _message(item: Any, name: str) -> Message:
    role, content = _role_and_content(item)
    given = {} if not isinstance(item, Mapping) else {k: v for k, v in item.items() if v is not None}
    beyond = any(given.get(key) for key in BEYOND_TEXT)
    if isinstance(content, list):
        content = _parts(content, name)
    if not isinstance(role, str) or not (isinstance(content, str | list) or (content is None and beyond)):
        raise BadRowError(
            "message without role or content",
            f"'{name}' holds {shown(item)}; every message needs a role and a content, both text",
        )
    known = ROLES.get(encodable(role, name).lower())
    if known is None:
        raise BadRowError(
            "unknown role", f"'{name}' holds a message of role {shown(role)}; known roles are {', '.join(ROLES)}"
        )
    rest = {key: value for key, value in given.items() if key not in ("role", "from", "content", "value")}
    if "tool_calls" in rest:
        rest["tool_calls"] = _tool_calls(rest["tool_calls"], name)
    if known == "call":
        return {"role": "assistant", "content": "", **rest, "tool_calls": _calls(content, name)}
    if content is None:
        return {"role": known, **rest}
    message = {"role": known, "content": content, **rest}
    if (words := content_text(message)) or not (known in _MAY_BE_EMPTY or beyond):
        text(words, name)  # an empty system message is a choice: it replaces a template's own
    return message


def _parts(content: list[Any], name: str) -> Any:
    """The content of several parts: all of them text."""
    parts = []
    for part in content:
        kind = part.get("type", "text") if isinstance(part, Mapping) else "text"
        words = part.get("text") if isinstance(part, Mapping) else part
        if kind != "text":
            raise BadRowError(
                "image, video or audio",
                f"'{name}' holds a part of type {shown(kind)}; this tool reads text: remove the row",
            )
        if not isinstance(words, str):
            return None
        parts.append({"type": "text", "text": encodable(words, name)})
    return parts


def _tool_calls(value: Any, name: str) -> list[Any]:
    calls = json_of(value) if isinstance(value, str) else value
    if not isinstance(calls, list) or not all(isinstance(call, Mapping) for call in calls):
        raise BadRowError(
            "call that is no JSON", f"'{name}' holds tool_calls {shown(value)}; they must be a list of objects"
        )
    return calls


def _calls(content: Any, name: str) -> list[dict[str, Any]]:
    """The calls of a ShareGPT turn of role `function_call`: JSON of `{name, arguments}`, or a list of such."""
    try:
        written = json.loads(content) if isinstance(content, str) else content
    except (ValueError, RecursionError):
        written = None
    calls = written if isinstance(written, list) else [written]
    if not calls or not all(isinstance(call, Mapping) and isinstance(call.get("name"), str) for call in calls):
        raise BadRowError(
            "call that is no JSON",
            f"'{name}' holds a call {shown(content)}; write it as JSON with a name and arguments",
        )
    return [{"type": "function", "function": dict(call)} for call in calls]


def _role_and_content(item: Any) -> tuple[Any, Any]:
    if not isinstance(item, Mapping):
        return None, None
    role, content = item.get("role"), item.get("content")
    return item.get("from") if role is None else role, item.get("value") if content is None else content


def said(message: Message) -> dict[str, Any]:
    """What of a message a template can use: equal messages say the same."""
    return {key: message[key] for key in _SAID if message.get(key)}


def same(these: Sequence[Message], those: Sequence[Message]) -> bool:
    """Whether two conversations say the same."""
    return list(map(said, these)) == list(map(said, those))


def content_text(message: Message) -> str:
    """The text of a message's content."""
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def asked(prompt: Prompt) -> str:
    """What the user says last; a prompt without turns is all of it."""
    if isinstance(prompt, str):
        return prompt
    return next((content_text(turn) for turn in reversed(prompt) if turn["role"] == "user"), "")


def text(value: Any, name: str) -> str:
    """A cell that must be text, numbers and booleans as the file writes them.

    Raises:
        BadRowError: It is no text, empty, the printed form of messages, or not valid Unicode.
    """
    if isinstance(value, bool):
        return json.dumps(value)
    if is_number(value):
        return value.text if isinstance(value, Written) else str(value)
    if not isinstance(value, str):
        raise BadRowError("not text", f"'{name}' is {shown(value)}; it must be text or a list of {{role, content}}")
    if not value.strip():
        raise BadRowError("empty field", f"'{name}' is empty; give it a text or remove the row")
    if _PRINTED.match(value) or holds_messages(parsed(value)):
        raise BadRowError(
            "printed form of messages",
            f"'{name}' is the printed form of a list of messages ({shown(value)}), which no critic was trained on; "
            "store the list itself",
            check="prompt-repr",
        )
    return encodable(value, name)


def encodable(value: str, name: str) -> str:
    """A text that is valid Unicode.

    Raises:
        BadRowError: It holds a lone surrogate.
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadRowError("invalid Unicode", f"'{name}' holds a lone surrogate; store it as valid Unicode") from None
    return value


def is_number(value: Any) -> bool:
    """Whether a value of a file is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def is_whole(value: Any) -> bool:
    """Whether a value of a file is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def parsed(cell: str) -> Any:
    """The messages that a text writes as JSON; any other text stays what it is."""
    value = json_of(cell)
    return value if holds_messages(value) else cell


def json_of(cell: str) -> Any:
    """What a text writes as a JSON list or object; None where it writes none."""
    if not cell.lstrip().startswith(("[", "{")):
        return None
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return None


def holds_messages(value: Any) -> bool:
    """Whether a value is a message or a list of them.

    Without a known role it is an answer in JSON, such as `[{"from": "Rome", "value": "3"}]`.
    """
    items = value if isinstance(value, list) else [value]
    roles = [_role_and_content(item)[0] for item in items if _is_message(item)]
    return len(roles) == len(items) and any(role.lower() in ROLES for role in roles)


def _is_message(item: Any) -> bool:
    role, content = _role_and_content(item)
    return isinstance(role, str) and (isinstance(content, str | list) or any(item.get(key) for key in BEYOND_TEXT))


def shown(value: Any) -> str:
    """A value of a file as an error message quotes it: short, and safe to print."""
    return f"'{short(value if isinstance(value, str) else repr(value))}'"


def short(value: str) -> str:
    """At most 40 characters, safe to print."""
    return neutralise(value if len(value) <= 40 else value[:40] + "...")
