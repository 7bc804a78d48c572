"""A project whose pipeline uses everything and needs nothing installed, and the shape of the runs it leaves."""

from __future__ import annotations

import json

from tests.support.cli import all_runs

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

_SAME = ("mlgate.step", "mlgate.map_index", "mlgate.attempt", "mlgate.exit_code", "mlgate.outcome")


def shape(run_id: str) -> list[tuple[str, ...]]:
    """The run tree below a pipeline's run, without what differs from run to run: ids, times, names."""
    rows = []
    for run in all_runs():
        tags = {tag.key: tag.value for tag in run.data.tags}
        if tags.get("mlflow.parentRunId") == run_id:
            kept = {key: tags[key] for key in _SAME if key in tags}
            params = sorted((param.key, param.value) for param in run.data.params)
            accuracy = str(run.metric("accuracy"))
            rows.append((run.info.status.value, json.dumps(kept, sort_keys=True), json.dumps(params), accuracy))
    return sorted(rows)


__all__ = ["TOY", "shape"]
