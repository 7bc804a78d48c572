"""`Users` over a tracking server's REST API: a part of `RestStore`."""

from __future__ import annotations

from collections.abc import Collection

from mlgate_tracking.governance import decode
from mlgate_tracking.rest_calls import MLGATE, RestCalls
from mlgate_tracking.users import Identity, IssuedToken, User, Users
from mlgate_tracking.wire import Json

_BASE = MLGATE + "users/"


class RestUsers(RestCalls, Users):
    """What makes a token is not repeated after a lost answer."""

    def whoami(self) -> Identity | None:
        found = self._get(_BASE + "me").get("identity")
        return None if found is None else decode(Identity, found)

    def add_user(self, name: str, roles: Collection[str] = (), *, user: str = "") -> IssuedToken:
        body = {"name": name, "roles": sorted(roles), "user": user}
        return _issued(self._write("POST", _BASE + "add", body, repeatable=False))

    def rotate_token(self, name: str, *, user: str = "") -> IssuedToken:
        return _issued(self._write("POST", _BASE + "rotate", {"name": name, "user": user}, repeatable=False))

    def revoke_user(self, name: str, *, user: str = "") -> User:
        return decode(User, self._write("POST", _BASE + "revoke", {"name": name, "user": user})["user"])

    def list_users(self) -> tuple[User, ...]:
        return decode(tuple[User, ...], self._get(_BASE + "list").get("users") or [])


def _issued(answer: Json) -> IssuedToken:
    return IssuedToken(decode(User, answer["user"]), str(answer["token"]))


__all__ = ["RestUsers"]
