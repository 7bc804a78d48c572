"""What each search lets you filter and order by: one `Grammar` a subject, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from mlgate_tracking.store.search.syntax import Field, Kind, Operator

_EQUAL = (Operator.EQ, Operator.NE)
_TEXT = (*_EQUAL, Operator.LIKE, Operator.ILIKE)
_MEMBER = (Operator.IN, Operator.NOT_IN)
_NULL = (Operator.IS_NULL, Operator.IS_NOT_NULL)
_NUMERIC = (*_EQUAL, Operator.LT, Operator.LE, Operator.GT, Operator.GE)


@dataclass(frozen=True, slots=True)
class Rule:
    """How one field may be compared.

    Attributes:
        operators: what is allowed, in the order in which messages list it.
        numeric: the value is a number; text in quotes otherwise.
        quoted_number: a numeric value may come in quotes (`version_number = '3'`).
        choices: spellings of the value -> what the store holds; empty allows any text.
    """

    operators: tuple[Operator, ...]
    numeric: bool = False
    quoted_number: bool = False
    choices: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Grammar:
    """The identifiers of one search.

    Attributes:
        subject: what is searched, for messages.
        entities: entity word before the dot -> kind.
        attributes: accepted spelling -> canonical name.
        rules: canonical attribute name -> how it is compared. Attributes without a rule can only be ordered by.
        keyed: kind -> how any key of that kind is compared.
        dataset_keys: what may follow `dataset.`.
        orderable: canonical attribute names that can be ordered by.
        ordered_kinds: kinds whose keys can be ordered by.
        ordered_prefixes: False when an order-by takes bare attribute names only.
        meant: fields that are another one's alias (`name` of a trace is a tag).
        elsewhere: entity word or attribute -> why it cannot be searched and what to do instead.
    """

    subject: str
    entities: Mapping[str, Kind]
    attributes: Mapping[str, str]
    rules: Mapping[str, Rule]
    keyed: Mapping[Kind, Rule]
    orderable: frozenset[str]
    ordered_kinds: frozenset[Kind] = frozenset()
    ordered_prefixes: bool = True
    dataset_keys: frozenset[str] = frozenset()
    meant: Mapping[Field, Field] = field(default_factory=lambda: MappingProxyType({}))
    elsewhere: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def rule(self, which: Field) -> Rule | None:
        """How `which` may be compared; None when it cannot be."""
        return self.rules.get(which.key) if which.kind is Kind.ATTRIBUTE else self.keyed.get(which.kind)


def _named(*names: str, **aliases: str) -> dict[str, str]:
    return {name: name for name in names} | aliases


_NUMBER = Rule(_NUMERIC, numeric=True)
_STRING = Rule(_TEXT)
_LISTED = Rule((*_TEXT, *_MEMBER))
_PRESENCE = Rule((*_TEXT, *_NULL))

RUNS = Grammar(
    subject="runs",
    entities={
        "attribute": Kind.ATTRIBUTE,
        "attributes": Kind.ATTRIBUTE,
        "attr": Kind.ATTRIBUTE,
        "run": Kind.ATTRIBUTE,
        "metric": Kind.METRIC,
        "metrics": Kind.METRIC,
        "param": Kind.PARAM,
        "params": Kind.PARAM,
        "parameter": Kind.PARAM,
        "parameters": Kind.PARAM,
        "tag": Kind.TAG,
        "tags": Kind.TAG,
        "dataset": Kind.DATASET,
        "datasets": Kind.DATASET,
    },
    attributes={
        **_named("run_id", "run_name", "status", "user_id", "artifact_uri", "start_time", "end_time"),
        "created": "start_time",
        "Created": "start_time",
        "run name": "run_name",
        "Run name": "run_name",
        "Run Name": "run_name",
    },
    rules={
        "run_id": _LISTED,
        "run_name": _STRING,
        "status": _STRING,
        "user_id": _STRING,
        "artifact_uri": _STRING,
        "start_time": _NUMBER,
        "end_time": _NUMBER,
    },
    keyed={Kind.METRIC: _NUMBER, Kind.PARAM: _PRESENCE, Kind.TAG: _PRESENCE, Kind.DATASET: _LISTED},
    dataset_keys=frozenset({"name", "digest", "context"}),
    orderable=frozenset({"run_id", "run_name", "user_id", "status", "start_time", "end_time", "artifact_uri"}),
    ordered_kinds=frozenset({Kind.METRIC, Kind.PARAM, Kind.TAG}),
)

EXPERIMENTS = Grammar(
    subject="experiments",
    entities={
        "attribute": Kind.ATTRIBUTE,
        "attributes": Kind.ATTRIBUTE,
        "tag": Kind.TAG,
        "tags": Kind.TAG,
    },
    attributes=_named("name", "experiment_id", "creation_time", "last_update_time"),
    rules={
        "name": _STRING,
        "experiment_id": Rule((*_EQUAL, *_MEMBER)),
        "creation_time": _NUMBER,
        "last_update_time": _NUMBER,
    },
    keyed={Kind.TAG: _PRESENCE},
    orderable=frozenset({"name", "experiment_id", "creation_time", "last_update_time"}),
)

REGISTERED_MODELS = Grammar(
    subject="registered models",
    entities={"attribute": Kind.ATTRIBUTE, "tag": Kind.TAG, "tags": Kind.TAG},
    attributes=_named("name", "last_updated_timestamp", timestamp="last_updated_timestamp"),
    rules={"name": _LISTED},
    keyed={Kind.TAG: _STRING},
    orderable=frozenset({"name", "last_updated_timestamp"}),
    ordered_prefixes=False,
)

MODEL_VERSIONS = Grammar(
    subject="model versions",
    entities={"attribute": Kind.ATTRIBUTE, "tag": Kind.TAG, "tags": Kind.TAG},
    attributes=_named(
        "name", "run_id", "source_path", "version_number", "creation_timestamp", "last_updated_timestamp"
    ),
    rules={
        "name": _LISTED,
        "run_id": _LISTED,
        "source_path": _STRING,
        "version_number": Rule(_NUMERIC, numeric=True, quoted_number=True),
    },
    keyed={Kind.TAG: _STRING},
    orderable=frozenset({"name", "version_number", "creation_timestamp", "last_updated_timestamp"}),
)

_LOGGED_MODEL_STATUS = {
    "PENDING": "LOGGED_MODEL_PENDING",
    "READY": "LOGGED_MODEL_READY",
    "FAILED": "LOGGED_MODEL_UPLOAD_FAILED",
    "LOGGED_MODEL_PENDING": "LOGGED_MODEL_PENDING",
    "LOGGED_MODEL_READY": "LOGGED_MODEL_READY",
    "LOGGED_MODEL_UPLOAD_FAILED": "LOGGED_MODEL_UPLOAD_FAILED",
}

LOGGED_MODELS = Grammar(
    subject="logged models",
    entities={
        "attributes": Kind.ATTRIBUTE,
        "metrics": Kind.METRIC,
        "params": Kind.PARAM,
        "tags": Kind.TAG,
    },
    attributes={
        **_named(
            "name",
            "model_id",
            "experiment_id",
            "model_type",
            "source_run_id",
            "status",
            "creation_timestamp",
            "last_updated_timestamp",
        ),
        "creation_time": "creation_timestamp",
        "creation_timestamp_ms": "creation_timestamp",
        "last_updated_time": "last_updated_timestamp",
        "last_updated_timestamp_ms": "last_updated_timestamp",
    },
    rules={
        "name": _LISTED,
        "model_id": _LISTED,
        "experiment_id": _LISTED,
        "model_type": _LISTED,
        "source_run_id": _LISTED,
        "status": Rule((*_EQUAL, *_MEMBER), choices=_LOGGED_MODEL_STATUS),
        "creation_timestamp": _NUMBER,
        "last_updated_timestamp": _NUMBER,
    },
    keyed={Kind.METRIC: _NUMBER, Kind.PARAM: _LISTED, Kind.TAG: _LISTED},
    orderable=frozenset(
        {
            "name",
            "model_id",
            "experiment_id",
            "model_type",
            "source_run_id",
            "status",
            "creation_timestamp",
            "last_updated_timestamp",
        }
    ),
    ordered_kinds=frozenset({Kind.METRIC}),
)

_REGEX = Rule((*_TEXT, Operator.RLIKE))
_TRACE_TEXT = Rule((*_TEXT, Operator.RLIKE, *_MEMBER))
_TRACE_KEYED = Rule((*_TEXT, Operator.RLIKE, *_NULL))
_SPANS = "spans are kept in the trace's artifact, not in the database; filter by tags or metadata"

TRACES = Grammar(
    subject="traces",
    entities={
        "attribute": Kind.ATTRIBUTE,
        "attributes": Kind.ATTRIBUTE,
        "trace": Kind.ATTRIBUTE,
        "tag": Kind.TAG,
        "tags": Kind.TAG,
        "metadata": Kind.METADATA,
        "request_metadata": Kind.METADATA,
    },
    attributes={
        **_named("trace_id", "experiment_id", "client_request_id", "status", "name", "run_id"),
        "request_id": "trace_id",
        "state": "status",
        "timestamp": "timestamp_ms",
        "timestamp_ms": "timestamp_ms",
        "execution_time": "execution_time_ms",
        "execution_time_ms": "execution_time_ms",
        "end_time": "end_time_ms",
        "end_time_ms": "end_time_ms",
    },
    rules={
        "trace_id": _TRACE_TEXT,
        "client_request_id": _TRACE_TEXT,
        "status": _TRACE_TEXT,
        "timestamp_ms": _NUMBER,
        "execution_time_ms": _NUMBER,
        "end_time_ms": _NUMBER,
    },
    keyed={
        Kind.TAG: Rule((*_TRACE_KEYED.operators, *_MEMBER)),
        Kind.METADATA: Rule((*_TRACE_KEYED.operators, *_MEMBER)),
    },
    orderable=frozenset({"trace_id", "experiment_id", "status", "timestamp_ms", "execution_time_ms", "end_time_ms"}),
    ordered_kinds=frozenset({Kind.TAG, Kind.METADATA}),
    meant={
        Field(Kind.ATTRIBUTE, "name"): Field(Kind.TAG, "mlflow.traceName"),
        Field(Kind.ATTRIBUTE, "run_id"): Field(Kind.METADATA, "mlflow.sourceRun"),
    },
    elsewhere={"span": _SPANS, "text": _SPANS},
)

__all__ = [
    "EXPERIMENTS",
    "LOGGED_MODELS",
    "MODEL_VERSIONS",
    "REGISTERED_MODELS",
    "RUNS",
    "TRACES",
    "Grammar",
    "Rule",
]
