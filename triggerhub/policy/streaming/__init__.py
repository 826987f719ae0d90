"""Decide how a stream is read and its records are handled, as Lambda's event source mappings of streams do."""

from triggerhub.policy.streaming import tree as tree
from triggerhub.policy.streaming.answer import verdict as verdict
from triggerhub.policy.streaming.plan import Plan as Plan
from triggerhub.policy.streaming.position import Position as Position
from triggerhub.policy.streaming.position import Window as Window
from triggerhub.policy.streaming.position import decode as decode
from triggerhub.policy.streaming.shard import Shard as Shard
from triggerhub.policy.streaming.step import Call as Call
from triggerhub.policy.streaming.step import Failed as Failed
from triggerhub.policy.streaming.step import FailedFrom as FailedFrom
from triggerhub.policy.streaming.step import GiveUp as GiveUp
from triggerhub.policy.streaming.step import Record as Record
from triggerhub.policy.streaming.step import Step as Step
from triggerhub.policy.streaming.step import Succeeded as Succeeded
from triggerhub.policy.streaming.step import Unheard as Unheard
from triggerhub.policy.streaming.step import Verdict as Verdict
from triggerhub.policy.streaming.step import Windowed as Windowed
