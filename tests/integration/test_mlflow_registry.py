"""Searches and the model registry through the real `mlflow` clients, the newest and 2.8.0, against the real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.test_mlflow_clients import CLIENTS, run_script
from tests.support.servers import ServerProcess, mlgate_server

pytestmark = pytest.mark.mlflow

BAD, UNKNOWN, TAKEN = "INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with mlgate_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.mark.parametrize("client", CLIENTS)
def test_every_operator_order_view_and_page(client: str, server: ServerProcess) -> None:
    seen = run_script(client, "searches.py", server.uri)
    place = "searches-" + seen.pop("version")
    for text, (found, wanted) in (seen.pop("filters") | seen.pop("orders")).items():
        assert found == wanted, text
    experiments = seen.pop("experiments")
    assert list(experiments.values()) == [[""], ["", "-other"], ["-other"], [""]], place
    assert seen == {
        "two keys": "dbca",
        "views": ["g", "abcdg"],
        "pages": ["abc", "d"],
        "restored": "g",
        "table": [[2.0, 1.0], ["X", "x"], ["b", "a"]],
        "everywhere": 1,
        "bad": [BAD] * 6,
        "first experiment": [["-other"], True],
    }


@pytest.mark.parametrize("client", CLIENTS)
def test_versions_aliases_stages_sources_and_deletes(client: str, server: ServerProcess) -> None:
    seen = run_script(client, "registry.py", server.uri)
    name = "registry-" + seen.pop("version")
    newer = {
        "copy": [1, f"models:/{name}/2", "s3://bucket/model"],
        "prompts": ["Hello {{name}}", "Bye you", True, [], TAKEN],
        "from logged model": [1, True, True],
        "logged models": [1, 0, 1],
        "deleted logged model": UNKNOWN,
    }
    assert seen == {
        "taken": TAKEN,
        "bad names": [BAD] * 3,
        "first": [True, "None", "READY", True],
        "outside": [BAD] * 5,
        "download": [True, "s3://bucket/model"],
        "unknown": [UNKNOWN, UNKNOWN, BAD, UNKNOWN],
        "described": ["second", {"owner": "you"}, "changed", {"checked": "yes"}],
        "aliases": [["Other", "champion"], {"Other": "1", "champion": "1"}],
        "champion": 2,
        "reserved": [BAD, BAD],
        "stages": ["Staging", "Archived", "Production"],
        "latest": {"None": [], "Staging": [1], "Production": [3]},
        "all latest": [1, 2, 3],
        "bad stage": BAD,
        "versions": [[1, 2, 3], [1, 3], [2], [2, 3], [2], [2], [1], [1, 2], [1, 3]],
        "ordered": [3, 2, 1],
        "pages": [[1, 2], [3]],
        "models": [["", "-a", "-b", "-c"], ["-c", "-b", "-a", ""], ["-b"], ["-a", "-c"], ["-a"], ["-c"]],
        "model pages": [3, True, False],
        "bad searches": [BAD] * 3,
        "renamed": [UNKNOWN, {"letter": "b"}],
        "rename taken": TAKEN,
        "after delete": [[1, 3], UNKNOWN, UNKNOWN, BAD, 4],
        "gone": [UNKNOWN, []],
        **(newer if client == "newest" else {}),
    }
