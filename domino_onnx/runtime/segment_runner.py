"""A model run piece by piece in ONNX Runtime, with activations carried forward and weights that may be changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TypeProto, helper

from domino_onnx.errors import ModelError
from domino_onnx.graph import OnnxFile, cut
from domino_onnx.options import Device
from domino_onnx.runtime.session import Session
from domino_onnx.scheme import NamedArrays

__all__ = ["Activations", "SegmentRunner"]

Activations = dict[str, NDArray[Any]]
"""The activations of one batch that are still to be read, by name."""

_NUMBERS = frozenset(
    f"tensor({name})"
    for name in (
        "float",
        "float16",
        "double",
        "bool",
        *(f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)),
    )
)


class SegmentRunner:
    """Segments of a model and their ONNX Runtime sessions, made when they are first needed.

    Parameters
    ----------
    positions
        Where segments begin, ascending: places in the order in which nodes run; segment 0 is before the first.
    changeable
        Names of stored tensors whose values `run` may be given.
    wanted
        Activations that the segments which make them shall give out.

    Attributes
    ----------
    count
        Number of segments.
    """

    def __init__(
        self,
        file: OnnxFile,
        positions: Sequence[int],
        changeable: Iterable[str],
        wanted: Iterable[str] = (),
        *,
        device: Device = "cpu",
        threads: int = 0,
    ) -> None:
        self._file = file
        self._segments = cut(file, positions, wanted)
        self._changeable = frozenset(changeable)
        self._device: Device = device
        self._threads = threads
        self._sessions: dict[tuple[int, bool], Session] = {}
        self._inputs = {value.name: value.type for value in file.proto.graph.input}
        self._read_later = {name for segment in self._segments for name in segment.inputs}
        self.count = len(self._segments)

    def run(self, index: int, live: Activations, changed: NamedArrays, dense: NamedArrays) -> Activations:
        """Run one segment on a batch: what is live after it, and what was `wanted` of it.

        Outputs of the model that aren't tensors (scikit-learn's ZipMap makes some) are left out.

        Parameters
        ----------
        live
            What is live before it; left as it is.
        changed
            New values of stored tensors; a segment that reads none of them runs with the file's, folded in.
        dense
            Values of all that is changeable and not in `changed`.

        Raises
        ------
        ModelError
            If ONNX Runtime refuses the segment, or it hands on something else than tensors.
        """
        segment = self._segments[index]
        fed = sorted(segment.constants & self._changeable) if segment.constants & changed.keys() else []
        if segment.outputs:
            inputs = {name: live[name] for name in segment.inputs}
            inputs |= {name: changed[name] if name in changed else dense[name] for name in fed}
            made = self._session(index, fed, inputs).run(inputs)
        else:
            made = {}
        return {**live, **{name: value for name, value in made.items() if isinstance(value, np.ndarray)}}

    def release(self, index: int, live: Activations) -> Activations:
        """`live` without what nothing reads after segment `index`."""
        released = self._segments[index].released
        return {name: value for name, value in live.items() if name not in released}

    def forget_before(self, index: int) -> None:
        """Drop the sessions of the segments ahead of this one, and with them their copies of weights."""
        self._sessions = {known: session for known, session in self._sessions.items() if known[0] >= index}

    def _session(self, index: int, fed: Sequence[str], inputs: Activations) -> Session:
        known = self._sessions.get((index, bool(fed)))
        if known is not None:
            return known
        types = {name: self._inputs.get(name) or _type_of(array) for name, array in inputs.items()}
        model = self._segments[index].model(self._file, types, fed)
        session = Session(model.SerializeToString(), device=self._device, threads=self._threads, piece=True)
        for name, kind in session.output_types.items():
            if kind not in _NUMBERS and name in self._read_later:
                raise ModelError(f"the model can't be run piece by piece: {name!r} is a {kind}")
        self._sessions[index, bool(fed)] = session
        return session


def _type_of(array: NDArray[Any]) -> TypeProto:
    """An array's element type and rank: the sizes may be others in the next batch."""
    element = helper.np_dtype_to_tensor_dtype(array.dtype)
    return helper.make_tensor_type_proto(element, [None] * array.ndim)
