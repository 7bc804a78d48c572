"""Names for runs that nobody named: adjective-noun-number, at most 20 characters."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

_ADJECTIVES = (  # noqa: SIM905 - a list of two hundred literals is two hundred lines
    "amber agile airy apt bold brave breezy bright brisk calm candid casual cheery clean clear clever cosmic crisp "
    "curious daring dapper deft eager early easy fabled fair famous fast fine firm fleet fond frank fresh gentle glad "
    "golden grand handy happy hardy humble ideal jolly just keen kind lively loyal lucid lucky mellow merry mighty "
    "mild modest neat nimble noble patient placid polite prime proud quick quiet rapid rare ready robust sage serene "
    "sharp silent silver sleek smart smooth snug solid spry stable steady stoic sunny sure swift tidy tough trusty "
    "upbeat valiant vivid warm wise witty zesty"
).split()

_NOUNS = (  # noqa: SIM905
    "alder ant aspen auk bass bat bear beech bee birch bison boar bream carp cat cedar clam cod colt coot crab crane "
    "cricket crow cub deer doe dove duck eagle eel egret elk elm fern fig finch fir fox frog gnat goat goose grouse "
    "gull hare hawk hazel hen heron hornet ibex ibis jay kite koala lark larch lemur lily linden lion llama loon lynx "
    "maple mink mole moose moth mouse newt oak olive orca oriole otter owl ox panda pear perch pike pine plum pony "
    "poplar puma quail ram raven robin rook rowan sable salmon seal shrew skunk sloth snail sparrow spruce squid "
    "stag stork swan swift teal tern thrush tiger toad trout tuna vole walnut wasp whale willow wolf wren yak yew"
).split()


def random_run_name() -> str:
    """For example `nimble-heron-412`."""
    while True:
        name = f"{_pick(_ADJECTIVES)}-{_pick(_NOUNS)}-{_pick(range(1001))}"
        if len(name) <= 20:
            return name


def _pick(choices: Sequence[T]) -> T:
    # Not `random`: its import costs more than the rest of opening a step's run.
    return choices[int.from_bytes(os.urandom(4), "little") % len(choices)]


__all__ = ["random_run_name"]
