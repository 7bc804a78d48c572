"""The audit log: append-only, every entry chained to the one before by its digest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mlgate_tracking.governance import GENESIS, AuditEntry, audit_digest, canonical
from mlgate_tracking.store.part import StorePart
from mlgate_tracking.store.transaction import Transaction
from mlgate_tracking.users import Actor


def append(tx: Transaction, at: int, actor: Actor, action: str, model: str, data: Mapping[str, Any]) -> None:
    """Add an entry. Holds the head of the chain until the transaction ends, so call it late."""
    user = actor.user
    text = canonical({**data, "through": actor.through} if actor.through else data)
    head = tx.row(f"SELECT entry, digest FROM audit_head WHERE head = 1{tx.dialect.for_update}")
    if head is None:
        tx.insert_missing("audit_head", [{"head": 1, "entry": 0, "digest": GENESIS}], ["head"])
        head = tx.row(f"SELECT entry, digest FROM audit_head WHERE head = 1{tx.dialect.for_update}")
        assert head is not None
    entry, previous = int(head[0]) + 1, str(head[1])
    digest = audit_digest(previous, entry, at, user, action, model, json.loads(text))
    tx.insert(
        "audit_log",
        {
            "entry": entry,
            "happened_at": at,
            "user_id": user,
            "action": action,
            "model": model,
            "data": text,
            "previous": previous,
            "digest": digest,
        },
    )
    tx.change(
        "UPDATE audit_head SET entry = :entry, digest = :digest WHERE head = 1", {"entry": entry, "digest": digest}
    )


class AuditStore(StorePart):
    def audit_log(self, *, after: int = 0, max_results: int = 1000) -> tuple[AuditEntry, ...]:
        def work(tx: Transaction) -> tuple[AuditEntry, ...]:
            rows = tx.rows(
                "SELECT entry, happened_at, user_id, action, model, data, previous, digest FROM audit_log"
                " WHERE entry > :after ORDER BY entry LIMIT :most",
                {"after": after, "most": max_results},
            )
            return tuple(
                AuditEntry(entry, at, user, action, model, json.loads(data), previous, digest)
                for entry, at, user, action, model, data, previous, digest in rows
            )

        return self.read(work)


__all__ = ["AuditStore", "append"]
