"""Join the label images of one plate's detection jobs into one Zarr array.

Inputs: the units' label images and fields. Output: the metadata of labels.zarr, which appears with the whole store.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import logging
import os

from fieldwork.job_log import logged
from fieldwork.plates import label_store

log = logging.getLogger(__name__)


def main(*, plate, labels, fields, store):
    shape = label_store.write(store, plate=plate, labels=labels, fields=fields)
    log.info("plate %s: labels of %d fields of %d x %d px", plate, *shape)


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(
            plate=snakemake.wildcards.plate,
            labels=snakemake.input.labels,
            fields=snakemake.input.fields,
            store=os.path.dirname(snakemake.output.metadata),
        )
