from __future__ import annotations

import gzip
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlgate_tracking.errors import (
    BadRequest,
    EndpointNotFound,
    InvalidParameterValue,
    NotImplementedByStore,
    ResourceDoesNotExist,
    ServerUnreachable,
    StaleAttempt,
    TemporarilyUnavailable,
    TrackingError,
    Unauthenticated,
)
from mlgate_tracking.transport import (
    Credentials,
    FileBody,
    HttpSend,
    Request,
    Response,
    RetryPolicy,
    TlsOptions,
    error_from,
    load_credentials,
    load_retry_policy,
    load_tls_options,
    retrying,
)
from tests.tracking.scripted_server import ScriptedServer, after, answer, error, hang_up, raw

PING = Request("GET", "/ping")
SAVE = Request("POST", "/save", body=b"{}")
COUNT_UP = Request("POST", "/count-up", body=b"{}", repeatable=False)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


@pytest.fixture
def send(server: ScriptedServer) -> Iterator[HttpSend]:
    http = HttpSend(server.uri + "/base", credentials=Credentials(), timeout=5)
    yield http
    http.close()


# --- one request, one answer -----------------------------------------------------------------------------------------


def test_a_request_arrives_below_the_base_path(server: ScriptedServer, send: HttpSend) -> None:
    server.play(answer(200, {"pong": 1}, X_Answer="yes"))
    response = send(Request("GET", "/api/x%20y", query=(("run_ids", "a"), ("run_ids", "b & c"))))
    assert (response.status, response.read(), response.headers["x-answer"]) == (200, b'{"pong": 1}', "yes")
    assert server.seen[0].target == "/base/api/x%20y?run_ids=a&run_ids=b+%26+c"
    assert server.seen[0].headers["host"] == f"127.0.0.1:{server.port}"


def test_connections_are_reused(server: ScriptedServer, send: HttpSend) -> None:
    for _ in range(5):
        assert send(SAVE).status == 200
    assert server.connections == 1


def test_a_connection_that_the_server_closed_while_idle_is_replaced(server: ScriptedServer, send: HttpSend) -> None:
    server.close_idle = True
    for _ in range(3):
        assert send(SAVE).status == 200
    assert [seen.connection for seen in server.seen] == [1, 2, 3]


def test_a_forked_child_opens_its_own_connections(server: ScriptedServer, send: HttpSend) -> None:
    send(PING)
    parents = list(send._idle)
    send._pid = -1
    send(PING)
    assert server.connections == 2
    assert parents[0].sock is not None, "the parent's connection stays open"
    parents[0].close()


def test_bodies_carry_their_length_or_come_in_chunks(server: ScriptedServer, send: HttpSend, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"from a file")
    file = FileBody(tmp_path / "file")
    send(Request("PUT", "/a", body=b"bytes"))
    send(Request("PUT", "/b", body=iter([b"in ", b"chunks"])))
    send(Request("PUT", "/c", headers={"Content-Length": str(file.size)}, body=file))
    send(Request("POST", "/d"))
    send(Request("PUT", "/e", body=b""))
    assert [seen.body for seen in server.seen] == [b"bytes", b"in chunks", b"from a file", b"", b""]
    assert [seen.headers.get("content-length") for seen in server.seen] == ["5", None, "11", "0", "0"]
    assert server.seen[1].headers["transfer-encoding"] == "chunked"


def test_a_streamed_answer_comes_in_pieces_and_frees_its_connection_at_the_end(
    server: ScriptedServer, send: HttpSend
) -> None:
    server.play(answer(200, b"x" * 1_000_000))
    response = send(Request("GET", "/big", stream=True))
    pieces = list(response)
    assert len(pieces) > 1
    assert sum(map(len, pieces)) == 1_000_000
    send(PING)
    assert server.connections == 1


def test_an_answer_that_nobody_reads_gives_its_connection_up(server: ScriptedServer, send: HttpSend) -> None:
    server.play(answer(200, b"x" * 5_000_000))
    send(Request("GET", "/big", stream=True)).close()
    assert send(PING).read() == b"{}"
    assert server.connections == 2


def test_an_answer_before_the_whole_body_was_sent_is_heard(server: ScriptedServer, send: HttpSend) -> None:
    server.answer_early = True
    server.play(answer(413, b"too large", Connection="close"))
    response = send(Request("PUT", "/big", body=iter([b"x" * (1 << 20)] * 64)))
    assert (response.status, response.read()) == (413, b"too large")


def test_packed_answers_are_unpacked_piece_by_piece(server: ScriptedServer, send: HttpSend) -> None:
    body = b"all the same " * 1_000_000
    server.otherwise = answer(200, gzip.compress(body), Content_Encoding="gzip")
    assert send(PING).read() == body
    pieces = list(send(Request("GET", "/big", stream=True)))
    assert max(map(len, pieces)) <= 1 << 18
    assert b"".join(pieces) == body
    assert server.connections == 1


@pytest.mark.parametrize("packed", [gzip.compress(b"x" * 100)[:-12], b"no gzip at all"], ids=["cut off", "no gzip"])
def test_a_packed_answer_that_is_damaged_is_an_error(server: ScriptedServer, send: HttpSend, packed: bytes) -> None:
    server.play(answer(200, packed, Content_Encoding="gzip"))
    with pytest.raises(ServerUnreachable, match=r"packed answer broke off|not valid gzip"):
        send(PING)


# --- no answer -------------------------------------------------------------------------------------------------------


def test_nobody_listens() -> None:
    with ScriptedServer() as gone:
        uri = gone.uri
    with pytest.raises(ServerUnreachable, match=r"connection refused; is the server running") as caught:
        HttpSend(uri)(PING)
    assert caught.value.details["maybe_done"] is False
    assert uri in caught.value.message


def test_a_name_that_cannot_be_resolved_is_not_tried_again() -> None:
    tries: list[Request] = []

    def counted(request: Request) -> Response:
        tries.append(request)
        return HttpSend("http://no-such-host.invalid")(request)

    with pytest.raises(ServerUnreachable, match=r"'no-such-host\.invalid' cannot be resolved"):
        retrying(counted, RetryPolicy(), sleep=pytest.fail)(PING)
    assert len(tries) == 1


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (hang_up, "hung up without an answer"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"), r"broke off after 9 of 100 bytes"),
        (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nonly"), r"broke off"),
        (raw(b"\x00\x01 no http\r\n\r\n"), "no http"),
        (after(0.4, answer()), "no answer in time"),
    ],
)
def test_half_an_answer_is_none(server: ScriptedServer, script: object, message: str) -> None:
    send = HttpSend(server.uri, timeout=0.15)
    server.play(script)  # type: ignore[arg-type]
    with pytest.raises(ServerUnreachable, match=message) as caught:
        send(PING)
    assert caught.value.details["maybe_done"] is True
    send.close()


def test_a_streamed_answer_that_breaks_off_is_an_error(server: ScriptedServer, send: HttpSend) -> None:
    server.play(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"))
    response = send(Request("GET", "/big", stream=True))
    with pytest.raises(ServerUnreachable, match="broke off after 9 of 100 bytes"):
        list(response)


# --- patience --------------------------------------------------------------------------------------------------------


class Patient:
    def __init__(self, send: HttpSend, retries: int = 4) -> None:
        self.waits: list[float] = []
        self.send = retrying(send, RetryPolicy(retries=retries), sleep=self.waits.append)


@pytest.fixture
def patient(send: HttpSend) -> Patient:
    return Patient(send)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_overload_and_server_errors_pass(server: ScriptedServer, patient: Patient, status: int) -> None:
    server.play(answer(status), answer(status), answer(200, b"at last"))
    assert patient.send(SAVE).read() == b"at last"
    assert len(server.seen) == 3
    assert 0.1 <= patient.waits[0] <= 0.25 <= patient.waits[1] <= 0.5, "waits double, with jitter"


def test_lost_connections_pass(server: ScriptedServer, patient: Patient) -> None:
    server.play(hang_up, raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), answer(200, b"at last"))
    response = patient.send(SAVE)
    assert response.read() == b"at last"
    assert response.repeated, "the first tries may have been heard"


def test_patience_ends(server: ScriptedServer, patient: Patient) -> None:
    server.otherwise = answer(503, b"still away")
    assert patient.send(SAVE).read() == b"still away"
    assert len(server.seen) == 5
    server.otherwise = hang_up
    with pytest.raises(ServerUnreachable):
        patient.send(SAVE)
    assert len(server.seen) == 5 + 5 + 1, "an idle connection that turns out closed does not count as a try"


@pytest.mark.parametrize("status", [200, 400, 401, 404, 409, 501])
def test_other_answers_are_final(server: ScriptedServer, patient: Patient, status: int) -> None:
    server.play(answer(status))
    response = patient.send(SAVE)
    assert response.status == status
    assert not response.repeated
    assert len(server.seen) == 1


def test_an_error_that_stays_is_not_asked_about_again(server: ScriptedServer, patient: Patient) -> None:
    server.play(error(500, "INVALID_STATE"))
    assert patient.send(SAVE).status == 500
    assert len(server.seen) == 1


def test_what_must_not_happen_twice_is_sent_again_only_when_it_surely_did_not_happen(
    server: ScriptedServer, patient: Patient
) -> None:
    server.play(answer(429), answer(200))
    assert patient.send(COUNT_UP).status == 200
    server.play(answer(503))
    assert patient.send(COUNT_UP).status == 503
    server.play(hang_up)
    with pytest.raises(ServerUnreachable):
        patient.send(COUNT_UP)
    assert len(server.seen) == 4


def test_chunks_that_can_be_read_once_are_sent_once(server: ScriptedServer, patient: Patient) -> None:
    server.play(answer(503))
    assert patient.send(Request("PUT", "/x", body=iter([b"once"]))).status == 503
    server.play(answer(503))
    assert patient.send(Request("PUT", "/x", body=[b"again ", b"and again"])).status == 200
    assert [seen.body for seen in server.seen] == [b"once", b"again and again", b"again and again"]


def test_the_server_may_say_when_to_come_back(server: ScriptedServer, patient: Patient) -> None:
    server.play(answer(429, Retry_After="7"), answer(503, Retry_After="86400"), answer(503, Retry_After="soon"))
    assert patient.send(SAVE).status == 200
    assert patient.waits[:2] == [7.0, 60.0]
    assert patient.waits[2] <= 1.0


def test_mlflows_variable_sets_the_number_of_retries() -> None:
    assert load_retry_policy({"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}).retries == 2
    assert load_retry_policy({"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "many"}) == load_retry_policy({}) == RetryPolicy()


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (404, b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no run x"}', ResourceDoesNotExist, "no run x"),
        (404, b'{"error_code": "NOT_FOUND", "message": "no"}', ResourceDoesNotExist, "no"),
        (409, b'{"error_code": "ABORTED", "message": "m", "details": {"attempt": 2}}', StaleAttempt, "m"),
        (429, b'{"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "slow"}', TemporarilyUnavailable, "slow"),
        (404, b"<html>not found</html>", EndpointNotFound, "is it a tracking server"),
        (400, b"odd", BadRequest, "GET http://s/x: odd"),
        (401, b"", Unauthenticated, "MLFLOW_TRACKING_TOKEN"),
        (501, b"", NotImplementedByStore, "status 501"),
        (413, b"", InvalidParameterValue, "too large"),
        (418, b"teapot", TrackingError, "teapot"),
        (500, b"[1]", TrackingError, r"\[1\]"),
    ],
)
def test_answers_become_the_error_that_the_server_raised(
    status: int, body: bytes, kind: type[TrackingError], message: str
) -> None:
    raised = error_from(Response(status, {}, body), "GET http://s/x")
    assert isinstance(raised, kind)
    with pytest.raises(kind, match=message):
        raise raised


def test_details_of_an_error_come_along() -> None:
    body = b'{"error_code": "RESOURCE_CONFLICT", "message": "m", "details": {"winner": "7", "message": "x"}}'
    raised = error_from(Response(409, {}, body), "")
    assert (raised.message, raised.details) == ("m", {"winner": "7"})


def test_a_redirect_names_the_address_to_use() -> None:
    raised = error_from(Response(301, {"location": "https://s/"}, b""), "GET http://s/x")
    assert "points to https://s/; use that address as tracking URI" in raised.message


# --- who asks --------------------------------------------------------------------------------------------------------


def test_credentials_are_sent_with_every_request(server: ScriptedServer) -> None:
    for credentials, expected in [
        (Credentials("ann", "pässword"), "Basic YW5uOnDDpHNzd29yZA=="),
        (Credentials("ann", "x", token="t"), "Basic YW5uOng="),
        (Credentials(token="t"), "Bearer t"),
        (Credentials(), None),
    ]:
        send = HttpSend(server.uri, credentials=credentials)
        send(PING)
        send.close()
        assert server.seen[-1].headers.get("authorization") == expected


def test_credentials_in_the_uri_win_and_are_not_shown(server: ScriptedServer) -> None:
    send = HttpSend(f"http://ann:p%40ss@127.0.0.1:{server.port}", credentials=Credentials(token="t"))
    send(PING)
    send.close()
    assert server.seen[0].headers["authorization"] == "Basic YW5uOnBAc3M="
    assert send.uri == server.uri


def test_credentials_come_from_mlflows_variables_and_file(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    assert load_credentials(home) == Credentials()
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow/credentials").write_text(
        "[mlflow]\nmlflow_tracking_username = fred\nmlflow_tracking_password = 100%\n"
    )
    assert load_credentials(home) == Credentials("fred", "100%")
    assert load_credentials({**home, "MLFLOW_TRACKING_TOKEN": "t"}) == Credentials(token="t")
    by_name = {"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": "p", "MLFLOW_TRACKING_TOKEN": "t"}
    assert load_credentials({**home, **by_name}).header() == "Basic YW5uOnA="


def test_credentials_do_not_show_themselves() -> None:
    assert "secret" not in repr(Credentials("ann", "secret")) + repr(Credentials(token="secret"))


@pytest.mark.parametrize("uri", ["ftp://host", "http://", "http://host:port", "host:5000"])
def test_what_is_no_server_is_refused(uri: str) -> None:
    with pytest.raises(InvalidParameterValue, match="tracking URI"):
        HttpSend(uri)


# --- TLS and proxies -------------------------------------------------------------------------------------------------


@pytest.fixture
def tls_server(certificate: Path) -> Iterator[ScriptedServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with ScriptedServer(tls=context) as running:
        yield running


def test_a_certificate_must_be_trusted(tls_server: ScriptedServer) -> None:
    with pytest.raises(ServerUnreachable, match=r"not trusted.*MLFLOW_TRACKING_SERVER_CERT_PATH") as caught:
        HttpSend(tls_server.uri, tls=TlsOptions())(PING)
    assert caught.value.details["permanent"] is True


def test_a_ca_file_is_trusted_and_trust_can_be_waived(tls_server: ScriptedServer, certificate: Path) -> None:
    for tls in (TlsOptions(ca_path=str(certificate)), TlsOptions(verify=False)):
        send = HttpSend(tls_server.uri, tls=tls)
        assert send(PING).status == 200
        send.close()


def test_a_client_certificate_is_shown(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.load_verify_locations(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    with ScriptedServer(tls=context) as server:
        with_client = HttpSend(server.uri, tls=TlsOptions(ca_path=str(certificate), client_cert=str(certificate)))
        assert with_client(PING).status == 200
        with_client.close()
        with pytest.raises(ServerUnreachable):
            HttpSend(server.uri, tls=TlsOptions(ca_path=str(certificate)))(PING)


def test_a_missing_certificate_file_is_named() -> None:
    with pytest.raises(InvalidParameterValue, match=r"/no/such\.pem"):
        HttpSend("https://127.0.0.1:1", tls=TlsOptions(ca_path="/no/such.pem"))(PING)


def test_https_to_a_plain_server_is_explained(server: ScriptedServer) -> None:
    with pytest.raises(ServerUnreachable, match=r"no TLS connection .*is it an http:// server"):
        HttpSend(f"https://127.0.0.1:{server.port}", tls=TlsOptions(), timeout=2)(PING)


def test_tls_options_come_from_mlflows_variables() -> None:
    assert load_tls_options({}) == TlsOptions()
    env = {
        "MLFLOW_TRACKING_INSECURE_TLS": "true",
        "MLFLOW_TRACKING_SERVER_CERT_PATH": "/ca.pem",
        "MLFLOW_TRACKING_CLIENT_CERT_PATH": "/me.pem",
    }
    assert load_tls_options(env) == TlsOptions(verify=False, ca_path="/ca.pem", client_cert="/me.pem")


def test_a_proxy_is_asked_for_hosts_elsewhere(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://ann:pw@127.0.0.1:{server.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    send = HttpSend("http://tracking.example:5000/mlflow", credentials=Credentials())
    assert send(PING).status == 200
    send.close()
    assert server.seen[0].target == "http://tracking.example:5000/mlflow/ping"
    assert server.seen[0].headers["proxy-authorization"] == "Basic YW5uOnB3"
    assert server.seen[0].headers["accept-encoding"] == "gzip", "what leaves the machine may come packed"


def test_a_proxy_tunnels_tls(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{server.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    server.play(answer(502, b"", Connection="close"))
    with pytest.raises(ServerUnreachable):
        HttpSend("https://tracking.example", tls=TlsOptions(verify=False))(PING)
    assert (server.seen[0].method, server.seen[0].target) == ("CONNECT", "tracking.example:443")


def test_no_proxy_is_respected_and_loopback_needs_none(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    send = HttpSend(server.uri)
    assert send(PING).status == 200
    send.close()
    monkeypatch.setenv("no_proxy", "tracking.invalid")
    with pytest.raises(ServerUnreachable, match="cannot be resolved"):
        HttpSend("http://tracking.invalid")(PING)
