"""What was fed, to be seen: an example exactly as the critic sees it."""

from typing import Any

from critic_probe.encoding.encoder import Encoder
from critic_probe.encoding.ids import EncodedPair, EncodedResponse
from critic_probe.pairs import Pair, Response, TokenIds, Turns, content_text


def shown_input(pair: EncodedPair, encoder: Encoder) -> dict[str, Any]:
    """A pair exactly as the critic sees it, as plain data for JSON and terminals.

    Returns:
        `id`, `convention` and `template` by name, and for `student` and `teacher` each: `text`, the whole input decoded
        with special tokens visible; `prompt`, `answer` and `closing`, the three parts of it; `ids`; `response_start`
        and `response_end`, between which the answer's own ids stand; and `read`, the index of the id at which the
        convention reads the score, None where read-outs decide.
    """
    return {
        "id": pair.pair.id,
        "convention": encoder.convention.name,
        "template": encoder.template_name,
        "student": _shown_side(pair, pair.student, encoder),
        "teacher": _shown_side(pair, pair.teacher, encoder),
    }


def _shown_side(pair: EncodedPair, side: EncodedResponse, encoder: Encoder) -> dict[str, Any]:
    start = len(pair.prompt_ids)
    return {
        "text": encoder.decode((*pair.prompt_ids, *side.ids)),
        "prompt": encoder.decode(pair.prompt_ids),
        "answer": encoder.decode(side.own_ids),
        "closing": encoder.decode(side.closing_ids),
        "ids": [*pair.prompt_ids, *side.ids],
        "response_start": start,
        "response_end": start + len(side.own_ids),
        "read": None if side.read is None else start + side.read,
    }


def missing_input(pair: EncodedPair, encoder: Encoder) -> list[str]:
    """Texts of the pair's input that the critic does not see as often as the row says them: none where all is well."""
    shown = shown_input(pair, encoder)
    missing = []
    for side, response in (("student", pair.pair.student), ("teacher", pair.pair.teacher)):
        said = [encoder.read_back(text).strip() for text in _said(pair.pair, response)]
        fed = shown[side]["text"]
        missing += [text for text in said if fed.count(text) < sum(other.count(text) for other in said)]
    return list(dict.fromkeys(missing))


def _said(pair: Pair, response: Response) -> list[str]:
    texts = [pair.prompt] if isinstance(pair.prompt, str) else [*map(content_text, pair.prompt)]
    if isinstance(response, Turns):
        texts += map(content_text, response.messages)
    else:
        texts.append((response.text or "") if isinstance(response, TokenIds) else response)
    return [text.strip() for text in texts if text.strip()]
