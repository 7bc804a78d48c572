"""Alembic runs this for every command; the connection comes from `mlgate_tracking.store.upgrade`."""

from __future__ import annotations

from alembic import context

from mlgate_tracking.store.schema import VERSION_TABLE
from mlgate_tracking.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    # SQLite alters a table by copying it.
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
