"""A pytest plugin for llama.cpp's server tests: a server has started when it is ready.

llama-server's /health answers 503 while its model loads. Here /health says that the daemon is alive, and /ready that it can answer.
"""

import sys

from daemon import wait_until_ready


def pytest_collection_finish(session):
    utils = sys.modules["utils"]
    start = utils.ServerProcess.start

    def start_and_wait(server, *arguments, **keywords):
        start(server, *arguments, **keywords)
        wait_until_ready(server.make_url(""), server.api_key)

    utils.ServerProcess.start = start_and_wait
    # The presets are started once beforehand to fetch their models; here there is nothing to fetch.
    utils.ServerPreset.load_all = staticmethod(lambda: None)
