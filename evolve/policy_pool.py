"""The policy pool: the programs that PSRO or PIBR has promoted, in the order of their promotion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from evolve.program import Program


@dataclass(frozen=True)
class PooledPolicy:
    """A promoted program: the iteration that promoted it (0 for those a run starts from) and a short name to show."""

    program: Program
    iteration: int
    name: str

    @property
    def id(self) -> str:
        return self.program.id

    def to_record(self) -> dict[str, object]:
        return {"source": self.program.source, "iteration": self.iteration, "name": self.name}

    @classmethod
    def from_record(cls, record: Mapping[str, object]) -> PooledPolicy:
        """Raises ``ValueError`` if ``record`` is not what :meth:`to_record` wrote."""
        match record:
            case {"source": str(source), "iteration": int(iteration), "name": str(name)}:
                return cls(Program(source), iteration, name)
        raise ValueError(f"not a pooled policy: keys {sorted(map(str, record))}, need source, iteration, name")


@dataclass(frozen=True)
class PolicyPool:
    """Policies of one population, oldest first, each program once. Immutable: :meth:`with_policy` makes a new pool."""

    policies: tuple[PooledPolicy, ...] = ()

    def __post_init__(self) -> None:
        if len(self._by_id) != len(self.policies):
            raise ValueError("a policy pool holds each program once")

    @cached_property
    def _by_id(self) -> dict[str, PooledPolicy]:
        return {policy.id: policy for policy in self.policies}

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(self._by_id)

    def __len__(self) -> int:
        return len(self.policies)

    def __iter__(self) -> Iterator[PooledPolicy]:
        return iter(self.policies)

    def __contains__(self, program_id: object) -> bool:
        return program_id in self._by_id

    def __getitem__(self, program_id: str) -> PooledPolicy:
        return self._by_id[program_id]

    def with_policy(self, policy: PooledPolicy) -> PolicyPool:
        """The pool with ``policy`` at its end. Raises ``ValueError`` if its program is in the pool already."""
        if policy.id in self._by_id:
            raise ValueError(f"program {policy.id} is in the pool already, as {self._by_id[policy.id].name}")
        return PolicyPool((*self.policies, policy))

    def to_record(self) -> list[dict[str, object]]:
        """Plain records for a checkpoint, oldest first."""
        return [policy.to_record() for policy in self.policies]

    @classmethod
    def from_record(cls, record: object) -> PolicyPool:
        """Raises ``ValueError`` if ``record`` is not what :meth:`to_record` wrote."""
        if not isinstance(record, list):
            raise ValueError(f"not a policy pool: {type(record).__name__}, need a list")
        return cls(tuple(PooledPolicy.from_record(entry) for entry in record))
