"""The dialects by name: what answers a client, what calls a provider."""

from collections.abc import Mapping

from gatewayz.dialects.anthropic.codec import ANTHROPIC
from gatewayz.dialects.openai_chat.codec import OPENAI_CHAT
from gatewayz.dialects.protocol import Client, Upstream

CLIENTS: Mapping[str, Client] = {dialect.name: dialect for dialect in (OPENAI_CHAT, ANTHROPIC)}
UPSTREAMS: Mapping[str, Upstream] = {dialect.name: dialect for dialect in (OPENAI_CHAT, ANTHROPIC)}
