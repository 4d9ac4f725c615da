"""Jobs that Slurm stops go on: those that it requeues by its own doing, the others by Snakemake's."""

import asyncio
import logging
from types import SimpleNamespace

import pytest

from fieldwork.cluster import slurm

SQUEUE, SACCT = "squeue --states=all --name run", "sacct -X --name run"
AGAIN = "Slurm stopped job 7 (preempted, or its node was lost) and starts it again"


class Plugin(SimpleNamespace):
    """A plugin whose two commands answer what a test plans; `slurm.follow_stopped_jobs` changes it."""

    def __init__(self, squeue=(), sacct=(), restarts=()):
        answers = {"squeue": iter(squeue), "sacct": iter(sacct)}
        counts = iter(restarts)

        async def query_job_status(command, logger):
            states = next(counts, {}) if "restartcnt" in command else next(answers[command.split()[0]])
            return states, (None if states is None else 0.01)

        super().__init__(query_job_status=query_job_status, query_job_status_squeue=lambda run: f"squeue --name {run}")
        for _ in range(2):  # of two modules
            slurm.follow_stopped_jobs(self, logging.getLogger("snakemake.logging"))

    def asked(self, command, times):
        """Return what the plugin is told, time after time."""
        return [asyncio.run(self.query_job_status(command, None))[0] for _ in range(times)]


def test_a_job_that_is_requeued_is_reported_as_often_and_waited_for(caplog):
    states = ["PENDING", "PENDING", "RUNNING", "RUNNING", "COMPLETED"]
    restarts = [{"7": "0", "8": "0"}, {"7": "1"}, None, {"7": "2"}, {"7": "2"}]  # also without being seen at work
    plugin = Plugin([{"7": state, "8": "RUNNING"} for state in states], restarts=restarts)
    assert plugin.asked(SQUEUE, len(states)) == [{"7": state, "8": "RUNNING"} for state in states]
    assert [record.msg for record in caplog.records] == [AGAIN] * 2


def test_a_job_that_slurm_forgets_before_anybody_hears_how_it_ended_is_not_waited_for(caplog):
    plugin = Plugin([{"7": "RUNNING", "8": "COMPLETED"}, {}, {}])
    assert plugin.asked(SQUEUE, 3) == [{"7": "RUNNING", "8": "COMPLETED"}, {"7": "CANCELLED"}, {}]
    assert [record.msg for record in caplog.records] == [
        "Slurm no longer has job 7, nor how it ended: it is taken for cancelled"
    ]


@pytest.mark.parametrize("state", ["PREEMPTED", "NODE_FAIL"])
def test_a_job_that_slurm_stops_for_good_fails_and_is_not_waited_for(caplog, state):
    plugin = Plugin([{"7": "RUNNING"}, {"7": state}, {"7": state}])
    assert plugin.asked(SQUEUE, 3) == [{"7": "RUNNING"}, {"7": "CANCELLED"}, {"7": "CANCELLED"}]
    assert [record.msg for record in caplog.records] == [f"Slurm stopped job 7 ({state}) and will not start it again"]


@pytest.mark.parametrize(
    ("queue", "told"),
    [
        ({"7": "PENDING"}, "PREEMPTED"),  # accounts are behind
        (None, "PREEMPTED"),  # the controller does not answer
        ({"7": "PREEMPTED"}, "CANCELLED"),
        ({}, "CANCELLED"),  # Slurm has forgotten it
    ],
)
def test_accounts_of_a_stopped_job_are_believed_where_the_queue_does_not_have_it(queue, told):
    plugin = Plugin(squeue=[queue], sacct=[{"7": "PREEMPTED"}])
    assert plugin.asked(SACCT, 1) == [{"7": told}]


def test_the_queue_is_asked_where_accounts_have_no_answer():
    plugin = Plugin(squeue=[{"7": "RUNNING"}, None, {"7": "PREEMPTED"}], sacct=[None, None, None])
    assert plugin.asked(SACCT, 3) == [{"7": "RUNNING"}, None, {"7": "CANCELLED"}]


def test_a_question_without_an_answer_stays_one_and_no_plugin_is_needed():
    assert Plugin([None]).asked(SQUEUE, 1) == [None]
    slurm.follow_stopped_jobs(None, logging.getLogger())


def test_the_installed_plugin_asks_by_what_is_replaced():
    import snakemake_executor_plugin_slurm as plugin

    names = plugin.Executor.check_active_jobs.__code__.co_names
    assert {"query_job_status", "query_job_status_squeue", "query_job_status_sacct"} <= set(names)
    assert (
        plugin.query_job_status_squeue("run").split()[-1] == plugin.query_job_status_sacct("run").split()[-1] == "run"
    )
