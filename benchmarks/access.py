"""Access decisions: how long one takes with the shipped policies, and that an error is never a yes.

    python benchmarks/access.py [--decisions 5000]

Every question is a new one, so that none is answered from memory; `again` is what the
same question costs the second time.
"""

import argparse
import random
import sys
import time

from measured import tell

from skerry.schema.access import ROLES, AccessPolicy, Action, Door
from skerry.trust.access import AccessSet, Question, Who, ask


def main() -> int:
    """Measure, and exit 1 if anything undecidable was allowed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=5000)
    count = parser.parse_args().decisions
    shipped = AccessSet(AccessPolicy(fleet="clinic", generation=1))
    # Callers come back, so who they are is prepared; what they ask for differs.
    people = [Who("Person", f"person-{n}", frozenset({ROLES[n % len(ROLES)]})) for n in range(100)]
    actions = [action for action in Action if action not in (Action.OPEN_DATA, Action.REGISTER)]
    questions = [
        ask(who, action, "clinic", door=door, approved=approved, in_scope=in_scope)
        for who in people
        for action in actions
        for door in Door
        for approved in (True, False)
        for in_scope in (True, False)
    ]
    random.Random(1).shuffle(questions)
    for who in people:
        shipped.decide(ask(who, Action.LOOK, "clinic", door=Door.NONE, two_person=True))
    began_s = time.thread_time()
    first_us = sorted(_took_us(shipped, question) for question in questions[:count])
    cpu_us = (time.thread_time() - began_s) / count * 1e6
    again_us = sorted(_took_us(shipped, question) for question in questions[count - 1000 : count])
    tell("access-decision-p50", first_us[count // 2], "us")
    tell("access-decision-p99", first_us[count * 99 // 100], "us")
    tell("access-decision-cpu", cpu_us, "us")
    tell("access-decision-again-p50", again_us[500], "us")
    broken = [
        Question(people[0], str(action), ("Fleet", "clinic"), context)
        for action in Action
        for context in ((), (("approved", True),), (("approved", "yes"), ("in_scope", True)))
    ]
    wrong = sum(shipped.decide(question).allowed for question in broken)
    tell("access-allowed-on-error", wrong, "decisions")
    return int(wrong > 0)


def _took_us(policies: AccessSet, question: Question) -> float:
    started_s = time.perf_counter()
    policies.decide(question)
    return (time.perf_counter() - started_s) * 1e6


if __name__ == "__main__":
    sys.exit(main())
