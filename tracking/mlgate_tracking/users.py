"""Who is who on a shared server: users, their tokens, and in whose name a caller acts.

A token is shown once and kept as a digest. Two roles mean something to the server itself: an `admin` adds users, gives
roles, protects models and keeps the webhooks; an `engine` is a service (Airflow, Prefect) that answers and promotes for
people whom it knows itself. Every other role is a name that approval gates ask for.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

ADMIN = "admin"
ENGINE = "engine"

PREFIX = "mlgate-user"
"""What every user's token begins with, so that people and scanners know one when they see it."""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who has, or had, a token.

    Attributes:
        created_at, revoked_at: milliseconds since the epoch; `revoked_at` is None for a user whose token counts.
    """

    name: str
    roles: tuple[str, ...] = ()
    created_at: int = 0
    created_by: str = ""
    revoked_at: int | None = None


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A user's new token; nobody can read it again."""

    user: User
    token: str = field(repr=False)


class Actor(NamedTuple):
    """Who did something, and which service said so for them (empty: they said it themselves)."""

    user: str
    through: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller whom the server knows by a token."""

    user: str
    roles: frozenset[str] = frozenset()

    @property
    def is_admin(self) -> bool:
        return ADMIN in self.roles

    def acting(self, claimed: str) -> Actor:
        """In whose name the caller acts, whatever name came with the request: only an engine may speak for others."""
        if ENGINE in self.roles and claimed and claimed != self.user:
            return Actor(claimed, self.user)
        return Actor(self.user)


def is_user_token(credential: str) -> bool:
    return credential.startswith(PREFIX + ".")


def token_digest(token: str) -> str:
    """What is stored of a token. It is random and long, so a plain hash gives nothing away."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


class Users(ABC):
    """The part of the store's contract about users. None of it can be done with a step's token (`PermissionDenied`)."""

    @abstractmethod
    def whoami(self) -> Identity | None:
        """Whom the store takes its caller for; None where anybody is welcome and names are believed."""

    @abstractmethod
    def add_user(self, name: str, roles: Collection[str] = (), *, user: str = "") -> IssuedToken:
        """Add a user with a token and roles; `user` is who adds.

        Raises:
            InvalidParameterValue: a name that cannot be one, or the first user is no admin.
            ResourceAlreadyExists: there is, or was, a user of that name.
        """

    @abstractmethod
    def rotate_token(self, name: str, *, user: str = "") -> IssuedToken:
        """Give a user a new token, whose old one is worthless at once; a revoked user comes back, without roles."""

    @abstractmethod
    def revoke_user(self, name: str, *, user: str = "") -> User:
        """Take a user's token and roles away. Repeatable; what they did stays theirs.

        Raises:
            BadRequest: nobody would be left who is an admin.
        """

    @abstractmethod
    def list_users(self) -> Sequence[User]:
        """All users by name, revoked ones too."""


__all__ = [
    "ADMIN",
    "ENGINE",
    "PREFIX",
    "Actor",
    "Identity",
    "IssuedToken",
    "User",
    "Users",
    "is_user_token",
    "token_digest",
]
