"""The checks, each in an environment of its own: `nox -s tests lint types arrows minimums docs package`."""

from __future__ import annotations

import nox

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "types", "arrows", "tests"]

FAST = (
    "not (venv or conda or docker or database or objectstore or mlflow or frameworks or airflow or prefect"
    " or browser or slow)"
)


def _install(session: nox.Session, *extra: str) -> None:
    session.install("-e", ".[postgres,mysql,s3,azure,gcs,docker,conda]", *extra)


@nox.session(python=["3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """The tests that need nothing, on each Python that is supported; arguments go to pytest."""
    _install(session, *nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), "test"))
    session.run("python", "-m", "pytest", *(session.posargs or ["-m", FAST]))


@nox.session
def lint(session: nox.Session) -> None:
    session.install("ruff")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    _install(session, *nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), "dev"))
    session.run("mypy")


@nox.session
def arrows(session: nox.Session) -> None:
    session.install("-e", ".", "import-linter")
    session.run("lint-imports")


@nox.session(venv_backend="uv")
def minimums(session: nox.Session) -> None:
    """The fast tests with the oldest versions that pyproject.toml allows."""
    groups = nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), "test")
    session.run_install("uv", "pip", "install", "--resolution", "lowest-direct", "-e", ".[postgres,mysql]", *groups)
    session.run("python", "-m", "pytest", "-m", FAST, *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    _install(session, *nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), "test"))
    session.run("python", "-m", "pytest", "tests/test_docs.py")


@nox.session
def package(session: nox.Session) -> None:
    session.install("build", "uv")
    session.run("python", "-m", "build", "--installer", "uv", "--outdir", "dist")
