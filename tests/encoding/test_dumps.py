"""Prompts that a rollout dump decoded without special tokens are fed as training fed them, or refused."""

import pytest
from encoding.templates import STRIPPED, ZEPHYR, tokenizer_of
from tiny import CHATML

from critic_probe.encoding import Encoder
from critic_probe.pairs import BadRowError, Candidates

DEFAULT = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou help.<|im_end|>\n{% endif %}" + CHATML
)  # a system text of the template's own: after Qwen 2.5
SPECIAL = (
    "{% for message in messages %}{{ '<|im_start|>' if message.role == 'user' else '<|endoftext|>' }}"
    "{{ message.content }}<|im_end|>{% endfor %}"
)  # roles by special tokens alone
CONVERSATIONS = (
    [("user", "What boils water?")],
    [("system", "Be brief."), ("user", "What boils water?\nuser\nsaid so.")],
    [("user", "Hi."), ("assistant", "Yes?\n\nGo on."), ("user", "What boils water?")],
    [("system", "S"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"), ("user", "e\n")],
)


def encoder(tokenizer, **options):
    eos = frozenset({tokenizer.eos_token_id})
    return Encoder(tokenizer, eos_ids=eos, vocabulary=len(tokenizer), context_length=512, **options)


def dumped(text):
    return Candidates("x", text, ("A kettle.",), ("response",), decoded=True)


def turns(conversation):
    return [{"role": role, "content": content} for role, content in conversation]


@pytest.mark.parametrize("template", [CHATML, STRIPPED, ZEPHYR, DEFAULT], ids=["chatml", "stripped", "zephyr", "own"])
@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=len)
def test_the_prompt_is_the_one_that_was_fed(template, conversation):
    tokenizer = tokenizer_of(template)
    fed = tokenizer.apply_chat_template(turns(conversation), add_generation_prompt=True, return_dict=False)
    encoded = encoder(tokenizer).candidates(dumped(tokenizer.decode(fed, skip_special_tokens=True)))
    assert list(encoded.prompt_ids) == fed
    assert encoded.responses[0].text == "A kettle."


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (CHATML, "What boils water?"),
        (CHATML, "user\nWhat boils water?"),
        (ZEPHYR, "user\nWhat boils water?\nassistant\n"),
        (SPECIAL, "What boils water?"),
        (DEFAULT, "system\nuser\nWhat boils water?\nassistant\n"),
    ],
)
def test_what_the_template_does_not_write_is_refused(template, text):
    coder = encoder(tokenizer_of(template))
    with pytest.raises(
        BadRowError, match=r"no conversation that this critic's chat template writes; .* template='raw'"
    ):
        coder.candidates(dumped(text))


def test_without_a_template_the_prompt_is_text():
    tokenizer = tokenizer_of()
    encoded = encoder(tokenizer, template="raw").candidates(dumped("user\nHi\nassistant\n"))
    assert tokenizer.decode(encoded.prompt_ids) == "user\nHi\nassistant\n"
