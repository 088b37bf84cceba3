"""The experiment file: every key is read, and every wrong one is told in one line."""

import tomllib
from pathlib import Path

import pytest

from evolve.llm.providers import WeightedModel
from workers.experiment import Experiment
from workers.settings import SettingsError, experiment_from, load_experiment, preset_names


@pytest.mark.parametrize("name", preset_names())
def test_presets_load_and_their_resolved_form_reads_back(name: str) -> None:
    experiment = load_experiment(name)
    assert experiment_from(tomllib.loads(experiment.to_toml())) == experiment


def test_features_are_those_that_the_oracle_has() -> None:
    islands = load_experiment("demo").features()
    assert {"archive.num_islands", "oracle.racing", "oracle.audit_share"} <= set(islands)
    line = load_experiment("demo", ["oracle.kind=linear_refinement"]).features()
    assert set(line) == {key for key in islands if not key.startswith("archive.")} - {
        *("oracle.edit_share", "oracle.crossover_share", "oracle.fix_share", "oracle.prompt_variants"),
        *("oracle.racing", "oracle.novelty"),
    }


def test_overrides_take_toml_values_and_bare_words() -> None:
    experiment = load_experiment("demo", ["psro.iterations=7", "llm.model=openai:gpt-x", "budget.usd=2", "seed=5"])
    assert experiment.psro.iterations == 7
    assert experiment.llm.model == "openai:gpt-x"
    assert experiment.budget.usd == 2.0
    assert experiment.seed == 5


def test_an_ensemble_is_a_list_of_models_with_weights() -> None:
    experiment = load_experiment("demo", ['llm.model=[{model="openai:a", weight=3}, {model="offline"}]'])
    assert experiment.llm.model == (WeightedModel("openai:a", 3.0), WeightedModel("offline"))
    assert experiment_from(tomllib.loads(experiment.to_toml())) == experiment


def test_a_file_is_read_by_path(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('seed = 3\n[game]\nname = "repeated_rps"\nnum_rounds = 10\n')
    experiment = load_experiment(str(file))
    assert experiment.game.parameters == {"num_rounds": 10}
    assert experiment.psro == Experiment().psro


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("psro.iteration=2", "did you mean iterations"),
        ("psroo.iterations=2", "did you mean psro"),
        ("psro.iterations=x", "must be of type int"),
        ("psro.iterations=2.5", "must be of type int"),
        ("seed=-1", "must not be negative"),
        ("seed=true", "must be of type int"),
        ("oracle.kind=alpha", "must be"),
        ("game.name=repeated_rsp", "did you mean repeated_rps"),
        ("game.num_round=10", "num_rounds"),
        ("game=1", "must be a table"),
        ("llm.model.x=1", "is not a table"),
        ("novalue", "KEY=VALUE"),
        ("execution=cloud", "ray or local"),
        ("sandbox.memory=1", "memory_bytes"),
        ("sandbox.move_timeout_s=1e10", "at most 86400"),
        ("sandbox.cpu_s=1e30", "at most 86400"),
        ("sandbox.memory_bytes=100000000000000000000", "at most"),
        ("archive.num_islands=0", "at least 1"),
        ("archive.temperature=0", "must be positive"),
        ("evaluation.matches=1", "at least 2"),
        ("oracle.audit_share=3", "between 0 and 1"),
        ("llm.in_flight=0", "at least 1"),
        ("run_id=a b", "letters, digits"),
        ("llm.model=[]", "is empty"),
        ("llm.model=[1]", "must be a table"),
        ('llm.model=[{modle="offline"}]', "did you mean model"),
        ("llm.model=3", "must be of type str or list of tables"),
        ("method=pibr", "method pibr carries nothing over"),
    ],
)
def test_bad_overrides_are_told_in_one_line(override: str, hint: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_experiment("demo", ["oracle.carry_over=1", override])
    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "hint"), [("dmo", "did you mean demo"), ("no_such.toml", "no experiment file")])
def test_unknown_presets_and_files(name: str, hint: str) -> None:
    with pytest.raises(SettingsError, match=hint):
        load_experiment(name)


def test_broken_toml_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "broken.toml"
    file.write_text("seed = \n")
    with pytest.raises(SettingsError, match=r"broken\.toml is not valid TOML"):
        load_experiment(str(file))
