"""Match records against patterns: the language of EventBridge, compiled once."""

from triggerhub.policy.filtering.compiler import compile as compile  # noqa: A004 - as in re.compile
from triggerhub.policy.filtering.error import PatternError as PatternError
from triggerhub.policy.filtering.pattern import Pattern as Pattern
