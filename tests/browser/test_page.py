"""The page of results in Chromium."""

import asyncio

import numpy as np
from scipy import ndimage
from viewed import COLOURS, NUCLEI, VIEWER, ramp


def spots(picture, box, *, dark=False):
    """Return the centres (x, y) of bright (or dark) squares in a part (left, top, width, height) of a picture."""
    left, top, width, height = (round(side) for side in box)
    grey = picture[top : top + height, left : left + width].max(axis=2)
    labels, number = ndimage.label(grey < 60 if dark else grey > 200)
    centres = np.array(ndimage.center_of_mass(labels, labels, range(1, number + 1))).reshape(-1, 2)
    return centres[:, ::-1] + (left + 0.5, top + 0.5)  # of pixels' middles, as the browser counts from their corners


BOX = (
    "(() => { const {left, top, width, height} = document.querySelector('.image').getBoundingClientRect();"
    "return [left, top, width, height]; })()"
)
SCALE = f"{VIEWER}.world.getItemAt(0).viewportToImageZoom({VIEWER}.viewport.getZoom(true))"


async def check_rings(browser, *, most):
    """Compare the rings with the spots of the image on the screen, which are at most `most`."""
    await browser.settled()
    await browser.click("label[title*=outlines] input")  # the rings exist but are hidden
    await asyncio.sleep(0.3)
    rings, scale, box = np.array(await browser.rings()), await browser.value(SCALE), await browser.value(BOX)
    centres = spots(await browser.screenshot(), box)
    await browser.click("label[title*=outlines] input")
    assert 0 < len(centres) <= most
    for spot in centres:
        assert np.hypot(*(rings - spot).T).min() < scale, (spot, rings, scale)  # one pixel of the image
    return scale


def test_a_click_on_a_well_shows_its_fields_with_rings_around_their_nuclei(browse):
    async def steps(browser, site):
        await browser.until("document.querySelectorAll('.wells a').length === 1")
        assert await browser.value("document.querySelectorAll('.wells .missing').length") == 1536 - 1
        await browser.click("nav li:nth-child(2) a")
        await browser.until("document.querySelectorAll('.wells a').length === 4")
        marks = await browser.value(
            "[...document.querySelectorAll('.wells a')].map((one) => [one.textContent, one.className])"
        )
        assert marks == [["2.5", ""], ["1", "partly"], ["0", ""], ["✕", "failed"]]
        assert await browser.value("document.querySelectorAll('.wells .missing').length") == 96 - 4
        await browser.click(".wells a[data-well=B02]")
        await browser.until("document.querySelectorAll('.fields a').length === 2")
        await browser.until("document.querySelectorAll('.nuclei circle').length === 3")
        scales = [await check_rings(browser, most=3)]
        await browser.go_to(*NUCLEI["B02", 1][1])
        for _ in range(2):
            await browser.click("button[title^='Zoom in']")
            scales.append(await check_rings(browser, most=3))
        assert scales[2] > 3 * scales[0] > 3
        await browser.click(".fields li:nth-child(2) a")  # nuclei in the corners of the image
        await browser.until("document.querySelectorAll('.nuclei circle').length === 2")
        await browser.click("button[title^='Whole image']")  # the view stays with other fields
        await check_rings(browser, most=2)
        size = {"width": 1000, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        await browser.send("Emulation.setDeviceMetricsOverride", **size)  # the wells are then smaller
        await check_rings(browser, most=2)
        await browser.click(".wells a[data-well=C03]")
        await browser.until("document.querySelector('.error')?.textContent.includes('empty file (0 bytes)')")

    browse(steps)


OUTLINES = (
    "[...document.querySelectorAll('.nuclei path')].map((path) => path.getBoundingClientRect())"
    ".map(({left, top, width, height}) => [left, top, left + width, top + height])"
)


def test_a_click_on_a_well_with_label_images_shows_the_outlines_of_its_nuclei(browse):
    async def steps(browser, site):
        await browser.click(".wells a[data-well=A01]")
        await browser.until("document.querySelectorAll('.nuclei path').length === 5")
        await browser.settled()
        assert await browser.value("document.querySelectorAll('.nuclei circle').length") == 0
        assert await browser.value("document.querySelector('.tools [role=status]').textContent") == "5 nuclei"
        shown = await browser.screenshot()
        await browser.click("label[title*=outlines] input")  # the outlines exist but are hidden
        await asyncio.sleep(0.3)
        boxes, scale, box = [np.array(await browser.value(value)) for value in (OUTLINES, SCALE, BOX)]
        plain = await browser.screenshot()
        assert (shown != plain).any(axis=2).sum() > 5 * 20 * scale
        left, top, width, height = box.round().astype(int)
        bright, _ = ndimage.label(plain[top : top + height, left : left + width].max(axis=2) > 200)
        spots = [(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(bright)]
        spots = [np.add(spot, (left, top) * 2) for spot in spots if min(spot) > 0 and spot[3] - spot[1] > 10 * scale]
        drawn = [np.concatenate([boxes[1, :2], boxes[2, 2:]]), boxes[3]]  # two that touch, and the hook
        assert len(spots) == 2  # not the square that touches the image's border
        for spot, outline in zip(spots, drawn, strict=True):
            inset = np.array([1, 1, -1, -1]) * scale / 2  # outlines run through the middles of pixels
            np.testing.assert_allclose(outline, spot + inset, atol=2)
        await browser.click(".fields li:nth-child(3) a")
        await browser.until("document.querySelector('.tools [role=status]')?.textContent === '0 nuclei'")
        assert await browser.value("document.querySelectorAll('.nuclei path').length") == 0

    browse(steps, "#/plates/week%202")


def test_wells_follow_tables_that_a_run_made_anew(browse, site):
    table = site.path / "results" / "plates" / "week 1" / "wells.csv"
    before = table.read_text()

    async def steps(browser, site):
        await browser.until("document.querySelector('.wells a')?.textContent === '2.5'")
        assert "B02,<i>DMSO</i>,2,0,5,2.5," in before
        table.write_text(before.replace(",5,2.5,", ",23,11.5,"))
        await browser.click(".wells a[data-well=C02]")
        await browser.until("document.querySelector('.wells a').textContent === '11.5'")

    try:
        browse(steps, "#/plates/week%201")
    finally:
        table.write_text(before)


def test_wells_are_reached_by_keys(browse):
    async def steps(browser, site):
        await browser.until("document.querySelectorAll('.wells a').length === 4")
        assert await browser.value("document.querySelectorAll('.wells a[tabindex=\"0\"]').length") == 1
        await browser.value("document.querySelector('.wells a').focus()")
        right = [("ArrowRight", well) for well in ("B03", "C02", "C03", "C03")]  # row by row, to the last
        up = [("ArrowUp", well) for well in ("B03", "C02", "B02", "B02")]  # column by column, to the first
        for key, well in [*right, *up, ("ArrowDown", "C02"), ("ArrowLeft", "B03"), ("ArrowLeft", "B02")]:
            await browser.press(key)
            assert await browser.value("document.activeElement.dataset.well") == well
        title = "B02: 2.5 nuclei per field, 5 in all, compound <i>DMSO</i>"
        assert await browser.value("document.activeElement.title") == title

    browse(steps, "#/plates/week%201")


def test_a_slide_zooms_from_overview_to_level_0(browse):
    async def steps(browser, site):
        await browser.settled()
        rings = await browser.rings()
        assert len(rings) == 3
        tiles = f"http://127.0.0.1:{site.port}/api/slides/slide%20five/tiles/"
        assert not [address for address in browser.addresses if address.startswith(f"{tiles}0/")]
        await browser.value("document.querySelector('.openseadragon-canvas').focus()")
        await browser.go_to(1234, 700)
        for _ in range(3):
            await browser.click("button[title^='Zoom in']")
        await browser.settled()
        levels = [
            int(address[len(tiles) :].split("/")[0]) for address in browser.addresses if address.startswith(tiles)
        ]
        assert levels[0] > 1 and 0 in levels
        # The dark pixel of the nucleus, on level 0's colour, inside its ring
        scale = await browser.value(SCALE)
        assert scale > 2
        (ring,) = await browser.rings()
        await browser.click("label[title*=outlines] input")
        await asyncio.sleep(0.3)
        picture = await browser.screenshot()
        x, y = (round(value) for value in ring)
        around = picture[y - 40 : y + 40, x - 40 : x + 40]
        np.testing.assert_allclose(np.median(around, axis=(0, 1)), COLOURS[0], atol=6)
        (spot,) = spots(picture, (x - 40, y - 40, 80, 80), dark=True)
        assert np.hypot(*(spot - ring)) / scale < 1

    browse(steps, "#/slides/slide%20five")


def test_a_stack_is_a_table_and_a_failed_slide_says_why(browse):
    async def steps(browser, site):
        assert await browser.until("document.querySelectorAll('.rows tbody tr').length") == 3
        await browser.click("a[href='#/slides/torn']")
        await browser.until("document.querySelector('.error')?.textContent === 'This slide failed: not a slide'")

    browse(steps, "#/stacks/film")


def test_what_came_out_is_an_entry_of_the_list_with_its_pictures(browse, compared):
    async def steps(browser, site):
        await browser.click("#contents a[href='#/screen/what%20came%20out']")
        await browser.until("document.querySelectorAll('main img.picture').length === 2")
        await browser.until("[...document.querySelectorAll('main img')].every((image) => image.naturalWidth === 60)")
        links = "[...document.querySelectorAll('main p a')].map((link) => link.getAttribute('href'))"
        assert await browser.value(links) == ["results/summary.html", "results/screen/hits.csv"]

    browse(steps)


def test_a_field_shows_its_cells_around_its_nuclei(browse, cells):
    async def steps(browser, site):
        await browser.click(".wells a[data-well=A01]")
        await browser.until("document.querySelectorAll('.nuclei path').length === 10")
        colours = "[...document.querySelectorAll('.nuclei path.{}')].map((path) => getComputedStyle(path).stroke)"
        of_cells, of_nuclei = [await browser.value(colours.format(kind)) for kind in ("cell", "nucleus")]
        assert len(of_cells) == len(of_nuclei) == 5 and not {*of_cells} & {*of_nuclei}

    browse(steps, "#/plates/week%202")


STATUS = "document.querySelector('.tools [role=status]').textContent"
VALUES = "document.querySelector('.values').textContent"


async def pixel_at(browser, x, y):
    """Return the colour on the screen of a pixel of the image, (red, green, blue)."""
    await browser.go_to(x, y)
    await browser.settled()
    left, top, width, height = await browser.value(BOX)
    picture = await browser.screenshot()
    return picture[round(top + height / 2), round(left + width / 2)].tolist()


def test_channels_are_switched_and_merged_in_their_colours_in_the_contrast_that_is_set(browse):
    async def steps(browser, site):
        await browser.until("document.querySelectorAll('.channel').length === 2")
        await browser.settled()
        await browser.press("o")  # outlines off
        await browser.press("+")
        inside, outside = (36, 25), (90, 20)  # of a nucleus
        dna, actin = 40000, ramp()[25, 36]
        assert await pixel_at(browser, *inside) == [255, 255, 255]  # one channel is grey
        await browser.press("2")  # Actin, in red
        await browser.until("!!document.querySelector('.channels.merged')")
        low, high = (np.percentile(ramp()[::4, ::4], share) for share in (1, 99.8))
        level = (int(actin) - low) / (high - low) * 255
        red, green, blue = await pixel_at(browser, *inside)
        assert abs(red - level) <= 1 and (green, blue) == (0, 255)
        await browser.press("1")  # Actin alone
        await browser.until("!document.querySelector('.channels.merged')")
        assert max(np.abs(np.array(await pixel_at(browser, *inside)) - level)) <= 1
        await browser.press("1")
        await browser.press("2")
        slider = "document.querySelectorAll('.channel input[type=range]')[0]"  # black
        await browser.value(f"void ({slider}.value = 1000, {slider}.dispatchEvent(new Event('input')))")
        assert await browser.value("document.querySelector('.channel output').textContent") == f"{dna} – {dna}"
        await browser.value(f"void ({slider}.value = 0, {slider}.dispatchEvent(new Event('input')))")
        assert await pixel_at(browser, *inside) == [255, 255, 255] and await pixel_at(browser, *outside) == [0, 0, 0]
        await browser.press("a")
        assert await browser.value("document.querySelector('.channel output').textContent") == f"1000 – {dna}"

    browse(steps, "#/plates/week%202/A01")


def test_values_of_pixels_are_shown_under_the_pointer_and_by_a_key(browse):
    async def steps(browser, site):
        await browser.until("document.querySelectorAll('.channel').length === 2")
        await browser.settled()
        await browser.press("2")
        await browser.until("document.querySelector('.image').picture.valuesAt(40, 60).includes('Actin')")
        await browser.go_to(40, 60)
        await browser.settled()
        await browser.press("p")
        assert await browser.until(VALUES) == f"x 40, y 60: DNA 1000, Actin {ramp()[60, 40]}"
        left, top, width, height = await browser.value(BOX)
        scale = await browser.value(SCALE)
        x, y = left + width / 2 - 4 * scale, top + height / 2 - 30 * scale
        await browser.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        assert await browser.until(f"!{VALUES}.startsWith('x 40') && {VALUES}") == (
            f"x 36, y 30: DNA 40000, Actin {ramp()[30, 36]}"
        )

    browse(steps, "#/plates/week%202/A01")


def test_outlines_are_of_one_colour_and_hidden_where_nuclei_are_small_on_the_screen(browse):
    async def steps(browser, site):
        await browser.settled()
        shown = "getComputedStyle(document.querySelector('svg.nuclei')).visibility"
        blend = "getComputedStyle(document.querySelector('svg.nuclei')).mixBlendMode"
        assert (await browser.value(shown), await browser.value(blend)) == ("visible", "normal")
        assert await browser.value(f"{STATUS}") == "3 nuclei in view"
        strokes = "[...document.querySelectorAll('.nuclei circle')].map((ring) => getComputedStyle(ring).stroke)"
        assert set(await browser.value(strokes)) == {"rgb(255, 214, 10)"}
        await browser.value(f"void {VIEWER}.viewport.zoomTo({VIEWER}.viewport.getZoom() / 2)")
        await browser.until(f"{STATUS} === '3 nuclei in view: zoom in to see them'")
        assert await browser.value(shown) == "hidden"

    browse(steps, "#/slides/slide%20five")


def test_density_is_a_layer_that_a_key_switches(browse):
    async def steps(browser, site):
        await browser.settled()
        density = "document.querySelector('canvas.density')"
        assert await browser.value(f"{density}.hidden")
        await browser.press("d")
        await browser.until(f"!{density}.hidden && {density}.width === 33 && {density}.height === 21")
        drawn = await browser.value(
            f"[...{density}.getContext('2d').getImageData(0, 0, 33, 21).data].filter((_, at) => at % 4 === 3)"
        )
        assert (np.reshape(drawn, (21, 33)) > 0).sum() == 3
        assert "nuclei per mm²" in await browser.value("document.querySelector('.legend').textContent")
        left, top, width, height = await browser.value(
            f"(() => {{ const {{left, top, width, height}} = {density}.getBoundingClientRect();"
            "return [left, top, width, height]; })()"
        )
        scale = await browser.value(SCALE)
        np.testing.assert_allclose([width, height], [33 * 64 * scale, 21 * 64 * scale], rtol=0.01)
        await browser.press("d")
        await browser.until(f"{density}.hidden")

    browse(steps, "#/slides/slide%20five")


def test_frames_of_a_stack_follow_one_another_by_keys_with_their_nuclei(browse):
    async def steps(browser, site):
        await browser.until("document.querySelectorAll('.nuclei path').length === 1")
        await browser.settled()
        frame = "document.querySelector('.player output').textContent"
        assert await browser.value(frame) == "frame 0 of 2"
        for key, number in ((".", 1), (".", 2), (".", 2), (",", 1)):
            await browser.press(key)
            await browser.until(f"{frame} === 'frame {number} of 2'")
            assert await browser.value("location.hash") == f"#/stacks/movie/{number}"
            assert await pixel_at(browser, 14 + 10 * number, 44) == [255, 255, 255]
            assert await browser.value("document.querySelector('tr[aria-current]').dataset.frame") == str(number)
        cell = "document.querySelector('.rows tbody tr').lastElementChild.textContent"
        assert await browser.value(cell) == "0.3333"
        await browser.press(" ")
        await browser.until(f"{frame} === 'frame 0 of 2'")
        await browser.press(" ")
        await browser.click("a[href='#/stacks/movie/2']")
        await browser.until(f"{frame} === 'frame 2 of 2'")

    browse(steps, "#/stacks/movie")


def test_of_a_frame_that_is_not_there_any_more_no_other_one_is_shown(browse, site):
    movie = site.path / "images" / "movie.tif"

    async def steps(browser, site):
        await browser.until("document.querySelectorAll('.nuclei path').length > 0")
        movie.rename(movie.with_suffix(".away"))
        await browser.press(".")
        await browser.until("document.querySelector('.tools [role=status]').textContent.includes('any more')")
        assert await browser.value("document.querySelectorAll('.nuclei path').length") == 0
        assert await browser.value("document.querySelector('canvas.pixels').width") == 1
        browser.complaints.clear()  # that the server answered 404

    try:
        browse(steps, "#/stacks/movie")
    finally:
        movie.with_suffix(".away").rename(movie)


def test_keys_go_from_field_to_field_and_from_well_to_well_and_are_listed(browse):
    async def steps(browser, site):
        await browser.until("document.querySelectorAll('.fields a').length === 2")
        current = "document.querySelector('.fields [aria-current]')?.textContent"
        await browser.press(".")
        await browser.until(f"{current} === 'site 2: 2'")
        await browser.press(",")
        await browser.until(f"{current} === 'site 1: 3'")
        await browser.press("]")
        await browser.until("location.hash === '#/plates/week%201/B03'")
        await browser.press("[")
        await browser.until("location.hash === '#/plates/week%201/B02'")
        assert "compound <i>DMSO</i>" in await browser.until("document.querySelector('#well h3').textContent")
        await browser.until("document.querySelectorAll('.nuclei circle').length === 3")
        await browser.press("v")
        await browser.until("document.querySelectorAll('.wells.thumbnails img').length === 3")
        images = "[...document.querySelectorAll('.wells img')]"
        await browser.until(f"{images}.every((image) => image.naturalWidth > 0)")
        await browser.press("v")  # the platemap's compound, as text
        texts = "[...document.querySelectorAll('.wells.texts a span')].map((one) => one.textContent)"
        await browser.until(f"{texts}.length === 3")
        assert await browser.value(texts) == ["<i>DMSO</i>", "", ""]
        await browser.press("v")
        await browser.until(f"{texts}.length === 0")
        await browser.press("?")
        keys = await browser.until("document.querySelector('dialog[open]')?.textContent")
        for what in ("the next field", "the next well", "outlines", "show or hide DNA", "tune nuclei"):
            assert what in keys
        await browser.click("dialog button")
        await browser.until("!document.querySelector('dialog')")

    browse(steps, "#/plates/week%201/B02")


def test_an_image_that_is_not_there_any_more_is_named(browse, site):
    path = site.path / "images" / "B02_s1.tif"
    others = [path.with_name(name) for name in ("B02_s2.tif", "B03_s1.tif", "C02_s1.tif")]
    for file in (path, *others):
        file.rename(file.with_suffix(".away"))

    async def steps(browser, site):
        await browser.until("document.querySelector('.stage .error')?.textContent.includes('B02_s1.tif')")
        browser.complaints.clear()  # that the server answered 404

    try:
        browse(steps, "#/plates/week%201/B02")
    finally:
        for file in (path, *others):
            file.with_suffix(".away").rename(file)


def test_pixels_that_come_late_do_not_replace_those_of_the_image_that_was_asked_for_last(browse):
    async def steps(browser, site):
        await browser.until("document.querySelectorAll('.wells a').length === 1")
        planes = await browser.value(
            """(async () => {
                const {Channels, readPixels} = await import("/page/channels.js");
                const addressOf = (field) => (name) => `api/plates/week%201/fields/${field}/pixels/${name}`;
                const expected = await Promise.all([0, 1].map((field) => readPixels(addressOf(field)("DNA"))));
                const ask = window.fetch;
                window.fetch = async (address) => {
                    if (address.includes("/fields/0/")) await new Promise((resolve) => setTimeout(resolve, 400));
                    return ask(address);
                };
                const contrast = {DNA: {low: 0, high: 1, least: 0, most: 1}};
                const channels = new Channels({scope: "late", channels: [{name: "DNA", colour: "ffffff"}], contrast});
                const late = channels.read(addressOf(0), {anew: true});
                await channels.read(addressOf(1), {anew: true});
                await late;
                window.fetch = ask;
                const read = channels.planes.get("DNA");
                return expected.map(({values}) => String(values) === String(read.values));
            })()"""
        )
        assert planes == [False, True]

    browse(steps)
