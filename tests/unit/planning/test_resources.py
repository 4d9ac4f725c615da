"""What jobs ask for: threads, memory, run time."""

import re

import pytest

from fieldwork import InputError
from fieldwork.planning import resources
from fieldwork.surroundings import memory, processors
from workspace import REPOSITORY


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


def test_every_rule_that_is_submitted_asks_for_memory_and_time():
    rules = {}
    for path in REPOSITORY.glob("rules/*.smk"):
        for text in re.split(r"(?m)^(?=\S)", path.read_text(encoding="utf-8")):
            if text.startswith("rule "):
                rules[text.split(":")[0]] = text
    submitted = {name: text for name, text in rules.items() if "    localrule: True" not in text}
    assert {"rule detect_nuclei", "rule plot_plate", "rule benchmark_gpu"} < submitted.keys() < rules.keys()
    for name, text in submitted.items():
        [asked] = re.findall(r"    resources:\n((?:        .*\n)+)", text)
        assert {"mem_mb", "runtime"} <= {*re.findall(r"(?m)^        (\w+)=", asked)}, name


def test_rules_without_workers_get_more_with_each_attempt():
    for limit in (resources.small_time_limit_min, resources.benchmark_time_limit_min, resources.small_memory_mb):
        assert limit(None, 3) == 3 * limit(None, 1) > 0


@pytest.mark.parametrize(
    ("default", "of_rules", "option"),
    [
        (["mem_mb", "mem_mb_per_cpu"], {}, "--default-resources mem_mb_per_cpu"),
        ([], {"detect_nuclei": ["mem_mb_per_cpu"]}, "--set-resources detect_nuclei:mem_mb_per_cpu"),
    ],
)
def test_memory_by_threads_is_refused(default, of_rules, option):
    with pytest.raises(InputError, match=f"^{option}: .*leave it out"):
        resources.refuse_memory_per_cpu(default, of_rules)


def test_other_resources_are_not_refused():
    resources.refuse_memory_per_cpu(["mem_mb", "runtime"], {"detect_nuclei": ["mem_mb"]})


def test_a_run_has_no_more_cores_than_it_can_use_and_one_line_says_why(monkeypatch, capsys):
    monkeypatch.setattr(processors, "usable", lambda: processors.Usable(2, "quota of a control group: 2 processors"))
    assert resources.usable_cores(2) == 2 and resources.usable_cores(1) == 1 and not capsys.readouterr().err
    assert resources.usable_cores(64) == 2
    assert capsys.readouterr().err == "WARNING of --cores 64 the run uses 2 (quota of a control group: 2 processors)\n"


def test_jobs_have_as_many_threads_as_there_is_memory_for(monkeypatch, capsys):
    monkeypatch.setattr(memory, "left", lambda: memory.Left(3000 * 10**6, "within the limit of a control group"))

    def memory_of(wildcards, threads, attempt):
        return attempt * resources.memory_mb(threads)

    for given_mb, count, why in (
        (None, 6, "3,000 MB of memory are left within the limit of a control group"),
        (9000, 6, "3,000 MB of memory are left within the limit of a control group"),
        (2000, 3, "the run was given 2,000 MB of memory"),
        (100, 1, "the run was given 100 MB of memory"),
    ):
        room = resources.Room(given_mb)
        assert room.threads(lambda wildcards: 1, memory_of)(None) == 1 and not capsys.readouterr().err
        threads = room.threads(lambda wildcards: 64, memory_of)
        assert threads(None) == threads(None) == count
        assert capsys.readouterr().err == f"WARNING there is memory for {count} of the 64 workers of a job: {why}\n"
