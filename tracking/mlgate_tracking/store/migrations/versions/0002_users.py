"""Users of a shared server."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mlgate_tracking.store.schema import table_options

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("user_id", sa.String(length=256), autoincrement=False, nullable=False),
        sa.Column("token_digest", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(length=256), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_users")),
        sa.UniqueConstraint("token_digest", name=op.f("uq_users_token_digest")),
        **table_options(op.get_bind()),
    )
