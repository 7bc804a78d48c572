"""What a pipeline costs over the bare commands: against `make -j` and a shell script, at 1, 10 and 100 steps.

    python benchmarks/pipeline.py [--rounds 5] [--jobs 2] [--quick]

Every step runs `true`. Steps are independent (wide) or one after another (chain). All sides take turns in one run;
medians are printed, with the overhead of each step over make's, which does not track, cache or resume anything. The
last column is the same pipeline again with every step answered from the cache.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from run_project import alternate, timed, uv_environment


def steps(count: int, shape: str) -> dict[str, list[str]]:
    return {f"s{index}": [f"s{index - 1}"] if shape == "chain" and index else [] for index in range(count)}


def write_project(directory: Path, graph: dict[str, list[str]]) -> None:
    """The same graph as an MLproject (pipelines `plain` and `cached`), a Makefile and a shell script."""
    directory.mkdir(parents=True)
    listed = "".join(f"      {name}: {{needs: [{', '.join(needs)}]}}\n" for name, needs in graph.items())
    body = "".join(
        f"  {name}:\n    defaults: {{environment: system, cache: {cache}}}\n    steps:\n{listed}"
        for name, cache in (("plain", "false"), ("cached", "true"))
    )
    (directory / "MLproject").write_text(f"entry_points: {{main: {{command: 'true'}}}}\npipelines:\n{body}")
    rules = "".join(f"{name}: {' '.join(needs)}\n\t@bash -c true\n" for name, needs in graph.items())
    (directory / "Makefile").write_text(f".PHONY: all {' '.join(graph)}\nall: {' '.join(graph)}\n{rules}")
    (directory / "run.sh").write_text("bash -c true\n" * len(graph))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="two rounds, 1 and 10 steps")
    options = parser.parse_args()
    rounds, counts = (2, (1, 10)) if options.quick else (options.rounds, (1, 10, 100))
    if shutil.which("make") is None:
        sys.exit("make is not installed; there is nothing to compare with")

    with tempfile.TemporaryDirectory(prefix="mlgate-bench-") as name:
        work = Path(name)
        ours = uv_environment(work / "ours", str(Path(__file__).resolve().parents[1]))
        env = {key: value for key, value in os.environ.items() if not key.startswith(("MLGATE_", "MLFLOW_", "PYTHON"))}
        env |= {"MLGATE_HOME": str(work / "home"), "PATH": f"{ours}:{env['PATH']}"}
        results = []
        print(f"{'graph':>12}{'shell':>10}{'make':>10}{'mlgate':>10}{'per step':>12}{'over make':>12}{'cached':>10}")
        for shape in ("wide", "chain"):
            for count in counts:
                project = work / f"{shape}-{count}"
                write_project(project, steps(count, shape))

                def side(*argv: str, project: Path = project) -> Callable[[], float]:
                    return lambda: timed(list(argv), env, project)

                pipeline = [str(ours / "run-project"), ".", "--quiet", "--no-system-metrics", "-j", str(options.jobs)]
                seconds = alternate(
                    rounds,
                    {
                        "shell": side("bash", "run.sh"),
                        "make": side("make", f"-j{options.jobs}"),
                        "mlgate": side(*pipeline, "--pipeline", "plain"),
                        "cached": side(*pipeline, "--pipeline", "cached"),
                    },
                )
                start = seconds["mlgate"] if count == 1 else next(
                    row["seconds"]["mlgate"] for row in results if row["steps"] == 1 and row["shape"] == shape
                )  # fmt: skip
                per_step = (seconds["mlgate"] - start) / (count - 1) if count > 1 else seconds["mlgate"]
                over = (seconds["mlgate"] - seconds["make"]) / count
                results.append({"shape": shape, "steps": count, "seconds": seconds, "per_step": per_step})
                shown = "".join(f"{seconds[which]:>9.3f}s" for which in ("shell", "make", "mlgate"))
                costs = f"{per_step * 1000:>9.1f} ms{over * 1000:>9.1f} ms"
                print(f"{f'{shape} {count}':>12}{shown}{costs}{seconds['cached']:>9.3f}s")
        print(json.dumps(results))


if __name__ == "__main__":
    main()
