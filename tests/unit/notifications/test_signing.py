"""Webhooks are signed as the Standard Webhooks specification says, and a secret is never shown."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from corral.notifications.signing import SecretError, make_headers, read_secrets

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_a_known_message_has_a_known_signature() -> None:
    # Source: the test of Svix, whose scheme the specification took over (svix-webhooks, python/tests/test_webhooks.py).
    secrets = read_secrets("S", {"S": SECRET})
    headers = make_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', secrets)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(value=st.text(), secret=st.binary(min_size=24, max_size=64))
def test_the_projects_own_code_verifies_what_is_signed(value: str, secret: bytes) -> None:
    text = f"whsec_{base64.b64encode(secret).decode()}"
    body = json.dumps({"value": value}, ensure_ascii=True).encode()
    headers = make_headers("msg_1", int(datetime.now(UTC).timestamp()), body, read_secrets("S", {"S": text}))
    assert Webhook(text).verify(body, headers) == {"value": value}
    with pytest.raises(WebhookVerificationError):
        Webhook(text).verify(body + b" ", headers)


@pytest.mark.parametrize(
    "text", ["", "  ", "geheim", "whsec_", "whsec_c2hvcnQ=", "whsec_***", SECRET.removeprefix("whsec_"), f"{SECRET} x"]
)
def test_a_secret_that_cannot_be_used_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(SecretError) as caught:
        read_secrets("S", {"S": text})
    assert "geheim" not in str(caught.value)
    assert "MfKQ9r8" not in str(caught.value)
    assert 'S="whsec_$(openssl rand -base64 32)"' in (caught.value.hint or "")
