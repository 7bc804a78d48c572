"""Requests that may arrive twice: the second finds what the first one made."""

from __future__ import annotations

from mlgate_tracking.store import validate
from mlgate_tracking.store.transaction import Transaction


def claim(tx: Transaction, idempotency_key: str, resource: str, created: int) -> str | None:
    """Remember that a request with this key makes `resource`; what an earlier one made, if there was one."""
    validate.text(idempotency_key, validate.MAX_IDEMPOTENCY_KEY, "idempotency key")
    found = tx.row(
        "SELECT resource FROM idempotency_keys WHERE idempotency_key = :idempotency_key",
        {"idempotency_key": idempotency_key},
    )
    if found is not None:
        return str(found[0])
    tx.insert(
        "idempotency_keys",
        {"idempotency_key": idempotency_key, "resource": resource, "creation_time": created},
    )
    return None


__all__ = ["claim"]
