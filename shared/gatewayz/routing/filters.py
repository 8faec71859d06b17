"""Why an offer cannot, or should not, serve a request: a reason code each. Pure.

`REASONS` is the whole vocabulary. Hard reasons exclude; soft ones exclude only while another
offer is left; health reasons exclude until the last offer of a request.
"""

from collections.abc import Mapping
from typing import NamedTuple

from gatewayz.catalog.model import Model, Offer
from gatewayz.routing.needs import Needs
from gatewayz.routing.preferences import NO_PREFERENCES, Preferences
from gatewayz.routing.view import HEALTHY, View

# Our count is an upper estimate; a text that really has a third of it exists, one with less does
# not. Between the two the provider's own refusal is exact.
CERTAIN_SHARE = 3
# Taken from every model when nobody says what it takes.
BASIC = frozenset(
    {"temperature", "top_p", "max_tokens", "stop", "frequency_penalty", "presence_penalty"}
)
REASONS: Mapping[str, str] = {
    "no_price": "its price is unknown, so it cannot be served",
    "not_configured": "its provider has no credential here",
    "hidden": "it is out of service: its provider does not serve the model, or it is being mended",
    "context_length": "the prompt does not fit",
    "output_length": "it cannot write as much as is asked for",
    "input_modality": "it does not read this kind of content",
    "output_modality": "it does not make this kind of content",
    "require_parameters": "it does not take every parameter of the request",
    "data_policy:training": "its provider may train on prompts",
    "data_policy:zdr": "its provider keeps data",
    "data_policy:confidential": "it does not run in confidential hardware",
    "region": "it is in another region",
    "quantization": "it has another precision",
    "max_price": "it is dearer than allowed",
    "not_free": "only free offers may serve this request",
    "only": "it is not among the allowed providers",
    "ignore": "the request ignores it",
    "no_fallbacks": "the request allows no fallbacks",
    "fallback_price": "as a fallback it would cost too much more",
    "breaker_open": "it failed too often just now",
    "provider_breaker_open": "its provider failed too often just now",
    "probing": "one request is trying it just now",
    "cooling_down": "its provider asked us to wait",
    "unfit": "it cannot do all that the request asks for",
    "hold": "the credit that was set aside does not cover it",
    "own_keys_only": "the account keeps such requests to provider keys of its own",
    "model_not_found": "there is no such model",
}
SOFT = frozenset({"context_length", "output_length", "input_modality", "output_modality"})
HEALTH = frozenset({"breaker_open", "provider_breaker_open", "probing"})


class Candidates(NamedTuple):
    """One model of a request and its offers. `variants`: the suffixes its name was asked with."""

    model: Model
    offers: tuple[Offer, ...]
    variants: tuple[str, ...] = ()


class Excluded(NamedTuple):
    offer: str
    provider: str
    model: str
    reason: str


def matches(name: str, offer: Offer) -> bool:
    """Does a name in a preference mean this offer: provider, provider/variant, or offer id?"""
    if name == offer.provider or name == offer.id:
        return True
    provider, _, variant = name.partition("/")
    return provider == offer.provider and variant in (offer.quantization, offer.region)


def named(names: tuple[str, ...], offer: Offer) -> bool:
    return any(matches(name, offer) for name in names)


def hard_reason(offer: Offer, model: Model, needs: Needs, wanted: Preferences) -> str | None:
    """Why this offer may not serve the request, whatever else is left."""
    price = offer.price
    if price is None:
        return "no_price"
    if wanted is NO_PREFERENCES:
        return None
    if wanted.free_only and not offer.free:
        return "not_free"
    if wanted.only is not None and not named(wanted.only, offer):
        return "only"
    if wanted.ignore and named(wanted.ignore, offer):
        return "ignore"
    if wanted.allow_fallbacks is False and wanted.order and not named(wanted.order, offer):
        return "no_fallbacks"
    return _policy_reason(offer, wanted) or _limit_reason(offer, model, needs, wanted)


def _policy_reason(offer: Offer, wanted: Preferences) -> str | None:
    # Unknown is not allowed: who forbids it cannot be told afterwards that nobody knew.
    if wanted.deny_training and offer.trains is not False and not offer.zdr:
        return "data_policy:training"
    if wanted.zdr and not offer.zdr:
        return "data_policy:zdr"
    if wanted.confidential and not offer.confidential:
        return "data_policy:confidential"
    if wanted.regions and not _in_region(offer.region, wanted.regions):
        return "region"
    return None


def _limit_reason(offer: Offer, model: Model, needs: Needs, wanted: Preferences) -> str | None:
    if wanted.quantizations and (offer.quantization or "unknown") not in wanted.quantizations:
        return "quantization"
    if wanted.max_price and offer.price is not None:
        for cls, most in wanted.max_price.items():
            # A class that the request does not use costs nothing.
            unused = cls in ("image_in", "audio_in") and cls[:5] not in needs.input_modalities
            if not unused and (offer.price.of(cls) or 0) > most:
                return "max_price"
    if wanted.require_parameters and not supports(offer, model, needs.parameters):
        return "require_parameters"
    return None


def _in_region(region: str | None, wanted: tuple[str, ...]) -> bool:
    """`eu` means eu and everything in it, as eu-west-1."""
    return region is not None and any(
        region == each or region.startswith(each + "-") for each in wanted
    )


def supports(offer: Offer, model: Model, parameters: frozenset[str]) -> bool:
    """Does it take all of them? What nobody says is taken for a model that takes the basics."""
    if not parameters:
        return True
    known = offer.supported_parameters or model.supported_parameters
    return parameters.issubset(known) if known else parameters <= BASIC


def lacks(offer: Offer, model: Model, decisive: frozenset[str]) -> bool:
    """Would a parameter be lost that decides what the answer is? Unknown counts as taken."""
    known = offer.supported_parameters or model.supported_parameters
    return bool(known) and not decisive.issubset(known)


def soft_reason(offer: Offer, model: Model, needs: Needs) -> str | None:
    """Why another offer would do better; the figures are estimates, or nobody has them."""
    prompt, context = needs.prompt_tokens, offer.context_tokens
    if context is not None and prompt > context:
        return "context_length"
    if offer.max_prompt_tokens is not None and prompt > offer.max_prompt_tokens:
        return "context_length"
    asked = needs.max_output_tokens
    if asked is not None and (
        (offer.max_output_tokens is not None and asked > offer.max_output_tokens)
        or (context is not None and prompt + asked > context)
    ):
        return "output_length"
    if needs.input_modalities and not needs.input_modalities.issubset(
        offer.input_modalities or model.input_modalities
    ):
        return "input_modality"
    if needs.output_modalities and not needs.output_modalities.issubset(
        offer.output_modalities or model.output_modalities
    ):
        return "output_modality"
    return None


def certainly_too_long(offer: Offer, needs: Needs) -> bool:
    """No text whose upper estimate this is can fit."""
    least = needs.prompt_tokens // CERTAIN_SHARE
    limits = (offer.context_tokens, offer.max_prompt_tokens)
    return any(limit is not None and least > limit for limit in limits)


def health_reason(offer: Offer, view: View) -> str | None:
    """Why its record of the last minutes speaks against it."""
    entries, now_s = view.entries, view.now_s
    mine = entries.get(offer.id, HEALTHY)
    if mine is not HEALTHY:
        if mine.hidden:
            return "hidden"
        if mine.cooling_until_s > now_s:
            return "cooling_down"
        if mine.open_until_s > now_s:
            return "breaker_open"
    provider = entries.get(offer.provider)
    if provider is not None and provider.open_until_s > now_s:
        return "provider_breaker_open"
    return None
