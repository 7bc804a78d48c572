"""Who calls, and which proxied artifacts a step may write.

Four kinds of callers: anybody (an open server), holders of the server's access token, users, whose token says who they
are, and steps, whose token confines them to what `Store.fenced` allows. A server that knows users takes users and steps
only.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from mlgate_tracking.contract import ServerStore
from mlgate_tracking.entities import Fence
from mlgate_tracking.errors import PermissionDenied, ResourceDoesNotExist, Unauthenticated
from mlgate_tracking.server.settings import ServerSettings
from mlgate_tracking.server.tokens import StepTokens, is_step_token
from mlgate_tracking.users import Identity, is_user_token

if TYPE_CHECKING:
    from mlgate_tracking.server.endpoints import Call

OPEN_PATHS = frozenset({"/health", "/api/3.0/mlflow/server-info", "/ajax-api/3.0/mlflow/server-info"})
"""Answered without credentials, as load balancers and clients' probes send none."""

TRACE_LOCATION_TAG = "mlflow.artifactLocation"


TRUST_SECONDS = 2.0
"""How long a look into the database counts: a token that was revoked elsewhere may still be good for so long."""
_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sent a request; neither a step nor a known user may do everything and is believed every name."""

    fence: Fence | None = None
    identity: Identity | None = None


ANYBODY = Caller()


def credentials(authorization: str | None) -> tuple[str, str]:
    """Name and token of an `Authorization` header: a bearer token, or name and password of basic authentication."""
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() == "bearer":
        return "", value.strip()
    if scheme.lower() == "basic":
        try:
            name, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        return name, password
    return "", ""


class Callers:
    """Tells who calls; asks the database at most once in `TRUST_SECONDS` about the same caller.

    Args:
        clock: seconds that only go forward; tests replace it.
    """

    def __init__(
        self,
        store: ServerStore,
        settings: ServerSettings,
        tokens: StepTokens,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._settings = settings
        self._tokens = tokens
        self._clock = clock
        self._found: dict[str, tuple[Caller, float]] = {}
        self._nobody_until = 0.0
        """Until when this server need not look whether somebody was added."""
        self._has_users = False

    def known(self, authorization: str) -> Caller | None:
        """Who calls, as far as that can be told without the database; None: ask `find`.

        Raises:
            Unauthenticated: no credentials where some are needed, or wrong ones.
        """
        found = self._found.get(authorization)
        if found is not None and found[1] > self._clock():
            return found[0]
        _, sent = credentials(authorization)
        if is_step_token(sent):
            return Caller(fence=self._tokens.verify(sent))
        if self._settings.step_tokens_only:
            raise Unauthenticated("this server belongs to a running step; only that step's token is taken")
        if not self._has_users and self._nobody_until > self._clock():
            return self._stranger(sent)
        return None

    def find(self, authorization: str) -> Caller:
        """Who calls, looked up in the database.

        Raises:
            Unauthenticated: no credentials where some are needed, or wrong ones.
        """
        name, sent = credentials(authorization)
        if not self._has_users:
            self._has_users = self._store.has_users()
            if not self._has_users:
                self._nobody_until = self._clock() + TRUST_SECONDS
                return self._stranger(sent)
        caller = self._user(name, sent)
        if len(self._found) >= _REMEMBERED:
            self._found.clear()
        self._found[authorization] = (caller, self._clock() + TRUST_SECONDS)
        return caller

    def forget(self) -> None:
        """Look again: users, tokens or roles have changed."""
        self._found.clear()
        self._nobody_until = 0.0

    def _user(self, name: str, sent: str) -> Caller:
        if not sent:
            raise Unauthenticated(
                "this server knows its users: set MLFLOW_TRACKING_TOKEN to your token, or MLFLOW_TRACKING_USERNAME "
                "and MLFLOW_TRACKING_PASSWORD to your name and token"
            )
        identity = self._store.identity_of(sent) if is_user_token(sent) else None
        if identity is None:
            raise Unauthenticated(
                "the token is no user's of this server, or not any more; an admin makes a new one with "
                "`mlgate users rotate NAME`"
            )
        if name not in ("", identity.user):
            raise Unauthenticated(f"the token is not that of {name!r}; check MLFLOW_TRACKING_USERNAME")
        return Caller(identity=identity)

    def _stranger(self, sent: str) -> Caller:
        """A caller of a server that knows no users."""
        if self._settings.access_token is None:
            if self._settings.require_auth:
                raise Unauthenticated(
                    "this server takes users only and has none yet; on its database, the first is made with "
                    "`mlgate users add NAME --role admin`"
                )
            return ANYBODY
        if not sent:
            raise Unauthenticated("credentials needed: set MLFLOW_TRACKING_TOKEN to this server's access token")
        if not hmac.compare_digest(sent.encode(), self._settings.access_token.encode()):
            raise Unauthenticated("the access token is not this server's; check MLFLOW_TRACKING_TOKEN")
        return ANYBODY


def check_may_write(call: Call, path: str) -> None:
    """Let a step write (or delete) a proxied artifact only below what it may write to.

    Args:
        path: safe path below the artifacts destination, `<experiment>/<run>/artifacts/...` and the like.

    Raises:
        PermissionDenied: the path is nobody's, or another run's; also whatever a write to the run would raise.
    """
    if call.fence is None:
        return
    segments = path.split("/")
    owners = [owner for owner, name in pairwise(segments[:-1]) if name == "artifacts"]
    if not any(_owns(call, owner, path) for owner in owners):
        raise PermissionDenied(f"the token of run {call.fence.run_id} may not write artifact {path!r}")


def _owns(call: Call, owner: str, path: str) -> bool:
    """Whether `owner` is a run, logged model or trace that the step may write to, with `path` among its artifacts."""
    try:
        if owner.startswith("m-"):
            root = call.store.get_logged_model(owner).artifact_uri
        elif owner.startswith("tr-"):
            tags = {tag.key: tag.value for tag in call.store.get_trace_info(owner).tags}
            root = tags.get(TRACE_LOCATION_TAG, "")
        else:
            root = call.store.get_run(owner).info.artifact_uri
    except ResourceDoesNotExist:
        return False
    if not root or not f"mlflow-artifacts:/{path}".startswith(root.rstrip("/") + "/"):
        return False
    if owner.startswith("m-"):
        call.store.check_writable(model_id=owner)
    elif owner.startswith("tr-"):
        # Nobody owns a trace, so what is there already stays as it is.
        return call.server.proxied.stat(path) is None
    else:
        call.store.check_writable(run_id=owner)
    return True


__all__ = ["ANYBODY", "OPEN_PATHS", "TRUST_SECONDS", "Caller", "Callers", "check_may_write", "credentials"]
