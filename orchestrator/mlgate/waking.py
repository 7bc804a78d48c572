"""Wake whoever waits for an approval: the flow run that the run of the question belongs to.

Nothing has to be known beforehand: the verdict of an approval names its tracked run, and the run's tags name the engine
and its run. Prefect is asked over HTTP, so the machine of whoever approves needs no Prefect, only `PREFECT_API_URL` (or
a profile of Prefect's). Waking is a courtesy: a run that is not reached finds the answer when it wakes otherwise.
"""

from __future__ import annotations

import base64
import json
import os
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlgate.records import tags_of
from mlgate_tracking.errors import ResourceDoesNotExist

if TYPE_CHECKING:
    from mlgate_tracking.contract import Store
    from mlgate_tracking.governance import Approval

_PATIENCE = 10.0


def wake(store: Store, approval: Approval, environ: Mapping[str, str] | None = None) -> str:
    """Resume the engine's run that waits for an approval, once it is decided.

    Returns: one line on what was done; empty where nobody waits.
    """
    if approval.status.value == "pending":
        return ""
    try:
        run_id = store.get_verdict(approval.verdict_id).run_id
        tags = tags_of(store.get_run(run_id)) if run_id else {}
    except ResourceDoesNotExist:
        return ""
    resume = _ENGINES.get(tags.get("mlgate.engine", ""))
    return resume(tags["mlgate.engine.run_id"], os.environ if environ is None else environ) if resume else ""


def _prefect(flow_run_id: str, environ: Mapping[str, str]) -> str:
    settings = _prefect_settings(environ)
    url = settings.get("PREFECT_API_URL", "").rstrip("/")
    waiting = f"flow run {flow_run_id} in Prefect"
    if not url.startswith(("http://", "https://")):
        return f"{waiting} waits for this: set PREFECT_API_URL to resume it from here, or resume it in Prefect's UI"
    headers = {"Content-Type": "application/json"}
    if settings.get("PREFECT_API_KEY"):
        headers["Authorization"] = f"Bearer {settings['PREFECT_API_KEY']}"
    elif settings.get("PREFECT_API_AUTH_STRING"):
        headers["Authorization"] = "Basic " + base64.b64encode(settings["PREFECT_API_AUTH_STRING"].encode()).decode()
    request = urllib.request.Request(  # noqa: S310 - the scheme is checked above
        f"{url}/flow_runs/{flow_run_id}/resume", data=b'{"run_input": {}}', headers=headers, method="POST"
    )
    try:
        answer = _answer(request)
    except (OSError, ValueError) as error:
        return f"{waiting} waits for this, but {url} could not resume it ({error}); resume it in Prefect's UI"
    if answer.get("status") == "ACCEPT":
        return f"resumed {waiting}"
    reason = (answer.get("details") or {}).get("reason") or answer.get("status")
    return f"{waiting} was not resumed: {reason}"


def _answer(request: urllib.request.Request) -> dict[str, Any]:
    """A busy server says 429 or 503; Prefect's own clients sit that out as well."""
    for wait in (0.5, 1.0, 2.0, 4.0, 0.0):
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE) as response:  # noqa: S310
                answer: dict[str, Any] = json.load(response)
                return answer
        except urllib.error.HTTPError as error:
            if error.code not in (429, 503) or not wait:
                raise
            time.sleep(wait)
    raise AssertionError("unreachable")


def _prefect_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """What Prefect's own commands would go by: the environment, then the active profile."""
    home = Path(environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    try:
        data = tomllib.loads(Path(environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml").read_text())
    except (OSError, ValueError):
        data = {}
    active = environ.get("PREFECT_PROFILE") or data.get("active", "")
    profile = data.get("profiles", {}).get(active, {})
    known = {name: str(value) for name, value in profile.items() if name.startswith("PREFECT_API_")}
    return known | {name: value for name, value in environ.items() if name.startswith("PREFECT_API_")}


_ENGINES: dict[str, Callable[[str, Mapping[str, str]], str]] = {"prefect": _prefect}

__all__ = ["wake"]
