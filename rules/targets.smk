"""Name the files of the targets, by the plan."""


def plate_calibrations(wildcards):
    """Return the calibration and the picture of each plate whose nuclei are looked for."""
    plan.plates.require_all_images()
    return expand("<results>/plates/{plate}/calibration.{kind}", plate=plan.plates.ready, kind=["json", "png"])


def plate_illuminations(wildcards):
    """Return the functions and the picture of each plate whose illumination is corrected."""
    files = ["illumination/functions.json", "illumination.png"]
    return expand("<results>/plates/{plate}/{file}", plate=plan.measurements.illuminated_plates, file=files)


def plate_tables(wildcards):
    plan.plates.require_all_images()
    plates, stores = plan.plates.labelled, plan.plates.label_stores
    labels = expand("<results>/plates/{plate}/{store}/zarr.json", plate=plates, store=stores)
    tables = expand("<results>/plates/{plate}/{table}", plate=plan.plates.ready, table=TABLES)
    tables += expand("<results>/plates/{plate}/timepoints.csv", plate=plan.plates.timed)
    return [*plate_illuminations(wildcards), *labels, *tables]


def screen_tables():
    """Return the tables that compare the wells of all plates; none without a plate, and as `plate_products` in jobs."""
    return expand("<results>/screen/{table}", table=SCREEN if plan.plates.ready and CALLER.main else [])


def screen_pictures():
    """Return the pictures that compare the wells of all plates, where there are such tables."""
    return expand("<results>/screen/plots/{picture}.png", picture=SCREEN_PICTURES if screen_tables() else [])


def overviews():
    """Return a picture of each of the first slides, or else stacks, for the page of a run without plates."""
    slides, stacks = ([*names][:3] for names in (plan.slides.rows, plan.stacks.rows))
    if plan.plates.ready:
        return []
    return expand("<results>/slides/{slide}/overview.png", slide=slides) or expand(
        "<results>/stacks/{stack}/frames.png", stack=stacks
    )


def plate_wells(wildcards):
    plan.plates.require_all_images()
    return expand("<results>/plates/{plate}/wells.csv", plate=plan.plates.ready)


def plate_products():
    """Return every plate's pictures, and with them its tables; nothing in jobs, which open no plate but their own."""
    plates = plan.plates.ready if CALLER.main else []
    products = expand("<results>/plates/{plate}/densities.png", plate=plates)
    products += plate_illuminations(None) if plates else []
    for plate in plates:
        products += expand("<results>/plates/{plate}/{file}", plate=plate, file=plan.plates.further_products(plate))
    return products


def filtered_tables():
    return expand("<results>/plates/{plate}/filtered/filtered.csv", plate=plan.plates.filtered)


def slide_tables():
    names = ("slide.json", "nuclei.parquet", "tiles.parquet")
    tables = expand("<results>/slides/{slide}/{table}", slide=plan.slides.rows, table=names)
    tables += expand("<results>/slides/{slide}/regions.csv", slide=plan.slides.with_regions)
    return tables + expand("<results>/plates/{plate}/slides.csv", plate=plan.slides.batches)


def stack_tables():
    return expand("<results>/stacks/{stack}/{table}", stack=plan.stacks.rows, table=plan.stacks.tables)
