"""Webhooks: who may subscribe to what, and what arrives where."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import queue
import threading

import pytest

from mlgate_tracking.errors import InvalidParameterValue
from mlgate_tracking.server.settings import ServerSettings
from mlgate_tracking.server.webhooks import check_target
from tests.tracking.server.conftest import Api

CREATED = {"entity": "REGISTERED_MODEL", "action": "CREATED"}


class Receiver:
    """A real HTTP server that keeps what it is sent and answers as told."""

    def __init__(self) -> None:
        self.received: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()
        self.answers: list[int] = []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.received.put(({name.lower(): value for name, value in self.headers.items()}, body))
                status = receiver.answers.pop(0) if receiver.answers else 200
                self.send_response(status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_args: object) -> None: ...

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?x=1"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def receiver():
    running = Receiver()
    yield running
    running.server.shutdown()
    running.server.server_close()


@pytest.fixture
def hooks(serve):
    return Api(serve(webhook_schemes=("http", "https"), webhook_private_addresses=True))


def test_a_webhooks_life(hooks):
    made = hooks.post("webhooks", name="first", url="http://127.0.0.1:9/x", events=[CREATED], secret="s")["webhook"]
    assert (made["status"], made["events"], "secret" in made) == ("ACTIVE", [CREATED], False)
    where = f"webhooks/{made['webhook_id']}"
    changed = hooks.patch(where, name="second", status="DISABLED", description="d")["webhook"]
    assert (changed["name"], changed["status"], changed["url"]) == ("second", "DISABLED", made["url"])
    assert [each["name"] for each in hooks.get("webhooks")["webhooks"]] == ["second"]
    hooks.delete(where)
    assert hooks.refused("GET", where) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert hooks.get("webhooks") == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "-x"}, {"name": "x" * 64}, {"events": []}, {"events": [{"entity": "MODEL_VERSION", "action": "SET"}]},
        {"url": "ftp://127.0.0.1/x"}, {"url": "http://user@127.0.0.1/x"}, {"url": "nonsense"}, {"status": "PAUSED"},
        {"url": "http://127.0.0.1:99999/"}, {"url": "http://no-such-host.invalid/"},
    ],
)  # fmt: skip
def test_what_cannot_be_a_webhook_is_refused(hooks, wrong):
    fields = {"name": "x", "url": "http://127.0.0.1:9/", "events": [CREATED], **wrong}
    assert hooks.refused("POST", "webhooks", **fields) == (400, "INVALID_PARAMETER_VALUE")


def test_a_step_sees_no_webhooks(hooks):
    step = hooks.post("/api/3.0/mlgate/step-runs/open", step_run_key="k", experiment_id="0")["step_run"]
    answer = hooks.client.get("/api/2.0/mlflow/webhooks", headers={"authorization": f"Bearer {step['token']}"})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    "url",
    ["https://127.0.0.1/", "https://10.0.0.1/", "https://169.254.169.254/", "https://[::1]/", "https://[::ffff:10.0.0.1]/",
     "https://localhost/", "https://0.0.0.0/", "https://224.0.0.1/"],
)  # fmt: skip
def test_private_addresses_are_refused_unless_allowed(url):
    with pytest.raises(InvalidParameterValue, match="not a public address"):
        check_target(url, ServerSettings())
    check_target(url, ServerSettings(webhook_private_addresses=True))


def test_changes_arrive_signed(hooks, receiver):
    events = [
        CREATED,
        {"entity": "MODEL_VERSION", "action": "CREATED"},
        {"entity": "MODEL_VERSION_TAG", "action": "SET"},
        {"entity": "MODEL_VERSION_ALIAS", "action": "CREATED"},
        {"entity": "MODEL_VERSION_ALIAS", "action": "DELETED"},
        {"entity": "PROMPT", "action": "CREATED"},
    ]
    hooks.post("webhooks", name="all", url=receiver.url, events=events, secret="sesame")
    hooks.post("registered-models/create", name="m", tags=[{"key": "team", "value": "a"}], description="d")
    hooks.post("model-versions/create", name="m", source="s3://b/x")
    hooks.post("model-versions/set-tag", name="m", version="1", key="k", value="v")
    hooks.post("registered-models/alias", name="m", alias="champion", version="1")
    hooks.delete("registered-models/alias", name="m", alias="champion")
    hooks.post("registered-models/create", name="p", tags=[{"key": "mlflow.prompt.is_prompt", "value": "true"}])
    seen = []
    for _ in events:
        headers, body = receiver.received.get(timeout=20)
        signed = f"{headers['x-mlflow-delivery-id']}.{headers['x-mlflow-timestamp']}.".encode() + body
        digest = hmac.new(b"sesame", signed, hashlib.sha256).digest()
        assert headers["x-mlflow-signature"] == "v1," + base64.b64encode(digest).decode()
        message = json.loads(body)
        assert message["timestamp"].endswith("+00:00")
        seen.append((message["entity"], message["action"], message["data"]))
    assert seen == [
        ("registered_model", "created", {"name": "m", "tags": {"team": "a"}, "description": "d"}),
        ("model_version", "created", {
            "name": "m", "version": "1", "source": "s3://b/x", "run_id": None, "tags": {}, "description": None,
        }),
        ("model_version_tag", "set", {"name": "m", "version": "1", "key": "k", "value": "v"}),
        ("model_version_alias", "created", {"name": "m", "alias": "champion", "version": "1"}),
        ("model_version_alias", "deleted", {"name": "m", "alias": "champion"}),
        ("prompt", "created", {"name": "p", "tags": {}, "description": None}),
    ]  # fmt: skip


def test_a_trial_delivery_tells_what_came_back(hooks, receiver):
    made = hooks.post("webhooks", name="x", url=receiver.url, events=[CREATED])["webhook"]
    result = hooks.post(f"webhooks/{made['webhook_id']}/test")["result"]
    assert result == {"success": True, "response_status": 200, "response_body": "ok"}
    receiver.answers = [304]
    result = hooks.post(f"webhooks/{made['webhook_id']}/test")["result"]
    assert (result["success"], result["response_status"]) == (True, 304)
    receiver.received.get(timeout=5)
    receiver.answers = [500]
    tag_deleted = {"entity": "MODEL_VERSION_TAG", "action": "DELETED"}
    assert not hooks.post(f"webhooks/{made['webhook_id']}/test", event=tag_deleted)["result"]["success"]
    receiver.received.get(timeout=5)
    message = json.loads(receiver.received.get(timeout=5)[1])
    assert message["data"] == {"name": "example_model", "version": "1", "key": "team"}


def test_a_trial_of_a_dead_end_says_so(hooks):
    made = hooks.post("webhooks", name="x", url="http://127.0.0.1:9/", events=[CREATED])["webhook"]
    result = hooks.post(f"webhooks/{made['webhook_id']}/test")["result"]
    assert (result["success"], "response_status" in result) == (False, False)
    assert "refused" in result["error_message"]
