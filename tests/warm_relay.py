"""Stand for a child of the warm process: ``warm_relay.py SOCKET CALL`` has its files and its end.

It starts in a hundredth of a second, as it imports nothing heavy. When it is killed, so is the
child.
"""

import json
import os
import socket
import sys
import tempfile

path, call = sys.argv[1:]
request = {"call": call, "argv": [call], "cwd": os.getcwd(), "env": dict(os.environ)}
with socket.socket(socket.AF_UNIX) as connection, tempfile.TemporaryFile() as file:
    connection.connect(path)
    file.write(json.dumps(request).encode())
    file.flush()
    socket.send_fds(connection, [b"."], [0, 1, 2, file.fileno()])
    # Its end of the pipe is all that the child has: who reads it must see that it is closed.
    for number in (0, 1, 2):
        os.close(number)
    _, status = map(int, connection.makefile("rb"))
if status < 0:
    os.kill(os.getpid(), -status)
sys.exit(status)
