"""A script that imports nothing of ours gets its trainings logged, and computes what it would compute without."""

from __future__ import annotations

import json
import socket
import subprocess
import textwrap
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from mlgate_tracking import spooled
from mlgate_tracking.artifacts.local import LocalRepository
from tests.support.environments import environment
from tests.tracking.kit.conftest import MLFLOW3, MLFLOW28, RunScript, Step, deep_environment

pytestmark = pytest.mark.frameworks

MODEL_FILES = {"model/MLmodel", "model/conda.yaml", "model/python_env.yaml", "model/requirements.txt"}


@pytest.fixture(params=["then", "now"])
def python(request: pytest.FixtureRequest) -> Path:
    """An environment with the frameworks of MLflow 2.8's time, and one with today's."""
    if request.param == "then":
        return environment("mlflow28-frameworks", MLFLOW28, python="3.10")
    return environment("mlflow3-frameworks", MLFLOW3)


@pytest.fixture
def today() -> Path:
    return environment("mlflow3-frameworks", MLFLOW3)


@pytest.fixture
def deep() -> Path:
    return deep_environment()


FOREST = """
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.preprocessing import StandardScaler
x, y = load_iris(return_X_y=True, as_frame=True)
StandardScaler().fit(x)
model = RandomForestClassifier(n_estimators=7, random_state=1).fit(x, y)
print(model.predict_proba(x)[:3].tolist())
"""


def test_a_forest_is_logged_whole(run_script: RunScript, step: Step, python: Path) -> None:
    child = run_script(FOREST, python=python, env=step.env)
    assert (child.exit_code, child.stderr, step.log) == (0, "", "")
    assert step.params["n_estimators"] == "7"
    assert step.tags["estimator_class"] == "sklearn.ensemble._forest.RandomForestClassifier"
    assert step.metrics["training_accuracy_score"] > 0.9
    assert set(step.metrics) >= {"training_score", "training_f1_score", "training_log_loss", "training_roc_auc"}
    files = set(step.files())
    assert files >= MODEL_FILES | {"model/model.pkl", "model/input_example.json", "model/serving_input_example.json"}
    assert files >= {"training_confusion_matrix.svg", "feature_importance.svg", "feature_importance.json"}
    for picture in ("feature_importance.svg", "training_confusion_matrix.svg"):
        assert ElementTree.fromstring(step.file(picture)).tag.endswith("svg")
    assert set(json.loads(step.file("feature_importance.json"))) == set(
        json.loads(step.file("model/input_example.json"))["columns"]
    )
    assert b"scikit-learn==" in step.file("model/requirements.txt")
    (used,) = step.run.inputs.dataset_inputs
    assert json.loads(used.dataset.profile or "{}")["num_rows"] == 150
    assert step.children == []


def test_a_script_computes_and_prints_the_same_with_and_without(run_script: RunScript, step: Step, today: Path) -> None:
    source = """
    import random, warnings, numpy
    from sklearn.datasets import make_classification
    from sklearn.linear_model import LogisticRegression, SGDClassifier
    x, y = make_classification(random_state=3)
    class Loud(LogisticRegression):
        def predict(self, x):
            print("predicting")
            warnings.warn("loud")
            return super().predict(x)
    for _ in range(2):
        model = Loud(max_iter=1).fit(x, y)
        print(numpy.random.rand(), random.random())
        warnings.warn("shown once for each place")
    print(SGDClassifier().fit(x, y).coef_.sum(), numpy.random.rand(), len(model.predict(x)))
    """
    seeded = "import random, numpy; random.seed(1); numpy.random.seed(1)\n"
    plain = run_script(seeded + FOREST + textwrap.dedent(source), python=today)
    logged = run_script(seeded + FOREST + textwrap.dedent(source), python=today, env=step.env)
    assert logged.stdout == plain.stdout
    assert _without_places(logged.stderr) == _without_places(plain.stderr)
    assert logged.exit_code == plain.exit_code == 0
    assert len(step.children) == 3


def _without_places(text: str) -> list[str]:
    """Warnings without the file and line that they point to."""
    return [line.partition(": ")[2] if ".py:" in line else line for line in text.splitlines()]


def test_off_means_off(run_script: RunScript, step: Step, today: Path) -> None:
    run_script(FOREST, python=today, env={**step.env, "MLGATE_AUTOLOG": "0"})
    assert step.params == {}
    assert step.files() == []


def test_a_script_that_imports_mlflow_logs_for_itself(run_script: RunScript, step: Step, today: Path) -> None:
    run_script("import mlflow\n" + FOREST, python=today, env=step.env)
    assert step.params == {}


def test_a_search_has_its_trials_as_child_runs(run_script: RunScript, step: Step, python: Path) -> None:
    child = run_script(
        """
        from sklearn.datasets import load_diabetes
        from sklearn.linear_model import Ridge
        from sklearn.model_selection import GridSearchCV
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        x, y = load_diabetes(return_X_y=True)
        search = GridSearchCV(make_pipeline(StandardScaler(), Ridge()), {"ridge__alpha": [0.1, 1, 100]}, n_jobs=2)
        print(search.fit(x, y).best_params_["ridge__alpha"])
        """,
        python=python, env=step.env,
    )  # fmt: skip
    assert (child.exit_code, child.stderr, step.log) == (0, "", "")
    best = child.stdout.strip()
    assert step.params["best_ridge__alpha"] == best
    trials = {run.param("ridge__alpha"): run for run in step.children}
    assert set(trials) == {"0.1", "1", "100"}
    assert all(run.info.status == "FINISHED" for run in trials.values())
    assert step.metrics["best_cv_score"] == trials[best].metric("mean_test_score")
    assert step.metrics["training_r2_score"] > 0.4
    assert len(json.loads(step.file("cv_results.json"))["params"]) == 3
    assert "model/model.pkl" in step.files()


def test_members_folds_and_workers_are_not_trainings_of_their_own(
    run_script: RunScript, step: Step, today: Path
) -> None:
    child = run_script(
        """
        from joblib import Parallel, delayed
        from sklearn.datasets import load_iris
        from sklearn.ensemble import BaggingClassifier, VotingClassifier
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import cross_val_score
        x, y = load_iris(return_X_y=True)
        small = lambda: LogisticRegression(max_iter=500)
        cross_val_score(small(), x, y, n_jobs=2)
        Parallel(n_jobs=2)(delayed(small().fit)(x, y) for _ in range(2))
        VotingClassifier([("a", small()), ("b", BaggingClassifier(small(), n_jobs=2))]).fit(x, y)
        """,
        python=today, env=step.env,
    )  # fmt: skip
    assert (child.exit_code, child.stderr) == (0, "")
    assert step.tags["estimator_name"] == "VotingClassifier"
    assert step.children == []


def test_further_fits_are_child_runs(run_script: RunScript, step: Step, today: Path) -> None:
    run_script(
        """
        from sklearn.datasets import load_diabetes
        from sklearn.linear_model import Lasso, Ridge
        x, y = load_diabetes(return_X_y=True)
        for model in Ridge(), Lasso(), Ridge(alpha=2):
            model.fit(x, y)
        """,
        python=today, env=step.env,
    )  # fmt: skip
    assert step.params["alpha"] == "1.0"
    assert [(run.info.run_name, run.param("alpha")) for run in step.children] == [("Lasso", "1.0"), ("Ridge", "2")]
    assert "model/MLmodel" in step.files(step.children[1].info.run_id)


def test_a_failing_fit_fails_as_ever_and_leaves_its_params(run_script: RunScript, step: Step, today: Path) -> None:
    child = run_script(
        """
        from sklearn.linear_model import Ridge
        Ridge(alpha=3).fit([[1], [2]], [1, 2, 3])
        """,
        python=today, env=step.env,
    )  # fmt: skip
    assert child.exit_code == 1
    assert "ValueError" in child.stderr.splitlines()[-1]
    assert step.params["alpha"] == "3"
    assert step.files() == []


def test_a_search_does_not_wait_for_a_server_that_is_gone(
    run_script: RunScript, step: Step, today: Path, tmp_path: Path
) -> None:
    """A listener that never answers is the worst case: every request would cost its whole time-out."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        child = run_script(
            """
            from sklearn.datasets import load_iris
            from sklearn.linear_model import LogisticRegression
            from sklearn.model_selection import GridSearchCV
            x, y = load_iris(return_X_y=True)
            GridSearchCV(LogisticRegression(max_iter=500), {"C": [0.1, 1, 10, 100]}).fit(x, y)
            print("through")
            """,
            python=today, env={**step.env, "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{silent.getsockname()[1]}"},
        )  # fmt: skip
    assert (child.exit_code, child.stdout, child.stderr) == (0, "through\n", "")
    assert time.monotonic() - started < 90
    root = step.artifacts / step.experiment_id / step.run_id / "artifacts"
    assert spooled.replay(step.spool, step.store, lambda _: LocalRepository(root)) > 10
    assert step.params["best_C"] in ("0.1", "1", "10", "100")
    assert "model/MLmodel" in step.files()
    assert step.children == []


CANNOT_BE_PICKLED = """
class Odd(ClassifierMixin, BaseEstimator):
    def fit(self, x, y): self.classes_ = [0]; self.lock = __import__('threading').Lock(); return self
    def predict(self, x): raise RuntimeError('not today')
"""
ODD_SIGNATURE = """
class Odd(BaseEstimator):
    def __init__(self, **kwargs): pass
    def fit(self): return self
    def predict(self): pass
"""
BREAKS_EVERYWHERE = """
class Odd(RegressorMixin, BaseEstimator):
    def get_params(self, deep=True): raise OSError(28, 'no space')
    def fit(self, x, y=None): return self
    def predict(self, x): return 'nonsense'
"""


@pytest.mark.parametrize("estimator", [CANNOT_BE_PICKLED, ODD_SIGNATURE, BREAKS_EVERYWHERE])
def test_exotic_estimators_are_their_own_business(
    run_script: RunScript, step: Step, today: Path, estimator: str
) -> None:
    source = f"from sklearn.base import *\n{estimator}\n"
    source += "data = ([[1.0], [2.0]], [0, 1])[: Odd.fit.__wrapped__.__code__.co_argcount - 1]\n"
    source += "print(type(Odd().fit(*data)).__name__)\n"
    child = run_script(source, python=today, env=step.env)
    assert (child.exit_code, child.stdout, child.stderr) == (0, "Odd\n", "")


def test_classes_of_the_script_are_pickled_without_the_kit(
    run_script: RunScript, step: Step, today: Path, tmp_path: Path
) -> None:
    child = run_script(
        """
        import cloudpickle
        from sklearn.linear_model import Ridge
        class Mine(Ridge):
            def fit(self, x, y):
                return super().fit(x, y)
        open("mine.pkl", "wb").write(cloudpickle.dumps(Mine().fit([[1.0], [2.0]], [1, 2])))
        """,
        python=today, env=step.env,
    )  # fmt: skip
    assert (child.exit_code, child.stderr) == (0, "")
    reader = tmp_path / "reader.py"
    reader.write_text("import pickle\nprint(pickle.load(open('mine.pkl', 'rb')).fit([[1.0], [2.0]], [1, 2]).alpha)\n")
    done = subprocess.run([today, reader], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "1.0\n", done.stderr


@pytest.mark.parametrize("package", ["xgboost", "lightgbm"])
def test_boosting_by_its_own_train_function(run_script: RunScript, step: Step, today: Path, package: str) -> None:
    source = {
        "xgboost": """
            import xgboost
            data = xgboost.DMatrix(x, y)
            params = {"max_depth": 2, "objective": "binary:logistic"}
            model = xgboost.train(params, data, 5, evals=[(data, "train")], verbose_eval=False)
            print(model.predict(data)[:2].tolist())
            """,
        "lightgbm": """
            import lightgbm
            data = lightgbm.Dataset(x, y)
            params = {"num_leaves": 4, "objective": "binary", "verbosity": -1}
            model = lightgbm.train(params, data, 5, valid_sets=[data], valid_names=["train"])
            print(model.predict(x)[:2].tolist())
            """,
    }[package]
    load = "from sklearn.datasets import load_breast_cancer\nx, y = load_breast_cancer(return_X_y=True)\n"
    plain = run_script(load + textwrap.dedent(source), python=today)
    child = run_script(load + textwrap.dedent(source), python=today, env=step.env)
    assert (child.exit_code, child.stdout, child.stderr, step.log) == (0, plain.stdout, plain.stderr, "")
    assert step.params["num_boost_round"] == "5"
    metric = "train-logloss" if package == "xgboost" else "train-binary_logloss"
    rounds = step.history(metric)
    assert [number for number, _ in rounds] == [0, 1, 2, 3, 4]
    assert rounds[-1][1] < rounds[0][1]
    assert {"feature_importance.json", "model/MLmodel"} <= set(step.files())


@pytest.mark.parametrize("name", ["xgboost.XGBClassifier", "lightgbm.LGBMClassifier"])
def test_boosting_by_its_scikit_learn_class(run_script: RunScript, step: Step, python: Path, name: str) -> None:
    package, _, cls = name.partition(".")
    quiet = ", verbosity=-1" if package == "lightgbm" else ""
    child = run_script(
        f"""
        from sklearn.datasets import load_iris
        from {package} import {cls}
        x, y = load_iris(return_X_y=True, as_frame=True)
        {cls}(n_estimators=4{quiet}).fit(x, y, eval_set=[(x, y)]{", verbose=False" if package == "xgboost" else ""})
        """,
        python=python, env=step.env,
    )  # fmt: skip
    assert (child.exit_code, step.log) == (0, "")
    assert step.params["n_estimators"] == "4"
    assert step.metrics["training_accuracy_score"] > 0.8
    (evaluated,) = [key for key in step.metrics if key.endswith(("mlogloss", "multi_logloss"))]
    assert len(step.history(evaluated)) == 4
    assert f"{package}:".encode() in step.file("model/MLmodel")
    assert "feature_importance.json" in step.files()


def test_keras_has_a_metric_for_each_epoch(run_script: RunScript, step: Step, deep: Path) -> None:
    source = """
    import keras, numpy
    keras.utils.set_random_seed(1)
    x = numpy.random.rand(64, 4).astype("float32")
    y = x.sum(axis=1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(1)])
    model.compile(optimizer="adam", loss="mse", metrics=["mae"])
    history = model.fit(x, y, epochs=3, batch_size=16, validation_split=0.25, verbose=0)
    print(history.history["loss"], numpy.random.rand())
    """
    backend = {"KERAS_BACKEND": "torch"}
    plain = run_script(source, python=deep, env=backend)
    child = run_script(source, python=deep, env={**step.env, **backend})
    assert (child.exit_code, child.stdout, step.log) == (0, plain.stdout, "")
    assert step.params["epochs"] == "3"
    assert step.params["optimizer_learning_rate"].startswith("0.001")
    assert [number for number, _ in step.history("loss")] == [0, 1, 2]
    assert len(step.history("val_mae")) == 3
    assert MODEL_FILES | {"model/data/model.keras", "model_summary.txt"} <= set(step.files())


def test_lightning_has_a_metric_for_each_epoch(run_script: RunScript, step: Step, deep: Path) -> None:
    source = """
    import logging, warnings, torch
    warnings.simplefilter("ignore"); logging.disable(logging.WARNING)
    import lightning
    class Line(lightning.LightningModule):
        def __init__(self, width=4):
            super().__init__()
            self.save_hyperparameters()
            self.layer = torch.nn.Linear(width, 1)
        def forward(self, x): return self.layer(x)
        def training_step(self, batch, _):
            loss = torch.nn.functional.mse_loss(self(batch[0]), batch[1])
            self.log("train_loss", loss, on_epoch=True)
            return loss
        def configure_optimizers(self): return torch.optim.SGD(self.parameters(), lr=0.05)
    lightning.seed_everything(1, verbose=False)
    data = torch.utils.data.TensorDataset(torch.rand(32, 4), torch.rand(32, 1))
    model = Line()
    trainer = lightning.Trainer(max_epochs=3, logger=False, enable_checkpointing=False, accelerator="cpu",
                                enable_progress_bar=False, enable_model_summary=False)
    trainer.fit(model, torch.utils.data.DataLoader(data, batch_size=8))
    print(model(data.tensors[0])[:2].tolist(), torch.rand(1).item(), len(trainer.callbacks))
    """
    plain = run_script(source, python=deep)
    child = run_script(source, python=deep, env=step.env)
    assert (child.exit_code, child.stdout, step.log) == (0, plain.stdout, ""), child.stderr
    assert step.params["max_epochs"] == "3"
    assert (step.params["width"], step.params["optimizer_name"], step.params["optimizer_lr"]) == ("4", "SGD", "0.05")
    assert len(step.history("train_loss_epoch")) == 3
    assert MODEL_FILES | {"model/data/model.pth"} <= set(step.files())
