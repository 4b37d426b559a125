"""What a chat template is given and writes. The right ids are always those of `apply_chat_template`."""

import datetime
import inspect
import json

import pytest
from encoding.templates import DATED, LLAMA2, THINKS, TOOLS, ZEPHYR, blank_tokenizer, tokenizer_of

from critic_probe.encoding import Encoder, encode_pair, encode_pairs, read_date, template_arguments
from critic_probe.errors import CriticProbeError
from critic_probe.pairs import TOO_LONG, Faults, Pair, PairFile, TokenIds, Turns

USER = {"role": "user", "content": "What boils water?"}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Lisbon"}}}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}


def turn(content, role="assistant", **more):
    return {"role": role, "content": content, **more}


def encoder(tokenizer, **options):
    eos = frozenset({tokenizer.eos_token_id})
    return Encoder(tokenizer, **{"eos_ids": eos, "vocabulary": len(tokenizer), "context_length": 512} | options)


def templated(tokenizer, messages, **options):
    ids = tokenizer.apply_chat_template(list(messages), tokenize=True, return_dict=False, **options)
    return tuple(ids)


def pair(prompt=(USER,), student="An oven.", teacher="A kettle.", **more):
    return Pair("x", prompt, student, teacher, source="file.jsonl row 3", **more)


def test_tools_documents_and_arguments_reach_the_template():
    tokenizer = tokenizer_of(TOOLS)
    arguments = {"tools": [TOOL], "documents": [{"title": "t", "text": "Kettles boil."}], "enable_thinking": False}
    encoded = encode_pair(pair(arguments=arguments), encoder(tokenizer))
    assert encoded.prompt_ids == templated(tokenizer, [USER], add_generation_prompt=True, **arguments)
    text = tokenizer.decode(encoded.prompt_ids)
    assert "weather" in text
    assert "Kettles boil." in text
    assert text.endswith("<think>\n\n</think>\n\n")


@pytest.mark.parametrize(
    "answer",
    [
        [turn("Let me look.", tool_calls=[CALL])],
        [turn("", tool_calls=[CALL])],
        [turn("A kettle.", reasoning_content="Ovens bake.")],
        [turn("Let me look.", tool_calls=[CALL]), turn("mild", "tool"), turn("It is mild.")],
    ],
)
def test_an_answer_that_only_a_template_can_write(answer):
    tokenizer = tokenizer_of(TOOLS)
    encoded = encode_pair(pair(teacher=Turns(tuple(answer)), student="Let me look."), encoder(tokenizer))
    prompt = templated(tokenizer, [USER], add_generation_prompt=True)
    tail = tuple(tokenizer("<|im_end|>\n")["input_ids"])
    assert prompt + encoded.teacher.ids + tail == templated(tokenizer, [USER, *answer])
    assert prompt + encoded.student.ids + tail == templated(tokenizer, [USER, turn("Let me look.")])
    assert encoded.teacher.ids != encoded.student.ids
    assert encoded.teacher.text == tokenizer.decode(encoded.teacher.ids)
    closed = encode_pair(pair(teacher=Turns(tuple(answer))), encoder(tokenizer, eos="include"))
    assert closed.teacher.ids == (*encoded.teacher.ids, tokenizer.eos_token_id)
    assert (closed.teacher.own_ids, closed.teacher.closing) == (encoded.teacher.ids, 1)


def test_a_call_that_another_tail_closes_loses_it():
    other = "{{ '<|endoftext|>' if message.tool_calls else '<|im_end|>\n' }}{% endfor %}"
    tokenizer = tokenizer_of(TOOLS.replace("<|im_end|>\n{% endfor %}", other))
    both = frozenset({tokenizer.eos_token_id, tokenizer.pad_token_id})
    encoded = encode_pair(pair(teacher=Turns((turn("x", tool_calls=[CALL]),))), encoder(tokenizer, eos_ids=both))
    assert encoded.teacher.text.endswith("</tool_call>")


def test_a_template_that_writes_the_answer_apart_from_the_prompt_is_refused():
    apart = "{% if messages[-1].tool_calls %}Calls: {% endif %}" + TOOLS
    with pytest.raises(CriticProbeError, match=r"row 3 \(id x\): the chat template \(chat:\w+\) does not write"):
        encode_pair(pair(teacher=Turns((turn("x", tool_calls=[CALL]),))), encoder(tokenizer_of(apart)))


LEFT_OUT = {
    "a role": ("{% for m in messages if m.role != 'developer' %}", {"prompt": (turn("Be brief.", "developer"), USER)},
               "a message of role 'developer'"),
    "tools": ("{% for m in messages %}", {"arguments": {"tools": [TOOL]}}, "tools; .* fields.ignore tools"),
    "documents": ("{% for m in messages %}", {"arguments": {"documents": [{"text": "a"}]}}, "documents"),
    "calls": ("{% for m in messages %}", {"prompt": (USER, turn("", tool_calls=[CALL]), USER)}, "tool calls"),
    "reasoning": ("{% for m in messages %}", {"teacher": Turns((turn("x", reasoning_content="y"),))},
                  "an answer's reasoning_content"),
}  # fmt: skip


@pytest.mark.parametrize("what", LEFT_OUT)
def test_what_a_template_leaves_out_is_refused(what):
    loop, given, told = LEFT_OUT[what]
    template = loop + "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}" + (
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )  # fmt: skip
    coder = encoder(tokenizer_of(template))
    with pytest.raises(CriticProbeError, match=rf"the chat template \(chat:\w+\) leaves out {told}"):
        encode_pair(pair(**given), coder)
    encode_pair(pair(), coder)


def test_reasoning_of_an_earlier_turn_is_the_templates_to_leave_out():
    tokenizer = tokenizer_of(TOOLS)
    turns = (USER, turn("Hm?", reasoning_content="Unclear."), USER)
    encoded = encode_pair(pair(turns), encoder(tokenizer))
    assert encoded.prompt_ids == templated(tokenizer, turns, add_generation_prompt=True)


def test_a_prompt_that_is_rendered_already():
    rendered = "<|im_start|>user\nWhat boils water?<|im_end|>\n<|im_start|>assistant\n"
    tokenizer = tokenizer_of()
    for prompt in (rendered, (turn(rendered, "user"),)):
        with pytest.raises(CriticProbeError, match=r"the prompt holds <\|im_\w+\|>, which .* template='raw'"):
            encode_pair(pair(prompt), encoder(tokenizer))
    encoded = encode_pair(pair(rendered), encoder(tokenizer, template="raw"))
    assert encoded.prompt_ids + encoded.teacher.ids + tuple(tokenizer("<|im_end|>\n")["input_ids"]) == templated(
        tokenizer, [USER, turn("A kettle.")]
    )


@pytest.mark.parametrize("said", ["It is ", "It is"])
def test_a_prefill_is_gone_on_from(said):
    tokenizer = tokenizer_of()
    turns = (USER, turn(said))
    encoded = encode_pair(pair(turns, teacher="a kettle."), encoder(tokenizer))
    assert encoded.prompt_ids == templated(tokenizer, turns, continue_final_message=True)
    assert tokenizer.decode(encoded.prompt_ids + encoded.teacher.ids).endswith(f"assistant\n{said}a kettle.")


PARTS = ({"role": "user", "content": [{"type": "text", "text": "What boils "}, {"type": "text", "text": "water?"}]},)


def test_text_in_parts_is_what_a_text_is():
    reads = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}{% else %}"
        "{% for part in m.content %}{{ part.text }}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    for tokenizer in (tokenizer_of(), tokenizer_of(reads)):
        assert encoder(tokenizer).prompt(PARTS) == templated(tokenizer, [USER], add_generation_prompt=True)


def test_transcripts_are_turns_to_a_template_and_text_without_one():
    transcript = "\n\nHuman: Hi?\n\nAssistant: Hello.\n\nHuman: What boils water?\n\nAssistant:"
    tokenizer = tokenizer_of()
    given = pair(transcript, " An oven.", " A kettle.\n\nHuman: Why?\n\nAssistant: It boils.")
    encoded = encode_pair(given, encoder(tokenizer))
    turns = [turn("Hi?", "user"), turn("Hello."), USER]
    assert encoded.prompt_ids == templated(tokenizer, turns, add_generation_prompt=True)
    assert encoded.student.text == "An oven."
    assert encoded.teacher.text.startswith("A kettle.<|im_end|>\n<|im_start|>user\nWhy?")
    raw = encode_pair(given, encoder(tokenizer, template="raw"))
    assert tokenizer.decode(raw.prompt_ids + raw.student.ids) == transcript + " An oven."


def test_the_clock_stands_still():
    tokenizer = tokenizer_of(DATED)
    coder = encoder(tokenizer)
    text = coder.prompt_text((USER,))
    assert text.startswith("<|endoftext|>Today: 26 Jul 2024 2024\n")
    assert coder.template_name.endswith(" date=2024-07-26")
    assert [notice.code for notice in coder.notices] == ["template-date"]
    later = encoder(tokenizer, date=datetime.date(2031, 2, 3))
    assert later.prompt_text((USER,)).startswith("<|endoftext|>Today: 03 Feb 2031 2031\n")
    assert later.template_name != coder.template_name
    told = templated(tokenizer, [USER], date_string="1 Jan 2020", add_generation_prompt=True)
    year = str(datetime.datetime.now().year)
    assert later.prompt_text((USER,), {"date_string": "1 Jan 2020"}) == tokenizer.decode(told).replace(year, "2031")


def test_a_clock_that_cannot_be_stopped_is_refused():
    coder = encoder(tokenizer_of("{% set f = '%Y' %}{{ strftime_now(f) }}{{ messages[0].content }}"))
    with pytest.raises(CriticProbeError, match="reads the clock in a way that cannot be fixed"):
        coder.prompt((USER,))


def test_arguments_of_the_run_are_recorded_and_a_rows_own_come_first():
    tokenizer = tokenizer_of(TOOLS)
    coder = encoder(tokenizer, arguments={"enable_thinking": False})
    assert coder.template_name.endswith(" enable_thinking=False")
    off = templated(tokenizer, [USER], add_generation_prompt=True, enable_thinking=False)
    assert coder.prompt((USER,)) == off
    on = templated(tokenizer, [USER], add_generation_prompt=True, enable_thinking=True)
    assert coder.prompt((USER,), {"enable_thinking": True}) == on != off
    with pytest.raises(CriticProbeError, match=r"^arguments 'enable_thinkin': the chat template reads no argument"):
        encoder(tokenizer, arguments={"enable_thinkin": False})
    with pytest.raises(CriticProbeError, match="arguments: no chat template is in use"):
        encoder(tokenizer, arguments={"enable_thinking": False}, template="raw")


def test_thinking_on_and_off_side_by_side():
    on, off = encoder(tokenizer_of(TOOLS)).thinking(pair())
    assert off == on + "<think>\n\n</think>\n\n"
    assert encoder(tokenizer_of()).thinking(pair()) is None


def test_a_think_block_of_the_prompt_is_told():
    opened = TOOLS.replace("{% if enable_thinking is defined and not enable_thinking %}", "{% if true %}")
    [notice] = encoder(tokenizer_of(opened)).notices
    assert (
        notice.message == "the chat template begins an answer with an empty <think> block, which belongs to the prompt"
    )
    [notice] = encoder(
        tokenizer_of(opened.replace("\n\n</think>\n\n{% endif %}{% endif %}", "\n{% endif %}{% endif %}"))
    ).notices
    assert "with an open <think> block" in notice.message


def test_one_bos_and_no_second():
    tokenizer = tokenizer_of(DATED, bos_token="<|endoftext|>")
    rendered = encoder(tokenizer).prompt((USER,))
    raw = encoder(tokenizer, template="raw")
    bos = tokenizer.bos_token_id
    assert rendered.count(bos) == 1
    assert raw.prompt("hi") == (bos, *tokenizer("hi", add_special_tokens=False)["input_ids"])
    assert raw.prompt("<|endoftext|>hi") == raw.prompt("hi")


@pytest.mark.parametrize("template", [ZEPHYR, LLAMA2])
@pytest.mark.parametrize("text", ["A kettle", "kettle", "a kettle? A", " A", "\nkettle"])
def test_a_tokenizers_own_blank_stands_only_where_the_whole_conversation_has_it(template, text):
    tokenizer = blank_tokenizer(template)
    asked = turn("a kettle?", "user")
    encoded = encode_pair(pair((asked,), "A", text), encoder(tokenizer))
    whole = templated(tokenizer, [asked, turn(text)])
    assert tokenizer.tokenize("kettle") == ["▁kettle"]
    assert whole[: len(encoded.prompt_ids)] == encoded.prompt_ids
    assert whole[: len(encoded.prompt_ids) + len(encoded.teacher.ids)] == encoded.prompt_ids + encoded.teacher.ids
    assert tokenizer.eos_token_id in whole[len(encoded.prompt_ids) + len(encoded.teacher.ids) :][:3]


def test_a_special_id_beyond_the_embedding_matters_only_where_it_occurs():
    tokenizer = tokenizer_of()
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    coder = encoder(tokenizer, vocabulary=259)
    assert encode_pair(pair(), coder).teacher.text == "A kettle."
    with pytest.raises(CriticProbeError, match="token id 259 is outside the critic's vocabulary of 259"):
        encode_pair(pair(teacher="A <pad> kettle."), coder)


def test_every_fault_of_encoding_can_be_left_out():
    coder = encoder(tokenizer_of(), context_length=80)
    pairs = [
        Pair("good", "p", "s", "t"),
        Pair("long", "p", "s", "t" * 99, source="f row 2"),
        Pair("outside", "p", TokenIds((999,)), "t"),
        Pair("rendered", "<|im_start|>", "s", "t"),
        Pair("also good", "p", "s", "t"),
    ]
    faults = Faults("skip")
    assert [e.pair.id for e in encode_pairs(pairs, coder, faults)] == ["good", "also good"]
    faults.settle("f", 5)
    assert faults.skipped == {TOO_LONG: 1, "id outside the vocabulary": 1, "template inside the prompt": 1}
    strict = Faults("error", "skip")
    list(encode_pairs(pairs, coder, strict))
    with pytest.raises(CriticProbeError, match=r"2 of 5 rows have a fault .*outside: token id 999 .*rendered: the"):
        strict.settle("f", 5)


def test_rows_of_a_file_from_end_to_end(tmp_path):
    """The ids of the whole conversation, from a file's row."""
    tokenizer = tokenizer_of(TOOLS)
    rows = [
        ({"instruction": "Name it.", "input": "The river."}, [turn("Name it.\nThe river.", "user")], {}),
        ({"system": "Be brief.", "question": "What?"}, [turn("Be brief.", "system"), turn("What?", "user")], {}),
        ({"prompt": [USER], "tools": json.dumps([TOOL])}, [USER], {"tools": [TOOL]}),
        ({"prompt": [USER, turn(None, tool_calls=[CALL]), turn("mild", "tool")]},
         [USER, turn("", tool_calls=[CALL]), turn("mild", "tool")], {}),
        ({"conversations": [{"from": "Human", "value": "What?"}]}, [turn("What?", "user")], {}),
        ({"messages": [USER, turn("A kettle.")]}, [USER], {}),
    ]  # fmt: skip
    path = tmp_path / "x.jsonl"
    sides = {"chosen": [turn("A kettle.")], "rejected": [turn("An oven.")]}
    path.write_text("".join(json.dumps(row | sides) + "\n" for row, _, _ in rows))
    coder = encoder(tokenizer)
    tail = tuple(tokenizer("<|im_end|>\n")["input_ids"])
    for found, (_, messages, arguments) in zip(PairFile(path), rows, strict=True):
        encoded = encode_pair(found, coder)
        for side, said in ((encoded.teacher, "A kettle."), (encoded.student, "An oven.")):
            whole = templated(tokenizer, [*messages, turn(said)], **arguments)
            assert encoded.prompt_ids + side.ids + tail == whole


def test_a_template_with_a_think_block_is_fed_as_generation_goes_on():
    tokenizer = tokenizer_of(THINKS)
    encoded = encode_pair(pair(), encoder(tokenizer))
    assert encoded.prompt_ids == templated(tokenizer, [USER], add_generation_prompt=True)
    assert tokenizer.decode(encoded.teacher.ids) == "A kettle."


def test_arguments_and_a_date_as_they_are_written():
    written = ["enable_thinking=false", "a=True", "b=None", 'c={"x": 1}', "d=high", "e=1=2", "f="]
    assert template_arguments(written) == {
        "enable_thinking": False, "a": True, "b": None, "c": {"x": 1}, "d": "high", "e": "1=2", "f": "",
    }  # fmt: skip
    for wrong in ("enable_thinking", "=x", "a b=1"):
        with pytest.raises(CriticProbeError, match=f"^arguments '{wrong}' is not KEY=VALUE"):
            template_arguments([wrong])
    assert read_date("2031-02-03") == datetime.date(2031, 2, 3)
    with pytest.raises(CriticProbeError, match=r"^date 'today' is no day; write it as 2024-07-26"):
        read_date("today")


def test_what_every_template_is_given_otherwise_is_no_argument():
    tokenizer = tokenizer_of()
    taken = [name for name in inspect.signature(tokenizer.apply_chat_template).parameters if name != "kwargs"]
    assert {"conversation", "tools", "tokenize"} < {*taken}
    for name in (*taken, "messages"):
        with pytest.raises(CriticProbeError, match=f"^arguments '{name}': .*; (leave it out|give it as the row's)"):
            template_arguments([f"{name}=true"])
        with pytest.raises(CriticProbeError, match=f"^arguments '{name}': .*; (leave it out|give it as the row's)"):
            encoder(tokenizer, arguments={name: True})
