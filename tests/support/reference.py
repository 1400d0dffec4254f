"""The README's command reference, made from --help. `python tests/support/reference.py` writes it into the README."""

from pathlib import Path

from click.testing import CliRunner

from stac_sm.cli.main import main

README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- reference: made by python tests/support/reference.py -->", "<!-- end of reference -->"


def reference() -> str:
    """Help of the program and of every command, as Markdown."""
    parts = [_help(), *(_help(command) for command in main.commands)]
    return "\n".join(f"```text\n{part}```\n" for part in parts)


def with_reference(text: str) -> str:
    """README with the reference between its markers."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{reference()}{END}{tail}"


def _help(*command: str) -> str:
    done = CliRunner().invoke(main, [*command, "--help"], prog_name="stac-sm", terminal_width=110)
    return done.output


if __name__ == "__main__":
    README.write_text(with_reference(README.read_text()))
