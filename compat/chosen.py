"""A pytest plugin: leaves out the tests of a list, each with its reason, and tells which it left out.

The list is a file of patterns, one a line, in which `*` stands for anything; the comment above them is their reason. A pattern that
fits no test is an error: the list is to shrink as the daemon grows.
"""

import json
import os
import re
from pathlib import Path

import pytest


def read(path):
    """(pattern, reason) for each line."""
    reason, patterns, fresh = "", [], False
    for line in Path(path).read_text().splitlines():
        if line.startswith("#"):
            reason = line.lstrip("# ") if not fresh else f"{reason} {line.lstrip('# ')}"
            fresh = True
        elif line.strip():
            fresh = False
            patterns.append((line.strip(), reason))
    return patterns


def fits(pattern, test):
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), test) is not None


def pytest_collection_modifyitems(config, items):
    patterns = read(os.environ["COMPAT_DESELECTED"])
    unused = {pattern for pattern, _ in patterns}
    kept, left_out, reasons = [], [], {}
    for item in items:
        reason = None
        for pattern, why in patterns:
            if fits(pattern, item.nodeid):
                unused.discard(pattern)
                reason = reason or why
        (left_out if reason else kept).append(item)
        if reason:
            reasons[item.nodeid] = reason
    if unused and not os.environ.get("COMPAT_PART"):
        raise pytest.UsageError(f"{os.environ['COMPAT_DESELECTED']} has patterns that fit no test: {', '.join(sorted(unused))}")
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept
    Path(os.environ["COMPAT_REPORT"]).write_text(json.dumps(reasons))
