"""How many models that ONNX Runtime runs does the torch bridge reproduce, and what stops the rest?

usage: DOMINO_ONNX_SHARED=FOLDER OMP_NUM_THREADS=1 python benchmarks/bridge.py
       OMP_NUM_THREADS=1 python benchmarks/bridge.py FOLDER...
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections import Counter
from importlib import metadata
from pathlib import Path
from typing import Any

from converting import Conversion, convert
from rows import RESULTS, machine

SETS = ("corpus", "models")
COUNTED = ("reproduced", "missing", "failed", "different")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="*", help="folders of .onnx files")
    folders = parser.parse_args().folders or [Path(os.environ["DOMINO_ONNX_SHARED"]) / name for name in SETS]
    document = {
        "machine": machine(),
        "packages": {name: metadata.version(name) for name in ("onnx", "onnxruntime", "torch")},
        "folders": [measured(folder) for folder in folders],
    }
    target = RESULTS / "bridge.json"
    target.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def measured(folder: Path) -> dict[str, Any]:
    """Counts of a folder, and the models that aren't reproduced."""
    found = {path.stem: convert(path) for path in sorted(folder.glob("*.onnx"))}
    outcomes = Counter(conversion.outcome for conversion in found.values())
    runs = sum(outcomes[outcome] for outcome in COUNTED)
    print(f"{folder.name}: {outcomes['reproduced']} of {runs} ({outcomes['reproduced'] / max(runs, 1):.1%}) {outcomes}")
    return {
        "folder": folder.name,
        "models": len(found),
        "run": runs,
        "outcomes": dict(sorted(outcomes.items())),
        "stopped_by": stops(list(found.values())),
        "not_reproduced": {
            name: [conversion.outcome, *conversion.why]
            for name, conversion in found.items()
            if conversion.outcome != "reproduced"
        },
    }


def stops(found: list[Conversion]) -> dict[str, int]:
    """How many models each missing operator, or other reason, stops; the most first."""
    reasons: Counter[str] = Counter()
    for conversion in found:
        if conversion.outcome == "missing":
            reasons.update(sorted({re.sub(r"-\d+", "", operator) for operator in conversion.why}))
        elif conversion.outcome in ("failed", "different"):
            reasons[conversion.outcome] += 1
    return dict(reasons.most_common())


if __name__ == "__main__":
    main()
