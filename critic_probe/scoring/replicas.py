"""A critic that replicas on a Ray cluster hold: the rows of `engine`, each computed by whichever replica is free.

The file, the encoding, the cache and the statistics stay with whoever asks, so that a command gives on a cluster what
it gives here: the same rows, in the same order. A replica that dies takes nothing with it, since its row is sent to
another one; a run that dies is started again and finds its rows in the cache.

One file, longer than others: both ends of what travels to a replica and back stand beside each other.
"""

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from importlib import metadata
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from critic_probe.checkpoint import Critic, load_critic
from critic_probe.checkpoint.critic import Absent, Answer, without_backbone
from critic_probe.errors import CriticProbeError, Spelling, parameter, spelled, spelling
from critic_probe.scoring.engine import Engine, row_budget
from critic_probe.scoring.trie import Ids

if TYPE_CHECKING:
    from critic_probe.scoring.engine import Mode

AHEAD = 2  # rows a replica: one that it computes, and one that waits for it
MOST_DEATHS = 3  # replicas that one row may take with it
PATIENCE = 300.0  # seconds without any replica
_CONNECT = 10.0  # seconds that Ray has to answer
_SAME = ("critic-probe", "torch", "transformers")  # packages whose versions a value may depend on


@dataclass(frozen=True)
class Cluster:
    """Where replicas run.

    Attributes:
        address: Of a running Ray, `auto` for the one of this machine; None starts one here and stops it again.
        fewest: Replicas that a run waits for.
        most: Replicas that it takes.
        cpus: Of each.
        gpus: Of each.
        patience: Seconds that a run waits while it has no replica.
    """

    address: str | None = None
    fewest: int = 1
    most: int = 1
    cpus: float = 1.0
    gpus: float = 0.0
    patience: float = PATIENCE

    def critics(self, paths: Mapping[str, Path], loading: dict[str, Any]) -> "Iterator[RemoteCritic]":
        """Lets replicas load one critic after the other, each in place of the one before.

        Args:
            paths: Name -> directory, which every node must see under the same path.
            loading: What `load_critic` takes beside the path.

        Raises:
            CriticProbeError: Ray is not there, or a critic cannot be loaded.
        """
        with _connected(self):
            for name, path in paths.items():
                critic = _load(self, path.resolve(), name, loading)
                try:
                    yield critic
                finally:
                    critic.pool.close()


class Replica:
    """What runs where the critic is: loads it when it is first needed and computes rows."""

    def __init__(self, path: Path, name: str, loading: dict[str, Any], threads: int, as_asked: Spelling) -> None:
        self._loading = {"path": path, "name": name, **loading}
        self._tried = 0
        torch.set_num_threads(threads)
        ExitStack().enter_context(spelled(as_asked))  # as long as it lives

    @cached_property
    def _critic(self) -> Critic:
        return load_critic(**self._loading)

    @cached_property
    def _in_float32(self) -> Critic:
        return self._critic.in_float32()

    @cached_property
    def _engine(self) -> Engine:
        return Engine(self._critic, "auto")

    def ping(self) -> None:
        """Answers once it has found room."""

    def facts(self) -> dict[str, Any]:
        """What is known of a critic once it is loaded."""
        critic = self._critic
        return {
            "versions": {package: metadata.version(package) for package in _SAME},
            "fingerprint": critic.fingerprint,
            "device": critic.device,
            "dtype": critic.dtype,
            "vocabulary": critic.vocabulary,
            "config": critic.backbone.config,
            "budget": row_budget(critic),
        }

    def choose(self, sequences: Sequence[Ids], mode: "Mode") -> tuple[str, list[str]]:
        """The way to compute rows, tried on these sequences, and what there is to say of it."""
        self._engine.mode, said = mode, len(self._engine.notices)
        self._engine.choose(sequences)
        self._tried = max(map(len, sequences))
        return self._engine.name, self._engine.notices[said:]

    def row(self, sequences: Sequence[Ids], name: str) -> tuple[list[Any], dict[str, int], list[str], int | None]:
        """All values of each sequence, tokens and passes that they took, what happened, and the budget that is left."""
        engine = self._engine
        said, before = len(engine.notices), (engine.stats.computed, engine.stats.rows)
        longest = max(sequences, key=len)
        if name == "tree" and len(longest) > self._tried:  # it came later than the last trial
            self.choose([*sequences[:2], longest], "auto")
        elif name != "tree":
            engine.name = name
        values = [v.numpy() for v in engine.compute(sequences)]
        spent = {"computed": engine.stats.computed - before[0], "rows": engine.stats.rows - before[1]}
        return values, spent, engine.notices[said:], engine.budget

    def batch(self, ids: Any, inputs: dict[str, Any], exact: bool) -> Any:
        """The values (B, T) of rows of ids (B, T), in float32 where that is asked for."""
        critic = self._in_float32 if exact else self._critic
        if not exact:
            vars(self).pop("_in_float32", None)
        given = {key: torch.tensor(value) for key, value in inputs.items()}
        return critic.batch_values(torch.tensor(ids), **given).numpy()

    def why_not_finite(self, ids: Ids) -> str:
        """See `Critic`."""
        return self._critic.why_not_finite(ids)

    def does(self, does: Callable[..., Any], given: Sequence[Any]) -> Any:
        """What a function of the critic comes to."""
        return does(self._critic, *given)


class Pool:
    """The replicas of one critic; those that die are replaced.

    Args:
        cluster: Where they run; Ray is connected already.
        path: The critic's directory, as replicas see it.
        name: As results call it.
        loading: What `load_critic` takes beside the path.

    Attributes:
        notices: What happened to replicas.
        facts: What the replica that came last tells of the critic.

    Raises:
        CriticProbeError: There is no room for them, or one of them cannot load it.
    """

    def __init__(self, cluster: Cluster, path: Path, name: str, loading: dict[str, Any]) -> None:
        import ray

        self.notices: list[str] = []
        self._cluster, self._name = cluster, name
        kind = ray.remote(Replica).options(num_cpus=cluster.cpus, num_gpus=cluster.gpus)
        self._make: Callable[[], Any] = partial(kind.remote, path, name, loading, max(1, int(cluster.cpus)), spelling())
        self._coming: dict[Any, Any] = {}  # what a replica answers once it has found room -> the replica
        self._loading: dict[Any, Any] = {}  # the same once it has loaded
        self._busy: dict[Any, int] = {}  # replica -> rows that it has
        self.facts: dict[str, Any] = {}
        for _ in range(cluster.most):
            self._add()
        self._wait(cluster.fewest)
        self._check_versions()

    def __len__(self) -> int:
        return len(self._busy)

    def _add(self) -> None:
        replica: Any = self._make()
        self._coming[replica.ping.remote()] = replica

    def _arrived(self, seconds: float) -> None:
        """Takes in the replicas that have found room, and those that have loaded."""
        import ray

        awaited = [*self._coming, *self._loading]
        for ready in ray.wait(awaited, num_returns=1, timeout=seconds)[0] if awaited else ():
            replica, has_room = self._loading.pop(ready, None), ready not in self._coming
            replica = replica or self._coming.pop(ready)
            try:
                answer = ray.get(ready)
            except ray.exceptions.RayActorError:
                self._add()
                continue
            if has_room:
                self._busy[replica], self.facts = 0, answer
            else:
                self._loading[replica.facts.remote()] = replica

    def _wait(self, count: int) -> None:
        deadline = time.monotonic() + self._cluster.patience
        while len(self._busy) < count:
            before = len(self._coming)
            with _errors_of_replicas():
                self._arrived(1.0)
            if len(self._coming) < before or self._loading:  # loading takes what it takes
                deadline = time.monotonic() + self._cluster.patience
            elif time.monotonic() > deadline:
                raise self._no_room(count)

    def _no_room(self, count: int) -> CriticProbeError:
        import ray

        asked, free = self._cluster, ray.available_resources()
        wanted = f"{asked.cpus:g} CPUs" + (f" and {asked.gpus:g} GPUs" if asked.gpus else "")
        return CriticProbeError(
            f"{self._name}: {len(self._busy)} of {count} replicas found room within {asked.patience:.0f} s; each wants "
            f"{wanted}, and the cluster has {free.get('CPU', 0):g} CPUs and {free.get('GPU', 0):g} GPUs free; ask for "
            f"fewer with {parameter('replicas')} or less with {parameter('cpus_per_replica')}; what was scored is kept"
        )

    def _check_versions(self) -> None:
        here = {package: metadata.version(package) for package in _SAME}
        for package, version in self.facts["versions"].items():
            if version != here[package]:
                raise CriticProbeError(
                    f"{self._name}: a replica has {package} {version}, this machine {here[package]}; install the same"
                )

    def begin(self, method: str, *arguments: Any) -> Callable[[], Any]:
        """Asks a replica that has little to do; what is returned waits for its answer."""
        sent = self._send(method, arguments)

        def take() -> Any:
            nonlocal sent
            for deaths in range(1, MOST_DEATHS + 1):
                replica, answer = sent
                try:
                    return self._answer(replica, answer)
                except _ReplicaLostError as error:
                    lost = error
                self.notices.append(f"a replica was lost ({lost}); its rows went to another one")
                if deaths < MOST_DEATHS:
                    sent = self._send(method, arguments)
            raise CriticProbeError(
                f"{self._name}: {MOST_DEATHS} replicas died over the same row, the last one as {lost}; give each more "
                "memory, or score shorter pairs; what was scored is kept"
            )

        return take

    def call(self, method: str, *arguments: Any) -> Any:
        """What a replica answers."""
        return self.begin(method, *arguments)()

    def all(self, method: str, *arguments: Any) -> list[Any]:
        """What every replica that is there answers; those that die over it are left out."""
        sent = [(replica, getattr(replica, method).remote(*arguments)) for replica in self._busy]
        for replica, _ in sent:
            self._busy[replica] += 1
        answers = []
        for replica, answer in sent:
            with suppress(_ReplicaLostError):
                answers.append(self._answer(replica, answer))
        return answers or [self.call(method, *arguments)]

    def _send(self, method: str, arguments: Sequence[Any]) -> tuple[Any, Any]:
        with _errors_of_replicas():
            self._arrived(0.0)
        self._wait(1)
        replica = min(self._busy, key=lambda one: self._busy[one])
        self._busy[replica] += 1
        return replica, getattr(replica, method).remote(*arguments)

    def _answer(self, replica: Any, answer: Any) -> Any:
        import ray

        try:
            with _errors_of_replicas():
                value = ray.get(answer)
        except (ray.exceptions.RayActorError, ray.exceptions.ObjectLostError) as error:
            if self._busy.pop(replica, None) is not None:  # else another of its rows has told already
                with suppress(Exception):
                    ray.kill(replica)
                self._add()
            raise _ReplicaLostError(" ".join(str(error).split())[:200]) from error
        if replica in self._busy:
            self._busy[replica] -= 1
        return value

    def close(self) -> None:
        """Lets the replicas go."""
        import ray

        for replica in (*self._busy, *self._loading.values(), *self._coming.values()):
            with suppress(Exception):
                ray.kill(replica)


class _ReplicaLostError(Exception):
    """A replica died before it answered."""


@contextmanager
def _errors_of_replicas() -> Iterator[None]:
    """Raises what a replica raised, as it would have been raised here."""
    import ray

    try:
        yield
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, BaseException):
            raise cause from None
        raise


@dataclass(frozen=True)
class RemoteCritic(Critic):
    """A critic whose backbone is held by replicas.

    Attributes:
        pool: The replicas.
        exact: Whether they compute in float32, whatever its type.
    """

    pool: Pool
    exact: bool = False

    def batch_values(self, ids: Tensor, **inputs: Any) -> Tensor:
        """See `Critic`."""
        given = {key: value.numpy() for key, value in inputs.items()}
        return torch.tensor(self.pool.call("batch", ids.numpy(), given, self.exact))

    def why_not_finite(self, ids: Sequence[int]) -> str:
        """See `Critic`."""
        return str(self.pool.call("why_not_finite", tuple(ids)))

    def where_loaded(self, does: Callable[..., Answer], *given: Any) -> Answer:
        """See `Critic`."""
        answer: Answer = self.pool.call("does", does, given)
        return answer

    def in_float32(self) -> "RemoteCritic":
        """See `Critic`."""
        return replace(self, exact=True)


@dataclass
class Replicated(Engine):
    """A scorer whose rows are computed by replicas, several at a time."""

    critic: RemoteCritic

    def __post_init__(self) -> None:
        pool = self.critic.pool
        self.budget = self.budget or pool.facts["budget"]
        super().__post_init__()
        self.stats.replicas = len(pool)
        self.notices = pool.notices

    def choose(self, sequences: Sequence[Ids]) -> None:
        """Lets every replica try the tree; one that cannot use it decides for all."""
        answers = self.critic.pool.all("choose", sequences, self.mode)
        self.name, notices = max(answers, key=lambda answer: answer[0] == "reference")
        self.notices.extend(notices)

    def _begin(self, sequences: Sequence[Ids]) -> Callable[[], list[Tensor]]:
        pool = self.critic.pool
        self.ahead = AHEAD * len(pool)
        take = pool.begin("row", sequences, self.name)

        def values() -> list[Tensor]:
            arrays, spent, notices, budget = take()
            self.stats.computed += spent["computed"]
            self.stats.rows += spent["rows"]
            self.stats.replicas = len(pool)
            self.notices.extend(notices)
            if budget is not None and self.budget is not None:
                self.budget = min(self.budget, budget)
            return [torch.tensor(array) for array in arrays]

        return values


@contextmanager
def _connected(cluster: Cluster) -> Iterator[None]:
    """A connection to Ray for as long as it lasts; without an address a Ray of its own.

    Raises:
        CriticProbeError: Ray is not installed, or not there.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise CriticProbeError(
            f"{parameter('engine', 'ray')}: Ray is not installed; pip install 'critic-probe[ray]'"
        ) from error
    where: dict[str, Any] = {"address": cluster.address}
    if cluster.address is None:  # a CPU to spare: a cluster without one can wait for itself
        cpus = ceil(cluster.most * cluster.cpus) + 1
        where = {"address": "local", "num_cpus": cpus, "include_dashboard": False}
    try:
        host, _, port = (cluster.address or "").partition(":")
        if port:  # Ray itself tries for minutes
            socket.create_connection((host, int(port)), timeout=_CONNECT).close()
        ray.init(**where, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:
        raise CriticProbeError(
            f"{parameter('ray_address', cluster.address)}: no Ray there ({' '.join(str(error).split())[:120]}); start "
            "one with `ray start --head`, or leave the address out"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _load(cluster: Cluster, path: Path, name: str, loading: dict[str, Any]) -> RemoteCritic:
    """Lets replicas load a critic; here only what lies beside its backbone is read."""
    read = {key: loading.get(key) for key in ("base", "step", "head_row")}
    shell = without_backbone(path, name=name, trust_remote_code=bool(loading.get("trust_remote_code")), **read)
    pool = Pool(cluster, path, name, loading)
    facts = pool.facts
    if facts["fingerprint"] != shell.fingerprint:
        pool.close()
        raise CriticProbeError(f"{path}: replicas find another checkpoint there than this machine; share one directory")
    known = {key: facts[key] for key in ("device", "dtype", "vocabulary")}
    return RemoteCritic(**vars(replace(shell, backbone=Absent(facts["config"]), **known)), pool=pool)
