"""Files that appear whole or not at all, under names that may be used, by one process at a time."""

from domino_onnx.files.digest import sha256_of
from domino_onnx.files.locks import folder_lock, held
from domino_onnx.files.names import check_name
from domino_onnx.files.replacing import NOTHING, Replacing, check_ending, check_model_ending, check_output, name_beside
from domino_onnx.files.whole import (
    current_umask,
    escaped,
    put_in_place,
    reason_of,
    remove_all_leftovers,
    remove_leftovers,
    unfinished,
    whole_file,
)

__all__ = [
    "NOTHING",
    "Replacing",
    "check_ending",
    "check_model_ending",
    "check_name",
    "check_output",
    "current_umask",
    "escaped",
    "folder_lock",
    "held",
    "name_beside",
    "put_in_place",
    "reason_of",
    "remove_all_leftovers",
    "remove_leftovers",
    "sha256_of",
    "unfinished",
    "whole_file",
]
