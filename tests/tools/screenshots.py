"""Take pictures of every page that a project's readers see: on screens of 1300 and 800 pixels, and on A4.

python tests/tools/screenshots.py FOLDER PROJECT

``uv run --with pypdfium2`` before it draws the pages of paper as PNG, too; without, they are PDF alone. Pages are those
in the project and the pictures of the README; with STAC Browser built (bash infra/browser/build.sh), its pages too.
"""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from stac_sm.stac.catalogs.catalog import open_catalog  # noqa: E402
from tests.support.chromium import Page, page  # noqa: E402
from tests.support.served import running  # noqa: E402

WIDTHS = (1300, 800)
BUILT = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "stac-sm" / "browser"


def browser_paths(project: Path) -> Iterator[tuple[str, str]]:
    """Yield name and path in STAC Browser: the root, each collection, and its first and last item by id."""
    catalog = open_catalog(project)
    yield "root", ""
    for id in sorted(catalog.collections):
        yield f"{id}-collection", f"collections/{id}"
        items = sorted(item.id for item in catalog.items(id))
        for item in dict.fromkeys(items[:1] + items[-1:]):
            yield f"{id}-item-{item}", f"collections/{id}/items/{item}"


def take(tab: Page, url: str, file: Path, *, paper: bool) -> None:
    """Save one page at each width, whole; and as PDF of A4."""
    for width in WIDTHS:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        tab.send("Emulation.setDeviceMetricsOverride", **size)
        tab.console.clear()
        tab.failed.clear()
        tab.open(url)
        tab.value("new Promise(done => setTimeout(done, 1500))")  # maps are drawn late
        tab.settle()
        whole = tab.send("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        file.with_name(f"{file.name}-{width}.png").write_bytes(base64.b64decode(whole))
    for fault in (*tab.console, *tab.failed):
        print(f"{file.name}: {fault}")
    if paper:
        pdf = tab.send("Page.printToPDF", preferCSSPageSize=True, paperWidth=8.27, paperHeight=11.69)
        written = file.with_name(f"{file.name}-A4.pdf")
        written.write_bytes(base64.b64decode(pdf["data"]))
        draw_paper(written)


def draw_paper(pdf: Path) -> None:
    """Draw each page of a PDF as PNG beside it, if pypdfium2 is there."""
    try:
        import pypdfium2
    except ImportError:
        return
    for number, sheet in enumerate(pypdfium2.PdfDocument(pdf), 1):
        sheet.render(scale=1.3).to_pil().save(pdf.with_name(f"{pdf.stem}-{number}.png"))


def main(folder: Path, project: Path) -> None:
    """Take all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    with page("http://127.0.0.1") as tab:
        for file in sorted([*project.rglob("*.html"), *(ROOT / ".readme").glob("*.svg")]):
            take(tab, file.as_uri(), folder / file.stem, paper=True)
    with running(project, STAC_SM_BROWSER=str(BUILT)) as address, page(address) as tab:
        take(tab, f"{address}/api.html", folder / "api", paper=False)
        for name, path in browser_paths(project):
            take(tab, f"{address}/browser/{path}", folder / f"browser-{name}", paper=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
