"""Run every event in a process of its own: a fork of the worker, made once it has loaded the code.

What a handler changes in memory ends with its event, and what the code imported is there for all of them. The
worker itself runs no handler: it takes an event, forks, and passes on what the child answers once the child is
killed and all that it started is gone. So no event meets what another left running, and none can answer for another.
Only then it forks for the next event, ahead of it: that child waits, and is let go of when no event comes soon.

Python 3.8 is the oldest that it runs in.
"""

from __future__ import annotations

import gc
import os
import resource
import select
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NoReturn

EXITED = 6
BEFORE, AFTER = "Runtime.BeforeSnapshotError", "Runtime.AfterRestoreError"
"""As Lambda's Python runtime names what a hook raised."""
NO_FORK = "Runtime.ForkError"
MAX_HEADER = 64 * 1024
CHUNK = 1 << 20
LOOK = 100
"""Milliseconds until it is seen that a child is gone whose pipe is held by a process that it left."""
SOON = 1000
"""Milliseconds that a child waits for an event: it copies pages, and an idle worker shall be small."""
HANDED = 256 * 1024
"""Bytes of an event up to which handing it over costs less than a fork that has it in its memory."""
PR_SET_CHILD_SUBREAPER = 36


class Child:
    """The process of one event."""

    __slots__ = ("answers", "events", "pid")

    def __init__(self, pid: int, answers: int, events: int = -1) -> None:
        """*answers* is the pipe that it answers by, *events* the one by which it is handed its event, where it is."""
        self.pid, self.answers, self.events = pid, answers, events

    def close(self) -> None:
        for end in (self.answers, self.events):
            if end >= 0:
                os.close(end)


class Forking:
    """A worker's loop; *worker* is its module."""

    def __init__(self, worker: Any) -> None:
        """Take the snapshot: run the hooks that come before it. Raises the worker's Fault."""
        self._worker = worker
        hooks = self._hooks("get_before_snapshot")
        while hooks:
            # As on Lambda: the last that was registered comes first.
            self._call(hooks.pop(), "before-snapshot", BEFORE)
        self._alone()
        # Ended children wait to be asked for, and one that ended unasked ends nobody else.
        self._signals: dict[int, Any] = {}
        """What the code does with them, where that is something else."""
        for number, mine in ((signal.SIGCHLD, signal.SIG_DFL), (signal.SIGPIPE, signal.SIG_IGN)):
            theirs = signal.signal(number, mine)
            if theirs not in (mine, None):
                self._signals[number] = theirs
        adopt()
        self._ahead: Child | None = None
        """Who waits for an event; while one runs there is nobody."""
        self._dying: set[int] = set()
        """Children that were killed and are not reaped yet."""
        try:
            self._own = children()
            """What the code started while it was loaded: part of the snapshot."""
        except OSError:
            self._own = set()
        gc.collect()
        # What is there already is not looked through again: a look alone would copy its pages.
        gc.freeze()

    def serve(self, handler: Any) -> NoReturn:
        while True:
            text, body = self._take()
            clean, small = self._see_through(handler, text, body), _small(text, body)
            del text, body
            # Events are of a size, mostly.
            if clean and small:
                self._fork_ahead(handler)
            self._reap()

    def _take(self) -> tuple[bytes, bytes]:
        """Wait for an event; return its header's text and its bytes."""
        if self._ahead is not None and not self._worker.unread:
            poll = select.poll()
            poll.register(self._worker.SOCKET, select.POLLIN)
            if not poll.poll(SOON):
                self._let_go()
                self._wait()
        event: tuple[bytes, bytes] = self._worker.frame()
        return event

    def _see_through(self, handler: Any, text: bytes, body: bytes) -> bool:
        """Have an event answered; return whether it is seen that nothing of it is left."""
        self._wait()
        try:
            child = self._hand_over(text, body) or self._fork(handler, text, body)
        except OSError as error:
            self._refuse(error, text)
            return False
        # What a look needs is found, and its pages copied, while the child is busy.
        self._left_nothing(child.pid)
        said = self._listen(child.pid, child.answers)
        os.close(child.answers)
        if not said:
            return self._tell_of(child.pid, text)
        clean = self._end(child.pid)
        self._worker.write(said)
        return clean

    def _wait(self) -> None:
        """Wait until those that were killed have let go of what they held: ports and locks, which the next may want."""
        while self._dying:
            try:  # noqa: SIM105 - contextlib is not imported here
                os.waitpid(self._dying.pop(), 0)
            except ChildProcessError:
                pass  # the code has asked for it

    def _end(self, child: int) -> bool:
        """Kill a child; return whether it is seen that nothing of it is left."""
        os.kill(child, signal.SIGKILL)
        if self._left_nothing(child):
            # It runs no more, and the kernel may take its time with what it held.
            self._dying.add(child)
            return True
        os.waitpid(child, 0)
        return self._sweep()

    def _tell_of(self, child: int, text: bytes) -> bool:
        """Tell how a child ended that gave no answer; return whether nothing of it is left."""
        _, status, used = os.wait4(child, 0)
        clean = self._sweep()
        ended = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        told = {"id": self._worker.header_of(text)["id"], "status": str(ended), "memory": str(used.ru_maxrss * 1024)}
        self._worker.send(EXITED, told)
        return clean

    def _refuse(self, error: OSError, text: bytes) -> None:
        identifier = self._worker.header_of(text)["id"]
        told, payload = self._worker.describe(self._fault(NO_FORK, f"no process for it: {error}"), identifier)
        self._worker.send(self._worker.ERROR, {"id": identifier, **told}, payload)

    def _fork(self, handler: Any, text: bytes, body: bytes) -> Child:
        """Fork for an event that is there. Raises OSError."""
        answers, writing = os.pipe()
        try:
            child = os.fork()
        except OSError:
            os.close(answers)
            raise
        else:
            if not child:
                os.close(answers)
                self._run(handler, (text, body), writing)
        finally:
            os.close(writing)
        return Child(child, answers)

    def _fork_ahead(self, handler: Any) -> None:
        """Fork for the next event. Where that fails it is tried again for the event itself, which has the error."""
        ends: list[int] = []
        try:
            ends += os.pipe()
            ends += os.pipe()
            child = os.fork()
        except OSError:
            for end in ends:
                os.close(end)
            return
        answers, writing, reading, events = ends
        if not child:
            os.close(answers)
            os.close(events)
            # In the place of the hub's socket, which whoever waits for an event does not have.
            os.dup2(reading, self._worker.SOCKET, inheritable=False)
            os.close(reading)
            self._worker.unread = b""
            self._run(handler, None, writing)
        os.close(writing)
        os.close(reading)
        self._ahead = Child(child, answers, events)

    def _hand_over(self, text: bytes, body: bytes) -> Child | None:
        """Give an event to who waits for it; None where nobody does, or it would take longer than a fork."""
        child = self._ahead
        if child is None:
            return None
        if _small(text, body):
            head = self._worker.HEAD.pack(b"TH", self._worker.INVOKE, 0, len(text), len(body))
            try:
                self._worker.write(head + text + body, child.events)
            except OSError:
                pass  # it is gone
            else:
                self._ahead = None
                os.close(child.events)
                return child
        self._let_go()
        return None

    def _let_go(self) -> None:
        """End who waits for an event."""
        child, self._ahead = self._ahead, None
        if child is not None:
            child.close()
            self._end(child.pid)

    def _left_nothing(self, child: int) -> bool:
        """Whether a killed child has left nothing behind; False, too, where the kernel does not tell."""
        try:
            # The child's first: what it leaves when it ends meanwhile is this process's by the second look.
            # What a thread of its leaves is another's first, maybe of one that was looked at already.
            threads = os.listdir(f"/proc/{child}/task")
            return len(threads) == 1 and not children(child) and children() <= self._own | self._dying | {child}
        except OSError:
            return False

    def _listen(self, child: int, reading: int) -> bytes:
        """Return the frame that answers; empty where the child ended, or fell silent, without one."""
        said, gone = bytearray(), False
        poll = select.poll()
        poll.register(reading, select.POLLIN)
        while True:
            if poll.poll(0 if gone else LOOK):
                data = os.read(reading, CHUNK)
                if not data:
                    return b""
                said += data
                if whole := self._whole(said):
                    return bytes(said[:whole])
            elif gone:
                return b""
            else:
                gone = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _whole(self, said: bytearray) -> int:
        """Return the length of a frame that is all there, or of what is none: the hub ends the worker by that."""
        head = self._worker.HEAD
        if len(said) < head.size:
            return 0
        magic, _, _, header, payload = head.unpack_from(said)
        if magic != b"TH" or header > MAX_HEADER or payload > self._worker.MAX_RESPONSE:
            return len(said)
        length = head.size + header + payload
        return length if len(said) >= length else 0

    def _sweep(self) -> bool:
        """End what a child left running: it was reparented to this process. Return whether that is seen."""
        while True:
            self._reap()
            try:
                left = children() - self._own - self._dying
            except OSError:
                return False  # the kernel does not tell: what is left is ended with the worker
            if not left:
                return True
            for one in left:
                try:
                    os.kill(one, signal.SIGKILL)
                    os.waitpid(one, 0)
                except OSError:
                    pass

    def _reap(self) -> None:
        while True:
            try:
                ended = os.waitpid(-1, os.WNOHANG)[0]
            except ChildProcessError:
                self._dying.clear()
                return
            if not ended:
                return
            self._dying.discard(ended)
            if self._ahead is not None and ended == self._ahead.pid:
                self._ahead.close()
                self._ahead = None

    def _run(self, handler: Any, event: tuple[bytes, bytes] | None, writing: int) -> NoReturn:
        """Be the child: answer one event, this or what is handed over, into the pipe in place of the hub's socket."""
        worker, status = self._worker, 1
        try:
            worker.OWNER = os.getpid()
            for number, theirs in self._signals.items():
                signal.signal(number, theirs)
            text, body = event or worker.frame()
            os.dup2(writing, worker.SOCKET, inheritable=False)
            os.close(writing)
            header = worker.header_of(text)
            worker.begin(header)
            kind, told, payload = self._answer(handler, header, body)
            worker.send(kind, {**told, "memory": str(peak())}, payload)
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
            if not isinstance(end.code, (int, type(None))):
                sys.stderr.write(f"{end.code}\n")
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            worker.flush(sys.stdout)
            worker.flush(sys.stderr)
            os._exit(status & 0xFF)

    def _answer(self, handler: Any, header: Mapping[str, str], body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        worker = self._worker
        try:
            for hook in self._hooks("get_after_restore"):
                self._call(hook, "after-restore", AFTER)
        except worker.Fault as fault:
            told, payload = worker.describe(fault, header["id"])
            return worker.ERROR, {"id": header["id"], **told}, payload
        answer: tuple[int, Mapping[str, str], bytes] = worker.answer(handler, header, body)
        return answer

    def _hooks(self, which: str) -> list[Any]:
        """Return what the code registered with Lambda's module, or the one that is offered in its place."""
        module = sys.modules.get("snapshot_restore_py")
        hooks: list[Any] = getattr(module, which, list)()
        return hooks

    def _call(self, hook: Any, kind: str, error_type: str) -> None:
        function, args, kwargs = hook
        try:
            function(*args, **kwargs)
        except BaseException as error:
            name = getattr(function, "__qualname__", None) or repr(function)
            message = f"the {kind} hook {name} failed: {type(error).__name__}: {error}"
            raise self._fault(error_type, message, self._worker.stack(error)) from None

    def _alone(self) -> None:
        """Refuse a snapshot with threads: a fork has none of them, and keeps for ever the locks that they hold."""
        threading = sys.modules.get("threading")
        if threading is None:
            return
        others = [one.name for one in threading.enumerate() if one is not threading.main_thread()]
        if others:
            raise self._fault(
                NO_FORK,
                f"the code started threads while it was loaded ({', '.join(others)}), which no fork has: start them in "
                'the handler or in an after-restore hook, end them in a before-snapshot hook, or set reuse = "warm"',
            )

    def _fault(self, error_type: str, message: str, trace: list[str] | None = None) -> Exception:
        fault: Exception = self._worker.Fault(error_type, message, trace or [])
        return fault


def _small(text: bytes, body: bytes) -> bool:
    return len(text) + len(body) <= HANDED


def adopt() -> None:
    """Become the parent of what a child leaves running, in the place of process 1."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        pass  # an interpreter without ctypes: what is left by a child's child is ended with the worker


def children(of: int | str = "self") -> set[int]:
    """Return the children of a process, of whichever thread. Raises OSError where the kernel does not tell."""
    found: set[int] = set()
    for thread in os.listdir(f"/proc/{of}/task"):
        try:
            with open(f"/proc/{of}/task/{thread}/children", "rb") as file:
                found.update(map(int, file.read().split()))
        except OSError:
            if os.path.exists(f"/proc/{of}/task/{thread}"):
                raise
    return found


def peak() -> int:
    """Return the most bytes that this process held, and the largest of those that it started and waited for."""
    used = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used) * 1024
