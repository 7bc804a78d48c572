"""Projects from directories, git repositories and zip files, with real git on real repositories."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mlgate_projects.errors import SourceError
from mlgate_projects.source import pin, resolve_source
from mlgate_projects.testing import project_dir
from tests.support.git import git, git_http_server, make_repository, ssh_stand_in

MLPROJECT = "entry_points: {main: {command: python train.py}}\n"


@dataclass
class Repository:
    """A bare repository with a project in `sub/dir`, a branch, a light and an annotated tag."""

    bare: Path
    work: Path

    @property
    def url(self) -> str:
        return self.bare.as_uri()

    def commit(self, version: str = "HEAD") -> str:
        return git(self.bare, "rev-parse", f"{version}^{{commit}}")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    root = tmp_path_factory.mktemp("repository")
    work = make_repository(
        root / "work",
        [
            {"MLproject": MLPROJECT, "train.py": "print(1)\n", "sub/dir/MLproject": MLPROJECT},
            {"train.py": "print(2)\n", "run.sh": "ls\n"},
            {"train.py": "print(3)\n"},
        ],
    )
    (work / "run.sh").chmod(0o755)
    (work / "sub" / "out").symlink_to("/etc")
    git(work, "add", "-A")
    git(work, "commit", "-qm", "links")
    git(work, "tag", "v1", "HEAD~2")
    git(work, "tag", "-am", "second", "v2", "HEAD~1")
    git(work, "branch", "feature/x", "HEAD~1")
    git(root, "clone", "-q", "--bare", str(work), "iris.git")
    git(root / "iris.git", "update-server-info")
    return Repository(root / "iris.git", work)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


# --- local directories ------------------------------------------------------------------------------------------


def test_a_directory_is_used_in_place(tmp_path: Path, cache: Path) -> None:
    project = project_dir(tmp_path / "p", {"MLproject": MLPROJECT, "sub/MLproject": MLPROJECT})
    source = resolve_source(str(project), cache_root=cache)
    assert (source.kind, source.directory, source.commit, source.repo_url) == ("local", project, None, None)
    below = resolve_source(f"'{project.as_uri()}#sub'", cache_root=cache)
    assert (below.directory, below.uri, below.subdirectory) == (project / "sub", f"{project}#sub", "sub")
    assert not cache.exists()


def test_a_work_tree_records_commit_branch_state_and_remote(made: Repository, tmp_path: Path, cache: Path) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", made.url, str(clone))
    git(clone, "remote", "set-url", "origin", "https://me:secret@host.example/iris.git")
    source = resolve_source(str(clone / "sub" / "dir"), cache_root=cache)
    assert (source.commit, source.branch, source.dirty) == (made.commit(), "main", False)
    assert source.name == "https://host.example/iris.git#sub/dir"
    (clone / "sub" / "dir" / "new.py").write_text("")
    assert resolve_source(str(clone / "sub" / "dir"), cache_root=cache).dirty


def test_equal_files_have_equal_digests_wherever_they_are(made: Repository, tmp_path: Path, cache: Path) -> None:
    remote = resolve_source(made.url, cache_root=cache)
    clean = resolve_source(str(made.work), cache_root=cache)
    copy = shutil.copytree(made.work, tmp_path / "copy", symlinks=True, ignore=shutil.ignore_patterns(".git"))
    plain = resolve_source(str(copy), cache_root=cache)
    assert remote.digest == clean.digest == plain.digest
    (copy / "__pycache__").mkdir()
    (copy / "__pycache__" / "train.pyc").write_bytes(b"x")
    assert resolve_source(str(copy), cache_root=cache).digest == plain.digest
    (copy / "train.py").write_text("print(4)\n")
    assert resolve_source(str(copy), cache_root=cache).digest != plain.digest


def test_an_uncommitted_change_changes_the_digest(made: Repository, tmp_path: Path, cache: Path) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", made.url, str(clone))
    before = resolve_source(str(clone), cache_root=cache)
    (clone / "train.py").unlink()
    deleted = resolve_source(str(clone), cache_root=cache)
    git(clone, "add", "-A")
    staged = resolve_source(str(clone), cache_root=cache)
    assert before.digest != deleted.digest == staged.digest
    assert deleted.dirty
    assert staged.dirty


def test_a_directory_that_git_ignores_is_no_part_of_its_commit(made: Repository, tmp_path: Path, cache: Path) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", made.url, str(clone))
    project_dir(clone, {".gitignore": "scratch/", "scratch/MLproject": MLPROJECT})
    first = resolve_source(str(clone / "scratch"), cache_root=cache)
    assert (first.commit, first.dirty, first.repo_url) == (None, False, None)
    (clone / "scratch" / "train.py").touch()
    assert resolve_source(str(clone / "scratch"), cache_root=cache).digest != first.digest


def test_a_repository_without_commits_is_a_project(tmp_path: Path, cache: Path) -> None:
    project = project_dir(tmp_path / "p", {"MLproject": MLPROJECT})
    git(project, "init", "-q")
    source = resolve_source(str(project), cache_root=cache)
    assert (source.commit, source.dirty) == (None, True)
    assert source.digest == resolve_source(str(project), cache_root=cache).digest


# --- git --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [None, "main", "feature/x", "v1", "v2", "refs/tags/v2"])
def test_versions_of_a_repository(made: Repository, cache: Path, version: str | None) -> None:
    source = resolve_source(made.url, version, cache_root=cache)
    assert source.commit == made.commit(version or "HEAD")
    assert source.branch == {None: "main", "main": "main", "feature/x": "feature/x"}.get(version)
    expected = git(made.bare, "show", f"{version or 'HEAD'}:train.py")
    assert (source.directory / "train.py").read_text().strip() == expected
    assert not (source.directory / ".git").exists()


@pytest.mark.parametrize("length", [40, 12, 7])
def test_commits_whole_or_short(made: Repository, cache: Path, length: int) -> None:
    commit = made.commit("v1")
    source = resolve_source(f"{made.url}#sub/dir", commit[:length], cache_root=cache)
    assert source.commit == commit
    assert source.uri == f"{made.url}#sub/dir"
    assert (source.directory / "MLproject").is_file()
    assert resolve_source(made.url, "main", cache_root=cache).commit == made.commit()


def test_a_local_repository_gives_other_versions_without_touching_the_work_tree(made: Repository, cache: Path) -> None:
    source = resolve_source(str(made.work / "sub"), "v1", cache_root=cache)
    assert (source.kind, source.commit, source.repo_subdirectory) == ("git", made.commit("v1"), "sub")
    assert source.directory.name == "sub"
    assert (made.work / "train.py").read_text() == "print(3)\n"


def test_a_known_commit_needs_no_network(made: Repository, cache: Path) -> None:
    with git_http_server(made.bare.parent) as (url, _):
        uri = f"{url}/iris.git"
        commit = pin(uri, "feature/x", cache_root=cache)
        first = resolve_source(uri, "feature/x", commit=commit, cache_root=cache)
    again = resolve_source(uri, "feature/x", commit=commit, cache_root=cache)
    assert again == first
    assert again.branch == "feature/x"
    assert resolve_source(uri, commit, cache_root=cache).directory == first.directory


def test_a_branch_that_moved_is_fetched_again(made: Repository, tmp_path: Path, cache: Path) -> None:
    bare = shutil.copytree(made.bare, tmp_path / "moving.git")
    old = resolve_source(bare.as_uri(), "main", cache_root=cache)
    git(bare, "update-ref", "refs/heads/main", made.commit("v1"))
    new = resolve_source(bare.as_uri(), "main", cache_root=cache)
    assert (old.commit, new.commit) == (made.commit(), made.commit("v1"))
    assert old.directory != new.directory


def test_files_that_a_run_changed_are_put_back_and_those_it_added_stay(made: Repository, cache: Path) -> None:
    directory = resolve_source(made.url, cache_root=cache).directory
    untouched = (directory / "MLproject").stat().st_mtime_ns
    (directory / "train.py").write_text("changed")
    (directory / "run.sh").unlink()
    (directory / "output.csv").write_text("1")
    source = resolve_source(made.url, cache_root=cache)
    assert source.directory == directory
    assert (directory / "train.py").read_text() == "print(3)\n"
    assert os.access(directory / "run.sh", os.X_OK)
    assert (directory / "output.csv").exists()
    assert (directory / "MLproject").stat().st_mtime_ns == untouched


@pytest.mark.parametrize("smart", [True, False])
def test_over_http(made: Repository, cache: Path, smart: bool) -> None:
    with git_http_server(made.bare.parent, smart=smart) as (url, requests):
        secret = url.replace("http://", "http://me:s3cret@") + "/iris.git#sub/dir"
        source = resolve_source(secret, "v2", cache_root=cache)
        assert source.commit == made.commit("v2")
        assert source.uri == f"{url}/iris.git#sub/dir"
        assert requests
        assert "s3cret" not in repr(source)
    stored = b"".join(path.read_bytes() for path in cache.rglob("*") if path.is_file())
    assert b"s3cret" not in stored


def test_over_https_from_a_server_that_is_trusted(
    made: Repository, cache: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with git_http_server(made.bare.parent, certificate=certificate) as (url, _):
        assert url.startswith("https://")
        with pytest.raises(SourceError, match=r"cannot be reached.*certificate") as caught:
            resolve_source(f"{url}/iris.git", "v2", cache_root=cache)
        assert "\n" not in str(caught.value)
        assert leftovers(cache) == []
        monkeypatch.setenv("GIT_SSL_CAINFO", str(certificate))
        source = resolve_source(f"{url}/iris.git#sub/dir", "v2", cache_root=cache)
    assert source.commit == made.commit("v2")
    assert (source.directory / "MLproject").read_text() == MLPROJECT


@pytest.mark.parametrize(
    ("form", "host"),
    [
        ("ssh://git@host.invalid:2222{path}", "-p 2222 git@host.invalid"),
        ("git@host.invalid:{path}", "git@host.invalid"),
    ],
)
def test_over_ssh_in_both_forms_of_the_url(
    made: Repository, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, form: str, host: str
) -> None:
    program, calls = ssh_stand_in(tmp_path)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(program))
    uri = form.format(path=made.bare)
    source = resolve_source(f"{uri}#sub/dir", "feature/x", cache_root=cache)
    assert source.commit == made.commit("feature/x")
    assert source.uri == f"{uri}#sub/dir"
    assert (source.directory / "MLproject").read_text() == MLPROJECT
    assert f"{host} git-upload-pack '{made.bare}'" in calls.read_text()
    assert "BatchMode=yes" in calls.read_text()  # a question for a password would wait for ever

    before = calls.read_text()
    assert resolve_source(uri, source.commit, cache_root=cache).commit == source.commit
    assert calls.read_text() == before  # a commit that is here needs no network


def test_an_error_of_the_server_holds_no_credentials(made: Repository, cache: Path) -> None:
    with git_http_server(made.bare.parent, smart=False) as (url, _), pytest.raises(SourceError) as caught:
        resolve_source(url.replace("http://", "http://me:s3cret@") + "/other.git", cache_root=cache)
    assert "s3cret" not in str(caught.value)
    assert f"{url}/other.git: cannot be reached: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_submodules_only_when_asked(made: Repository, tmp_path: Path, cache: Path) -> None:
    work = make_repository(tmp_path / "outer", [{"MLproject": MLPROJECT}])
    git(work, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", made.url, "vendored")
    git(work, "commit", "-qm", "submodule")
    git(tmp_path, "clone", "-q", "--bare", str(work), "outer.git")
    url = (tmp_path / "outer.git").as_uri()
    assert list((resolve_source(url, cache_root=cache).directory / "vendored").iterdir()) == []
    with_them = resolve_source(url, cache_root=cache, submodules=True)
    assert (with_them.directory / "vendored" / "train.py").read_text() == "print(3)\n"
    assert resolve_source(url, cache_root=cache, submodules=True) == with_them
    assert leftovers(cache) == []


def test_hooks_of_a_template_do_not_run(
    made: Repository, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = project_dir(tmp_path / "template", {"hooks/post-checkout": f"#!/bin/sh\ntouch {tmp_path}/ran\n"})
    (hook / "hooks" / "post-checkout").chmod(0o755)
    monkeypatch.setenv("GIT_TEMPLATE_DIR", str(hook))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    resolve_source(made.url, cache_root=cache, submodules=True)
    assert not (tmp_path / "ran").exists()


# --- several at once, and ends that nobody wanted -----------------------------------------------------------------


RESOLVE = """
import sys
from pathlib import Path
from mlgate_projects.source import resolve_source
print(resolve_source(sys.argv[1], cache_root=Path(sys.argv[2])).directory)
"""


def leftovers(cache: Path) -> list[Path]:
    return [path for path in cache.rglob(".*") if path.name.startswith((".partial", ".index"))]


def test_four_processes_at_once_make_one_tree(made: Repository, cache: Path) -> None:
    argv = [sys.executable, "-c", RESOLVE, made.url, str(cache)]
    started = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = {process.communicate(timeout=60)[0] for process in started}
    assert [process.returncode for process in started] == [0] * 4
    assert len(said) == 1
    assert leftovers(cache) == []


def test_what_a_killed_process_left_is_cleared(made: Repository, cache: Path) -> None:
    directory = resolve_source(made.url, cache_root=cache).directory
    marker = directory.with_name(directory.name + ".json")
    marker.unlink()
    shutil.rmtree(directory)
    (directory.parent / ".partial-1" / "deep").mkdir(parents=True)
    (directory.parents[1] / "mirror.git" / "objects" / "pack").mkdir(exist_ok=True)
    (directory.parents[1] / "mirror.git" / "objects" / "pack" / "tmp_pack_x").write_text("")
    assert resolve_source(made.url, cache_root=cache).directory == directory
    assert leftovers(cache) == []
    assert list(cache.rglob("tmp_pack*")) == []


def test_a_process_killed_in_the_middle_of_a_fetch_is_no_obstacle(made: Repository, cache: Path) -> None:
    held = threading.Event()
    with git_http_server(made.bare.parent, smart=False, hold=held) as (url, requests):
        argv = [sys.executable, "-c", RESOLVE, f"{url}/iris.git", str(cache)]
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        assert requests.wait_for(3, timeout=30)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        held.set()
        assert resolve_source(f"{url}/iris.git", cache_root=cache).commit == made.commit()
    assert leftovers(cache) == []


# --- zip files ----------------------------------------------------------------------------------------------------


def make_zip(path: Path, names: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in names.items():
            archive.writestr(name, content)
    return path


def test_zip_files_from_disk_and_http(tmp_path: Path, cache: Path) -> None:
    path = make_zip(tmp_path / "p.zip", {"iris-main/MLproject": MLPROJECT, "iris-main/sub/train.py": "print(1)"})
    source = resolve_source(f"{path}#sub", cache_root=cache)
    assert (source.kind, (source.directory / "train.py").read_text()) == ("zip", "print(1)")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    handler.func.log_message = lambda *_: None  # type: ignore[attr-defined]
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, contextlib.ExitStack() as stack:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stack.callback(server.shutdown)
        again = resolve_source(f"http://127.0.0.1:{server.server_port}/p.zip#sub", cache_root=cache)
    assert again.directory == source.directory


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil"])
def test_a_zip_file_cannot_write_outside(tmp_path: Path, cache: Path, name: str) -> None:
    path = make_zip(tmp_path / "p.zip", {"MLproject": MLPROJECT, name: "x"})
    with pytest.raises(SourceError, match="leads outside"):
        resolve_source(str(path), cache_root=cache)
    assert not list(tmp_path.rglob("evil"))
    assert leftovers(cache) == []


# --- what cannot be a source ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "version", "what"),
    [
        ("{tmp}/nothing", None, "no such directory"),
        ("{tmp}/plain", "v1", "--version v1 needs a git repository"),
        ("{tmp}/plain/train.py", None, "is a file; pass the project's directory, and a script by -e train.py"),
        ("{tmp}/plain#../x", None, "must stay inside the project"),
        ("{tmp}/plain#missing", None, "no directory 'missing' in it; it has data"),
        ("{tmp}/plain#data/link", None, "leads outside the project"),
        ("{tmp}/bad.zip", None, "cannot be unpacked"),
        ("", None, "no project given"),
        ("ext::sh -c touch% {tmp}/pwned", None, "cannot be fetched from there"),
        ("--upload-pack=touch {tmp}/pwned", None, "cannot be a project"),
        ("ftp://host/x.git", None, "git sources may be https, http, ssh, git, file or git@host:path"),
        ("s3://bucket/x", None, "git sources may be"),
        ("file:///nowhere/x.git", None, "no such directory"),
        ("http://127.0.0.1:9/x.git", None, "cannot be reached"),
        ("ssh://git@127.0.0.1:9/x.git", None, "cannot be reached"),
        ("{repo}", "nothing", "has no branch, tag or commit 'nothing'; it has feature/x, main, v1, v2"),
        ("{repo}", "deadbeef", "has no branch, tag or commit 'deadbeef'"),
        ("{repo}", "0123456789012345678901234567890123456789", "has no commit"),
        ("{repo}", "--upload-pack=touch", "cannot be a version"),
        ("{repo}", "main:refs/heads/x", "cannot be a version"),
        ("{repo}#sub/nothing", None, "no directory 'sub/nothing' in it"),
        ("{repo}#sub/out", None, "leads outside the project"),
        ("{repo}#../..", None, "must stay inside the project"),
    ],
)
def test_one_clear_line_and_nothing_left_behind(
    made: Repository, tmp_path: Path, cache: Path, uri: str, version: str | None, what: str
) -> None:
    plain = project_dir(tmp_path / "plain", {"train.py": "", "data/x": ""})
    (plain / "data" / "link").symlink_to("/etc")
    (tmp_path / "bad.zip").write_text("no zip")
    with pytest.raises(SourceError) as caught:
        resolve_source(uri.format(tmp=tmp_path, repo=made.url), version, cache_root=cache)
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "pwned").exists()
    assert leftovers(cache) == []
