"""Interned names of metrics, params and tags: each is stored once and stands in the rows as an integer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mlgate_tracking.store.dialects import in_list
from mlgate_tracking.store.transaction import Transaction

_LARGEST_CACHE = 100_000
_LARGEST_LIST = 500


class KeyTable:
    """Knows the names that it has seen; rows of `attribute_keys` never change and are never deleted."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._names: dict[int, str] = {}

    def intern(self, tx: Transaction, names: Iterable[str]) -> dict[str, int]:
        """The ids of names, made for those that are new."""
        wanted = set(names)
        found = self.find(tx, wanted)
        missing = sorted(wanted - found.keys())  # in one order everywhere, so that two writers do not deadlock
        if missing:
            tx.insert_missing("attribute_keys", [{"name": name} for name in missing], ["name"])
            made = _select_ids(tx, missing)
            tx.after_commit(lambda: self._remember(made))
            found |= made
        return found

    def find(self, tx: Transaction, names: Iterable[str]) -> dict[str, int]:
        """The ids of those names that exist."""
        cached = self._ids
        found = {}
        unknown = []
        for name in names:
            key_id = cached.get(name)
            if key_id is None:
                unknown.append(name)
            else:
                found[name] = key_id
        if unknown:
            read = _select_ids(tx, unknown)
            # What another transaction committed is there for good; what this one made is remembered by `intern`.
            tx.after_commit(lambda: self._remember(read))
            found |= read
        return found

    def names(self, tx: Transaction, key_ids: Iterable[int]) -> dict[int, str]:
        """The names of ids."""
        cached = self._names
        found = {}
        unknown = []
        for key_id in set(key_ids):
            name = cached.get(key_id)
            if name is None:
                unknown.append(key_id)
            else:
                found[key_id] = name
        for start in range(0, len(unknown), _LARGEST_LIST):
            among, params = tx.dialect.among("key_id", unknown[start : start + _LARGEST_LIST])
            found |= dict(tx.rows(f"SELECT key_id, name FROM attribute_keys WHERE {among}", params))
        if unknown:
            read = {name: key_id for key_id, name in found.items()}
            tx.after_commit(lambda: self._remember(read))
        return found

    def _remember(self, ids: dict[str, int]) -> None:
        if len(self._ids) + len(ids) > _LARGEST_CACHE:
            self._ids, self._names = {}, {}
        self._ids.update(ids)
        self._names.update({key_id: name for name, key_id in ids.items()})


def _select_ids(tx: Transaction, names: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for start in range(0, len(names), _LARGEST_LIST):
        part, params = in_list(names[start : start + _LARGEST_LIST], "name")
        found |= dict(tx.rows(f"SELECT name, key_id FROM attribute_keys WHERE name IN {part}", params))
    return found


__all__ = ["KeyTable"]
