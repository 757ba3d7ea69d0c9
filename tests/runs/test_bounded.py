import contextvars
import gc
import os
import subprocess
import sys
import threading
import time

import pytest

from rra_monitor.runs.bounded import Bounded
from tests.helpers import ROOT


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "a sink"]


def test_calls_have_one_thread_and_what_they_raise_comes_back():
    bounded, seen = Bounded("a sink"), []
    for _ in range(3):
        assert bounded.call(lambda: seen.append(threading.current_thread()), 60)
    assert len(set(seen)) == 1
    assert seen[0] is not threading.current_thread()
    with pytest.raises(ZeroDivisionError):
        bounded.call(lambda: 1 / 0, 60)


def test_a_call_that_hangs_is_left_after_its_time_until_it_returns():
    bounded, release = Bounded("a sink"), threading.Event()
    started = time.monotonic()
    assert not bounded.call(release.wait, 0.05)
    assert time.monotonic() - started < 5
    assert bounded.hangs
    release.set()
    deadline = time.monotonic() + 10
    while bounded.hangs and time.monotonic() < deadline:
        time.sleep(0.001)
    assert bounded.call(lambda: None, 60)


def test_a_call_right_after_the_end_has_a_thread_again():
    bounded = Bounded("a sink")
    for _ in range(200):
        assert bounded.call(lambda: None, 5)
        bounded.close()


def test_threads_end_with_their_owner_or_its_end():
    closed, dropped = Bounded("a sink"), Bounded("a sink")
    for bounded in (closed, dropped):
        bounded.call(lambda: None, 60)
    before = threads()
    closed.close()
    del dropped, bounded
    gc.collect()
    for thread in before:
        thread.join(10)
    assert threads() == []


def test_a_call_has_the_context_of_its_caller():
    variable, seen = contextvars.ContextVar("variable"), []
    variable.set(5)
    Bounded("a sink").call(lambda: seen.append(variable.get()), 60)
    assert seen == [5]


def test_a_process_that_was_forked_has_a_thread_of_its_own():
    bounded = Bounded("a sink")
    bounded.call(lambda: None, 60)
    child = os.fork()
    if child == 0:
        os._exit(0 if bounded.call(lambda: None, 5) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_process_ends_while_a_call_hangs():
    code = (
        "import time; from rra_monitor.runs.bounded import Bounded\n"
        "bounded = Bounded('a sink'); print(bounded.call(lambda: time.sleep(600), 0.01))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr
