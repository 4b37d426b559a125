"""Whether a served critic is the checkpoint: its scores against the checkpoint's, alone and in company."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from critic_probe import tolerance
from critic_probe.checkpoint import Check
from critic_probe.checkpoint.critic import stored_dtype
from critic_probe.encoding import EncodedPair
from critic_probe.errors import CriticProbeError, Notice
from critic_probe.measures.result import Measured, Statement
from critic_probe.serving.client import Answer, Endpoint
from critic_probe.serving.factors import FACTORS, RANDOM_HEAD, Ids, Sample
from critic_probe.serving.served import Served
from critic_probe.stats.explain import FEWEST, Explanation, Fit, Floats, explain
from critic_probe.workbench import Bench, Signature, hash_of, prompt_hash, signature
from critic_probe.workbench.scores import last_read

MOST_PAIRS = 64  # whose responses are sent
COMPANY = 16  # texts of one request
CHECKS = ("one-number", "finite", "repeats", "agreement", "order", "batch-mates")
"""Every check, in the order of the report."""

_UNRELATED = 0.05  # above this p a correlation is none


@dataclass(frozen=True, repr=False)
class EndpointResult(Measured):
    """Whether a served critic is the checkpoint.

    Attributes:
        named: The faults, in words; several factors that explain the scores equally well stand in one of them.
        unseen: What these texts could not have shown.
        checks: One row per check: check, verdict (ok, warn, fail, not run), evidence, cure.
        factors: One row per hypothesis that was tried and moves a score: factors, version, residual (median) and worst
            under it, residual_before, within (of all responses), moved, agrees (of those that it moves), named.
        scores: One row per response: id, side, tokens, expected (of the checkpoint), served (alone), again (once more),
            company (among others), residual (of expected and served), floor.
    """

    command = "endpoint"
    facts = ("agrees", "named", "unseen")
    tables = ("checks", "factors", "scores")
    main = "scores"

    named: list[str]
    unseen: list[str]
    checks: pd.DataFrame
    factors: pd.DataFrame
    scores: pd.DataFrame

    @property
    def agrees(self) -> bool:
        """Whether no check found a fault."""
        return not (self.checks.verdict == "fail").any()

    def answer(self) -> list[Statement]:
        """Whether it is the checkpoint, what was done to its scores, and what these texts could not have shown."""
        failed = list(self.checks.check[self.checks.verdict == "fail"])
        evidence = dict(zip(self.checks.check, self.checks.evidence, strict=True))
        if not failed:
            first = f"The served critic is the checkpoint: {evidence['agreement']}."
        elif "agreement" not in failed and "finite" not in failed:
            first = f"Asked alone the served critic is the checkpoint, but not always: {evidence['agreement']}."
        else:
            first = "The scores that are served are not the checkpoint's."
        told = [Statement(first, {"responses": len(self.scores), "failed": failed})]
        told += [Statement(f"{check}: {evidence[check]}.", {"check": check}) for check in failed]
        if self.unseen:
            these = "; ".join(self.unseen)
            told.append(Statement(f"These texts could not have shown: {these}.", {"unseen": list(self.unseen)}))
        return told


class Asked(NamedTuple):
    """What a server said of samples.

    Attributes:
        alone: (N,), each in a request of its own.
        again: (N,), the same once more.
        company: (N,), in requests of `COMPANY`.
        width: The most numbers among which a score stood.
    """

    alone: Floats
    again: Floats
    company: Floats
    width: int


def endpoint(bench: Bench, server: Endpoint) -> EndpointResult:
    """Holds the scores of a server against those of the checkpoint.

    Every response is sent as the text that training fed: alone, once more alone, and in company.

    Args:
        bench: The checkpoint and the pairs; the first `MOST_PAIRS` are sent.
        server: Which is asked.

    Raises:
        CriticProbeError: The server's answers cannot be read, or there are too few prompts to claim anything.
    """
    bench.admit()
    pairs = [pair for pair, _ in zip(bench.encoded(bench.pairs), range(MOST_PAIRS), strict=False)]
    samples, apart = samples_of(bench, pairs, bare=server.protocol.bos)
    if (prompts := len({sample.prompt for sample in samples})) < FEWEST:
        raise CriticProbeError(
            f"{bench.name}: {prompts} prompts whose text is tokenised as training fed it; give pairs of at least "
            f"{FEWEST} prompts: half of them choose a factor and half hold it"
        )
    step = bench.progress(f"{server.url}: asked", 2 * len(samples), bench.stats)
    asked = ask(server.scores, [sample.text for sample in samples], step)
    critic = bench.critic
    dtype = critic.loading["dtype"]
    if dtype == "auto":
        dtype = str(stored_dtype(critic.layout)).removeprefix("torch.")
    exact = critic if critic.dtype == torch.float32 else critic.in_float32()
    result = judged(Served(exact, samples, bench.encoder, server.protocol.bos, dtype), asked)
    notices = bench.notices()
    if apart:
        message = (
            f"{len(apart)} responses are tokenised otherwise as one text than training fed them, so that no server "
            "that takes text scores what was trained; they are left out"
        )
        notices.append(Notice("tokenised-otherwise", message, list(dict.fromkeys(apart))))
    if server.protocol.bos and bench.encoder.chat and "tail" not in bench.convention.closing:
        message = (
            f"read as {bench.convention.name} an answer stands without the template's tail, and so it was sent; verl's "
            "reward loop sends whole conversations with it: hf reads them so"
        )
        notices.append(Notice("verl-sends-tail", message))
    signed = signature(bench.settings, hash_of(bench.pairs), [bench.record()])
    signed["endpoint"] = f"{server.url} ({server.version})" if server.version else server.url
    signed["protocol"] = server.protocol.name
    return replace(result, notices=notices, signature=signed)


def samples_of(bench: Bench, pairs: Sequence[EncodedPair], *, bare: bool) -> tuple[list[Sample], list[str]]:
    """Both responses of pairs with the texts that are sent, and the ids of pairs that no text can be sent for.

    Args:
        bench: Encodes.
        pairs: In order.
        bare: Whether a BOS at the beginning is left to the server's tokenizer.
    """
    tokenizer = bench.critic.tokenizer
    bos = tokenizer.bos_token_id
    samples, apart = [], []
    for pair in pairs:
        for name, side in (("student", pair.student), ("teacher", pair.teacher)):
            ids: Ids = pair.prompt_ids + side.ids
            body = ids[1:] if bare and bos is not None and ids[:1] == (bos,) else ids
            text = bench.encoder.decode(body)
            if tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) != body:
                apart.append(pair.pair.id)
                continue
            read = bench.window(len(pair.prompt_ids), len(side.ids)).start + last_read(side)
            samples.append(Sample(pair.pair.id, name, prompt_hash(pair.pair), ids, side.closing, read, text))
    return samples, apart


def ask(
    scores: Callable[[Sequence[str]], list[Answer]], texts: Sequence[str], step: Callable[[], None] = lambda: None
) -> Asked:
    """Asks for the scores of texts: alone, once more alone, and in company.

    Args:
        scores: The answers to the texts of one request.
        texts: In order.
        step: Called after each request of one text.
    """

    def alone(text: str) -> Answer:
        [answer] = scores([text])
        step()
        return answer

    once, again = [alone(text) for text in texts], [alone(text) for text in texts]
    company = [answer for start in range(0, len(texts), COMPANY) for answer in scores(texts[start : start + COMPANY])]
    width = max(answer.width for answer in (*once, *company))
    first, second, third = (np.array([answer.score for answer in given]) for given in (once, again, company))
    return Asked(first, second, third, width)


def judged(served: Served, asked: Asked) -> EndpointResult:
    """What a server said, held against what a checkpoint gives."""
    n, all_asked = len(served.samples), np.stack([asked.alone, asked.again, asked.company])
    checks = {check.check: check for check in _numbers(asked.width, all_asked)}
    floors = np.full(n, np.nan)
    factors, unseen, named = [], list[str](), list[str]()
    if checks["finite"].verdict == "ok":
        explanation = explain(asked.alone, [s.prompt for s in served.samples], served.tiers(asked.alone))
        agreement = _agreement(served, asked.alone, explanation)
        own = tolerance.of_scores(served.own.dtype, float(np.abs(asked.alone).max()))
        floors = np.full(n, max(own, served.agreed.floor))
        if explanation.named:
            floors = np.minimum(floors, np.maximum(own, explanation.named[0].floors))
        in_company = list(_company(asked, floors))
        checks |= {check.check: check for check in (agreement, *in_company)}
        named = [check.evidence for check in (agreement, *in_company) if check.verdict == "fail"]
        factors = [explanation.row(fit) for fit in explanation.tried if fit.factors]
        unseen = list(_unseen(served, asked.alone, explanation))
    table = [checks.get(name) or Check(name, "not run", "needs finite answers") for name in CHECKS]
    columns = ["factors", "version", "residual", "worst", "residual_before", "within", "moved", "agrees", "named"]
    scores = pd.DataFrame([{"id": s.id, "side": s.side, "tokens": len(s.ids)} for s in served.samples])
    return EndpointResult(
        named=named,
        unseen=unseen,
        checks=pd.DataFrame(table, columns=Check._fields),
        factors=pd.DataFrame(factors, columns=columns).astype({"named": bool}),
        scores=scores.assign(
            expected=served.expected,
            served=asked.alone,
            again=asked.again,
            company=asked.company,
            residual=np.abs(asked.alone - served.expected),
            floor=floors,
        ),
        notices=[],
        signature=Signature(),
    )


def _numbers(width: int, answers: Floats) -> Iterator[Check]:
    """Whether an answer is one number, and a number at all."""
    if width > 1:
        cure = "a head of one label gives one: look whether the head was loaded"
        yield Check("one-number", "warn", f"each score is the last of {width} numbers", cure)
    else:
        yield Check("one-number", "ok", "one number a text")
    if bad := int((~np.isfinite(answers)).sum()):
        yield Check("finite", "fail", f"{bad} answers are NaN or infinite", "serve in bfloat16 or float32")
    else:
        yield Check("finite", "ok", "every answer is a finite number")


def _agreement(served: Served, alone: Floats, explanation: Explanation) -> Check:
    """What brings served scores and the checkpoint's together."""
    nothing = explanation.nothing
    if [fit.factors for fit in explanation.named] == [("softmax",)]:
        factor = FACTORS["softmax"]
        evidence = f"{factor.what}, which are one: it answers 1 whatever is asked, and nothing behind that can be told"
        return Check("agreement", "fail", evidence, factor.cure)
    before = f"median difference {nothing.residual:.2g}, largest {nothing.worst:.2g}"
    if explanation.agreement:
        fit = next(fit for fit in explanation.named if not fit.factors)
        level = served.own if nothing.brings else served.agreed
        floor = f"{level.dtype}'s floor of {level.floor:.2g}"
        spread = f"SD of the scores {np.std(served.expected):.2g}"
        evidence = f"{fit.within} of {len(alone)} scores lie within {floor} of the checkpoint's ({before}; {spread})"
        return Check("agreement", "ok", evidence)
    if explanation.named:
        told = []
        for fit in explanation.named:
            is_head = "other-head" in fit.factors
            called = _called(fit, served.fresh_head(alone, fit.factors, fit.label, fit.residual) if is_head else None)
            moved = f"median residual {nothing.residual:.2g} -> {fit.residual:.2g}"
            told.append(f"{called} ({moved}; {fit.agrees} of {fit.moved} responses that it moves say so)")
        cures = dict.fromkeys(FACTORS[name].cure for fit in explanation.named for name in fit.factors)
        equally = "equally well explained by " if len(told) > 1 else ""
        return Check("agreement", "fail", equally + ", or by ".join(told), "; ".join(cures))
    r, p = explanation.correlation
    related = "scores that do not vary" if r is None else f"rank correlation {r:.2f}, p = {p:.2g}"
    if fresh := served.fresh_head(alone):
        evidence = f"{RANDOM_HEAD.what}: the scores are what {fresh} gives ({before}; {related})"
        return Check("agreement", "fail", evidence, RANDOM_HEAD.cure)
    tried = [fit for fit in explanation.tried if fit.factors]
    nearest = min(tried, key=lambda fit: fit.residual)
    near = f"nearest is {_called(nearest, None)} with a median residual of {nearest.residual:.2g}"
    heads = (
        "" if served.can_fit_heads else f"; another head is known from more than {served.enough_for_heads} responses"
    )
    if p is not None and p > _UNRELATED:
        lead, cure = "no factor fits and the scores are uncorrelated", "another model, or another head, is served"
    else:
        lead = "no factor fits"
        cure = "a coarser type (fp8, int8, 4 bits), or another step of the training, may be served"
    return Check("agreement", "fail", f"{lead} ({before}; {related}; {near}{heads})", f"look at what it loaded: {cure}")


def _called(fit: Fit, fresh: str | None) -> str:
    """The factors of a fit in words, with the version that was chosen."""
    words = [RANDOM_HEAD.what if name == "other-head" and fresh else FACTORS[name].what for name in fit.factors]
    return " and ".join(words) + (f" ({fit.label})" if fit.label else "")


def _company(asked: Asked, floors: Floats) -> Iterator[Check]:
    """Whether the same text gets the same score: twice alone, and among others, each in its place."""
    n, wobble = len(floors), np.abs(asked.alone - asked.again)
    if other := int((wobble > floors).sum()):
        evidence = f"{other} of {n} scores are others when the same text is sent again (largest {wobble.max():.2g})"
        yield Check("repeats", "fail", evidence, "something random is served: dropout, or a router to other replicas")
    else:
        yield Check("repeats", "ok", f"the same text alone gets the same score (largest difference {wobble.max():.2g})")
    if not np.ptp([asked.alone, asked.company]):
        for check in ("order", "batch-mates"):
            yield Check(check, "not run", f"every answer is {asked.alone[0]:g}, whatever is asked")
        return
    apart = np.abs(asked.company - asked.alone)
    out = apart > floors
    placed = _put_in_order(asked)
    if not out.any():
        yield Check("order", "ok", "answers come in the order of the request")
        evidence = f"scores are the same alone and among {COMPANY} (largest difference {apart.max():.2g})"
        yield Check("batch-mates", "ok", evidence)
    elif (placed <= floors).all():
        moved = f"median residual {float(np.median(apart[out])):.2g} -> {float(np.median(placed)):.2g} put in order"
        evidence = f"answers come in another order than asked for ({out.sum()} of {n} in another's place, {moved})"
        yield Check("order", "fail", evidence, "answer in the order of the request, or send one text a request")
        yield Check("batch-mates", "ok", "put in order, scores are the same alone and in company")
    else:
        moved = f"median residual {float(np.median(apart[out])):.2g}, largest {apart.max():.2g}"
        yield Check("order", "ok", "the scores in company are not those alone in another order")
        evidence = f"batch mates move scores ({out.sum()} of {n} are others in company than alone, {moved})"
        cure = "send one text a request, or max_num_seqs=1; look at padding and its mask"
        yield Check("batch-mates", "fail", evidence, cure)


def _put_in_order(asked: Asked) -> Floats:
    """How far scores in company are from those alone if each request's are put in the order of these."""
    apart = np.empty(len(asked.alone))
    for start in range(0, len(apart), COMPANY):
        alone, company = asked.alone[start : start + COMPANY], asked.company[start : start + COMPANY]
        order = np.argsort(alone, kind="stable")
        apart[start + order] = np.abs(np.sort(company) - alone[order])
    return apart


def _unseen(served: Served, observed: Floats, explanation: Explanation) -> Iterator[str]:
    """What could not have been seen, in words, where the scores agree: factors that move none of these."""
    if not explanation.agreement:
        return
    level = served.own if explanation.nothing.brings else served.agreed
    for name in served.factors:
        if name != "other-head" and not served.moves(name, level, observed):
            yield FACTORS[name].what
    yield f"a cut at {max(len(sample.ids) for sample in served.samples)} tokens or more"
