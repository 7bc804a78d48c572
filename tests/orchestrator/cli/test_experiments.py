from __future__ import annotations

import pytest

from tests.orchestrator.cli.looking import CommandLine


def test_list_shows_active_ones_or_all(mlgate: CommandLine) -> None:
    said = mlgate("experiments", "list")
    assert said.out.splitlines()[0] == "id\tname\tstage\tcreated\tartifacts"
    assert sorted(row[1] for row in said.rows()) == ["Default", "iris", "wine / reds"]
    assert [row[1] for row in mlgate("experiments", "list", "-f", "name LIKE 'wine%'").rows()] == ["wine / reds"]
    assert {entry["name"] for entry in mlgate("experiments", "list", "--json").json()} == {
        "Default",
        "iris",
        "wine / reds",
    }


def test_show_takes_a_name_or_an_id_and_counts_runs(mlgate: CommandLine) -> None:
    text = mlgate("experiments", "show", "iris").out
    assert "runs         1 FAILED, 1 FINISHED, 1 RUNNING" in text
    assert "team\tblue" in text
    assert mlgate("experiments", "show", "1").out == text
    assert mlgate("experiments", "show", "iris", "--json").json()["runs"] == {"FAILED": 1, "FINISHED": 1, "RUNNING": 1}


def test_an_experiment_from_birth_to_return(mlgate: CommandLine) -> None:
    made = mlgate("experiments", "create", "new one", "-t", "team=red", "--json").json()
    assert mlgate("experiments", "rename", "new one", "newer").out == "experiment new one is now called newer\n"
    assert mlgate("experiments", "delete", "newer").exit_code == 0
    assert "newer" not in mlgate("experiments", "list").out
    deleted = next(row for row in mlgate("experiments", "list", "--deleted").rows() if row[1] == "newer")
    assert deleted[:3] == [made["experiment_id"], "newer", "deleted"]
    assert mlgate("experiments", "restore", made["experiment_id"]).exit_code == 0
    assert "newer" in mlgate("experiments", "list").out
    mlgate("experiments", "delete", "newer")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "nobody"], "no experiment 'nobody'; see mlgate experiments list"),
        (["delete", "99999"], "99999"),
        (["create", "iris"], "iris"),
        (["create", "x", "-t", "no-equals"], "--tag no-equals: write KEY=VALUE"),
        (["rename", "iris", "Default"], "Default"),
        (["list", "-f", "nonsense"], "nonsense"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(mlgate: CommandLine, arguments: list[str], message: str) -> None:
    said = mlgate("experiments", *arguments)
    assert said.exit_code == 2
    assert message in said.err
    assert said.err.count("\n") == 1
