from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from mlgate_tracking.client import connect
from tests.orchestrator.cli.looking import START, CommandLine


def test_list_shows_the_newest_runs_first(mlgate: CommandLine, run_ids: dict[str, str]) -> None:
    said = mlgate("runs", "list")
    assert said.out.splitlines()[0] == "run\tname\texperiment\tstatus\tstarted\ttook\tmetrics"
    rows = said.rows()
    assert [row[1] for row in rows] == ["third", "second", "first", "  step"], "steps of a pipeline are indented"
    assert rows[1][0] == run_ids["second"], "programs get whole ids"
    assert rows[1][2:4] == ["iris", "FAILED"]
    assert rows[1][5:] == ["1 min 2 s", "accuracy=0.812"]
    assert rows[0][5].endswith(" ..."), "still running"


def test_list_narrows_down(mlgate: CommandLine) -> None:
    assert [row[1] for row in mlgate("runs", "list", "-n", "1").rows()] == ["third"]
    assert [row[1] for row in mlgate("runs", "list", "-e", "wine / reds").rows()] == ["third"]
    assert [row[1] for row in mlgate("runs", "list", "--status", "failed").rows()] == ["second"]
    both = mlgate("runs", "list", "-e", "1", "-e", "2", "--deleted").rows()
    assert [row[1] for row in both] == ["gone", "third", "second", "first", "  step"]
    assert both[0][3] == "deleted"


def test_nothing_to_list_is_said_on_standard_error(mlgate: CommandLine) -> None:
    said = mlgate("runs", "list", "-e", "Default")
    assert (said.exit_code, said.out, said.err) == (0, "", "no runs yet; start one with run-project\n")


def test_list_as_json_holds_whole_runs(mlgate: CommandLine) -> None:
    newest = mlgate("runs", "list", "--json").json()[0]
    assert newest["info"]["run_name"] == "third"
    assert {"key": "depth", "value": "3"} in newest["data"]["params"]


def test_search_filters_and_orders(mlgate: CommandLine) -> None:
    said = mlgate("runs", "search", "metrics.accuracy > 0.8 and params.depth = '3'", "-o", "metrics.accuracy ASC")
    assert [row[1] for row in said.rows()] == ["first", "second", "third"]
    assert mlgate("runs", "search", "tags.note = 'nothing'").err == "no runs match\n"


def test_a_filter_that_does_not_parse_is_one_line_and_exit_code_2(mlgate: CommandLine) -> None:
    said = mlgate("runs", "search", "accuracy >")
    assert (said.exit_code, said.out) == (2, "")
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1


def test_show_takes_an_id_its_beginning_or_nothing(mlgate: CommandLine, run_ids: dict[str, str]) -> None:
    whole = mlgate("runs", "show", run_ids["first"])
    assert whole.exit_code == 0
    assert mlgate("runs", "show", run_ids["first"][:10]).out == whole.out
    assert f"run          {run_ids['third']}\n" in mlgate("runs", "show").out
    assert "status       FINISHED, deleted" in mlgate("runs", "show", run_ids["gone"][:10]).out


def test_show_tells_everything_about_a_run(mlgate: CommandLine, run_ids: dict[str, str]) -> None:
    text = mlgate("runs", "show", run_ids["first"]).out
    for line in (
        "name         first",
        "experiment   iris (1)",
        "status       FINISHED",
        "took         1 min 2 s",
        "user         ann",
        "project      /projects/iris",
        "depth\t3",
        "note\tthe first",
        f"{run_ids['step']}\tstep\tRUNNING",
        "model/\t",
        "notes é.txt\t6 B",
    ):
        assert line in text
    assert "accuracy\t0.802\t2\t" in text, "the latest point of a metric"
    assert "mlflow.runName" not in text
    assert "mlflow.runName\tfirst" in mlgate("runs", "show", run_ids["first"], "--tags").out


def test_show_as_json_holds_the_files_too(mlgate: CommandLine, run_ids: dict[str, str]) -> None:
    shown = mlgate("runs", "show", run_ids["first"], "--json").json()
    assert shown["info"]["run_id"] == run_ids["first"]
    assert shown["artifacts"] == [
        {"path": "model", "is_dir": True},
        {"path": "notes é.txt", "is_dir": False, "file_size": 6},
    ]


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("zzz", "error: no run has an id that begins with 'zzz'; see mlgate runs list"),
        ("0" * 32, "0" * 32),
        ("a'b", "error: 'a'b' is not a run id; see mlgate runs list"),
        ("%", "error: '%' is not a run id; see mlgate runs list"),
        ("_", "error: '_' is not a run id; see mlgate runs list"),
    ],
)
def test_unknown_runs_are_one_line_and_exit_code_2(mlgate: CommandLine, reference: str, message: str) -> None:
    said = mlgate("runs", "show", reference)
    assert (said.exit_code, said.out) == (2, "")
    assert message in said.err
    assert said.err.count("\n") == 1


def test_a_beginning_that_several_runs_have_names_them(mlgate: CommandLine, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'twins.db'}"
    with connect(uri) as store:
        for different in "01":
            store.create_run("0", run_id=f"abc000000{different}" + "0" * 22)
    said = mlgate("runs", "show", "abc", "--tracking-uri", uri)
    assert said.exit_code == 2
    assert "several runs have an id that begins with 'abc': abc0000000, abc0000001; give more of it" in said.err


def test_deleted_runs_come_back(mlgate: CommandLine, run_ids: dict[str, str]) -> None:
    assert mlgate("runs", "delete", run_ids["second"][:12]).out == f"deleted {run_ids['second']}\n"
    assert "second" not in mlgate("runs", "list").out
    assert mlgate("runs", "restore", run_ids["second"][:12]).out == f"restored {run_ids['second']}\n"
    assert "second" in mlgate("runs", "list").out


def test_delete_checks_every_id_before_it_deletes_one(mlgate: CommandLine, run_ids: dict[str, str]) -> None:
    assert mlgate("runs", "delete", run_ids["second"], "zzz").exit_code == 2
    assert "second" in mlgate("runs", "list").out


def test_a_server_that_is_away_is_one_line_and_exit_code_1(mlgate: CommandLine) -> None:
    said = mlgate("runs", "list", "--tracking-uri", "http://127.0.0.1:1")
    assert (said.exit_code, said.out) == (1, "")
    assert said.err == "error: http://127.0.0.1:1: connection refused; is the server running?\n"


# --- export ----------------------------------------------------------------------------------------------------------


def test_export_prints_json(mlgate: CommandLine, run_ids: dict[str, str]) -> None:
    runs = mlgate("runs", "export", run_ids["first"], "--history").json()
    assert [point["value"] for point in runs[0]["history"]["accuracy"]] == [0.8, 0.801, 0.802]
    assert "history" not in mlgate("runs", "export", run_ids["first"]).json()[0]


def test_export_writes_a_row_per_run_as_csv(mlgate: CommandLine, tmp_path: Path, run_ids: dict[str, str]) -> None:
    target = tmp_path / "new" / "runs.csv"
    said = mlgate("runs", "export", "-e", "iris", "-o", str(target))
    assert (said.out, said.err) == ("", f"3 runs written to {target}\n")
    rows = list(csv.DictReader(target.read_text().splitlines()))
    assert [row["run_name"] for row in rows] == ["second", "first", "step"]
    assert (rows[1]["run_id"], rows[1]["params.depth"], rows[1]["metrics.accuracy"]) == (run_ids["first"], "3", "0.802")
    assert (rows[1]["start_time"], rows[1]["tags.note"]) == (str(START), "the first")
    assert rows[2]["metrics.accuracy"] == ""


def test_export_makes_a_folder_with_histories_and_artifacts(
    mlgate: CommandLine, tmp_path: Path, run_ids: dict[str, str]
) -> None:
    target = tmp_path / "exported"
    mlgate("runs", "export", "-e", "iris", "-f", "attributes.status = 'FINISHED'", "-o", str(target))
    folder = target / run_ids["first"]
    assert [entry.name for entry in target.iterdir()] == [run_ids["first"]]
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
        "artifacts/model/MLmodel",
        "artifacts/model/data/model.bin",
        "artifacts/notes é.txt",
        "metrics.csv",
        "run.json",
    ]
    assert json.loads((folder / "run.json").read_text())["info"]["run_name"] == "first"
    points = list(csv.reader((folder / "metrics.csv").read_text().splitlines()))
    assert points[0] == ["metric", "step", "timestamp", "value"]
    assert [row[3] for row in points if row[0] == "accuracy"] == ["0.8", "0.801", "0.802"]


def test_export_never_writes_into_a_folder_that_is_there(mlgate: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("mine")
    said = mlgate("runs", "export", "-o", str(tmp_path))
    assert (said.exit_code, said.err) == (2, f"error: {tmp_path}: is there already; name a new folder\n")
    assert [entry.name for entry in tmp_path.iterdir() if entry.name != "mlgate-home"] == ["kept.txt"]


def test_an_export_that_fails_leaves_nothing(mlgate: CommandLine, tmp_path: Path) -> None:
    assert mlgate("runs", "export", "zzz", "-o", str(tmp_path / "out")).exit_code == 2
    assert mlgate("runs", "export", "--format", "dir").exit_code == 2
    assert mlgate("runs", "export", "abc", "-e", "iris").exit_code == 2
    assert [entry.name for entry in tmp_path.iterdir() if entry.name != "mlgate-home"] == []
