"""Chat templates of the kinds that are in use, in few lines, and a tokenizer of Llama 2's kind."""

from tiny import CHATML, byte_tokenizer
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors
from transformers import PreTrainedTokenizerFast

TOOLS = (
    "{% if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}"
    "{% for document in documents or [] %}[{{ document.text }}]\n{% endfor %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.reasoning_content and loop.last %}<think>\n{{ message.reasoning_content }}\n</think>\n\n{% endif %}"
    "{{ message.content }}"
    "{% for call in message.tool_calls or [] %}\n<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}"
    "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
"""Tools, calls, documents, reasoning: after Qwen 3."""

THINKS = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if loop.last and message.role == 'assistant' and '</think>' not in message.content %}<think>\n\n</think>\n\n"
    "{% endif %}{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""An empty think block before the last answer: after Qwen 3."""

DATED = (
    '{% if not date_string is defined %}{% set date_string = strftime_now("%d %b %Y") %}{% endif %}'
    "<|endoftext|>Today: {{ date_string }} {{ strftime_now('%Y') }}\n"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The day, a BOS of the template's own, and contents stripped: after Llama 3.1."""

STRIPPED = (
    "<|endoftext|>"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""A BOS of the template's own, and contents stripped: after Llama 3."""

ZEPHYR = (
    "{% for message in messages %}<|{{ message.role }}|>\n{{ message.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
LLAMA2 = (
    "{% for message in messages %}{% if message.role == 'user' %}<s>[INST] {{ message.content }} [/INST]"
    "{% else %} {{ message.content }} </s>{% endif %}{% endfor %}"
)


def tokenizer_of(template=CHATML, **special):
    """The byte tokenizer with a template, and a BOS where one is named."""
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template
    if special:
        tokenizer.add_special_tokens(special)
        bos = tokenizer.bos_token_id
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{tokenizer.bos_token} $A", special_tokens=[(tokenizer.bos_token, bos)]
        )
    return tokenizer


def blank_tokenizer(template):
    """A tokenizer of Llama 2's kind: a blank before every text and behind every special token, `▁` for blanks."""
    letters = [*"▁abcdefghijklmnopqrstuvwxyzAEIOW?.<>|/[]NST\n"]
    words = ["▁a", "ke", "tt", "le", "kett", "kettle", "▁kettle", "▁A", "[/", "INST", "IN", "ST"]
    vocab = {token: i for i, token in enumerate(["<unk>", "<s>", "</s>", *letters, *words])}
    merges = [("▁", "a"), ("k", "e"), ("t", "t"), ("l", "e"), ("ke", "tt"), ("kett", "le"), ("▁", "kettle"),
              ("▁", "A"), ("[", "/"), ("I", "N"), ("S", "T"), ("IN", "ST")]  # fmt: skip
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in ("<s>", "</s>")])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<unk>"
    )
    fast.chat_template = template
    return fast
