"""Show results in the browser: plates with their fields and nuclei, slides, stacks. `make view` calls it.

The server listens only on 127.0.0.1 and changes nothing; it may work while a run writes.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import argparse
import errno
import logging
import os
import sys
import webbrowser
from pathlib import Path

from fieldwork.viewer.results import Results
from fieldwork.viewer.server import Server

FIRST_PORT, N_PORTS = 8000, 100


def main(arguments=None):
    """Serve until Ctrl-C; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", type=Path, help="the run's working directory, as Snakemake's --directory")
    parser.add_argument("--results", type=Path, help="the folder of results (default: results in the directory)")
    parser.add_argument("--port", type=int, help=f"default: {FIRST_PORT}, or the next that is free; 0: any")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s")
    folder = options.results or (options.directory or Path()) / "results"
    if not folder.is_dir():
        print(f"{folder}: no such folder. Name a run's working directory: --directory", file=sys.stderr)
        return 1
    if options.port is not None and not 0 <= options.port < 2**16:
        print(f"--port {options.port}: expected a number from 0 to {2**16 - 1}", file=sys.stderr)
        return 1
    results = Results(folder, options.directory or folder.resolve().parent)
    try:
        server = start(results, options.port)
    except OSError as error:
        port = "no port from 8000 to 8099 is free" if options.port is None else f"port {options.port}"
        print(f"{port}: {error.strerror}. Name another: --port", file=sys.stderr)
        return 1
    with server:
        print(f"{folder} is shown at {server.url} (Ctrl-C ends it)", flush=True)
        # Without a desktop, a text browser would take over the terminal.
        if not options.no_browser and (sys.platform != "linux" or {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ)):
            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0


def start(results, port):
    """Return a server on a port, or for None on the first free port from `FIRST_PORT` on."""
    if port is not None:
        return Server(results, port)
    for port in range(FIRST_PORT, FIRST_PORT + N_PORTS - 1):
        try:
            return Server(results, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    return Server(results, FIRST_PORT + N_PORTS - 1)


if __name__ == "__main__":
    sys.exit(main())
