"""What a suite came to, and the table of all of them."""

import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Outcome:
    """`passed` counts; `failed` names each failure with its first words; `left_out` counts tests by the reason they weren't run."""

    passed: int = 0
    failed: list = field(default_factory=list)
    left_out: Counter = field(default_factory=Counter)

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.left_out += other.left_out
        return self


def of_junit(path):
    """The outcome in a report in JUnit's form, as pytest, node and schemathesis write it."""
    outcome = Outcome()
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        name = f"{case.get('classname', '')}::{case.get('name')}"
        trouble = case.find("failure") if case.find("failure") is not None else case.find("error")
        skipped = case.find("skipped")
        if trouble is not None:
            words = (trouble.get("message") or trouble.text or "").strip().split("\n")[0]
            outcome.failed.append(f"{name}: {words[:200]}")
        elif skipped is not None:
            outcome.left_out[f"skipped by the suite: {skipped.get('message')}"] += 1
        else:
            outcome.passed += 1
    return outcome


def table(outcomes):
    """One line for each suite, and the reasons of what was left out beneath it."""
    lines = [f"{'suite':<16}{'passed':>8}{'failed':>8}{'deselected':>12}"]
    for name, outcome in outcomes.items():
        lines.append(f"{name:<16}{outcome.passed:>8}{len(outcome.failed):>8}{sum(outcome.left_out.values()):>12}")
        lines += [f"{'':<16}{count:>28}  {reason}" for reason, count in outcome.left_out.most_common()]
    for name, outcome in outcomes.items():
        lines += [""] * bool(outcome.failed) + [f"{name} failed: {failure}" for failure in outcome.failed]
    return "\n".join(lines)
