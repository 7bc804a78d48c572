"""Filter and order-by text -> validated comparisons and orderings, by recursive descent.

    filter     = comparison {AND comparison}
    comparison = identifier (operator value | [NOT] IN "(" text {"," text} ")" | IS [NOT] NULL)
    identifier = [entity "."] key              an entity word and a key may be quoted
    order_by   = identifier [ASC | DESC]

Every error is an `InvalidParameterValue` that says where, what stands there, and what may stand there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from mlgate_tracking.errors import InvalidParameterValue
from mlgate_tracking.store.search.grammar import LOGGED_MODELS, Grammar, Rule
from mlgate_tracking.store.search.lexer import Lexeme, Token, error, tokenize
from mlgate_tracking.store.search.syntax import Comparison, Field, Filter, Kind, Operator, Ordering, Value
from mlgate_tracking.store.values import integer_from

MAX_COMPARISONS = 50
"""Each is a subquery for the engine to plan; no person writes that many."""
MAX_LISTED = 30_000
"""Texts in the IN lists of one filter: what every engine binds in one statement."""
MAX_EXPERIMENTS = 30_000
"""Experiments of one search: each comparison repeats them, in a statement that every engine has to read whole."""
MAX_ORDERINGS = 20
"""Each is a join, and the engines join 61 tables (MySQL) or 64 (SQLite) at most."""
MAX_DATASETS = 50
"""Datasets of one search, which every comparison with a metric repeats."""
MAX_PATTERN = 1_000
"""Characters of a LIKE, ILIKE or RLIKE pattern."""
_INT64 = 2**63
_SYMBOLS = frozenset({"=", "!=", "<", "<=", ">", ">="})
_WORDS = frozenset({"LIKE", "ILIKE", "RLIKE", "IN"})
_NUMBER = re.compile(r"-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_HINTS = {"==": "write = for equality", "<>": "write !=", "BETWEEN": "write x >= a AND x <= b"}


def parse_experiment_ids(texts: Sequence[str]) -> tuple[int, ...]:
    """The experiments to search, each once and in order; texts that can be nobody's id name none.

    Raises:
        InvalidParameterValue: they are too many.
    """
    found = {number for text in texts if (number := integer_from(text)) is not None}
    _check_count(len(found), MAX_EXPERIMENTS, "experiment_ids", "experiments")
    return tuple(sorted(found))


def parse_filter(grammar: Grammar, text: str | None) -> Filter:
    """Parse a filter; None and the empty text match everything.

    Raises:
        InvalidParameterValue: the text is not a filter of this grammar.
    """
    return _Parser(grammar, text, "filter").filter() if text else ()


def parse_order_by(grammar: Grammar, clauses: Sequence[str]) -> tuple[Ordering, ...]:
    """Parse order-by clauses, one identifier each.

    Raises:
        InvalidParameterValue: a clause is not one of this grammar, a field comes twice, or they are too many.
    """
    _check_count(len(clauses), MAX_ORDERINGS, "order_by", "fields")
    return _distinct(tuple(_Parser(grammar, clause, "order_by").ordering() for clause in clauses))


def parse_logged_model_order_by(clauses: Sequence[Mapping[str, object]]) -> tuple[Ordering, ...]:
    """Parse the order-by objects of a logged-model search.

    Their keys: `field_name`, `ascending` (true), and for a metric `dataset_name` and `dataset_digest`.
    """
    _check_count(len(clauses), MAX_ORDERINGS, "order_by", "fields")
    orderings = []
    for clause in clauses:
        name, ascending = clause.get("field_name"), clause.get("ascending", True)
        dataset_name, digest = clause.get("dataset_name"), clause.get("dataset_digest")
        if not isinstance(name, str) or not name:
            msg = f"order_by: every entry needs a field_name, as in metrics.accuracy; got {dict(clause)!r}"
            raise InvalidParameterValue(msg)
        if not isinstance(ascending, bool):
            msg = f"order_by: ascending of {name!r} must be true or false, got {ascending!r}"
            raise InvalidParameterValue(msg)
        field = _order_field(name)
        if field.kind is not Kind.METRIC and (dataset_name or digest):
            msg = f"order_by: only a metric can be restricted to a dataset, not {name!r}"
            raise InvalidParameterValue(msg)
        if digest and not dataset_name:
            msg = f"order_by: {name!r} has a dataset_digest, so it needs a dataset_name too"
            raise InvalidParameterValue(msg)
        orderings.append(Ordering(field, ascending, _text(dataset_name, name), _text(digest, name)))
    return _distinct(tuple(orderings))


def check_datasets(datasets: Sequence[object]) -> None:
    """Refuse more datasets than one search of logged models takes."""
    _check_count(len(datasets), MAX_DATASETS, "datasets", "entries")


def _check_count(count: int, most: int, what: str, noun: str) -> None:
    if count > most:
        msg = f"{what}: {count} {noun}; at most {most} are allowed"
        raise InvalidParameterValue(msg)


def _text(value: object, name: str) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        msg = f"order_by: the dataset of {name!r} must be text, got {value!r}"
        raise InvalidParameterValue(msg)
    tokenize(f"`{value}`" if "`" not in value else "", "order_by")  # refuses what no database can hold
    return value


def _order_field(name: str) -> Field:
    entity, dot, key = name.partition(".")
    if dot and LOGGED_MODELS.entities.get(entity) is Kind.METRIC and re.fullmatch(r"[^`'\"\0\ud800-\udfff]+", key):
        return Field(Kind.METRIC, key)  # here a key needs no quotes: it goes up to the end
    return _Parser(LOGGED_MODELS, name, "order_by").ordering(directed=False).field


def _distinct(orderings: tuple[Ordering, ...]) -> tuple[Ordering, ...]:
    seen: set[tuple[Field, str | None, str | None]] = set()
    for ordering in orderings:
        what = (ordering.field, ordering.dataset_name, ordering.dataset_digest)
        if what in seen:
            msg = f"order_by: {ordering.field} comes twice; name each field once"
            raise InvalidParameterValue(msg)
        seen.add(what)
    return orderings


class _Parser:
    """One clause on its way from tokens to nodes."""

    def __init__(self, grammar: Grammar, text: str, what: str) -> None:
        self._grammar = grammar
        self._what = what
        self._tokens = tokenize(text, what)
        self._at = 0
        self._listed = 0

    # --- rules of the grammar -----------------------------------------------------------------------------------

    def filter(self) -> Filter:
        comparisons = [self._comparison()]
        while not self._take(Lexeme.END):
            if not self._keyword("AND"):
                raise self._error("AND between comparisons (there is no OR, NOT or parenthesis), or the end")
            comparisons.append(self._comparison())
            if len(comparisons) > MAX_COMPARISONS:
                msg = f"{self._what}: more than {MAX_COMPARISONS} comparisons"
                raise InvalidParameterValue(msg)
        return tuple(comparisons)

    def ordering(self, *, directed: bool = True) -> Ordering:
        start = self._peek
        field = self._identifier()
        if not self._orderable(field) or (not self._grammar.ordered_prefixes and "." in start.text):
            raise error(self._what, start.position, start.shown, self._order_choices())
        ascending = not (directed and not self._keyword("ASC") and self._keyword("DESC"))
        if not self._take(Lexeme.END):
            raise self._error("ASC, DESC or the end" if directed else "the end")
        return Ordering(field, ascending)

    def _comparison(self) -> Comparison:
        start = self._peek
        field = self._identifier()
        rule = self._grammar.rule(field)
        if rule is None:
            raise error(self._what, start.position, start.shown, self._filter_choices())
        operator = self._operator(field, rule)
        return Comparison(field, operator, self._value(field, rule, operator))

    def _identifier(self) -> Field:
        token = self._peek
        if token.lexeme is not Lexeme.WORD and token.quote not in {"`", '"'}:
            raise self._error(self._choices)
        self._at += 1
        if token.quote:
            entity, dot, key = token.text, "", ""
            suffix = self._take(Lexeme.SUFFIX)
            if suffix is not None:
                dot, key = ".", suffix.text[1:]
        else:
            entity, dot, key = token.text.partition(".")
        if dot and (not key or key.endswith(".")):
            key += self._quoted_key(entity)
        if not dot:
            return self._attribute(token, entity)
        kind = self._grammar.entities.get(entity)
        if kind is None:
            raise error(self._what, token.position, token.shown, self._grammar.elsewhere.get(entity, self._choices))
        if kind is Kind.ATTRIBUTE:
            return self._attribute(token, key)
        if kind is Kind.DATASET and key not in self._grammar.dataset_keys:
            expected = f"dataset.{{{', '.join(sorted(self._grammar.dataset_keys))}}}"
            raise error(self._what, token.position, token.shown, expected)
        return Field(kind, key)

    def _quoted_key(self, entity: str) -> str:
        token = self._peek
        if token.lexeme is not Lexeme.QUOTED or not token.touching or not token.text:
            raise self._error(f"a key right after '{entity}.'")
        self._at += 1
        return token.text

    def _attribute(self, token: Token, name: str) -> Field:
        canonical = self._grammar.attributes.get(name)
        if canonical is None:
            raise error(self._what, token.position, token.shown, self._grammar.elsewhere.get(name, self._choices))
        field = Field(Kind.ATTRIBUTE, canonical)
        return self._grammar.meant.get(field, field)

    def _operator(self, field: Field, rule: Rule) -> Operator:
        token = self._peek
        word = token.text.upper()
        if (token.lexeme is Lexeme.OPERATOR and word in _SYMBOLS) or (
            token.lexeme is Lexeme.WORD and word in {"LIKE", "ILIKE", "RLIKE", "IN"}
        ):
            self._at += 1
            operator = Operator(word)
        elif self._keyword("NOT"):
            if not self._keyword("IN"):
                raise self._error("IN after NOT")
            operator = Operator.NOT_IN
        elif self._keyword("IS"):
            operator = Operator.IS_NOT_NULL if self._keyword("NOT") else Operator.IS_NULL
            if not self._keyword("NULL"):
                raise self._error("NULL or NOT NULL after IS")
        else:
            hint = _HINTS.get(word)
            listed = ", ".join(rule.operators)
            raise self._error(f"one of {listed}" + (f" ({hint})" if hint else ""))
        if operator not in rule.operators:
            raise error(
                self._what, token.position, repr(str(operator)), f"one of {', '.join(rule.operators)} for {field}"
            )
        return operator

    def _value(self, field: Field, rule: Rule, operator: Operator) -> Value:
        if operator in {Operator.IS_NULL, Operator.IS_NOT_NULL}:
            return None
        if operator in {Operator.IN, Operator.NOT_IN}:
            return self._list(field, rule)
        if rule.numeric:
            return self._number(field, rule)
        token = self._peek
        value = self._quoted_value(field, rule)
        if operator in {Operator.LIKE, Operator.ILIKE, Operator.RLIKE} and len(value) > MAX_PATTERN:
            expected = f"a pattern of at most {MAX_PATTERN} characters"
            raise error(self._what, token.position, token.shown, expected)
        if operator is Operator.RLIKE:
            try:
                re.compile(value)
            except (re.error, RecursionError, OverflowError) as broken:
                raise error(self._what, token.position, token.shown, f"a regular expression ({broken})") from None
        return value

    def _list(self, field: Field, rule: Rule) -> tuple[str, ...]:
        if not self._take(Lexeme.OPEN):
            raise self._error(f"a list of quoted texts for {field}, as in ('a', 'b')")
        values = [self._quoted_value(field, rule)]
        while not self._take(Lexeme.CLOSE):
            if not self._take(Lexeme.COMMA):
                raise self._error("',' or ')' in the list")
            if self._take(Lexeme.CLOSE):
                break
            values.append(self._quoted_value(field, rule))
        self._listed += len(values)
        _check_count(self._listed, MAX_LISTED, self._what, "values in its lists")
        return tuple(values)

    def _quoted_value(self, field: Field, rule: Rule) -> str:
        token = self._peek
        if token.lexeme is not Lexeme.QUOTED or token.quote == "`":
            raise self._error(f"a text in quotes for {field}, as in 'value'")
        if rule.choices and token.text not in rule.choices:
            raise self._error(f"one of {', '.join(map(repr, rule.choices))} for {field}")
        self._at += 1
        return rule.choices.get(token.text, token.text)

    def _number(self, field: Field, rule: Rule) -> int | float:
        token = self._peek
        quoted = token.lexeme is Lexeme.QUOTED and token.quote != "`" and rule.quoted_number
        if token.lexeme is not Lexeme.NUMBER and not quoted:
            raise self._error(f"a number without quotes for {field}")
        number = _number(token.text)
        if number is None:
            raise self._error(f"a finite 64-bit number for {field}")
        self._at += 1
        return number

    # --- tokens -------------------------------------------------------------------------------------------------

    @property
    def _peek(self) -> Token:
        return self._tokens[self._at]

    def _take(self, lexeme: Lexeme) -> Token | None:
        token = self._peek
        if token.lexeme is not lexeme:
            return None
        if lexeme is not Lexeme.END:
            self._at += 1
        return token

    def _keyword(self, word: str) -> bool:
        token = self._peek
        if token.lexeme is Lexeme.WORD and token.text.upper() == word:
            self._at += 1
            return True
        return False

    # --- messages -----------------------------------------------------------------------------------------------

    def _error(self, expected: str) -> InvalidParameterValue:
        return error(self._what, self._peek.position, self._peek.shown, expected)

    def _orderable(self, field: Field) -> bool:
        if field.kind is Kind.ATTRIBUTE:
            return field.key in self._grammar.orderable
        return field.kind in self._grammar.ordered_kinds or field in self._grammar.meant.values()

    @property
    def _choices(self) -> str:
        return self._filter_choices() if self._what == "filter" else self._order_choices()

    def _filter_choices(self) -> str:
        grammar = self._grammar
        kinds = [f"{word}.KEY" for word, kind in grammar.entities.items() if kind in grammar.keyed]
        return f"one of {', '.join([*kinds, *grammar.rules])} (search of {grammar.subject})"

    def _order_choices(self) -> str:
        grammar = self._grammar
        kinds = [f"{word}.KEY" for word, kind in grammar.entities.items() if kind in grammar.ordered_kinds]
        return f"one of {', '.join([*kinds, *sorted(grammar.orderable)])} (order of {grammar.subject})"


def _number(text: str) -> int | float | None:
    """The number that `text` writes, or None when it is none or does not fit the database's types."""
    if re.fullmatch(r"-?[0-9]{1,19}", text):
        whole = int(text)
        return whole if -_INT64 <= whole < _INT64 else None
    if not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    return number if math.isfinite(number) else None


__all__ = [
    "MAX_COMPARISONS",
    "MAX_DATASETS",
    "MAX_EXPERIMENTS",
    "MAX_LISTED",
    "MAX_ORDERINGS",
    "MAX_PATTERN",
    "check_datasets",
    "parse_experiment_ids",
    "parse_filter",
    "parse_logged_model_order_by",
    "parse_order_by",
]
