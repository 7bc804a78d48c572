"""Calls back when a module has been imported; costs a dictionary look-up per import and imports nothing itself."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HOOKS = {
    "mlflow.tracking.fluent": "mlgate_tracking.kit.mlflow_experiment",
}
"""Module to wait for -> module of ours whose `patch(module)` is called once it is loaded."""

_AUTOLOGGING = "mlgate_tracking.kit.autologging."
AUTOLOG_HOOKS = {
    "sklearn.base": _AUTOLOGGING + "sklearn",
    "xgboost.training": _AUTOLOGGING + "boosting",
    "lightgbm.engine": _AUTOLOGGING + "boosting",
    "keras.src.models.model": _AUTOLOGGING + "keras",
    "keras.src.engine.training": _AUTOLOGGING + "keras",
    "keras.engine.training": _AUTOLOGGING + "keras",
    "pytorch_lightning.trainer.trainer": _AUTOLOGGING + "lightning",
    "lightning.pytorch.trainer.trainer": _AUTOLOGGING + "lightning",
}
"""The same for auto-logging; not installed with MLGATE_AUTOLOG=0."""

_OFF = ("0", "false", "no", "off")


class Finder:
    """A `sys.meta_path` finder that finds nothing itself: it lets the others find, then watches the load."""

    def __init__(self, hooks: dict[str, str]) -> None:
        self._hooks = hooks

    def add(self, name: str, patcher: str) -> bool:
        """Wait for one more module; False when it is waited for already."""
        if name in self._hooks:
            return False
        self._hooks[name] = patcher
        return True

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        patcher = self._hooks.get(name)
        if patcher is None:
            return None
        for finder in sys.meta_path:
            find_spec = getattr(finder, "find_spec", None)
            if finder is self or find_spec is None:
                continue
            spec = find_spec(name, path, target)
            if spec is not None:
                _watch(spec.loader, patcher)
                return spec
        return None


def _watch(loader: Any, patcher: str) -> None:
    """Call the patcher after `loader.exec_module`; the loader itself stays what it was for whoever looks at it."""
    original = getattr(loader, "exec_module", None)
    if original is None:
        return

    def exec_module(module: Any) -> None:
        try:
            del loader.exec_module
        except AttributeError:
            pass
        original(module)
        apply(patcher, module)

    try:
        loader.exec_module = exec_module
    except AttributeError:  # a loader class that is used without an instance, or one with slots
        pass


def apply(patcher: str, module: Any) -> None:
    """`patch(module)` of the module named `patcher`; what goes wrong is logged and goes no further."""
    try:
        __import__(patcher)
        sys.modules[patcher].patch(module)
    except Exception as error:
        from mlgate_tracking.kit import log

        log.failure("hook %s on %s" % (patcher, getattr(module, "__name__", module)), error)


def install(autolog: bool | None = None) -> None:
    """Put the finder first on `sys.meta_path`; modules that are already there are patched at once.

    Args:
        autolog: whether to hook the frameworks as well; default unless MLGATE_AUTOLOG says no.
    """
    if autolog is None:
        autolog = os.environ.get("MLGATE_AUTOLOG", "").strip().lower() not in _OFF
    wanted = dict(HOOKS, **AUTOLOG_HOOKS) if autolog else dict(HOOKS)
    finder = next((each for each in sys.meta_path if isinstance(each, Finder)), None)
    if finder is None:
        finder = Finder({})
        sys.meta_path.insert(0, finder)
    for name, patcher in wanted.items():
        if finder.add(name, patcher) and name in sys.modules:
            apply(patcher, sys.modules[name])


__all__ = ["AUTOLOG_HOOKS", "HOOKS", "Finder", "apply", "install"]
