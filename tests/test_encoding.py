import pytest
from tiny import CHATML, byte_tokenizer

from critic_probe.encoding import Encoder, encode_pair
from critic_probe.errors import CriticProbeError
from critic_probe.pairs import Pair, TokenIds

EOS = 258


def encoder(chat=True, **options):
    settings = {"eos_ids": frozenset({EOS}), "vocabulary": 259, "context_length": 512} | options
    return Encoder(byte_tokenizer(chat), **settings)


def decode(ids):
    return byte_tokenizer().decode(list(ids), skip_special_tokens=False)


def test_the_prompt_ends_where_generation_begins_and_the_response_stands_alone():
    coder = encoder()
    assert decode(coder.prompt("hi")) == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    messages = ({"role": "system", "content": "s"}, {"role": "user", "content": "u"})
    assert decode(coder.prompt(messages)).startswith("<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nu")
    assert decode(coder.response("yes.").ids) == "yes."


def test_a_raw_prompt_goes_in_as_it_is():
    assert decode(encoder(chat=False).prompt("hi")) == "hi"
    assert decode(encoder(template="raw").prompt("hi")) == "hi"


def test_a_raw_prompt_keeps_a_bos_but_no_closing_eos():
    from tokenizers.processors import TemplateProcessing

    tokenizer = byte_tokenizer(chat=False)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A <|im_end|>", special_tokens=[("<|im_start|>", 257), ("<|im_end|>", EOS)]
    )
    coder = Encoder(tokenizer, eos_ids=frozenset({EOS}), vocabulary=259, context_length=None)
    assert decode(coder.prompt("hi")) == "<|im_start|>hi"
    assert decode(coder.response("yes").ids) == "yes"


def test_eos_policy_closes_text_once_and_leaves_ids_alone():
    ids = tuple(byte_tokenizer()("ok")["input_ids"])
    exclude, include = encoder(), encoder(eos="include")
    assert exclude.response("ok").ids == ids
    assert include.response("ok").ids == (*ids, EOS)
    closed = TokenIds((*ids, EOS), "ok")
    for coder in (exclude, include):
        response = coder.response(closed)
        assert response.ids == (*ids, EOS)
        assert response.eos == (False, False, True)
        assert response.text == "ok"
    assert include.response(TokenIds(ids, None)).ids == (*ids, EOS)


def test_characters_of_several_tokens_are_one_piece():
    coder = encoder()
    ids = coder.response("a，中b").ids
    assert len(ids) == 8
    pieces = coder.pieces((*ids, EOS))
    assert [p.text for p in pieces] == ["a", *["，"] * 3, *["中"] * 3, "b", "<|im_end|>"]
    assert [p.start for p in pieces] == [0, 1, 1, 1, 4, 4, 4, 7, 8]


def test_broken_bytes_are_shown_without_a_replacement_character():
    ids = encoder().response("中").ids[:2]
    assert "\ufffd" not in "".join(piece.text for piece in encoder().pieces(ids))


def test_punctuation_is_told_by_the_whole_character():
    coder = encoder()
    assert coder.punctuation(coder.response("a，.")) == (False, True, True, True, True)
    closed = TokenIds((*coder.response(".").ids, EOS), None)
    assert coder.punctuation(coder.response(closed)) == (True, False)


@pytest.mark.parametrize(
    ("response", "message"),
    [
        ("", "no tokens, so it has no score"),
        (TokenIds((5, 400), None), "token id 400 is outside the critic's vocabulary of 259"),
        (TokenIds((5, 6), "something else"), "do not decode to the text beside them"),
    ],
)
def test_responses_that_cannot_be_scored(response, message):
    with pytest.raises(CriticProbeError, match=message):
        encoder().response(response)


def test_templates_that_are_not_there_or_refuse():
    with pytest.raises(CriticProbeError, match="no chat template"):
        encoder(chat=False, template="chat")
    with pytest.raises(CriticProbeError, match="list of messages but no chat template"):
        encoder(chat=False).prompt(({"role": "user", "content": "u"},))
    strict = byte_tokenizer()
    strict.chat_template = "{% if messages[0].role != 'user' %}{{ raise_exception('user first') }}{% endif %}" + CHATML
    coder = Encoder(strict, eos_ids=frozenset({EOS}), vocabulary=259, context_length=None)
    with pytest.raises(CriticProbeError, match=r"refuses the prompt's messages.*user first"):
        coder.prompt(({"role": "assistant", "content": "x"},))


def test_nothing_is_ever_cut():
    pairs = [Pair("short", "p", "a", "b"), Pair("long", "p", "a", "b" * 600), Pair("edge", "p", "a", "b" * 462)]
    coder = encoder()
    edge = len(coder.prompt("p")) + 462
    assert edge <= 512
    assert [encode_pair(pair, coder).length > 512 for pair in pairs] == [False, True, False]
    assert encode_pair(pairs[2], coder).length == edge


def test_an_error_names_the_row():
    pairs = [Pair("x", "p", "", "b", source="file.jsonl row 3")]
    with pytest.raises(CriticProbeError, match=r"file\.jsonl row 3 \(id x\): the response has no tokens"):
        encode_pair(pairs[0], encoder())
