"""Download the archive of one plate and unpack it.

Input: the sheet, which may have secrets in the archive's URL; parameters have none, as Snakemake keeps them in files.
Output: facts about the archive, as JSON; the images appear in the plate's folder.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

from fieldwork import InputError, outputs
from fieldwork.inputs import archives, sheets
from fieldwork.job_log import logged
from fieldwork.plates import download


def main(*, summary, planned, sheet, results):
    archive = archives.of_sheet(sheets.read_sheet("plates", sheet), results=results).get(planned["plate"])
    if archive is None or {**archive._asdict(), **archive.address} != planned:
        raise InputError(f"{sheet} was changed while the run was at work; start it again")
    facts = {"plate": archive.plate, "folder": archive.folder, **download.make_folder(archive)}
    outputs.write_json(facts, summary)


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(
            summary=snakemake.output[0],
            planned=snakemake.params.archive,
            sheet=snakemake.params.sheet,
            results=snakemake.config["results"],
        )
