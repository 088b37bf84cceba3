"""A run's completions, payoffs, budget and choice of models in Redis, over a connection handed in by ``redis.py``."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from evolve.archive import codec
from evolve.archive.commands import Commands, Keys
from evolve.archive.core import CorruptRecordError
from evolve.llm.bandit import FADING, Arm
from evolve.llm.budget import Budget, Usage, exhausted, limits_of
from evolve.llm.core import BudgetExhaustedError, Completion, Prompt
from evolve.llm.pacing import Bucket
from evolve.scoring import OpponentReturn

PAGE = 256
"""Completions read at a time by ``items``."""

_AMOUNTS = ("llm_calls", "tokens_in", "tokens_out", "micro_usd", "unpriced_calls")


class RedisCompletions:
    """Completions by request key, with the order of their first recording."""

    def __init__(self, commands: Commands, keys: Keys) -> None:
        self._commands = commands
        self._records = keys("completions")
        self._order = keys("completions", "order")

    def get(self, key: str) -> Completion | None:
        record = self._commands.call("HGET", self._records, key)
        return None if record is None else codec.decode_completion(f"{self._records}[{key}]", record)[1]

    def put(self, key: str, prompt: Prompt, completion: Completion) -> Completion:
        record = codec.encode_completion(prompt, completion)
        earlier = self._commands.script("put_once", (self._records, self._order), (key, record))
        return completion if earlier is None else codec.decode_completion(f"{self._records}[{key}]", earlier)[1]

    def items(self) -> Iterator[tuple[str, Prompt, Completion]]:
        start = 0
        while keys := self._commands.call("LRANGE", self._order, start, start + PAGE - 1):
            records = self._commands.call("HMGET", self._records, *keys)
            for raw, record in zip(keys, records, strict=True):
                key = raw.decode()
                if record is None:
                    raise CorruptRecordError(f"the store's record {self._records}[{key}] is missing")
                yield key, *codec.decode_completion(f"{self._records}[{key}]", record)
            start += len(keys)


class RedisPayoffs:
    """Payoffs by (program, opponent, block)."""

    def __init__(self, commands: Commands, keys: Keys) -> None:
        self._commands = commands
        self._values = keys("payoffs")

    def get(self, program_id: str, opponent_id: str, block: str) -> OpponentReturn | None:
        name = _payoff(program_id, opponent_id, block)
        record = self._commands.call("HGET", self._values, name)
        return None if record is None else codec.decode_return(f"{self._values}[{name}]", record)

    def put(self, program_id: str, opponent_id: str, block: str, value: OpponentReturn) -> None:
        name = _payoff(program_id, opponent_id, block)
        self._commands.call("HSET", self._values, name, codec.encode_return(value))


def _payoff(*names: str) -> str:
    """One field name for three: the lengths keep apart names that themselves hold a separator."""
    return "".join(f"{len(name)}:{name}" for name in names)


class RedisLedger:
    """The run's account, shared by all its processes; the limits are those this ledger was made with."""

    def __init__(self, commands: Commands, keys: Keys, budget: Budget) -> None:
        self._commands = commands
        self._keys = tuple(keys("ledger", part) for part in ("spent", "held", "entries"))
        self._limits = limits_of(budget)

    def reserve(self, requests: Sequence[tuple[str, Usage]]) -> list[bool | BudgetExhaustedError]:
        limits = [self._limits.get(name, "") for name in ("llm_calls", "tokens", "usd")]
        asked = [word for key, estimate in requests for word in (key, *estimate.amounts())]
        return list(map(self._outcome, self._commands.script("reserve", self._keys, (*limits, *asked))))

    def _outcome(self, answer: int | list[bytes]) -> bool | BudgetExhaustedError:
        if isinstance(answer, list):
            name = answer[0].decode()
            return exhausted(name, self._limits[name], int(answer[1]))
        return bool(answer)

    def settle(self, key: str, actual: Usage) -> None:
        self._commands.script("settle", self._keys, (key, *actual.amounts()))

    def release(self, key: str) -> None:
        self._commands.script("settle", self._keys, (key,))

    def spent(self) -> Usage:
        return self._sum(self._keys[0])

    def held(self) -> Usage:
        return self._sum(self._keys[1])

    def _sum(self, key: str) -> Usage:
        amounts = self._commands.call("HMGET", key, *_AMOUNTS)
        return Usage.of_amounts(*(int(amount or 0) for amount in amounts))

    def reserved(self) -> Mapping[str, Usage]:
        entries = self._commands.call("HGETALL", self._keys[2])
        return {
            key.decode(): Usage.of_amounts(*map(int, entry.split()))
            for key, entry in zip(entries[::2], entries[1::2], strict=True)
            if entry != b"settled"
        }


class RedisArms:
    """What the run's bandit knows, and which model each prompt was given to."""

    def __init__(self, commands: Commands, keys: Keys) -> None:
        self._commands = commands
        self._chosen, self._booked, self._arms = (keys("bandit", part) for part in ("chosen", "booked", "arms"))

    def choose(self, prompt_key: str, model: str, among: Collection[str]) -> str:
        return str(self._commands.script("choose", (self._chosen,), (prompt_key, model, *among)).decode())

    def reward(self, request: str, model: str, success: float, cost: float) -> None:
        arguments = (request, model, repr(float(success)), repr(float(cost)), repr(FADING))
        self._commands.script("reward", (self._booked, self._arms), arguments)

    def known(self) -> Mapping[str, Arm]:
        answer = self._commands.call("HGETALL", self._arms)
        amounts: dict[str, dict[str, float]] = {}
        for field, amount in zip(answer[::2], answer[1::2], strict=True):
            name, _, model = field.decode().partition(":")
            amounts.setdefault(model, {})[name] = float(amount)
        return {model: Arm(**known) for model, known in amounts.items()}


class RedisBuckets:
    """Rates of models, one place for all runs of the server. The server's clock fills them."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    def take(self, amounts: Sequence[tuple[Bucket, float]]) -> float:
        if not amounts:
            return 0.0
        arguments = [repr(float(n)) for b, amount in amounts for n in (amount, b.capacity, b.per_s)]
        return float(self._commands.script("take", [_bucket_key(bucket) for bucket, _ in amounts], arguments))

    def give(self, bucket: Bucket, amount: float) -> None:
        arguments = [repr(float(n)) for n in (amount, bucket.capacity, bucket.per_s)]
        self._commands.script("give", [_bucket_key(bucket)], arguments)


def _bucket_key(bucket: Bucket) -> str:
    """All buckets on one slot of a cluster, for they are taken from together."""
    return f"{{csro-rates}}:{bucket.name}"
