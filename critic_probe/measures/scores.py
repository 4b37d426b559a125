"""`compare` without a critic: every statistic of scores that were computed elsewhere."""

from collections.abc import Sequence

import pandas as pd
import torch

from critic_probe import tolerance
from critic_probe.errors import CriticProbeError, Notice
from critic_probe.measures.blind import Texts
from critic_probe.measures.compare import GIVEN, GIVEN_SCORES, CompareResult, tabulated, with_verdicts
from critic_probe.objective import TEMPERATURE
from critic_probe.pairs import ScoredPair, scores_hash
from critic_probe.text import ends_in_terminal
from critic_probe.version import __version__
from critic_probe.workbench import CriticRecord, Signature


def compare_scores(pairs: Sequence[ScoredPair], source: str, temperature: float = TEMPERATURE) -> CompareResult:
    """Tabulates given scores as `compare` does its own.

    Nothing is known of the arithmetic behind the scores, so the noise floor is sixteen rounding steps of float32 at the
    largest score, or one of bfloat16 where every score is a bfloat16 number.

    Args:
        pairs: At least one.
        source: The file, the critic's name where rows name none.
        temperature: See `compare`.

    Raises:
        CriticProbeError: There are no pairs.
    """
    if not pairs:
        raise CriticProbeError(f"{source}: no rows, the file is empty; give at least one pair")
    frame = pd.DataFrame(pairs, columns=ScoredPair._fields).assign(student_token_read=None, teacher_token_read=None)
    frame["critic"] = frame.critic.where(frame.critic != "", source)
    frame[["student_tokens", "teacher_tokens"]] = frame[["student_tokens", "teacher_tokens"]].astype(float)
    frames, notices = [], []
    records: list[CriticRecord] = []
    for critic, of_critic in frame.groupby("critic", sort=False):
        floors = {}
        for aggregation, scored in of_critic.groupby("aggregation", sort=False):
            scores = torch.tensor(pd.concat([scored.student_score, scored.teacher_score]).to_numpy())
            floors[str(aggregation)], rounded = _floor(scores)
            unknown = (
                "come from a file: what arithmetic made of them is unknown, and gaps below 16 float32 steps are ties"
            )
            what = "are all bfloat16 numbers: gaps below their rounding step are ties" if rounded else unknown
            notices.append(Notice("given-scores", f"{critic}/{aggregation}: the scores {what}"))
        frames.append(with_verdicts(of_critic.drop(columns=["student", "teacher"]), floors))
        records.append({"name": str(critic), "fingerprint": GIVEN_SCORES, "noise_floor": floors})
    texts = {
        str(row.id): Texts(
            (len(str(row.student)), len(str(row.teacher))),
            (ends_in_terminal(str(row.student)), ends_in_terminal(str(row.teacher))),
            (False, False),
            row.student == row.teacher,
        )
        for row in frame.dropna(subset=["student", "teacher"]).itertuples()
    }
    signed: Signature = {
        "version": __version__,
        "critics": records,
        "aggregations": list(dict.fromkeys(frame.aggregation)),
        "data": scores_hash(list(pairs)),
        "temperature": temperature,
    }
    return tabulated(pd.concat(frames, ignore_index=True), texts, notices, signed, GIVEN, temperature)


def _floor(scores: torch.Tensor) -> tuple[float, bool]:
    """The smallest gap that is no tie, and whether the scores look rounded to bfloat16; whole numbers are ratings."""
    largest = float(scores.abs().max())
    rounded = bool((scores.to(torch.bfloat16).double() == scores).all()) and not bool((scores == scores.round()).all())
    return tolerance.of_given_scores("bfloat16" if rounded else "float32", largest), rounded
