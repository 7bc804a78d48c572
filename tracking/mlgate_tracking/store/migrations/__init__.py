"""How the schema came about: one alembic revision for each change, applied by `mlgate_tracking.store.upgrade`."""
