"""Asset watchers over the registry: whatever promotes a model, in whatever engine, starts a DAG here."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Hashable, Sequence
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from mlgate.airflow.compat import SharedStreamProducer, ask_airflow
from mlgate.airflow.hook import MlgateHook

if TYPE_CHECKING:
    from mlgate.settings import Settings
    from mlgate_tracking.governance import Promotion

KINDS = ("promotion", "rollback", "unguarded")
_PAGE = 100


class RegistryEventTrigger(BaseEventTrigger):
    """Fires for each change of who holds a target (an alias or a stage) of a model, in order.

    Args:
        asset: name of the asset that it watches; `watched_model_asset` makes both.
        kinds: `promotion`, `rollback`, `unguarded` (an alias or stage changed by MLflow's own calls).
        poll: seconds between looks at the store.

    The event's payload: `model`, `version`, `previous_version`, `kind`, `promotion_id`, `event_id`, `revision`,
    `alias`, `stage`, `user`.

    It begins with what happens after it is first started, and goes on from there: the last change that Airflow has
    stored an event for is kept in Airflow's asset state store (3.3 and later; before, in a variable), so a triggerer
    that was away or was killed makes up for what it missed. A kill in the second between an event's being stored and
    the note of that brings this one event again, with the same `event_id`.
    """

    def __init__(
        self,
        model: str,
        to: str = "champion",
        *,
        asset: str,
        kinds: Sequence[str] = KINDS,
        mlgate_conn_id: str | None = None,
        poll: float = 10.0,
    ) -> None:
        super().__init__()
        unknown = [kind for kind in kinds if kind not in KINDS]
        if unknown:
            raise ValueError(f"kinds: '{unknown[0]}' is not known; use {', '.join(KINDS)}")
        self.model = model
        self.to = to
        self.asset = asset
        self.kinds = list(kinds)
        self.mlgate_conn_id = mlgate_conn_id
        self.poll = poll

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """How the trigger travels to the triggerer."""
        return (
            "mlgate.airflow.watching.RegistryEventTrigger",
            {
                "model": self.model,
                "to": self.to,
                "asset": self.asset,
                "kinds": self.kinds,
                "mlgate_conn_id": self.mlgate_conn_id,
                "poll": self.poll,
            },
        )

    # --- Airflow 3.3 and later: the cursor moves once an event is in Airflow's database -------------------------------

    def shared_stream_key(self) -> Hashable | None:
        return ("mlgate", self.asset) if SharedStreamProducer is not object else None

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> Any:
        return RegistryProducer(cls(**kwargs))

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncIterator[TriggerEvent]:
        async for payload in shared_stream:
            yield TriggerEvent(payload)

    # --- before: it moves one look later ------------------------------------------------------------------------------

    async def run(self) -> AsyncIterator[TriggerEvent]:
        cursor = VariableCursor(self.asset)
        after = await self.start(cursor)
        while True:
            found = await self.changes(after)
            for payload in found:
                after = payload["revision"]
                yield TriggerEvent(payload)
            await asyncio.sleep(self.poll)
            if found:
                await cursor.set(after)

    # --- the store ----------------------------------------------------------------------------------------------------

    async def start(self, cursor: AssetCursor | VariableCursor) -> int:
        """The revision after which to begin; now, for a watcher that starts for the first time."""
        after = await cursor.get()
        if after is None:
            settings = await ask_airflow(MlgateHook(self.mlgate_conn_id).settings)
            after = await asyncio.to_thread(self._latest, settings)
            await cursor.set(after)
        return after

    async def changes(self, after: int) -> list[dict[str, Any]]:
        """What has happened since; nothing when the store does not answer (it is asked again)."""
        from mlgate_tracking.errors import TemporarilyUnavailable

        settings = await ask_airflow(MlgateHook(self.mlgate_conn_id).settings)
        try:
            return await asyncio.to_thread(self._since, settings, after)
        except TemporarilyUnavailable as error:
            self.log.warning("the store does not answer, asking again in %g s: %s", self.poll, error)
            return []

    def _latest(self, settings: Settings) -> int:
        from mlgate.tracking import open_tracking
        from mlgate_tracking.errors import ResourceDoesNotExist

        with open_tracking(settings) as tracking:
            try:
                page = tracking.store.search_promotions(self.model, max_results=1)
            except ResourceDoesNotExist:
                return 0
        return page.items[0].revision if page.items else 0

    def _since(self, settings: Settings, after: int) -> list[dict[str, Any]]:
        """Changes in the order of their revisions; those of one model happen one after the other, so none is missed."""
        from mlgate.promotion import parse_target
        from mlgate.tracking import open_tracking
        from mlgate_tracking.errors import ResourceDoesNotExist

        target = parse_target(self.to)
        found: list[Promotion] = []
        token: str | None = None
        with open_tracking(settings) as tracking:
            while True:
                try:
                    page = tracking.store.search_promotions(self.model, max_results=_PAGE, page_token=token)
                except ResourceDoesNotExist:
                    return []
                found += [one for one in page.items if one.revision > after]
                token = page.token
                if token is None or page.items[-1].revision <= after:
                    break
        return [
            _payload(one)
            for one in reversed(found)
            if one.kind.value in self.kinds
            and one.version is not None
            and (
                (target.alias is not None and one.target.alias == target.alias)
                or (target.stage is not None and one.target.stage == target.stage)
            )
        ]


class RegistryProducer(SharedStreamProducer):
    """Reads changes from the store; moves the cursor when Airflow has stored what came of them."""

    def __init__(self, trigger: RegistryEventTrigger) -> None:
        self.trigger = trigger
        self.cursor = AssetCursor(trigger.asset)

    async def open_stream(self) -> AsyncIterator[tuple[dict[str, Any], int]]:
        after = await self.trigger.start(self.cursor)
        while True:
            for payload in await self.trigger.changes(after):
                after = payload["revision"]
                yield payload, after
            await asyncio.sleep(self.trigger.poll)

    async def advance(self, batch: Sequence[Any]) -> None:
        """Raises when an event was not stored: the watcher then begins again at the cursor."""
        stored: int | None = None
        for item in batch:
            if not item.outcome.is_clean:
                break
            stored = item.broker_payload
        if stored is not None:
            await self.cursor.set(stored)
        if stored != batch[-1].broker_payload:
            raise RuntimeError(f"an event for {self.trigger.asset} was not stored; it will be sent again")


class AssetCursor:
    """The last revision, in Airflow's asset state store."""

    def __init__(self, asset: str) -> None:
        from airflow.sdk.execution_time.context import AssetStateStoreAccessor

        self._state = AssetStateStoreAccessor(name=asset)

    async def get(self) -> int | None:
        found = await self._state.aget("mlgate_revision")
        return None if found is None else int(str(found))

    async def set(self, revision: int) -> None:
        await self._state.aset("mlgate_revision", revision)


class VariableCursor:
    """The last revision, in a variable of Airflow's (before 3.3 there is no other place)."""

    def __init__(self, asset: str) -> None:
        self._key = f"mlgate_revision:{asset}"

    async def get(self) -> int | None:
        from airflow.sdk import Variable

        found = await ask_airflow(functools.partial(Variable.get, self._key, default=None))
        return None if found is None else int(found)

    async def set(self, revision: int) -> None:
        from airflow.sdk import Variable

        await ask_airflow(Variable.set, self._key, str(revision))


def _payload(one: Promotion) -> dict[str, Any]:
    return {
        "model": one.model,
        "version": one.version,
        "previous_version": one.previous_version,
        "kind": one.kind.value,
        "promotion_id": one.promotion_id,
        "event_id": one.event_id,
        "revision": one.revision,
        "alias": one.target.alias,
        "stage": one.target.stage,
        "user": one.user,
    }


__all__ = ["KINDS", "RegistryEventTrigger"]
