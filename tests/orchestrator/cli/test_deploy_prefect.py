"""`mlgate deploy prefect`: a file that deploys a project, checked before it is written."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from mlgate.cli.main import call, cli
from mlgate_projects.testing import project_dir

PROJECT = """\
name: wine
entry_points:
  train: {parameters: {depth: int}, command: "train {depth}"}
pipelines:
  retrain: {parameters: {depth: int}, steps: {train: {entry_point: train, parameters: {depth: "${{ params.depth }}"}}}}
  nightly: {steps: {train: {entry_point: train, parameters: {depth: 1}}}}
"""


def deploy(*args: str | Path) -> int:
    return call(lambda: cli.main(["deploy", "prefect", *map(str, args)], standalone_mode=False))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return project_dir(tmp_path / "wine", {"MLproject": PROJECT})


def test_a_deployment_for_a_pipeline_with_schedule_parameters_and_image(project: Path, tmp_path: Path) -> None:
    file = tmp_path / "prefect.yaml"
    options = ("--cron", "0 3 * * *", "--work-pool", "docker", "--image", "team/mlgate:1", "--server", "tracking")
    assert deploy(project, "--pipeline", "retrain", "-P", "depth=3", *options, "-o", file) == 0
    data = yaml.safe_load(file.read_text())
    assert data["name"] == "wine"
    [deployment] = data["deployments"]
    assert deployment["name"] == "wine-retrain"
    assert deployment["entrypoint"] == "mlgate.prefect.deployed.project"
    assert deployment["schedules"] == [{"cron": "0 3 * * *", "timezone": "UTC"}]
    assert deployment["work_pool"] == {"name": "docker", "job_variables": {"image": "team/mlgate:1"}}
    assert deployment["parameters"] == {
        "uri": str(project),
        "pipeline": "retrain",
        "server": "tracking",
        "parameters": {"depth": "3"},
    }


def test_every_pipeline_gets_a_deployment_and_an_entry_point_can_be_started_by_a_promotion(
    project: Path, tmp_path: Path
) -> None:
    file = tmp_path / "prefect.yaml"
    assert deploy(project, "-e", "train", "-P", "depth=3", "--on-promotion", "wine", "-o", file) == 0
    [deployment] = yaml.safe_load(file.read_text())["deployments"]
    assert deployment["parameters"]["entry_point"] == "train"
    assert deployment["triggers"][0]["match"] == {"prefect.resource.id": "mlgate.model.wine"}
    assert deploy(project, "--pipeline", "nightly", "-o", file, "--force") == 0
    assert [one["name"] for one in yaml.safe_load(file.read_text())["deployments"]] == ["wine-nightly"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--pipeline", "retrain"), "depth"),
        (("--pipeline", "retrian"), "retrian"),
        (("-e", "train", "-P", "depth=deep"), "deep"),
        (("-e", "train", "--pipeline", "retrain"), "exclude each other"),
    ],
)
def test_what_could_not_run_is_not_written(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], said: str
) -> None:
    assert deploy(project, *options, "-o", tmp_path / "prefect.yaml") == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "prefect.yaml").exists()


def test_a_file_that_is_there_is_kept(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "prefect.yaml"
    file.write_text("mine\n")
    assert deploy(project, "--pipeline", "nightly", "-o", file) == 2
    assert "--force" in capsys.readouterr().err
    assert file.read_text() == "mine\n"
