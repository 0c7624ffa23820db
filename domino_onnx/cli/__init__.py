"""The command line: a thin skin over the library, one file a command."""

from domino_onnx.cli.starting import starting

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit: 0 done, 1 error, 2 usage, 3 a check failed, 130 interrupted."""
    with starting():
        from domino_onnx.cli.group import main as run  # Ctrl-C is quiet while this takes its time

        run()
