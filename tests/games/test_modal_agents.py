from __future__ import annotations

import numpy as np
import pytest

from games.modal_agents import (
    AGENTS,
    FALSE,
    And,
    Constant,
    Cooperates,
    Formula,
    Implies,
    Not,
    Provable,
    consistent,
    payoff_table,
    play,
    provable_assuming_consistency,
    solve,
    tournament,
)

TABLE = """
             CooperateBot DefectBot FairBot PrudentBot JustBot
CooperateBot CC           CD        CC      CD         CC
DefectBot    DC           DD        DD      DD         DD
FairBot      CC           DD        CC      CC         CC
PrudentBot   DC           DD        CC      CC         CC
JustBot      CC           DD        CC      CC         CC
"""


def test_the_tournament() -> None:
    header, *lines = (line.split() for line in TABLE.strip().splitlines())
    expected = {(row, column): cell for row, *cells in lines for column, cell in zip(header, cells, strict=True)}
    found = {pair: "".join("C" if c else "D" for c in outcome) for pair, outcome in tournament().items()}
    assert found == expected
    assert header == list(AGENTS)


def true(formula: Formula) -> bool:
    """Truth of a sentence without letters of its own."""
    letter = Cooperates("it", "it")
    return solve({letter: formula})[letter]


P = Cooperates("it", "it")


def test_loeb_a_sentence_that_asserts_its_own_provability_is_true() -> None:
    assert solve({P: Provable(P)})[P]


def test_goedel_a_sentence_that_denies_its_own_provability_is_true_and_unprovable() -> None:
    assert solve({P: Not(Provable(P))})[P]
    other = Cooperates("other", "it")
    assert not solve({P: Not(Provable(P)), other: Provable(P)})[other]


def test_consistency_is_true_but_not_provable_until_it_is_assumed() -> None:
    assert true(consistent(1)) and true(consistent(2))
    assert not true(Provable(consistent(1)))
    assert true(provable_assuming_consistency(1, consistent(1)))
    assert not true(provable_assuming_consistency(1, consistent(2)))
    assert true(provable_assuming_consistency(2, consistent(2)))
    assert consistent(0) == Not(FALSE)


def test_provability_distributes_over_implication_and_conjunction() -> None:
    for left, right in [(consistent(1), consistent(2)), (FALSE, Provable(FALSE)), (Constant(True), consistent(1))]:
        assert true(Implies(And(Provable(Implies(left, right)), Provable(left)), Provable(right)))
        assert true(Provable(And(left, right))) == true(And(Provable(left), Provable(right)))


def test_prudence_without_the_stronger_theory_would_not_trust_fair_bot() -> None:
    """PA cannot prove that FairBot defects against DefectBot, since it cannot prove its own consistency."""

    def naive(me: str, opponent: str) -> Formula:
        return And(Provable(Cooperates(opponent, me)), Provable(Not(Cooperates(opponent, "DefectBot"))))

    agents = {**AGENTS, "Naive": naive}
    assert play("Naive", "FairBot", agents) == (False, False)
    assert play("PrudentBot", "FairBot", agents) == (True, True)


def test_an_agent_that_does_not_look_for_a_proof_is_told() -> None:
    agents = {**AGENTS, "Peeker": lambda me, opponent: Not(Cooperates(opponent, me))}
    with pytest.raises(ValueError, match="Peeker looks at whether FairBot cooperates with Peeker"):
        play("Peeker", "FairBot", agents)


def test_payoffs_in_the_prisoners_dilemma() -> None:
    row = np.array([[3.0, 0.0], [5.0, 1.0]])
    table = payoff_table(row, row.T)
    names = list(AGENTS)
    assert table.shape == (5, 5, 2)
    assert table[names.index("PrudentBot"), names.index("CooperateBot")].tolist() == [5.0, 0.0]
    assert table[names.index("FairBot"), names.index("DefectBot")].tolist() == [1.0, 1.0]
    fair = names.index("FairBot")
    assert table[:, fair, 0].max() == table[fair, fair, 0] == 3.0, "FairBot against itself is an equilibrium"
