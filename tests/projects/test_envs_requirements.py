from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgate_projects.envs.requirements import Requirements, flatten
from mlgate_projects.errors import InvalidProject


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "requirements").mkdir()
    return tmp_path


def flat(project: Path, *lines: str, file: str = "python_env.yaml") -> Requirements:
    return flatten((("dependencies", lines),), file=file, project=project)


def test_plain_lines_stay_as_they_are(project: Path) -> None:
    lines = ("numpy==1.24.0", "uvicorn[standard] >= 0.30", "x; python_version < '3.9'", "--no-binary :all:")
    assert flat(project, *lines).lines == lines


def test_files_are_opened_where_they_stand_in_the_list(project: Path) -> None:
    (project / "requirements/base.txt").write_text("# base\nnumpy  # fast\n\n-r more.txt\n")
    (project / "requirements/more.txt").write_text("pandas \\\n  ==2.0.0\n--index-url https://i.example/simple\n")
    read = flat(project, "first", "-r requirements/base.txt", "last")
    assert read.lines == ("first", "numpy", "pandas   ==2.0.0", "--index-url https://i.example/simple", "last")


@pytest.mark.parametrize(
    "spelling", ["-r base.txt", "-rbase.txt", "--requirement base.txt", "--requirement=base.txt", "-r './base.txt'"]
)
def test_every_spelling_of_a_file_is_read(project: Path, spelling: str) -> None:
    (project / "base.txt").write_text("numpy\n")
    assert flat(project, spelling).lines == ("numpy",)


def test_constraints_are_kept_apart(project: Path) -> None:
    (project / "limits.txt").write_text("numpy<2\n-r more.txt\n")
    (project / "more.txt").write_text("pandas<3\n")
    read = flat(project, "-c limits.txt", "pandas")
    assert (read.lines, read.constraints) == (("pandas",), ("numpy<2", "pandas<3"))


def test_paths_are_relative_to_the_file_that_names_them_then_to_the_project(project: Path) -> None:
    (project / "envs").mkdir()
    (project / "envs/base.txt").write_text("beside\n")
    assert flat(project, "-r base.txt", file="envs/python_env.yaml").lines == ("beside",)
    (project / "top.txt").write_text("top\n")
    assert flat(project, "-r top.txt", file="envs/python_env.yaml").lines == ("top",)


def test_a_file_that_includes_itself_is_read_once(project: Path) -> None:
    (project / "a.txt").write_text("one\n-r b.txt\n")
    (project / "b.txt").write_text("two\n-r a.txt\n")
    assert flat(project, "-r a.txt").lines == ("one", "two")


def test_every_missing_file_is_told_with_its_place(project: Path) -> None:
    (project / "a.txt").write_text("ok\n-r gone.txt\n")
    with pytest.raises(InvalidProject) as refusal:
        flat(project, "-r a.txt", "-r nowhere.txt", "./no-package", "-e ./neither")
    assert [str(problem) for problem in refusal.value.problems] == [
        "a.txt:2: '-r gone.txt': there is no file 'gone.txt'",
        "python_env.yaml: dependencies[1]: '-r nowhere.txt': there is no file 'nowhere.txt'",
        "python_env.yaml: dependencies[2]: './no-package': there is no './no-package'",
        "python_env.yaml: dependencies[3]: './neither': there is no './neither'",
    ]


def package(folder: Path) -> Path:
    (folder / "src").mkdir(parents=True)
    (folder / "pyproject.toml").write_text("[project]\nname='p'\n")
    (folder / "src/code.py").write_text("x = 1\n")
    return folder


def test_a_local_package_is_made_absolute_and_its_content_counts(project: Path) -> None:
    package(project / "pkg")
    for spelling in ("./pkg", "pkg", f"{project}/pkg", f"file://{project}/pkg"):
        assert flat(project, spelling).lines == (f"{project}/pkg",)
    assert flat(project, "./pkg[extra]").lines == (f"{project}/pkg[extra]",)
    assert flat(project, "p @ file://./pkg".replace("//./", f"//{project}/")).lines == (f"p @ file://{project}/pkg",)
    before = flat(project, "./pkg").sources
    (project / "pkg/__pycache__").mkdir()
    (project / "pkg/__pycache__/x.pyc").write_bytes(b"")
    assert flat(project, "./pkg").sources == before
    (project / "pkg/src/code.py").write_text("x = 2\n")
    assert flat(project, "./pkg").sources != before


def test_of_an_editable_package_only_the_metadata_counts(project: Path) -> None:
    package(project / "pkg")
    read = flat(project, "-e ./pkg")
    assert read.lines == (f"-e {project}/pkg",)
    (project / "pkg/src/code.py").write_text("x = 2\n")
    assert flat(project, "-e ./pkg").sources == read.sources
    (project / "pkg/pyproject.toml").write_text("[project]\nname='q'\n")
    assert flat(project, "-e ./pkg").sources != read.sources


def test_a_package_of_the_index_is_not_taken_for_a_folder_of_that_name(project: Path) -> None:
    (project / "numpy").mkdir()
    assert flat(project, "numpy").sources == ()


def test_what_has_no_hash_is_known(project: Path) -> None:
    package(project / "pkg")
    assert flat(project, "./pkg").local
    assert flat(project, "git+https://h.example/x.git@v1").local
    assert flat(project, "x @ git+ssh://h.example/x.git").local
    assert not flat(project, "numpy").local
    assert flat(project, "numpy==1 --hash=sha256:00").hashed


def test_names_are_canonical(project: Path) -> None:
    assert flat(project, "Scikit_Learn>=1", "ruamel.yaml", "--pre").names == {"scikit-learn", "ruamel-yaml"}


def test_a_folder_of_wheels_is_found_from_the_file_that_names_it(project: Path) -> None:
    (project / "requirements/wheels").mkdir()
    (project / "requirements/base.txt").write_text("-f wheels\n")
    assert flat(project, "-r requirements/base.txt").lines == (f"--find-links {project}/requirements/wheels",)


names = st.from_regex(r"[a-z][a-z0-9]{0,6}", fullmatch=True)


@given(st.lists(names, max_size=6), st.data())
def test_where_files_are_cut_makes_no_difference(lines: list[str], data: st.DataObject) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        cut = data.draw(st.integers(0, len(lines)))
        (root / "tail.txt").write_text("".join(f"{line}\n" for line in lines[cut:]))
        assert flat(root, *lines[:cut], "-r tail.txt").lines == flat(root, *lines).lines
