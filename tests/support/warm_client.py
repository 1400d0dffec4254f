"""What a test starts in place of Python: hands its own arguments, files and environment to the process that forks.

Usage: warm_client.py SOCKET FILES -m MODULE | -c CODE [ARGUMENT ...]. FILES are the numbers of the open files that are
handed over, such as ``0,1,2``. Only the standard library, since it must start at once.
"""

import contextlib
import json
import os
import signal
import socket
import struct
import sys


def main() -> None:
    """Ask for a process, pass signals on to it, and end as it ends."""
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(sys.argv[1])
        files = [int(one) for one in sys.argv[2].split(",")]
        request = json.dumps([files, sys.argv[3:], os.getcwd(), dict(os.environ)]).encode()
        socket.send_fds(server, [struct.pack("!Q", len(request))], files)
        server.sendall(request)
        with server.makefile() as answers:
            pid = int(answers.readline())
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGABRT, signal.SIGHUP):
                signal.signal(number, lambda number, _: os.kill(pid, number))
            status = int(answers.readline())
    if os.WIFSIGNALED(status):
        with contextlib.suppress(OSError):  # SIGKILL has no handler
            signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    sys.exit(os.waitstatus_to_exitcode(status))


main()
