"""Servers that score: how each is asked, and where in its answer the score stands.

The names of fields are those of vLLM 0.33.0, SGLang 0.5.23, OpenRLHF 0.11.2 and of verl 0.9.1, which asks the first
two; docs/serving.md lists them.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx2

from critic_probe.errors import CriticProbeError, parameter

KEY = "CRITIC_PROBE_ENDPOINT_KEY"  # the environment's variable for what a server asks for as `Authorization: Bearer`
TIMEOUT = 120.0  # seconds for one answer: a server may load or compile at the first request


class Answer(NamedTuple):
    """What a server says of one text.

    Attributes:
        score: The number that training would take.
        width: How many numbers it stood among; a head of one label gives one.
    """

    score: float
    width: int


@dataclass(frozen=True)
class Protocol:
    """A way of asking a server for scores.

    Attributes:
        name: As `--protocol` takes it.
        server: What speaks it, and which version was read.
        path: Of the request; empty for a URL that is complete.
        bos: Whether the server's tokenizer puts its special tokens before a text, so that frameworks send it without.
        request: The body for texts and the name of the model, which may be None.
        answers: The answers, in order, out of a body.
    """

    name: str
    server: str
    path: str
    bos: bool
    request: Callable[[Sequence[str], str | None], dict[str, Any]]
    answers: Callable[[Any], list[Answer]]


def _last(numbers: Any) -> Answer:
    """The last number of a vector, or of the last token's vector."""
    if numbers and isinstance(numbers[0], list):
        numbers = numbers[-1]
    return Answer(float(numbers[-1]), len(numbers))


def _items(field: str) -> Callable[[Any], list[Answer]]:
    """Answers out of `data`, in the order of their `index`, each under a field."""

    def answers(body: Any) -> list[Answer]:
        items = sorted(body["data"], key=lambda item: item["index"])
        return [_last(item[field]) for item in items]

    return answers


def _named(body: dict[str, Any], model: str | None) -> dict[str, Any]:
    return body if model is None else {"model": model, **body}


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "vllm-classify",
            "vLLM 0.33.0",
            "/classify",
            True,
            lambda texts, model: _named({"input": list(texts), "use_activation": False}, model),
            _items("probs"),
        ),
        Protocol(
            "vllm-pooling",
            "vLLM 0.33.0",
            "/pooling",
            True,
            lambda texts, model: _named({"input": list(texts), "use_activation": False}, model),
            _items("data"),
        ),
        Protocol(
            "sglang",
            "SGLang 0.5.23",
            "/v1/embeddings",
            True,
            lambda texts, model: _named({"input": list(texts)}, model),
            _items("embedding"),
        ),
        Protocol(
            "openrlhf",
            "OpenRLHF 0.11.2",
            "/get_reward",
            False,
            lambda texts, _: {"query": list(texts), "prompts": list(texts), "labels": [""] * len(texts)},
            lambda body: [Answer(float(score), 1) for score in body["rewards"]],
        ),
        Protocol(
            "json",
            "critic-probe's own contract",
            "",
            False,
            lambda texts, _: {"texts": list(texts)},
            lambda body: [Answer(float(score), 1) for score in body["scores"]],
        ),
    )
}
"""The protocols by name."""


class Endpoint:
    """A server that scores texts.

    What the environment has as CRITIC_PROBE_ENDPOINT_KEY is sent to it as `Authorization: Bearer`, and to no other: a
    redirect is told of, not followed. The key stands in no message and no result.

    Args:
        url: Its address, or that of the request itself.
        protocol: A name of `PROTOCOLS`; `auto` asks the server.

    Attributes:
        protocol: How it is asked.
        version: What the server says of itself, such as `vLLM 0.33.0`; empty where it says nothing.
        model: The model that it names first; None where it names none.

    Raises:
        CriticProbeError: It cannot be reached, or speaks none of the protocols.
    """

    def __init__(self, url: str, protocol: str = "auto") -> None:
        if protocol != "auto" and protocol not in PROTOCOLS:
            raise CriticProbeError(
                f"{parameter('protocol')} '{protocol}' is unknown; choose from auto, {', '.join(PROTOCOLS)}"
            )
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise CriticProbeError(f"{parameter('endpoint')} '{url}' is no URL; give one such as http://localhost:8000")
        if "@" in parts.netloc:
            raise CriticProbeError(
                f"{parameter('endpoint')}: a URL with a password is printed and stored; put a key into the "
                f"environment as {KEY}"
            )
        self.url = url.rstrip("/")
        self._key = os.environ.get(KEY, "").strip()
        if not (self._key.isascii() and self._key.isprintable()):
            raise CriticProbeError(f"{KEY}: holds what no HTTP header can; give the key alone")
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._client = httpx2.Client(timeout=TIMEOUT, headers=headers, follow_redirects=False)
        self._root = f"{parts.scheme}://{parts.netloc}"
        path = parts.path.rstrip("/")
        self.model: str | None = None
        try:
            self.version = self._version()
            self.protocol = PROTOCOLS[self._spoken(path) if protocol == "auto" else protocol]
            if self.protocol.bos and (cards := self._get("/v1/models")) and cards.get("data"):
                self.model = cards["data"][0]["id"]
        except CriticProbeError:
            self.close()
            raise
        full = not self.protocol.path or path.endswith(self.protocol.path)
        self._target = self.url if full else self.url + self.protocol.path

    def scores(self, texts: Sequence[str]) -> list[Answer]:
        """The answers to texts that are asked of in one request, in order.

        Raises:
            CriticProbeError: The server refuses it, or its answer is not what the protocol says.
        """
        response = self._sent("POST", self._target, json=self.protocol.request(texts, self.model))
        if response.status_code == 404:
            spoken = f"critic-probe asks as {self.protocol.server} is asked"
            here = f"this is {self.version}" if self.version else "the server does not say its version"
            raise CriticProbeError(
                f"{self._target}: 404, no such path; {here}, {spoken}: names change between versions, or the server "
                f"was not started for pooling; try another of {parameter('protocol')} {', '.join(PROTOCOLS)}"
            )
        if response.status_code >= 400:
            raise CriticProbeError(f"{self._target}: {response.status_code}, {self._quoted(response.text)}")
        try:
            body = response.json()
        except ValueError as error:
            raise CriticProbeError(
                f"{self._target}: the answer is no JSON ({self._quoted(response.text)}); is this the scoring server?"
            ) from error
        try:
            answers = self.protocol.answers(body)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise CriticProbeError(
                f"{self._target}: the answer is not as {self.protocol.server} writes it ({type(error).__name__}: "
                f"{error}; {self._quoted(json.dumps(body))}); try another {parameter('protocol')}"
            ) from error
        if len(answers) != len(texts):
            raise CriticProbeError(f"{self._target}: {len(texts)} texts were sent and {len(answers)} answers came back")
        return answers

    def close(self) -> None:
        """Lets the connections go."""
        self._client.close()

    def _version(self) -> str:
        """What the server says of itself; the first request that it gets."""
        if (said := self._get("/version")) and "version" in said:
            return f"vLLM {said['version']}"
        if (said := self._get("/model_info") or self._get("/get_model_info")) and "model_path" in said:
            server = self._get("/server_info") or self._get("/get_server_info") or {}
            return f"SGLang {server.get('version', '')}".strip()
        return ""

    def _spoken(self, path: str) -> str:
        """The protocol that a URL's own path names, or that the server speaks."""
        for name, protocol in PROTOCOLS.items():
            if protocol.path and path.endswith(protocol.path):
                return name
        if path not in ("", "/"):
            return "json"
        if self.version.startswith("SGLang"):
            return "sglang"
        names = (
            ("vllm-classify", "vllm-pooling")
            if self.version
            else ("openrlhf", "vllm-classify", "vllm-pooling", "sglang")
        )
        for name in names:  # a GET of what is there is 405, of what is not 404
            if self._sent("GET", self._root + PROTOCOLS[name].path).status_code != 404:
                return name
        tried = ", ".join(f"{PROTOCOLS[name].path} ({PROTOCOLS[name].server})" for name in names)
        here = f"this is {self.version}" if self.version else "the server does not say what it is"
        raise CriticProbeError(
            f"{self.url}: 404 for {tried}; {here}: start it for scoring, give the URL of the request itself, or "
            f"{parameter('protocol')}"
        )

    def _get(self, path: str) -> dict[str, Any] | None:
        """A JSON object of the server; None where it has none at this path."""
        response = self._sent("GET", self._root + path)
        try:
            body = response.json() if response.status_code == 200 else None
        except ValueError:
            return None
        return body if isinstance(body, dict) else None

    def _sent(self, method: str, url: str, **given: Any) -> httpx2.Response:
        try:
            response = self._client.request(method, url, **given)
        except httpx2.TimeoutException as error:
            raise CriticProbeError(f"{url}: no answer within {TIMEOUT:g} s; is the server still loading?") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise CriticProbeError(
                f"{url}: cannot be reached ({self._quoted(str(error))}); start the server, check the URL"
            ) from error
        if response.status_code in (401, 403):
            wants = f"refuses the key of {KEY}" if self._key else f"wants a key; put it into the environment as {KEY}"
            raise CriticProbeError(f"{url}: {response.status_code}, the server {wants}")
        if response.has_redirect_location:
            where = self._quoted(response.headers["location"])
            raise CriticProbeError(f"{url}: {response.status_code}, it has moved to {where}; give the URL there")
        return response

    def _quoted(self, text: str) -> str:
        """What a server says, short and without the key."""
        said = text.replace(self._key, "[key]") if self._key else text
        return " ".join(said.split())[:200]
