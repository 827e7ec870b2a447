"""A small form of ours in the admin, on a page of its own (templates/admin/form.html)."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


def form_page(
    at: admin.ModelAdmin[Any], request: HttpRequest, original: Any, form: forms.Form, **context: Any
) -> HttpResponse:
    """`context` has a `title`, which stands on the button too, and may have a `lead`."""
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
