"""What is generated in the documentation: the README's command reference, made from --help, and the table of inputs of
catalog/README.md, made from the providers. `python tests/support/reference.py` writes both.
"""

from pathlib import Path

from click.testing import CliRunner

from stac_sm.cli.main import main
from stac_sm.ingest.download_table import markdown_table

README = Path(__file__).parents[2] / "README.md"
CATALOG_README = Path(__file__).parents[2] / "catalog" / "README.md"
BEGIN_INPUTS, END_INPUTS = "<!-- inputs: made by python tests/support/reference.py -->\n", "<!-- end of inputs -->"
BEGIN, END = "<!-- reference: made by python tests/support/reference.py -->", "<!-- end of reference -->"


def reference() -> str:
    """Help of the program and of every command, as Markdown."""
    parts = [_help()]
    for name, command in main.commands.items():
        parts += [_help(name), *(_help(name, one) for one in getattr(command, "commands", ()))]
    return "\n".join(f"```text\n{part}```\n" for part in parts)


def with_reference(text: str) -> str:
    """README with the reference between its markers."""
    return _between(text, f"{BEGIN}\n", reference(), END)


def with_inputs(text: str) -> str:
    """README of the catalogue with the table of inputs between its markers."""
    return _between(text, BEGIN_INPUTS, markdown_table(), END_INPUTS)


def _between(text: str, begin: str, content: str, end: str) -> str:
    head, _, rest = text.partition(begin)
    return f"{head}{begin}{content}{end}{rest.partition(end)[2]}"


def _help(*command: str) -> str:
    done = CliRunner().invoke(main, [*command, "--help"], prog_name="stac-sm", terminal_width=110)
    return done.output


if __name__ == "__main__":
    README.write_text(with_reference(README.read_text()))
    CATALOG_README.write_text(with_inputs(CATALOG_README.read_text()))
