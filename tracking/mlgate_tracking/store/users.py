"""Users in the database: names, digests of tokens, and who may change them."""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection

from mlgate_tracking.errors import (
    BadRequest,
    InvalidParameterValue,
    ResourceAlreadyExists,
    ResourceDoesNotExist,
)
from mlgate_tracking.store import audit
from mlgate_tracking.store.governance import GovernancePart
from mlgate_tracking.store.transaction import Row, Transaction
from mlgate_tracking.store.values import now
from mlgate_tracking.users import ADMIN, PREFIX, Identity, IssuedToken, User, token_digest

# No colon, which ends the name in basic authentication; nothing that a shell or a log would trip over.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,249}")
_ROLE_LENGTH = 250
_COLUMNS = "user_id, token_digest, created_at, created_by, revoked_at"


class UserStore(GovernancePart):
    def whoami(self) -> Identity | None:
        self.require_unfenced("act for a user")
        return self.identity

    def has_users(self) -> bool:
        return self.read(lambda tx: tx.row("SELECT 1 FROM users LIMIT 1") is not None)

    def identity_of(self, token: str) -> Identity | None:
        digest = token_digest(token)

        def work(tx: Transaction) -> Identity | None:
            row = tx.row("SELECT user_id FROM users WHERE token_digest = :digest", {"digest": digest})
            return None if row is None else Identity(row[0], frozenset(_roles(tx, row[0])))

        return self.read(work)

    def list_users(self) -> tuple[User, ...]:
        self.require_unfenced("see users")

        def work(tx: Transaction) -> tuple[User, ...]:
            roles: dict[str, list[str]] = {}
            for name, role in tx.rows("SELECT user_id, role_name FROM role_members ORDER BY user_id, role_name"):
                roles.setdefault(name, []).append(role)
            rows = tx.rows(f"SELECT {_COLUMNS} FROM users ORDER BY user_id")
            return tuple(_user(row, roles.get(row[0], ())) for row in rows)

        return self.read(work)

    def add_user(self, name: str, roles: Collection[str] = (), *, user: str = "") -> IssuedToken:
        self.require_admin("add users")
        if not _NAME.fullmatch(name):
            raise InvalidParameterValue(
                f"user {name[:80]!r}: use 1 to 250 letters, digits and . _ @ + -, beginning with a letter or digit"
            )
        for role in roles:
            check_role(role)
        token, at, actor = _new_token(), now(), self.acting(user)

        def work(tx: Transaction) -> IssuedToken:
            known = _row(tx, name)
            if known is not None:
                state = "was revoked" if known[4] is not None else "exists already"
                raise ResourceAlreadyExists(
                    f"user {name!r} {state}; give a new token with `mlgate users rotate {name}`"
                )
            if ADMIN not in roles and tx.row("SELECT 1 FROM users LIMIT 1") is None:
                raise InvalidParameterValue(
                    f"{name!r} would be the first user, and nobody could add another; add an admin first, "
                    f"as in `mlgate users add {name} --role admin`"
                )
            row = {
                "user_id": name,
                "token_digest": token_digest(token),
                "created_at": at,
                "created_by": actor.user,
                "revoked_at": None,
            }
            tx.insert("users", row)
            tx.insert_missing(
                "role_members",
                [{"role_name": role, "user_id": name} for role in sorted(set(roles))],
                ["role_name", "user_id"],
            )
            made = User(name, _roles(tx, name), at, actor.user)
            audit.append(tx, at, actor, "user.added", "", {"name": name, "roles": list(made.roles)})
            return IssuedToken(made, token)

        return self.database.write(work)

    def rotate_token(self, name: str, *, user: str = "") -> IssuedToken:
        if self.identity is None or self.identity.user != name:
            self.require_admin("give others new tokens")
        token, at, actor = _new_token(), now(), self.acting(user)

        def work(tx: Transaction) -> IssuedToken:
            found = _found(tx, name)
            tx.change(
                "UPDATE users SET token_digest = :digest, revoked_at = NULL WHERE user_id = :name",
                {"digest": token_digest(token), "name": name},
            )
            audit.append(tx, at, actor, "user.token_rotated", "", {"name": name})
            return IssuedToken(User(name, _roles(tx, name), found[2], found[3]), token)

        return self.database.write(work)

    def revoke_user(self, name: str, *, user: str = "") -> User:
        self.require_admin("revoke users")
        at, actor = now(), self.acting(user)

        def work(tx: Transaction) -> User:
            found = _found(tx, name)
            if found[4] is not None:
                return _user(found, ())
            require_another_admin(tx, name)
            values = {"name": name, "at": at}
            tx.change("UPDATE users SET token_digest = NULL, revoked_at = :at WHERE user_id = :name", values)
            # An engine might still speak for them.
            tx.change("DELETE FROM role_members WHERE user_id = :name", {"name": name})
            audit.append(tx, at, actor, "user.revoked", "", {"name": name})
            return User(name, (), found[2], found[3], at)

        return self.database.write(work)


def check_role(role: str) -> None:
    if not role or len(role) > _ROLE_LENGTH:
        raise InvalidParameterValue(f"role {role[:80]!r} needs 1 to {_ROLE_LENGTH} characters")


def require_another_admin(tx: Transaction, name: str) -> None:
    """Refuse to take the role of the last admin away; where there are no users, there is nothing to lose.

    Raises:
        BadRequest: no other user with a token is an admin.
    """
    # Taken in turn, or two admins could revoke each other.
    admins = tx.rows(
        "SELECT u.user_id FROM users u JOIN role_members m ON m.user_id = u.user_id"
        f" WHERE m.role_name = :role AND u.revoked_at IS NULL{tx.dialect.for_update}",
        {"role": ADMIN},
    )
    if [row[0] for row in admins] == [name]:
        raise BadRequest(
            f"{name!r} is the last admin; make somebody else one first (mlgate approvals grant admin NAME)"
        )


def _new_token() -> str:
    return f"{PREFIX}.{secrets.token_urlsafe(32)}"


def _row(tx: Transaction, name: str) -> Row | None:
    return tx.row(f"SELECT {_COLUMNS} FROM users WHERE user_id = :name", {"name": name})


def _found(tx: Transaction, name: str) -> Row:
    row = _row(tx, name)
    if row is None:
        raise ResourceDoesNotExist(f"no user {name!r}; see mlgate users list")
    return row


def _roles(tx: Transaction, name: str) -> tuple[str, ...]:
    rows = tx.rows("SELECT role_name FROM role_members WHERE user_id = :name ORDER BY role_name", {"name": name})
    return tuple(row[0] for row in rows)


def _user(row: Row, roles: Collection[str]) -> User:
    name, _, created_at, created_by, revoked_at = row
    return User(name, tuple(roles), created_at, created_by, revoked_at)


__all__ = ["UserStore", "check_role", "require_another_admin"]
