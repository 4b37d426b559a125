"""Which words of a table docs/glossary.md explains."""

from collections.abc import Iterable, Iterator

PAGE = "docs/glossary.md"
# As tables' headers have them; a word that holds another one stands before it.
WORDS = (
    "soft d_acc",
    "d_acc",
    "ties",
    "token read",
    "margin",
    "change",
    "gap/SD",
    "of the gaps",
    "gap",
    "|Δ|",
    "Δ/SD",
    "Δ",
    "separation",
    "flip rate",
    "flips",
    "flip",
    "verdict",
    "AUC",
    "dz",
    "|d| <0.1",
    "overlap",
    "saturated",
    "grad. left",
    "another best",
    "beyond floor",
    "within floor",
    "within",
    "worst",
    "moved",
    "agree",
    "version",
    "lead",
    "beyond",
    "rho",
    "same length",
    "logit",
    "p (Holm)",
    "weakest fault",
    "right order",
    "rule that explains most",
    "of the moves",
    "ending restored",
    "p95",
    "below floor",
    "floor",
    "MDE",
    "more prompts",
    "p, worse",
    "gates fail, unclear",
    "trend",
    "per 100 steps",
    "95 % interval",
    "lag 1",
    "effective tokens",
    "Var(mean)",
    "SD",
)


def explained(headers: Iterable[str]) -> list[str]:
    """The words of these headers that the page explains, each once and in their order."""
    return list(dict.fromkeys(word for header in headers for word in _words(header)))


def _words(header: str) -> Iterator[str]:
    text = header.replace("-\n", "").replace("\n/", "/").replace("\n", " ").replace("|delta|", "|Δ|")
    for word in WORDS:
        if word in text:
            yield word
            text = text.replace(word, "")
