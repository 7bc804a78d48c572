"""Who calls, and which proxied artifacts a step may write.

Three kinds of callers: anybody (an open server), holders of the server's access token, and steps, whose token confines
them to what `Store.fenced` allows.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from itertools import pairwise

from mlgate_tracking.entities import Fence
from mlgate_tracking.errors import PermissionDenied, ResourceDoesNotExist, Unauthenticated
from mlgate_tracking.server.endpoints import Call
from mlgate_tracking.server.settings import ServerSettings
from mlgate_tracking.server.tokens import StepTokens, is_step_token

OPEN_PATHS = frozenset({"/health", "/api/3.0/mlflow/server-info", "/ajax-api/3.0/mlflow/server-info"})
"""Answered without credentials, as load balancers and clients' probes send none."""

TRACE_LOCATION_TAG = "mlflow.artifactLocation"


def credential(authorization: str | None) -> str:
    """The token of an `Authorization` header: a bearer token, or the password of basic authentication."""
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""


def authenticate(settings: ServerSettings, tokens: StepTokens, authorization: str | None) -> Fence | None:
    """The fence of a step's token, or None for a caller that may do everything.

    Raises:
        Unauthenticated: no credentials where some are needed, or wrong ones.
    """
    sent = credential(authorization)
    if is_step_token(sent):
        return tokens.verify(sent)
    if settings.step_tokens_only:
        raise Unauthenticated("this server belongs to a running step; only that step's token is taken")
    if settings.access_token is None:
        return None
    if not sent:
        raise Unauthenticated("credentials needed: set MLFLOW_TRACKING_TOKEN to this server's access token")
    if not hmac.compare_digest(sent.encode(), settings.access_token.encode()):
        raise Unauthenticated("the access token is not this server's; check MLFLOW_TRACKING_TOKEN")
    return None


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


__all__ = ["OPEN_PATHS", "authenticate", "check_may_write", "credential"]
