"""Measuring what gates need: files of models, tables, entry points; models in their own environment."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlgate.errors import UsageError
from mlgate.evidence import Measurer, environment_of
from mlgate.gates.data import DataQualityGate
from mlgate.gates.evidence import (
    CheckOutcome,
    CheckRun,
    Columns,
    Evaluation,
    EvaluationResult,
    History,
    LatencyOf,
    Need,
    Quality,
    Side,
    SignatureOf,
    SizeOf,
    Unmeasured,
)
from mlgate.policy import load_policy, parse_policy
from mlgate.promotion import Outcome, check, facts_of, promote
from mlgate.settings import load_settings
from mlgate.tables import read_table
from mlgate.tracking import Tracking, open_tracking
from mlgate_projects.spec import SystemSpec, VirtualenvSpec
from mlgate_tracking.entities import Metric
from mlgate_tracking.governance import VerdictStatus
from tests.support.environments import ROOT, environment
from tests.support.registry import mlmodel, version_with_run

CANDIDATE = Side.CANDIDATE


@pytest.fixture
def tracking() -> Iterator[Tracking]:
    with open_tracking(load_settings()) as opened:
        yield opened


@pytest.fixture
def measurer(tracking: Tracking, tmp_path: Path) -> Iterator[Measurer]:
    with Measurer(tracking, base=tmp_path, env_manager="local") as opened:
        yield opened


def measure(measurer: Measurer, need: Need[Any], version: int = 1) -> Any:
    facts = facts_of(measurer.tracking.store, "iris", version)
    return measurer.measure([(CANDIDATE, need)], facts, None)[CANDIDATE, need]


def registered(tracking: Tracking, files: dict[str, str] | None = None, **more: Any) -> None:
    version_with_run(tracking.store, "iris", files=files, artifacts=Path(tracking.destination), **more)


def test_history_is_every_value_in_order(tracking: Tracking, measurer: Measurer) -> None:
    registered(tracking)
    run_id = tracking.store.get_model_version("iris", 1).run_id or ""
    tracking.store.log_batch(
        run_id, metrics=[Metric("loss", value, step, step) for step, value in enumerate((3, 1, 2))]
    )
    assert measure(measurer, History("loss")) == (3.0, 1.0, 2.0)


def test_signature_and_size_come_from_the_models_files(tracking: Tracking, measurer: Measurer) -> None:
    inputs = [{"name": "a", "type": "double"}]
    registered(tracking, {"MLmodel": mlmodel(inputs, None), "data/model.bin": "x" * 1000})
    assert measure(measurer, SignatureOf()) == {"inputs": inputs, "outputs": None, "params": None}
    size = measure(measurer, SizeOf())
    assert size == 1000 + len(mlmodel(inputs, None))
    assert len(measurer.digests["model"]) == 64


def test_a_model_without_signature_or_files_is_told_apart(tracking: Tracking, measurer: Measurer) -> None:
    registered(tracking, {"MLmodel": mlmodel()})
    registered(tracking)
    assert measure(measurer, SignatureOf(), 1) is None
    missing = measure(measurer, SizeOf(), 2)
    assert isinstance(missing, Unmeasured)
    assert "has no files" in missing.reason


def test_what_cannot_be_measured_rejects_and_says_why(tracking: Tracking, tmp_path: Path, measurer: Measurer) -> None:
    registered(tracking)
    rules = parse_policy(
        {"to": {"alias": "champion"}, "gates": [{"drift": {"reference": "old.csv", "current": "new.csv"}}]}
    )
    verdict = check(tracking.store, "iris", 1, rules, measure=measurer.measure)
    assert verdict.status is VerdictStatus.REJECTED
    assert verdict.failures[0].message == f"could not be measured: old.csv: no such file in {tmp_path}"


# --- tables -----------------------------------------------------------------------------------------------------------


def test_columns_that_two_tables_share_are_read_without_missing_values(measurer: Measurer, tmp_path: Path) -> None:
    registered(measurer.tracking)
    (tmp_path / "old.csv").write_text("a,b,c\n1,x,9\n2,,9\nNA,y,9\n")
    (tmp_path / "new.jsonl").write_text('{"a": 3, "b": "z"}\n{"a": null, "b": "z"}\n')
    found = measure(measurer, Columns("old.csv", "new.jsonl"))
    assert {name: (pair.reference, pair.current) for name, pair in found.items()} == {
        "a": ((1, 2), (3,)),
        "b": (("x", "y"), ("z", "z")),
    }
    assert len(measurer.digests["data"]) == 64


def test_datasets_come_from_artifacts_of_runs_too(tracking: Tracking, measurer: Measurer, tmp_path: Path) -> None:
    registered(tracking)
    run = tracking.store.get_run(tracking.store.get_model_version("iris", 1).run_id or "")
    tracking.log_text(run, "data/new.csv", "a\n1\n2\n")
    (tmp_path / "old.csv").write_text("a\n1\n2\n")
    found = measure(measurer, Columns("old.csv", f"runs:/{run.info.run_id}/data/new.csv"))
    assert found["a"].current == (1, 2)


@pytest.mark.parametrize(
    ("name", "text", "table"),
    [
        ("t.csv", "\ufeffa,b\n1,x\n2.5,\n", {"a": [1, 2.5], "b": ["x", None]}),
        ("t.tsv", "a\tb\n1\tx\n", {"a": [1], "b": ["x"]}),
        ("t.json", '{"columns": ["a"], "data": [[1], [2]]}', {"a": [1, 2]}),
        ("t.json", '[{"a": 1}, {"b": 2}]', {"a": [1, None], "b": [None, 2]}),
    ],
)
def test_tables_are_read_by_their_suffix(tmp_path: Path, name: str, text: str, table: Any) -> None:
    (tmp_path / name).write_text(text)
    assert read_table(tmp_path / name) == table


@pytest.mark.parametrize(
    ("name", "text"), [("t.xml", "<a/>"), ("t.csv", ""), ("t.csv", "a,b\n1\n"), ("t.json", "1"), ("t.jsonl", "[1]\n")]
)
def test_what_is_no_table_is_refused_by_name(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=name):
        read_table(tmp_path / name)


RULES: dict[str, Any] = {
    "data": "flowers.csv",
    "columns": {"width": "float", "kind": "str", "count": "int"},
    "strict": True,
    "not_null": ["width"],
    "max_null_share": {"kind": 0.5},
    "ranges": {"width": {"min": 0, "max": 5}},
    "allowed": {"kind": ["rose", "iris"]},
    "patterns": {"kind": "[a-z]+"},
    "unique": ["width", "kind,count"],
    "min_rows": 3,
    "max_rows": 10,
}


_CHECK = """
import json, sys
from pathlib import Path
from mlgate.quality import check_table

for findings in (check_table(Path(table), json.loads(sys.argv[1])) for table in sys.argv[2:]):
    print(json.dumps([finding.message for finding in findings if not finding.passed]), len(findings))
"""


@pytest.mark.frameworks
def test_data_quality_checks_every_rule(tmp_path: Path) -> None:
    python = environment("quality", ["pandera[pandas]", "pyarrow"])
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_text("width,kind,count\n1.5,rose,1\n2.5,iris,2\n3.5,,3\n")
    bad.write_text("width,kind,other\n1.5,TULIP,1\n,rose,1\n1.5,rose,2\n9,rose,3\n")
    (gate,) = parse_policy({"gates": [{"data_quality": RULES}]}).gates
    assert isinstance(gate.gate, DataQualityGate)
    done = subprocess.run(
        [python, "-W", "ignore", "-c", _CHECK, gate.gate.quality.rules, good, bad],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={"PYTHONPATH": ":".join(str(ROOT / name) for name in ("orchestrator", "tracking", "projects"))},
    )
    assert done.returncode == 0, done.stderr
    kept, broken = done.stdout.splitlines()
    assert kept.startswith("[] ")
    assert sorted(json.loads(broken.rpartition(" ")[0])) == [
        "column count is missing",
        "column count is missing",
        "column other is not in the schema",
        "kind: 1 values are not like [a-z]+",
        "kind: 1 values are not one of rose, iris",
        "width: 1 rows repeat earlier ones",
        "width: 1 values are not at most 5",
        "width: 1 values are not there",
    ]


def test_data_quality_without_its_extra_says_what_to_install(
    measurer: Measurer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    registered(measurer.tracking)
    (tmp_path / "t.csv").write_text("a\n1\n")
    found = measure(measurer, Quality("t.csv", "{}"))
    assert isinstance(found, Unmeasured)
    assert found.reason == "data_quality needs pandas; install mlgate[quality]"


# --- entry points -----------------------------------------------------------------------------------------------------


def test_entry_point_of_a_project_is_run_and_tracked(measurer: Measurer, tmp_path: Path) -> None:
    registered(measurer.tracking)
    project = tmp_path / "project"
    project.mkdir()
    (project / "MLproject").write_text(
        "entry_points:\n  check:\n    parameters: {model: string}\n    command: test {model} = models:/iris/1\n"
    )
    passed = measure(measurer, CheckRun("check", "project", parameters=(("model", "{model_uri}"),)))
    assert isinstance(passed, CheckOutcome)
    assert passed.exit_code == 0
    assert measurer.tracking.store.get_run(passed.run_id).tag("mlgate.gate") == "tests"
    failed = measure(measurer, CheckRun("check", "project", parameters=(("model", "{version}"),)))
    assert failed.exit_code == 1
    nothing = measure(measurer, CheckRun("nothing", "project"))
    assert isinstance(nothing, Unmeasured)


# --- models in their own environment ----------------------------------------------------------------------------------


def test_environment_of_a_model_is_what_its_files_ask_for(tmp_path: Path) -> None:
    assert environment_of(tmp_path) == SystemSpec()
    (tmp_path / "requirements.txt").write_text("six\n")
    (tmp_path / "python_env.yaml").write_text("python: 3.11.7\ndependencies: [-r requirements.txt]\n")
    spec = environment_of(tmp_path)
    assert isinstance(spec, VirtualenvSpec)
    assert spec.python == "3.11.7"
    assert spec.dependencies == ("-r requirements.txt", "pandas", "scikit-learn")


_TRAIN = """
import json, sys
from pathlib import Path
import pandas, pickle
from sklearn.linear_model import LogisticRegression

frame = pandas.read_csv(sys.argv[1])
for depth, name in ((1, "weak"), (50, "good")):
    folder = Path(sys.argv[2]) / name
    folder.mkdir()
    model = LogisticRegression(C=0.001 if name == "weak" else 10, max_iter=depth * 20).fit(
        frame[[one for one in frame.columns if one != "species"]], frame["species"]
    )
    (folder / "model.pkl").write_bytes(pickle.dumps(model))
    example = frame.drop(columns=["species"]).head(3)
    (folder / "input_example.json").write_text(example.to_json(orient="split", index=False))
    (folder / "MLmodel").write_text(json.dumps({
        "flavors": {"sklearn": {"pickled_model": "model.pkl", "serialization_format": "pickle"}}}))
    (folder / "requirements.txt").write_text("scikit-learn\\npandas\\n")
    (folder / "python_env.yaml").write_text("python: '3.11'\\ndependencies: [-r requirements.txt]\\n")
"""


@pytest.mark.frameworks
@pytest.mark.timeout(300)
def test_models_are_scored_and_timed_in_their_own_environment(tracking: Tracking, tmp_path: Path) -> None:
    """Two classifiers of the iris measurements: scored, compared by bootstrap, timed; the weaker one is rejected."""
    import shutil

    python = environment("peers", ["numpy", "pandas", "scikit-learn"])
    data = tmp_path / "iris.csv"
    source = Path(__file__).parents[2] / "examples" / "iris" / "data" / "raw" / "iris.csv"
    data.write_text(source.read_text())
    target = data.read_text().splitlines()[0].split(",")[-1]
    (tmp_path / "models").mkdir()
    script = tmp_path / "train.py"
    script.write_text(_TRAIN.replace("species", target))
    subprocess.run([python, script, data, tmp_path / "models"], check=True, timeout=120)
    for name in ("weak", "good", "weak"):
        version = version_with_run(tracking.store, "iris")
        place = Path(tracking.destination) / version.source.removeprefix("mlflow-artifacts:/")
        shutil.copytree(tmp_path / "models" / name, place)
    (tmp_path / "policy.yaml").write_text(
        json.dumps(
            {
                "to": {"alias": "champion"},
                "gates": [
                    {"evaluate": {"dataset": "iris.csv", "target": target, "thresholds": {"accuracy": {"min": 0.5}}}},
                    {"champion": {"metric": "f1", "dataset": "iris.csv", "target": target, "confidence": 0.95}},
                    {"latency": {"p95": "5s", "repeats": 5}},
                    {"size": {"max": "10MB"}},
                ],
            }
        )
    )
    with Measurer(tracking, base=tmp_path) as measurer:
        evaluation = Evaluation("iris.csv", target)
        scored = measurer.measure([(CANDIDATE, evaluation)], facts_of(tracking.store, "iris", 2), None)
        result = scored[CANDIDATE, evaluation]
        assert isinstance(result, EvaluationResult), result
        assert result.metrics["accuracy"] > 0.95
        assert {"f1", "balanced_accuracy", "roc_auc", "log_loss"} <= result.metrics.keys()
        timed = measurer.measure([(CANDIDATE, LatencyOf(3, 1))], facts_of(tracking.store, "iris", 2), None)
        assert len(timed[CANDIDATE, LatencyOf(3, 1)]) == 3
        rules = load_policy(tmp_path / "policy.yaml")
        outcomes = [
            promote(tracking.store, "iris", number, policy=rules, measure=measurer.measure) for number in (1, 2, 3)
        ]
    assert [one.outcome for one in outcomes] == [Outcome.PROMOTED, Outcome.PROMOTED, Outcome.REJECTED]
    assert outcomes[2].verdict is not None
    assert "share of resamples with change of f1" in outcomes[2].verdict.failures[0].message
    assert {"model", "champion", "data", "policy"} <= outcomes[2].verdict.digests.keys()
