"""Runs in the model's own environment: loads the model, scores it on datasets, times its predictions.

    python measure_model.py request.json answer.json

Plain Python 3.8+ besides what the model's environment has; `mlgate` itself is not there.

Request: {"model": directory, "jobs": [{"kind": "evaluate", "dataset", "target", "task", "function"} or
{"kind": "latency", "repeats", "warmup", "dataset"}]}. Answer: {"results": [{"metrics", "expected", "predicted"} or
{"samples"} or {"problem": text}]}, one for each job, or {"problem": text} when the model cannot be loaded.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import sys
import time
from typing import Any, Dict, List, Optional, Tuple


def load_model(directory: str) -> Any:
    """The model as something with `predict`: by the step kit, else by mlflow if the environment has it."""
    problems = []
    try:
        load: Any = importlib.import_module("mlgate_tracking").load_model  # the step kit's, staged beside us
        return load(directory)
    except Exception as error:
        problems.append("%s: %s" % (type(error).__name__, error))
    try:
        import mlflow.pyfunc
    except ImportError:
        raise RuntimeError("the model cannot be loaded: " + problems[0]) from None
    return mlflow.pyfunc.load_model(directory)


def read_frame(path: str) -> Any:
    import pandas

    suffix = os.path.splitext(path)[1].lower()
    if suffix == ".parquet":
        return pandas.read_parquet(path)
    if suffix in (".jsonl", ".ndjson"):
        return pandas.read_json(path, lines=True)
    if suffix == ".json":
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
        if isinstance(data, dict) and "columns" in data:
            return pandas.DataFrame(data["data"], columns=data["columns"])
        return pandas.DataFrame(data)
    return pandas.read_csv(path, sep="\t" if suffix == ".tsv" else ",")


def plain(values: Any) -> List[Any]:
    """A list of Python values from whatever a model predicts (the first column, if there are several)."""
    if hasattr(values, "columns"):
        values = values[values.columns[0]]
    values = values.tolist() if hasattr(values, "tolist") else list(values)
    return [value[0] if isinstance(value, list) and len(value) == 1 else value for value in values]


def evaluate(model: Any, job: Dict[str, Any]) -> Dict[str, Any]:
    frame = read_frame(job["dataset"])
    if job["target"] not in frame.columns:
        known = ", ".join(str(name) for name in frame.columns)
        raise ValueError("no column %r in %s; known: %s" % (job["target"], os.path.basename(job["dataset"]), known))
    expected = frame[job["target"]].tolist()
    features = frame.drop(columns=[job["target"]])
    predicted = plain(model.predict(features))
    if len(predicted) != len(expected):
        raise ValueError("the model made %d predictions for %d rows" % (len(predicted), len(expected)))
    task = job.get("task") or guess_task(expected)
    if task == "classifier":
        if {type(value) for value in expected} != {type(value) for value in predicted}:
            expected, predicted = alike(expected), alike(predicted)
        metrics = classification(expected, predicted, probabilities(model, features))
    else:
        metrics = regression(expected, predicted)
    if job.get("function"):
        module, _, name = job["function"].partition(":")
        sys.path.insert(0, os.getcwd())
        metrics.update(getattr(importlib.import_module(module), name)(expected, predicted))
    return {
        "metrics": {str(name): float(value) for name, value in metrics.items() if math.isfinite(float(value))},
        "expected": expected,
        "predicted": predicted,
    }


def guess_task(expected: List[Any]) -> str:
    """Texts, booleans and whole numbers are classes, numbers with fractions are not."""
    fractions = any(isinstance(value, float) and not value.is_integer() for value in expected)
    return "regressor" if fractions else "classifier"


def alike(labels: List[Any]) -> List[Any]:
    """Labels as whole numbers where they are, so that 1 and 1.0 are one class; else as text."""
    try:
        return [int(value) if float(value).is_integer() else float(value) for value in labels]
    except (TypeError, ValueError):
        return [str(value) for value in labels]


def probabilities(model: Any, features: Any) -> Optional[Tuple[List[Any], Any]]:
    """(classes, probabilities) of the model inside, if it knows them."""
    try:
        inside = model.unwrap() if hasattr(model, "unwrap") else model.get_raw_model()
        return list(inside.classes_), inside.predict_proba(features)
    except Exception:
        return None


def classification(
    expected: List[Any], predicted: List[Any], known: Optional[Tuple[List[Any], Any]]
) -> Dict[str, float]:
    from sklearn import metrics

    macro = {"average": "macro", "zero_division": 0}
    scores = {
        "accuracy": metrics.accuracy_score(expected, predicted),
        "balanced_accuracy": metrics.recall_score(expected, predicted, labels=sorted(set(expected)), **macro),
        "precision": metrics.precision_score(expected, predicted, **macro),
        "recall": metrics.recall_score(expected, predicted, **macro),
        "f1": metrics.f1_score(expected, predicted, **macro),
    }
    if known is not None and set(expected) <= set(known[0]) and len(set(expected)) == len(known[0]):
        classes, chances = known
        scores["log_loss"] = metrics.log_loss(expected, chances, labels=classes)
        if len(classes) == 2:
            scores["roc_auc"] = metrics.roc_auc_score(expected, chances[:, 1])
        else:
            scores["roc_auc"] = metrics.roc_auc_score(expected, chances, multi_class="ovr", labels=classes)
    return scores


def regression(expected: List[Any], predicted: List[Any]) -> Dict[str, float]:
    from sklearn import metrics

    squared = metrics.mean_squared_error(expected, predicted)
    return {
        "mean_absolute_error": metrics.mean_absolute_error(expected, predicted),
        "mean_squared_error": squared,
        "root_mean_squared_error": math.sqrt(squared),
        "mean_absolute_percentage_error": metrics.mean_absolute_percentage_error(expected, predicted),
        "max_error": metrics.max_error(expected, predicted),
        "r2": metrics.r2_score(expected, predicted) if len(expected) > 1 else float("nan"),
    }


def input_example(directory: str) -> Any:
    """The model's stored input example as a data frame or array; None without one."""
    path = os.path.join(directory, "input_example.json")
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        data = json.load(file)
    if isinstance(data, dict) and set(data) <= {"inputs", "params"} and "inputs" in data:
        data = data["inputs"]
    import numpy
    import pandas

    if isinstance(data, dict) and "columns" in data and "data" in data:
        return pandas.DataFrame(data["data"], columns=data["columns"])
    if isinstance(data, list) and data and isinstance(data[0], dict):
        return pandas.DataFrame(data)
    if isinstance(data, dict):
        return pandas.DataFrame(data) if all(isinstance(value, list) for value in data.values()) else data
    return numpy.asarray(data)


def latency(model: Any, job: Dict[str, Any], directory: str) -> Dict[str, Any]:
    if job.get("dataset"):
        example = read_frame(job["dataset"]).head(10)
    else:
        example = input_example(directory)
        if example is None:
            raise ValueError("the model has no input example; log it with one, or name a dataset")
    for _ in range(job["warmup"]):
        model.predict(example)
    samples = []
    for _ in range(job["repeats"]):
        started = time.perf_counter()
        model.predict(example)
        samples.append(time.perf_counter() - started)
    return {"samples": samples}


def measure(request: Dict[str, Any]) -> Dict[str, Any]:
    try:
        model = load_model(request["model"])
    except Exception as error:
        return {"problem": "%s: %s" % (type(error).__name__, error)}
    results = []
    for job in request["jobs"]:
        try:
            run = latency(model, job, request["model"]) if job["kind"] == "latency" else evaluate(model, job)
        except Exception as error:
            run = {"problem": "%s: %s" % (type(error).__name__, error)}
        results.append(run)
    return {"results": results}


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        request = json.load(file)
    answer = measure(request)
    with open(sys.argv[2] + ".partial", "w", encoding="utf-8") as file:
        json.dump(answer, file)
    os.replace(sys.argv[2] + ".partial", sys.argv[2])


if __name__ == "__main__":
    main()
