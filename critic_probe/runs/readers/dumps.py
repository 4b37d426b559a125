"""`responses_step_N.pt`: ids, masks and scores of a step's samples, read by the restricted unpickler."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from critic_probe.errors import CriticProbeError
from critic_probe.runs.readers.jsonl import STEPS, step_of
from critic_probe.runs.readers.log import Log, is_step
from critic_probe.runs.record import Sample, Side

_NAMES = {
    "prompt": ("prompt_ids", "prompts", "prompt", "prompt_text", "prompt_texts"),
    "prompt_mask": ("prompt_mask", "prompt_attention_mask"),
    "student": (
        *("student_ids", "student_response_ids", "student_responses", "student_response", "student"),
        *("response_ids", "responses", "response"),
    ),
    "student_mask": ("student_mask", "student_response_mask", "response_mask", "response_masks", "mask", "masks"),
    "student_score": ("student_score", "student_scores", "score", "scores"),
    "student_text": ("student_text", "student_texts", "response_text", "response_texts"),
    "teacher": ("teacher_ids", "teacher_response_ids", "teacher_responses", "teacher_response", "teacher"),
    "teacher_mask": ("teacher_mask", "teacher_response_mask", "teacher_masks"),
    "teacher_score": ("teacher_score", "teacher_scores"),
    "teacher_text": ("teacher_text", "teacher_texts"),
}
_LISTS = ("samples", "results", "pairs", "records")
_FIELDS = frozenset((*STEPS, *_LISTS, *(name for names in _NAMES.values() for name in names)))
_DIMENSIONS = 2  # of a tensor: samples by tokens


def is_dump(head: bytes) -> bool:
    """Whether a file of `torch.save` has fields of responses: weights and optimisers are not even opened."""
    return b"/data.pkl" in head and any(name.encode() in head for name in _NAMES["student"])


def read_dump(log: Log) -> Iterator[Sample]:
    """The samples of a dump.

    Raises:
        CriticProbeError: The file is damaged, its pickle asks for what no dump needs, or it has no step.
    """
    from critic_probe.checkpoint.pickles import read_torch_file

    try:
        tree = _plain(read_torch_file(log.path))
    except (RuntimeError, ValueError, TypeError) as error:
        raise CriticProbeError(f"{log.path}: damaged ({error}); copy it again") from error
    given = step_of(tree) if isinstance(tree, dict) else None
    step = log.step_in_name if given is None else given
    for sample in samples_of(log, tree, step):
        log.format = "responses of a step"
        yield sample


def samples_of(log: Log, tree: Any, step: int | None) -> Iterator[Sample]:
    """The samples in plain lists and dictionaries; nothing where there are none.

    Args:
        log: The file.
        tree: What it holds.
        step: The step of samples that have none of their own.

    Raises:
        CriticProbeError: A sample has no step.
    """
    for number, sample in enumerate(_samples(tree), start=1):
        own = step_of(sample)
        own = step if own is None else own
        if own is None:
            raise CriticProbeError(f"{log.path}: no step in it, nor in its name; name it responses_step_N.pt")
        student = _side(log, sample, "student")
        if student is None:
            log.left_out("sample", "no mask beside padded ids, so nobody can tell which are of the response")
            continue
        prompt, prompt_ids = _response(sample, "prompt")
        if prompt_ids is None and prompt is None and _value(sample, "prompt") is not None:
            log.note("prompts have no mask and are left out: nobody can tell padding from ids")
        log.found += 1
        yield Sample(own, prompt, prompt_ids, student, _side(log, sample, "teacher"), log.place(f"sample {number}"))


def _plain(tree: Any) -> Any:
    """The tree with its tensors as lists, but for those that no field of a sample holds."""
    if hasattr(tree, "read") and hasattr(tree, "shape"):
        return tree.read().tolist() if len(tree.shape) <= _DIMENSIONS else None
    if isinstance(tree, Mapping):
        return {str(key): _plain(value) for key, value in tree.items() if key in _FIELDS}
    return [_plain(item) for item in tree] if isinstance(tree, list | tuple) else tree


def _samples(tree: Any) -> list[dict[str, Any]]:
    """A list of samples, or the columns of a table as one; empty for what is neither."""
    if isinstance(tree, list):
        return [item for item in tree if isinstance(item, dict) and _value(item, "student") is not None]
    if not isinstance(tree, dict):
        return []
    for name in (*_LISTS, "responses"):
        if (inner := tree.get(name)) and isinstance(inner, list) and isinstance(inner[0], dict):
            return _samples(inner)
    students = _value(tree, "student")
    if not isinstance(students, list) or not students or not isinstance(students[0], list | str):
        return []
    count = len(students)
    columns = {name: value for name, value in tree.items() if isinstance(value, list) and len(value) == count}
    padded = len({len(row) for row in students if isinstance(row, list)}) == 1 and count > 1
    return [{name: column[i] for name, column in columns.items()} | {"_padded": padded} for i in range(count)]


def _value(sample: Mapping[str, Any], what: str) -> Any:
    return next((sample[name] for name in _NAMES[what] if sample.get(name) is not None), None)


def _side(log: Log, sample: Mapping[str, Any], side: str) -> Side | None:
    text, ids = _response(sample, side)
    beside = _value(sample, f"{side}_text")
    score = _value(sample, f"{side}_score")
    if isinstance(score, list):  # a value per token: a score at one position, and zeros
        score = sum(score) if score and all(isinstance(each, int | float) for each in score) else None
    if side == "student" and ids is None and text is None and not isinstance(beside, str):
        return None
    if ids is None and text is None and score is None and not isinstance(beside, str):
        return None
    if side == "teacher" and ids is None:
        log.note("it has no ids of teachers")
    text = beside if isinstance(beside, str) else text
    known = isinstance(score, int | float) and not isinstance(score, bool)
    return Side(text, ids, float(score) if known else None, None if ids is None else len(ids))


def _response(sample: Mapping[str, Any], what: str) -> tuple[str | None, tuple[int, ...] | None]:
    """Its text or its ids, padding left out by the mask."""
    value, mask = _value(sample, what), _value(sample, f"{what}_mask")
    if isinstance(value, str):
        return value, None
    if not _is_ids(value):
        return None, None
    if isinstance(mask, list) and len(mask) == len(value):
        return None, tuple(each for each, kept in zip(value, mask, strict=True) if kept)
    return None, None if sample.get("_padded") else tuple(value)


def _is_ids(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and bool(value) and all(map(is_step, value))
