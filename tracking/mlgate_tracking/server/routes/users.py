"""Users of this server and their tokens, which are shown once."""

from __future__ import annotations

from mlgate_tracking.governance import encode
from mlgate_tracking.server.decode import Request, Text
from mlgate_tracking.server.endpoints import Call, endpoint
from mlgate_tracking.users import IssuedToken
from mlgate_tracking.wire import Json


class NoFields(Request, frozen=True):
    pass


class AddUser(Request, frozen=True):
    name: Text
    roles: tuple[Text, ...] = ()
    user: str = ""


class UserName(Request, frozen=True):
    name: Text
    user: str = ""


def whoami(call: Call, _request: NoFields) -> Json:
    """Whom the server takes the caller for; nothing where anybody is welcome."""
    identity = call.store.whoami()
    return {} if identity is None else {"identity": {"user": identity.user, "roles": sorted(identity.roles)}}


def list_users(call: Call, _request: NoFields) -> Json:
    """All users with their roles, revoked ones too; never a token."""
    return {"users": encode(call.store.list_users())}


def add_user(call: Call, request: AddUser) -> Json:
    """Add a user and show their token, this once."""
    issued = call.store.add_user(request.name, request.roles, user=request.user)
    call.server.callers.forget()
    return _issued(issued)


def rotate_token(call: Call, request: UserName) -> Json:
    """Give a user a new token and show it, this once; the old one is worthless."""
    issued = call.store.rotate_token(request.name, user=request.user)
    call.server.callers.forget()
    return _issued(issued)


def revoke_user(call: Call, request: UserName) -> Json:
    """Take a user's token and roles away."""
    revoked = call.store.revoke_user(request.name, user=request.user)
    call.server.callers.forget()
    return {"user": encode(revoked)}


def _issued(issued: IssuedToken) -> Json:
    return {"user": encode(issued.user), "token": issued.token}


_BASE = "3.0/mlgate/users/"
_ISSUED = {"user": "User", "token": "string"}

ENDPOINTS = (
    endpoint("GET", _BASE + "me", NoFields, whoami, identity="Identity"),
    endpoint("GET", _BASE + "list", NoFields, list_users, users="[User]"),
    endpoint("POST", _BASE + "add", AddUser, add_user, **_ISSUED),
    endpoint("POST", _BASE + "rotate", UserName, rotate_token, **_ISSUED),
    endpoint("POST", _BASE + "revoke", UserName, revoke_user, user="User"),
)

__all__ = ["ENDPOINTS"]
