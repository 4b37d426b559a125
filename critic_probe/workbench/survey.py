"""What can be told of a critic and its pairs before anything is scored."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from critic_probe.checkpoint import Anatomy, Critic, audit
from critic_probe.checkpoint.audit import framework
from critic_probe.encoding import Encoded, encode
from critic_probe.errors import CriticProbeError, Notice
from critic_probe.pairs import BadRowError, Faults, PairFile
from critic_probe.probes import Answers
from critic_probe.scoring.trie import distinct

if TYPE_CHECKING:
    from critic_probe.workbench.loop import Bench

SAMPLE = 4  # pairs that a check of a critic looks at
NOISE_SAMPLE = 16  # pairs, on which noise is measured in half precision; in float32 on the first of them


@dataclass(frozen=True)
class Survey:
    """What a first pass over the pairs tells of them, before anything is scored.

    Attributes:
        ids: Of all pairs, in order.
        pairs: How many will be scored.
        tokens: Of both sides with their prompts: what a framework would compute.
        distinct: Of them, those that the prefix tree computes.
        sample: The first pairs, on which noise is measured.
        answers: For edits that need the answer to another prompt.
        too_long: Ids of the pairs that do not fit the context.
        longest: Tokens of the longest of these.
        faults: Pairs that this critic's encoder refuses.
        notices: Warnings that belong to the figures.
    """

    ids: list[str]
    pairs: int
    tokens: int
    distinct: int
    sample: list[Encoded]
    answers: Answers
    too_long: list[str]
    longest: int
    faults: Faults
    notices: list[Notice]


def survey(bench: "Bench") -> Survey:
    """Encodes every pair once and keeps counts."""
    critic = bench.critic
    trained = critic.training.get("max_trained_tokens")
    ids: list[str] = []
    too_long: list[str] = []
    one_side: list[str] = []
    lone: list[str] = []
    beyond: list[str] = []
    sample: list[Encoded] = []
    answers = Answers()
    count = tokens = unique = longest = 0
    faults = Faults(bench.pairs.on_bad_row if isinstance(bench.pairs, PairFile) else "error")
    for pair in bench.pairs:
        ids.append(pair.id)
        try:
            encoded = encode(pair, bench.encoder)
        except BadRowError as fault:
            faults.add(fault)
            continue
        if not bench.fits(encoded.length):
            too_long.append(pair.id)
            longest = max(longest, encoded.length)
            continue
        answers.add(str(pair.prompt), encoded.responses[-1].text)
        count += 1
        sides = encoded.group.sequences
        tokens += sum(map(len, sides))
        unique += distinct(sides)
        if len(sample) < NOISE_SAMPLE:
            sample.append(encoded)
        if len({side.eos[-1] for side in encoded.responses}) > 1:
            one_side.append(pair.id)
        if any(all(side.left_out) for side in encoded.responses):
            lone.append(pair.id)
        if trained and encoded.length > 2 * trained:
            beyond.append(pair.id)
    limit = bench.encoder.context_length
    warnings = (
        ("too-long", too_long, f"{bench.name}: {len(too_long)} pairs longer than {limit} tokens were skipped"),
        (
            "eos-one-side",
            one_side,
            f"in {len(one_side)} pairs only one side ends in EOS: last+eos and mean+eos compare unlike endings there",
        ),
        ("lone-eos", lone, f"{len(lone)} pairs have a side of nothing but EOS; its value is read"),
        (
            "longer-than-trained",
            beyond,
            f"{bench.name}: {len(beyond)} pairs are more than twice as long as anything it was trained on ({trained} "
            "tokens): their scores show how it extrapolates",
        ),
    )
    read = bench.pairs.notices if isinstance(bench.pairs, PairFile) else []
    refused = [replace(notice, message=f"{bench.name}: {notice.message}") for notice in faults.notices]
    notices = [*read, *bench.encoder.notices, *refused]
    notices += [Notice(code, message, which) for code, which, message in warnings if which]
    return Survey(ids, count, tokens, unique, sample, answers, too_long, longest, faults, notices)


def preflight(critic: Critic) -> list[Notice]:
    """What `doctor` can tell of a critic without a forward pass, as notices.

    Raises:
        CriticProbeError: One of its checks fails.
    """
    anatomy = Anatomy(critic.layout, critic.backbone.config, critic.tokenizer, critic.head)
    checks = audit(anatomy)
    for check in checks:
        if check.verdict == "fail":
            raise CriticProbeError(f"{critic.layout.path}: {check.check}: {check.evidence}; {check.cure}")
    notices = [Notice(c.check, f"{critic.name}: {c.evidence}") for c in checks if c.verdict == "warn"]
    if critic.head.normalisation is not None:
        mean, std = critic.head.normalisation
        who = framework(anatomy)
        message = (
            f"scores are normalised as {who} does, (raw - {mean:g}) / {std:g}; raw ones stand beside them in files"
        )
        notices.append(Notice("normalised", f"{critic.name}: {message}"))
    return notices
