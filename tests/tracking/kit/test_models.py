"""Models: one directory format, checked at load, shared with MLflow both ways."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
import yaml

from mlgate_tracking.kit.models import (
    DigestMismatch,
    PythonModel,
    UnverifiedModelWarning,
    load_model,
    read_mlmodel,
    save_model,
)
from mlgate_tracking.kit.models.requirements import environment_files
from mlgate_tracking.kit.transport import TrackingError
from tests.support.environments import environment
from tests.tracking.kit.conftest import MLFLOW3, MLFLOW28, RunScript, Step, deep_environment

NOT_PICKLES = """\
flavors:
  python_function:
    data: python_model
    loader_module: mlgate_python_model
"""


def stored(directory: Path, mlmodel: str, files: dict[str, bytes]) -> str:
    directory.mkdir()
    (directory / "MLmodel").write_text(mlmodel)
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    return str(directory)


def test_a_directory_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="no model in"):
        load_model(str(tmp_path))
    with pytest.raises(TrackingError, match="no directory '/nowhere'"):
        load_model("/nowhere")


@pytest.mark.parametrize(
    ("mlmodel", "said"),
    [
        ("flavors: 3\n", "no `flavors:`"),
        ("flavors: &a 1\n", "MLmodel: line 1: anchors"),
        ("flavors:\n  spark: {a: 1}\n", "no known flavor in .'spark'.; known are xgboost"),
        ("flavors:\n  python_function:\n    loader_module: os\n", "no known flavor"),
        ("flavors:\n  xgboost:\n    model_class: os.system\n    data: x\n", "'os.system' is not a class of xgboost"),
        ("flavors:\n  lightgbm:\n    data: ../../etc/passwd\n", "lies outside"),
    ],
)
def test_what_a_model_file_says_is_not_believed_blindly(tmp_path: Path, mlmodel: str, said: str) -> None:
    with pytest.raises(TrackingError, match=said):
        load_model(stored(tmp_path / "m", mlmodel, {}))


EVIL = b"cos\nsystem\n(S'touch PWNED'\ntR."
"""A pickle that runs a command."""


def test_a_pickle_is_never_loaded_silently(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = {
        "python_model/python_model.pkl": EVIL,
        "python_model/python_model.json": b'{"artifacts": {}, "config": {}}',
    }
    uri = stored(tmp_path / "m", NOT_PICKLES, files)
    with pytest.raises(DigestMismatch, match="no digest of it is on record"):
        load_model(uri, require_digest=True)
    monkeypatch.setenv("MLGATE_REQUIRE_MODEL_DIGEST", "1")
    with pytest.raises(DigestMismatch, match="can run any code"):
        load_model(uri)
    monkeypatch.delenv("MLGATE_REQUIRE_MODEL_DIGEST")
    with pytest.raises(UnverifiedModelWarning, match="sha256"):  # warnings are errors here
        load_model(uri)
    assert not (tmp_path / "PWNED").exists()


def test_a_changed_file_is_not_loaded(tmp_path: Path) -> None:
    sha = "0" * 64
    mlmodel = NOT_PICKLES + f"mlgate:\n  sha256:\n    python_model/python_model.pkl: '{sha}'\n"
    uri = stored(tmp_path / "m", mlmodel, {"python_model/python_model.pkl": EVIL})
    with pytest.raises(DigestMismatch, match=f"but {sha} was logged; it is not loaded"):
        load_model(uri)
    with pytest.raises(DigestMismatch, match="MLmodel has sha256"):
        load_model(uri, digest="1" * 64)


def test_a_model_is_written_into_a_new_directory_only(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(TrackingError, match="exists and is not empty"):
        save_model(PythonModel(), str(tmp_path / "taken"))


def test_what_is_no_model_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"cannot store a builtins\.int; known are models of scikit-learn"):
        save_model(3, str(tmp_path / "m"))
    with pytest.raises(TrackingError, match="unknown flavor 'spark'; known are"):
        save_model(PythonModel(), str(tmp_path / "m"), flavor="spark")


def test_environment_files_are_what_mlflow_expects() -> None:
    files = environment_files(["scikit-learn==1.5.0", "numpy==2.0.0"])
    assert files["requirements.txt"].splitlines() == ["mlflow", "scikit-learn==1.5.0", "numpy==2.0.0"]
    python = yaml.safe_load(files["python_env.yaml"])
    assert python["dependencies"] == ["-r requirements.txt"]
    assert python["build_dependencies"] == ["pip", "setuptools", "wheel"]
    conda = yaml.safe_load(files["conda.yaml"])
    assert conda["dependencies"][0] == f"python={python['python']}"
    assert conda["dependencies"][2]["pip"] == files["requirements.txt"].splitlines()


# --- with frameworks, and with MLflow -------------------------------------------------------------------------------

OURS = """
import json, sys, numpy, pandas, mlgate_tracking as tracking
from mlgate_tracking.kit.models import PythonModel
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
import lightgbm, xgboost
x, y = load_iris(return_X_y=True, as_frame=True)
binary = (y > 1).astype(int)

class Scaled(PythonModel):
    def load_context(self, context):
        self.factor = float(open(context.artifacts["factor"]).read())
    def predict(self, context, model_input):
        return numpy.asarray(model_input)[:, 0] * self.factor * context.model_config["sign"]

open("factor.txt", "w").write("0.5")
forest = LogisticRegression(max_iter=500).fit(x, y)
models = {
    "sklearn": (forest, {"input_example": x[:5]}),
    "xgb-class": (xgboost.XGBClassifier(n_estimators=3).fit(x, binary), {"input_example": x[:5]}),
    "xgb-booster": (xgboost.train({}, xgboost.DMatrix(x, binary), 3), {}),
    "lgbm-class": (lightgbm.LGBMClassifier(n_estimators=3, verbosity=-1).fit(x, binary), {}),
    "lgbm-booster": (lightgbm.train({"verbosity": -1}, lightgbm.Dataset(x, binary), 3), {}),
    "python": (Scaled(), {"artifacts": {"factor": "factor.txt"}, "model_config": {"sign": -1}}),
    "function": (lambda data: numpy.asarray(data).sum(axis=1), {"input_example": x.to_numpy()[:3]}),
}
def expected(name, model):
    if name == "xgb-booster": return model.predict(xgboost.DMatrix(x))
    if name == "python": return x.to_numpy()[:, 0] * -0.5
    if name == "function": return x.to_numpy().sum(axis=1)
    return model.predict(x)
"""

WE_LOG = (
    OURS
    + """
tracking.autolog(disable=True)
logged = {}
with tracking.start_run():
    for name, (model, options) in models.items():
        logged[name] = tracking.log_model(model, name, **options).model_uri
        assert numpy.allclose(tracking.load_model(logged[name]).predict(x), expected(name, model)), name
    version = tracking.register_model(logged["sklearn"], "iris")
assert numpy.allclose(tracking.load_model("models:/iris/1").predict(x), forest.predict(x))
assert type(tracking.load_model(logged["xgb-class"]).unwrap()).__name__ == "XGBClassifier"
"""
)

THEY_LOAD = """
import mlflow
sys.path[:] = [each for each in sys.path if "kit-" not in each]
for module in [name for name in sys.modules if name.startswith("mlgate")]:
    sys.modules[module] = None
for name, uri in logged.items():
    loaded = mlflow.pyfunc.load_model(uri)
    given = x.to_numpy() if name == "function" else x
    assert numpy.allclose(loaded.predict(given), expected(name, models[name][0])), name
assert mlflow.sklearn.load_model(logged["sklearn"]).coef_.shape == (3, 4)
assert mlflow.xgboost.load_model(logged["xgb-booster"]).num_boosted_rounds() == 3
assert type(mlflow.lightgbm.load_model(logged["lgbm-class"])).__name__ == "LGBMClassifier"
assert mlflow.pyfunc.load_model("models:/iris/latest").metadata.signature.inputs.input_names()[0].startswith("sepal")
about = mlflow.models.get_model_info(logged["sklearn"])
assert about.saved_input_example_info["type"] == "dataframe"
print("loaded by", mlflow.__version__.partition(".")[0])
"""

THEY_LOG = (
    OURS
    + """
import mlflow, mlflow.sklearn, mlflow.xgboost, mlflow.lightgbm, mlflow.pyfunc, warnings
class Half(mlflow.pyfunc.PythonModel):
    def load_context(self, context): self.factor = float(open(context.artifacts["factor"]).read())
    def predict(self, context, model_input): return numpy.asarray(model_input)[:, 0] * self.factor
signature = mlflow.models.infer_signature(x, y)
key = "artifact_path" if mlflow.__version__ < "3" else "name"
with mlflow.start_run() as run:
    plain = {"pip_requirements": ["numpy"]}  # MLflow takes seconds to infer them
    mlflow.sklearn.log_model(forest, **{key: "sklearn"}, signature=signature, registered_model_name="theirs", **plain)
    for name, log in ("xgb-class", mlflow.xgboost), ("xgb-booster", mlflow.xgboost), ("lgbm-booster", mlflow.lightgbm):
        log.log_model(models[name][0], **{key: name}, **plain)
    mlflow.pyfunc.log_model(**{key: "python"}, python_model=Half(), artifacts={"factor": "factor.txt"}, **plain)
for module in [name for name in sys.modules if name.startswith("mlflow")] + ["mlflow"]:
    sys.modules[module] = None  # as where MLflow is not installed
warnings.simplefilter("ignore")
uris = {name: f"runs:/{run.info.run_id}/{name}" for name in ("sklearn", "xgb-class", "xgb-booster", "lgbm-booster")}
uris["sklearn "] = "models:/theirs/latest"
for name, uri in uris.items():
    assert numpy.allclose(tracking.load_model(uri).predict(x), expected(name.strip(), models[name.strip()][0])), name
python = tracking.load_model(f"runs:/{run.info.run_id}/python")
assert numpy.allclose(python.predict(x), x.to_numpy()[:, 0] * 0.5)
print("loaded")
"""
)


@pytest.fixture(params=["2.8", "3"])
def mlflow_python(request: pytest.FixtureRequest) -> Path:
    """MLflow 2.8.0 with the frameworks of its time, and the newest of each."""
    if request.param == "2.8":
        return environment("mlflow28-frameworks", MLFLOW28, python="3.10")
    return environment("mlflow3-frameworks", MLFLOW3)


@pytest.mark.mlflow
@pytest.mark.frameworks
def test_mlflow_loads_what_we_log(run_script: RunScript, step: Step, mlflow_python: Path) -> None:
    child = run_script(WE_LOG + THEY_LOAD, python=mlflow_python, env={**step.env, "MLGATE_AUTOLOG": "0"}, timeout=280)
    assert (child.exit_code, child.stdout[:9]) == (0, "loaded by"), child.stderr
    version = step.store.get_model_version("iris", 1)
    assert {tag.key for tag in version.tags} == {"mlgate.model.sha256"}
    assert version.run_id == step.run_id


@pytest.mark.mlflow
@pytest.mark.frameworks
def test_we_load_what_mlflow_logs(run_script: RunScript, step: Step, mlflow_python: Path) -> None:
    child = run_script(THEY_LOG, python=mlflow_python, env={**step.env, "MLGATE_AUTOLOG": "0"}, timeout=280)
    assert (child.exit_code, child.stdout[-7:]) == (0, "loaded\n"), child.stderr


@pytest.mark.frameworks
def test_a_model_that_was_changed_in_the_store_does_not_load(run_script: RunScript, step: Step) -> None:
    python = environment("mlflow3-frameworks", MLFLOW3)
    source = """
    import mlgate_tracking as tracking
    from sklearn.dummy import DummyClassifier
    with tracking.start_run():
        tracking.log_model(DummyClassifier(), "model", registered_model_name="dummy")
    """
    assert run_script(source, python=python, env={**step.env, "MLGATE_AUTOLOG": "0"}).exit_code == 0
    root = step.artifacts / step.experiment_id / step.run_id / "artifacts" / "model"
    load = "import mlgate_tracking as t\nt.load_model(%r)\n"
    pickle, about = root / "model.pkl", root / "MLmodel"
    before = pickle.read_bytes(), about.read_text()
    assert run_script(load % "models:/dummy/1", python=python, env=step.env, options=("-W", "error")).exit_code == 0
    pickle.write_bytes(EVIL)
    for uri in (f"runs:/{step.run_id}/model", "models:/dummy/1"):
        child = run_script(load % uri, python=python, env=step.env)
        assert "DigestMismatch" in child.stderr
    import hashlib

    forged = before[1].replace(hashlib.sha256(before[0]).hexdigest(), hashlib.sha256(EVIL).hexdigest())
    about.write_text(forged)
    assert forged != before[1]
    child = run_script(load % "models:/dummy/1", python=python, env=step.env)
    assert "MLmodel has sha256" in child.stderr.splitlines()[-1]


@pytest.mark.mlflow
@pytest.mark.frameworks
def test_torch_and_keras_models_travel_both_ways(run_script: RunScript, step: Step) -> None:
    source = """
    import sys, warnings, numpy, torch, keras, mlgate_tracking as tracking
    warnings.simplefilter("ignore")
    x = numpy.random.rand(6, 4).astype("float32")
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(4, 2)
        def forward(self, data): return self.layer(data)
    net = Net().eval()
    dense = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    wanted = {"torch": net(torch.from_numpy(x)).detach().numpy(), "keras": dense.predict(x, verbose=0)}
    with tracking.start_run() as run:
        ours = {name: tracking.log_model(model, name, input_example=x[:2]).model_uri
                for name, model in (("torch", net), ("keras", dense))}
    for name, uri in ours.items():
        assert numpy.allclose(tracking.load_model(uri).predict(x), wanted[name], atol=1e-6), name
    import mlflow, mlflow.pytorch, mlflow.keras
    for name, uri in ours.items():
        assert numpy.allclose(mlflow.pyfunc.load_model(uri).predict(x), wanted[name], atol=1e-6), name
    with mlflow.start_run(run_id=run.info.run_id):
        mlflow.pytorch.log_model(net, name="their-torch", serialization_format="pickle", pip_requirements=["torch"])
        mlflow.keras.log_model(dense, name="their-keras", pip_requirements=["keras"])
    for module in [name for name in sys.modules if name.startswith("mlflow")] + ["mlflow"]:
        sys.modules[module] = None
    for name in wanted:
        loaded = tracking.load_model(f"runs:/{run.info.run_id}/their-{name}")
        assert numpy.allclose(loaded.predict(x), wanted[name], atol=1e-6), name
    print("both ways")
    """
    env = {**step.env, "MLGATE_AUTOLOG": "0", "KERAS_BACKEND": "torch"}
    child = run_script(textwrap.dedent(source), python=deep_environment(), env=env, timeout=280)
    assert (child.exit_code, child.stdout[-10:]) == (0, "both ways\n"), child.stderr


def test_read_mlmodel_gives_the_file_as_it_is(tmp_path: Path) -> None:
    uri = stored(tmp_path / "m", NOT_PICKLES + "metadata: {a: 1}\n", {})
    assert read_mlmodel(uri) == yaml.safe_load((tmp_path / "m" / "MLmodel").read_text())
