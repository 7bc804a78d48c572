"""A team's server that knows its users, from the first admin to a promotion: every name is proven by a token."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from mlgate_projects.testing import project_dir
from tests.integration.test_mlflow_clients import run_script
from tests.support.cli import mlgate, run_json
from tests.support.servers import ServerProcess, mlgate_server

pytestmark = pytest.mark.slow

POLICY = """\
name: shared
to: {alias: champion}
gates:
  - metric: {name: accuracy, min: 0.8}
  - approval: {role: ml_engineer}
"""
PROJECT = {
    "MLproject": "name: shared\nentry_points:\n  main: {command: python train.py}\n",
    "train.py": """\
        import mlgate_tracking as tracking
        tracking.set_experiment("shared")
        tracking.log_metric("accuracy", 0.9)
        with open("model.txt", "w") as file:
            file.write("model")
        tracking.log_artifact("model.txt")
    """,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with mlgate_server(tmp_path_factory.mktemp("server"), "--require-auth") as running:
        yield running


@pytest.fixture(scope="module")
def people(server: ServerProcess) -> Mapping[str, Mapping[str, str]]:
    """The environment of everybody's commands: the server, and their own token. All sit at the same machine."""
    on_the_database = {"MLGATE_TRACKING_URI": f"sqlite:///{server.home}/mlgate.db"}
    made = mlgate("users", "add", "root", "--role", "admin", env=on_the_database)
    assert made.returncode == 0, made.stderr
    assert "shown this once" in made.stderr

    def env(token: str) -> dict[str, str]:
        return {"MLGATE_TRACKING_URI": server.uri, "MLFLOW_TRACKING_TOKEN": token}

    found = {"root": env(made.stdout.strip())}
    for name, roles in (("alice", ["ml_engineer"]), ("bob", ["ml_engineer"]), ("carol", []), ("airflow", ["engine"])):
        options = [word for role in roles for word in ("--role", role)]
        added = mlgate("users", "add", name, *options, "--json", env=found["root"])
        assert added.returncode == 0, added.stderr
        found[name] = env(json.loads(added.stdout)["token"])
    return found


def refused(*words: str | Path, env: Mapping[str, str]) -> str:
    done = mlgate(*words, env=env)
    assert done.returncode == 2, (done.stdout, done.stderr)
    return done.stderr


def test_nobody_comes_in_without_a_token(server, people):
    nobody = {"MLGATE_TRACKING_URI": server.uri}
    assert "this server knows its users" in refused("experiments", "list", env=nobody)
    assert "no user's of this server" in refused(
        "experiments", "list", env={**nobody, "MLFLOW_TRACKING_TOKEN": "mlgate-user.guessed"}
    )
    listed = json.loads(mlgate("users", "list", "--json", env=people["carol"]).stdout)
    assert {user["name"]: user["created_by"] for user in listed} | {"root": ""} == {
        "airflow": "root", "alice": "root", "bob": "root", "carol": "root", "root": "",
    }  # fmt: skip
    assert mlgate("users", "whoami", env=people["bob"]).stdout == "bob (ml_engineer)\n"


def test_a_model_is_promoted_by_people_who_are_who_they_say(server, people, tmp_path):
    project = project_dir(tmp_path / "project", PROJECT)
    (tmp_path / "policy.yaml").write_text(POLICY)
    ran = run_json(project, "--env-manager", "local", cwd=tmp_path, env=people["bob"])
    assert ran["status"] == "FINISHED", ran
    shown = json.loads(mlgate("runs", "show", ran["run_id"], "--json", env=people["bob"]).stdout)
    assert shown["info"]["user_id"] == "bob"
    for path, body in (
        ("registered-models/create", {"name": "shared"}),
        ("model-versions/create", {"name": "shared", "source": shown["info"]["artifact_uri"], "run_id": ran["run_id"]}),
    ):
        request = urllib.request.Request(
            f"{server.uri}/api/2.0/mlflow/{path}",
            json.dumps(body).encode(),
            {
                "Content-Type": "application/json",
                "Authorization": f"Bearer {people['airflow']['MLFLOW_TRACKING_TOKEN']}",
            },
        )
        urllib.request.urlopen(request, timeout=30).close()

    promotion = ("promote", "shared", "1", "--policy", tmp_path / "policy.yaml", "--json")
    waiting = mlgate(*promotion, env=people["bob"])
    assert waiting.returncode == 3, waiting.stderr
    (asked,) = json.loads(waiting.stdout)["approvals"]
    assert (asked["requested_by"], asked["starter"]) == ("bob", "bob")
    answer = ("approvals", "approve", asked["approval_id"])

    assert "the server knows you as 'bob'" in refused(*answer, "--user", "alice", env=people["bob"])
    assert "somebody else has to approve" in refused(*answer, env=people["bob"])
    assert "'carol' does not have" in refused(*answer, env=people["carol"])
    assert "role admin" in refused("approvals", "grant", "ml_engineer", "carol", env=people["carol"])
    assert "role admin" in refused("models", "protect", "shared", env=people["alice"])
    # A service answers for alice, who answered in the engine's own pages.
    approved = mlgate(*answer, "--user", "alice", env=people["airflow"])
    assert approved.returncode == 0, approved.stderr

    done = json.loads(mlgate(*promotion, env=people["carol"]).stdout)
    assert (done["outcome"], done["promotion"]["user"]) == ("promoted", "carol")
    exported = mlgate("audit", "export", env=people["root"]).stdout
    told = {entry["action"]: entry for entry in map(json.loads, exported.splitlines())}
    assert (told["approval.approved"]["user"], told["approval.approved"]["data"]["through"]) == ("alice", "airflow")
    assert told["verdict.pending"]["user"] == "bob"
    assert mlgate("audit", "verify", env=people["root"]).returncode == 0
    assert not any(env["MLFLOW_TRACKING_TOKEN"] in exported for env in people.values())


def test_a_token_is_replaced_and_taken_away(people):
    fresh = mlgate("users", "rotate", "carol", env=people["carol"]).stdout.strip()
    assert "no user's" in refused("users", "whoami", env=people["carol"])
    carol = {**people["carol"], "MLFLOW_TRACKING_TOKEN": fresh}
    assert mlgate("users", "whoami", env=carol).stdout == "carol\n"
    assert mlgate("users", "revoke", "carol", env=people["root"]).returncode == 0
    assert "no user's" in refused("users", "whoami", env=carol)
    assert "last admin" in refused("users", "revoke", "root", env=people["root"])


@pytest.mark.mlflow
@pytest.mark.parametrize("client", ["newest", "2.8.0"])
def test_an_unmodified_mlflow_client_comes_in_as_a_user(client, server, people):
    token = people["bob"]["MLFLOW_TRACKING_TOKEN"]
    seen = run_script(client, "shared_server.py", server.uri, USERS_TOKEN=token, MODEL=client, USER="somebody")
    assert "this server knows its users" in seen["nobody"]
    assert "no user's of this server" in seen["wrong password"]
    assert "not that of 'alice'" in seen["wrong name"]
    by_bob = {"user": "bob", "files": ["note.txt"], "registered by": "bob"}
    assert (seen["token"], seen["name and token"]) == (by_bob, by_bob)
