"""What users give a chat template: arguments and a day, as they type them."""

import datetime
import json
from collections.abc import Sequence
from typing import Any

from critic_probe.errors import CriticProbeError


def template_arguments(given: Sequence[str]) -> dict[str, Any]:
    """The arguments of `KEY=VALUE` texts; a value that is JSON (true, 3, [..]) is what it says, any other is text.

    Raises:
        CriticProbeError: One has no key, or a key stands twice.
    """
    found: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise CriticProbeError(f"--template-arg '{text}': write it as KEY=VALUE, such as enable_thinking=false")
        if key in found:
            raise CriticProbeError(f"--template-arg {key} is given twice; give it once")
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = value
    return found


def a_day(text: str) -> datetime.date:
    """A day written as YYYY-MM-DD.

    Raises:
        CriticProbeError: It is none.
    """
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise CriticProbeError(f"--date '{text}' is no day; write it as YYYY-MM-DD") from None
