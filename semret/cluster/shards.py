"""Shards as Ray actors: started, replicated, asked, and asked again where one has died."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import ray
from ray.exceptions import GetTimeoutError, ObjectLostError, RayActorError, RayError, RayTaskError

from semret.cluster.shard import Shard, Unknown
from semret.errors import ArgumentError, ClusterError, SemretError

PATIENCE = 600.0
"""Seconds that an answer of one shard is waited for, its being started anew included."""

NAMESPACE = "semret"
"""Of actors that have names."""

AT_ONCE = 4
"""Calls that a shard works on at a time."""

_LOST = (RayActorError, ObjectLostError)


class Laid(NamedTuple):
    """Something in Ray's store that a shard fetches once, and knows by its key from then on.

    Attributes
    ----------
    key : str
    ref : ray.ObjectRef
    """

    key: str
    ref: Any


class Shards:
    """A number of shards, each by one actor or several that can stand in for one another.

    An actor that dies is started anew by Ray, on another node if need be. Until then its replicas answer; without any,
    the answer comes later.

    Parameters
    ----------
    count : int
        Shards, from 1.
    replicas : int
        Actors for each, from 1.
    cpus : float
        Processors that Ray reserves for each actor; 0 reserves none.
    threads : int or None
        Threads of one comparison in an actor; None takes `cpus`, at least 1.
    name : str or None
        Actors of a name outlive this process, and are found by others under it; see `close`. None makes actors that end
        with this process.

    Raises
    ------
    ArgumentError
        If a number is out of range, or there is no cluster: `connect` first.
    """

    def __init__(
        self,
        count: int,
        *,
        replicas: int = 1,
        cpus: float = 1,
        threads: int | None = None,
        name: str | None = None,
    ) -> None:
        if count < 1 or replicas < 1 or cpus < 0:
            raise ArgumentError(
                f"{count} shards by {replicas} actors of {cpus} processors each were asked for; "
                "expected at least one shard, one actor, and no negative number of processors"
            )
        if not ray.is_initialized():
            raise ArgumentError("there is no connection to a Ray cluster; connect to one, or start one, first")
        self.count, self.replicas, self.name = count, replicas, name
        kind = ray.remote(Shard)
        common: dict[str, Any] = {
            "num_cpus": cpus,
            "max_restarts": -1,
            "max_concurrency": AT_ONCE,
            "scheduling_strategy": "SPREAD",
        }
        own = max(1, int(cpus)) if threads is None else threads

        def start(number: int, replica: int) -> Any:
            known = {} if name is None else {"name": f"{name}-{number}-{replica}", "namespace": NAMESPACE}
            lasting = {} if name is None else {"lifetime": "detached", "get_if_exists": True}
            return kind.options(**common, **known, **lasting).remote(own)

        self.actors = [[start(number, replica) for replica in range(replicas)] for number in range(count)]

    def ask(self, shard: int, method: str, *arguments: Any, first: int = 0) -> Answer:
        """Begin to ask a shard.

        Parameters
        ----------
        shard : int
        method : str
            Of `Shard`.
        *arguments
            References to what lies in Ray's store stand for it, `Laid` for what the shard may know already.
        first : int
            Which of its replicas is asked first, the number of replicas taken off as often as need be.

        Returns
        -------
        Answer
        """
        actors = self.actors[shard]
        turn = first % len(actors)
        return Answer(shard, [*actors[turn:], *actors[:turn]], (method, *arguments))

    def all(self, method: str, *arguments: Any) -> list[Any]:
        """Ask every actor, and return what they say.

        Parameters
        ----------
        method : str
        *arguments

        Returns
        -------
        list
            Of the first shard first.
        """
        asked = [
            self.ask(number, method, *arguments, first=replica)
            for number in range(self.count)
            for replica in range(self.replicas)
        ]
        return [answer.get() for answer in asked]

    def tell(self, shard: int, method: str, *arguments: Any, first: int = 0) -> None:
        """Ask without waiting for an answer, which nothing depends on.

        Parameters
        ----------
        shard : int
        method : str
        *arguments
        first : int
        """
        if not ray.is_initialized():
            return
        actors = self.actors[shard]
        # Handles of a cluster that is gone raise all kinds of errors.
        with contextlib.suppress(Exception):
            # An actor that has to be started again knows nothing that it could let go of.
            actors[first % len(actors)].call.options(max_task_retries=0).remote(method, *arguments)

    def close(self) -> None:
        """End all actors, those of a name as well."""
        for actor in (actor for actors in self.actors for actor in actors):
            with contextlib.suppress(RayError, ValueError):
                ray.kill(actor)


class Answer:
    """What a shard is being asked.

    Parameters
    ----------
    shard : int
    actors : sequence of actor handles
        Those that can answer, the one to be asked first in front.
    arguments : tuple
        Of `Shard.call`.
    """

    def __init__(self, shard: int, actors: Sequence[Any], arguments: tuple[Any, ...]) -> None:
        self._shard = shard
        self._whole = tuple(one.ref if isinstance(one, Laid) else one for one in arguments)
        self._short = tuple(one.key if isinstance(one, Laid) else one for one in arguments)
        # One that has others behind it is passed over when it is lost; in the end one is waited for.
        self._turns = [(actor, 0) for actor in actors] if len(actors) > 1 else []
        self._turns.append((actors[0], -1))
        self._asked = self._begin(self._short)

    def _begin(self, arguments: tuple[Any, ...]) -> Any:
        self._call = self._turns[0][0].call.options(max_task_retries=self._turns[0][1])
        del self._turns[0]
        return self._call.remote(*arguments)

    def get(self) -> Any:
        """Wait for the answer.

        Returns
        -------
        object

        Raises
        ------
        SemretError
            What the shard raised; ClusterError if it does not answer.
        """
        while True:
            try:
                found = ray.get(self._asked, timeout=PATIENCE)
                if not isinstance(found, Unknown):
                    return found
                self._asked = self._call.remote(*self._whole)
                continue
            except RayTaskError as error:
                cause = getattr(error, "cause", None)
                raise cause if isinstance(cause, (SemretError, OSError)) else error from None
            except _LOST as error:
                if not self._turns:
                    raise _silent(self._shard, "its actor cannot be started again") from error
            except GetTimeoutError as error:
                raise _silent(self._shard, f"it has not answered for {PATIENCE:.0f} seconds") from error
            self._asked = self._begin(self._whole)


def _silent(shard: int, why: str) -> ClusterError:
    return ClusterError(
        f"shard {shard} is lost: {why}; see ray status; it needs a node with a free processor that has the index"
    )
