"""``agent-storage`` for a shell, run by the fork server: ``python forked_command.py FD ARGUMENTS``.

``FD`` is the socket of :func:`support.forked.fork_server`. It imports little, to start fast.
"""

import json
import os
import socket
import sys

_NUMBER_BYTES = 16
_SIGNALLED = 128


def main() -> int:
    program = {
        "module": "app.entrypoints.cli",
        "arguments": sys.argv[2:],
        "folder": os.getcwd(),  # noqa: PTH109 - pathlib takes long to import
        "environment": dict(os.environ),
    }
    told, keeper = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with socket.socket(fileno=int(sys.argv[1])) as server, keeper:
        socket.send_fds(server, [json.dumps(program).encode()], [0, 1, 2, keeper.fileno()])
    told.recv(_NUMBER_BYTES)  # its pid
    code = int(told.recv(_NUMBER_BYTES))
    return code if code >= 0 else _SIGNALLED - code


if __name__ == "__main__":
    sys.exit(main())
