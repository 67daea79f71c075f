"""The world of the demo: airports with hourly weather, and aircraft that carry their delays from leg to leg.

Made by a seeded generator, the same on every machine. Two things in it become known later than they are true: the weather of
an hour once the hour is over, and the delay of an arrival once the aircraft has landed. Both move the delay that is to be predicted.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import pyarrow as pa

INSTANT = pa.timestamp("us", "UTC")
AIRPORTS = ("ATL", "BOS", "DEN", "JFK", "ORD", "SEA")
START = np.datetime64("2026-01-01T00:00", "us")
MINUTE = np.timedelta64(60_000_000, "us")
HOUR = 60 * MINUTE
LEGS_A_DAY = 5
FIRST_DEPARTURE_HOUR = 8
NOTICE = 2 * HOUR

Times = npt.NDArray[np.datetime64]
Numbers = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


class Size(StrEnum):
    """How large a world."""

    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"


# days, aircraft
SIZES = {Size.SMALL: (60, 40), Size.MEDIUM: (120, 100), Size.LARGE: (365, 200)}


@dataclass(frozen=True, slots=True)
class World:
    """What the demo loads: weather and legs with their two clocks, labels to predict, and a late correction of the weather."""

    weather: pa.Table
    legs: pa.Table
    labels: pa.Table
    correction: pa.Table
    end: np.datetime64


def make_world(size: Size = Size.SMALL, *, seed: int = 7) -> World:
    """The world of that size: 60 days of 6 airports and 40 aircraft are 8,640 hours of weather and 12,000 legs."""
    days, planes = SIZES[size]
    random = np.random.default_rng(seed)
    wind, rain = _blow(random, days)
    weather = _weather_table(wind, rain, days)
    legs, labels = _fly(random, days, planes, wind, rain)
    end = START + days * 24 * HOUR
    return World(weather, legs, labels, _correct(weather, end), end)


def _blow(random: np.random.Generator, days: int) -> tuple[Numbers, Numbers]:
    """Wind (mph) and rain (inches an hour) per airport and hour: storms come, last, and go."""
    hours = days * 24
    wind, rain = np.empty((len(AIRPORTS), hours)), np.empty((len(AIRPORTS), hours))
    storm = np.zeros(len(AIRPORTS))
    for hour in range(hours):
        storm = 0.94 * storm + np.where(random.random(len(AIRPORTS)) < 0.02, random.gamma(3.0, 5.0, len(AIRPORTS)), 0.0)
        wind[:, hour] = np.maximum(8 + 1.1 * storm + random.normal(0, 2, len(AIRPORTS)), 0)
        rain[:, hour] = np.maximum(0.02 * storm - 0.05 + random.normal(0, 0.01, len(AIRPORTS)), 0)
    return wind.round(1), rain.round(2)


def _weather_table(wind: Numbers, rain: Numbers, days: int) -> pa.Table:
    hours = START + np.arange(days * 24) * HOUR
    times = np.tile(hours, len(AIRPORTS))
    temperature = 12 - 0.4 * wind.ravel() + 6 * np.sin(np.tile(np.arange(days * 24), len(AIRPORTS)) * 2 * np.pi / 24)
    return pa.table(
        {
            "origin": pa.array(np.repeat(AIRPORTS, days * 24)),
            "event_timestamp": pa.array(times, INSTANT),
            "available_at": pa.array(times + HOUR, INSTANT),
            "temperature": temperature.round(1),
            "wind_speed": wind.ravel(),
            "rain": rain.ravel(),
        }
    )


def _fly(random: np.random.Generator, days: int, planes: int, wind: Numbers, rain: Numbers) -> tuple[pa.Table, pa.Table]:
    """Every leg in turn, for all aircraft and days at once; an aircraft that lands late leaves late."""
    crews = days * planes
    day, plane = np.repeat(np.arange(days), planes), np.tile(np.arange(planes), days)
    place = random.integers(0, len(AIRPORTS), crews)
    scheduled = START + day * 24 * HOUR + FIRST_DEPARTURE_HOUR * HOUR + random.integers(0, 24, crews) * 5 * MINUTE
    arrival_delay = np.zeros(crews)
    legs = []
    for leg in range(LEGS_A_DAY):
        hour = ((scheduled - START) // HOUR).astype(np.int64)
        weather_delay = 1.1 * np.maximum(wind[place, hour] - 14, 0) + 60 * rain[place, hour]
        carried = np.maximum(arrival_delay - 5, 0)
        departure_delay = np.round(0.95 * carried + weather_delay + random.gamma(1.2, 5.0, crews) - 4) + 0.0  # no minus zero
        arrival_delay = np.round(departure_delay + random.normal(-3, 9, crews)) + 0.0
        minutes_of_flight = random.integers(70, 150, crews)
        destination = (place + random.integers(1, len(AIRPORTS), crews)) % len(AIRPORTS)
        legs.append(_Leg(leg, day, plane, place, destination, scheduled, minutes_of_flight, departure_delay, arrival_delay))
        place = destination
        scheduled = scheduled + (minutes_of_flight + 45) * MINUTE
    return _leg_tables(legs)


@dataclass(frozen=True, slots=True)
class _Leg:
    """One leg of the day for every aircraft and day: parallel arrays."""

    number: int
    day: Places
    plane: Places
    origin: Places
    destination: Places
    scheduled: Times
    minutes_of_flight: Places
    departure_delay: Numbers
    arrival_delay: Numbers


def _leg_tables(legs: list[_Leg]) -> tuple[pa.Table, pa.Table]:
    """The legs as events (known once landed), and as labels (asked two hours before departure), in order of time."""
    scheduled = np.concatenate([leg.scheduled for leg in legs])
    departure_delay = np.concatenate([leg.departure_delay for leg in legs])
    arrival_delay = np.concatenate([leg.arrival_delay for leg in legs])
    flown = np.concatenate([leg.minutes_of_flight for leg in legs])
    departed = scheduled + departure_delay.astype(np.int64) * MINUTE
    landed = scheduled + (flown + arrival_delay.astype(np.int64)) * MINUTE
    tails = np.char.add("N", (100 + np.concatenate([leg.plane for leg in legs])).astype(str))
    codes = np.array(AIRPORTS)
    origins = codes[np.concatenate([leg.origin for leg in legs])]
    flights = np.arange(len(scheduled))

    by_departure = np.argsort(departed, kind="stable")
    events = pa.table(
        {
            "tail": pa.array(tails[by_departure]),
            "event_timestamp": pa.array(departed[by_departure], INSTANT),
            "landed_at": pa.array(landed[by_departure], INSTANT),
            "departure_delay": departure_delay[by_departure],
            "arrival_delay": arrival_delay[by_departure],
            "destination": pa.array(codes[np.concatenate([leg.destination for leg in legs])][by_departure]),
        }
    )
    by_schedule = np.argsort(scheduled, kind="stable")
    labels = pa.table(
        {
            "flight": flights[by_schedule],
            "event_timestamp": pa.array((scheduled - NOTICE)[by_schedule], INSTANT),
            "tail": pa.array(tails[by_schedule]),
            "origin": pa.array(origins[by_schedule]),
            "target_delay": departure_delay[by_schedule],
        }
    )
    return events, labels


def _correct(weather: pa.Table, end: np.datetime64) -> pa.Table:
    """The station at JFK finds that it measured 5 mph too little on the tenth day, and says so when all is over."""
    origin = weather["origin"].to_numpy(zero_copy_only=False)
    times = weather["event_timestamp"].to_numpy()
    wrong = (origin == "JFK") & (times >= START + 240 * HOUR) & (times < START + 264 * HOUR)
    rows = weather.filter(pa.array(wrong))
    place = rows.schema.get_field_index("available_at")
    rows = rows.set_column(place, "available_at", pa.array(np.full(rows.num_rows, end), INSTANT))
    place = rows.schema.get_field_index("wind_speed")
    return rows.set_column(place, "wind_speed", pa.array(rows["wind_speed"].to_numpy() + 5))
