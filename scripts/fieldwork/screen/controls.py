"""The controls of plates: which wells they are, and how well they are told apart."""

from collections.abc import Iterable, Mapping

import pandas as pd

from fieldwork.inputs import platemaps


def roles_of(wells: pd.DataFrame, controls: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the kind of each well: positive, negative, or else sample.

    Parameters
    ----------
    wells : pandas.DataFrame
        ``Metadata_Plate`` and the columns of platemaps, a row for each well of any plates.
    controls : mapping of str to list of str
        The configuration's ``controls``.

    Returns
    -------
    list of str
        In the order of the rows, from `platemaps.roles_of` for each plate.

    Raises
    ------
    InputError
        As there.
    """
    described = [name for name in wells.columns if name.startswith("Metadata_")]
    roles = pd.Series("sample", index=range(len(wells)), dtype=object)
    plates = wells["Metadata_Plate"].reset_index(drop=True)
    for _, rows in plates.groupby(plates, sort=False).groups.items():
        cells = wells[described].iloc[rows]
        texts = cells.astype(object).where(cells.notna(), None).to_dict("records")
        roles.iloc[rows] = platemaps.roles_of(texts, controls)
    return roles.to_list()
