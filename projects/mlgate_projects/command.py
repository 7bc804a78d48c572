"""From an entry point and its values to the one shell line that runs it; every value quoted.

A line of any length can be run: one that is too long for `bash -c` goes into a file, together with functions that hand
oversized arguments to Python by file (Linux takes at most 128 KiB in one argument, whoever passes it).
"""

from __future__ import annotations

import shlex
from pathlib import Path

from mlgate_projects.errors import EntryPointNotFound, InvalidProject, Problem
from mlgate_projects.parameters import ResolvedParameters
from mlgate_projects.spec import EntryPoint, ProjectSpec
from mlgate_projects.template import fill, template_mistakes

INLINE_LIMIT = 64 * 1024
"""Bytes of a line that is still given to `bash -c` directly: half of what Linux allows, leaving room for activation."""

_SCRIPT_SUFFIXES = (".py", ".sh", ".R")


def find_entry_point(spec: ProjectSpec, name: str = "main") -> EntryPoint:
    """The declared entry point, or a script of the project (`.py`, `.sh`, `.R`) as one.

    Raises:
        EntryPointNotFound: there is neither; names the declared ones and the scripts.
    """
    declared = spec.entry_points.get(name)
    if declared is not None:
        return declared
    is_script = Path(name).suffix in _SCRIPT_SUFFIXES
    if is_script and _is_inside(spec.directory, name):
        # Braces in a file name must not be taken for placeholders.
        template = _script_command(name).replace("{", "{{").replace("}", "}}")
        return EntryPoint(name=name, command=template, script=True)
    scripts = _scripts(spec.directory)
    known = [*spec.entry_points, *scripts]
    parts = [f"declared are {', '.join(spec.entry_points)}" if spec.entry_points else "none are declared"]
    if scripts:
        parts.append(f"scripts are {', '.join(scripts)}")
    if is_script:
        parts.append(f"and there is no file {name!r} in the project")
    where = spec.file or str(spec.directory)
    raise EntryPointNotFound(f"{where}: no entry point {name!r}; {'; '.join(parts)}", name=name, known=known)


def render(entry_point: EntryPoint, parameters: ResolvedParameters, *, file: str = "MLproject") -> str:
    """The shell line: the template filled in, then `--key value` for each extra parameter, all of it quoted.

    Raises:
        InvalidProject: the entry point has no command, or its template names parameters that it does not declare.
    """
    key = f"entry_points.{entry_point.name}.command"
    if entry_point.command is None:
        why = 'has no command; add one, such as: command: "python train.py"'
        raise InvalidProject([Problem(file, why, key, entry_point.line)])
    mistakes = template_mistakes(entry_point)
    if mistakes:
        raise InvalidProject([Problem(file, mistake, key, entry_point.command_line) for mistake in mistakes])
    line = fill(entry_point.command, parameters.declared, shlex.quote)
    extras = (f"--{shlex.quote(name)} {shlex.quote(text)}" for name, text in parameters.extras.items())
    return " ".join([line, *extras])


def runnable(line: str, directory: Path) -> str:
    """A line that does the same as `line` and is short enough for `bash -c`.

    Args:
        directory: what the command can read and write while it runs, whoever it runs as, so its parent must let nobody
            else in; made, and written to, only when the line is long. It must be there under the same path where the
            command runs (mount it).
    """
    raw = line.encode("utf-8", "surrogateescape")
    if len(raw) <= INLINE_LIMIT:
        return line
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o777)
    script = directory / "command.sh"
    script.write_bytes(_LONG_LINE_PRELUDE.encode() + raw + b"\n")
    script.chmod(0o644)
    return f"export MLGATE_ARGUMENT_FILES={shlex.quote(str(directory))}; . {shlex.quote(str(script))}"


# Python steps find the step kit on their path; it puts the contents of the file back in the argument's place before
# the script starts. 131071 is the longest argument that Linux takes; what matters is bytes, hence LC_ALL=C.
_LONG_LINE_PRELUDE = """\
__mlgate_run() {
  local -a arguments=(); local argument file; local -i bytes
  for argument in "$@"; do
    bytes=$(LC_ALL=C; echo "${#argument}")
    if [ "$bytes" -gt 131071 ]; then
      file=$(mktemp "$MLGATE_ARGUMENT_FILES/argument.XXXXXXXX") || return 126
      printf %s "$argument" > "$file" || return 126
      argument="@mlgate-argument:${file##*/}"
    fi
    arguments+=("$argument")
  done
  command "${arguments[@]}"
}
python() { __mlgate_run python "$@"; }
python3() { __mlgate_run python3 "$@"; }
"""


def _script_command(name: str) -> str:
    quoted = shlex.quote(f"./{name}" if name.startswith("-") else name)
    match Path(name).suffix:
        case ".py":
            return f"python {quoted}"
        case ".sh":
            return f"bash {quoted}"
    # MLflow's R package makes parameters of --key value arguments; without it the script reads them itself.
    import json

    file = json.dumps(name)
    code = f'if (requireNamespace("mlflow", quietly = TRUE)) mlflow::mlflow_source({file}) else source({file})'
    return f"Rscript -e {shlex.quote(code)} --args"


def _is_inside(directory: Path, name: str) -> bool:
    root = directory.resolve()
    target = (root / name).resolve()
    return target.is_file() and target.is_relative_to(root)


def _scripts(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.suffix in _SCRIPT_SUFFIXES and path.is_file())


__all__ = ["INLINE_LIMIT", "find_entry_point", "render", "runnable"]
