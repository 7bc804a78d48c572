"""`SqlStore`: the store contract over a database, put together from its parts."""

from __future__ import annotations

from mlgate_tracking.contract import ServerStore
from mlgate_tracking.entities import Fence
from mlgate_tracking.store.approvals import ApprovalStore
from mlgate_tracking.store.audit import AuditStore
from mlgate_tracking.store.database import Database, open_database
from mlgate_tracking.store.experiments import ExperimentStore, create_default_experiment
from mlgate_tracking.store.inputs import InputStore
from mlgate_tracking.store.keys import KeyTable
from mlgate_tracking.store.logged_models import LoggedModelStore
from mlgate_tracking.store.metrics import MetricStore
from mlgate_tracking.store.outbox import OutboxStore
from mlgate_tracking.store.points import PointWriter
from mlgate_tracking.store.promotion import PromotionStore
from mlgate_tracking.store.registry import RegistryStore
from mlgate_tracking.store.rollback import RollbackStore
from mlgate_tracking.store.run_data import RunDataStore
from mlgate_tracking.store.runs import RunStore
from mlgate_tracking.store.searches import SearchStore
from mlgate_tracking.store.steps import StepRunStore
from mlgate_tracking.store.traces import TraceStore
from mlgate_tracking.store.users import UserStore
from mlgate_tracking.store.webhooks import WebhookStore
from mlgate_tracking.users import Identity

PROXIED_ROOT = "mlflow-artifacts:/"


class SqlStore(
    ExperimentStore,
    RunStore,
    RunDataStore,
    MetricStore,
    InputStore,
    StepRunStore,
    ApprovalStore,
    PromotionStore,
    RollbackStore,
    AuditStore,
    UserStore,
    OutboxStore,
    SearchStore,
    LoggedModelStore,
    RegistryStore,
    TraceStore,
    WebhookStore,
    ServerStore,
):
    """Experiments, runs, models and the registry in SQLite, PostgreSQL or MySQL/MariaDB.

    Args:
        uri: `sqlite:///file.db`, `postgresql://...` or `mysql://...`; see `open_database`.
        artifact_root: URI below which new experiments get their artifact location.

    Raises:
        BadRequest: the database's schema is older or newer than this version's.
    """

    _is_view = False

    def __init__(self, uri: str, artifact_root: str = PROXIED_ROOT) -> None:
        database = open_database(uri, lambda tx: create_default_experiment(tx, artifact_root))
        keys = KeyTable()
        self._attach(database, keys, PointWriter(database, keys), artifact_root)

    def _attach(self, database: Database, keys: KeyTable, point_writer: PointWriter, artifact_root: str) -> None:
        self.database = database
        self.keys = keys
        self.point_writer = point_writer
        self.artifact_root = artifact_root

    def _view(self) -> SqlStore:
        view = object.__new__(type(self))
        view._attach(self.database, self.keys, self.point_writer, self.artifact_root)
        view._is_view = True
        return view

    def fenced(self, fence: Fence) -> SqlStore:
        view = self._view()
        view.fence = fence
        return view

    def identified(self, identity: Identity) -> SqlStore:
        view = self._view()
        view.identity = identity
        return view

    def __enter__(self) -> SqlStore:
        return self

    def close(self) -> None:
        if not self._is_view:
            self.point_writer.close()
            self.database.close()


__all__ = ["PROXIED_ROOT", "SqlStore"]
