"""Sum up the fields of each well of a plate at each time point.

Input: fields.parquet. Output: timepoints.csv.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import pyarrow.parquet as pq

from fieldwork import outputs
from fieldwork.job_log import logged
from fieldwork.plates import tables


def main(*, fields_table, timepoints_table):
    rows, columns = tables.timepoints_of(pq.read_table(fields_table).to_pylist())
    outputs.write_csv(rows, columns, timepoints_table)


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(fields_table=snakemake.input.fields, timepoints_table=snakemake.output.timepoints)
