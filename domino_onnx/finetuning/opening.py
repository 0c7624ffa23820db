"""How a student comes to be: the model in torch, on its device, proved equal to ONNX Runtime, with its teacher."""

from __future__ import annotations

from pathlib import Path

import torch

from domino_onnx.bridge import GraphModule, build, first_difference, mismatch, prove_parity
from domino_onnx.bridge.gpu import full_memory_in_words
from domino_onnx.data import Split, feed_of
from domino_onnx.errors import ModelError
from domino_onnx.finetuning.devices import torch_device
from domino_onnx.finetuning.distill import Distillation
from domino_onnx.finetuning.teacher import Teacher
from domino_onnx.graph import OnnxFile
from domino_onnx.options import Device, FinetuneOptions
from domino_onnx.outputs import Meanings
from domino_onnx.runtime import Room, Session

__all__ = ["open_distillation"]


def open_distillation(
    file: OnnxFile,
    teacher: Path,
    split: Split,
    options: FinetuneOptions | None = None,
    *,
    device: Device = "auto",
    threads: int = 0,
    meanings: Meanings | None = None,
    room: Room | None = None,
) -> Distillation:
    """Build the student from `file`, and prove it equal to ONNX Runtime before it is used.

    It is proved where it is going to be trained.

    Parameters
    ----------
    meanings
        What the outputs mean. Without, they are decided from the teacher's outputs on all samples.
    room
        Where activations and the teacher's answers are kept. By default in memory.

    Raises
    ------
    DependencyError
        As `torch_device`.
    DeviceMemoryError
        If the GPU's memory is too small for a few samples.
    UnsupportedOperatorError
        With all operators that have no torch counterpart.
    FinetuneError
        If there is no output to learn from.
    ModelError
        If the student's outputs differ from ONNX Runtime's, or either can't run.
    """
    if threads:
        torch.set_num_threads(threads)
    with full_memory_in_words("the model is built in torch"):
        place = torch_device(device)
        module = build(file.proto, load=file.array).to(place)
        _require_parity(file, teacher, module, split, threads)
        taught = Teacher(teacher, feed_of(split).data, device=device, threads=threads, room=room)
        return Distillation(module, taught, split, options, device=place, meanings=meanings, room=room)


def _require_parity(file: OnnxFile, teacher: Path, module: GraphModule, split: Split, threads: int) -> None:
    """Raise ModelError if the module doesn't give what ONNX Runtime gives on the CPU, or has other outputs."""
    session = Session(file.path, threads=threads)
    taught = Session(teacher, threads=threads).output_names
    if taught != session.output_names:
        raise ModelError(
            f"the teacher {teacher} has the outputs {list(taught)}, {file.path} has {list(session.output_names)}"
        )
    for samples in split.fit.extremes(4):
        inputs = split.fit.take(samples)
        parity = prove_parity(file, module, inputs, session.run(inputs), threads=threads)
        if not parity.ok:
            raise ModelError(mismatch(parity, first_difference(file, module, inputs, threads=threads)))
