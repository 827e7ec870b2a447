"""Something to look at: two people, the project of the user's document, and credits to try it with.

Run as often as you like: what is there already stays as its people left it, but for the two
passwords and the API token, which are what this command prints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from credits import ledger
from generation.models import ImageSettings
from projects import access
from projects.models import ApiToken, Character, Project, Scene

if TYPE_CHECKING:
    from django.contrib.auth.models import User

FILM_MAKER, STAFF = "demo", "staff"  # their names are their passwords
TOKEN = "demo"  # noqa: S105 - the token's name, not its secret
CREDITS = 25_000  # hundredths

PROJECT_ID = "cmkivtwqv0005l80499cyfuzx"
PROJECT_NAME = "hladanie v psuti_nova"
STYLE = (
    "Záber z hraného filmu na 35 mm, prirodzené svetlo, okrová a tyrkysová, jemné zrno, 70. roky."
)
IMAGE_SETTINGS = {
    "provider": "kie",
    "model": "seedream-3.0/2k",
    "character_aspect_ratio": "1:1",
    "scene_aspect_ratio": "16:9",
    "scene_resolution": "2k",
}

MIRO, ZUZANA, BODO = "Miro", "Zuzana", "Pes Bodo"
CHARACTERS = {
    MIRO: (
        "42-ročný geológ, vysoký a šľachovitý, opálená tvár s hlbokými vráskami okolo očí, krátka "
        "prešedivená brada, tmavé vlasy zviazané dozadu. Vyblednutá ľanová košeľa pieskovej farby "
        "s vyhrnutými rukávmi, zaprášené hnedé nohavice, ošúchaný kožený batoh, okolo krku modrá "
        "šatka."
    ),
    ZUZANA: (
        "34-ročná kartografka, drobná a pevná, ostré lícne kosti, zelené oči, pehy, krátke medené "
        "vlasy pod bielou šatkou. Olivová vesta s mnohými vreckami, plátenné nohavice, vysoké "
        "šnurovacie topánky, na remienku starý mosadzný kompas."
    ),
    BODO: (
        "Stredne veľký kríženec ovčiaka, hrubá hrdzavá srsť, ľavé ucho zlomené, pravé vztýčené, "
        "biela škvrna na hrudi, jantárové oči, červený látkový obojok s malou rolničkou."
    ),
}


@dataclass(frozen=True)
class Shot:
    """A scene as it is written here; its place in the list is its place in the film."""

    number: str
    title: str
    description: str
    cast: tuple[str, ...] = ()


SCENES = (
    Shot(
        "1",
        "Úsvit nad táborom",
        "Dva malé stany a starý terénny voz v širokom údolí medzi dunami. Prvé svetlo sa dotýka "
        "hrebeňov, dole je ešte modrý tieň. Z kanvice nad ohniskom stúpa para. Veľký celok, "
        "statická kamera.",
    ),
    Shot(
        "2",
        "Mapa na kapote",
        "Miro a Zuzana sa skláňajú nad roztrhnutou mapou, ktorú na kapote voza držia kamene. Jej "
        "prst sa zastaví na bielom mieste bez jediného mena. Polodetail, svetlo z boku.",
        (MIRO, ZUZANA),
    ),
    Shot(
        "3",
        "Odchod",
        "Pohľad zozadu: dvaja ľudia a pes odchádzajú od voza do otvorenej púšte. Za nimi rovná "
        "stopa v nedotknutom piesku. Veľký celok, nízke ranné slnko, dlhé tiene.",
        (MIRO, ZUZANA, BODO),
    ),
    Shot(
        "4",
        "Prvé duny",
        "Miro stúpa po strmom svahu duny, piesok sa mu zosýpa pod nohami. Podhľad, horúci vzduch "
        "sa chveje, obloha takmer biela.",
        (MIRO,),
    ),
    Shot(
        "5",
        "Bodo vetrí",
        "Pes stojí na hrebeni duny, vietor mu češe srsť dozadu, ňufák zdvihnutý. Rolnička na "
        "obojku zachytí odlesk slnka. Detail, teleobjektív, rozmazané pozadie.",
        (BODO,),
    ),
    Shot(
        "6",
        "Poludnie",
        "Zuzana sedí v úzkom páse tieňa pod skalným previsom a počíta zvyšnú vodu. Tri fľaše, "
        "jedna prázdna. Tvrdé svetlo, za hranicou tieňa všetko prepálené.",
        (ZUZANA,),
    ),
    Shot(
        "7",
        "Studňa",
        "Opustená kamenná studňa uprostred rovnej pláne. Miro sa skláňa nad okraj a spúšťa lampáš "
        "na lane. Podhľad zvnútra studne nahor, tvár v kruhu svetla, 35 mm.",
        (MIRO,),
    ),
    Shot(
        "8",
        "Karavána v diaľke",
        "Tri postavy a dve ťavy ako čierne bodky na horizonte, chvenie vzduchu ich oddeľuje od "
        "zeme. Nikto nevie, či sú skutočné. Veľký celok, dlhý objektív.",
    ),
    Shot(
        "9",
        "Hádka",
        "Zuzana drží kompas, Miro ukazuje opačným smerom. Stoja chrbtom k sebe na plochom hrebeni, "
        "medzi nimi leží pes s hlavou na labách. Americký plán, súmerná kompozícia.",
        (MIRO, ZUZANA, BODO),
    ),
    Shot(
        "10",
        "Búrka",
        "Stena piesku vysoká ako hora sa valí cez púšť a zhasína slnko. Dve malé postavy pred ňou "
        "bežia k skalám. Veľký celok, oranžová tma, piesok vo vzduchu.",
        (MIRO, ZUZANA),
    ),
    Shot(
        "11",
        "Stopy",
        "Ráno po búrke. Stopy jedného človeka a psa vedú k okraju záberu a tam sa končia. Zuzana "
        "kľačí a dotýka sa poslednej z nich. Nadhľad, mäkké studené svetlo.",
        (ZUZANA,),
    ),
    Shot(
        "12",
        "Duny pri západe",
        "Miro stojí na hrebeni duny, za ním nízke slnko, pri nohe pes. Celok, dlhé tiene, piesok "
        "vo vzduchu svieti ako dym.",
        (MIRO, BODO),
    ),
    Shot(
        "12A",
        "Nález",
        "Detail rúk, ktoré odhŕňajú piesok: pod ním farebná mozaika s rybami a vlnami. More tu "
        "kedysi bolo. Posledné teplé svetlo, malá hĺbka ostrosti.",
        (MIRO, ZUZANA),
    ),
)


class Command(BaseCommand):
    help = "Makes the demo's users, project and credits; twice changes nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--yes", action="store_true", help="even where KIE_API_KEY is set and orders cost money"
        )

    def handle(self, *args: Any, yes: bool, **options: Any) -> None:
        if settings.KIE_API_KEY and not yes:
            raise CommandError(
                "KIE_API_KEY is set: everybody knows the demo's password, and its orders would "
                "cost real money. If that is what you want: demo --yes"
            )
        with transaction.atomic():
            film_maker = _user(FILM_MAKER)
            _user(STAFF, is_staff=True, is_superuser=True)
            _project(film_maker)
            _credits(film_maker)
            secret = _token(film_maker)
        self.stdout.write(f"Film maker   user {FILM_MAKER}, password {FILM_MAKER}")
        self.stdout.write(f"Staff        user {STAFF}, password {STAFF}")
        self.stdout.write(f"API token    {secret}  ({FILM_MAKER}'s; the one before is void)")


def _user(name: str, **flags: bool) -> User:
    user, new = get_user_model().objects.get_or_create(username=name, defaults=flags)
    if new or not user.check_password(name):  # setting it again would end the user's sessions
        user.set_password(name)
        user.save(update_fields=["password"])
    return user


def _project(owner: User) -> None:
    """The project as in the document, unless it is there: then it is its owner's to change."""
    project, new = Project.objects.get_or_create(
        pk=PROJECT_ID, defaults={"owner": owner, "name": PROJECT_NAME, "style": STYLE}
    )
    if not new:
        return
    ImageSettings.objects.create(project=project, **IMAGE_SETTINGS)
    cast = {
        name: Character.objects.create(project=project, name=name, description=description)
        for name, description in CHARACTERS.items()
    }
    for position, shot in enumerate(SCENES, start=1):
        scene = Scene.objects.create(
            project=project,
            number=shot.number,
            position=position,
            title=shot.title,
            description=shot.description,
        )
        scene.cast.set([cast[name] for name in shot.cast])


def _credits(owner: User) -> None:
    ledger.grant(
        ledger.ledger_of(owner),
        CREDITS,
        reference="demo:credits",
        about=ledger.About(type="grant", description="Credits to try it with"),
    )


def _token(owner: User) -> str:
    ApiToken.objects.filter(user=owner, name=TOKEN).delete()
    return access.issue_token(owner, TOKEN)
