"""The tracking store, and the client that a script uses: `import mlgate_tracking as tracking`.

    with tracking.start_run():
        tracking.log_param("max_depth", 5)
        tracking.log_metric("accuracy", 0.97)

This file and `mlgate_tracking.kit` also run inside a step's own environment (Python 3.8+), from a copy without the
rest of the package. Every public name is loaded on first use, so the import itself costs next to nothing.
"""

import os as _os
import sys as _sys

_HERE = _os.path.dirname(_os.path.abspath(__file__))

if not _os.path.isfile(_os.path.join(_HERE, "contract.py")):
    # The copy in a step's path: an mlgate that the environment has installed must stay importable behind it.
    for _entry in _sys.path:
        _folder = _os.path.join(_os.path.abspath(_entry or "."), "mlgate_tracking")
        if _os.path.isfile(_os.path.join(_folder, "contract.py")):
            __path__.append(_folder)

_FLUENT = """
ActiveRun TrackingClient TrackingError active_run autolog create_experiment dataset delete_tag download_artifacts
end_run flush get_artifact_uri get_experiment get_experiment_by_name get_run get_tracking_uri last_active_run
load_model load_table log_artifact log_artifacts log_dict log_drift log_figure log_image log_input log_metric
log_metrics log_model log_param log_params log_table log_text register_model search_experiments search_runs
set_experiment set_experiment_tag set_experiment_tags set_tag set_tags set_tracking_uri start_run
""".split()

__all__ = list(_FLUENT)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mlgate_tracking.kit.fluent import *  # noqa: F403


def __getattr__(name):  # type: ignore[no-untyped-def]
    if name in _FLUENT:
        from mlgate_tracking.kit import fluent

        for each in _FLUENT:
            globals()[each] = getattr(fluent, each)
        return globals()[name]
    raise AttributeError("module 'mlgate_tracking' has no attribute %r" % name)


def __dir__():  # type: ignore[no-untyped-def]
    return sorted([*globals(), *_FLUENT])
