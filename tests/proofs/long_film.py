"""A film of very many scenes, as after weeks of work: words, cast, takes, orders that ended.

For proofs of pages. Django is set up and the site's database and storage are this process's own.
"""

from __future__ import annotations

import io
from dataclasses import asdict
from datetime import timedelta
from uuid import uuid4

from django.contrib.auth.models import User
from django.utils import timezone
from PIL import Image, ImageFilter

from generation.models import Generation, ImageSettings, KieModel, Reason, State
from projects import pictures
from projects.models import Character, Project, Scene, Take
from projects.pictures import Stored

MODEL = "seedream-3.0/2k"
PEOPLE = 12
FACES = 3  # of a scene
PICTURES = 16  # different ones; each scene has one of them
WORDS = (
    "Miro stojí na hrebeni duny, za ním nízke slnko, pri nohe pes. Celok, dlhé tiene, piesok vo "
    "vzduchu svieti ako dym. Zuzana drží kompas a pozerá opačným smerom, vietor jej dvíha šatku. "
)


def make(owner: User, count: int) -> Project:
    """A project with so many scenes: of ten, eight have two takes, one failed, one is untouched."""
    project = Project.objects.create(owner=owner, name=f"A film of {count} scenes", style=WORDS)
    ImageSettings.objects.create(
        project=project, provider="kie", model=MODEL, scene_resolution="2k"
    )
    shown = [_stored(number) for number in range(PICTURES)]
    people = [
        Character(project=project, name=f"Osoba {n}", description=WORDS) for n in range(PEOPLE)
    ]
    scenes = [
        Scene(
            project=project, number=str(n), position=n, title=f"Záber číslo {n}", description=WORDS
        )
        for n in range(1, count + 1)
    ]
    Character.objects.bulk_create(people)
    Scene.objects.bulk_create(scenes)
    Scene.cast.through.objects.bulk_create(
        Scene.cast.through(scene=scene, character=people[(n * FACES + face) % PEOPLE])
        for n, scene in enumerate(scenes)
        for face in range(FACES)
    )
    Take.objects.bulk_create(_take(person, shown[n]) for n, person in enumerate(people))
    Take.objects.bulk_create(
        _take(scene, shown[(n + again) % PICTURES])
        for n, scene in enumerate(scenes)
        for again in range(2)
        if n % 10 < 8
    )
    model = KieModel.objects.get(model_id=MODEL)
    Generation.objects.bulk_create(
        _order(scene, model, State.DONE if n % 10 < 8 else State.FAILED)
        for n, scene in enumerate(scenes)
        for _again in range(2)
        if n % 10 < 9
    )
    return project


def _stored(number: int) -> Stored:
    """A picture with as much to see as a photo: its thumbnail weighs what one does."""
    noise = Image.effect_noise((512, 288), 60).filter(ImageFilter.GaussianBlur(1))
    tint = Image.new("L", noise.size, number * 255 // PICTURES)
    image = Image.merge("RGB", (noise, tint, noise)).resize((1600, 900))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return pictures.store(pictures.check(file.getvalue()), uuid4().hex)


def _take(subject: Scene | Character, stored: Stored) -> Take:
    return Take(
        project=subject.project,
        scene=subject if isinstance(subject, Scene) else None,
        character=subject if isinstance(subject, Character) else None,
        made_by=subject.project.owner,
        **asdict(stored),
    )


def _order(scene: Scene, model: KieModel, state: State) -> Generation:
    now = timezone.now()
    return Generation(
        project=scene.project,
        scene=scene,
        ordered_by=scene.project.owner,
        payer=scene.project.owner,
        order_key=uuid4().hex,
        provider="kie",
        model=model,
        prompt=scene.description,
        aspect_ratio="16:9",
        resolution="2K",
        request={"model": model.model_id, "input": {"prompt": scene.description}},
        price=600,
        kie_credits=600,
        cost=30_000,
        state=state,
        reason="" if state == State.DONE else Reason.RENDER,
        submitted_at=now - timedelta(seconds=20),
        finished_at=now,
    )
