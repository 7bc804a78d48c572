"""How a server behaves; everything that `mlgate server` or the embedded server can be told."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Settings of one server.

    Attributes:
        artifacts_destination: where proxied artifacts lie: a directory or `s3://`, `gs://`, `abfss://`, `wasbs://`.
        serve_artifacts: False turns the artifact proxy off; clients then need credentials of their own.
        artifacts_only: serve artifacts and nothing else, beside a server that keeps the runs.
        local_roots: directories besides the destination from which artifacts of runs may be read by their paths;
            without this limit an experiment whose location is `/etc` would read everybody's files.
        static_prefix: path in front of every route (`/mlgate`), for a server behind a reverse proxy.
        access_token: what callers must send, as a bearer token or as the password of basic authentication; None
            leaves the server open. It counts for nothing once there are users.
        require_auth: refuse everybody but users and steps, even before there is a user (holders of the access token
            excepted, who may add the first).
        step_tokens_only: refuse every caller without a step token (the embedded server).
        token_secret: key of the step tokens; servers that share a database must share it.
        token_lifetime: seconds a step token is good for.
        allowed_hosts: names that a `Host` header may carry besides loopback and private addresses; `*` allows all.
        allowed_origins: origins that browsers may write from, besides loopback.
        max_body_bytes: longest JSON body taken; artifacts are streamed and have no such limit.
        threads: how many requests may be in the store at once.
        gzip: compress long JSON and text for clients that accept it.
        access_log: one structured line per request.
        webhook_schemes, webhook_private_addresses: where webhooks may go.
        smtp_url: mail server for webhooks to `mailto:`, `smtp://[user:password@]host[:port]?from=address`.
        measurements_directory: where the workers of one server share what `/metrics` shows; the supervisor makes it.
        tend_outbox: look at the outbox from the start, not only once this server has put something there.
    """

    artifacts_destination: str = ""
    serve_artifacts: bool = True
    artifacts_only: bool = False
    local_roots: tuple[str, ...] = ()
    static_prefix: str = ""
    access_token: str | None = field(default=None, repr=False)
    require_auth: bool = False
    step_tokens_only: bool = False
    token_secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    token_lifetime: float = 7 * 24 * 3600.0
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    max_body_bytes: int = 64 * MEBIBYTE
    threads: int = 32
    gzip: bool = False
    access_log: bool = False
    webhook_schemes: tuple[str, ...] = ("https",)
    webhook_private_addresses: bool = False
    smtp_url: str | None = field(default=None, repr=False)
    measurements_directory: str | None = None
    tend_outbox: bool = False


__all__ = ["MEBIBYTE", "ServerSettings"]
