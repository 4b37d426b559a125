"""The claims of the proposal that this tool began with, each with the figure that decides it and its bound."""

import math
from typing import NamedTuple

from critic_probe.stats.edits import INVARIANCE_FLOOR, ORDER_FLOOR
from critic_probe.stats.intervals import Interval, would_tell
from critic_probe.stats.rates import too_few

HOLDS, FAILS, UNCLEAR = "holds", "does not hold", "cannot tell"

_AUDIT = "critic-probe audit --json"
_ENDING = "critic-probe perturb --family terminal-swap --family terminal-drop"
_BOTH = "-a last -a mean"


class Claim(NamedTuple):
    """A claim and how it is decided.

    Attributes:
        name: A short fixed name.
        says: The claim in words.
        measured: What the figure is.
        instead: What is true where the claim does not hold.
        reproduce: The command that prints the figure or what it is made of; add the same pairs and critic.
        low: The claim holds for figures from here.
        high: The claim holds for figures up to here.
        caveat: What a reader must know where it holds or cannot be told.
        exact: Whether the figure follows from arithmetic, so that there is nothing to estimate and no case is too few.
        shown_at_all: Whether a measurement without training can show that it holds.
        narrows: Whether more prompts bring the ends of the interval together; not where they are two bounds.
    """

    name: str
    says: str
    measured: str
    instead: str
    reproduce: str
    low: float = -math.inf
    high: float = math.inf
    caveat: str = ""
    exact: bool = False
    shown_at_all: bool = True
    narrows: bool = True

    @property
    def holds_if(self) -> str:
        """The bound as text."""
        if self.low == -math.inf:
            return f"< {self.high:g}"
        return f"> {self.low:g}" if self.high == math.inf else f"{self.low:g} to {self.high:g}"

    def verdict(self, figure: Interval, n: int, prompts: int) -> str:
        """`holds` where the whole interval lies within the bounds, `does not hold` where none of it does.

        Everything else is `cannot tell`: an interval that holds a bound, no interval, and for figures that are
        estimated `too_few` cases or prompts.
        """
        if not self.exact and too_few(n, prompts):
            return UNCLEAR
        word = judged(figure.low, figure.high, self.low, self.high)
        return UNCLEAR if word == HOLDS and not self.shown_at_all else word

    def would_tell(self, figure: Interval, n: int, prompts: int) -> str:
        """About how many more prompts would tell, in words; empty where that is no question of how many.

        Args:
            figure: That `verdict` cannot tell.
            n: Its cases.
            prompts: Of so many prompts.
        """
        bounds = [bound for bound in (self.low, self.high) if math.isfinite(bound)]
        spanned = [bound for bound in bounds if figure.low <= bound <= figure.high]
        nearest = min(spanned or bounds, key=lambda bound: abs(bound - figure.value))
        return would_tell(figure, nearest, n, prompts) if self.narrows and not self.exact else ""


def judged(low: float, high: float, least: float, most: float) -> str:
    """`holds` where all of an interval lies within the bounds, `does not hold` where none of it does, else unclear."""
    if math.isnan(low) or math.isnan(high):
        return UNCLEAR
    if least <= low and high <= most:
        return HOLDS
    return FAILS if high < least or low > most else UNCLEAR


CLAIMS: dict[str, Claim] = {
    claim.name: claim
    for claim in (
        Claim(
            "last-starves-tokens",
            "A loss on the last token gives earlier tokens no gradient.",
            "share of last's gradient at the embeddings that lies on earlier tokens of the response",
            "Only the values of earlier tokens get none: attention carries it on to their states and embeddings.",
            _AUDIT,
            high=1e-3,
        ),
        Claim(
            "mean-spreads-evenly",
            "Under mean, d loss / d value = g / N on every token.",
            "largest |autograd - g / N| over |g / N|, EOS at 0",
            "The values get something else than the closed form: report it, the read-out is broken.",
            _AUDIT,
            high=1e-5,
            caveat="It says where the gradient enters, not what the critic learns from it: every token gets the same "
            "push, wherever the fault stands.",
            exact=True,
        ),
        Claim(
            "mean-stronger-signal",
            "Mean gives a stronger training signal.",
            "norm of d gap / d parameters, mean over last",
            "Its gradient is smaller: a mean of N gradients is at most as long as they are on average, and shorter "
            "where they disagree.",
            _AUDIT,
            low=1,
            caveat="This norm follows the score's scale, which Adam removes and clipping does not: see the row in SD.",
        ),
        Claim(
            "mean-stronger-signal-sd",
            "Mean gives a stronger training signal, the scale of the scores taken out.",
            "norm of d gap / d parameters in SD of the scores, mean over last",
            "The same step in the parameters moves mean's gap by less of its spread than last's.",
            _AUDIT,
            low=1,
            caveat="It is large where scores vary little: a stronger push in SD is no better direction.",
        ),
        Claim(
            "variance-over-n",
            "Var(mean) = sigma^2 / N.",
            "variance of a response's mean over sigma^2 / N: at least tokens over effective tokens, at most with the "
            "differences between responses",
            "The values of one response depend on each other: averaging N of them does not leave sigma^2 / N.",
            "critic-probe tokens",
            low=0.5,
            high=2,
            narrows=False,
            caveat="Dependence within short responses is seen too small, and that responses differ in level is what a "
            "score is for: the truth lies between the two.",
        ),
        Claim(
            "untrained-d_acc",
            "With an untrained head, d_acc is steadier under mean.",
            "SD of d_acc over random heads on this backbone, mean over last",
            "Random heads scatter more widely under mean: which head was drawn decides the accuracy.",
            _AUDIT,
            high=1,
        ),
        Claim(
            "untrained-punctuation",
            "With an untrained head, mean reacts less to punctuation.",
            "|delta| / SD of closing-mark edits over random heads on this backbone, mean minus last",
            "In SD random heads react more under mean, whatever the raw figure does.",
            _AUDIT,
            high=0,
        ),
        Claim(
            "punctuation-gap",
            "Mean shrinks the punctuation gap.",
            "|delta| / SD of closing-mark edits, mean minus last",
            "In SD the gap is larger under mean: it shrinks the spread of the scores more than the gap.",
            f"{_ENDING} {_BOTH}",
            high=0,
            caveat="The median, and the ratio to wrong facts, stand in the figures and can point the other way; the "
            "raw gap shrinks by arithmetic (next claim).",
        ),
        Claim(
            "dilution",
            "An edit of the last token moves mean by last's change / N.",
            "largest |N x mean's delta - last's delta| over N x mean's noise floor + last's",
            "The values before the edit moved too: the critic is not causal, or N is not the count of its tokens.",
            f"critic-probe perturb --family terminal-swap {_BOTH}",
            high=1,
            caveat="So a smaller raw gap under mean is division by N: no merit, and true of any late error as well.",
            exact=True,
        ),
        Claim(
            "complete-not-penalised",
            "Under mean a complete answer is not penalised.",
            "score of the complete answer minus that of the terse one with the same facts, in SD",
            "Mean still scores the complete answer lower: look at the form of the teachers in its training pairs.",
            "critic-probe completeness -a mean",
            low=-INVARIANCE_FLOOR,
        ),
        Claim(
            "above-zero",
            "A complete answer must score above 0.",
            "relative change of the loss when every score moves by 1 SD",
            "The loss sees differences alone: zero has no meaning, and a constant moves any share of scores across it.",
            "critic-probe completeness -a mean --json",
            low=1e-5,
            exact=True,
        ),
        Claim(
            "garbage-below",
            "Under mean, garbage falls below the answer.",
            "share of gibberish, other prompts' answers, empty ones and master keys that score lower",
            "Garbage does not fall below: scores that look healthy are what a critic gives that does not read.",
            "critic-probe perturb --family gibberish --family other-answer --family empty --family master-key -a mean",
            low=ORDER_FLOOR,
        ),
        Claim(
            "eos-excluded",
            "EOS is excluded automatically.",
            "share of responses whose masked mean moves beyond the noise floor when EOS is added or taken away",
            "The response mask holds EOS: a plain masked mean reads it. Leave it out by name, on both sides.",
            "critic-probe perturb --eos -a mean+eos -a last+eos -a mean -a last",
            high=0.05,
            caveat="It can only seem so where the value at EOS is like the others.",
        ),
        Claim(
            "same-content",
            "Under mean, the same content gets the same score.",
            "median |delta| / SD of edits of layout and form",
            "Layout alone moves the score by more than a small effect.",
            "critic-probe perturb --layout -a mean",
            high=INVARIANCE_FLOOR,
            caveat="By the median: look at the families and their 95th percentile too.",
        ),
        Claim(
            "same-json",
            "Under mean, the same JSON gets the same score, indented or on one line.",
            "median |delta| / SD of JSON written in the other layout",
            "The layout of JSON moves the score.",
            "critic-probe perturb --family json-layout -a mean",
            high=INVARIANCE_FLOOR,
        ),
        Claim(
            "progressive-keeps",
            "The progressive schedule (mean first, last in the end) keeps mean's benefit.",
            "|delta| / SD of closing-mark edits at the schedule's end (A = 1) minus that at its start (A = 0)",
            "As a read-out it does not: its end is last, with last's reaction to the closing mark. What a critic that "
            "was trained so keeps needs training to tell.",
            f"{_ENDING} -a mix:0 -a mix:0.5 -a mix:1",
            high=0,
            caveat="As a read-out there is no benefit to keep here; what a critic that was trained so keeps needs "
            "training to tell.",
            shown_at_all=False,
        ),
        Claim(
            "mean-reads-content",
            "Mean reads content.",
            "share of wrong facts that score lower under mean; chance is 0.5",
            "Wrong facts do not score lower: nothing here reads them, whatever the other figures look like.",
            "critic-probe perturb --family wrong-digit --family wrong-option --family item-dropped -a mean",
            low=0.5,
            caveat="A rate barely above chance is little: compare with last in the figures.",
        ),
    )
}


# How to read what was found where nothing was trained, and where critics were.
READING_UNTRAINED = [
    "Nothing was trained here: what mean, last or the progressive schedule do to a critic that is trained under them "
    "is not in these figures."
]
READING_TRAINED = [
    "Critics were trained for one table alone. A verdict there is on the range over seeds, or on the interval of one "
    "seed: it holds where all of it lies within what was expected, and does not hold where none of it does.",
    "Raw figures of two read-outs have no common scale: a mean over N tokens is smaller by construction. Compare the "
    "figures in SD. Score above 0 is no valid test, since the loss fixes only differences; it is here because it was "
    "expected.",
]
