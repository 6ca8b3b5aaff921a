"""Going through a checklist with answers on a real disk and commands that really run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from corral.operations.checklist.machines import LocalShell
from corral.operations.checklist.report import Standing, answer_checklist, draw_chart, write_markdown
from corral.operations.checklist.running import Kept, UnknownItemError, settle, status_of
from corral.operations.checklist.state import (
    BusyChecklistError,
    DamagedChecklistError,
    OtherUpgradeError,
    Progress,
    UnreachableAnswersError,
    begin,
    load_progress,
    lock_state,
    name_state_file,
)
from corral.operations.checklist.values import Agreed, Evidence, Status, UnlookedError
from corral.planning.checklist import Command, FromFile, Question
from corral.planning.checklist.probes import QueueEmpty
from doubles.checklists import AT, Log, ScriptedPerson, a_checklist, an_item, run_checklist

DONE = Evidence(status=Status.DONE, what="a person says so")


def test_answers_are_on_the_disk_with_time_and_evidence(tmp_path: Path) -> None:
    checklist = a_checklist(an_item("proof", FromFile(evidence="750 W of 1000 W")), an_item("ask", Question(text="?")))

    run_checklist(checklist, tmp_path, ScriptedPerson({"ask": DONE}))

    kept = json.loads((tmp_path / "checklists" / "test.json").read_text())
    assert kept["version"] == 1
    assert kept["answers"]["proof"]["evidence"] == "750 W of 1000 W"
    assert kept["answers"]["ask"] | {"fingerprint": ""} == {
        "status": "done",
        "at": AT.isoformat(),
        "evidence": "a person says so",
        "fingerprint": "",
    }


def test_what_is_settled_is_not_asked_again(tmp_path: Path) -> None:
    checklist = a_checklist(an_item("one", Question(text="?")), an_item("two", Question(text="?")))
    run_checklist(checklist, tmp_path, ScriptedPerson({"one": DONE}))
    person = ScriptedPerson({"two": DONE})

    progress = run_checklist(checklist, tmp_path, person)

    assert person.asked == [("two", None)]
    assert [status_of(progress, item) for item in checklist.items] == [Status.DONE, Status.DONE]


def test_an_item_that_is_named_is_asked_although_it_is_settled(tmp_path: Path) -> None:
    checklist = a_checklist(an_item("one", Question(text="?")))
    run_checklist(checklist, tmp_path, ScriptedPerson({"one": DONE}))
    person = ScriptedPerson()

    run_checklist(checklist, tmp_path, person, only=("one",))

    assert person.asked == [("one", Status.DONE)]


@pytest.mark.parametrize(("line", "status"), [("echo fine", Status.DONE), ("echo bad >&2; exit 3", Status.FAILED)])
def test_a_command_leaves_its_exit_code_and_its_last_words(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], line: str, status: Status
) -> None:
    item = an_item("do", Command(line=line))

    progress = run_checklist(a_checklist(item), tmp_path, ScriptedPerson({"do": Agreed.RUN}))

    answer = progress.of(item)
    assert answer is not None
    assert (answer.status, answer.evidence) == (
        status,
        "exit code 0: fine" if status is Status.DONE else "exit code 3: bad",
    )
    assert capfd.readouterr().err.strip() == ("fine" if status is Status.DONE else "bad")


def test_a_command_that_nobody_agreed_to_does_not_run(tmp_path: Path) -> None:
    item = an_item("do", Command(line=f"touch {tmp_path}/ran"))

    progress = run_checklist(a_checklist(item), tmp_path, ScriptedPerson())

    assert status_of(progress, item) is Status.OPEN
    assert not (tmp_path / "ran").exists()


def test_a_command_waits_for_what_stands_before_it_but_not_for_what_nobody_can_see(tmp_path: Path) -> None:
    blind = an_item("blind", QueueEmpty(queue="q"))
    checklist = a_checklist(blind, an_item("ask", Question(text="?")), an_item("do", Command(line="true")))
    log = Log()

    first = run_checklist(checklist, tmp_path, ScriptedPerson({"do": Agreed.RUN}), log=log)
    second = run_checklist(checklist, tmp_path, ScriptedPerson({"do": Agreed.RUN, "ask": DONE}))

    assert log.held == [("do", "ask")]
    assert status_of(first, checklist.items[2]) is Status.OPEN
    assert status_of(second, blind) is Status.UNKNOWN
    assert status_of(second, checklist.items[2]) is Status.DONE


KILLED = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from doubles.checklists import ScriptedPerson, a_checklist, an_item, run_checklist
from corral.operations.checklist.values import Agreed
from corral.planning.checklist import Command
item = an_item("do", Command(line="echo up; sleep 600"))
run_checklist(a_checklist(item), Path(sys.argv[1]), ScriptedPerson({"do": Agreed.RUN}))
"""


def test_a_command_whose_runner_was_killed_is_asked_about_again(tmp_path: Path) -> None:
    item = an_item("do", Command(line="echo up; sleep 600"))
    runner = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert runner.stderr is not None
    assert runner.stderr.readline() == "up\n"

    os.killpg(runner.pid, signal.SIGKILL)
    runner.communicate()
    person = ScriptedPerson()
    progress = run_checklist(a_checklist(item), tmp_path, person)

    assert person.asked == [("do", Status.INTERRUPTED)]
    assert status_of(progress, item) is Status.INTERRUPTED


def test_a_changed_upgrade_is_noticed_and_unchanged_items_can_be_kept(tmp_path: Path) -> None:
    before = a_checklist(an_item("same", Question(text="?")), an_item("other", Question(text="250 W?")))
    after = a_checklist(an_item("same", Question(text="?")), an_item("other", Question(text="300 W?")))
    run_checklist(before, tmp_path, ScriptedPerson({"same": DONE, "other": DONE}))
    path = name_state_file(tmp_path, after)

    with pytest.raises(OtherUpgradeError, match="2 answers, 1 of items that are the same"):
        begin(path, after, now=AT, restarting=False, carrying=False)
    carried = begin(path, after, now=AT, restarting=False, carrying=True)

    assert [status_of(carried, item) for item in after.items] == [Status.DONE, Status.OPEN]


def test_a_new_beginning_keeps_the_old_answers_under_another_name(tmp_path: Path) -> None:
    checklist = a_checklist(an_item("one", Question(text="?")))
    run_checklist(checklist, tmp_path, ScriptedPerson({"one": DONE}))
    path = name_state_file(tmp_path, checklist)

    fresh = begin(path, checklist, now=AT, restarting=True, carrying=False)

    assert fresh.answers == {}
    assert [file.name for file in path.parent.iterdir()] == ["test.20260102T030405.json"]


@pytest.mark.parametrize("text", ["", "[]", '{"version": 99}', '{"version": 1, "digest": "x"}', "\x00"])
def test_a_damaged_file_is_told_and_not_overwritten(tmp_path: Path, text: str) -> None:
    path = tmp_path / "test.json"
    path.write_text(text)

    with pytest.raises(DamagedChecklistError) as caught:
        load_progress(path)

    assert caught.value.where == str(path)
    assert path.read_text() == text


def test_a_data_directory_that_is_a_file_is_told_as_that_and_nothing_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    path = tmp_path / "data" / "checklists" / "x.json"

    for attempt in (lambda: load_progress(path), lambda: lock_state(path).__enter__()):
        with pytest.raises(UnreachableAnswersError) as caught:
            attempt()
        assert "Not a directory" in caught.value.what
        assert "--data-dir" in str(caught.value.hint)


def test_two_runs_of_one_checklist_do_not_meet(tmp_path: Path) -> None:
    with lock_state(tmp_path / "test.json"), pytest.raises(BusyChecklistError), lock_state(tmp_path / "test.json"):
        pass
    with lock_state(tmp_path / "test.json"):
        pass


def test_items_that_are_not_there_are_all_told_with_the_nearest_name(tmp_path: Path) -> None:
    checklist = a_checklist(an_item("hardware.box.cards", Question(text="?")))
    kept = Kept(progress=Progress(digest="", started_at=AT), path=tmp_path / "test.json")

    with pytest.raises(UnknownItemError) as caught:
        settle(kept, checklist, [("hardware.box.card", Status.DONE), ("x", Status.DONE)], reason="", now=AT)

    assert [problem.hint for problem in caught.value.problems] == [
        "did you mean `hardware.box.cards`?",
        "use an id of this checklist; `--json` lists them",
    ]


def test_the_report_has_every_item_with_its_evidence(tmp_path: Path) -> None:
    checklist = a_checklist(an_item("one", FromFile(evidence="proof")), an_item("two", Question(text="is it in?")))
    standing = Standing(checklist=checklist, progress=run_checklist(checklist, tmp_path, ScriptedPerson()))

    answer = answer_checklist(standing)

    assert standing.summary == "1 of 2 settled; 1 open"
    assert "- [x] **one** (automatic, done): proof" in write_markdown(standing)
    assert "- [ ] **two** (by hand, open): is it in?" in write_markdown(standing)
    assert (answer.left, answer.counts) == (("two",), {"open": 1, "done": 1})
    assert [item.status for item in answer.items] == ["done", "open"]
    assert draw_chart(standing).startswith("<svg")


def test_a_program_that_is_not_there_or_does_not_answer_is_unlooked() -> None:
    shell = LocalShell()

    with pytest.raises(UnlookedError, match="cannot be run"):
        shell.run(("corral-no-such-program",), deadline_s=5)
    with pytest.raises(UnlookedError, match="gave no answer"):
        shell.run(("sleep", "600"), deadline_s=0.01)
