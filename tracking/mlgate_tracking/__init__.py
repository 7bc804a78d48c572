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
