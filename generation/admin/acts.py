"""What staff may do to an order: what its life allows (`generation/lifecycle.py`), and no more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from generation import lifecycle
from generation.models import SENT_STATES, Generation, State, TakenBack

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

WITHOUT_A_TASK = (State.SUBMITTING, State.UNKNOWN, State.REVIEW)


class TaskForm(forms.Form):
    task_id = forms.CharField(
        label=gettext_lazy("KIE task"),
        max_length=200,
        widget=forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off"}),
        help_text=gettext_lazy(
            "From KIE's own log, where the request carries this order's id. It is asked after, "
            "and its picture is delivered; what has been given back stays given back."
        ),
    )


class TakeBackForm(forms.Form):
    then = forms.ChoiceField(
        label=gettext_lazy("If the picture still comes"),
        choices=TakenBack.choices,
        initial=TakenBack.KEEP,
        widget=forms.RadioSelect,
    )


@dataclass(frozen=True)
class Act:
    """`do` gets the order and the form's values; False if the order has moved on meanwhile."""

    name: str
    title: StrOrPromise
    lead: StrOrPromise
    logged: StrOrPromise
    fits: Callable[[Generation], bool]
    do: Callable[[Generation, dict[str, Any]], bool]
    form: type[forms.Form] = field(default=forms.Form)

    @property
    def address(self) -> str:
        return f"admin:generation_generation_{self.name}"

    def tried(self, order: Generation, form: forms.Form) -> bool:
        """Done? If not, the form says why."""
        try:
            if self.do(order, form.cleaned_data):
                return True
        except lifecycle.TaskTaken:
            form.add_error("task_id", _("This task belongs to another order."))
            return False
        form.add_error(None, _("This order has gone on by itself meanwhile."))
        return False


def _can_be_taken_back(order: Generation) -> bool:
    return order.state in SENT_STATES and not order.taken_back


def _can_be_tried_again(order: Generation) -> bool:
    given_up = order.state == State.REVIEW
    return order.task_id is not None and (given_up or order.is_set_aside)


CANCEL = Act(
    name="cancel",
    title=gettext_lazy("Take back"),
    lead=gettext_lazy("It is not sent to KIE, and what was held for it is given back."),
    logged=gettext_lazy("Taken back."),
    fits=lambda order: order.state == State.QUEUED,
    do=lambda order, _values: lifecycle.cancel(order),
)
TAKE_BACK = Act(
    name="take_back",
    title=gettext_lazy("Give its credits back"),
    lead=gettext_lazy(
        "KIE has it, or may have it, and cannot be stopped. What was held is given back to "
        "whoever pays; a picture that still comes costs them nothing."
    ),
    logged=gettext_lazy("Gave its credits back."),
    fits=_can_be_taken_back,
    do=lambda order, values: lifecycle.take_back(
        order, TakenBack(values.get("then", TakenBack.KEEP))
    ),
    form=TakeBackForm,
)
TRY_AGAIN = Act(
    name="try_again",
    title=gettext_lazy("Ask KIE again, fetch again"),
    lead=gettext_lazy(
        "KIE is asked after its task once more, and its picture is fetched. What has been given "
        "back stays given back."
    ),
    logged=gettext_lazy("Tried once more."),
    fits=_can_be_tried_again,
    do=lambda order, _values: lifecycle.try_again(order),
)
CLOSE = Act(
    name="close",
    title=gettext_lazy("Close: could not be had"),
    lead=gettext_lazy(
        "It leaves the staff's list. A picture that turns up all the same is delivered, free of "
        "charge."
    ),
    logged=gettext_lazy("Closed: could not be had."),
    fits=lambda order: order.state == State.REVIEW,
    do=lambda order, _values: lifecycle.close(order),
)
ADOPT = Act(
    name="adopt",
    title=gettext_lazy("Name its task"),
    lead="",
    logged=gettext_lazy("Named its task."),
    fits=lambda order: order.task_id is None and order.state in WITHOUT_A_TASK,
    do=lambda order, values: lifecycle.adopt(order, values["task_id"]),
    form=TaskForm,
)
ACTS = (CANCEL, TAKE_BACK, TRY_AGAIN, ADOPT, CLOSE)
