"""The table of inputs of catalog/README.md, from the providers: `python tests/support/inputs_table.py` writes it."""

from pathlib import Path

from stac_sm.ingest.download_table import markdown_table

CATALOG_README = Path(__file__).parents[2] / "catalog" / "README.md"
BEGIN, END = "<!-- inputs: made by python tests/support/inputs_table.py -->\n", "<!-- end of inputs -->"


def with_inputs(text: str) -> str:
    """README of the catalogue with the table of inputs between its markers."""
    head, _, rest = text.partition(BEGIN)
    return f"{head}{BEGIN}{markdown_table()}{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    CATALOG_README.write_text(with_inputs(CATALOG_README.read_text()))
