"""A real triggerer watches the registry, is killed, misses promotions, makes up for them. Prints the asset events."""

import json
import os
import signal
import subprocess
import sys
import time

from airflow.models.asset import AssetEvent, AssetModel
from airflow.utils.session import create_session
from sqlalchemy import select

from mlgate.settings import load_settings
from mlgate_tracking.client import connect
from mlgate_tracking.governance import PromotionRequest, Target


def promote(version):
    with connect(load_settings().tracking_uri) as store:
        store.promote(PromotionRequest("toy", version, Target("champion")))


def events():
    with create_session() as session:
        rows = session.execute(
            select(AssetModel.name, AssetEvent.extra)
            .join(AssetEvent, AssetEvent.asset_id == AssetModel.id)
            .where(AssetModel.name == "mlgate:toy@champion:registry")
            .order_by(AssetEvent.id)
        ).all()
    return [extra["payload"]["version"] for _, extra in rows]


def started():
    with open(os.environ["TRIGGERER_LOG"], "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "airflow", "triggerer"], stdout=log, stderr=log, start_new_session=True
        )


def killed(triggerer):
    os.killpg(triggerer.pid, signal.SIGKILL)
    triggerer.wait()


def wait_until(done, seconds=40):
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(f"events {events()}, cursor {cursor()}")
        time.sleep(0.3)


def wait_for(wanted):
    wait_until(lambda: events() == wanted)
    return events()


def cursor():
    from airflow.models.asset_state_store import AssetStateStoreModel

    with create_session() as session:
        return [json.loads(value) for value in session.scalars(select(AssetStateStoreModel.value))]


subprocess.run([sys.executable, "-m", "airflow", "dags", "reserialize"], check=True, capture_output=True)
promote(1)  # before anybody watches
triggerer = started()
try:
    wait_until(cursor)
    promote(2)
    first = wait_for([2])
    wait_until(lambda: cursor() == [2])
    promote(3)
    wait_for([2, 3])
    wait_until(lambda: cursor() == [3])
    killed(triggerer)
    promote(1)
    promote(2)
    triggerer = started()
    second = wait_for([2, 3, 1, 2])
    time.sleep(3)
    print(json.dumps({"first": first, "second": second, "later": events()}))
finally:
    if triggerer.poll() is None:
        killed(triggerer)
