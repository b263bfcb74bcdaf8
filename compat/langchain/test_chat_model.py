"""langchain-tests' integration tests for ChatOpenAI, pointed at a minivaultd."""

import os

from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests


class TestMiniVault(ChatModelIntegrationTests):
    @property
    def chat_model_class(self):
        return ChatOpenAI

    @property
    def chat_model_params(self):
        return {"model": os.environ["COMPAT_MODEL"], "base_url": os.environ["COMPAT_BASE_URL"], "api_key": "none", "stream_usage": True}

    @property
    def standard_chat_model_params(self):
        # Greedy, and long enough for what the tests ask to be filled in.
        return {"temperature": 0, "max_tokens": 256, "timeout": 120, "max_retries": 0}

    @property
    def supports_json_mode(self):
        return True

    @property
    def model_override_value(self):
        return "another"
