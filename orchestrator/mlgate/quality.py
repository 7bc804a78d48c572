"""Data-quality rules checked by pandera (`mlgate[quality]`): one finding a rule and column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlgate.errors import UsageError
from mlgate.gates.evidence import Finding

_TYPES = {"int": "Int64", "float": "Float64", "str": "string", "bool": "boolean", "datetime": "datetime64[ns]"}
"""Our names → pandas' types that know missing values."""


def check_table(path: Path, rules: Mapping[str, Any]) -> tuple[Finding, ...]:
    """Check a table against rules (the fields of `DataQualityGate`), all of them, whatever fails.

    Raises:
        UsageError: pandera is not installed, or the file cannot be read.
    """
    try:
        import pandas
        import pandera.pandas as pandera
    except ModuleNotFoundError as error:
        raise UsageError(f"data_quality needs {error.name}; install mlgate[quality]") from None
    frame = _frame(path, pandas)
    checks = _columns(rules, pandera)
    findings = [*_rows(frame, rules), *_shape(frame, checks, rules)]
    for name, (column, told) in checks.items():
        if name in frame.columns:
            findings += _column(frame, name, column, told, pandera)
    findings += _null_shares(frame, rules)
    findings += _unique(frame, rules)
    return tuple(findings)


def _frame(path: Path, pandas: Any) -> Any:
    from mlgate.tables import read_table

    if path.suffix.lower() == ".csv":
        try:
            return pandas.read_csv(path).convert_dtypes()
        except (OSError, ValueError) as error:
            raise UsageError(f"{path}: cannot be read as a table: {error}") from error
    return pandas.DataFrame(dict(read_table(path))).convert_dtypes()


def _columns(rules: Mapping[str, Any], pandera: Any) -> dict[str, tuple[Any, dict[str, str]]]:
    """Name → pandera column, and for each of its checks the words for a finding."""
    not_null = set(rules["not_null"])
    named = {*rules["columns"], *not_null, *rules["ranges"], *rules["allowed"], *rules["patterns"]}
    found: dict[str, tuple[Any, dict[str, str]]] = {}
    for name in sorted(named):
        checks, told = [], {}
        if bounds := rules["ranges"].get(name):
            if bounds["min"] is not None:
                checks.append(pandera.Check.ge(bounds["min"], error="min"))
                told["min"] = f"at least {bounds['min']:g}"
            if bounds["max"] is not None:
                checks.append(pandera.Check.le(bounds["max"], error="max"))
                told["max"] = f"at most {bounds['max']:g}"
        if values := rules["allowed"].get(name):
            checks.append(pandera.Check.isin(list(values), error="allowed"))
            told["allowed"] = f"one of {', '.join(map(str, values))}"
        if pattern := rules["patterns"].get(name):
            checks.append(pandera.Check.str_matches(pattern, error="pattern"))
            told["pattern"] = f"like {pattern}"
        if name in not_null:
            told["not_nullable"] = "there"
        if kind := rules["columns"].get(name):
            told["dtype"] = f"of type {kind}"
        column = pandera.Column(
            _TYPES[kind] if kind else None, checks=checks, nullable=name not in not_null, coerce=bool(kind)
        )
        found[name] = (column, told)
    return found


def _column(frame: Any, name: str, column: Any, told: Mapping[str, str], pandera: Any) -> list[Finding]:
    failed: Counter[str] = Counter()
    try:
        pandera.DataFrameSchema({name: column}).validate(frame[[name]], lazy=True)
    except pandera.errors.SchemaErrors as error:
        for check, count in error.failure_cases.groupby("check").size().items():
            failed[_rule(str(check))] += int(count)
    return [
        Finding(
            rule,
            name,
            passed=not failed[rule],
            message=f"{name} is {words}" if not failed[rule] else f"{name}: {failed[rule]} values are not {words}",
            failures=failed[rule],
        )
        for rule, words in told.items()
    ]


def _rule(check: str) -> str:
    """Our name of a check as pandera reports it."""
    if check.startswith(("dtype", "coerce_dtype")):
        return "dtype"
    return check


def _rows(frame: Any, rules: Mapping[str, Any]) -> list[Finding]:
    findings = []
    for rule, bound, words in (("min_rows", rules["min_rows"], ">="), ("max_rows", rules["max_rows"], "<=")):
        if bound is not None:
            passed = len(frame) >= bound if words == ">=" else len(frame) <= bound
            message = f"{len(frame)} rows {'' if passed else 'not '}{words} {bound}"
            findings.append(Finding(rule, "", passed, message, 0 if passed else abs(len(frame) - bound)))
    return findings


def _shape(frame: Any, checks: Mapping[str, Any], rules: Mapping[str, Any]) -> list[Finding]:
    there = [str(name) for name in frame.columns]
    missing = [name for name in checks if name not in there]
    findings = [Finding("column", name, False, f"column {name} is missing", 1) for name in missing]
    if rules["strict"]:
        surplus = [name for name in there if name not in rules["columns"]]
        findings += [Finding("strict", name, False, f"column {name} is not in the schema", 1) for name in surplus]
    return findings


def _null_shares(frame: Any, rules: Mapping[str, Any]) -> list[Finding]:
    findings = []
    for name, most in rules["max_null_share"].items():
        if name not in frame.columns:
            findings.append(Finding("null_share", name, False, f"column {name} is missing", 1))
            continue
        count = int(frame[name].isna().sum())
        share = count / len(frame) if len(frame) else 0.0
        passed = share <= most
        message = f"{name}: {share:.4g} missing {'' if passed else 'not '}<= {most:g}"
        findings.append(Finding("null_share", name, passed, message, 0 if passed else count))
    return findings


def _unique(frame: Any, rules: Mapping[str, Any]) -> list[Finding]:
    findings = []
    for written in rules["unique"]:
        names = [name.strip() for name in written.split(",")]
        missing = [name for name in names if name not in frame.columns]
        if missing:
            findings.append(Finding("unique", written, False, f"column {missing[0]} is missing", 1))
            continue
        count = int(frame.duplicated(subset=names).sum())
        message = f"{written} has no repeated values" if not count else f"{written}: {count} rows repeat earlier ones"
        findings.append(Finding("unique", written, not count, message, count))
    return findings


__all__ = ["check_table"]
