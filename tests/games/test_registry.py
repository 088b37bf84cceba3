from __future__ import annotations

import subprocess
import sys

import pytest

from games.core import Game
from games.registry import GameError, game_names, make_game


def test_games_are_found_by_module() -> None:
    assert {"repeated_rps", "vanilla", "climbing", "penalty", "bimatrix"} <= set(game_names())


@pytest.mark.parametrize("name", game_names())
def test_every_name_makes_a_game_of_that_name(name: str) -> None:
    game = make_game(name)
    assert isinstance(game, Game)
    assert game.spec.name == name


def test_parameters_reach_the_game() -> None:
    assert make_game("repeated_rps", num_rounds=10).spec.return_range == (-10.0, 10.0)


def test_an_unknown_name_offers_near_matches() -> None:
    with pytest.raises(GameError, match="no game named 'repeated_rsp'; did you mean repeated_rps"):
        make_game("repeated_rsp")
    with pytest.raises(GameError, match=r"no game named 'zzzz'; there are .*repeated_rps"):
        make_game("zzzz")


def test_an_unknown_parameter_offers_near_matches() -> None:
    with pytest.raises(GameError, match=r"no parameter 'num_round'; did you mean num_rounds\?"):
        make_game("repeated_rps", num_round=10)


def test_listing_and_making_games_loads_no_library_of_a_single_game() -> None:
    code = (
        "import sys, games.registry as r\n"
        "r.game_names(); r.make_game('repeated_rps').brief; r.make_game('penalty').reference_population()\n"
        "print([m for m in ('pyspiel', 'open_spiel', 'lbforaging', 'ray', 'redis') if m in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


def test_modules_promised_to_policies_are_there_in_the_sandbox() -> None:
    from games.briefs import ALLOWED_MODULES
    from sandbox.zygote import MODULES

    assert set(ALLOWED_MODULES) <= set(MODULES)
