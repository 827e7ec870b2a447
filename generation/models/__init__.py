"""An order for a picture, and what it stands on."""

from generation.models.asks import (
    Ask,
    AskQuerySet,
)
from generation.models.batches import (
    Batch,
)
from generation.models.catalogue import (
    AUTO,
    MODALITIES,
    KieModel,
    KieModelQuerySet,
    Multiplier,
    Operation,
    PictureField,
    Price,
    PromptUse,
    Slot,
)
from generation.models.orders import (
    IN_FLIGHT_STATES,
    MOST_DEATHS,
    OPEN_STATES,
    SENT_STATES,
    Callback,
    Event,
    Generation,
    GenerationQuerySet,
    Output,
    Reason,
    Reference,
    State,
    TakenBack,
)
from generation.models.provider import (
    Account,
    BalanceSample,
    Breaker,
    Difference,
    DifferenceQuerySet,
    Pause,
)
from generation.models.settings import (
    ImageSettings,
)

__all__ = [
    "AUTO",
    "Account",
    "Ask",
    "AskQuerySet",
    "BalanceSample",
    "Batch",
    "Breaker",
    "Callback",
    "Difference",
    "DifferenceQuerySet",
    "Event",
    "Generation",
    "GenerationQuerySet",
    "IN_FLIGHT_STATES",
    "ImageSettings",
    "KieModel",
    "KieModelQuerySet",
    "MODALITIES",
    "MOST_DEATHS",
    "Multiplier",
    "OPEN_STATES",
    "Operation",
    "Output",
    "Pause",
    "PictureField",
    "Price",
    "PromptUse",
    "Reason",
    "Reference",
    "SENT_STATES",
    "Slot",
    "State",
    "TakenBack",
]
