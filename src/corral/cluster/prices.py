"""The price of power, by the hour where there is a tariff: values of a cluster file that was checked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from corral.hours import Hours, find_lowest


@dataclass(frozen=True, slots=True, kw_only=True)
class TariffWindow:
    """Hours in which power has another price."""

    price_per_kwh: float
    hours: Hours

    def __str__(self) -> str:
        return f"{self.price_per_kwh:g} {self.hours}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Electricity:
    """The price of power."""

    price_per_kwh: float
    currency: str = "EUR"
    tariff: tuple[TariffWindow, ...] = ()
    """Of windows that overlap the first counts; outside of all, `price_per_kwh`."""

    def find_price(self, at: datetime) -> float:
        """Find the price of a kilowatt hour at an instant."""
        return next((window.price_per_kwh for window in self.tariff if window.hours.is_open(at)), self.price_per_kwh)

    def find_cheap_hours(self) -> Hours | None:
        """Find the hours of the lowest price; None where there is only one price."""
        if not self.tariff:
            return None
        priced = [(window.price_per_kwh, window.hours) for window in self.tariff]
        return find_lowest(priced, otherwise=self.price_per_kwh)
