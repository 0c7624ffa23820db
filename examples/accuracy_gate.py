#!/usr/bin/env python3
"""A gate for continuous integration: exit code 3 if a pruned file breaks its promises, or loses too much.

python examples/accuracy_gate.py model.onnx model.sparse.onnx evaluation.npz --max-drop 0.01
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import domino_onnx


def main() -> int:
    """Run it: 0 passed, 1 an error, 3 failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dense", type=Path)
    parser.add_argument("pruned", type=Path)
    parser.add_argument("data", type=Path, help="samples to judge by, best with labels")
    parser.add_argument("--max-drop", type=float, default=0.01, help="0.01 is one point of the metric")
    given = parser.parse_args()
    try:
        verdict = domino_onnx.verify(given.pruned)
        judged = domino_onnx.evaluate(given.dense, given.pruned, given.data)
    except domino_onnx.DominoError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    for problem in verdict.problems:
        print(f"broken: {problem}")
    print(f"{judged.metric}: {100 * judged.drop:.2f} points lost, {100 * given.max_drop:.2f} allowed")
    passed = verdict.holds and judged.is_within(given.max_drop)
    print("passed" if passed else "failed")
    return 0 if passed else domino_onnx.errors.CheckFailed.exit_code


if __name__ == "__main__":
    sys.exit(main())
