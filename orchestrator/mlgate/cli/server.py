"""`mlgate server`: the tracking server, with the options that MLflow's users know."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlgate.cli.destination import destination_option
from mlgate.errors import UsageError
from mlgate.settings import load_settings

if TYPE_CHECKING:
    from mlgate_tracking.server.serve import ServeOptions
    from mlgate_tracking.server.settings import ServerSettings

PROXIED = "mlflow-artifacts:/"
SECRET_BYTES = 32


def _either(name: str) -> list[str]:
    """The variables an option is read from: ours, then MLflow's."""
    return [f"MLGATE_{name}", f"MLFLOW_{name}"]


@click.command()
@click.option(
    "--backend-store-uri",
    envvar=_either("BACKEND_STORE_URI"),
    metavar="URI",
    help="Database: sqlite:///file.db, postgresql://..., mysql://...  [default: the home's mlgate.db]",
)
@click.option("--registry-store-uri", envvar="MLFLOW_REGISTRY_STORE_URI", metavar="URI", hidden=True)
@click.option(
    "--default-artifact-root",
    envvar=_either("DEFAULT_ARTIFACT_ROOT"),
    metavar="URI",
    help="Artifact location of new experiments.  [default: served by this server]",
)
@click.option(
    "--serve-artifacts/--no-serve-artifacts",
    envvar=_either("SERVE_ARTIFACTS"),
    default=True,
    help="Move artifacts through this server, so that clients need no storage credentials.  [default: on]",
)
@click.option(
    "--artifacts-only", envvar=_either("ARTIFACTS_ONLY"), is_flag=True, help="Serve artifacts and nothing else."
)
@destination_option
@click.option(
    "-h",
    "--host",
    envvar=_either("HOST"),
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; 0.0.0.0 for every interface.",
)
@click.option(
    "-p",
    "--port",
    envvar=_either("PORT"),
    type=click.IntRange(0, 65535),
    default=5000,
    show_default=True,
    help="Port to listen on; 0 takes a free one.",
)
@click.option(
    "-w",
    "--workers",
    envvar=_either("WORKERS"),
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Processes. One is fastest on SQLite; use more with PostgreSQL or MySQL.",
)
@click.option(
    "--static-prefix",
    envvar=_either("STATIC_PREFIX"),
    default="",
    metavar="PATH",
    help="Path in front of every route, for a reverse proxy.",
)
@click.option("--ssl-certfile", type=click.Path(), help="TLS certificate (PEM).")
@click.option("--ssl-keyfile", type=click.Path(), help="TLS key (PEM).")
@click.option("--ssl-keyfile-password", envvar="MLGATE_SSL_KEYFILE_PASSWORD", help="Password of the TLS key.")
@click.option(
    "--allowed-hosts",
    envvar="MLFLOW_SERVER_ALLOWED_HOSTS",
    default="",
    metavar="NAMES",
    help="Host names, separated by commas, besides loopback and private addresses; * for any.",
)
@click.option(
    "--cors-allowed-origins",
    envvar="MLFLOW_SERVER_CORS_ALLOWED_ORIGINS",
    default="",
    metavar="ORIGINS",
    help="Origins that pages in browsers may write from, separated by commas; * for any.",
)
@click.option(
    "--token-file",
    type=click.Path(),
    help="File whose first line callers must send as bearer token (or MLGATE_SERVER_TOKEN).",
)
@click.option(
    "--require-auth",
    envvar="MLGATE_REQUIRE_AUTH",
    is_flag=True,
    help="Let nobody in but users, even before the first is added (mlgate users add).",
)
@click.option("--gzip/--no-gzip", default=False, help="Compress long JSON and text for clients that accept it.")
@click.option("--access-log/--no-access-log", default=True, help="One JSON line per request on standard output.")
@click.option(
    "--threads",
    type=click.IntRange(1, 256),
    default=32,
    show_default=True,
    help="Requests that a process works on at once.",
)
@click.option(
    "--max-body-mb",
    type=click.IntRange(1, 4096),
    default=64,
    show_default=True,
    help="Longest JSON request; artifacts have no limit.",
)
@click.option(
    "--webhook-scheme",
    "webhook_schemes",
    multiple=True,
    default=("https",),
    show_default=True,
    help="Scheme that webhooks may use; may be repeated.",
)
@click.option(
    "--webhook-allow-private-addresses",
    is_flag=True,
    envvar="MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS",
    help="Let webhooks go to loopback and private addresses.",
)
@click.option(
    "--smtp-url",
    envvar="MLGATE_SMTP_URL",
    metavar="URL",
    help="Mail server for webhooks to mailto:, as in smtp://user:password@host:587?from=mlgate@example.org.",
)
def server(**given: object) -> None:
    """Serve the tracking store: runs, models, registry and artifacts, to MLflow's clients and to mlgate.

    Prometheus reads /metrics, the API document is at /openapi.json. INT or TERM stops it after the requests in flight.
    """
    from mlgate_tracking.errors import TrackingError
    from mlgate_tracking.server.serve import serve

    try:
        options, settings = configure(given)
        serve(options, settings, ready=lambda uri: click.echo(f"mlgate server listens on {uri}", err=True))
    except TrackingError as error:
        raise UsageError(error.message) from None


def configure(given: dict[str, object]) -> tuple[ServeOptions, ServerSettings]:
    """What the server is told, from what the command line was told.

    Raises:
        UsageError: options that do not go together.
    """
    from mlgate_tracking.client import artifacts_destination_of
    from mlgate_tracking.server.serve import ServeOptions
    from mlgate_tracking.server.settings import MEBIBYTE, ServerSettings

    text = {name: str(value) for name, value in given.items() if isinstance(value, str)}
    home = load_settings().home
    store_uri = text.get("backend_store_uri") or f"sqlite:///{home / 'mlgate.db'}"
    registry_uri = text.get("registry_store_uri")
    if registry_uri and registry_uri != store_uri:
        raise UsageError(
            f"--registry-store-uri {registry_uri!r} is not the store; runs and registry share one database"
        )
    serve_artifacts = bool(given["serve_artifacts"])
    if given["artifacts_only"] and not serve_artifacts:
        raise UsageError("--artifacts-only and --no-serve-artifacts leave nothing to serve; drop one of them")
    root = text.get("default_artifact_root")
    destination = text.get("artifacts_destination")
    if serve_artifacts:
        destination = artifacts_destination_of(store_uri, destination)
        root = root or PROXIED
    elif root is None:
        root = artifacts_destination_of(store_uri, None)
    options = ServeOptions(
        store_uri=store_uri,
        artifact_root=root,
        host=text["host"],
        port=int(str(given["port"])),
        workers=int(str(given["workers"])),
        certificate=text.get("ssl_certfile"),
        key=text.get("ssl_keyfile"),
        key_password=text.get("ssl_keyfile_password"),
    )
    schemes = given["webhook_schemes"]
    assert isinstance(schemes, tuple)
    settings = ServerSettings(
        artifacts_destination=destination or "",
        serve_artifacts=serve_artifacts,
        artifacts_only=bool(given["artifacts_only"]),
        local_roots=() if ":" in root.removeprefix("file:") else (root,),
        static_prefix=text["static_prefix"],
        access_token=_access_token(text.get("token_file")),
        require_auth=bool(given["require_auth"]),
        token_secret=token_secret(home),
        allowed_hosts=_listed(text["allowed_hosts"]),
        allowed_origins=_listed(text["cors_allowed_origins"]),
        max_body_bytes=int(str(given["max_body_mb"])) * MEBIBYTE,
        threads=int(str(given["threads"])),
        gzip=bool(given["gzip"]),
        access_log=bool(given["access_log"]),
        webhook_schemes=schemes,
        webhook_private_addresses=bool(given["webhook_allow_private_addresses"]),
        smtp_url=text.get("smtp_url"),
        tend_outbox=True,
    )
    return options, settings


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _access_token(path: str | None) -> str | None:
    if path is None:
        return os.environ.get("MLGATE_SERVER_TOKEN") or None
    try:
        lines = Path(path).read_text().splitlines()
    except OSError as error:
        raise UsageError(f"--token-file {path!r}: {error.strerror or error}") from None
    if not lines or not lines[0].strip():
        raise UsageError(f"--token-file {path!r} is empty; write the token into its first line")
    return lines[0].strip()


def token_secret(home: Path) -> bytes:
    """The key that step tokens are signed with: MLGATE_SERVER_SECRET, or one made once and kept in the home.

    Kept, so that steps outlive a restart of the server. Several servers on one database need the variable.
    """
    given = os.environ.get("MLGATE_SERVER_SECRET")
    if given:
        if len(given) < 16:
            raise UsageError("MLGATE_SERVER_SECRET is shorter than 16 characters; use a long random text")
        return given.encode()
    path = home / "server.secret"
    home.mkdir(parents=True, exist_ok=True)
    # Written whole under another name and then linked: whoever reads it sees all of it, and the first one stays.
    draft = path.with_name(f"server.secret.{os.getpid()}")
    draft.touch(mode=0o600)
    try:
        draft.write_bytes(secrets.token_hex(SECRET_BYTES).encode())
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return path.read_bytes()


__all__ = ["configure", "server", "token_secret"]
