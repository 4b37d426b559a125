"""What a critic in training reacts to: the probes of `perturb` on the model as it is, for training curves."""

from collections.abc import Sequence
from dataclasses import replace

from critic_probe.encoding import GAD, EncodedPair
from critic_probe.measures.perturb import cases_of
from critic_probe.measures.variants import Plan
from critic_probe.probes import BUILT_IN, choose
from critic_probe.stats.edits import right_order
from critic_probe.training.model import Trainee, live_critic
from critic_probe.workbench import Bench, Settings

GROUPS = ("punct", "completeness", "controls")
PAIRS = 24  # held-out pairs that are edited
CASES = 12  # edits of a response


def probe(trainee: Trainee, held_out: Sequence[EncodedPair], settings: Settings) -> dict[str, float]:
    """Effects of edits under each read-out, on the first held-out pairs.

    Args:
        trainee: The model in training.
        held_out: Encoded held-out pairs.
        settings: The read-outs, the EOS policy and the value position.

    Returns:
        `<read-out>/punctuation_over_sd`: the median |delta| of harmless punctuation edits over the SD of these pairs'
        scores; `<read-out>/final_mark_over_sd`: of those of the closing mark; `<read-out>/complete_right` and
        `<read-out>/controls_right`: the share in the right order of complete against terse, and of edits that make
        an answer worse. A figure without a case is left out.
    """
    pairs = [encoded.pair for encoded in held_out[:PAIRS]]
    bench = Bench(live_critic(trainee, "in training"), pairs, replace(settings, convention=GAD))
    plan = Plan(choose(BUILT_IN, GROUPS, ()), most=CASES)
    cases = cases_of(bench, plan, {pair.id for pair in pairs})
    tagged: dict[str, float] = {}
    for name, of_one in cases.groupby("aggregation", sort=False):
        harmless = of_one[(of_one.group == "punct") & (of_one.kind == "invariance")]
        right = right_order(of_one, of_one.delta)
        figures = {
            "punctuation_over_sd": harmless.delta_over_sd.abs().median(),
            "final_mark_over_sd": harmless[harmless.position == "terminal"].delta_over_sd.abs().median(),
            "complete_right": right[of_one.family == "to-complete"].mean(),
            "controls_right": right[of_one.kind == "control"].mean(),
        }
        tagged |= {f"{name}/{figure}": float(value) for figure, value in figures.items() if value == value}
    return tagged
