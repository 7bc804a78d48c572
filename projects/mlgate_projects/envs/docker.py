"""Docker environments from `docker_env`: an image that is here, pulled, or built; a container for each step.

The project lies in the container under its own path (or, with `build_image`, is part of the image), the step runs as
the calling user, and all it gets to know is what the runner and `docker_env.environment` name.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from mlgate_projects.envs import EnvKey, EnvOptions, Package, Prepared, Progress
from mlgate_projects.envs.cache import Built, Cache, Fingerprint, digest_of
from mlgate_projects.envs.container import TOKEN_LABEL, connect, remove_leftovers, run_container
from mlgate_projects.envs.docker_arguments import DockerArguments, parse_docker_arguments
from mlgate_projects.errors import BuildCancelled, EnvironmentBuildError, EnvironmentUnavailable
from mlgate_projects.process import Cancel, OnOutput, OnStart, Outcome, ProcessRequest, Stream
from mlgate_projects.spec import DockerSpec, EnvSpec

CODE_IN_IMAGE = "/mlflow/projects/code"
"""Where `build_image` puts the project; MLflow's place, so that images serve both."""

_LOOPBACK = "127.0.0.1"
_NOT_CODE = (".git", "mlruns", "**/__pycache__", "**/*.pyc", ".venv")
_PROBE = """\
import json, sys
try:
    from importlib.metadata import distributions
    found = sorted({(d.metadata["Name"], d.version) for d in distributions() if d.metadata["Name"]})
except ImportError:
    found = []
print(json.dumps({"python": "%d.%d.%d" % sys.version_info[:3], "packages": found}))
"""
_PROBE_SCRIPT = """\
command -v bash || command -v sh
for python in python3 python; do command -v $python >/dev/null && exec $python -c "$0"; done
"""
_PROBE_WITHIN = 60  # seconds
_KEPT_OUTPUT = 8000  # characters of the builder's output that go into an error
_URI_VARIABLES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")


class DockerEnvironment:
    kind: ClassVar[str] = "docker"

    def key(self, spec: EnvSpec, options: EnvOptions) -> EnvKey:
        assert isinstance(spec, DockerSpec)
        _settings(spec, options)
        client = connect()
        try:
            digest = _digest(client, spec, options)
            found = Cache(options.cache_root).lookup(self.kind, digest)
            hit = found is not None and _image(client, found.location) is not None
            return EnvKey(self.kind, digest, hit=hit, description=f"image {_shown(spec)}")
        finally:
            client.close()

    def prepare(self, spec: EnvSpec, options: EnvOptions, progress: Progress) -> Prepared:
        assert isinstance(spec, DockerSpec)
        settings = _settings(spec, options)
        client = connect()

        def tell(line: str) -> None:
            if options.cancel is not None and options.cancel.is_set():
                raise BuildCancelled  # the engine ends a build or pull that nobody listens to
            progress(line)

        try:
            if spec.dockerfile is None and _image(client, spec.image) is None:
                _pull(client, spec.image, options, tell)
            cache = Cache(options.cache_root)
            digest = _digest(client, spec, options)

            def build(_: Path) -> Built:
                return _build(client, spec, options, digest, tell)

            def usable(fingerprint: Fingerprint) -> bool:
                return _image(client, fingerprint.location) is not None

            fingerprint, reused = cache.obtain(
                self.kind,
                digest,
                build,
                description=f"image {_shown(spec)}",
                progress=progress,
                usable=usable,
                in_directory=False,
                cancel=options.cancel,
            )
        finally:
            client.close()
        prepared = cache.prepared(fingerprint, reused=reused)
        return replace(prepared, extra={**prepared.extra, "settings": settings, "cache_root": str(cache.root)})

    def run(
        self,
        prepared: Prepared,
        command: str,
        request: ProcessRequest,
        on_output: OnOutput,
        cancel: Cancel,
        on_start: OnStart,
    ) -> Outcome:
        settings = json.loads(prepared.extra["settings"])
        arguments = parse_docker_arguments(settings["arguments"])
        client = connect()
        try:
            with Cache(Path(prepared.extra["cache_root"])).in_use(prepared.kind, prepared.digest):
                config, secrets = _container(client, prepared, settings, arguments, command, request)
                asked = replace(request, argv=tuple(config["Cmd"]), secrets=(*request.secrets, *secrets))
                return run_container(client, config, asked, on_output, cancel, on_start)
        finally:
            client.close()

    def tracking_host(self, prepared: Prepared) -> str:
        """The engine's bridge address, which containers reach and nobody outside this machine does."""
        arguments = parse_docker_arguments(json.loads(prepared.extra["settings"])["arguments"])
        if arguments.network == "host":
            return _LOOPBACK
        client = connect()
        try:
            return _bridge_address(client, arguments.network) or _LOOPBACK
        finally:
            client.close()


def remove_image(fingerprint: Fingerprint) -> None:
    """Remove the image of a collected environment, if it was made here; one that containers use stays."""
    from docker import errors

    if fingerprint.kind != DockerEnvironment.kind or not fingerprint.extra.get("made_here"):
        return
    client = connect()
    try:
        client.remove_image(fingerprint.extra["image"])
    except errors.APIError:
        pass
    finally:
        client.close()


def _settings(spec: DockerSpec, options: EnvOptions) -> str:
    """What a run of the image takes from the project and the caller, as JSON; mistakes come to light here."""
    given = options.extra.get("docker_args") or {}
    assert isinstance(given, Mapping)
    arguments = parse_docker_arguments(given)
    for name, value in (*spec.environment, *arguments.environment):
        if value is None and name not in os.environ:
            raise EnvironmentUnavailable(f"docker_env.environment: {name!r} is to be copied, but is not set here")
    return json.dumps(
        {
            "arguments": dict(given),
            "volumes": [_volume(volume, options.project_directory) for volume in (*spec.volumes, *arguments.volumes)],
            "environment": [*spec.environment, *arguments.environment],
            "code_in_image": bool(options.extra.get("build_image")),
        }
    )


def _volume(text: str, project: Path) -> str:
    """`host:container[:mode]` with the host's path made absolute; a bare name is a volume of the engine's."""
    host, separator, rest = text.partition(":")
    if not separator or not rest.startswith("/"):
        raise EnvironmentUnavailable(f"docker_env.volumes: {text!r} is not HOST:CONTAINER, such as ./data:/data:ro")
    if host.startswith(("/", ".", "~", "$")):
        host = os.path.abspath(project / os.path.expandvars(Path(host).expanduser()))  # noqa: PTH100 - links must stay
    return f"{host}:{rest}"


def _shown(spec: DockerSpec) -> str:
    return spec.image if spec.dockerfile is None else f"from {spec.dockerfile}"


def _image(client: Any, name: str) -> dict[str, Any] | None:
    """What the engine knows of an image, None when it is not here."""
    from docker import errors

    if not name:
        return None
    try:
        found: dict[str, Any] = client.inspect_image(name)
    except errors.NotFound:
        return None
    except errors.APIError as error:
        if error.status_code == 400:
            raise EnvironmentUnavailable(f"docker_env.image: {name!r} is not an image name") from None
        raise
    return found


def _digest(client: Any, spec: DockerSpec, options: EnvOptions) -> str:
    """Identity of the image: what it is built from, or its id (a tag may move)."""
    base = _image(client, spec.image) if spec.dockerfile is None else None
    key: dict[str, Any] = {"kind": "docker", "image": spec.image, "id": base["Id"] if base else None}
    if spec.dockerfile is not None:
        key["dockerfile"] = [spec.dockerfile, _context_digest(options.project_directory, spec.dockerfile)]
    if options.extra.get("build_image"):
        key["code"] = _context_digest(options.project_directory, None)
    return digest_of(key)


def _build(client: Any, spec: DockerSpec, options: EnvOptions, digest: str, progress: Progress) -> Built:
    name = spec.image
    repository = _repository(spec, options.project_directory)
    if spec.dockerfile is not None:
        name = f"{repository}:{_context_digest(options.project_directory, spec.dockerfile)[:12]}"
        if _image(client, name) is None:
            progress(f"building image {name} from {spec.dockerfile}")
            _build_image(client, options.project_directory, spec.dockerfile, None, name, progress)
    if options.extra.get("build_image"):
        code = digest_of({"base": name, "code": _context_digest(options.project_directory, None)})[:12]
        text = f"FROM {name}\nCOPY . {CODE_IN_IMAGE}/\nWORKDIR {CODE_IN_IMAGE}\n"
        name = f"{repository}:{code}"
        if _image(client, name) is None:
            progress(f"building image {name} with the project in it")
            _build_image(client, options.project_directory, None, text, name, progress)
    found = _image(client, name)
    if found is None:
        raise EnvironmentBuildError(f"image {name} was removed while it was made ready")
    shell, python, packages = _probe(client, found["Id"], f"probe-{digest}")
    extra = {"image": name, "image_id": found["Id"], "shell": shell}
    if name != spec.image:
        extra["made_here"] = "yes"
    if found.get("RepoDigests"):
        extra["image_digest"] = found["RepoDigests"][0]
    return Built(
        location=found["Id"],
        python_version=python,
        packages=packages,
        lock_digest=found["Id"].removeprefix("sha256:"),
        extra=extra,
    )


def _repository(spec: DockerSpec, project: Path) -> str:
    """Name for images that are made here: that of `image` without tag and digest, else the project's directory."""
    if spec.image and spec.dockerfile is not None:
        return re.sub(r"(@.*|:[^/]*)$", "", spec.image)
    slug = re.sub(r"[^a-z0-9]+", "-", project.name.lower()).strip("-") or "project"
    return f"mlgate/{slug}"


def _pull(client: Any, name: str, options: EnvOptions, progress: Progress) -> None:
    from docker import errors

    if options.offline:
        raise EnvironmentUnavailable(f"docker_env.image: {name!r} is not here, and offline nothing is pulled")
    progress(f"pulling image {name}")
    has_tag = ":" in name.rpartition("/")[2] or "@" in name
    told = set()
    try:
        for event in client.pull(name, tag=None if has_tag else "latest", stream=True, decode=True):
            if "error" in event:
                raise EnvironmentUnavailable(
                    f"docker_env.image: {name!r} is not here, and pulling it: {event['error']}"
                )
            line = " ".join(str(event[part]) for part in ("id", "status") if part in event)
            if line and line not in told and "ing" not in str(event.get("status")):
                told.add(line)
                progress(line)
    except errors.APIError as error:
        reason = str(error.explanation or error).strip()
    if reason:
        raise EnvironmentUnavailable(f"docker_env.image: {name!r} is not here and cannot be pulled: {reason}")


def _context(project: Path, dockerfile: str | None) -> tuple[list[str], list[str]]:
    """Files of the build context, sorted, and the patterns that leave others out (`.dockerignore` and ours)."""
    from docker.utils.build import exclude_paths

    patterns = list(_NOT_CODE)
    ignore = project / ".dockerignore"
    if ignore.is_file():
        patterns += [line.strip() for line in ignore.read_text(encoding="utf-8").splitlines()]
    patterns = [pattern for pattern in patterns if pattern and not pattern.startswith("#")]
    return sorted(exclude_paths(str(project), patterns, dockerfile=dockerfile)), patterns


def _context_digest(project: Path, dockerfile: str | None) -> str:
    """sha256 over names, executable bits and contents of the build context."""
    digest = hashlib.sha256()
    for name in _context(project, dockerfile)[0]:
        path = project / name
        if path.is_symlink():
            content = os.fsencode(path.readlink())
        elif path.is_file():
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").digest()
        else:
            continue
        digest.update(os.fsencode(name) + (b"\0x" if os.access(path, os.X_OK) else b"\0-") + content)
    return digest.hexdigest()


def _build_image(
    client: Any, project: Path, dockerfile: str | None, text: str | None, name: str, progress: Progress
) -> None:
    """Build from a Dockerfile of the project, or from the text of one."""
    from docker import errors
    from docker.utils.build import tar

    _, patterns = _context(project, dockerfile)
    own = (".mlgate.Dockerfile", text) if text is not None else (dockerfile, None)
    told: list[str] = []
    failure = ""  # the stream is read to its end in any case: the connection is free only then
    with tar(str(project), exclude=patterns, dockerfile=own, gzip=False) as context:
        try:
            events = client.build(
                fileobj=context, custom_context=True, dockerfile=own[0], tag=name, rm=True, forcerm=True, decode=True
            )
            for event in events:
                for line in str(event.get("stream") or event.get("status") or "").splitlines():
                    if line.strip():
                        told.append(line)
                        progress(line.strip())
                failure = failure or str(event.get("error") or "").strip()
        except errors.APIError as error:
            raise EnvironmentBuildError(f"building image {name}: {error.explanation or error}") from None
    if failure:
        raise EnvironmentBuildError(f"building image {name}: {failure}", output="\n".join(told)[-_KEPT_OUTPUT:])


def _probe(client: Any, image: str, token: str) -> tuple[str, str, tuple[Package, ...]]:
    """The image's shell, Python and packages: asked once for each image, in a container without network."""
    said: list[bytes] = []

    def on_output(stream: Stream, text: bytes) -> None:
        if stream is Stream.STDOUT:
            said.append(text)

    remove_leftovers(token)  # of a builder of this environment that was killed: there is one at a time
    config = {
        "Image": image,
        "Entrypoint": [],
        "Cmd": ["sh", "-c", _PROBE_SCRIPT, _PROBE],
        "Labels": {"mlgate": "probe", TOKEN_LABEL: token},
        "HostConfig": {"NetworkMode": "none"},
    }
    request = ProcessRequest((), Path("/"), {}, timeout=_PROBE_WITHIN, token=token)
    run_container(client, config, request, on_output, None, None)
    answer = b"".join(said).decode(errors="replace").splitlines()
    shell = answer[0].strip() if answer else "sh"
    try:
        about = json.loads(answer[1])
        packages = tuple(Package(name, version) for name, version in about["packages"])
        return shell, about["python"], tuple(sorted(packages, key=lambda package: package.name.lower()))
    except (IndexError, ValueError, KeyError):
        return shell, "", ()


def _container(
    client: Any,
    prepared: Prepared,
    settings: Mapping[str, Any],
    arguments: DockerArguments,
    command: str,
    request: ProcessRequest,
) -> tuple[dict[str, Any], list[str]]:
    """Body of the create call for one step, and the values in it that must not show in its output."""
    image = _image(client, prepared.location)
    if image is None:
        raise EnvironmentUnavailable(f"image {prepared.extra['image']} was removed meanwhile; run the step again")
    info = client.info()
    copied = [os.environ[name] for name, value in settings["environment"] if value is None]
    env = _variables(request.env, settings["environment"], (image.get("Config") or {}).get("Env") or [])
    network, env = _reachable(client, arguments, env)
    code_in_image = settings["code_in_image"]
    host = {
        "Init": True,
        "LogConfig": {"Type": "none", "Config": {}},  # output goes to the runner and is kept there
        "NetworkMode": network or "default",
        "Binds": list(settings["volumes"]),
        "Mounts": list(_mounts(request, with_project=not code_in_image)),
        **arguments.host,
    }
    if network != "host":
        host["ExtraHosts"] = ["host.docker.internal:host-gateway", *host.get("ExtraHosts", [])]
    labels = {"mlgate": "step", TOKEN_LABEL: request.token}
    labels |= {f"mlgate.{name}": value for name, value in request.labels.items()}
    config = {
        "Image": prepared.location,
        "Cmd": [prepared.extra.get("shell") or "sh", "-c", command],
        "User": arguments.user or _user(info),
        "WorkingDir": CODE_IN_IMAGE if code_in_image else str(request.cwd),
        "Env": [f"{name}={value}" for name, value in env.items()],
        "AttachStdout": True,
        "AttachStderr": True,
        "HostConfig": host,
        **arguments.container,
    }
    config["Labels"] = {**labels, **config.get("Labels", {})}
    shortest = 6  # shorter values would hide half of the log
    return config, [value for value in copied if len(value) >= shortest]


def _variables(
    given: Mapping[str, str], project: Iterable[tuple[str, str | None]], image: Iterable[str]
) -> dict[str, str]:
    """The container's variables besides the image's own: the runner's, and what the project names."""
    env = {"HOME": "/tmp", "USER": _user_name(), "LOGNAME": _user_name(), **given}  # noqa: S108 - writable for any user
    env |= {name: os.environ[name] if value is None else value for name, value in project}
    own = dict(variable.partition("=")[::2] for variable in image)
    if "PYTHONPATH" in own and "PYTHONPATH" in env:
        env["PYTHONPATH"] += f":{own['PYTHONPATH']}"
    return env


def _mounts(request: ProcessRequest, *, with_project: bool) -> Iterable[dict[str, Any]]:
    """Directories of this machine that the container sees, each under its own path."""
    places = dict.fromkeys(request.read_only_paths, True) | dict.fromkeys(request.paths, False)
    if with_project:
        inside = [path for path in places if path.is_relative_to(request.cwd)]
        places = {request.cwd: False} | {path: only for path, only in places.items() if path not in inside}
    for path, read_only in places.items():
        if path.exists():
            yield {"Type": "bind", "Source": str(path), "Target": str(path), "ReadOnly": read_only}


def _reachable(client: Any, arguments: DockerArguments, env: Mapping[str, str]) -> tuple[str | None, dict[str, str]]:
    """The network, and variables whose URIs name an address that leads to this machine from inside."""
    on_loopback = [name for name in _URI_VARIABLES if _is_loopback(env.get(name, ""))]
    if not on_loopback or arguments.network == "host":
        return arguments.network, dict(env)
    if arguments.network is None and _bridge_address(client, None) is not None:
        return "host", dict(env)  # a server that listens on loopback only is reached no other way
    inside = {
        name: re.sub(r"//[^/:]+|//\[[^]]*\]", "//host.docker.internal", env[name], count=1) for name in on_loopback
    }
    return arguments.network, {**env, **inside}


def _is_loopback(uri: str) -> bool:
    host = urlsplit(uri).hostname if uri.startswith(("http://", "https://")) else None
    if host is None:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bridge_address(client: Any, network: str | None) -> str | None:
    """Address of this machine in the containers' network; None when the engine runs elsewhere or in a VM."""
    from docker import errors

    try:
        configured = client.inspect_network(network or "bridge")["IPAM"]["Config"] or []
    except errors.APIError:
        return None
    for one in configured:
        subnet = ipaddress.ip_network(one.get("Subnet", "127.0.0.0/8"), strict=False)
        address = one.get("Gateway") or str(next(subnet.hosts()))
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((address, 0))
            except OSError:
                continue
            return str(address)
    return None


def _user(info: Mapping[str, Any]) -> str:
    """Who the step runs as, so that its files belong to the caller; a rootless engine maps root to the caller."""
    if any("rootless" in option for option in info.get("SecurityOptions") or ()):
        return "0:0"
    return f"{os.getuid()}:{os.getgid()}"


def _user_name() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "user"


__all__ = ["CODE_IN_IMAGE", "DockerEnvironment", "remove_image"]
