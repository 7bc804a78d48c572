"""Model versions with runs behind them, without training anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlgate_tracking.contract import Store
from mlgate_tracking.entities import Metric, ModelVersion, RunStatus, Tag


def version_with_run(
    store: Store,
    model: str,
    metrics: Mapping[str, float] | None = None,
    *,
    user: str = "bob",
    tags: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
    artifacts: Path | None = None,
) -> ModelVersion:
    """A new version of a model (made on first use) from a finished run of `user`.

    Args:
        files: the model's files by path, written below `artifacts` (the root of `mlflow-artifacts:`).
    """
    if not any(found.name == model for found in store.search_registered_models().items):
        store.create_registered_model(model)
    experiment = store.ensure_experiment("training")
    run = store.create_run(experiment.experiment_id, user_id=user)
    run_id = run.info.run_id
    store.log_batch(
        run_id,
        metrics=[Metric(name, value, 1) for name, value in (metrics or {}).items()],
        tags=[Tag(name, value) for name, value in (tags or {}).items()],
    )
    store.update_run(run_id, status=RunStatus.FINISHED, end_time=2)
    source = f"{run.info.artifact_uri}/model"
    if files:
        assert artifacts is not None
        folder = artifacts / source.removeprefix("mlflow-artifacts:/")
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
    return store.create_model_version(model, source, run_id=run_id)


def mlmodel(inputs: Any = None, outputs: Any = None) -> str:
    """The text of an MLmodel file with a signature."""
    signature = {"inputs": json.dumps(inputs) if inputs else None, "outputs": json.dumps(outputs) if outputs else None}
    return json.dumps({"flavors": {"python_function": {"loader_module": "x"}}, "signature": signature})


__all__ = ["mlmodel", "version_with_run"]
