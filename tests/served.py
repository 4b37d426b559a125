"""A small server that scores with a real critic over each protocol, with faults planted in it.

It computes with transformers' own classes and none of critic-probe's code. What it answers has the fields that vLLM,
SGLang and OpenRLHF answer with; it stands in for them where no GPU is at hand.
"""

import json
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from tiny import bos_tokenizer, tiny_config
from transformers import AutoModelForSequenceClassification, AutoTokenizer

CUT = 64  # tokens to which texts are cut
FAULTS = (
    "sigmoid",
    "softmax",
    "bos-doubled",
    "bos-missing",
    "template-twice",
    "tail-lost",
    "tail-stripped",
    "eos-added",
    "token-before",
    "other-head",
    "random-head",
    "hidden-unit",
    "cut-end",
    "cut-start",
    "bfloat16",
    "order",
    "batch-mates",
)
"""Every fault that can be planted; beside them `eos-lost`, where training closed a response with EOS."""


def bos_critic(path: Path, seed: int = 0, hidden: int = 8, **changes: Any) -> Path:
    """Saves a tiny sequence classifier with a trained head, whose tokenizer and template both write a BOS."""
    tokenizer = bos_tokenizer()
    torch.manual_seed(seed)
    shape = {"hidden_size": hidden, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 260}
    config = tiny_config(**shape, bos_token_id=tokenizer.bos_token_id, **changes)
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        model.score.weight.copy_(1.5 * torch.linspace(-1, 1, hidden)[torch.randperm(hidden)] ** 3)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


class ServedCritic:
    """A critic as a server holds it.

    Args:
        path: Its directory, of a sequence classifier.
        seed: Draws the heads of `random-head` and `other-head`.
    """

    def __init__(self, path: Path, seed: int = 0) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.model = AutoModelForSequenceClassification.from_pretrained(path, dtype=torch.float32).eval()
        self.half = AutoModelForSequenceClassification.from_pretrained(path, dtype=torch.bfloat16).eval()
        self._states: dict[tuple[tuple[int, ...], bool], torch.Tensor] = {}
        draw = torch.Generator().manual_seed(seed)
        weight = self.model.score.weight
        self.heads = {
            "random-head": torch.randn(weight.shape, generator=draw) * 0.02,
            "other-head": weight
            + torch.randn(weight.shape, generator=draw) * weight.std() * torch.rand(weight.shape, generator=draw) * 3,
        }

    def ids(self, text: str, faults: frozenset[str], adds_special: bool) -> list[int]:
        """The ids of a text, as a server with these faults makes them."""
        bos, eos = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        if "tail-lost" in faults:
            text = text.removesuffix("<|im_end|>\n")
        if "tail-stripped" in faults:
            text = text.strip()
        if "template-twice" in faults:
            text = self.tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=False)
            text = text.removeprefix(self.tokenizer.bos_token or "")
        ids = list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        if adds_special and bos is not None:
            ids = [bos, *ids]
        if "bos-doubled" in faults:
            ids = [bos, *ids]
        if "bos-missing" in faults:
            ids = ids[1:]
        if "eos-added" in faults:
            ids = [*ids, eos]
        if "eos-lost" in faults and ids[-1] == eos:
            ids = ids[:-1]
        if "cut-end" in faults:
            ids = ids[:CUT]
        if "cut-start" in faults:
            ids = ids[-CUT:]
        return ids

    @torch.inference_mode()
    def states(self, ids: tuple[int, ...], half: bool) -> torch.Tensor:
        """The final states (T, H) of ids, computed once."""
        if (ids, half) not in self._states:
            model = self.half if half else self.model
            self._states[ids, half] = model.model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        return self._states[ids, half]

    @torch.inference_mode()
    def score(self, ids: Sequence[int], faults: frozenset[str]) -> list[float]:
        """What is answered for ids: the scores of one token, one of them without a fault."""
        half = "bfloat16" in faults
        state = self.states(tuple(ids), half)[-2 if "token-before" in faults else -1]
        if "hidden-unit" in faults:
            numbers = state.float()
        else:
            own = (self.half if half else self.model).score.weight
            weight = next((self.heads[name] for name in self.heads if name in faults), own)
            numbers = (weight.to(state) @ state).float()
        if "sigmoid" in faults:
            numbers = numbers.sigmoid()
        if "softmax" in faults:
            numbers = numbers.softmax(-1)
        return numbers.tolist()

    def answers(self, texts: Sequence[str], faults: frozenset[str], adds_special: bool) -> list[list[float]]:
        """What is answered for the texts of one request."""
        sequences = [self.ids(text, faults, adds_special) for text in texts]
        if "batch-mates" in faults and len(texts) > 1:  # padding on the left that no mask takes away
            longest = max(map(len, sequences))
            sequences = [[self.tokenizer.pad_token_id] * (longest - len(ids)) + ids for ids in sequences]
        scores = [self.score(ids, faults) for ids in sequences]
        if "order" in faults:
            random.Random(len(scores)).shuffle(scores)
        return scores


@contextmanager
def serving(
    critic: ServedCritic, faults: Sequence[str] = (), speaks: str = "vllm", *, key: str = "", moved: str = ""
) -> Iterator[str]:
    """Serves a critic in a thread, and gives the URL.

    Args:
        critic: What is served.
        faults: What is wrong; the names are those of `serving.factors`, with `order` and `batch-mates`.
        speaks: vllm, vllm-pooling (which has no /classify), sglang, openrlhf, json, and what tests errors: no-json,
            short (an answer is missing), odd (other fields), nothing (404 for all).
        key: What it asks for as `Authorization: Bearer`; what it refuses it echoes. Empty lets everyone in.
        moved: Where every request is sent on to.
    """
    planted = frozenset(faults)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.reply(*(self.refused() or got(self.path)))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.reply(*(self.refused() or posted(self.path, body)))

        def refused(self) -> tuple[int, Any] | None:
            if moved:
                return 307, {}
            given = self.headers.get("Authorization")
            return (401, {"error": f"no key is {given}"}) if key and given != f"Bearer {key}" else None

        def reply(self, status: int, body: Any) -> None:
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            if moved:
                self.send_header("Location", moved + self.path)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    paths = {
        "vllm": ("/classify", "/pooling"),
        "vllm-pooling": ("/pooling",),
        "sglang": ("/v1/embeddings",),
        "openrlhf": ("/get_reward",),
        "json": ("/score",),
        "nothing": (),
    }.get(speaks, ("/classify",))

    def got(path: str) -> tuple[int, Any]:
        if path == "/version" and speaks not in ("sglang", "openrlhf", "json"):
            return 200, {"version": "0.33.0"}
        if path == "/model_info" and speaks == "sglang":
            return 200, {"model_path": "tiny", "is_generation": False}
        if path == "/server_info" and speaks == "sglang":
            return 200, {"version": "0.5.23"}
        if path == "/v1/models" and speaks not in ("openrlhf", "json"):
            return 200, {"object": "list", "data": [{"id": "tiny"}]}
        return (405, {"detail": "Method Not Allowed"}) if path in paths else (404, {"detail": "Not Found"})

    def posted(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if path not in paths:
            return 404, {"detail": "Not Found"}
        if path in ("/get_reward", "/score"):
            rewards = [n[-1] for n in critic.answers(body["query" if "query" in body else "texts"], planted, False)]
            return 200, {"rewards": rewards, "scores": rewards, "extra_logs": {"dummy_scores": rewards}}
        if body.get("model") != "tiny":
            return 404, {"error": {"message": f"The model `{body.get('model')}` does not exist."}}
        # vLLM's default for one label is a sigmoid; whoever wants the score asks for it.
        asked = planted if path == "/v1/embeddings" or body["use_activation"] is False else planted | {"sigmoid"}
        numbers = critic.answers(body["input"], asked, True)
        if speaks == "no-json":
            return 200, "<html>welcome</html>"
        if speaks == "short":
            numbers = numbers[1:]
        field = {"/classify": "probs", "/pooling": "data", "/v1/embeddings": "embedding"}[path]
        field = "numbers" if speaks == "odd" else field
        return 200, {"object": "list", "model": "tiny", "data": [{"index": i, field: n} for i, n in enumerate(numbers)]}

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
