"""The report: one page with every picture."""

import json
import re

import numpy as np
import pytest
import tifffile

import browser
from fieldwork import synthetic
from workspace import Workspace


def parts(report):
    """Return the content of a report: path -> labels, picture and so on; category -> subcategory -> paths."""
    page = report.read_text()
    return [
        json.loads(re.search(rf"^ *var {name} = (\{{.*\}});$", page, re.MULTILINE)[1])
        for name in ("results", "categories")
    ]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report of two plates and a stack."""
    workspace = Workspace(tmp_path_factory.mktemp("report"))
    for plate in ("P1", "Week1_22123"):
        workspace.plant(plate, wells=("B02",))
    rng = np.random.default_rng(0)
    film = np.stack([synthetic.plant_field(rng, shape=(96, 128), count=3)[0] for _ in range(3)])
    tifffile.imwrite(workspace.path / "film.tif", film, photometric="minisblack")
    (workspace.path / "config" / "stacks.tsv").write_text("stack\tpath\nfilm\tfilm.tif\n")
    workspace.run()
    path = workspace.path / "results" / "report.html"
    workspace.run("--report", str(path))
    return path


def test_the_report_holds_every_picture_under_its_labels(report):
    results, _ = parts(report)
    drawn = {tuple(result["labels"].values()) for result in results.values()}
    pictures = ["nuclei per well", "nuclei per field by treatment", "edge effect", "random fields"]
    assert {(plate, picture) for plate in ("P1", "Week1_22123") for picture in pictures} <= drawn
    assert ("film", "frame by frame") in drawn
    assert ("time and memory of jobs",) in drawn
    pages = {path for path, result in results.items() if result["data_uri"].startswith("data:text/html;")}
    assert pages == {"results/summary.html"}
    pictures = [result["data_uri"] for path, result in results.items() if path not in pages]
    assert all(uri.startswith("data:image/png;") for uri in pictures)
    assert ("all plates",) in drawn and ("hits, ranked",) in drawn
    assert report.stat().st_size < 25e6
    assert not re.search(r'(src|href)="https?://', report.read_text())


def test_a_plate_without_pictures_says_what_to_run(tmp_path):
    workspace = Workspace(tmp_path)
    workspace.plant("Week1_ (b)_", wells=("B02",))
    workspace.run("tables")
    path = tmp_path / "results" / "report.html"
    output = workspace.run("--report", str(path))
    [line] = [line for line in output.splitlines() if line.startswith("Pictures that no run has drawn yet")]
    assert "plate Week1_ (b)_ (7), the run (8)" in line and "--cores all in place of --report" in line
    assert parts(path) == [{}, {}]
    description = re.search(r"workflow_desc = (.*);$", path.read_text(), re.MULTILINE)[1]
    assert "plate Week1_ (b)_ (7)" in description and "System Message" not in description


def test_a_run_without_plates_begins_with_pictures_of_its_stacks(tmp_path):
    workspace = Workspace(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "plates.tsv").write_text("plate\timages\n")
    rows = ["stack\tpath"]
    for number in range(4):
        image, _ = synthetic.plant_field(np.random.default_rng(number), shape=(96, 128), count=3)
        tifffile.imwrite(tmp_path / f"{number}.tif", image)
        rows.append(f"S{number}\t{number}.tif")
    (tmp_path / "config" / "stacks.tsv").write_text("\n".join(rows) + "\n")
    workspace.run("results/summary.html")
    page = (tmp_path / "results" / "summary.html").read_text()
    assert re.findall(r'<img alt="([^"]*)" src="data:image/png', page) == [f"Frames of stack S{n}" for n in range(3)]
    assert "numpy 2." in page and "pycytominer" not in page and "Tables of" not in page


LINK = "[...document.querySelectorAll('#app a')].find((link) => link.textContent.trim() === {})"
ROWS = "document.querySelectorAll('#app tbody tr')"
# Of two pictures of everything in a table, Snakemake makes one row with a switch.
SWITCH = "[...document.querySelectorAll('#app fieldset input')]"
TEXTS = "[...{}.querySelectorAll('td')].map((cell) => cell.innerText.trim()).filter((text) => text)"
# The picture or page that is shown, as soon as it differs from the last one.
PICTURE = (
    "((image) => image && image.src !== window.last && (window.last = image.src))"
    "([...document.querySelectorAll('#app img, #app iframe')]"
    ".find((image) => image.naturalWidth > 300 || image.src.startsWith('data:text/html')))"
)


def test_in_the_browser_every_picture_is_found_by_its_labels_and_shown(report, tmp_path):
    results, categories = parts(report)
    seen = []

    async def look(page):
        # The page that sums up the run comes first, and is seen from its beginning.
        await page.until("document.querySelector('#app .fieldwork h1')?.innerText === 'What came out'")
        assert await page.value("document.querySelector('#app .fieldwork h1').getBoundingClientRect().top") >= 0
        assert "2 plates, 2 wells" in await page.value("document.querySelector('#app .fieldwork').innerText")
        assert await page.value("document.querySelectorAll('#app .fieldwork img').length") == 3
        summaries = "[...document.querySelectorAll('#app .fieldwork summary')].map((one) => one.innerText)"
        assert await page.value(summaries) == ["What counted for all 2 plates", "The whole configuration"]
        moment = await page.value("document.querySelector('#app .fieldwork .moment').innerText")
        assert moment.startswith("Tables of all 2 plates joined ") and "Python 3." in moment
        # The graph of rules follows the page.
        await page.until("!!document.querySelector('#rulegraph svg, #rulegraph canvas')")
        bottom = "document.querySelector('#app .fieldwork').getBoundingClientRect().bottom"
        assert await page.value(f"document.querySelector('#rulegraph').getBoundingClientRect().top >= {bottom}")

        async def choose(text):
            link = LINK.format(json.dumps(text))
            await page.until(f"!!{link}")
            await page.value(f"void {link}.click()")

        for category, subcategories in categories.items():
            for subcategory, paths in subcategories.items():
                await choose(category)
                if len(subcategories) > 1:
                    await choose(subcategory)
                await page.until(f"{ROWS}.length * ({SWITCH}.length || 1) === {len(paths)}")
                choices = await page.value(f"{SWITCH}.map((input) => input.value)")
                for number in range(len(paths) // max(1, len(choices))):
                    labels = await page.value(TEXTS.format(f"{ROWS}[{number}]"))
                    for position, choice in enumerate(choices or [None]):
                        if choice:
                            await page.value(f"void {SWITCH}[{position}].click()")
                        await page.value(f"void {ROWS}[{number}].querySelector('[iconname=eye]').click()")
                        seen.append((category, *labels, *filter(None, [choice]), await page.until(PICTURE)))
                await page.value("void document.querySelector('#app nav nav a').click()")

    with browser.chromium(tmp_path / "profile") as open_page:
        page = open_page(report.as_uri(), look)
    assert [complaint for complaint in page.complaints if complaint.get("type") != "warning"] == []
    assert {address.partition(":")[0] for address in page.addresses} <= {"file", "data", "blob"}
    expected = {
        (category, *results[path]["labels"].values(), results[path]["data_uri"])
        for category, subcategories in categories.items()
        for paths in subcategories.values()
        for path in paths
    }
    assert len(expected) == len(results) == len(seen) and set(seen) == expected
