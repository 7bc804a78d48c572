"""`--docker-args`: options of `docker run` (`-A gpus=all`, `-A memory=2g`, `-A t`), checked and given to the engine."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlgate_projects.errors import EnvironmentUnavailable

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SHORT = {
    "m": "memory",
    "c": "cpu-shares",
    "u": "user",
    "e": "env",
    "v": "volume",
    "w": "workdir",
    "h": "hostname",
    "t": "tty",
    "i": "interactive",
    "l": "label",
    "net": "network",
}
_ALREADY = {"rm", "interactive", "i", "init", "d", "detach"}
"""What every step gets, or cannot have, without being asked."""


@dataclass(frozen=True, slots=True)
class DockerArguments:
    """Checked options, in the engine's words.

    Attributes:
        host: fields of the engine's `HostConfig`.
        container: fields of the container itself.
        volumes, environment: added to those of the project.
        network: name of the network, None for the default one.
        user: instead of the calling user.
    """

    host: Mapping[str, Any] = field(default_factory=dict)
    container: Mapping[str, Any] = field(default_factory=dict)
    volumes: tuple[str, ...] = ()
    environment: tuple[tuple[str, str | None], ...] = ()
    network: str | None = None
    user: str | None = None


def parse_docker_arguments(arguments: Mapping[str, object]) -> DockerArguments:
    """Check options by name; a list value stands for an option that is given several times.

    Raises:
        EnvironmentUnavailable: an option that is not known, or a value that does not fit; names what would.
    """
    host: dict[str, Any] = {}
    container: dict[str, Any] = {}
    volumes: list[str] = []
    environment: list[tuple[str, str | None]] = []
    network: str | None = None
    user: str | None = None
    for written, given in arguments.items():
        name = _SHORT.get(written.lstrip("-"), written.lstrip("-"))
        values = [str(value) for value in given] if isinstance(given, list | tuple) else [given]
        texts = ["true" if value is True else str(value) for value in values]
        if name in _ALREADY:
            continue
        if name in ("network", "net"):
            network = texts[-1]
        elif name == "user":
            user = texts[-1]
        elif name == "volume":
            volumes += texts
        elif name == "env":
            environment += [
                (key, value if equals else None) for key, equals, value in (t.partition("=") for t in texts)
            ]
        elif name in _HOST:
            key, convert = _HOST[name]
            _put(host, key, [_converted(written, text, convert) for text in texts], several=name in _SEVERAL)
        elif name in _CONTAINER:
            key, convert = _CONTAINER[name]
            _put(container, key, [_converted(written, text, convert) for text in texts], several=False)
        else:
            known = sorted({*_HOST, *_CONTAINER, "network", "user", "volume", "env"})
            raise EnvironmentUnavailable(f"--docker-args {written}: not known here; known are {', '.join(known)}")
    if "Memory" in host:
        host.setdefault("MemorySwap", host["Memory"])  # otherwise as much again goes to swap, and the limit is none
    return DockerArguments(host, container, tuple(volumes), tuple(environment), network, user)


def _put(into: dict[str, Any], key: str, values: list[Any], *, several: bool) -> None:
    into[key] = values if several else values[-1]


def _converted(name: str, text: str, convert: Callable[[str], Any]) -> Any:
    try:
        return convert(text)
    except ValueError as error:
        raise EnvironmentUnavailable(f"--docker-args {name}: {text!r} {error}") from None


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([bkmgt]?)b?", text.lower())
    if match is None:
        raise ValueError("is not a size; write it as 512m or 2g")
    return int(float(match[1]) * _UNITS[match[2]])


def _whole(text: str) -> int:
    if not re.fullmatch(r"-?\d+", text):
        raise ValueError("is not a whole number")
    return int(text)


def _cpus(text: str) -> int:
    if not re.fullmatch(r"\d+(\.\d+)?", text):
        raise ValueError("is not a number of CPUs; write it as 1.5")
    return int(float(text) * 1_000_000_000)


def _switch(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise ValueError("is not true or false")
    return text.lower() in ("true", "1")


def _gpus(text: str) -> list[dict[str, Any]]:
    request: dict[str, Any] = {"Driver": "", "Capabilities": [["gpu"]], "Options": {}}
    if text in ("all", "true"):
        return [{**request, "Count": -1}]
    if text.isdigit():
        return [{**request, "Count": int(text)}]
    device = re.fullmatch(r"['\"]?device=([\w.,:-]+)['\"]?", text)
    if device is None:
        raise ValueError("is no GPU request; write it as all, 2 or device=0,1")
    return [{**request, "Count": 0, "DeviceIDs": device[1].split(",")}]


def _ulimit(text: str) -> dict[str, Any]:
    match = re.fullmatch(r"(\w+)=(-?\d+)(?::(-?\d+))?", text)
    if match is None:
        raise ValueError("is no limit; write it as nofile=1024:2048")
    return {"Name": match[1], "Soft": int(match[2]), "Hard": int(match[3] or match[2])}


def _device(text: str) -> dict[str, str]:
    outside, _, rest = text.partition(":")
    inside, _, rights = rest.partition(":")
    return {"PathOnHost": outside, "PathInContainer": inside or outside, "CgroupPermissions": rights or "rwm"}


def _mapping(separator: str) -> Callable[[str], dict[str, str]]:
    def convert(text: str) -> dict[str, str]:
        key, _, value = text.partition(separator)
        return {key: value}

    return convert


_HOST: dict[str, tuple[str, Callable[[str], Any]]] = {
    "memory": ("Memory", _bytes),
    "memory-swap": ("MemorySwap", lambda text: -1 if text == "-1" else _bytes(text)),
    "memory-reservation": ("MemoryReservation", _bytes),
    "shm-size": ("ShmSize", _bytes),
    "cpus": ("NanoCpus", _cpus),
    "cpu-shares": ("CpuShares", _whole),
    "cpuset-cpus": ("CpusetCpus", str),
    "pids-limit": ("PidsLimit", _whole),
    "gpus": ("DeviceRequests", _gpus),
    "runtime": ("Runtime", str),
    "ipc": ("IpcMode", str),
    "pid": ("PidMode", str),
    "privileged": ("Privileged", _switch),
    "read-only": ("ReadonlyRootfs", _switch),
    "oom-kill-disable": ("OomKillDisable", _switch),
    "cap-add": ("CapAdd", str),
    "cap-drop": ("CapDrop", str),
    "security-opt": ("SecurityOpt", str),
    "group-add": ("GroupAdd", str),
    "add-host": ("ExtraHosts", str),
    "dns": ("Dns", str),
    "device": ("Devices", _device),
    "ulimit": ("Ulimits", _ulimit),
    "tmpfs": ("Tmpfs", _mapping(":")),
}
_SEVERAL = {"cap-add", "cap-drop", "security-opt", "group-add", "add-host", "dns", "device", "ulimit"}
_CONTAINER: dict[str, tuple[str, Callable[[str], Any]]] = {
    "hostname": ("Hostname", str),
    "workdir": ("WorkingDir", str),
    "entrypoint": ("Entrypoint", lambda text: [text] if text else []),
    "tty": ("Tty", _switch),
    "name": ("name", str),
    "platform": ("platform", str),
    "label": ("Labels", _mapping("=")),
}


__all__ = ["DockerArguments", "parse_docker_arguments"]
