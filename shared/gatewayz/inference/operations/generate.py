"""Generation as an Operation: a client's call of any dialect, an offer of any dialect.

Owns nothing of the wire: `dialects.exchange` reads and writes, this says for whom and where.
"""

from collections.abc import Callable, Iterable, Mapping

from gatewayz.catalog.model import Model, Offer
from gatewayz.core.errors import GatewayError
from gatewayz.dialects.exchange import ClientCall, ErrorWriter, Exchange
from gatewayz.dialects.form import Style
from gatewayz.dialects.protocol import Reply
from gatewayz.dialects.web_search import take_search
from gatewayz.inference.finish import GENERATED, Shape
from gatewayz.inference.fitness import Branches, doers, keepers, place_of
from gatewayz.inference.instructions import instruct
from gatewayz.inference.kinds import GENERATION, check_kind
from gatewayz.inference.media import embed, takers, to_fetch
from gatewayz.inference.routing import ONLINE, UNROUTED, Routing, add_variants
from gatewayz.net.asgi import RawHeaders, raw_headers
from gatewayz.net.egress import Egress
from gatewayz.providers.config import Provider


class Generate:
    """One generation, as the mount it came by wants it answered (D25)."""

    def __init__(
        self,
        call: ClientCall,
        style: Style,
        routing: Routing = UNROUTED,
        *,
        reread: Callable[[], ClientCall] | None = None,
    ) -> None:
        """`reread` reads the body of `routing` again, after it was added to."""
        self._call = call
        self._reread = reread
        self.routing = routing
        self._style: Style = style
        self.model = call.model
        self.stream = call.stream
        self.strict = False
        self.shape = GENERATED
        self.prompt_tokens = call.prompt_tokens
        self.longest_tokens = call.longest_tokens
        self._branches: dict[str, Branches] = {}  # by offer, where one call cannot do it
        self.candidates = call.candidates
        self.max_output_tokens = call.max_output_tokens
        self.end_user = call.end_user
        self.session = call.session
        self.keepalive = call.keepalive
        self.stream_type = call.stream_type.encode()

    @property
    def call(self) -> ClientCall:
        """The request as its client's dialect has it."""
        return self._call

    def vary(self, variants: Iterable[str]) -> None:
        """What the suffixes of a model's name ask of the answer; InvalidRequest where the client's
        dialect has no words for it."""
        known = tuple(variants)
        searches = ONLINE in known and take_search(self._call.form)[0] is not None
        if add_variants(self.routing, known, searches=searches) and self._reread is not None:
            self._call = self._reread()
            self.prompt_tokens = max(self.prompt_tokens, self._call.prompt_tokens)

    def instruct(self, text: str) -> None:
        """The system prompt that the caller's key keeps, for a request that has none."""
        if instruct(self.routing.body, self.routing.dialect, text) and self._reread is not None:
            self._call = self._reread()
            self.prompt_tokens = max(self.prompt_tokens, self._call.prompt_tokens)
            self.longest_tokens = max(self.longest_tokens, self._call.longest_tokens)

    def able(
        self, model: Model, offers: tuple[Offer, ...], providers: Mapping[str, Provider]
    ) -> tuple[Offer, ...]:
        check_kind(model, GENERATION)
        able, branches = doers(self._call, takers(self._call, model, offers, providers), providers)
        if self.strict:
            able = keepers(self._call, model.id, able, providers, branches)
        if branches:
            self._branches |= branches
            # Until it is known who answers, the hold is for who reads the prompt most often.
            self.prompt_tokens = max(
                self.prompt_tokens, *(each.prompt_tokens for each in branches.values())
            )
        return able

    async def prepare(self, egress: Egress, offer: Offer, provider: Provider) -> None:
        """Fetch what this offer does not fetch by itself."""
        if media := to_fetch(self._call, offer, provider):
            await embed(egress, self._call, media)

    def exchange(
        self, offer: Offer, provider: Provider, request_id: str, limit_tokens: int | None
    ) -> Exchange:
        """What goes to this offer, and how its answer is read and shown."""
        dialect, target = place_of(self._call, offer, provider)
        reply = self.reply(request_id, provider.name)
        if self._branches:
            branches = self._branches.get(offer.id)
            if branches is not None:
                self.prompt_tokens = branches.prompt_tokens
                self.shape = Shape(prompts=len(branches.forms))
                return branches.exchange(self._call, dialect, target, reply, limit_tokens)
            self.prompt_tokens, self.shape = self._call.prompt_tokens, GENERATED
        return self._call.exchange(dialect, target, reply, limit_tokens)

    def render_error(
        self, error: GatewayError, request_id: str | None
    ) -> tuple[int, bytes, RawHeaders]:
        return render_error(self._call, error, self._style, request_id)

    def error_frame(self, error: GatewayError, request_id: str) -> bytes:
        """The last bytes of a stream that fails before any provider answered."""
        return self._call.error_frame(error, self.reply(request_id, ""))

    def reply(self, request_id: str, provider_name: str) -> Reply:
        """To whom an answer of this provider goes."""
        return Reply(
            request_id=request_id,
            model=self.model,
            provider=provider_name,
            style=self._style,
            include_usage=self._call.include_usage,
            n=self._call.choices,
            hides=self._call.hides,
        )


def render_error(
    call: ErrorWriter, error: GatewayError, style: Style, request_id: str | None
) -> tuple[int, bytes, RawHeaders]:
    """Status, body and headers of an error in the client's dialect."""
    status, body, headers = call.encode_error(error, style=style, request_id=request_id)
    return status, body, raw_headers(headers)
