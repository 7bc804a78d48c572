"""Which distributions a model needs: those whose modules its pickle names, and the framework's own, pinned."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_NAMES = {"sklearn": "scikit-learn", "PIL": "pillow", "cv2": "opencv-python", "yaml": "pyyaml"}
"""Import names whose distribution is known without a search."""


def modules_in_pickle(file: str) -> set[str]:
    """Top-level modules that a pickle imports when it is loaded, read without loading it."""
    import pickletools

    found: set[str] = set()
    strings: list[str] = []
    with open(file, "rb") as stream:
        try:
            for opcode, argument, _position in pickletools.genops(stream):
                if opcode.name == "GLOBAL":
                    found.add(str(argument).partition(" ")[0].partition(".")[0])
                elif "UNICODE" in opcode.name:
                    strings.append(str(argument))
                elif opcode.name == "STACK_GLOBAL" and len(strings) > 1:
                    found.add(strings[-2].partition(".")[0])
        except ValueError:  # numpy arrays appended behind the pickle, or a format of its own
            pass
    # A module named once is taken from the memo later, so any earlier text that is a loaded module counts.
    found |= {text.partition(".")[0] for text in strings if text.partition(".")[0] in sys.modules and "." in text}
    return found


def _distributions() -> dict[str, str]:
    """Import name -> distribution name, for what is installed."""
    from importlib import metadata

    if hasattr(metadata, "packages_distributions"):
        return {name: each[0] for name, each in metadata.packages_distributions().items() if each}
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        listed = (distribution.read_text("top_level.txt") or "").split()
        for name in listed or [distribution.metadata["Name"].replace("-", "_")]:
            found.setdefault(name, distribution.metadata["Name"])
    return found


def pin(modules: Iterable[str]) -> list[str]:
    """`name==version` for each module that an installed distribution brings; the standard library is left out."""
    from importlib import metadata

    wanted = {name.partition(".")[0] for name in modules} - {"mlgate_tracking", "__main__", "builtins"}
    wanted = {name for name in wanted if _from_site_packages(name)}
    known: dict[str, str] | None = None
    pinned: dict[str, str] = {}
    for module in wanted:
        name = _NAMES.get(module, module)
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            if known is None:
                known = _distributions()  # reads every distribution's files: only for the odd names
            if module not in known:
                continue
            name = known[module]
            version = metadata.version(name)
        # a local version (such as +cpu) is on no index
        pinned[name.lower().replace("_", "-")] = "%s==%s" % (name, version.partition("+")[0])
    return [pinned[name] for name in sorted(pinned)]


def _from_site_packages(module: str) -> bool:
    loaded = sys.modules.get(module)
    where = getattr(loaded, "__file__", None) or next(iter(getattr(loaded, "__path__", ())), "")
    return any(part in ("site-packages", "dist-packages") for part in str(where).split(os.sep))


def of_main() -> set[str]:
    """Top-level modules that the script itself has imported."""
    names = set()
    for value in list(vars(sys.modules["__main__"]).values()):
        module = value.__name__ if type(value) is type(sys) else getattr(value, "__module__", None)
        if isinstance(module, str):
            names.add(module.partition(".")[0])
    return names


def environment_files(requirements: list[str]) -> dict[str, str]:
    """`requirements.txt`, `python_env.yaml` and `conda.yaml` for these requirement lines."""
    from mlgate_tracking.kit.simple_yaml import dump

    python = "%d.%d.%d" % sys.version_info[:3]
    lines = requirements if any(line.startswith("mlflow") for line in requirements) else ["mlflow", *requirements]
    conda = {
        "channels": ["conda-forge"],
        "dependencies": ["python=" + python, "pip", {"pip": lines}],
        "name": "mlflow-env",
    }
    python_env = {
        "python": python,
        "build_dependencies": ["pip", "setuptools", "wheel"],
        "dependencies": ["-r requirements.txt"],
    }
    return {
        "requirements.txt": "\n".join(lines) + "\n",
        "python_env.yaml": dump(python_env),
        "conda.yaml": dump(conda),
    }


__all__ = ["environment_files", "modules_in_pickle", "of_main", "pin"]
