"""What goes into a step's own environment: plain Python 3.8+, no dependencies, never makes a user's script fail.

`stage` is called by the runner; everything else here runs inside the user's process, on the user's interpreter.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

_HERE = os.path.dirname(os.path.abspath(__file__))


def _sources() -> list[tuple[str, str]]:
    """(name in the staged directory, file here), sorted."""
    found = [
        ("sitecustomize.py", os.path.join(_HERE, "_sitecustomize.py")),
        ("mlgate_tracking/__init__.py", os.path.join(os.path.dirname(_HERE), "__init__.py")),
    ]
    for folder, folders, names in os.walk(_HERE):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        inside = os.path.relpath(folder, _HERE).replace(os.sep, "/")
        prefix = "mlgate_tracking/kit/" + ("" if inside == "." else inside + "/")
        found += [(prefix + name, os.path.join(folder, name)) for name in sorted(names) if name.endswith(".py")]
    return found


def stage(target: str | os.PathLike[str]) -> Path:
    """The directory to put first on a step's PYTHONPATH: `sitecustomize.py` and the packages it needs, nothing else.

    The directory's name says what is in it, so a new kit never disturbs a running step, and one that is already there
    is used as it is. It is complete or absent, and readable by every user (containers mount it).

    Args:
        target: directory that holds the staged copies; made if missing.

    Returns:
        pathlib.Path of the staged directory.

    Raises:
        OSError: `target` cannot be written.
    """
    import hashlib
    from pathlib import Path

    sources = _sources()
    fingerprint = hashlib.sha256()
    for name, file in sources:
        status = os.stat(file)
        fingerprint.update(("%s %d %d\n" % (name, status.st_size, status.st_mtime_ns)).encode())
    staged = Path(target) / ("kit-" + fingerprint.hexdigest()[:16])
    if staged.is_dir():
        return staged

    import shutil
    import tempfile

    Path(target).mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".staging-", dir=str(target)))
    try:
        partial.chmod(0o755)
        for name, file in sources:
            copy = partial / name
            copy.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            shutil.copyfile(file, str(copy))
            shutil.copystat(file, str(copy))
            copy.chmod(0o644)
        try:
            partial.rename(staged)
        except OSError:
            if not staged.is_dir():  # else another process was faster, with the same content
                raise
    finally:
        shutil.rmtree(str(partial), ignore_errors=True)
    return staged


__all__ = ["stage"]
