"""Approvals that a protected model needs, whatever a verdict says."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mlgate_tracking.store.schema import table_options

revision = "0003"
down_revision = "0002"

BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "required_approvals",
        sa.Column("registered_model_pk", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("role_name", sa.String(length=250), autoincrement=False, nullable=False),
        sa.Column("needed", sa.Integer(), nullable=False),
        sa.Column("four_eyes", sa.SmallInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["registered_model_pk"],
            ["registered_models.registered_model_pk"],
            name=op.f("fk_required_approvals_registered_model_pk"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("registered_model_pk", "role_name", name=op.f("pk_required_approvals")),
        **table_options(op.get_bind()),
    )
