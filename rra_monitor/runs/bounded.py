"""Calls that may hang, for a bounded time: each caller's in a thread of its own, one after another."""

import contextvars
import queue
import threading
import weakref
from collections.abc import Callable


class Bounded:
    """Runs calls in a daemon thread, which a call that never returns keeps, and not the caller.

    The thread is started by the first call and ends with `close`, or with this object; at the end of the process
    nobody waits for it.

    Args:
        name: name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: threading.Thread | None = None
        self._end: Callable[[], object] = lambda: None
        self._last: _Call | None = None

    @property
    def hangs(self) -> bool:
        """Whether the last call has not returned yet."""
        return self._last is not None and self._last.thread.is_alive() and not self._last.done.is_set()

    def call(self, act: Callable[[], object], seconds: float) -> bool:
        """Call a function and wait for it.

        Args:
            act: function; it runs with the context variables of the caller, not with its thread-local ones.
            seconds: longest time to wait.

        Returns:
            Whether it returned in time; if not, it goes on in its thread.

        Raises:
            BaseException: whatever the function raised in time.
        """
        if self._thread is None or not self._thread.is_alive():  # a process that was forked since has no thread
            calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
            self._thread = threading.Thread(target=_serve, args=(calls,), name=self._name, daemon=True)
            self._thread.start()
            self._calls = calls
            end = weakref.finalize(self, calls.put, None)
            end.atexit = False
            self._end = end
        self._last = call = _Call(act, self._thread)
        self._calls.put(call)
        if not call.done.wait(seconds):
            return False
        self._last = None
        if call.error is not None:
            raise call.error
        return True

    def close(self) -> None:
        """End the thread, once its calls have returned; another call starts a new one."""
        self._end()
        self._thread = None


class _Call:
    """A function to call, and what became of it."""

    def __init__(self, act: Callable[[], object], thread: threading.Thread) -> None:
        self.thread = thread
        self._act = act
        self._context = contextvars.copy_context()
        self.done = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self._context.run(self._act)
        except BaseException as error:  # SystemExit, too, would end the thread and leave the caller waiting
            self.error = error
        finally:
            self.done.set()


def _serve(calls: queue.SimpleQueue[_Call | None]) -> None:
    while (call := calls.get()) is not None:
        call.run()
        del call  # or what it holds would live until the next one
