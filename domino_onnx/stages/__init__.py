"""The stages of a run: each takes values and options, and returns a frozen result.

A `Source` is the model as it was read, an `Aim` what the masks must suit, a `Laboratory` what is built on demand.
Three objects change inside: the `Journal` notes what happens, the laboratory keeps what it has built, and the
`Checkpoint` keeps on disk what stages returned.
"""

from domino_onnx.stages.checkpoints.checkpoint import Checkpoint
from domino_onnx.stages.checkpoints.run_folder import holds_checkpoint
from domino_onnx.stages.choosing import find
from domino_onnx.stages.deploying.benchmarking import benchmarked
from domino_onnx.stages.deploying.deploy import deployed
from domino_onnx.stages.deploying.second_file import check_second, name_for_cpu, with_second
from domino_onnx.stages.devices import require_devices
from domino_onnx.stages.finetuning.finetune import assist as help_finetuning
from domino_onnx.stages.finetuning.processes import is_assistant
from domino_onnx.stages.finetuning.pruned_file import finetune_file, found_in_file, open_pruned
from domino_onnx.stages.finetuning.teachers import teacher_beside
from domino_onnx.stages.forecasting.preflight import preflight
from domino_onnx.stages.inspecting import diagnosed, evaluated, inspected, verified
from domino_onnx.stages.journal import Journal, Observer
from domino_onnx.stages.laboratory import open_laboratory
from domino_onnx.stages.planning import require_plan
from domino_onnx.stages.reading.aim import given_plan
from domino_onnx.stages.reading.idle import idle_to_look, idle_to_time, tell_idle_options
from domino_onnx.stages.reading.purpose import Purpose
from domino_onnx.stages.reading.read import Output, read
from domino_onnx.stages.resuming import (
    checkpoint_folder,
    claim_checkpoint,
    found_once,
    name_of_sweep,
    open_checkpoint,
    replacing_of,
)
from domino_onnx.stages.trials.goals import (
    finetune_within,
    found_for_budgets,
    reachable_shares,
    require_goal,
    sweep_result,
)
from domino_onnx.stages.writing.concluding import compared, search_result
from domino_onnx.stages.writing.converting import rewritten
from domino_onnx.stages.writing.reporting import (
    check_plans,
    name_of_plan,
    write_plans,
    write_report,
    write_sweep_report,
    write_text,
)
from domino_onnx.stages.writing.write import Made, write

__all__ = [
    "Checkpoint",
    "Journal",
    "Made",
    "Observer",
    "Output",
    "Purpose",
    "benchmarked",
    "check_plans",
    "check_second",
    "checkpoint_folder",
    "claim_checkpoint",
    "compared",
    "deployed",
    "diagnosed",
    "evaluated",
    "find",
    "finetune_file",
    "finetune_within",
    "found_for_budgets",
    "found_in_file",
    "found_once",
    "given_plan",
    "help_finetuning",
    "holds_checkpoint",
    "idle_to_look",
    "idle_to_time",
    "inspected",
    "is_assistant",
    "name_for_cpu",
    "name_of_plan",
    "name_of_sweep",
    "open_checkpoint",
    "open_laboratory",
    "open_pruned",
    "preflight",
    "reachable_shares",
    "read",
    "replacing_of",
    "require_devices",
    "require_goal",
    "require_plan",
    "rewritten",
    "search_result",
    "sweep_result",
    "teacher_beside",
    "tell_idle_options",
    "verified",
    "with_second",
    "write",
    "write_plans",
    "write_report",
    "write_sweep_report",
    "write_text",
]
