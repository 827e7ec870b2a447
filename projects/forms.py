"""What a person may type about projects, scenes, characters and API tokens."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from projects.models import ApiToken, Character, Project, Scene
from projects.slate import next_number, place, predecessor, written
from projects.words import differ

NUMBER = re.compile(r"[^\W_]+(?:[.\-/][^\W_]+)*")


class ProjectForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Project
        fields = ["name", "style"]
        widgets = {
            "name": forms.TextInput(attrs={"autofocus": True, "autocomplete": "off"}),
            "style": forms.Textarea(
                attrs={"rows": 4, "placeholder": _("35 mm film, low sun, ochre and teal, 1970s")}
            ),
        }

    def save(self, commit: bool = True) -> Project:
        if _reworded(self, "style"):
            self.instance.style_changed_at = timezone.now()
        project: Project = super().save(commit)
        return project


class CastPicker(forms.CheckboxSelectMultiple):
    """Faces to tick. Its choices are characters `with_picture()`."""

    template_name = "projects/cast_picker.html"


class PlaceField(forms.ModelChoiceField):  # type: ignore[type-arg]
    def label_from_instance(self, obj: Any) -> str:
        return str(_("After %(scene)s") % {"scene": obj})


class SceneForm(forms.ModelForm):  # type: ignore[type-arg]
    """A scene of `instance.project`. An empty `after` puts it first."""

    after = PlaceField(
        queryset=Scene.objects.none(),
        required=False,
        label=_("Place"),
        empty_label=_("At the beginning"),
    )

    class Meta:
        model = Scene
        fields = ["number", "title", "description", "shot_size", "angle", "lens", "cast"]
        widgets = {
            "number": forms.TextInput(attrs={"class": "slate-field", "autocomplete": "off"}),
            "title": forms.TextInput(attrs={"autocomplete": "off"}),
            "description": forms.Textarea(attrs={"rows": 6}),
            "lens": forms.TextInput(
                attrs={"autocomplete": "off", "list": "lenses", "placeholder": "35 mm"}
            ),
            "cast": CastPicker,
        }
        help_texts = {
            "number": _("As on the slate: 12, 12A."),
            "description": _(
                "What the camera sees: who, where, when, the light, the lens. "
                "The model reads exactly this, after the project's style."
            ),
            "cast": _("Their descriptions go into the prompt."),
        }

    LENSES = ("14 mm", "24 mm", "35 mm", "50 mm", "85 mm", "135 mm", "anamorphic", "macro")

    def __init__(self, *args: Any, after: Scene | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.others = self.instance.project.scenes.exclude(pk=self.instance.pk)
        self.place_field.queryset = self.others
        self.fields["cast"].queryset = self.instance.project.characters.with_picture()  # type: ignore[attr-defined]
        for name in ("shot_size", "angle"):
            _dashes, *said = self.fields[name].choices  # type: ignore[attr-defined]
            self.fields[name].choices = [("", _("Not said")), *said]  # type: ignore[attr-defined]
        if self.instance._state.adding:
            behind = after or self.others.last()
            self.initial["number"] = next_number(self.instance.project, after)
        else:
            behind = predecessor(self.instance)
        self.initial["after"] = behind.pk if behind else None

    @property
    def place_field(self) -> PlaceField:
        field = self.fields["after"]
        assert isinstance(field, PlaceField)  # noqa: S101
        return field

    def clean_number(self) -> str:
        number = written(self.cleaned_data["number"])
        if not NUMBER.fullmatch(number):
            raise ValidationError(_("Use digits and letters: 12, 12A."))
        if self.others.filter(number=number).exists():
            raise ValidationError(
                _("There is already a scene %(number)s."), params={"number": number}
            )
        return number

    def save(self, commit: bool = True) -> Scene:
        """Saves the scene in its place; IntegrityError when its number was taken meanwhile."""
        scene: Scene = super().save(commit=False)
        if self._is_reworded:
            scene.words_changed_at = timezone.now()
        if scene._state.adding or "after" in self.changed_data:
            place(scene, self.cleaned_data["after"])
        else:
            scene.save()
        self.save_m2m()
        return scene

    @property
    def _is_reworded(self) -> bool:
        before = {person.pk for person in self.initial.get("cast", ())}
        after = {person.pk for person in self.cleaned_data["cast"]}
        return before != after or _reworded(self, "description", "shot_size", "angle", "lens")


class MoveForm(forms.Form):
    """Where a scene is to stand: `where` as `slate.move` has it, `other` by its number."""

    PLACES = [
        ("before", _("Before scene")),
        ("after", _("After scene")),
        ("first", _("At the beginning")),
        ("last", _("At the end")),
    ]
    STEPS = [("earlier", _("One earlier")), ("later", _("One later"))]
    BESIDE = ("before", "after")

    use_required_attribute = False
    where = forms.ChoiceField(choices=[*PLACES, *STEPS], label=_("Place"))
    other = forms.CharField(
        max_length=60,
        label=_("Scene"),
        error_messages={"required": _("Which scene? Its number is enough: 12, 12A.")},
        widget=forms.TextInput(
            attrs={"class": "slate-field", "autocomplete": "off", "autofocus": True}
        ),
        help_text=_("Its number on the slate: 12, 12A."),
    )

    def __init__(self, scene: Scene, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.scene = scene
        self.fields["other"].required = self.data.get("where", "after") in self.BESIDE

    def clean_other(self) -> Scene | None:
        if not self.fields["other"].required:
            return None
        number = written(self.cleaned_data["other"])
        others = self.scene.project.scenes.exclude(pk=self.scene.pk)
        other = others.filter(number=number).first()
        if other is None:
            raise ValidationError(
                _("There is no other scene %(number)s."), params={"number": number}
            )
        return other


class CharacterForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Character
        fields = ["name", "description"]
        widgets = {
            "name": forms.TextInput(attrs={"autocomplete": "off"}),
            "description": forms.Textarea(attrs={"rows": 6}),
        }
        help_texts = {
            "description": _(
                "What must look the same everywhere: face, age, build, hair, clothes."
            ),
        }

    def save(self, commit: bool = True) -> Character:
        if _reworded(self, "name", "description"):
            self.instance.words_changed_at = timezone.now()
        character: Character = super().save(commit)
        return character


class UploadForm(forms.Form):
    picture = forms.FileField(
        label=_("Picture"),
        help_text=_("PNG, JPEG or WebP, up to 40 MB. The earlier takes are kept."),
        widget=forms.FileInput(attrs={"accept": "image/png,image/jpeg,image/webp"}),
    )


class TokenForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = ApiToken
        fields = ["name"]
        help_texts = {"name": _("What it is for, so that you know later which one to revoke.")}
        widgets = {"name": forms.TextInput(attrs={"autocomplete": "off"})}


def _reworded(form: forms.ModelForm[Any], *names: str) -> bool:
    """Did any of these texts change, other than in what cannot be seen?"""
    before, after = form.initial, form.cleaned_data
    return any(differ(before.get(name) or "", after[name]) for name in names)
