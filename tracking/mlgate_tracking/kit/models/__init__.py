"""Models in MLflow's directory format, written and read without MLflow.

`save_model` and `log_model` write a directory that `mlflow.pyfunc.load_model` (2.8 and later) loads; `load_model`
reads what MLflow or mlgate wrote. The digest of every file is recorded in the MLmodel file, and the digest of that
file in a tag of the run or the model version, so that a model that was tampered with does not load.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
import uuid
from dataclasses import dataclass, field

from mlgate_tracking.kit import log
from mlgate_tracking.kit.models.flavors import FLAVORS, Flavor, PythonFunction, flavor_in, flavor_of
from mlgate_tracking.kit.models.locate import DIGEST_TAG, is_local, place, run_tag
from mlgate_tracking.kit.models.python_model import PythonModel, PythonModelContext
from mlgate_tracking.kit.models.signature import infer_signature
from mlgate_tracking.kit.transport import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from mlgate_tracking.kit.records import ModelVersion

REQUIRE_DIGEST = "MLGATE_REQUIRE_MODEL_DIGEST"
"""With this variable set to 1, a pickle whose digest nobody recorded is refused instead of warned about."""


class UnverifiedModelWarning(UserWarning):
    """A pickle is loaded whose content nobody vouches for."""


class DigestMismatch(Refused):
    """A file of a model is not what was logged."""


@dataclass(frozen=True)
class ModelInfo:
    """A model that was stored.

    Attributes:
        model_uri: `runs:/RUN/path`, for `load_model` and `register_model`.
        digest: sha256 of its MLmodel file, which holds the digests of all others.
    """

    model_uri: str
    artifact_path: str
    run_id: str
    digest: str
    flavors: dict[str, Any] = field(default_factory=dict)
    signature: dict[str, Any] | None = None


class LoadedModel:
    """A model that was loaded: `predict(data)` for every flavor, `unwrap()` for the framework's own object."""

    def __init__(self, model: Any, flavor: Flavor, metadata: dict[str, Any]) -> None:
        self._model, self._flavor = model, flavor
        self.metadata = metadata

    @property
    def flavor(self) -> str:
        return self._flavor.name

    def predict(self, data: Any) -> Any:
        return self._flavor.predict(self._model, data)

    def unwrap(self) -> Any:
        model = self._model
        return getattr(model, "python_model", model) if self.flavor == PythonFunction.name else model

    def __repr__(self) -> str:
        return "<LoadedModel %s %s>" % (self.flavor, type(self._model).__name__)


# --- writing --------------------------------------------------------------------------------------------------------


def save_model(
    model: Any,
    path: str,
    *,
    flavor: str | None = None,
    signature: Any = None,
    input_example: Any = None,
    pip_requirements: Sequence[str] | None = None,
    extra_pip_requirements: Sequence[str] | None = None,
    artifacts: Mapping[str, str] | None = None,
    model_config: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    run_id: str | None = None,
    artifact_path: str | None = None,
) -> str:
    """Write a model into a new directory; returns the digest of its MLmodel file.

    Args:
        model: an estimator, booster, Keras model, torch module, `PythonModel`, object with `predict(context, input)`,
            or a function of the input.
        flavor: which framework's format; default the model's own.
        signature: from `infer_signature`; default inferred from the example, if there is one.
        input_example: a few rows that the model takes.
        pip_requirements: instead of the inferred ones; `extra_pip_requirements` are added.
        artifacts: for Python models: name -> local file or directory to take along.
        model_config: for Python models: settings for the context.

    Raises:
        TrackingError: no flavor for such a model, or the directory exists.
    """
    from mlgate_tracking.kit.models import requirements
    from mlgate_tracking.kit.models.signature import as_text, example_files
    from mlgate_tracking.kit.simple_yaml import dump

    if os.path.exists(path) and os.listdir(path):
        raise Refused("%r exists and is not empty; a model is written into a new directory" % path)
    os.makedirs(path, exist_ok=True)
    chosen = _chosen(model, flavor, artifacts, model_config)
    conf, pyfunc = chosen.save(model, path)
    pyfunc_conf = {
        "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
        "loader_module": chosen.loader,
        "python_version": "%d.%d.%d" % sys.version_info[:3],
        **pyfunc,
    }
    flavors = {chosen.name: conf, "python_function": pyfunc_conf} if conf else {"python_function": pyfunc_conf}

    listed = list(pip_requirements) if pip_requirements is not None else None
    if listed is None:
        modules = chosen.modules(path, conf or pyfunc_conf)
        listed = requirements.pin(modules | ({"pandas"} if "pandas" in sys.modules else set()))
    files = requirements.environment_files([*listed, *(extra_pip_requirements or ())])

    about: dict[str, Any] = {}
    if artifact_path is not None:
        about["artifact_path"] = artifact_path
    about["flavors"] = flavors
    about["model_uuid"] = uuid.uuid4().hex
    if run_id:
        about["run_id"] = run_id
    if input_example is not None:
        example = example_files(input_example)
        if example is not None:
            about["saved_input_example_info"] = example[0]
            files.update(example[1])
        if signature is None:
            signature = _signature_of(chosen, model, input_example)
    text = as_text(signature)
    if text is not None:
        about["signature"] = text
    if metadata:
        about["metadata"] = dict(metadata)
    about["utc_time_created"] = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()) + ".000000"
    for name, content in files.items():
        with open(os.path.join(path, name), "w", encoding="utf-8") as file:
            file.write(content)
    digests = _digests(path)
    about["model_size_bytes"] = sum(os.path.getsize(os.path.join(path, *name.split("/"))) for name in digests)
    about["mlgate"] = {"sha256": digests}
    with open(os.path.join(path, "MLmodel"), "w", encoding="utf-8") as file:
        file.write(dump(about))
    return _sha256(os.path.join(path, "MLmodel"))


def _chosen(
    model: Any, flavor: str | None, artifacts: Mapping[str, str] | None, config: Mapping[str, Any] | None
) -> Flavor:
    if flavor in ("pyfunc", PythonFunction.name) or artifacts or config:
        return PythonFunction(dict(artifacts or {}), dict(config or {}))
    if flavor is None:
        return flavor_of(model)
    found = next((each for each in FLAVORS if each.name == flavor), None)
    if found is None:
        raise Refused("unknown flavor %r; known are %s" % (flavor, ", ".join(each.name for each in FLAVORS)))
    return found


def _signature_of(flavor: Flavor, model: Any, example: Any) -> dict[str, Any] | None:
    outputs = None
    try:
        if flavor.name != PythonFunction.name:
            outputs = flavor.predict(model, example)
    except Exception as error:
        log.failure("predicting the input example", error)
    return infer_signature(example, outputs)


def log_model(
    model: Any,
    artifact_path: str | None = None,
    *,
    name: str | None = None,
    registered_model_name: str | None = None,
    run_id: str | None = None,
    **options: Any,
) -> ModelInfo:
    """Store a model with the active run.

    Args:
        artifact_path: folder below the run's artifacts (`name` means the same), default `model`.
        registered_model_name: register it as well.
        options: as for `save_model`.

    Returns:
        its URI, digest and signature.
    """
    import shutil
    import tempfile

    from mlgate_tracking.kit import fluent, runs
    from mlgate_tracking.kit.session import session

    path = artifact_path or name or "model"
    run_id = run_id or runs.active_run_id()
    folder = tempfile.mkdtemp(prefix="mlgate-model-")
    try:
        local = os.path.join(folder, "model")
        digest = save_model(model, local, run_id=run_id, artifact_path=path, **options)
        about = read_mlmodel(local)
        fluent.log_artifacts(local, path, run_id=run_id)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    session().buffer.tag(run_id, run_tag(path), digest)
    _log_history(run_id, about)
    info = ModelInfo("runs:/%s/%s" % (run_id, path), path, run_id, digest, about["flavors"], about.get("signature"))
    if registered_model_name:
        register_model(info.model_uri, registered_model_name)
    return info


def _log_history(run_id: str, about: dict[str, Any]) -> None:
    """Tell the server that the run holds a model; it keeps a list in a tag of the run."""
    from mlgate_tracking.kit.session import session

    told = {key: about[key] for key in ("artifact_path", "flavors", "model_uuid", "utc_time_created", "run_id")}
    if session().buffer.away:
        return
    try:
        session().client.log_model_history(run_id, json.dumps(told))
    except Exception as error:
        log.failure("noting the model in run %s" % run_id, error)


def register_model(model_uri: str, name: str, *, tags: Mapping[str, Any] | None = None) -> ModelVersion:
    """Make a model a new version of the registered model `name`, which is created if need be.

    Args:
        model_uri: `runs:/RUN/path`, or an artifact URI.

    Raises:
        TrackingError: there is no model at the URI.
    """
    from mlgate_tracking.kit import fluent
    from mlgate_tracking.kit.session import session

    fluent.flush()
    client = session().client
    found = place(client, model_uri)
    mlmodel = "/".join(part for part in (found.path, "MLmodel") if part)
    digest = hashlib.sha256(found.files.read(mlmodel)).hexdigest()
    _expect(found.digest, digest, model_uri, "MLmodel")
    try:
        client.create_registered_model(name)
    except Refused as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    source = "/".join(part for part in (found.files.root.rstrip("/"), found.path) if part)
    run_id = model_uri[len("runs:") :].strip("/").partition("/")[0] if model_uri.startswith("runs:") else None
    return client.create_model_version(name, source, run_id=run_id, tags={**(tags or {}), DIGEST_TAG: digest})


# --- reading --------------------------------------------------------------------------------------------------------


def read_mlmodel(directory: str) -> dict[str, Any]:
    """Content of a directory's MLmodel file.

    Raises:
        TrackingError: there is none, or it does not say `flavors`.
    """
    from mlgate_tracking.kit.simple_yaml import load

    file = os.path.join(directory, "MLmodel")
    try:
        with open(file, encoding="utf-8") as stream:
            about = load(stream.read())
    except OSError as error:
        raise Refused("no model in %r (%s)" % (directory, error), "RESOURCE_DOES_NOT_EXIST", 404)
    except ValueError as error:
        raise Refused("%s: %s" % (file, error))
    if not isinstance(about, dict) or not isinstance(about.get("flavors"), dict):
        raise Refused("%s: no `flavors:`; this is not an MLmodel file" % file)
    return about


def load_model(
    model_uri: str,
    dst_path: str | None = None,
    *,
    digest: str | None = None,
    require_digest: bool | None = None,
) -> LoadedModel:
    """Load a model, checked.

    Args:
        model_uri: `runs:/RUN/path`, `models:/NAME/1`, `models:/NAME@alias`, `models:/NAME/Production`, an artifact
            URI, or a local directory.
        dst_path: where to download it to, default a temporary directory.
        digest: sha256 that the MLmodel file must have; default what the run or the model version has on record.
        require_digest: refuse a pickle whose digest is on no record, instead of warning; default the variable
            MLGATE_REQUIRE_MODEL_DIGEST.

    Raises:
        DigestMismatch: a file is not what was logged.
        TrackingError: there is no model, or its flavor is unknown.
    """
    import tempfile

    client = None
    if not is_local(model_uri):
        from mlgate_tracking.kit import fluent
        from mlgate_tracking.kit.session import session

        fluent.flush()
        client = session().client
    found = place(client, model_uri)
    if client is None:
        directory = found.files.root
    else:
        directory = found.files.download(found.path, dst_path or tempfile.mkdtemp(prefix="mlgate-model-"))
    about = read_mlmodel(directory)
    expected = digest or found.digest
    _expect(expected, _sha256(os.path.join(directory, "MLmodel")), model_uri, "MLmodel")
    flavor = flavor_in(about["flavors"])
    conf = about["flavors"][flavor.name]
    required = os.environ.get(REQUIRE_DIGEST) == "1" if require_digest is None else require_digest
    _check_files(directory, about, flavor.pickles(conf), model_uri, expected is not None, required)
    _add_code(directory, about)
    return LoadedModel(flavor.load(conf, directory), flavor, about)


def _check_files(
    directory: str, about: dict[str, Any], pickled: list[str], uri: str, vouched: bool, required: bool
) -> None:
    """Compare every recorded digest, and say so when code is about to be loaded that nobody vouches for."""
    recorded: dict[str, str] = (about.get("mlgate") or {}).get("sha256") or {}
    for name, expected in recorded.items():
        file = os.path.join(directory, *name.split("/"))
        _expect(expected, _sha256(file) if os.path.isfile(file) else "nothing", uri, name)
    for name in pickled:
        digest = _sha256(os.path.join(directory, *name.split("/")))
        if vouched and name in recorded:
            log.write("loading the pickle %s of %s, sha256 %s as recorded" % (name, uri, digest))
            continue
        message = (
            "%s: %s is a pickle (sha256 %s) and loading it can run any code, but no digest of it is on record; "
            "load only models from sources that you trust, or pass digest=..." % (uri, name, digest)
        )
        if required:
            raise DigestMismatch(message)
        import warnings

        warnings.warn(message, UnverifiedModelWarning, stacklevel=4)


def _add_code(directory: str, about: dict[str, Any]) -> None:
    """Code that was logged with the model comes first on the path, as MLflow does it."""
    code = (about["flavors"].get("python_function") or {}).get("code")
    folder = os.path.join(directory, str(code)) if code else ""
    if folder and os.path.isdir(folder) and folder not in sys.path:
        sys.path.insert(0, folder)


def _expect(expected: str | None, found: str, uri: str, name: str) -> None:
    if expected is not None and expected != found:
        raise DigestMismatch("%s: %s has sha256 %s, but %s was logged; it is not loaded" % (uri, name, found, expected))


def _sha256(file: str) -> str:
    hasher = hashlib.sha256()
    with open(file, "rb") as stream:
        for chunk in iter(lambda: stream.read(1 << 20), b""):
            hasher.update(chunk)
    return hasher.hexdigest()


def _digests(directory: str) -> dict[str, str]:
    """sha256 of every file below a directory, by path."""
    found = {}
    for folder, folders, names in os.walk(directory):
        folders.sort()
        for name in sorted(names):
            file = os.path.join(folder, name)
            found[os.path.relpath(file, directory).replace(os.sep, "/")] = _sha256(file)
    return found


__all__ = [
    "DigestMismatch",
    "LoadedModel",
    "ModelInfo",
    "PythonModel",
    "PythonModelContext",
    "UnverifiedModelWarning",
    "infer_signature",
    "load_model",
    "log_model",
    "read_mlmodel",
    "register_model",
    "save_model",
]
