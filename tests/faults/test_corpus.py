"""The corpus of faults is what it says it is; `make test-faults` runs all of it."""

import re
from collections import Counter

from faults.catalogue import (
    Failed,
    Frames,
    Good,
    GoodOrFailed,
    NoTables,
    ReadsBack,
    Refused,
    Returns,
    SameTables,
    Tiles,
    Unpacked,
)
from faults.corpus import batches, run_all, sample

WORDED = Failed | GoodOrFailed | NoTables | Refused  # of which the last part is a pattern
OTHER_WORDS = ("", "all went well", "something was wrong", "ValueError: 7")  # that say nothing of a case


def all_cases(made=batches):
    return [case for batch in made() for case in batch.cases]


def test_there_are_at_least_800_cases_and_no_two_have_one_name():
    names = Counter((case.category, case.name) for case in all_cases())
    assert len(names) >= 800 and max(names.values()) == 1, names.most_common(3)


def test_every_case_says_what_must_happen_and_not_anything():
    for case in all_cases():
        parts = case.must.frames if isinstance(case.must, Frames) else [case.must]
        assert parts, case.name
        for must in parts:
            patterns = [must[-1]] if isinstance(must, WORDED) else []
            assert patterns or isinstance(must, Good | Tiles | ReadsBack | Returns | SameTables | Unpacked), case.name
            assert not any(re.search(pattern, words) for pattern in patterns for words in OTHER_WORDS), case.name


def test_the_same_seed_makes_the_same_images():
    first, second = (
        [case.must.image.tobytes() for case in cases if isinstance(case.must, Good)]
        for cases in (all_cases(), all_cases(batches.__wrapped__))
    )
    assert len(first) > 200 and first == second


def test_a_sample_of_the_corpus_ends_as_it_must(tmp_path):
    verdicts = run_all(tmp_path, sample(), at_once=1)
    wrong = [f"{verdict.category}, {verdict.name}: {verdict.wrong}" for verdict in verdicts if verdict.wrong]
    assert len(verdicts) > 150 and not wrong, "\n".join(wrong)
