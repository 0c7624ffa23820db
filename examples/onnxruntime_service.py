#!/usr/bin/env python3
"""An HTTP service that answers with what a model gives: POST an .npz with the inputs, get an .npz with the outputs.

The file may be dense, packed, or deployed with operators that skip zeros: `domino_onnx.session` opens all three.

    python examples/onnxruntime_service.py model.cpu.onnx --port 8000
    curl --data-binary @inputs.npz http://localhost:8000 > outputs.npz
"""

from __future__ import annotations

import argparse
import io
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

import domino_onnx

_MOST_BYTES = 1 << 26


def answer(session: Any, body: bytes) -> bytes:
    """The outputs for the inputs of one request."""
    with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
        inputs = {name: arrays[name] for name in arrays.files}
    outputs = session.run(None, inputs)
    names = [output.name for output in session.get_outputs()]
    stream = io.BytesIO()
    np.savez(stream, **dict(zip(names, outputs, strict=True)))
    return stream.getvalue()


def server(model: Path, port: int, threads: int = 1) -> ThreadingHTTPServer:
    """A server on this machine; one session serves all requests."""
    session = domino_onnx.session(model, threads)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """One request."""
            length = int(self.headers.get("Content-Length", "0"))
            if not 0 < length <= _MOST_BYTES:
                self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
                return
            try:
                body = answer(session, self.rfile.read(length))
            except Exception as error:  # a bad request must not end the service
                self.send_error(HTTPStatus.BAD_REQUEST, explain=str(error)[:500])
                return
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (http.server's name)
            """Quiet."""

    return ThreadingHTTPServer(("localhost", port), Handler)


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    with server(given.model, given.port, given.threads) as serving:
        print(f"serving {given.model} on http://localhost:{serving.server_port}", flush=True)
        serving.serve_forever()


if __name__ == "__main__":
    main()
