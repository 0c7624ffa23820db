"""How a weight with zeros is written smaller: codecs over arrays, and the record of what was done."""

from domino_onnx.storage.codec import Grouping, Packed, coordinates, pack, scatter, unpack
from domino_onnx.storage.record import STORAGE_KEY, Form, Storage, StoredWeight

__all__ = [
    "STORAGE_KEY",
    "Form",
    "Grouping",
    "Packed",
    "Storage",
    "StoredWeight",
    "coordinates",
    "pack",
    "scatter",
    "unpack",
]
