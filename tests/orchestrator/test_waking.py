"""Waking a Prefect flow run after a decision, against a server that answers as Prefect's does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mlgate.promotion import request_approval
from mlgate.waking import wake
from mlgate_tracking.client import connect
from mlgate_tracking.contract import Store
from mlgate_tracking.entities import Tag
from mlgate_tracking.governance import Approval, Target
from tests.support.registry import version_with_run


class Answers(list[tuple[int, dict[str, Any]]]):
    """What to answer, in turn; `asked` keeps the requests."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, str, Any]] = []
        self.url = ""


@pytest.fixture
def prefect() -> Iterator[Answers]:
    answers = Answers()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answers.asked.append((self.path, self.headers.get("Authorization", ""), body))
            status, data = answers.pop(0)
            content = json.dumps(data).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        answers.url = f"http://127.0.0.1:{server.server_port}/api"
        yield answers
        server.shutdown()
        thread.join()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with connect(f"sqlite:///{tmp_path / 'mlgate.db'}") as opened:
        opened.grant_role("boss", "eve")
        yield opened


def decided(store: Store, engine: str = "prefect") -> Approval:
    version = version_with_run(store, "wine", {"accuracy": 0.9})
    run = store.create_run("0", tags=[Tag("mlgate.engine", engine), Tag("mlgate.engine.run_id", "f-1")])
    approval = request_approval(
        store, "wine", version.version, "boss", target=Target("champion"), run_id=run.info.run_id
    )
    assert wake(store, approval, {}) == ""  # nothing is decided yet
    return store.decide_approval(approval.approval_id, "eve", True)


def test_the_flow_run_that_waits_is_resumed_with_the_credentials_of_prefects_settings(
    store: Store, prefect: Answers, tmp_path: Path
) -> None:
    prefect += [(503, {}), (200, {"status": "ACCEPT"})]
    (tmp_path / "profiles.toml").write_text(
        f'active = "team"\n[profiles.team]\nPREFECT_API_URL = "{prefect.url}"\nPREFECT_API_KEY = "k"\n'
    )
    said = wake(store, decided(store), {"PREFECT_HOME": str(tmp_path)})
    assert said == "resumed flow run f-1 in Prefect"
    assert prefect.asked == [("/api/flow_runs/f-1/resume", "Bearer k", {"run_input": {}})] * 2


def test_what_cannot_be_resumed_is_said_and_never_fails_the_decision(store: Store, prefect: Answers) -> None:
    approval = decided(store)
    prefect.append((200, {"status": "ABORT", "details": {"reason": "Cannot resume a flow run that is not paused."}}))
    assert "not paused" in wake(store, approval, {"PREFECT_API_URL": prefect.url})
    assert "PREFECT_API_URL" in wake(store, approval, {"PREFECT_HOME": "/nowhere"})
    prefect.append((401, {}))
    assert "401" in wake(store, approval, {"PREFECT_API_URL": prefect.url, "PREFECT_API_AUTH_STRING": "a:b"})
    assert prefect.asked[-1][1] == "Basic YTpi"
    assert "resume it in Prefect's UI" in wake(store, approval, {"PREFECT_API_URL": "http://127.0.0.1:9/api"})


def test_nobody_is_asked_for_a_run_of_another_engine(store: Store) -> None:
    assert wake(store, decided(store, engine="local"), {"PREFECT_API_URL": "http://127.0.0.1:9/api"}) == ""
