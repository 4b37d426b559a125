"""Plain statements that can be denied, or lose their denial, and stay grammatical."""

import re
from collections.abc import Iterator

from critic_probe.probes.case import Subject
from critic_probe.probes.spans import Place, any_of, sentences

# An answer that makes something up is as good with a statement denied.
_INVENTED = any_of(
    r"""stor(?:y|ies) poem poetry haiku songs? lyrics? novel fiction\w* script screenplay scene dialogue jokes?
    slogan imagine pretend creative characters? role-?play fairy_?tale fantasy examples? samples? generate invent
    fake quiz plot continue suggest plan design write_(?:an?|some|me|the|two|three|\d+) compose draft craft create
    brainstorm describe_a_time scenarios? announcements? analog(?:y|ies) adverts? advertisements? speech"""
)
_HAN_INVENTED = any_of(
    """故事 诗 歌 小说 剧 对话 笑话 作文 散文 想象 扮演 虚构 假设 童话 台词 例子 举例 创作 编写 写一[篇个段首封份条]
    设计 计划 建议 撰写 续写 继续 起草 拟 类比 比喻 文案 邮件 演讲"""
)
INVENTS = re.compile(rf"(?i)\b{_INVENTED}\b|{_HAN_INVENTED}")

# "The largest city is Paris.": a subject of few words that is no question and no condition, and the first verb.
_NO_SUBJECT = any_of(
    r"""Here Below Above Maybe Perhaps What Why How Which Who Whom Whose Where When If While Although Though Because
    Since As Let So Unless Until After Before Once Whether Not No None Nothing Nobody Neither Either All Every Each
    Everyone Everything Both Some Any Only Also And But Or I We Is Are Was Were Do Does Did Can Could Will Should
    May Few Little \w+ed"""
)
_DETERMINER = any_of("the a an this these those my your his her its our their")
_PREPOSITION = any_of("of in on for from with by at between about behind under")
_NOT_IN_SUBJECT = any_of(
    """that which who whom whose what if when where while because and or but not only is are was were following can
    could will would should must may might has have had do does did to I we you they he she it"""
)
_ASIDES = any_of(
    """note remember mention recogni[sz]e understand consider keep acknowledge emphasi[sz]e realize know be_aware point
    say see"""
)
_BEFORE_ASIDE = any_of("also always very quite really equally particularly especially worth")
_NOT_DENIED = any_of(
    """not no none nothing never only just also even always still both either neither all each likely probably
    possibly perhaps often usually sometimes generally typically many some most necessarily merely simply as more so
    too why how what when where because if to that then now hardly rarely about around at over several another"""
)
# "It is important to note that ..." says nothing that can be denied.
_ASIDE = rf"(?:{_BEFORE_ASIDE} )?\w+ to (?:also )?{_ASIDES}\b|worth \w+ing\b"
_ENGLISH = re.compile(
    rf"(?!{_NO_SUBJECT}\b)[A-Z][\w'’-]*"
    # "The light the painting is" opens no statement: an article in a subject stands behind a preposition.
    rf"(?: (?:{_PREPOSITION} (?:{_DETERMINER} )?)?(?!(?:{_NOT_IN_SUBJECT}|{_DETERMINER})\b)[\w'’-]+){{0,5}} "
    rf"(?P<verb>is|are|was|were|can|will|should|must)(?P<denial>(?<=can)not| not)? (?!{_NOT_DENIED}\b|{_ASIDE})\w"
)
_DENIES_MORE = any_of("not no never any anyone anything ever yet but nor neither until unless only either whether")
_ENGLISH_REST = re.compile(rf"(?i)\b{_DENIES_MORE}\b|n't|;|(?:great|good|fascinating|interesting|excellent) question")

# 他是医生。: a clause opens with its subject, and no word of the subject is a verb, a conjunction or a question.
_NO_HAN_SUBJECT = any_of(
    """[如若因为当虽即使无论不但只要除由根对据从在随尽既与和而且并另] 最好 一[种个] 以下 例如 比如 附 然后 同时
    此外 首先 其次 最后 最[长多少] 提[及到]"""
)
_NOT_IN_HAN_SUBJECT = any_of(
    r"""什么 如果 虽 怎 哪 谁 通过 认为 视为 看作 表示 将 把 使用 询问 寻找 选择 确保 关注 讨论 转换 解释 说明 检查
    指出 显示 意味 先后 宣布 证明 知道 介绍 描述 让 [\s，。！？；：、,.!?;:“”「（）()是会能可应不没]"""
)
# Not 但是, 还是, 就是, 机会: those are no verbs.
_HAN = re.compile(
    rf"(?!{_NO_HAN_SUBJECT})(?:(?!{_NOT_IN_HAN_SUBJECT})(?s:.)){{1,14}}?"
    r"(?:(?P<verb>(?<![但还可于凡若或就只都总老正便乃即要算其别论管至而否没的更也既则仍已又才到很])"
    r"是(?![否不非的因为由指说])"
    r"|(?<![但还也就都既才更又便则所的])(?:可以|能够|应该|应当)(?![不说已有是])|(?<=[将它他她们])会(?!议|员|计|见))"
    r"|(?<![并决从绝也都毫能可再要更是又就才还的])(?P<denial>不)(?:是(?!不|否|因为)|会(?!不)|可以|应该))"
    r"(?![，：。])"
)
_HAN_REST = re.compile(
    any_of(
        """而 还是 就是 吗 呢 任何 丝毫 根本 从来 完全 一点 也 只 除 否则 才 都 不[仅但只] 不是 没有 ； 一定 必须 虽 但
        尽管"""
    )
)


def denials(subject: Subject) -> Iterator[Place]:
    """The verbs of plain statements, and the denials of others: what stands beside them denies nothing else."""
    if INVENTS.search(subject.prompt):
        return
    for sentence in sentences(subject.text):
        said = sentence[1]
        if said[-1] in "?？" or not subject.vouched(said):
            continue
        for statement, rest in ((_ENGLISH, _ENGLISH_REST), (_HAN, _HAN_REST)):
            match = statement.match(said)
            if match and not rest.search(said, match.end()):
                start = sentence.start(1)
                if match["denial"]:
                    yield Place(start + match.start("denial"), start + match.end("denial"))
                else:
                    yield Place(start + match.start("verb"), start + match.end("verb"), _denied(match["verb"]))


def _denied(verb: str) -> str:
    if verb.isascii():
        return "cannot" if verb == "can" else f"{verb} not"
    return "不能" if verb in ("可以", "能够") else f"不{verb}"
