"""What a person may select of their statement."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

from django import forms
from django.db.models import Model
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from generation.statement import Selection, Statement


class DayInput(forms.DateInput):
    input_type = "date"

    def __init__(self) -> None:
        super().__init__(format="%Y-%m-%d")  # what a browser sends, in every language


class SelectionForm(forms.Form):
    """Which entries of a statement; it offers only what occurs in it."""

    project = forms.ChoiceField(label=gettext_lazy("Project"), required=False)
    subject = forms.ChoiceField(label=gettext_lazy("Scene or character"), required=False)
    model = forms.ChoiceField(label=gettext_lazy("Model"), required=False)
    person = forms.ChoiceField(label=gettext_lazy("Ordered by"), required=False)
    since = forms.DateField(
        label=gettext_lazy("From"), required=False, widget=DayInput(), input_formats=["%Y-%m-%d"]
    )
    until = forms.DateField(
        label=gettext_lazy("Until"), required=False, widget=DayInput(), input_formats=["%Y-%m-%d"]
    )
    kind = forms.ChoiceField(
        label=gettext_lazy("Entries"),
        required=False,
        choices=[
            ("", gettext_lazy("All")),
            ("capture", gettext_lazy("Charged")),
            ("hold", gettext_lazy("Held")),
            ("release", gettext_lazy("Given back")),
            ("grant", gettext_lazy("Granted or adjusted")),
        ],
    )

    def __init__(self, *args: Any, statement: Statement, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        projects = list(statement.projects())
        self._offer("project", projects)
        self._offer("model", statement.models())
        self._offer("person", statement.people())
        project = self.data.get("project", "")
        if project in [row.pk for row in projects]:
            subjects = [*statement.scenes(project), *statement.characters(project)]
            self._offer("subject", subjects)
            if self.data.get("subject") not in [row.pk for row in subjects]:
                # Another project was chosen while a scene of the last one was.
                self.data = self.data.copy()  # type: ignore[attr-defined]
                self.data["subject"] = ""  # type: ignore[index]
        else:
            del self.fields["subject"]  # of which project?

    def clean_until(self) -> date | None:
        until: date | None = self.cleaned_data["until"]
        since = self.cleaned_data.get("since")
        if since and until and until < since:
            raise forms.ValidationError(_("This is before the day in “From”."))
        return until

    @property
    def selection(self) -> Selection:
        return Selection(**self.cleaned_data)

    @property
    def selects(self) -> bool:
        """Something less than everything."""
        return self.is_valid() and self.selection != Selection()

    def _offer(self, name: str, rows: Iterable[Model]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [("", _("All")), *((str(row.pk), str(row)) for row in rows)]
