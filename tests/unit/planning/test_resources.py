"""What jobs ask for: threads, memory, run time."""

import pytest

from fieldwork.planning import resources


@pytest.mark.parametrize("cores", [1, 2, 7, 16, 96])
def test_one_unit_gets_all_cores_and_many_units_get_one_each(cores):
    assert resources.threads_per_unit(1, fields=240, cores=cores) == cores
    assert resources.threads_per_unit(1, fields=1, cores=cores) == cores
    assert resources.threads_per_unit(0, fields=0, cores=cores) == 1
    assert resources.threads_per_unit(13_200, fields=13_200, cores=cores) == 1


@pytest.mark.parametrize(
    ("units", "fields", "cores", "threads"),
    [
        (55, 55 * 240, 2, 1),  # 28 rounds x 7 s; with 2 threads 55 x 4 s
        (2, 2 * 240, 2, 1),  # 7 s; 2 x 4 s
        (3, 3 * 240, 2, 2),  # 2 x 7 s; 3 x 4 s
        (4, 4 * 240, 16, 4),  # 2.5 s; with 8 threads 2 x 1.75 s, with 2 4 s
        (24, 24 * 240, 16, 2),  # 3 rounds x 4 s; with 1 thread 2 x 7 s, with 3 5 x 3 s
    ],
)
def test_cores_are_shared_so_that_the_run_ends_soonest(units, fields, cores, threads):
    assert resources.threads_per_unit(units, fields=fields, cores=cores) == threads


def test_threads_are_never_none_and_never_more_than_there_are_cores():
    for cores in range(1, 20):
        for units in (0, 1, 2, 3, 5, 8, 60, 500):
            for fields in (0, units, 10 * units, 1000):
                assert 1 <= resources.threads_per_unit(units, fields=fields, cores=cores) <= cores


@pytest.mark.parametrize(
    ("seconds", "threads"),
    [(0, 1), (0.3, 1), (5, 1), (6, 2), (40, 8), (1e6, 8)],
)
def test_a_cluster_is_asked_for_as_many_threads_as_there_is_work_for(seconds, threads):
    assert resources.threads_on_cluster(seconds) == threads


def test_time_limits_follow_the_work_and_are_never_short():
    assert resources.time_limit_min(0, threads=1) == 5
    assert resources.time_limit_min(60, threads=1) == 15
    assert resources.time_limit_min(60, threads=4) == 8  # 2.5 minutes, rounded up


def test_memory_grows_with_workers_and_with_what_is_held():
    assert resources.memory_mb(1) == 1050
    assert resources.memory_mb(4, worker=200, held=1000) == 2500
