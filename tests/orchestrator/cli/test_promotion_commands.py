"""The commands of promotion, as a user types them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlgate.cli.main import call, cli
from mlgate.settings import load_settings
from mlgate_tracking.client import connect
from mlgate_tracking.entities import ModelOutput
from mlgate_tracking.governance import Target
from tests.support.receiver import Receiver, receiving
from tests.support.registry import version_with_run

POLICY = """\
to: {alias: champion, stage: Production}
gates:
  - metric: {name: accuracy, min: 0.9}
  - champion: {metric: accuracy, min_change: 0.0}
"""

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prepared") / "mlgate.db"
    with connect(f"sqlite:///{path}") as store:
        for accuracy in (0.92, 0.95, 0.85):
            version_with_run(store, "iris", {"accuracy": accuracy}, tags={"mlflow.source.git.commit": "abc"})
    return path


@pytest.fixture
def mlgate(prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command in this process: exit code, output, errors."""
    home = load_settings().home
    home.mkdir(parents=True)
    shutil.copy(prepared, home / "mlgate.db")
    (tmp_path / "policy.yaml").write_text(POLICY)

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        words = [str(one) for one in arguments]
        code = call(lambda: cli.main(words, prog_name="mlgate", standalone_mode=False))
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    return tmp_path / "policy.yaml"


def data(answer: tuple[int, str, str]) -> Any:
    return json.loads(answer[1])


def test_gate_check_tells_by_its_exit_code(mlgate: Command, policy: Path) -> None:
    code, out, _ = mlgate("gate", "check", "iris", "1", "--policy", policy)
    assert code == 0
    assert "accuracy 0.92 >= 0.9" in out
    code, out, _ = mlgate("gate", "check", "iris", "3", "--policy", policy)
    assert code == 1
    assert "accuracy 0.85 not >= 0.9" in out
    policy.write_text("gates: [{metric: {nam: accuracy}}]")
    code, _, err = mlgate("gate", "check", "iris", "1", "--policy", policy)
    assert code == 2
    assert f"{policy}:1: gates.0.metric.nam: unknown key; known: name, min, max, rule" in err
    assert mlgate("gate", "check", "nothing", "1", "--policy", policy, "--to", "champion")[0] == 2


def test_gate_check_prints_its_verdict_as_json(mlgate: Command, policy: Path) -> None:
    verdict = data(mlgate("gate", "check", "iris", "1", "--policy", policy, "--json"))
    assert verdict["status"] == "passed"
    assert verdict["results"][0]["reasons"][0]["actual"] == 0.92
    unrecorded = data(mlgate("gate", "check", "iris", "1", "--policy", policy, "--json", "--no-record"))
    assert mlgate("promote", "iris", "1", "--verdict", unrecorded["verdict_id"])[0] == 2
    assert mlgate("promote", "iris", "1", "--verdict", verdict["verdict_id"])[0] == 0


def test_promote_reject_and_roll_back(mlgate: Command, policy: Path) -> None:
    assert mlgate("promote", "iris", "1", "--policy", policy, "--user", "alice")[0] == 0
    code, out, _ = mlgate("promote", "iris", "2", "--policy", policy, "--comment", "better")
    assert code == 0
    assert "is held by version 2, before by version 1; archived: 1" in out
    assert mlgate("promote", "iris", "3", "--policy", policy)[0] == 1
    code, _, err = mlgate("promote", "iris", "3", "--to", "champion", "--expect", "1")
    assert code == 1
    assert "is held by version 2 since promotion" in err
    assert mlgate("promote", "iris", "3", "--to", "champion", "--expect", "x")[0] == 2
    back = data(mlgate("rollback", "iris", "--reason", "alarms", "--json"))
    assert (back["version"], back["kind"]) == (1, "rollback")
    code, _, err = mlgate("rollback", "iris")
    assert code == 2
    assert "no version held" in err


def test_models_show_history_and_differences(mlgate: Command, policy: Path) -> None:
    for version in ("1", "2"):
        mlgate("promote", "iris", version, "--policy", policy)
    assert mlgate("models", "list")[1].splitlines()[1].startswith("iris\t3\tchampion=2")
    shown = data(mlgate("models", "show", "iris", "--json"))
    assert [(one["version"], one["current_stage"], one["aliases"]) for one in shown["versions"]] == [
        (1, "Archived", []),
        (2, "Production", ["champion"]),
        (3, "None", []),
    ]
    assert [one["version"] for one in shown["history"]] == [2, 1]
    assert "Production" in mlgate("models", "show", "iris")[1]
    assert "metric\taccuracy\t0.92\t0.95" in mlgate("models", "compare", "iris", "1", "2")[1]
    code, out, _ = mlgate("lineage", "iris@champion")
    assert code == 0
    assert "commit\tabc" in out
    assert data(mlgate("lineage", "iris/1", "--json"))["promotion"]["version"] == 1


def test_approvals_are_asked_for_listed_and_given(mlgate: Command, policy: Path) -> None:
    policy.write_text(POLICY + "  - approval: {role: ml_engineer}\n")
    assert mlgate("promote", "iris", "1", "--policy", policy, "--user", "bob")[0] == 3
    (asked,) = data(mlgate("approvals", "list", "--json"))
    assert asked["role"] == "ml_engineer"
    code, _, err = mlgate("approvals", "approve", asked["approval_id"], "--user", "alice")
    assert code == 2
    assert "mlgate approvals grant ml_engineer alice" in err
    mlgate("approvals", "grant", "ml_engineer", "alice")
    assert "ml_engineer\talice" in mlgate("approvals", "roles")[1]
    assert mlgate("approvals", "approve", asked["approval_id"], "--user", "alice", "--comment", "fine")[0] == 0
    assert "nothing waits" in mlgate("approvals", "list")[2]
    assert mlgate("promote", "iris", "1", "--policy", policy)[0] == 0
    mlgate("promote", "iris", "2", "--policy", policy)
    (second,) = data(mlgate("approvals", "list", "--json"))
    assert "rejected" in mlgate("approvals", "reject", second["approval_id"], "--user", "alice")[1]
    assert mlgate("promote", "iris", "2", "--policy", policy)[0] == 1
    mlgate("approvals", "revoke", "ml_engineer", "alice")
    assert "nobody has a role" in mlgate("approvals", "roles")[2]


def test_replay_counts_what_would_have_gone_otherwise(mlgate: Command, policy: Path) -> None:
    for version in ("1", "3", "2"):
        mlgate("promote", "iris", version, "--to", "champion,Production")
    code, out, _ = mlgate("gate", "replay", "--policy", policy, "--model", "iris", "--last", "20")
    assert code == 0
    assert "1 of 3 promotions would have gone otherwise" in out
    again = data(mlgate("gate", "replay", "--policy", policy, "--model", "iris", "--json"))
    assert [one["changed"] for one in again] == [False, True, False]


def test_watch_finishes_what_others_left(mlgate: Command) -> None:
    for version in ("1", "2"):
        mlgate("promote", "iris", version, "--to", "champion")
    with connect(load_settings().tracking_uri) as store:
        store.intend_rollback("iris", reason="alarms")
    (seen,) = data(mlgate("gate", "watch", "--once", "--json"))
    assert seen["done"] == "rolled_back"
    with connect(load_settings().tracking_uri) as store:
        assert store.holder("iris", Target(alias="champion")).version == 1


def test_audit_is_verified_and_exported(mlgate: Command, policy: Path, tmp_path: Path) -> None:
    mlgate("promote", "iris", "1", "--policy", policy)
    head = data(mlgate("audit", "verify", "--json"))["head"]
    mlgate("promote", "iris", "2", "--policy", policy)
    assert mlgate("audit", "verify", "--head", head)[0] == 0
    mlgate("audit", "export", "--output", tmp_path / "log.jsonl")
    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [one["action"] for one in entries] == ["verdict.passed", "promotion.done"] * 2
    database = load_settings().home / "mlgate.db"
    subprocess.run(["python3", "-c", f"""
import sqlite3
with sqlite3.connect({str(database)!r}) as db:
    db.execute("UPDATE audit_log SET user_id = 'mallory' WHERE entry = 2")
"""], check=True)  # fmt: skip
    code, out, _ = mlgate("audit", "verify")
    assert code == 1
    assert "audit entry 2 was changed after it was written" in out
    assert mlgate("audit", "verify", "--head", "0" * 63 + "1")[0] == 1


def test_protected_models_promote_by_their_policy_only(mlgate: Command, policy: Path) -> None:
    assert mlgate("models", "protect", "iris", "--policy", policy)[0] == 0
    code, _, err = mlgate("promote", "iris", "1", "--to", "champion,Production")
    assert code == 2
    assert "is protected" in err
    assert mlgate("promote", "iris", "1", "--policy", policy)[0] == 0
    assert "is protected" in mlgate("models", "show", "iris")[1]
    policy.write_text(POLICY + "  - approval: {role: ml_engineer}\n")
    assert mlgate("models", "protect", "iris", "--policy", policy)[0] == 0
    assert data(mlgate("models", "show", "iris", "--json"))["protection"]["approvals"] == [
        {"role": "ml_engineer", "count": 1, "four_eyes": True}
    ]
    mlgate("models", "unprotect", "iris")
    assert mlgate("promote", "iris", "3", "--to", "champion")[0] == 0


def test_webhooks_of_an_embedded_store_are_told_by_the_command(
    mlgate: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving(Receiver()) as receiver:
        assert mlgate("webhooks", "add", "hook", receiver.url)[0] == 2
        monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOWED_SCHEMES", "http,https")
        code, _, err = mlgate("webhooks", "add", "hook", receiver.url)
        assert code == 2
        assert "is not a public address" in err
        monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS", "true")
        monkeypatch.setenv("HOOK_SECRET", "hush")
        made = mlgate("webhooks", "add", "hook", receiver.url, "--secret-env", "HOOK_SECRET")[1].strip()
        mlgate("promote", "iris", "1", "--to", "champion")
        assert receiver.received[0].data["action"] == "promoted"
        assert receiver.received[0].headers["X-MLflow-Signature"].startswith("v1,")
        assert made in mlgate("webhooks", "list")[1]
        assert mlgate("webhooks", "remove", made)[0] == 0
        mlgate("rollback", "iris", "--to", "2")
        assert len(receiver.received) == 1


def test_functions_of_a_policy_stand_beside_it(mlgate: Command, policy: Path, tmp_path: Path) -> None:
    (tmp_path / "our_rules.py").write_text(
        "def even(evidence, but):\n    return evidence.candidate.version in (2, but), 'odd'\n"
    )
    policy.write_text("to: {alias: champion}\ngates: [{python: {call: 'our_rules:even', settings: {but: 3}}}]")
    codes = [
        mlgate("gate", "check", "iris", version, "--policy", policy, "--directory", tmp_path)[0] for version in "123"
    ]
    assert codes == [1, 0, 0]


def test_a_model_of_a_run_is_registered_whichever_client_logged_it(mlgate: Command, tmp_path: Path) -> None:
    settings = load_settings()
    with connect(settings.tracking_uri) as store:
        run = store.create_run("0").info
        kept_apart = store.create_logged_model("0", name="forest", source_run_id=run.run_id)
        store.log_outputs(run.run_id, [ModelOutput(kept_apart.model_id)])
    for root in (f"{run.artifact_uri}/tree", kept_apart.artifact_uri):
        folder = settings.home / "artifacts" / root.removeprefix("mlflow-artifacts:/")
        folder.mkdir(parents=True)
        (folder / "MLmodel").write_text("{}")
    assert mlgate("models", "register", "fresh", f"runs:/{run.run_id}/tree")[1] == "fresh version 1\n"
    made = data(mlgate("models", "register", "fresh", f"runs:/{run.run_id}/forest", "--json"))
    assert (made["version"], made["run_id"], made["source"]) == (2, run.run_id, kept_apart.artifact_uri)


def test_what_is_no_model_is_not_registered_and_leaves_no_model_behind(mlgate: Command) -> None:
    with connect(load_settings().tracking_uri) as store:
        run_id = store.create_run("0").info.run_id
    code, _, err = mlgate("models", "register", "fresh", f"runs:/{run_id}/nothing")
    assert (code, err) == (2, f"error: runs:/{run_id}/nothing: no model there (no file MLmodel)\n")
    assert "fresh" not in mlgate("models", "list")[1]
