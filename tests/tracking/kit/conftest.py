"""The staged kit, a real server on a real database, and scripts that run with them, on any interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlgate_tracking import kit
from mlgate_tracking.client import connect
from mlgate_tracking.contract import Store
from mlgate_tracking.entities import Fence, Run
from mlgate_tracking.server.embedded import EmbeddedServer
from mlgate_tracking.server.settings import ServerSettings
from tests.support import require
from tests.support.environments import environment

MLFLOW28 = [
    "mlflow==2.8.0", "scikit-learn==1.3.2", "numpy<2", "pandas<2.1", "scipy<1.12", "xgboost-cpu<3", "lightgbm<4.4",
    "cloudpickle", "setuptools<81",
]  # fmt: skip
"""The oldest MLflow that must understand us, with frameworks of its time; Python 3.10."""
MLFLOW3 = ["mlflow>=3", "scikit-learn", "xgboost-cpu", "lightgbm", "skops"]
"""Today's MLflow and frameworks."""
DEEP = ["torch==2.13.0", "lightning", "keras", "mlflow>=3", "scikit-learn"]
"""PyTorch, Lightning, and Keras on the same backend."""


def deep_environment() -> Path:
    """The interpreter of the environment `DEEP`; PyTorch comes as a CPU build from a local wheel folder."""
    folders = [Path(folder) for folder in os.environ.get("PIP_FIND_LINKS", "").split()]
    wheels = [wheel for folder in folders for wheel in folder.glob("torch-*+cpu-*.whl")]
    require(bool(wheels), "no CPU build of torch in PIP_FIND_LINKS (the index has CUDA builds of gigabytes)")
    return environment("deep-frameworks", DEEP)


@dataclass(frozen=True)
class Child:
    exit_code: int
    stdout: str
    stderr: str


RunScript = Callable[..., Child]


@pytest.fixture(scope="session")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that the runner puts on a step's path."""
    return kit.stage(tmp_path_factory.mktemp("kit"))


@pytest.fixture
def run_script(staged: Path, tmp_path: Path) -> RunScript:
    """Run a script as a step would: `run_script(source, python=..., path=[...], env={...})`."""

    def run(
        source: str,
        *,
        python: Path | str = sys.executable,
        env: Mapping[str, str] | None = None,
        path: tuple[Path, ...] = (),
        options: tuple[str, ...] = (),
        timeout: float = 120,
    ) -> Child:
        script = tmp_path / "script.py"
        script.write_text(textwrap.dedent(source))
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLGATE_", "MLFLOW_"))}
        kept["OMP_NUM_THREADS"] = "1"  # small data: more threads only wait for each other
        kept["PYTHONPATH"] = os.pathsep.join(map(str, (staged, *path)))
        done = subprocess.run(
            [str(python), *options, str(script)],
            env={**kept, **(env or {})}, cwd=tmp_path, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        return Child(done.returncode, done.stdout, done.stderr)

    return run


@dataclass
class Step:
    """The tracked run of a step, and the environment that its process gets."""

    store: Store
    run_id: str
    experiment_id: str
    env: dict[str, str]
    spool: Path
    artifacts: Path

    @property
    def run(self) -> Run:
        return self.store.get_run(self.run_id)

    @property
    def params(self) -> dict[str, str]:
        return {param.key: param.value for param in self.run.data.params}

    @property
    def metrics(self) -> dict[str, float]:
        return {metric.key: metric.value for metric in self.run.data.metrics}

    @property
    def tags(self) -> dict[str, str]:
        return {tag.key: tag.value for tag in self.run.data.tags}

    @property
    def children(self) -> list[Run]:
        """Child runs, the oldest first."""
        ours = f"tags.`mlflow.parentRunId` = '{self.run_id}'"
        ids = [experiment.experiment_id for experiment in self.store.search_experiments().items]
        found = self.store.search_runs(ids, filter_string=ours, order_by=["start_time ASC"]).items
        return list(found)

    def history(self, key: str, run_id: str | None = None) -> list[tuple[int, float]]:
        """(step, value) of every point of a metric."""
        return [(point.step, point.value) for point in self.store.metric_history(run_id or self.run_id, key).items]

    def files(self, run_id: str | None = None) -> list[str]:
        """Paths of the run's artifacts."""
        root = self.artifacts / self.experiment_id / (run_id or self.run_id) / "artifacts"
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())

    def file(self, path: str) -> bytes:
        return (self.artifacts / self.experiment_id / self.run_id / "artifacts" / path).read_bytes()

    @property
    def log(self) -> str:
        """What the kit says that it did."""
        file = self.spool / "kit.log"
        return file.read_text() if file.exists() else ""


@pytest.fixture
def step(tmp_path: Path) -> Iterator[Step]:
    """An open step on a SQLite store behind the runner's own server."""
    uri = f"sqlite:///{tmp_path / 'store.db'}"
    artifacts = tmp_path / "artifacts"
    with connect(uri) as store:
        opened = store.open_step_run("a-step", experiment_id="0")
        settings = ServerSettings(artifacts_destination=str(artifacts))
        with EmbeddedServer(lambda: connect(uri), settings) as server:
            run_id = opened.run.info.run_id
            spool = tmp_path / "spool"
            spool.mkdir(mode=0o700)
            env = {
                "MLFLOW_TRACKING_URI": server.uri,
                "MLFLOW_TRACKING_TOKEN": server.mint_token(Fence(run_id, opened.attempt)),
                "MLFLOW_RUN_ID": run_id,
                "MLFLOW_EXPERIMENT_ID": "0",
                "MLGATE_RUN_ID": run_id,
                "MLGATE_SPOOL": str(spool),
            }
            yield Step(store, run_id, "0", env, spool, artifacts)
