"""Every table of the store, as SQLAlchemy Core `Table` objects: the schema's one definition.

Conventions:
- `*_pk` columns are integer surrogate keys and never leave the store; `run_id`, `model_id`... are the wire's ids.
- Times are milliseconds since the epoch. `deleted_time` is NULL for an active row (that is the life-cycle stage).
- Column names are no reserved word in any of the databases, so the statements need no quoting.
- Names of metrics, params and tags of runs and logged models are interned in `attribute_keys`. A NaN is value 0 with
  `is_nan` 1, since neither SQLite nor MySQL keeps NaN.
- `metrics`, `latest_metrics`, `params` and `tags` carry no foreign keys: each of their writes has just read the run's
  row in the same transaction, and a check for every row would double the cost of a batch. The last three repeat the
  run's `experiment_id`, so that a filter or an order inside one experiment is one index range.
- `value_hash` is `text_hash(value)`: equality filters go through its index (values are too long for one).
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from mlgate_tracking.store.values import text_hash

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite makes only INTEGER PRIMARY KEY the row id.
BigKey = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

KEY_LENGTH = 250
RUN_ID_LENGTH = 32
MODEL_ID_LENGTH = 64
URI_LENGTH = 2048
STAGE_LENGTH = 100
GOVERNANCE_ID_LENGTH = 64
# Beyond 65,535 bytes MySQL needs a wider type than TEXT; the length only chooses it and is no limit elsewhere.
MEDIUM_TEXT = sa.Text().with_variant(sa.Text(1_000_000), "mysql", "mariadb")


def _pk(name: str) -> sa.Column[int]:
    return sa.Column(name, BigKey, primary_key=True, autoincrement=True)


def _part(name: str, type_: sa.types.TypeEngine[Any] | type[sa.types.TypeEngine[Any]]) -> sa.Column[Any]:
    """A column of a composite primary key."""
    return sa.Column(name, type_, primary_key=True, autoincrement=False)


def _child_of(name: str, target: str) -> sa.Column[int]:
    """A column of a composite primary key that goes with its parent row."""
    return sa.Column(name, BigKey, sa.ForeignKey(target, ondelete="CASCADE"), primary_key=True, autoincrement=False)


def _time(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=nullable)


# --- experiments and runs ---------------------------------------------------------------------------------------------

experiments = sa.Table(
    "experiments",
    metadata,
    _pk("experiment_id"),
    sa.Column("name", sa.String(500), nullable=False, unique=True),
    sa.Column("artifact_location", sa.String(URI_LENGTH), nullable=False),
    _time("creation_time"),
    _time("last_update_time"),
    _time("deleted_time", nullable=True),
    sqlite_autoincrement=True,
)

experiment_tags = sa.Table(
    "experiment_tags",
    metadata,
    _child_of("experiment_id", "experiments.experiment_id"),
    _part("name", sa.String(KEY_LENGTH)),
    sa.Column("value", MEDIUM_TEXT, nullable=False),
)

runs = sa.Table(
    "runs",
    metadata,
    _pk("run_pk"),
    sa.Column("run_id", sa.String(RUN_ID_LENGTH), nullable=False, unique=True),
    sa.Column("experiment_id", BigKey, sa.ForeignKey("experiments.experiment_id", ondelete="CASCADE"), nullable=False),
    sa.Column("name", sa.String(KEY_LENGTH), nullable=False),
    sa.Column("user_id", sa.String(256), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    _time("start_time"),
    _time("end_time", nullable=True),
    _time("deleted_time", nullable=True),
    sa.Column("artifact_uri", sa.String(URI_LENGTH), nullable=False),
    # A step's run: its identity and the attempt whose writes count. NULL and 0 for every other run.
    sa.Column("step_run_key", sa.String(128), nullable=True, unique=True),
    sa.Column("attempt", sa.Integer, nullable=False),
    # The step's run whose token created this one.
    sa.Column("owner_run_id", sa.String(RUN_ID_LENGTH), nullable=True),
)
sa.Index("ix_runs_newest", runs.c.experiment_id, runs.c.start_time.desc(), runs.c.run_id)
# Few runs are deleted, so this index is small wherever an index can leave rows out.
sa.Index(
    "ix_runs_deleted",
    runs.c.experiment_id,
    runs.c.deleted_time,
    sqlite_where=runs.c.deleted_time.is_not(None),
    postgresql_where=runs.c.deleted_time.is_not(None),
)
sa.Index("ix_runs_end_time", runs.c.experiment_id, runs.c.end_time)
sa.Index("ix_runs_name", runs.c.experiment_id, runs.c.name)

attribute_keys = sa.Table(
    "attribute_keys",
    metadata,
    _pk("key_id"),
    sa.Column("name", sa.String(KEY_LENGTH), nullable=False, unique=True),
)

# Identical points are stored once, and a history (timestamp, step, value) is one range scan of the clustered key.
metrics = sa.Table(
    "metrics",
    metadata,
    _part("run_pk", BigKey),
    _part("key_id", BigKey),
    _part("timestamp", sa.BigInteger),
    _part("step", sa.BigInteger),
    _part("value", sa.Double),
    _part("is_nan", sa.SmallInteger),
    sqlite_with_rowid=False,
)

# The greatest (step, timestamp, value) of each run and key, kept by upsert.
latest_metrics = sa.Table(
    "latest_metrics",
    metadata,
    _part("run_pk", BigKey),
    _part("key_id", BigKey),
    sa.Column("experiment_id", sa.BigInteger, nullable=False),
    sa.Column("value", sa.Double, nullable=False),
    sa.Column("is_nan", sa.SmallInteger, nullable=False),
    _time("timestamp"),
    sa.Column("step", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
sa.Index(
    "ix_latest_metrics_value",
    latest_metrics.c.experiment_id,
    latest_metrics.c.key_id,
    latest_metrics.c.is_nan,
    latest_metrics.c.value,
    latest_metrics.c.run_pk,
)

params = sa.Table(
    "params",
    metadata,
    _part("run_pk", BigKey),
    _part("key_id", BigKey),
    sa.Column("experiment_id", sa.BigInteger, nullable=False),
    sa.Column("value", MEDIUM_TEXT, nullable=False),
    sa.Column("value_hash", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
sa.Index("ix_params_value", params.c.experiment_id, params.c.key_id, params.c.value_hash, params.c.run_pk)

tags = sa.Table(
    "tags",
    metadata,
    _part("run_pk", BigKey),
    _part("key_id", BigKey),
    sa.Column("experiment_id", sa.BigInteger, nullable=False),
    sa.Column("value", MEDIUM_TEXT, nullable=False),
    sa.Column("value_hash", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
sa.Index("ix_tags_value", tags.c.experiment_id, tags.c.key_id, tags.c.value_hash, tags.c.run_pk)

datasets = sa.Table(
    "datasets",
    metadata,
    _pk("dataset_pk"),
    sa.Column("experiment_id", BigKey, sa.ForeignKey("experiments.experiment_id", ondelete="CASCADE"), nullable=False),
    sa.Column("name", sa.String(500), nullable=False),
    sa.Column("digest", sa.String(36), nullable=False),
    sa.Column("source_type", sa.String(36), nullable=False),
    sa.Column("source", MEDIUM_TEXT, nullable=False),
    sa.Column("schema_json", MEDIUM_TEXT, nullable=True),
    sa.Column("profile", sa.Text().with_variant(sa.Text(16_777_215), "mysql", "mariadb"), nullable=True),
    sa.UniqueConstraint("experiment_id", "name", "digest"),
)

dataset_inputs = sa.Table(
    "dataset_inputs",
    metadata,
    _child_of("run_pk", "runs.run_pk"),
    _child_of("dataset_pk", "datasets.dataset_pk"),
)
sa.Index("ix_dataset_inputs_dataset", dataset_inputs.c.dataset_pk, dataset_inputs.c.run_pk)

dataset_input_tags = sa.Table(
    "dataset_input_tags",
    metadata,
    _child_of("run_pk", "runs.run_pk"),
    _child_of("dataset_pk", "datasets.dataset_pk"),
    _part("name", sa.String(255)),
    sa.Column("value", sa.String(500), nullable=False),
)

# Models that a run read or made. The model may live elsewhere, so these are ids, not references.
model_inputs = sa.Table(
    "model_inputs",
    metadata,
    _child_of("run_pk", "runs.run_pk"),
    _part("model_id", sa.String(MODEL_ID_LENGTH)),
)

model_outputs = sa.Table(
    "model_outputs",
    metadata,
    _child_of("run_pk", "runs.run_pk"),
    _part("model_id", sa.String(MODEL_ID_LENGTH)),
    sa.Column("step", sa.BigInteger, nullable=False),
)

# A create that is sent again finds what its first call made.
idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("idempotency_key", sa.String(255), primary_key=True),
    sa.Column("resource", sa.String(600), nullable=False),
    _time("creation_time"),
)

# --- logged models ----------------------------------------------------------------------------------------------------

logged_models = sa.Table(
    "logged_models",
    metadata,
    _pk("logged_model_pk"),
    sa.Column("model_id", sa.String(MODEL_ID_LENGTH), nullable=False, unique=True),
    sa.Column("experiment_id", BigKey, sa.ForeignKey("experiments.experiment_id", ondelete="CASCADE"), nullable=False),
    sa.Column("name", sa.String(500), nullable=False),
    sa.Column("artifact_uri", sa.String(URI_LENGTH), nullable=False),
    sa.Column("status", sa.String(40), nullable=False),
    sa.Column("status_message", MEDIUM_TEXT, nullable=True),
    sa.Column("model_type", sa.String(500), nullable=True),
    sa.Column("source_run_id", sa.String(RUN_ID_LENGTH), nullable=True, index=True),
    sa.Column("owner_run_id", sa.String(RUN_ID_LENGTH), nullable=True),
    _time("creation_timestamp"),
    _time("last_updated_timestamp"),
    _time("deleted_time", nullable=True),
)
sa.Index(
    "ix_logged_models_newest",
    logged_models.c.experiment_id,
    logged_models.c.creation_timestamp.desc(),
    logged_models.c.model_id,
)

logged_model_params = sa.Table(
    "logged_model_params",
    metadata,
    _child_of("logged_model_pk", "logged_models.logged_model_pk"),
    _part("key_id", BigKey),
    sa.Column("value", MEDIUM_TEXT, nullable=False),
)

logged_model_tags = sa.Table(
    "logged_model_tags",
    metadata,
    _child_of("logged_model_pk", "logged_models.logged_model_pk"),
    _part("key_id", BigKey),
    sa.Column("value", MEDIUM_TEXT, nullable=False),
)

# `dataset_hash` is text_hash(name + "\n" + digest), 0 without a dataset: it stands for both in the key.
logged_model_metrics = sa.Table(
    "logged_model_metrics",
    metadata,
    _child_of("logged_model_pk", "logged_models.logged_model_pk"),
    _part("key_id", BigKey),
    _part("dataset_hash", sa.BigInteger),
    _part("step", sa.BigInteger),
    _part("timestamp", sa.BigInteger),
    _part("value", sa.Double),
    _part("is_nan", sa.SmallInteger),
    _part("run_id", sa.String(RUN_ID_LENGTH)),
    sa.Column("dataset_name", sa.String(500), nullable=True),
    sa.Column("dataset_digest", sa.String(36), nullable=True),
)

# --- model registry ---------------------------------------------------------------------------------------------------

registered_models = sa.Table(
    "registered_models",
    metadata,
    _pk("registered_model_pk"),
    sa.Column("name", sa.String(256), nullable=False, unique=True),
    sa.Column("description", MEDIUM_TEXT, nullable=True),
    sa.Column("user_id", sa.String(256), nullable=True),
    _time("creation_timestamp"),
    _time("last_updated_timestamp"),
    # The greatest version ever given out, deleted ones too.
    sa.Column("last_version", sa.Integer, nullable=False),
    sa.Column("owner_run_id", sa.String(RUN_ID_LENGTH), nullable=True),
)
sa.Index("ix_registered_models_updated", registered_models.c.last_updated_timestamp, registered_models.c.name)

registered_model_tags = sa.Table(
    "registered_model_tags",
    metadata,
    _child_of("registered_model_pk", "registered_models.registered_model_pk"),
    _part("name", sa.String(KEY_LENGTH)),
    sa.Column("value", MEDIUM_TEXT, nullable=False),
)

registered_model_aliases = sa.Table(
    "registered_model_aliases",
    metadata,
    _child_of("registered_model_pk", "registered_models.registered_model_pk"),
    _part("alias", sa.String(255)),
    sa.Column("version", sa.Integer, nullable=False),
)

model_versions = sa.Table(
    "model_versions",
    metadata,
    _pk("model_version_pk"),
    sa.Column(
        "registered_model_pk",
        BigKey,
        sa.ForeignKey("registered_models.registered_model_pk", ondelete="CASCADE"),
        nullable=False,
    ),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("current_stage", sa.String(STAGE_LENGTH), nullable=False),
    sa.Column("source", sa.String(URI_LENGTH), nullable=False),
    sa.Column("storage_location", sa.String(URI_LENGTH), nullable=True),
    sa.Column("run_id", sa.String(RUN_ID_LENGTH), nullable=True, index=True),
    sa.Column("run_link", sa.String(500), nullable=True),
    sa.Column("description", MEDIUM_TEXT, nullable=True),
    sa.Column("user_id", sa.String(256), nullable=True),
    sa.Column("model_id", sa.String(MODEL_ID_LENGTH), nullable=True, index=True),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("status_message", sa.String(500), nullable=True),
    sa.Column("owner_run_id", sa.String(RUN_ID_LENGTH), nullable=True),
    _time("creation_timestamp"),
    _time("last_updated_timestamp"),
    _time("deleted_time", nullable=True),
    sa.UniqueConstraint("registered_model_pk", "version"),
)
sa.Index(
    "ix_model_versions_stage",
    model_versions.c.registered_model_pk,
    model_versions.c.current_stage,
    model_versions.c.deleted_time,
    model_versions.c.version,
)
sa.Index("ix_model_versions_updated", model_versions.c.last_updated_timestamp, model_versions.c.model_version_pk)

model_version_tags = sa.Table(
    "model_version_tags",
    metadata,
    _child_of("model_version_pk", "model_versions.model_version_pk"),
    _part("name", sa.String(KEY_LENGTH)),
    sa.Column("value", MEDIUM_TEXT, nullable=False),
)

# --- webhooks ---------------------------------------------------------------------------------------------------------

webhooks = sa.Table(
    "webhooks",
    metadata,
    _pk("webhook_pk"),
    sa.Column("webhook_id", sa.String(36), nullable=False, unique=True),
    sa.Column("name", sa.String(63), nullable=False),
    sa.Column("description", MEDIUM_TEXT, nullable=True),
    sa.Column("url", sa.String(500), nullable=False),
    sa.Column("secret", sa.String(1000), nullable=True),
    sa.Column("status", sa.String(20), nullable=False),
    _time("creation_timestamp"),
    _time("last_updated_timestamp"),
    _time("deleted_time", nullable=True),
)
sa.Index("ix_webhooks_newest", webhooks.c.creation_timestamp.desc(), webhooks.c.webhook_id)

webhook_events = sa.Table(
    "webhook_events",
    metadata,
    _child_of("webhook_pk", "webhooks.webhook_pk"),
    _part("entity", sa.String(50)),
    _part("action", sa.String(50)),
)
sa.Index("ix_webhook_events_event", webhook_events.c.entity, webhook_events.c.action)

# --- promotion: verdicts, approvals, promotions, rollbacks, the audit log, events -------------------------------------


def _of_model() -> sa.Column[int]:
    return sa.Column(
        "registered_model_pk",
        BigKey,
        sa.ForeignKey("registered_models.registered_model_pk", ondelete="CASCADE"),
        nullable=False,
    )


def _target() -> tuple[sa.Column[str], sa.Column[str]]:
    return sa.Column("alias", sa.String(255), nullable=True), sa.Column("stage", sa.String(STAGE_LENGTH), nullable=True)


verdicts = sa.Table(
    "verdicts",
    metadata,
    _pk("verdict_pk"),
    sa.Column("verdict_id", sa.String(GOVERNANCE_ID_LENGTH), nullable=False, unique=True),
    _of_model(),
    sa.Column("version", sa.Integer, nullable=False),
    # The whole record as JSON; what a statement asks for stands beside it.
    sa.Column("body", MEDIUM_TEXT, nullable=False),
    _time("created_at"),
)
sa.Index("ix_verdicts_model", verdicts.c.registered_model_pk, verdicts.c.verdict_pk)

approvals = sa.Table(
    "approvals",
    metadata,
    _pk("approval_pk"),
    sa.Column("approval_id", sa.String(GOVERNANCE_ID_LENGTH), nullable=False, unique=True),
    sa.Column("verdict_id", sa.String(GOVERNANCE_ID_LENGTH), nullable=False),
    _of_model(),
    sa.Column("version", sa.Integer, nullable=False),
    *_target(),
    sa.Column("role_name", sa.String(250), nullable=False),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("needed", sa.Integer, nullable=False),
    sa.Column("four_eyes", sa.SmallInteger, nullable=False),
    sa.Column("starter", sa.String(256), nullable=False),
    sa.Column("requested_by", sa.String(256), nullable=False),
    sa.Column("policy_digest", sa.String(64), nullable=False),
    # The champion for which it was asked: once that has changed, nobody has approved anything.
    sa.Column("champion_version", sa.Integer, nullable=True),
    sa.Column("champion_revision", sa.BigInteger, nullable=False),
    _time("requested_at"),
    _time("expires_at", nullable=True),
)
sa.Index("ix_approvals_model", approvals.c.registered_model_pk, approvals.c.approval_pk)
sa.Index("ix_approvals_status", approvals.c.status, approvals.c.approval_pk)

approval_decisions = sa.Table(
    "approval_decisions",
    metadata,
    _child_of("approval_pk", "approvals.approval_pk"),
    _part("user_id", sa.String(256)),
    sa.Column("approved", sa.SmallInteger, nullable=False),
    sa.Column("remark", MEDIUM_TEXT, nullable=False),
    _time("decided_at"),
)

role_members = sa.Table(
    "role_members",
    metadata,
    _part("role_name", sa.String(250)),
    _part("user_id", sa.String(256)),
)

# Nobody is ever deleted: a name belongs to one person for good.
users = sa.Table(
    "users",
    metadata,
    _part("user_id", sa.String(256)),
    # sha256 of the token; NULL once it was revoked.
    sa.Column("token_digest", sa.String(64), nullable=True, unique=True),
    _time("created_at"),
    sa.Column("created_by", sa.String(256), nullable=False),
    _time("revoked_at", nullable=True),
)

promotions = sa.Table(
    "promotions",
    metadata,
    _pk("revision"),
    sa.Column("promotion_id", sa.String(GOVERNANCE_ID_LENGTH), nullable=False, unique=True),
    _of_model(),
    sa.Column("kind", sa.String(20), nullable=False),
    *_target(),
    sa.Column("version", sa.Integer, nullable=True),
    sa.Column("previous_version", sa.Integer, nullable=True),
    # Versions, separated by commas.
    sa.Column("archived", MEDIUM_TEXT, nullable=False),
    sa.Column("verdict_id", sa.String(GOVERNANCE_ID_LENGTH), nullable=True),
    sa.Column("user_id", sa.String(256), nullable=False),
    sa.Column("remark", MEDIUM_TEXT, nullable=False),
    sa.Column("event_id", sa.String(GOVERNANCE_ID_LENGTH), nullable=False),
    sa.Column("run_id", sa.String(RUN_ID_LENGTH), nullable=True),
    sa.Column("intent_id", sa.String(GOVERNANCE_ID_LENGTH), nullable=True),
    sa.Column("idempotency_key", sa.String(255), nullable=True, unique=True),
    _time("created_at"),
    sqlite_autoincrement=True,
)
sa.Index("ix_promotions_alias", promotions.c.registered_model_pk, promotions.c.alias, promotions.c.revision)
sa.Index("ix_promotions_stage", promotions.c.registered_model_pk, promotions.c.stage, promotions.c.revision)
sa.Index("ix_promotions_model", promotions.c.registered_model_pk, promotions.c.revision)

rollback_intents = sa.Table(
    "rollback_intents",
    metadata,
    _pk("intent_pk"),
    sa.Column("intent_id", sa.String(GOVERNANCE_ID_LENGTH), nullable=False, unique=True),
    _of_model(),
    *_target(),
    sa.Column("from_version", sa.Integer, nullable=True),
    sa.Column("to_version", sa.Integer, nullable=True),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("reason", MEDIUM_TEXT, nullable=False),
    sa.Column("user_id", sa.String(256), nullable=False),
    sa.Column("checks", MEDIUM_TEXT, nullable=False),
    sa.Column("promotion_id", sa.String(GOVERNANCE_ID_LENGTH), nullable=True),
    _time("created_at"),
    _time("due_at", nullable=True),
)
sa.Index("ix_rollback_intents_status", rollback_intents.c.status, rollback_intents.c.intent_pk)
sa.Index("ix_rollback_intents_model", rollback_intents.c.registered_model_pk, rollback_intents.c.intent_pk)

protected_models = sa.Table(
    "protected_models",
    metadata,
    _child_of("registered_model_pk", "registered_models.registered_model_pk"),
    sa.Column("policy_digest", sa.String(64), nullable=True),
)

required_approvals = sa.Table(
    "required_approvals",
    metadata,
    _child_of("registered_model_pk", "registered_models.registered_model_pk"),
    _part("role_name", sa.String(250)),
    sa.Column("needed", sa.Integer, nullable=False),
    sa.Column("four_eyes", sa.SmallInteger, nullable=False),
)

# Only ever inserted into. It outlives the models that it tells of, so it holds names and no references.
audit_log = sa.Table(
    "audit_log",
    metadata,
    _part("entry", BigKey),
    _time("happened_at"),
    sa.Column("user_id", sa.String(256), nullable=False),
    sa.Column("action", sa.String(50), nullable=False),
    sa.Column("model", sa.String(256), nullable=False),
    sa.Column("data", MEDIUM_TEXT, nullable=False),
    sa.Column("previous", sa.String(64), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
)

# One row, which every writer of the audit log holds until it has committed: that makes the log one chain.
audit_head = sa.Table(
    "audit_head",
    metadata,
    _part("head", sa.Integer),
    sa.Column("entry", BigKey, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
)

outbox = sa.Table(
    "outbox",
    metadata,
    _pk("entry"),
    sa.Column("event_id", sa.String(GOVERNANCE_ID_LENGTH), nullable=False, unique=True),
    sa.Column("entity", sa.String(50), nullable=False),
    sa.Column("action", sa.String(50), nullable=False),
    sa.Column("model", sa.String(256), nullable=False),
    sa.Column("data", MEDIUM_TEXT, nullable=False),
    _time("created_at"),
    sqlite_autoincrement=True,
)
sa.Index("ix_outbox_model", outbox.c.model, outbox.c.entry)

# What is still to be told to whom. The lowest entry of a webhook and model goes first; a worker claims it for a while.
deliveries = sa.Table(
    "deliveries",
    metadata,
    _child_of("webhook_pk", "webhooks.webhook_pk"),
    _child_of("entry", "outbox.entry"),
    sa.Column("model", sa.String(256), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    _time("next_at"),
    sa.Column("problem", MEDIUM_TEXT, nullable=False),
)
sa.Index("ix_deliveries_order", deliveries.c.webhook_pk, deliveries.c.model, deliveries.c.entry)

# --- traces -----------------------------------------------------------------------------------------------------------

traces = sa.Table(
    "traces",
    metadata,
    _pk("trace_pk"),
    sa.Column("trace_id", sa.String(64), nullable=False, unique=True),
    sa.Column("experiment_id", BigKey, sa.ForeignKey("experiments.experiment_id", ondelete="CASCADE"), nullable=False),
    _time("request_time"),
    sa.Column("execution_duration", sa.BigInteger, nullable=True),
    sa.Column("state", sa.String(32), nullable=False),
    sa.Column("client_request_id", sa.String(250), nullable=True),
    sa.Column("request_preview", MEDIUM_TEXT, nullable=True),
    sa.Column("response_preview", MEDIUM_TEXT, nullable=True),
    sa.Column("assessments", MEDIUM_TEXT, nullable=True),
)
sa.Index("ix_traces_newest", traces.c.experiment_id, traces.c.request_time.desc(), traces.c.trace_id)

trace_tags = sa.Table(
    "trace_tags",
    metadata,
    _child_of("trace_pk", "traces.trace_pk"),
    _part("name", sa.String(KEY_LENGTH)),
    sa.Column("value", MEDIUM_TEXT, nullable=False),
)

trace_metadata = sa.Table(
    "trace_metadata",
    metadata,
    _child_of("trace_pk", "traces.trace_pk"),
    _part("name", sa.String(KEY_LENGTH)),
    sa.Column("value", MEDIUM_TEXT, nullable=False),
)


def sqlite_script() -> str:
    """The statements that make the schema on SQLite, as they stand in `sqlite_schema.sql`.

    Running them from there spares the first use of a store the import of SQLAlchemy. After a change of a table write
    the file anew: `python -m mlgate_tracking.store.tables > tracking/mlgate_tracking/store/sqlite_schema.sql`.
    """
    from sqlalchemy.dialects import sqlite
    from sqlalchemy.schema import CreateIndex, CreateTable

    dialect = sqlite.dialect()
    parts: list[CreateTable | CreateIndex] = []
    for table in metadata.sorted_tables:
        parts.append(CreateTable(table))
        parts += [CreateIndex(index) for index in sorted(table.indexes, key=lambda index: str(index.name))]
    texts = [str(part.compile(dialect=dialect)).strip() for part in parts]
    lines = [line.rstrip() for text in texts for line in f"{text};".splitlines() if line.strip()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(sqlite_script())


__all__ = [
    "BigKey",
    "approval_decisions",
    "approvals",
    "attribute_keys",
    "audit_head",
    "audit_log",
    "dataset_input_tags",
    "dataset_inputs",
    "datasets",
    "deliveries",
    "experiment_tags",
    "experiments",
    "idempotency_keys",
    "latest_metrics",
    "logged_model_metrics",
    "logged_model_params",
    "logged_model_tags",
    "logged_models",
    "metadata",
    "metrics",
    "model_inputs",
    "model_outputs",
    "model_version_tags",
    "model_versions",
    "outbox",
    "params",
    "promotions",
    "protected_models",
    "registered_model_aliases",
    "registered_model_tags",
    "registered_models",
    "required_approvals",
    "role_members",
    "rollback_intents",
    "runs",
    "sqlite_script",
    "tags",
    "text_hash",
    "trace_metadata",
    "trace_tags",
    "traces",
    "users",
    "verdicts",
    "webhook_events",
    "webhooks",
]
