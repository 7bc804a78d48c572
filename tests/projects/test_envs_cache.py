from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgate_projects.envs import Package
from mlgate_projects.envs.cache import Built, Cache, digest_of

DIGEST = "ab" * 32

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
keys = st.dictionaries(st.text(), json_values, max_size=4)

BUILDER = """
import os, sys, time
from pathlib import Path
from mlgate_projects.envs.cache import Built, Cache
root, seconds = Path(sys.argv[1]), float(sys.argv[2])

def build(directory):
    with open(root.parent / "builds", "a") as file:
        file.write(f"{directory.name}\\n")
    directory.joinpath("half").write_text("")
    print("building", flush=True)
    time.sleep(seconds)
    directory.joinpath("whole").write_text("")
    return Built(python="whole")

fingerprint, reused = Cache(root).obtain("test", sys.argv[3], build)
assert Cache(root).prepared(fingerprint, reused=reused).location
print("reused" if reused else "built", fingerprint.directory, flush=True)
if len(sys.argv) > 4:
    with Cache(root).in_use("test", fingerprint.digest):
        sys.stdin.read()
"""


def builder(root: Path, seconds: float = 0.3, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BUILDER, str(root), str(seconds), DIGEST, *more],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )


def finish(*processes: subprocess.Popen[str]) -> list[str]:
    return [process.communicate(timeout=60)[0].splitlines()[-1] for process in processes]


def build_plain(directory: Path) -> Built:
    (directory / "python").write_text("x" * 5000)
    return Built(python="python", packages=(Package("a", "1"),), extra={"k": "v"})


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "envs")


@given(keys, st.randoms())
def test_keys_are_equal_whatever_the_order_of_their_fields(key: dict[str, Any], random: Any) -> None:
    items = list(key.items())
    random.shuffle(items)
    assert digest_of(key) == digest_of(dict(items))


@given(keys, keys)
def test_different_keys_have_different_digests(first: dict[str, Any], second: dict[str, Any]) -> None:
    equal = json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
    assert (digest_of(first) == digest_of(second)) == equal


@given(st.lists(st.text(), min_size=2, max_size=4, unique=True))
def test_the_order_of_requirements_is_part_of_the_key(lines: list[str]) -> None:
    assert digest_of({"lines": lines}) != digest_of({"lines": lines[::-1]})
    assert digest_of({"lines": lines}) == digest_of({"lines": tuple(lines)})


def test_what_is_no_number_is_refused_in_a_key() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        digest_of({"x": float("nan")})


def test_a_second_request_reuses_what_the_first_built(cache: Cache) -> None:
    built, reused = cache.obtain("test", DIGEST, build_plain, description="what it is")
    again, reused_again = cache.obtain("test", DIGEST, lambda _: pytest.fail("built twice"))
    assert (reused, reused_again) == (False, True)
    assert again == built
    prepared = cache.prepared(again, reused=True, warnings=["w"])
    assert prepared.packages == (Package("a", "1"),)
    assert Path(prepared.location, "python").is_file()
    assert prepared.python == f"{prepared.location}/python"
    assert (prepared.warnings, prepared.extra) == (("w",), {"k": "v"})


def test_the_directory_says_that_it_is_a_cache_and_is_ignored_by_git(cache: Cache) -> None:
    cache.obtain("test", DIGEST, build_plain)
    assert (cache.root / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55\n")
    assert (cache.root / ".gitignore").read_text() == "*\n"


def test_a_failed_build_leaves_nothing(cache: Cache) -> None:
    def build(directory: Path) -> Built:
        (directory / "half").write_text("")
        raise RuntimeError("no network")

    with pytest.raises(RuntimeError, match="no network"):
        cache.obtain("test", DIGEST, build)
    assert cache.lookup("test", DIGEST) is None
    assert not [path for path in (cache.root / "test").iterdir() if path.is_dir()]


@pytest.mark.parametrize("damage", ["empty", "garbage", "other layout", "no directory", "no interpreter"])
def test_a_damaged_environment_is_built_again(cache: Cache, damage: str) -> None:
    fingerprint, _ = cache.obtain("test", DIGEST, build_plain)
    file = next((cache.root / "test").glob("*.json"))
    directory = cache.root / "test" / fingerprint.directory
    match damage:
        case "empty":
            file.write_text("")
        case "garbage":
            file.write_text('{"scheme": 1, "what": []}')
        case "other layout":
            file.write_text(file.read_text().replace('"scheme": 1', '"scheme": 0'))
        case "no directory":
            directory.rename(directory.with_name("elsewhere"))
        case "no interpreter":
            (directory / "python").unlink()
    again, reused = cache.obtain("test", DIGEST, build_plain)
    assert not reused
    assert cache.lookup("test", DIGEST) == again
    assert len(list((cache.root / "test").glob(f"{DIGEST[:20]}-*"))) == 1


@pytest.mark.parametrize("racers", [4, 8])
def test_racing_processes_build_once(cache: Cache, racers: int) -> None:
    said = finish(*(builder(cache.root) for _ in range(racers)))
    assert sorted(line.split()[0] for line in said) == ["built"] + ["reused"] * (racers - 1)
    assert len({line.split()[1] for line in said}) == 1
    assert len((cache.root.parent / "builds").read_text().splitlines()) == 1


def test_a_build_that_was_killed_is_done_again_and_cleaned_up(cache: Cache) -> None:
    for _ in range(3):
        killed = builder(cache.root, 60)
        assert killed.stdout is not None
        assert killed.stdout.readline() == "building\n"
        killed.send_signal(signal.SIGKILL)
        killed.communicate(timeout=10)
        assert cache.lookup("test", DIGEST) is None
    (said,) = finish(builder(cache.root, 0))
    assert said.startswith("built ")
    assert [path.name for path in (cache.root / "test").iterdir() if path.is_dir()] == [said.split()[1]]


def test_who_waits_for_a_build_takes_over_when_the_builder_is_killed(cache: Cache) -> None:
    first = builder(cache.root, 60)
    assert first.stdout is not None
    first.stdout.readline()
    second = builder(cache.root, 0)
    time.sleep(0.3)
    assert second.poll() is None
    first.kill()
    first.communicate()
    assert finish(second)[0].startswith("built ")


def test_collection_leaves_what_another_process_uses(cache: Cache) -> None:
    user = builder(cache.root, 0, "use it")
    assert user.stdout is not None
    assert [user.stdout.readline(), user.stdout.readline().split()[0]] == ["building\n", "built"]
    (entry,) = cache.entries()
    assert entry.leased
    assert cache.gc() == []
    assert cache.lookup("test", DIGEST) is not None
    user.kill()
    user.communicate()
    assert [removed.fingerprint.digest for removed in cache.gc()] == [DIGEST]
    assert cache.lookup("test", DIGEST) is None


def test_a_lease_lasts_from_obtaining_to_the_end_of_use(cache: Cache) -> None:
    cache.obtain("test", DIGEST, build_plain)
    assert cache.gc() == []
    with cache.in_use("test", DIGEST):
        assert cache.gc() == []
    assert len(cache.gc()) == 1


def put(cache: Cache, digit: str, *, age: float, kind: str = "test", size: int = 100_000) -> str:
    digest = digit * 64

    def build(directory: Path) -> Built:
        (directory / "python").write_bytes(os.urandom(size))
        return Built(python="python")

    cache.obtain(kind, digest, build)
    with cache.in_use(kind, digest):
        pass
    used = time.time() - age
    os.utime(cache.root / kind / f"{digest[:20]}.json", (used, used))
    return digest


def digests(entries: list[Any]) -> list[str]:
    return [entry.fingerprint.digest[0] for entry in entries]


def test_collection_by_age_size_and_kind(cache: Cache) -> None:
    put(cache, "a", age=10)
    put(cache, "b", age=1000)
    put(cache, "c", age=5000)
    put(cache, "d", age=9000, kind="other")
    assert digests(cache.gc(unused_for=900, kinds=["test"], dry_run=True)) == ["c", "b"]
    assert len(cache.entries()) == 4
    assert digests(cache.gc(unused_for=4000, kinds=["test"])) == ["c"]
    assert digests(cache.entries()) == ["a", "b", "d"]
    assert digests(cache.gc(max_size=150_000)) == ["d", "b"]
    assert digests(cache.gc(unused_for=3600)) == []
    assert digests(cache.gc()) == ["a"]


def test_collection_sweeps_up_after_killed_builds_but_not_under_a_running_one(cache: Cache) -> None:
    running = builder(cache.root, 60)
    assert running.stdout is not None
    running.stdout.readline()
    cache.gc()
    assert len([path for path in (cache.root / "test").iterdir() if path.is_dir()]) == 1
    running.kill()
    running.communicate()
    cache.gc()
    assert [path for path in (cache.root / "test").iterdir() if path.is_dir()] == []


def test_files_shared_with_the_installers_cache_do_not_count(cache: Cache, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.write_bytes(b"x" * 500_000)

    def build(directory: Path) -> Built:
        (directory / "python").hardlink_to(shared)
        return Built(python="python")

    cache.obtain("test", DIGEST, build)
    assert cache.entries()[0].size == 0


def test_an_environment_is_found_by_the_beginning_of_its_digest(cache: Cache) -> None:
    put(cache, "a", age=1)
    put(cache, "b", age=1)
    assert cache.find("aaa").fingerprint.digest == "a" * 64
    assert cache.find("test/bb").fingerprint.digest == "b" * 64
    for name in ("c", "other/a", ""):
        with pytest.raises(KeyError):
            cache.find(name)


def test_a_cache_that_may_only_be_read_serves_what_it_holds() -> None:
    root = Path(tempfile.mkdtemp())
    try:
        Cache(root / "envs").obtain("test", DIGEST, build_plain)
        for path in (root, root / "envs", root / "envs/test"):
            path.chmod(0o555)
        child = os.fork()
        if child == 0:
            if os.geteuid() == 0:
                os.setuid(65534)  # root may write everywhere
            found, reused = Cache(root / "envs").obtain("test", DIGEST, build_plain)
            os._exit(0 if reused and found.digest == DIGEST else 1)
        assert os.waitpid(child, 0)[1] == 0
    finally:
        for path in (root, root / "envs", root / "envs/test"):
            path.chmod(0o755)
        shutil.rmtree(root)
