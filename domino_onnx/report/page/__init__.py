"""Reports as HTML pages: one file each, without a network, that can be sent around."""

from domino_onnx.report.page.compress import compress_page
from domino_onnx.report.page.sweep import sweep_page

__all__ = ["compress_page", "sweep_page"]
