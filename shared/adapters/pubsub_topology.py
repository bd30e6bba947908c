"""Topics and subscriptions of the wiring table, and their creation in the Pub/Sub emulator.

In Google Cloud they are Terraform's; what is declared here is what a test compares with it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from google.api_core import exceptions as api
from google.api_core.retry import Retry
from google.protobuf.duration_pb2 import Duration
from google.pubsub_v1 import (
    DeadLetterPolicy,
    ExpirationPolicy,
    PublisherClient,
    PushConfig,
    RetryPolicy,
    SubscriberClient,
)
from google.pubsub_v1 import Subscription as PubSubSubscription

from shared.adapters import wiring
from shared.adapters.google_cloud import line
from shared.adapters.pubsub import check_project
from shared.adapters.wiring import Subscription
from shared.errors import SettingsError, StoreUnavailable

TIMEOUT_S = 10.0
_RETRY = Retry(initial=0.1, maximum=1.0, timeout=TIMEOUT_S)


@dataclass(frozen=True, slots=True)
class Topology:
    """Names of topics, and their subscriptions; none of them ever expires."""

    topics: tuple[str, ...]
    subscriptions: tuple[Subscription, ...]


def declared() -> Topology:
    """Return what the wiring table asks for: a subscription per function, and "results" for whoever listens."""
    topics = wiring.subscriptions()
    return Topology(tuple(sorted(topics)), tuple(s for name in sorted(topics) for s in topics[name]))


def create(project: str, endpoints: Mapping[str, str] | None = None, *, topology: Topology | None = None) -> None:
    """Create what is missing of *topology* (by default the declared one) in *project* of the emulator.

    *endpoints* maps names of subscriptions to the URLs they push to; the others are pulled from. One that exists
    already is pointed to its endpoint and otherwise left as it is.

    Raises:
        SettingsError: `PUBSUB_EMULATOR_HOST` is not set, or a name is none Pub/Sub accepts.
        StoreUnavailable: the emulator does not answer.
    """
    check_project(project)
    if not os.environ.get("PUBSUB_EMULATOR_HOST"):
        raise SettingsError("PUBSUB_EMULATOR_HOST is not set: topics of Google Cloud itself are created by infra/")
    wanted = topology or declared()
    with PublisherClient() as publisher, SubscriberClient() as subscriber:
        try:
            for topic in wanted.topics:
                _create_topic(publisher, f"projects/{project}/topics/{topic}")
            for subscription in wanted.subscriptions:
                endpoint = (endpoints or {}).get(subscription.name)
                _create_subscription(subscriber, as_pubsub(subscription, project, endpoint))
        except (api.InvalidArgument, api.NotFound) as error:
            raise SettingsError(f"Pub/Sub refuses the topology: {line(error.message)}") from None
        except api.GoogleAPIError as error:
            raise StoreUnavailable(f"the Pub/Sub emulator did not create the topology: {line(error)}") from None


def as_pubsub(subscription: Subscription, project: str, endpoint: str | None = None) -> PubSubSubscription:
    """Return a subscription with every field in Pub/Sub's own form.

    Without a longest back-off there is no retry policy: Pub/Sub then delivers again at once.
    """
    made = PubSubSubscription(
        name=f"projects/{project}/subscriptions/{subscription.name}",
        topic=f"projects/{project}/topics/{subscription.topic}",
        ack_deadline_seconds=round(subscription.ack_deadline_s),
        expiration_policy=ExpirationPolicy(),  # without a time to live: never
    )
    if subscription.max_backoff_s > 0:
        made.retry_policy = RetryPolicy(
            minimum_backoff=_duration(subscription.min_backoff_s), maximum_backoff=_duration(subscription.max_backoff_s)
        )
    if subscription.dead_letter_topic is not None:
        made.dead_letter_policy = DeadLetterPolicy(
            dead_letter_topic=f"projects/{project}/topics/{subscription.dead_letter_topic}",
            max_delivery_attempts=subscription.max_deliveries,
        )
    if endpoint is not None:
        made.push_config = PushConfig(push_endpoint=endpoint)
    return made


def _create_topic(publisher: PublisherClient, name: str) -> None:
    try:
        publisher.create_topic(name=name, retry=_RETRY, timeout=TIMEOUT_S)
    except api.AlreadyExists:
        return


def _create_subscription(subscriber: SubscriberClient, subscription: PubSubSubscription) -> None:
    try:
        subscriber.create_subscription(subscription, retry=_RETRY, timeout=TIMEOUT_S)
    except api.AlreadyExists:
        subscriber.modify_push_config(
            subscription=subscription.name, push_config=subscription.push_config, retry=_RETRY, timeout=TIMEOUT_S
        )


def _duration(seconds: float) -> Duration:
    whole = int(seconds)
    return Duration(seconds=whole, nanos=round((seconds - whole) * 1e9))
