"""The door to the database: transactions, group commit, and what a SQLite file survives."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from mlgate_tracking.errors import BadRequest, Conflict, InvalidParameterValue
from mlgate_tracking.store import tables
from mlgate_tracking.store.database import Database, open_database
from mlgate_tracking.store.schema import VERSION_TABLE
from mlgate_tracking.store.transaction import Transaction
from tests.support import databases


@pytest.fixture
def database(tmp_path: Path):
    opened = open_database(f"sqlite:///{tmp_path}/store.db")
    yield opened
    opened.close()


def names(database: Database) -> list[str]:
    return [row[0] for row in database.read(lambda tx: tx.rows("SELECT name FROM attribute_keys ORDER BY name"))]


def add(name: str):
    return lambda tx: tx.insert_keyed("attribute_keys", {"name": name}, "key_id")


def test_text_and_expressions_see_one_transaction(database: Database) -> None:
    def work(tx: Transaction) -> list[str]:
        tx.insert("attribute_keys", {"name": "text"})
        tx.core.execute(tables.attribute_keys.insert().values(name="expression"))
        return [row[0] for row in tx.rows("SELECT name FROM attribute_keys ORDER BY name")]

    assert database.write(work) == ["expression", "text"]
    found = database.read(lambda tx: tx.core.execute(sa.select(tables.attribute_keys.c.name)).scalars().all())
    assert sorted(found) == names(database) == ["expression", "text"]


def test_a_failing_work_leaves_nothing(database: Database) -> None:
    def work(tx: Transaction) -> None:
        tx.core.execute(tables.attribute_keys.insert().values(name="lost"))
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        database.write(work)
    assert names(database) == []


def test_a_repeated_unique_value_is_a_conflict(database: Database) -> None:
    database.write(add("a"))
    with pytest.raises(Conflict, match="must be unique"):
        database.write(add("a"))


@pytest.mark.database
@pytest.mark.parametrize("change", [{"name": "n" * 501}, {"creation_time": 2**63}])
def test_a_value_that_does_not_fit_its_column_is_the_callers_fault(
    server: databases.PostgreSQL | databases.MariaDB, change: dict[str, object]
) -> None:
    row = {"name": "n", "artifact_location": "", "creation_time": 1, "last_update_time": 1, **change}
    opened = open_database(server.create())
    try:
        with pytest.raises(InvalidParameterValue, match="the database does not take a value"):
            opened.write(lambda tx: tx.insert("experiments", row))
    finally:
        opened.close()


def test_waiting_writers_share_a_commit_and_a_bad_one_fails_alone(database: Database) -> None:
    entered, go_on = threading.Event(), threading.Event()
    outcomes: dict[str, object] = {}
    transactions: set[int] = set()

    def leader(tx: Transaction) -> None:
        entered.set()
        assert go_on.wait(10)

    def follower(name: str) -> None:
        def work(tx: Transaction) -> int:
            key = tx.insert_keyed("attribute_keys", {"name": name.rstrip("!")}, "key_id")
            transactions.add(tx.row("SELECT total_changes()")[0] >= 0 and id(tx.core))
            if name.endswith("!"):
                raise ValueError(name)
            return key

        try:
            outcomes[name] = database.write(work)
        except ValueError as error:
            outcomes[name] = error

    first = threading.Thread(target=database.write, args=(leader,))
    first.start()
    assert entered.wait(10)
    threads = [threading.Thread(target=follower, args=(name,)) for name in ("a", "bad!", "c", "d")]
    for thread in threads:
        thread.start()
    while len(database._lineup._waiting) < len(threads):  # type: ignore[attr-defined]
        pass
    go_on.set()
    for thread in [first, *threads]:
        thread.join(10)
    assert isinstance(outcomes["bad!"], ValueError)
    assert names(database) == ["a", "c", "d"]
    assert all(isinstance(outcomes[name], int) for name in ("a", "c", "d"))


def test_many_writers_lose_nothing(database: Database) -> None:
    def writer(number: int) -> None:
        for index in range(50):
            database.write(add(f"{number}-{index}"))

    threads = [threading.Thread(target=writer, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(names(database)) == 400


def test_two_openers_create_one_schema(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/new.db"
    opened: list[Database] = []
    threads = [threading.Thread(target=lambda: opened.append(open_database(uri))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(opened) == 4
    for database in opened:
        database.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.db"]


@pytest.mark.parametrize(
    ("found", "message"), [("9999", "newer than .* upgrade mlgate"), ("0000", "older than .* run `mlgate db upgrade`")]
)
def test_another_schema_is_refused(tmp_path: Path, found: str, message: str) -> None:
    uri = f"sqlite:///{tmp_path}/store.db"
    database = open_database(uri)
    database.write(lambda tx: tx.change(f"UPDATE {VERSION_TABLE} SET version_num = :found", {"found": found}))
    database.close()
    with pytest.raises(BadRequest, match=message):
        open_database(uri)


def test_mlflows_own_database_is_refused(tmp_path: Path) -> None:
    import sqlite3

    raw = sqlite3.connect(tmp_path / "mlflow.db")
    raw.executescript("CREATE TABLE alembic_version (version_num TEXT); CREATE TABLE experiments (name TEXT);")
    raw.close()
    with pytest.raises(BadRequest, match=r"belongs to MLflow.*mlgate import mlflow"):
        open_database(f"sqlite:///{tmp_path}/mlflow.db")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("oracle://host/name", "unknown scheme 'oracle'; use sqlite:///file.db"),
        ("sqlite://", "name a database file"),
        ("sqlite:///:memory:", "name a database file"),
        ("sqlite:///x.db?synchronous=maybe", "synchronous='maybe' is unknown; use normal or full"),
    ],
)
def test_a_bad_uri_says_what_would_work(uri: str, message: str) -> None:
    with pytest.raises(InvalidParameterValue, match=message):
        open_database(uri)


def test_an_interrupted_leader_leaves_the_others_to_the_next(database: Database) -> None:
    entered, go_on = threading.Event(), threading.Event()
    outcomes: dict[str, object] = {}

    def blocker(_tx: Transaction) -> None:
        entered.set()
        assert go_on.wait(10)

    def interrupted(tx: Transaction) -> None:
        tx.insert("attribute_keys", {"name": "interrupted"})
        raise KeyboardInterrupt

    def caller(name: str, work) -> None:
        try:
            outcomes[name] = database.write(work)
        except BaseException as error:
            outcomes[name] = error

    works = {"blocker": blocker, "first": interrupted, "second": add("second"), "third": add("third")}
    threads = []
    for index, (name, work) in enumerate(works.items()):
        threads.append(threading.Thread(target=caller, args=(name, work)))
        threads[-1].start()
        assert entered.wait(10)
        while len(database._lineup._waiting) < index:  # type: ignore[attr-defined]
            pass
    go_on.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert isinstance(outcomes["first"], KeyboardInterrupt)
    assert names(database) == ["second", "third"]


def test_a_password_does_not_get_into_a_message() -> None:
    with pytest.raises(InvalidParameterValue) as caught:
        open_database("oracle://ann:se:cret@host/name")
    assert "cret" not in str(caught.value)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello, this is no database at all " * 50)
    with pytest.raises(BadRequest, match="the database cannot be used: file is not a database"):
        open_database(f"sqlite:///{tmp_path}/notes.txt")
    with pytest.raises(BadRequest, match=r"cannot make .*notes.txt: "):
        open_database(f"sqlite:///{tmp_path}/notes.txt/store.db")
    with pytest.raises(BadRequest, match="the database cannot be used: unable to open database file"):
        open_database(f"sqlite:///{tmp_path}")
