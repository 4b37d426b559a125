"""What was fed, to be seen: an example exactly as the critic sees it."""

from typing import Any

from critic_probe.encoding.encoder import Encoder
from critic_probe.encoding.ids import Encoded, EncodedPair, EncodedResponse
from critic_probe.pairs import Pair, Response, TokenIds, Turns, content_text


def shown_input(record: Encoded, encoder: Encoder) -> dict[str, Any]:
    """A record exactly as the critic sees it, as plain data for JSON and terminals.

    Returns:
        `id`, `convention` and `template` by name, and for `student` and `teacher`, or whatever names the responses
        have, each: `text`, the whole input decoded with special tokens visible; `prompt`, `answer` and `closing`, the
        three parts of it; `ids`; `response_start` and `response_end`, between which the answer's own ids stand; and
        `read`, the index of the id at which the convention reads the score, None where read-outs decide.
    """
    return {
        "id": record.record.id,
        "convention": encoder.convention.name,
        "template": encoder.template_name,
        **{
            name: _shown_side(record, response, encoder)
            for name, response in zip(record.record.names, record.responses, strict=True)
        },
    }


def _shown_side(record: Encoded, side: EncodedResponse, encoder: Encoder) -> dict[str, Any]:
    start = len(record.prompt_ids)
    return {
        "text": encoder.decode((*record.prompt_ids, *side.ids)),
        "prompt": encoder.decode(record.prompt_ids),
        "answer": encoder.decode(side.own_ids),
        "closing": encoder.decode(side.closing_ids),
        "ids": [*record.prompt_ids, *side.ids],
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
