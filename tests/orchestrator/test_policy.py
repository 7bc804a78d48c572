"""Policy files: what they may say, and what every mistake is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgate.errors import InvalidPlan
from mlgate.gates.people import ApprovalGate
from mlgate.gates.thresholds import MetricGate
from mlgate.policy import gate_problems, load_policy, parse_policy
from mlgate_tracking.governance import GateMode, RequiredApproval, Target

GOOD = """\
name: iris-champion
to: {alias: champion, stage: Production}
ladder: [Development, Canary, Production]
expires: 7d
gates:
  - metric: {name: accuracy, min: 0.9}
  - size: {max: 50MB}
    mode: dry_run
  - signature
  - approval: {role: ml_engineer, expires: 1h30m}
health:
  smoke: [{python: {call: "checks:answers"}}]
  window: 30m
  gates: [{metric: {name: error_rate, max: 0.01}}]
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    return path


def mistakes(tmp_path: Path, text: str) -> list[str]:
    path = write(tmp_path, text)
    with pytest.raises(InvalidPlan) as caught:
        load_policy(path)
    return [str(problem).removeprefix(str(path) + ":") for problem in caught.value.problems]


def test_the_most_that_enforced_gates_ask_of_a_role_is_required() -> None:
    policy = parse_policy(
        {
            "gates": [
                {"approval": {"role": "ml_engineer", "four_eyes": False, "expires": "1h"}},
                {"approval": {"role": "ml_engineer", "count": 2}},
                {"approval": {"role": "owner", "four_eyes": False}},
                {"approval": {"role": "lawyer"}, "mode": "dry_run"},
            ]
        }
    )
    assert policy.required_approvals == (
        RequiredApproval("ml_engineer", 2, True),
        RequiredApproval("owner", 1, False),
    )


def test_policy_file_becomes_typed_gates(tmp_path: Path) -> None:
    policy = load_policy(write(tmp_path, GOOD))
    assert (policy.name, policy.target) == ("iris-champion", Target("champion", "Production"))
    assert policy.ladder == ("Development", "Canary", "Production")
    assert policy.expires == 7 * 86400
    assert policy.gates[0].gate == MetricGate("accuracy", min=0.9)
    assert [policy.enforced(gate) for gate in policy.gates] == [True, False, True, True]
    assert policy.gates[3].gate == ApprovalGate("ml_engineer", expires=5400)  # type: ignore[arg-type]
    assert policy.health is not None
    assert policy.health.window == 1800


def test_digest_changes_with_the_policy_and_not_with_its_layout(tmp_path: Path) -> None:
    first = load_policy(write(tmp_path, GOOD)).digest
    reordered = GOOD.replace("{name: accuracy, min: 0.9}", "{min: 0.9, name: accuracy}")
    assert load_policy(write(tmp_path, reordered)).digest == first
    assert load_policy(write(tmp_path, GOOD.replace("0.9}", "0.91}"))).digest != first


def test_every_mistake_names_its_line_key_value_and_what_would_work(tmp_path: Path) -> None:
    assert mistakes(
        tmp_path,
        "expires: 7x\n"
        "gates:\n"
        "  - metric: {name: accuracy, min: abc}\n"
        "  - signature: {compatibel: true}\n"
        "  - size: {max: 5MB}\n"
        "    mode: dry\n"
        "  - metric: {min: 1}\n"
        "  - metric: {name: a, min: 1}\n"
        "    size: {max: 1}\n"
        "  - metric: {name: a}\n"
        "nope: 1\n",
    ) == [
        "11: nope: unknown key; known: name, mode, to, ladder, expires, archive, gates, health",
        "1: expires: '7x' is not a length of time; write it as 90s, 30m, 24h or 7d",
        "3: gates.0.metric.min: 'abc' is not a number",
        "4: gates.1.signature.compatibel: unknown key; known: required, compatible",
        "6: gates.2.mode: 'dry' is not one of enforce, dry_run",
        "7: gates.3.metric: needs name",
        "8: gates.4: needs exactly one gate (and mode, if wanted); there is metric, size",
        "10: gates.5.metric: needs min, max or both",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "[] is not a mapping"),
        ("gates: {}", "not a list of gates"),
        ("gates: [unheard_of]", "no gate of that name; known: approval, champion"),
        ("to: {}", "names neither an alias nor a stage"),
        ("{to: {stage: QA}, ladder: [Dev, Prod]}", "'QA' is not on the ladder; known: Dev, Prod"),
        ("ladder: [A, A]", "named twice"),
        ("health: {window: 5m}", "a window needs gates"),
        ("health: {gates: [{metric: {name: a, max: 1}}]}", "add window"),
        ("health: {smoke: [{approval: {role: a}}]}", "take the approval gate out"),
        ("gates: [{metric: {name: a, min: .nan}}]", "not a number"),
        ("a: 1\na: 2", "given twice"),
        ("gates: [", "not valid YAML"),
    ],
)
def test_what_a_policy_may_not_say(tmp_path: Path, text: str, said: str) -> None:
    assert any(said in mistake for mistake in mistakes(tmp_path, text))


def test_dry_run_of_the_whole_policy_enforces_nothing(tmp_path: Path) -> None:
    policy = load_policy(write(tmp_path, "mode: dry_run\n" + GOOD))
    assert policy.mode is GateMode.DRY_RUN
    assert not any(policy.enforced(gate) for gate in policy.gates)


def test_references_wait_until_they_are_resolved() -> None:
    gates = [{"metric": {"name": "accuracy", "min": "${{ params.min_accuracy }}"}}, {"metric": {"nam": "a"}}]
    assert [str(problem) for problem in gate_problems(gates)] == [
        "1.metric.nam: unknown key; known: name, min, max, rule",
        "1.metric: needs name",
    ]
    assert gate_problems(gates[:1]) == []
    resolved = parse_policy({"gates": [{"metric": {"name": "accuracy", "min": "0.9"}}]})
    assert resolved.gates[0].gate == MetricGate("accuracy", min=0.9)


values = st.recursive(
    st.sampled_from([None, True, -1, 0.5, "", "a", "metric", "nan"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["metric", "name", "min", "mode", "gates", "to"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["gates", "to", "health", "mode", "ladder"]), values, max_size=3))
def test_no_data_whatever_breaks_the_parser(data: dict[str, object]) -> None:
    try:
        parse_policy(data)
    except InvalidPlan as error:
        problems = error.problems
    else:
        return
    assert problems
