"""What the demo defines. A file like yours: `mlstore apply STORE demo_definitions.py` registers it."""

import mlstore as ml

airport = ml.Entity("airport", keys={"origin": ml.string}, description="where a flight starts")
aircraft = ml.Entity("aircraft", keys={"tail": ml.string}, description="what flies, by its tail number")

weather = ml.FeatureView(
    "weather",
    entity=airport,
    schema={"temperature": ml.float64, "wind_speed": ml.float64, "rain": ml.float64},
    created_timestamp="available_at",  # an hour of weather is known once it is over
    ttl="6h",
    description="hourly weather of an airport",
    owner="operations",
    tags={"tier": "gold"},
)

last_leg = ml.FeatureView(
    "last_leg",
    entity=aircraft,
    schema={"departure_delay": ml.float64, "arrival_delay": ml.float64, "destination": ml.string},
    created_timestamp="landed_at",  # how late it arrived is known once it has landed
    ttl="12h",
    description="the flight before, of the same aircraft",
    owner="operations",
)

delay_model = ml.FeatureService(
    "delay_model",
    features=["weather:wind_speed", "weather:rain", "last_leg:departure_delay", "last_leg:arrival_delay"],
    description="how late will this flight leave? asked two hours ahead",
    owner="science",
)

DEFINITIONS = (airport, aircraft, weather, last_leg, delay_model)
