"""How a weight with zeros is written smaller: codecs over arrays, and the record of what was done."""

from domino_onnx.storage.packing import Grouping, Packed, PackedForm, pack, pack_as, packed_form, scatter, unpack
from domino_onnx.storage.record import STORAGE_KEY, FileForm, Form, Storage, StoredWeight

__all__ = [
    "STORAGE_KEY",
    "FileForm",
    "Form",
    "Grouping",
    "Packed",
    "PackedForm",
    "Storage",
    "StoredWeight",
    "pack",
    "pack_as",
    "packed_form",
    "scatter",
    "unpack",
]
