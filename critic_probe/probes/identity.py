"""The same response once more: whatever moves here is no property of the text."""

from collections.abc import Iterator

from critic_probe.probes.case import Change, Family, Subject


def _same(subject: Subject) -> Iterator[Change]:
    yield Change("whole", subject.text)


def _same_end(subject: Subject) -> Iterator[Change]:
    yield Change("terminal", subject.text)


FAMILIES: tuple[Family, ...] = (
    Family("same-ids", "eos", "identity", 0, "the same ids, computed anew and alone", _same, scoring="again"),
    Family("batch-mates", "eos", "identity", 0, "the same ids among others in a padded batch", _same, scoring="batch"),
    Family(
        "eos-toggled",
        "eos",
        "identity",
        0,
        "EOS added, or the one there taken away: nothing under a read-out that leaves EOS out",
        _same_end,
        scoring="eos",
    ),
)
