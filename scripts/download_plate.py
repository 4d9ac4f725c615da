"""Download the archive of one plate and unpack it.

Output: facts about the archive, as JSON; the images appear in the plate's folder.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

from fieldwork import outputs
from fieldwork.inputs import archives
from fieldwork.job_log import logged
from fieldwork.plates import download


def main(*, summary, **archive):
    archive = archives.Archive(**archive)
    facts = {"plate": archive.plate, "folder": archive.folder, **download.make_folder(archive)}
    outputs.write_json(facts, summary)


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(summary=snakemake.output[0], **snakemake.params.archive)
