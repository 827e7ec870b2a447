"""A small form of ours in the admin, on a page of its own (templates/admin/form.html)."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render


def keep_choice(form: forms.Form, posted: QueryDict) -> None:
    """What chose the rows of a list, and what was to be done to them, comes back with the form."""
    for name in ("action", ACTION_CHECKBOX_NAME, "select_across"):
        form.fields[name] = forms.Field(
            widget=forms.MultipleHiddenInput, initial=posted.getlist(name), required=False
        )


def form_page(
    at: admin.ModelAdmin[Any], request: HttpRequest, original: Any, form: forms.Form, **context: Any
) -> HttpResponse:
    """`context` has a `title`, which stands on the button too, and may have a `lead`. `answer` is
    the button's own name, for a form that may be sent with nothing else in it."""
    return render(
        request,
        "admin/form.html",
        {
            **at.admin_site.each_context(request),
            "opts": at.opts,
            "original": original,
            "form": form,
            "button": context["title"],
            **context,
        },
    )
