"""The schema of 0.1."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mlgate_tracking.store.schema import table_options

revision = "0001"
down_revision = None

BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MEDIUM_TEXT = sa.Text().with_variant(sa.Text(1_000_000), "mysql", "mariadb")
LONG_TEXT = sa.Text().with_variant(sa.Text(16_777_215), "mysql", "mariadb")


def upgrade() -> None:
    options = table_options(op.get_bind())
    op.create_table(
        "attribute_keys",
        sa.Column("key_id", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_attribute_keys")),
        sa.UniqueConstraint("name", name=op.f("uq_attribute_keys_name")),
        **options,
    )
    op.create_table(
        "audit_head",
        sa.Column("head", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("entry", BIG_KEY, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("head", name=op.f("pk_audit_head")),
        **options,
    )
    op.create_table(
        "audit_log",
        sa.Column("entry", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("happened_at", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.String(length=256), nullable=False),
        sa.Column("action", sa.String(length=50), nullable=False),
        sa.Column("model", sa.String(length=256), nullable=False),
        sa.Column("data", MEDIUM_TEXT, nullable=False),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("entry", name=op.f("pk_audit_log")),
        **options,
    )
    op.create_table(
        "experiments",
        sa.Column("experiment_id", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(length=500), nullable=False),
        sa.Column("artifact_location", sa.String(length=2048), nullable=False),
        sa.Column("creation_time", sa.BigInteger(), nullable=False),
        sa.Column("last_update_time", sa.BigInteger(), nullable=False),
        sa.Column("deleted_time", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("experiment_id", name=op.f("pk_experiments")),
        sa.UniqueConstraint("name", name=op.f("uq_experiments_name")),
        sqlite_autoincrement=True,
        **options,
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("idempotency_key", sa.String(length=255), nullable=False),
        sa.Column("resource", sa.String(length=600), nullable=False),
        sa.Column("creation_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("idempotency_key", name=op.f("pk_idempotency_keys")),
        **options,
    )
    op.create_table(
        "latest_metrics",
        sa.Column("run_pk", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("key_id", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("experiment_id", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("is_nan", sa.SmallInteger(), nullable=False),
        sa.Column("timestamp", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_pk", "key_id", name=op.f("pk_latest_metrics")),
        sqlite_with_rowid=False,
        **options,
    )
    op.create_index(
        "ix_latest_metrics_value",
        "latest_metrics",
        ["experiment_id", "key_id", "is_nan", "value", "run_pk"],
        unique=False,
    )
    op.create_table(
        "metrics",
        sa.Column("run_pk", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("key_id", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("timestamp", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("step", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("value", sa.Double(), autoincrement=False, nullable=False),
        sa.Column("is_nan", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("run_pk", "key_id", "timestamp", "step", "value", "is_nan", name=op.f("pk_metrics")),
        sqlite_with_rowid=False,
        **options,
    )
    op.create_table(
        "outbox",
        sa.Column("entry", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("entity", sa.String(length=50), nullable=False),
        sa.Column("action", sa.String(length=50), nullable=False),
        sa.Column("model", sa.String(length=256), nullable=False),
        sa.Column("data", MEDIUM_TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("entry", name=op.f("pk_outbox")),
        sa.UniqueConstraint("event_id", name=op.f("uq_outbox_event_id")),
        sqlite_autoincrement=True,
        **options,
    )
    op.create_index("ix_outbox_model", "outbox", ["model", "entry"], unique=False)
    op.create_table(
        "params",
        sa.Column("run_pk", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("key_id", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("experiment_id", sa.BigInteger(), nullable=False),
        sa.Column("value", MEDIUM_TEXT, nullable=False),
        sa.Column("value_hash", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_pk", "key_id", name=op.f("pk_params")),
        sqlite_with_rowid=False,
        **options,
    )
    op.create_index("ix_params_value", "params", ["experiment_id", "key_id", "value_hash", "run_pk"], unique=False)
    op.create_table(
        "registered_models",
        sa.Column("registered_model_pk", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("description", MEDIUM_TEXT, nullable=True),
        sa.Column("user_id", sa.String(length=256), nullable=True),
        sa.Column("creation_timestamp", sa.BigInteger(), nullable=False),
        sa.Column("last_updated_timestamp", sa.BigInteger(), nullable=False),
        sa.Column("last_version", sa.Integer(), nullable=False),
        sa.Column("owner_run_id", sa.String(length=32), nullable=True),
        sa.PrimaryKeyConstraint("registered_model_pk", name=op.f("pk_registered_models")),
        sa.UniqueConstraint("name", name=op.f("uq_registered_models_name")),
        **options,
    )
    op.create_index(
        "ix_registered_models_updated", "registered_models", ["last_updated_timestamp", "name"], unique=False
    )
    op.create_table(
        "role_members",
        sa.Column("role_name", sa.String(length=250), autoincrement=False, nullable=False),
        sa.Column("user_id", sa.String(length=256), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("role_name", "user_id", name=op.f("pk_role_members")),
        **options,
    )
    op.create_table(
        "tags",
        sa.Column("run_pk", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("key_id", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("experiment_id", sa.BigInteger(), nullable=False),
        sa.Column("value", MEDIUM_TEXT, nullable=False),
        sa.Column("value_hash", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_pk", "key_id", name=op.f("pk_tags")),
        sqlite_with_rowid=False,
        **options,
    )
    op.create_index("ix_tags_value", "tags", ["experiment_id", "key_id", "value_hash", "run_pk"], unique=False)
    op.create_table(
        "webhooks",
        sa.Column("webhook_pk", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("webhook_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("description", MEDIUM_TEXT, nullable=True),
        sa.Column("url", sa.String(length=500), nullable=False),
        sa.Column("secret", sa.String(length=1000), nullable=True),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("creation_timestamp", sa.BigInteger(), nullable=False),
        sa.Column("last_updated_timestamp", sa.BigInteger(), nullable=False),
        sa.Column("deleted_time", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("webhook_pk", name=op.f("pk_webhooks")),
        sa.UniqueConstraint("webhook_id", name=op.f("uq_webhooks_webhook_id")),
        **options,
    )
    op.create_index(
        "ix_webhooks_newest", "webhooks", [sa.literal_column("creation_timestamp DESC"), "webhook_id"], unique=False
    )
    op.create_table(
        "approvals",
        sa.Column("approval_pk", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("approval_id", sa.String(length=64), nullable=False),
        sa.Column("verdict_id", sa.String(length=64), nullable=False),
        sa.Column("registered_model_pk", BIG_KEY, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("alias", sa.String(length=255), nullable=True),
        sa.Column("stage", sa.String(length=100), nullable=True),
        sa.Column("role_name", sa.String(length=250), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("needed", sa.Integer(), nullable=False),
        sa.Column("four_eyes", sa.SmallInteger(), nullable=False),
        sa.Column("starter", sa.String(length=256), nullable=False),
        sa.Column("requested_by", sa.String(length=256), nullable=False),
        sa.Column("policy_digest", sa.String(length=64), nullable=False),
        sa.Column("champion_version", sa.Integer(), nullable=True),
        sa.Column("champion_revision", sa.BigInteger(), nullable=False),
        sa.Column("requested_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["registered_model_pk"],
            ["registered_models.registered_model_pk"],
            name=op.f("fk_approvals_registered_model_pk"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("approval_pk", name=op.f("pk_approvals")),
        sa.UniqueConstraint("approval_id", name=op.f("uq_approvals_approval_id")),
        **options,
    )
    op.create_index("ix_approvals_model", "approvals", ["registered_model_pk", "approval_pk"], unique=False)
    op.create_index("ix_approvals_status", "approvals", ["status", "approval_pk"], unique=False)
    op.create_table(
        "datasets",
        sa.Column("dataset_pk", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("experiment_id", BIG_KEY, nullable=False),
        sa.Column("name", sa.String(length=500), nullable=False),
        sa.Column("digest", sa.String(length=36), nullable=False),
        sa.Column("source_type", sa.String(length=36), nullable=False),
        sa.Column("source", MEDIUM_TEXT, nullable=False),
        sa.Column("schema_json", MEDIUM_TEXT, nullable=True),
        sa.Column("profile", LONG_TEXT, nullable=True),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiments.experiment_id"], name=op.f("fk_datasets_experiment_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("dataset_pk", name=op.f("pk_datasets")),
        sa.UniqueConstraint("experiment_id", "name", "digest", name=op.f("uq_datasets_experiment_id_name_digest")),
        **options,
    )
    op.create_table(
        "deliveries",
        sa.Column("webhook_pk", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("entry", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("model", sa.String(length=256), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.Column("problem", MEDIUM_TEXT, nullable=False),
        sa.ForeignKeyConstraint(["entry"], ["outbox.entry"], name=op.f("fk_deliveries_entry"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["webhook_pk"], ["webhooks.webhook_pk"], name=op.f("fk_deliveries_webhook_pk"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("webhook_pk", "entry", name=op.f("pk_deliveries")),
        **options,
    )
    op.create_index("ix_deliveries_order", "deliveries", ["webhook_pk", "model", "entry"], unique=False)
    op.create_table(
        "experiment_tags",
        sa.Column("experiment_id", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=250), autoincrement=False, nullable=False),
        sa.Column("value", MEDIUM_TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["experiment_id"],
            ["experiments.experiment_id"],
            name=op.f("fk_experiment_tags_experiment_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("experiment_id", "name", name=op.f("pk_experiment_tags")),
        **options,
    )
    op.create_table(
        "logged_models",
        sa.Column("logged_model_pk", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("model_id", sa.String(length=64), nullable=False),
        sa.Column("experiment_id", BIG_KEY, nullable=False),
        sa.Column("name", sa.String(length=500), nullable=False),
        sa.Column("artifact_uri", sa.String(length=2048), nullable=False),
        sa.Column("status", sa.String(length=40), nullable=False),
        sa.Column("status_message", MEDIUM_TEXT, nullable=True),
        sa.Column("model_type", sa.String(length=500), nullable=True),
        sa.Column("source_run_id", sa.String(length=32), nullable=True),
        sa.Column("owner_run_id", sa.String(length=32), nullable=True),
        sa.Column("creation_timestamp", sa.BigInteger(), nullable=False),
        sa.Column("last_updated_timestamp", sa.BigInteger(), nullable=False),
        sa.Column("deleted_time", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["experiment_id"],
            ["experiments.experiment_id"],
            name=op.f("fk_logged_models_experiment_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("logged_model_pk", name=op.f("pk_logged_models")),
        sa.UniqueConstraint("model_id", name=op.f("uq_logged_models_model_id")),
        **options,
    )
    op.create_index(
        "ix_logged_models_newest",
        "logged_models",
        ["experiment_id", sa.literal_column("creation_timestamp DESC"), "model_id"],
        unique=False,
    )
    op.create_index(op.f("ix_logged_models_source_run_id"), "logged_models", ["source_run_id"], unique=False)
    op.create_table(
        "model_versions",
        sa.Column("model_version_pk", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("registered_model_pk", BIG_KEY, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("current_stage", sa.String(length=100), nullable=False),
        sa.Column("source", sa.String(length=2048), nullable=False),
        sa.Column("storage_location", sa.String(length=2048), nullable=True),
        sa.Column("run_id", sa.String(length=32), nullable=True),
        sa.Column("run_link", sa.String(length=500), nullable=True),
        sa.Column("description", MEDIUM_TEXT, nullable=True),
        sa.Column("user_id", sa.String(length=256), nullable=True),
        sa.Column("model_id", sa.String(length=64), nullable=True),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("status_message", sa.String(length=500), nullable=True),
        sa.Column("owner_run_id", sa.String(length=32), nullable=True),
        sa.Column("creation_timestamp", sa.BigInteger(), nullable=False),
        sa.Column("last_updated_timestamp", sa.BigInteger(), nullable=False),
        sa.Column("deleted_time", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["registered_model_pk"],
            ["registered_models.registered_model_pk"],
            name=op.f("fk_model_versions_registered_model_pk"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("model_version_pk", name=op.f("pk_model_versions")),
        sa.UniqueConstraint(
            "registered_model_pk", "version", name=op.f("uq_model_versions_registered_model_pk_version")
        ),
        **options,
    )
    op.create_index(op.f("ix_model_versions_model_id"), "model_versions", ["model_id"], unique=False)
    op.create_index(op.f("ix_model_versions_run_id"), "model_versions", ["run_id"], unique=False)
    op.create_index(
        "ix_model_versions_stage",
        "model_versions",
        ["registered_model_pk", "current_stage", "deleted_time", "version"],
        unique=False,
    )
    op.create_index(
        "ix_model_versions_updated", "model_versions", ["last_updated_timestamp", "model_version_pk"], unique=False
    )
    op.create_table(
        "promotions",
        sa.Column("revision", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("promotion_id", sa.String(length=64), nullable=False),
        sa.Column("registered_model_pk", BIG_KEY, nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("alias", sa.String(length=255), nullable=True),
        sa.Column("stage", sa.String(length=100), nullable=True),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("previous_version", sa.Integer(), nullable=True),
        sa.Column("archived", MEDIUM_TEXT, nullable=False),
        sa.Column("verdict_id", sa.String(length=64), nullable=True),
        sa.Column("user_id", sa.String(length=256), nullable=False),
        sa.Column("remark", MEDIUM_TEXT, nullable=False),
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("run_id", sa.String(length=32), nullable=True),
        sa.Column("intent_id", sa.String(length=64), nullable=True),
        sa.Column("idempotency_key", sa.String(length=255), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["registered_model_pk"],
            ["registered_models.registered_model_pk"],
            name=op.f("fk_promotions_registered_model_pk"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("revision", name=op.f("pk_promotions")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_promotions_idempotency_key")),
        sa.UniqueConstraint("promotion_id", name=op.f("uq_promotions_promotion_id")),
        sqlite_autoincrement=True,
        **options,
    )
    op.create_index("ix_promotions_alias", "promotions", ["registered_model_pk", "alias", "revision"], unique=False)
    op.create_index("ix_promotions_model", "promotions", ["registered_model_pk", "revision"], unique=False)
    op.create_index("ix_promotions_stage", "promotions", ["registered_model_pk", "stage", "revision"], unique=False)
    op.create_table(
        "protected_models",
        sa.Column("registered_model_pk", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("policy_digest", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(
            ["registered_model_pk"],
            ["registered_models.registered_model_pk"],
            name=op.f("fk_protected_models_registered_model_pk"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("registered_model_pk", name=op.f("pk_protected_models")),
        **options,
    )
    op.create_table(
        "registered_model_aliases",
        sa.Column("registered_model_pk", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("alias", sa.String(length=255), autoincrement=False, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["registered_model_pk"],
            ["registered_models.registered_model_pk"],
            name=op.f("fk_registered_model_aliases_registered_model_pk"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("registered_model_pk", "alias", name=op.f("pk_registered_model_aliases")),
        **options,
    )
    op.create_table(
        "registered_model_tags",
        sa.Column("registered_model_pk", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=250), autoincrement=False, nullable=False),
        sa.Column("value", MEDIUM_TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["registered_model_pk"],
            ["registered_models.registered_model_pk"],
            name=op.f("fk_registered_model_tags_registered_model_pk"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("registered_model_pk", "name", name=op.f("pk_registered_model_tags")),
        **options,
    )
    op.create_table(
        "rollback_intents",
        sa.Column("intent_pk", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("intent_id", sa.String(length=64), nullable=False),
        sa.Column("registered_model_pk", BIG_KEY, nullable=False),
        sa.Column("alias", sa.String(length=255), nullable=True),
        sa.Column("stage", sa.String(length=100), nullable=True),
        sa.Column("from_version", sa.Integer(), nullable=True),
        sa.Column("to_version", sa.Integer(), nullable=True),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("reason", MEDIUM_TEXT, nullable=False),
        sa.Column("user_id", sa.String(length=256), nullable=False),
        sa.Column("checks", MEDIUM_TEXT, nullable=False),
        sa.Column("promotion_id", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["registered_model_pk"],
            ["registered_models.registered_model_pk"],
            name=op.f("fk_rollback_intents_registered_model_pk"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("intent_pk", name=op.f("pk_rollback_intents")),
        sa.UniqueConstraint("intent_id", name=op.f("uq_rollback_intents_intent_id")),
        **options,
    )
    op.create_index("ix_rollback_intents_model", "rollback_intents", ["registered_model_pk", "intent_pk"], unique=False)
    op.create_index("ix_rollback_intents_status", "rollback_intents", ["status", "intent_pk"], unique=False)
    op.create_table(
        "runs",
        sa.Column("run_pk", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("experiment_id", BIG_KEY, nullable=False),
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("user_id", sa.String(length=256), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("start_time", sa.BigInteger(), nullable=False),
        sa.Column("end_time", sa.BigInteger(), nullable=True),
        sa.Column("deleted_time", sa.BigInteger(), nullable=True),
        sa.Column("artifact_uri", sa.String(length=2048), nullable=False),
        sa.Column("step_run_key", sa.String(length=128), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("owner_run_id", sa.String(length=32), nullable=True),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiments.experiment_id"], name=op.f("fk_runs_experiment_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_pk", name=op.f("pk_runs")),
        sa.UniqueConstraint("run_id", name=op.f("uq_runs_run_id")),
        sa.UniqueConstraint("step_run_key", name=op.f("uq_runs_step_run_key")),
        **options,
    )
    op.create_index(
        "ix_runs_deleted",
        "runs",
        ["experiment_id", "deleted_time"],
        unique=False,
        sqlite_where=sa.text("deleted_time IS NOT NULL"),
        postgresql_where=sa.text("deleted_time IS NOT NULL"),
    )
    op.create_index("ix_runs_end_time", "runs", ["experiment_id", "end_time"], unique=False)
    op.create_index("ix_runs_name", "runs", ["experiment_id", "name"], unique=False)
    op.create_index(
        "ix_runs_newest", "runs", ["experiment_id", sa.literal_column("start_time DESC"), "run_id"], unique=False
    )
    op.create_table(
        "traces",
        sa.Column("trace_pk", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("trace_id", sa.String(length=64), nullable=False),
        sa.Column("experiment_id", BIG_KEY, nullable=False),
        sa.Column("request_time", sa.BigInteger(), nullable=False),
        sa.Column("execution_duration", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("client_request_id", sa.String(length=250), nullable=True),
        sa.Column("request_preview", MEDIUM_TEXT, nullable=True),
        sa.Column("response_preview", MEDIUM_TEXT, nullable=True),
        sa.Column("assessments", MEDIUM_TEXT, nullable=True),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiments.experiment_id"], name=op.f("fk_traces_experiment_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("trace_pk", name=op.f("pk_traces")),
        sa.UniqueConstraint("trace_id", name=op.f("uq_traces_trace_id")),
        **options,
    )
    op.create_index(
        "ix_traces_newest",
        "traces",
        ["experiment_id", sa.literal_column("request_time DESC"), "trace_id"],
        unique=False,
    )
    op.create_table(
        "verdicts",
        sa.Column("verdict_pk", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("verdict_id", sa.String(length=64), nullable=False),
        sa.Column("registered_model_pk", BIG_KEY, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("body", MEDIUM_TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["registered_model_pk"],
            ["registered_models.registered_model_pk"],
            name=op.f("fk_verdicts_registered_model_pk"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("verdict_pk", name=op.f("pk_verdicts")),
        sa.UniqueConstraint("verdict_id", name=op.f("uq_verdicts_verdict_id")),
        **options,
    )
    op.create_index("ix_verdicts_model", "verdicts", ["registered_model_pk", "verdict_pk"], unique=False)
    op.create_table(
        "webhook_events",
        sa.Column("webhook_pk", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("entity", sa.String(length=50), autoincrement=False, nullable=False),
        sa.Column("action", sa.String(length=50), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(
            ["webhook_pk"], ["webhooks.webhook_pk"], name=op.f("fk_webhook_events_webhook_pk"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("webhook_pk", "entity", "action", name=op.f("pk_webhook_events")),
        **options,
    )
    op.create_index("ix_webhook_events_event", "webhook_events", ["entity", "action"], unique=False)
    op.create_table(
        "approval_decisions",
        sa.Column("approval_pk", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("user_id", sa.String(length=256), autoincrement=False, nullable=False),
        sa.Column("approved", sa.SmallInteger(), nullable=False),
        sa.Column("remark", MEDIUM_TEXT, nullable=False),
        sa.Column("decided_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["approval_pk"],
            ["approvals.approval_pk"],
            name=op.f("fk_approval_decisions_approval_pk"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("approval_pk", "user_id", name=op.f("pk_approval_decisions")),
        **options,
    )
    op.create_table(
        "dataset_input_tags",
        sa.Column("run_pk", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("dataset_pk", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=255), autoincrement=False, nullable=False),
        sa.Column("value", sa.String(length=500), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_pk"], ["datasets.dataset_pk"], name=op.f("fk_dataset_input_tags_dataset_pk"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["run_pk"], ["runs.run_pk"], name=op.f("fk_dataset_input_tags_run_pk"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_pk", "dataset_pk", "name", name=op.f("pk_dataset_input_tags")),
        **options,
    )
    op.create_table(
        "dataset_inputs",
        sa.Column("run_pk", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("dataset_pk", BIG_KEY, autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_pk"], ["datasets.dataset_pk"], name=op.f("fk_dataset_inputs_dataset_pk"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["run_pk"], ["runs.run_pk"], name=op.f("fk_dataset_inputs_run_pk"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_pk", "dataset_pk", name=op.f("pk_dataset_inputs")),
        **options,
    )
    op.create_index("ix_dataset_inputs_dataset", "dataset_inputs", ["dataset_pk", "run_pk"], unique=False)
    op.create_table(
        "logged_model_metrics",
        sa.Column("logged_model_pk", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("key_id", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("dataset_hash", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("step", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("timestamp", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("value", sa.Double(), autoincrement=False, nullable=False),
        sa.Column("is_nan", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("run_id", sa.String(length=32), autoincrement=False, nullable=False),
        sa.Column("dataset_name", sa.String(length=500), nullable=True),
        sa.Column("dataset_digest", sa.String(length=36), nullable=True),
        sa.ForeignKeyConstraint(
            ["logged_model_pk"],
            ["logged_models.logged_model_pk"],
            name=op.f("fk_logged_model_metrics_logged_model_pk"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "logged_model_pk",
            "key_id",
            "dataset_hash",
            "step",
            "timestamp",
            "value",
            "is_nan",
            "run_id",
            name=op.f("pk_logged_model_metrics"),
        ),
        **options,
    )
    op.create_table(
        "logged_model_params",
        sa.Column("logged_model_pk", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("key_id", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("value", MEDIUM_TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["logged_model_pk"],
            ["logged_models.logged_model_pk"],
            name=op.f("fk_logged_model_params_logged_model_pk"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("logged_model_pk", "key_id", name=op.f("pk_logged_model_params")),
        **options,
    )
    op.create_table(
        "logged_model_tags",
        sa.Column("logged_model_pk", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("key_id", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("value", MEDIUM_TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["logged_model_pk"],
            ["logged_models.logged_model_pk"],
            name=op.f("fk_logged_model_tags_logged_model_pk"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("logged_model_pk", "key_id", name=op.f("pk_logged_model_tags")),
        **options,
    )
    op.create_table(
        "model_inputs",
        sa.Column("run_pk", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("model_id", sa.String(length=64), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["run_pk"], ["runs.run_pk"], name=op.f("fk_model_inputs_run_pk"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_pk", "model_id", name=op.f("pk_model_inputs")),
        **options,
    )
    op.create_table(
        "model_outputs",
        sa.Column("run_pk", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("model_id", sa.String(length=64), autoincrement=False, nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run_pk"], ["runs.run_pk"], name=op.f("fk_model_outputs_run_pk"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_pk", "model_id", name=op.f("pk_model_outputs")),
        **options,
    )
    op.create_table(
        "model_version_tags",
        sa.Column("model_version_pk", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=250), autoincrement=False, nullable=False),
        sa.Column("value", MEDIUM_TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["model_version_pk"],
            ["model_versions.model_version_pk"],
            name=op.f("fk_model_version_tags_model_version_pk"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("model_version_pk", "name", name=op.f("pk_model_version_tags")),
        **options,
    )
    op.create_table(
        "trace_metadata",
        sa.Column("trace_pk", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=250), autoincrement=False, nullable=False),
        sa.Column("value", MEDIUM_TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["trace_pk"], ["traces.trace_pk"], name=op.f("fk_trace_metadata_trace_pk"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("trace_pk", "name", name=op.f("pk_trace_metadata")),
        **options,
    )
    op.create_table(
        "trace_tags",
        sa.Column("trace_pk", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=250), autoincrement=False, nullable=False),
        sa.Column("value", MEDIUM_TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["trace_pk"], ["traces.trace_pk"], name=op.f("fk_trace_tags_trace_pk"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("trace_pk", "name", name=op.f("pk_trace_tags")),
        **options,
    )
