"""Errors of the tracking package.

TrackingError
├── InvalidParameterValue      400 INVALID_PARAMETER_VALUE     bad field, filter, name or limit
├── ResourceAlreadyExists      400 RESOURCE_ALREADY_EXISTS     experiment or model name is taken
├── BadRequest                 400 BAD_REQUEST                 well-formed, but cannot be done
├── Unauthenticated            401 UNAUTHENTICATED             no credentials, or wrong ones
├── PermissionDenied           403 PERMISSION_DENIED           a token or role that may not do this
├── ResourceDoesNotExist       404 RESOURCE_DOES_NOT_EXIST     no such experiment, run, model, file
├── EndpointNotFound           404 ENDPOINT_NOT_FOUND          the server does not know this route
├── Conflict                   409 RESOURCE_CONFLICT           a compare-and-swap lost; names the winner
│   └── StaleAttempt           409 ABORTED                     a newer attempt of the step has taken over
├── InvalidState               500 INVALID_STATE               entity is in the wrong life-cycle stage
├── InternalError              500 INTERNAL_ERROR              a defect or an unexpected failure of the server
├── NotImplementedByStore      501 NOT_IMPLEMENTED             the artifact storage cannot do this
│   └── MissingExtra           501 NOT_IMPLEMENTED             a library that comes with an extra is not installed
└── TemporarilyUnavailable     503 TEMPORARILY_UNAVAILABLE     database or server away; worth a retry
    └── ServerUnreachable      none                               the client got no answer at all

Each class carries the `error_code` and HTTP `status` that MLflow clients branch on, so the server turns any of
them into one JSON shape and the client turns that shape back into the same class.
"""

from __future__ import annotations

from typing import Any, ClassVar


class TrackingError(Exception):
    """Root of all errors that this package raises on purpose.

    Attributes:
        message: one line naming the thing, the value, and what would work.
        details: machine-readable data (for example the winner of a conflict); travels in the JSON body.
    """

    error_code: ClassVar[str] = "INTERNAL_ERROR"
    status: ClassVar[int] = 500

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    @property
    def exit_code(self) -> int:
        """What the command line ends with: 2 when the caller asked for something impossible, else 1."""
        return 2 if 400 <= self.status < 500 and self.status != 409 else 1


class InvalidParameterValue(TrackingError):
    error_code = "INVALID_PARAMETER_VALUE"
    status = 400


class ResourceAlreadyExists(TrackingError):
    error_code = "RESOURCE_ALREADY_EXISTS"
    status = 400


class BadRequest(TrackingError):
    error_code = "BAD_REQUEST"
    status = 400


class Unauthenticated(TrackingError):
    error_code = "UNAUTHENTICATED"
    status = 401


class PermissionDenied(TrackingError):
    error_code = "PERMISSION_DENIED"
    status = 403


class ResourceDoesNotExist(TrackingError):
    error_code = "RESOURCE_DOES_NOT_EXIST"
    status = 404


class EndpointNotFound(TrackingError):
    error_code = "ENDPOINT_NOT_FOUND"
    status = 404


class Conflict(TrackingError):
    error_code = "RESOURCE_CONFLICT"
    status = 409


class StaleAttempt(Conflict):
    error_code = "ABORTED"


class InvalidState(TrackingError):
    error_code = "INVALID_STATE"
    status = 500


class InternalError(TrackingError):
    error_code = "INTERNAL_ERROR"
    status = 500


class NotImplementedByStore(TrackingError):
    error_code = "NOT_IMPLEMENTED"
    status = 501


class MissingExtra(NotImplementedByStore):
    """Names the extra to install, as in `install mlgate[s3]`."""


class TemporarilyUnavailable(TrackingError):
    error_code = "TEMPORARILY_UNAVAILABLE"
    status = 503


class ServerUnreachable(TemporarilyUnavailable):
    """The client could not reach the server; nothing is known about the request's fate."""


def _subclasses(cls: type[TrackingError]) -> list[type[TrackingError]]:
    found = [cls]
    for sub in cls.__subclasses__():
        found += _subclasses(sub)
    return found


def error_for(error_code: str, message: str, details: dict[str, Any] | None = None) -> TrackingError:
    """The error that a wire answer stands for; an unknown code becomes `InternalError`."""
    for cls in _subclasses(TrackingError):
        if cls is not TrackingError and cls.__dict__.get("error_code") == error_code:
            return cls(message, **(details or {}))
    return InternalError(message, **(details or {}))


__all__ = [
    "BadRequest",
    "Conflict",
    "EndpointNotFound",
    "InternalError",
    "InvalidParameterValue",
    "InvalidState",
    "MissingExtra",
    "NotImplementedByStore",
    "PermissionDenied",
    "ResourceAlreadyExists",
    "ResourceDoesNotExist",
    "ServerUnreachable",
    "StaleAttempt",
    "TemporarilyUnavailable",
    "TrackingError",
    "Unauthenticated",
    "error_for",
]
