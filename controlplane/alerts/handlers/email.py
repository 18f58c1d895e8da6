"""Sends an e-mail through Django's mail: EMAIL_URL says how, the options say to whom."""

from __future__ import annotations

import hashlib
import smtplib
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from django.conf import settings as site
from django.core.exceptions import ValidationError
from django.core.mail import EmailMessage, get_connection
from django.core.validators import validate_email

from controlplane.alerts.handlers.base import Handler, Message, NotDelivered, Settings
from controlplane.alerts.notices import headline, lines
from permissions.errors import Problem

MAX_RECIPIENTS: Final = 20
TO: Final = "to"
# SMTP's own word for "do not try again": 5xx.
_PERMANENT: Final = 500


class EmailHandler(Handler):
    kind: ClassVar[str] = "email"
    tries: ClassVar[int] = 3

    def checked(self, options: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
        wrong = [Problem(f"options.{str(name)[:60]}", "is not known here; known is to") for name in options if name != TO]
        to = options.get(TO)
        if not isinstance(to, list) or not 1 <= len(to) <= MAX_RECIPIENTS:
            return {}, [*wrong, Problem("options.to", f"must be a list of 1 to {MAX_RECIPIENTS} addresses")]
        for n, address in enumerate(to):
            try:
                if not isinstance(address, str) or len(address) > 254:
                    raise ValidationError("")
                validate_email(address)
            except ValidationError:
                wrong.append(Problem(f"options.to[{n}]", "must be an e-mail address such as ops@example.org"))
        return {TO: list(to)}, wrong

    def deliver(self, message: Message, settings: Settings) -> None:
        if not getattr(site, "EMAIL_URL", ""):
            raise NotDelivered("EMAIL_URL is not set: no mail can leave", is_final=True)
        payload = dict(message.payload)
        # The name is the same for doubles, so that mailboxes keep one; threads go by the incident.
        digest = hashlib.sha256(message.key.encode()).hexdigest()[:32]
        mail = EmailMessage(
            subject=f"[permsite] {headline(payload)}"[:200],
            body="\n".join(lines(payload)) + "\n",
            to=list(settings.options[TO]),
            headers={
                "Message-ID": f"<{digest}@permsite.invalid>",
                "References": f"<{payload['id']}@permsite.invalid>",
                "X-Permsite-Alert": message.key,
                "Auto-Submitted": "auto-generated",
            },
            connection=get_connection(timeout=max(1, round(message.timeout_s))),
        )
        try:
            mail.send()
        except smtplib.SMTPRecipientsRefused as error:
            # Its text holds the addresses: they are the operator's own, yet nothing a log needs.
            codes = sorted({code for code, _ in error.recipients.values()})
            raise NotDelivered(
                f"the mail server refused every recipient ({codes})", is_final=all(c >= _PERMANENT for c in codes)
            ) from None
        except smtplib.SMTPAuthenticationError as error:
            raise NotDelivered(f"the mail server refused the login ({error.smtp_code})", is_final=True) from None
        except smtplib.SMTPResponseException as error:
            raise NotDelivered(f"the mail server answered {error.smtp_code}", is_final=error.smtp_code >= _PERMANENT) from None
        except (smtplib.SMTPException, OSError) as error:
            raise NotDelivered(f"the mail server cannot be spoken to: {type(error).__name__}") from None
