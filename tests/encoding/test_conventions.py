"""Reading conventions: ids as transformers and the frameworks make them, and the answer apart from its closing."""

import re

import pytest
import torch
from encoding.templates import LLAMA2, STRIPPED, THINKS, ZEPHYR, blank_tokenizer, tokenizer_of
from transformers import AutoModelForSequenceClassification

from critic_probe.encoding import CONVENTIONS, Convention, Encoder, encode_pair, find_convention, shown_input
from critic_probe.encoding.shown import missing_input
from critic_probe.errors import CriticProbeError
from critic_probe.pairs import Pair, TokenIds

ASKED = "What boils water?"
USER = {"role": "user", "content": ASKED}
TEXTS = ["An oven.", "A kettle.\n", "a, b", "水壶。"]


def encoder(tokenizer, convention, **options):
    settings = {"eos_ids": frozenset({tokenizer.eos_token_id}), "vocabulary": len(tokenizer), "context_length": None}
    return Encoder(tokenizer, **(settings | {"convention": CONVENTIONS[convention]} | options))


def templated(tokenizer, messages, **options):
    return tuple(tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False, **options))


def both(encoded):
    for side in ("student", "teacher"):
        response = getattr(encoded, side)
        yield getattr(encoded.pair, side), encoded.prompt_ids + response.ids, response


@pytest.mark.parametrize("convention", ["trl", "hf"])
@pytest.mark.parametrize(
    "tokenizer",
    [tokenizer_of(), tokenizer_of(THINKS), tokenizer_of(STRIPPED)],
    ids=["chatml", "think block", "stripped"],
)
@pytest.mark.parametrize("texts", [TEXTS[:2], TEXTS[2:]])
def test_the_whole_conversation(convention, tokenizer, texts):
    encoded = encode_pair(Pair("x", (USER,), *texts), encoder(tokenizer, convention))
    for text, ids, side in both(encoded):
        assert ids == templated(tokenizer, [USER, {"role": "assistant", "content": text}])
        assert tokenizer.decode(side.closing_ids) == "<|im_end|>\n"
        assert tokenizer.decode(side.own_ids) == side.text
        assert side.text.strip() == text.strip()


@pytest.mark.parametrize("template", [ZEPHYR, LLAMA2])
def test_the_whole_conversation_of_a_tokenizer_with_a_blank_of_its_own(template):
    tokenizer = blank_tokenizer(template)
    asked = {"role": "user", "content": "a kettle?"}
    encoded = encode_pair(Pair("x", (asked,), "A kettle", "kettle"), encoder(tokenizer, "trl"))
    for text, ids, side in both(encoded):
        assert ids == templated(tokenizer, [asked, {"role": "assistant", "content": text}])
        assert side.closing_ids[0] == tokenizer.eos_token_id or template is LLAMA2


def test_trl_closes_plain_text_with_eos_and_0_23_did_not():
    tokenizer = tokenizer_of(bos_token="<|endoftext|>")
    for convention, eos in (("trl", "<|im_end|>"), ("trl-0.23", "")):
        for prompt in (ASKED + " ", ASKED):
            encoded = encode_pair(Pair("x", prompt, *TEXTS[:2]), encoder(tokenizer, convention))
            for text, ids, side in both(encoded):
                assert ids == tuple(tokenizer(prompt + text + eos)["input_ids"])
                assert ids[0] == tokenizer.bos_token_id
                assert (side.text, tokenizer.decode(side.closing_ids)) == (text, eos)
    closed = encode_pair(Pair("x", ASKED, "a<|im_end|>", "b"), encoder(tokenizer, "trl"))
    assert closed.student.ids.count(tokenizer.eos_token_id) == 1


def test_trl_0_23_tokenised_the_rendered_text_as_any_text():
    tokenizer = tokenizer_of(STRIPPED, bos_token="<|endoftext|>")
    encoded = encode_pair(Pair("x", (USER,), *TEXTS[:2]), encoder(tokenizer, "trl-0.23"))
    for text, ids, _ in both(encoded):
        turns = [USER, {"role": "assistant", "content": text}]
        assert ids == tuple(tokenizer(tokenizer.apply_chat_template(turns, tokenize=False))["input_ids"])
        assert ids[:2] == (tokenizer.bos_token_id,) * 2


@pytest.mark.parametrize("template", [None, "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"])
def test_openrlhf_ends_every_sequence_in_eos(template):
    """As openrlhf/datasets/reward_dataset.py does, in its own words."""
    tokenizer = tokenizer_of() if template is None else tokenizer_of(template)
    for prompt in ((USER,), ASKED):
        encoded = encode_pair(Pair("x", prompt, *TEXTS[:2]), encoder(tokenizer, "openrlhf"))
        for text, ids, side in both(encoded):
            turns = [USER, {"role": "assistant", "content": text}]
            fed = prompt + text if prompt == ASKED else tokenizer.apply_chat_template(turns, tokenize=False)
            fed = fed.rstrip("\n")
            if not fed.endswith(tokenizer.eos_token):
                fed += " " + tokenizer.eos_token
            assert ids == tuple(tokenizer(fed, add_special_tokens=False)["input_ids"])
            assert (ids[-1], side.read) == (tokenizer.eos_token_id, len(side.ids) - 1)
            assert side.text.strip() == text.strip()


def test_ppo_and_llamafactory_close_the_answer_behind_the_generation_prompt():
    tokenizer = tokenizer_of()
    prompt = templated(tokenizer, [USER], add_generation_prompt=True)
    for convention, closing in (("gad", ""), ("verl-ppo", "<|im_end|>"), ("llamafactory", "<|im_end|>\n")):
        for asked in ((USER,), ASKED):
            encoded = encode_pair(Pair("x", asked, *TEXTS[:2]), encoder(tokenizer, convention))
            for text, ids, side in both(encoded):
                assert ids == prompt + tuple(tokenizer(text + closing)["input_ids"])
                assert (tokenizer.decode(side.own_ids), tokenizer.decode(side.closing_ids)) == (text, closing)
    assert CONVENTIONS["verl-ppo"].position == "before"


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("prompt", [(USER,), ASKED, ASKED + "\n"])
def test_an_edit_changes_the_answer_and_what_closes_it_stays(convention, prompt):
    tokenizer = tokenizer_of()
    coder = encoder(tokenizer, convention)
    encoded = encode_pair(Pair("x", prompt, "An oven.", "A kettle."), coder)
    edited = coder.answer(encoded, "A kettle", encoded.teacher)
    direct = encode_pair(Pair("x", prompt, "An oven.", "A kettle"), coder)
    assert edited == direct.teacher
    assert edited.closing_ids == encoded.teacher.closing_ids
    assert coder.answer(encoded, "An oven.", encoded.student) == encoded.student


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("prompt", [(USER,), ASKED])
@pytest.mark.parametrize("bos", [{}, {"bos_token": "<|endoftext|>"}], ids=["no BOS", "BOS"])
def test_ids_are_closed_and_read_as_the_text_is(convention, prompt, bos):
    """Whether a file has them with what closes them, as far as sampling goes, or without."""
    tokenizer = tokenizer_of(**bos)
    coder = encoder(tokenizer, convention, pad_id=258)
    text = encode_pair(Pair("x", prompt, "An oven.", "A kettle."), coder)
    closing = text.teacher.closing_ids
    for end in {(), closing, closing[: closing.index(258) + 1] if closing else ()}:
        student, teacher = (TokenIds((*side.own_ids, *end), side.text) for side in (text.student, text.teacher))
        for sides in ((student, teacher), ("An oven.", teacher), (student, "A kettle.")):
            encoded = encode_pair(Pair("x", prompt, *sides), coder)
            assert encoded.prompt_ids == text.prompt_ids
            assert (encoded.student, encoded.teacher) == (text.student, text.teacher)
            edited = coder.answer(encoded, "A pot.", encoded.teacher)
            assert edited == encode_pair(Pair("x", prompt, "An oven.", "A pot."), coder).teacher


@pytest.mark.parametrize("template", [ZEPHYR, LLAMA2])
@pytest.mark.parametrize("convention", ["trl", "hf", "openrlhf"])
def test_ids_as_the_whole_conversation_has_them_stay_as_they_are(convention, template):
    tokenizer = blank_tokenizer(template)
    coder = encoder(tokenizer, convention)
    text = encode_pair(Pair("x", ({"role": "user", "content": "a kettle?"},), "A kettle", "kettle"), coder)
    ids = [TokenIds(side.ids) for side in (text.student, text.teacher)]
    encoded = encode_pair(Pair("x", text.pair.prompt, *ids), coder)
    for own, other in ((encoded.student, text.student), (encoded.teacher, text.teacher)):
        assert (own.ids, own.closing_ids) == (other.ids, other.closing_ids)


def test_a_line_break_behind_the_tail_goes_where_training_let_it_go():
    tokenizer = tokenizer_of()
    coder = encoder(tokenizer, "openrlhf")
    text = encode_pair(Pair("x", (USER,), "An oven.", "A kettle."), coder)
    chat = tuple(tokenizer("A kettle.<|im_end|>\n")["input_ids"])
    assert encode_pair(Pair("x", (USER,), "An oven.", TokenIds(chat)), coder).teacher == text.teacher


def test_ids_keep_their_own_closing_where_the_convention_has_none():
    tokenizer = tokenizer_of()
    own = tuple(tokenizer("A kettle.")["input_ids"])
    for eos in ("exclude", "include"):
        coder = encoder(tokenizer, "gad", eos=eos)
        encoded = encode_pair(Pair("x", (USER,), TokenIds(own), TokenIds((*own, 258))), coder)
        assert encoded.student.ids == (own if eos == "exclude" else (*own, 258))
        assert (encoded.teacher.own_ids, encoded.teacher.closing_ids) == (own, (258,))
        assert encoded.teacher.text == "A kettle."
        assert coder.answer(encoded, "A kettle", encoded.teacher).ids == (*own[:-1], 258)


def test_a_prompt_and_an_answer_that_share_a_token():
    """Plain text is tokenised as one text: where a token spans both, it belongs to the response."""
    tokenizer = blank_tokenizer(None)
    coder = encoder(tokenizer, "trl")
    encoded = encode_pair(Pair("x", "a ket", "tle", "a"), coder)
    for text, ids, _ in both(encoded):
        assert ids == tuple(tokenizer("a ket" + text + "</s>")["input_ids"])
    assert tokenizer.decode(encoded.student.ids) == "kettle</s>"
    with pytest.raises(CriticProbeError, match="the prompt's last token is another one before this text"):
        coder.answer(encode_pair(Pair("x", "a kett", "a", "A"), coder), "le", encoded.student)


@pytest.mark.parametrize("pad", [None, 256, 258])
@pytest.mark.parametrize("prompt", [(USER,), ASKED])
@pytest.mark.parametrize("convention", ["hf", "trl", "trl-0.23"])
def test_the_pooled_token_is_the_one_that_transformers_pools(make_critic, convention, prompt, pad):
    path = make_critic("qwen3", "sequence", pad_token_id=pad)
    model = AutoModelForSequenceClassification.from_pretrained(path).eval()
    tokenizer = tokenizer_of()
    tokenizer.pad_token = tokenizer.eos_token  # of no account: the model pools by its config alone
    encoded = encode_pair(Pair("x", prompt, *TEXTS[:2]), encoder(tokenizer, convention, pad_id=pad))
    for _, ids, side in both(encoded):
        with torch.inference_mode():
            score = model(input_ids=torch.tensor([ids])).logits[0, 0]
            values = model.score(model.model(input_ids=torch.tensor([ids])).last_hidden_state)[0, :, 0]
        torch.testing.assert_close(values[len(encoded.prompt_ids) + side.read], score)


def test_a_convention_of_ones_own(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('rendering = "whole"\nclosing = "tail+eos"\nreads = "last"\nplain_adds_special = false\n')
    convention = find_convention(str(file))
    assert convention == Convention("mine", "whole", "tail+eos", plain_adds_special=False, reads="last")
    tokenizer = tokenizer_of()
    encoded = encode_pair(
        Pair("x", (USER,), "s", "t"),
        Encoder(tokenizer, eos_ids=frozenset({258}), vocabulary=259, context_length=None, convention=convention),
    )
    assert tokenizer.decode(encoded.teacher.ids) == "t<|im_end|>\n<|im_end|>"
    assert find_convention("trl") == CONVENTIONS["trl"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('closing = "none"', r"mine\.toml: 'closing' is 'none', not 'nothing', 'eos', 'blank\+eos', 'tail', "),
        ("adds_special = 1.5", r"'adds_special' is 1\.5, not true or false"),
        ('name = "gad"', r"mine\.toml: a convention is called as its file is; remove 'name'"),
        ('tail = "x"', r"'tail' is no part of a convention; known are rendering, closing"),
        ("closing", r"mine\.toml: not valid TOML"),
    ],
)
def test_a_convention_that_is_none(tmp_path, content, message):
    (tmp_path / "mine.toml").write_text(content)
    with pytest.raises(CriticProbeError, match=message):
        find_convention(str(tmp_path / "mine.toml"))


def test_a_file_does_not_pass_for_a_built_in_convention(tmp_path):
    for name in CONVENTIONS:
        (tmp_path / f"{name}.toml").write_text('position = "before"')
        with pytest.raises(CriticProbeError, match=rf"{name}\.toml: '{name}' is the name of a built-in convention"):
            find_convention(str(tmp_path / f"{name}.toml"))


def test_conventions_of_one_name_are_signed_by_what_they_say(tmp_path):
    assert [convention.signed for convention in CONVENTIONS.values()] == [*CONVENTIONS]
    signed = []
    for content in ("", 'reads = "last"', "# the same\nreads = 'last'"):
        (tmp_path / "mine.toml").write_text(content)
        signed.append(find_convention(str(tmp_path / "mine.toml")).signed)
    assert all(re.fullmatch("mine:[0-9a-f]{8}", name) for name in signed)
    assert signed[0] != signed[1] == signed[2]
    assert Convention("trl").signed.startswith("trl:")


def test_a_convention_that_is_not_there(tmp_path):
    with pytest.raises(
        CriticProbeError, match=r"^convention 'tlr' is no known convention; choose from gad, trl, trl-0"
    ):
        find_convention("tlr")
    with pytest.raises(CriticProbeError, match=r"nowhere\.toml: cannot be read \(No such file"):
        find_convention(str(tmp_path / "nowhere.toml"))


def test_eos_to_add_needs_an_eos_token():
    tokenizer = tokenizer_of()
    tokenizer.eos_token = None
    with pytest.raises(
        CriticProbeError, match="convention='trl' closes responses with EOS, and the tokenizer names no EOS"
    ):
        Encoder(tokenizer, eos_ids=frozenset(), vocabulary=259, context_length=None, convention=CONVENTIONS["trl"])


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_an_example_as_the_critic_sees_it(convention):
    tokenizer = tokenizer_of()
    coder = encoder(tokenizer, convention)
    encoded = encode_pair(Pair("x", (USER,), "An oven.", "A kettle."), coder)
    shown = shown_input(encoded, coder)
    assert (shown["id"], shown["convention"], shown["template"]) == ("x", convention, coder.template_name)
    for side in ("student", "teacher"):
        told, response = shown[side], getattr(encoded, side)
        assert told["ids"] == [*encoded.prompt_ids, *response.ids]
        assert told["text"] == tokenizer.decode(told["ids"]) == told["prompt"] + told["answer"] + told["closing"]
        assert tokenizer.decode(told["ids"][told["response_start"] : told["response_end"]]) == response.text
        assert told["read"] == (None if response.read is None else len(encoded.prompt_ids) + response.read)
    assert missing_input(encoded, coder) == []


def test_what_a_template_does_not_show_is_found_missing():
    tokenizer = tokenizer_of("{% for m in messages %}{{ m.content[:20] }}<|im_end|>\n{% endfor %}")
    coder = encoder(tokenizer, "gad")
    long = Pair("x", ASKED * 2, "#", "+")
    assert missing_input(encode_pair(long, coder), coder) == [ASKED * 2]
    assert missing_input(encode_pair(Pair("x", ASKED, "#", "+"), coder), coder) == []
