"""Positive evidence of a clause: a verb from closed lists, and a subject where a new sentence is to begin.

What is not recognised is no clause: an edit that needs one is left undone rather than guessed.
"""

import re

_ENDS = re.compile(r"[。！？!?\n]|\.(?=[\s\"”')*_]|\Z)")
_DRESSING = "#>*_-•+ \t\"“”‘’'「」『』（()）[]：:"

# English
_FINITE = (
    r"(?:am|is|are|was|were|has|have|had|do|does|did|can|could|will|would|should|must|may|might|cannot"
    r"|(?:is|are|was|were|has|have|had|do|does|did|could|would|should|ca|wo)n['’]t)"
)
_PLAIN_VERBS = (
    r"(?:need|want|think|know|go|get|make|take|see|say|said|went|got|made|took|saw|use|used|find|found|give|gave|come"
    r"|came|feel|felt|help|helps|means|makes|gives|takes|needs|wants|includes|contains|provides|allows|requires|became"
    r"|becomes|remains|seems|refers|uses|works|plays|lives|shows|hope|recommend|suggest|believe|understand|like|likes"
    r"|love|loves|wish|try|tried|start|started|began|added|decided|realized|knew|stood|thought|asked|told|offers"
    r"|ensures|creates|includes|involves|depends|represents|consists|describes|follows|turned|looked)"
)
_PRONOUN = r"(?:I|you|he|she|it|we|they)"
_NOUN_PHRASE = r"(?:the|a|an|this|these|those|my|your|our|their|its|his|her|some|many|most|both|each|every|there)"
_CONTRACTED = r"(?:I['’]m|(?:you|we|they)['’]re|(?:he|she|it|that|there)['’]s|(?:I|you|we|they|he|she)['’](?:ll|ve|d))"
_SUBJECT_AND_VERB = re.compile(
    rf"(?i)(?:{_CONTRACTED}"
    rf"|{_PRONOUN} (?:(?:also|then|always|often|never|just|really|still|only) )?(?:{_FINITE}|{_PLAIN_VERBS})"
    rf"|{_NOUN_PHRASE}(?: (?!that\b|which\b|who\b|if\b|when\b)[\w'’-]+){{0,3}} {_FINITE})(?![\w'’-])"
)
_JOINING = re.compile(r"(?i)(?:and|but|so|or|yet)\s+")
_FINITE_VERB = re.compile(rf"(?i)\b(?:{_FINITE}|{_CONTRACTED}|{_PRONOUN} {_PLAIN_VERBS})(?![\w'’-])")
_COMPARED = re.compile(r"(?i)the (?:more|less|better|\w+er)\b")
_ASIDE = re.compile(r"(?i)\w+ (?:\w+ )?(?:think|believe|guess|know|mean|say|said|seems|hope|see|understand)$")
_REPORTS = re.compile(r"(?i)\b(?:say|says|said|ask|asked|think|thought|is|are|was|were|be|that|and|or|but|with|to|of)$")
_SUBORDINATE = re.compile(  # may govern what follows the comma too, where no `but` says otherwise
    r"(?i)\b(?:that|while|whereas|if|when|whenever|where|although|though|since|after|before|as|once|because|until|unless"
    r"|whether|given|based|by|how|what|why|who|which|considering|assuming|suppose|say)\b|:"
)


def _any_of(words: str) -> str:
    return f"(?:{'|'.join(words.split())})"


# Chinese
_HAN = r"[\u3400-\u9fff]"
_HAN_VALUE = re.compile(rf"{_HAN}{{2,6}}\d+(?:\.\d+)?(?:{_HAN}|%){{0,3}}")
_HAN_VERB = re.compile(  # a character that is no verb in some words stands with those words excluded
    r"(?<![但可于还要凡若或总就正])是(?!否|的)|(?<![所只拥具含没还国私另])有(?![关效限机趣些时人])"
    r"|(?<![社机协议国晚宴约])会(?![议员计话])|(?<![功性技智才职本可])能(?![力量源])|(?<![以需主重必])要(?![求点素])"
    r"|让|使(?![用命者])|将(?![军来])|给(?!予)|(?<=[\u3400-\u9fff])(?:了(?!解)|着(?!重|名))|来(?![自说源])|[做看](?!法)|[走吃喝写读买卖去]|"
    + _any_of(
        """没有 具有 拥有 含有 可以 可能 应该 应当 需要 必须 想要 不要 使用 了解 位于 包括 包含 提供 帮助 导致
        成为 变成 变得 获得 得到 增加 减少 提高 影响 表示 表明 认为 知道 希望 喜欢 觉得 发现 决定 开始 属于
        来自 取决 采用 进行 实现 支持 保持 确保 避免 存在 发生 造成 产生 介绍 说明 描述 建立 创建 选择 考虑
        看到 听到 感到 充满 代表 意味 指的是 分为 称为 用于 回家 回到"""
    )
)
_HAN_OPENS_NO_SENTENCE = re.compile(
    r"(?:但是?|不过|然而|所以|因此|因而|而且)?"
    + _any_of(
        """要 想 提到 培养 将 把 站在 遵循 利用 使用 采用 结合 如果 若 假如 假设 倘若 因为 由于 虽然 尽管 即使
        既然 无论 不管 不论 只要 只有 除 当 为 随着 通过 经过 对 关于 根据 不仅 不但 不是 不只 与 一旦 在 从
        自 作为 例如 比如 诸如 据 按照 每当 每次 哪怕 就算 首先 其次 最后 一方面 尤其 特别 包括 以 而 并 和
        或 甚至 之后 然后 接着 基于 鉴于 考虑到 有时 同样 同时 另外 此外 总之 总的来说 正如 像 如 越 本着 凭
        经 继 至于 有关"""
    )
)
_HAN_PAIRED = re.compile("虽|尽管|如果|因为|由于|不仅|不但|即使|既然|无论|不管|只要|除非|一旦")
_HAN_UNFINISHED = re.compile(
    r"(?:[时后前中下上里外间说道的为是即如和与及或有叫让使吗呢]|告诉.{0,3}|"
    + _any_of(
        """的话 来说 而言 来看 方面 认为 觉得 希望 表示 指出 明白 理解 意识到 看到 听说 忘记 证明 记得 知道
        相信 建议 发现 意味着 例如 比如 包括 询问 以来 之际 之余 其中 同时 首先 其次 最后"""
    )
    + ")$"
)
_HAN_BEGINS = re.compile(
    r"(?:但是?|不过|然而|所以|因此|因而|于是)?"
    r"(?:我们?|你们?|您|他们?|她们?|它们?|这(?!样|时|里|一来|就是)|那(?!么|样|时|里|就)|人们|大家)(?![就才便都也却])"
    r"|(?:但是?|不过|然而|所以|因此|因而)(?!却)(?=[\u3400-\u9fff]{4})"
)


def parts_two_clauses(text: str, index: int, *, chinese: bool) -> bool:
    """Whether a comma or semicolon parts two clauses that could each be a sentence."""
    left, right = _before(text, index), _behind(text, index)
    apart = chinese or re.match(r"(?i)\s*(?:but|so|yet)\s", right) or not _SUBORDINATE.search(left)
    if not (apart and _balanced(left) and _balanced(right)):
        return False
    return _stands_alone(left, chinese) and _begins_anew(right, chinese)


def parts_two_sentences(text: str, index: int, *, chinese: bool) -> bool:
    """Whether a full stop parts two sentences of one line, each with a verb."""
    sides = (_before(text, index), _behind(text, index))
    return all(_balanced(side) and has_verb(side, chinese=chinese) for side in sides)


def _before(text: str, index: int) -> str:
    """What stands before a mark, from the mark that ends the sentence before it, or from the line's start."""
    return text[max((end.end() for end in _ENDS.finditer(text, 0, index)), default=0) : index]


def _behind(text: str, index: int) -> str:
    closing = _ENDS.search(text, index + 1)
    return text[index + 1 : closing.start() if closing else len(text)]


def has_verb(segment: str, *, chinese: bool) -> bool:
    """Whether a segment is long enough for a clause and holds a verb of the closed lists, or is a Chinese value.

    心率88次 is a clause, whose predicate is a number.
    """
    if chinese:
        if _HAN_VALUE.fullmatch(segment.strip()):
            return True
        return len(re.findall(_HAN, segment)) >= 4 and bool(_HAN_VERB.search(segment))
    return len(segment.split()) >= 3 and bool(_FINITE_VERB.search(segment))


def _stands_alone(left: str, chinese: bool) -> bool:
    body = left.lstrip(_DRESSING)
    if not chinese:
        body = _JOINING.sub("", body, count=1)
        last = body.rpartition(",")[2]
        clause = _SUBJECT_AND_VERB.match(body) and not _COMPARED.match(body) and not _REPORTS.search(body.rstrip())
        return bool(clause) and len(last.split()) >= 3
    clauses = re.split("[，；：]", body)
    return (
        not any(_HAN_OPENS_NO_SENTENCE.match(clause.lstrip(_DRESSING)) for clause in clauses)
        and not _HAN_PAIRED.search(body)
        and not _HAN_VERB.match(body)
        and not _HAN_UNFINISHED.search(clauses[-1].rstrip())
        and has_verb(clauses[-1], chinese=True)
    )


def _begins_anew(right: str, chinese: bool) -> bool:
    body = right.lstrip()
    first = re.split("[，；,;]", body)[0].rstrip()
    if not chinese:
        body = _JOINING.sub("", body, count=1)
        clause = _SUBJECT_AND_VERB.match(body) and not _COMPARED.match(body) and not _ASIDE.match(first)
        return bool(clause) and len(first.split()) >= 3
    return bool(_HAN_BEGINS.match(body) or _HAN_VALUE.fullmatch(first)) and has_verb(first, chinese=True)


_PAIRS = (("(", ")"), ("（", "）"), ("“", "”"), ("「", "」"), ("『", "』"), ("《", "》"), ("[", "]"), ("{", "}"))


def _balanced(segment: str) -> bool:
    """Whether every quotation, bracket and emphasis that opens in a segment closes in it."""
    paired = all(segment.count(opening) == segment.count(closing) for opening, closing in _PAIRS)
    return paired and segment.count('"') % 2 == 0 and segment.count("**") % 2 == 0
