"""ONNX Runtime: sessions, and a model run piece by piece."""

from domino_onnx.runtime.carried import Carried
from domino_onnx.runtime.child_session import ChildSession
from domino_onnx.runtime.deployed import open_session
from domino_onnx.runtime.heap import give_back_memory
from domino_onnx.runtime.kernels import require_kernels
from domino_onnx.runtime.memory import available_memory, memory_budget, resident_memory
from domino_onnx.runtime.peak import peak_memory
from domino_onnx.runtime.profile import OperatorTime, Profile, profiled
from domino_onnx.runtime.providers import cuda_objection, require_onnxruntime
from domino_onnx.runtime.room import Room
from domino_onnx.runtime.scratch import Held, HeldArrays, Scratch, scratch_folder
from domino_onnx.runtime.segment_runner import Activations, SegmentRunner
from domino_onnx.runtime.session import Session
from domino_onnx.runtime.shapes import observe_shapes
from domino_onnx.runtime.trial import require_survivable

__all__ = [
    "Activations",
    "Carried",
    "ChildSession",
    "Held",
    "HeldArrays",
    "OperatorTime",
    "Profile",
    "Room",
    "Scratch",
    "SegmentRunner",
    "Session",
    "available_memory",
    "cuda_objection",
    "give_back_memory",
    "memory_budget",
    "observe_shapes",
    "open_session",
    "peak_memory",
    "profiled",
    "require_kernels",
    "require_onnxruntime",
    "require_survivable",
    "resident_memory",
    "scratch_folder",
]
