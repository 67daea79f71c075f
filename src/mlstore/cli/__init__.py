"""The command line: `mlstore init|apply|write|online|training-set|read|snapshot|log|catalog|info|verify|optimize|compact|backup|demo`.

A door: it turns words into calls of the public face and answers into text, and knows nothing of what lies beneath.
Answers go to standard output, everything else (progress, notes, errors) to standard error.
"""

from mlstore.cli.app import app


def main() -> None:
    """Run the command line on the arguments of this process; always leaves by `SystemExit`."""
    app(prog_name="mlstore")


__all__ = ["app", "main"]
