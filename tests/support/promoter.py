"""A process of promoters: `python -m tests.support.promoter URI MODEL FIRST COUNT`.

For each line `ROUND EXPECTED` on standard input (EXPECTED `-` for nobody) COUNT threads try at once to promote the
versions FIRST, FIRST+1, ..., each expecting the same champion; then one JSON line says what each of them was told.
"""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

from mlgate_tracking.contract import Store
from mlgate_tracking.errors import Conflict, TrackingError
from mlgate_tracking.governance import PromotionRequest, Target
from mlgate_tracking.store.sql import SqlStore

CHAMPION = Target(alias="champion")


def attempt(store: Store, model: str, version: int, expected: int | None, key: str) -> dict[str, Any]:
    if version == expected:
        return {"version": version, "champion": True}  # has nothing to gain
    user = f"promoter {version}"
    request = PromotionRequest(model, version, CHAMPION, expect=expected, idempotency_key=key, user=user)
    try:
        made = store.promote(request)
    except Conflict as lost:
        winner = lost.details.get("winner")
        return {"version": version, "lost_to": winner["promotion_id"] if winner else None}
    except TrackingError as error:
        return {"version": version, "error": f"{type(error).__name__}: {error}"}
    return {"version": version, "won": made.promotion_id}


def main() -> None:
    uri, model, first, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    with SqlStore(uri) as store:
        store.get_registered_model(model)
        print("ready", flush=True)
        for line in sys.stdin:
            number, said = line.split()
            expected = None if said == "-" else int(said)
            told: list[dict[str, Any]] = [{}] * count
            barrier = threading.Barrier(count)

            def run(
                index: int,
                told: list[dict[str, Any]] = told,
                barrier: threading.Barrier = barrier,
                expected: int | None = expected,
                number: str = number,
            ) -> None:
                barrier.wait()
                told[index] = attempt(store, model, first + index, expected, f"{number}-{first + index}")

            threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
