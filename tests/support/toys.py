"""A project whose pipeline uses everything and needs nothing installed, and the shape of the runs it leaves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mlgate.step import step_run_key
from mlgate_tracking.contract import Store
from mlgate_tracking.governance import encode
from tests.support.cli import all_runs, connected

TOY = {
    "MLproject": """\
        name: toy
        entry_points:
          prepare: {command: python prepare.py}
          train: {parameters: {depth: int, rows: int}, command: "python train.py {depth} {rows}"}
          flaky: {command: python flaky.py}
          fails: {command: "exit 65"}
        pipelines:
          retrain:
            steps:
              prepare: {entry_point: prepare}
              train:
                entry_point: train
                parameters: {depth: "${{ matrix.depth }}", rows: "${{ steps.prepare.outputs.rows }}"}
                matrix: {depth: [1, 2, 3]}
                select: {metric: accuracy, mode: max}
              flaky: {entry_point: flaky, retries: 2}
              promote:
                needs: [train, flaky]
                promote:
                  model: toy
                  source: "${{ steps.train.artifacts }}/model"
                  to: {alias: champion}
                  gates: [{metric: {name: accuracy, min: 0.9}}]
        """,
    "prepare.py": """\
        import json, os
        print(json.dumps({"rows": 7}), file=open(os.environ["MLGATE_OUTPUTS"], "a"))
        """,
    "train.py": """\
        import sys
        import mlgate_tracking as tracking
        tracking.log_metric("accuracy", 0.9 + int(sys.argv[1]) / 100)
        tracking.log_text("flavors: {}\\n", "model/MLmodel")
        """,
    "flaky.py": """\
        import os, sys
        sys.exit(0 if int(os.environ["MLGATE_ATTEMPT"]) > 1 else "not yet")
        """,
}

_OWN = {"created_at", "created_by", "event_id", "promotion_id", "run_id", "user", "verdict_id"}
"""What differs between two verdicts or promotions that say the same."""


def shape(run_id: str) -> list[tuple[str, ...]]:
    """The run tree below a pipeline's run, with tags, verdicts and promotion records.

    What has to differ from run to run is left out: ids, times, and who was at work.
    """
    rows = []
    with connected() as store:
        for run in all_runs():
            tags = {tag.key: tag.value for tag in run.data.tags}
            if tags.get("mlflow.parentRunId") == run_id:
                kept = {key: _common(key, value, tags, store) for key, value in tags.items() if not _of_engine(key)}
                params = sorted((param.key, param.value) for param in run.data.params)
                accuracy = str(run.metric("accuracy"))
                rows.append((run.info.status.value, json.dumps(kept, sort_keys=True), json.dumps(params), accuracy))
    return sorted(rows)


def _of_engine(tag: str) -> bool:
    return tag in ("mlgate.engine", "mlflow.user") or tag.startswith("mlgate.engine.")


def _common(key: str, value: str, tags: Mapping[str, str], store: Store) -> Any:
    """A tag's value as it is for every engine; for an id, what it stands for."""
    match key:
        case "mlflow.parentRunId":
            return "the pipeline"
        case "mlgate.selected_run_id":
            return store.get_run(value).tag("mlgate.map_index")
        case "mlgate.step_run_key":
            index = int(tags.get("mlgate.map_index", -1))
            named = tags["mlgate.engine.run_id"], tags["mlgate.project.digest"], tags["mlgate.step"], index
            return "as everywhere" if value == step_run_key(*named) else value
        case "mlgate.verdict_id":
            verdict = encode(store.get_verdict(value))
            digests = {**verdict["digests"], "model": "of its own run"}
            return {name: said for name, said in (verdict | {"digests": digests}).items() if name not in _OWN}
        case "mlgate.promotion_id":
            return {name: said for name, said in encode(store.get_promotion(value)).items() if name not in _OWN}
    return value


__all__ = ["TOY", "shape"]
